//! Fuzzy matching for prompts and pickers.

/// How well `pattern` matches `text` as a case-insensitive subsequence; higher is better, `None` is no match.
/// Runs of consecutive characters, word starts and short texts score higher.
pub fn fuzzy_score(pattern: &str, text: &str) -> Option<i32> {
    let mut score = 0;
    let mut previous_matched = false;
    let mut previous = ' ';
    let mut wanted = pattern.chars().flat_map(char::to_lowercase).peekable();
    for ch in text.chars() {
        let Some(&want) = wanted.peek() else { break };
        if ch.to_lowercase().eq(std::iter::once(want)) {
            score += 10;
            if previous_matched {
                score += 15;
            }
            if !previous.is_alphanumeric() {
                score += 12;
            }
            previous_matched = true;
            wanted.next();
        } else {
            previous_matched = false;
        }
        previous = ch;
    }
    wanted
        .peek()
        .is_none()
        .then(|| score - text.chars().count().min(100) as i32 / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_beat_scattered_letters() {
        let prefix = fuzzy_score("dep", "deployments").expect("matches");
        let scattered = fuzzy_score("dep", "endpointslices-e-p");
        assert!(scattered.is_none_or(|score| score < prefix));
        assert_eq!(fuzzy_score("xyz", "pods"), None);
        assert!(fuzzy_score("", "anything").is_some());
    }
}
