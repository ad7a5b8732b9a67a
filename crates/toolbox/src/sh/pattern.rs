//! Shell patterns (`*`, `?`, `[a-z]`, a backslash quotes) against text and against files.

/// Whether the pattern has anything to match: no wildcard, no look at the file system.
pub(crate) fn is_pattern(pattern: &str) -> bool {
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '*' | '?' => return true,
            '[' => return true,
            _ => {}
        }
    }
    false
}

/// Quotes text so that it matches itself.
pub(crate) fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        if "*?[]\\-!^".contains(c) {
            into.push('\\');
        }
        into.push(c);
    }
}

/// Whether the whole text matches. Iterative with one point to go back to: linear in practice, no blow-up on `*a*a*a*b`.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    matches_chars(&pattern, &text)
}

pub(crate) fn matches_chars(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        if t == text.len() {
            return p == pattern.len();
        }
        if let Some(next) = one(pattern, p, text[t]) {
            p = next;
            t += 1;
            continue;
        }
        match star {
            Some((after, from)) => {
                star = Some((after, from + 1));
                p = after;
                t = from + 1;
            }
            None => return false,
        }
    }
}

/// Matches one character; the result is where the pattern goes on.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match *pattern.get(p)? {
        '?' => Some(p + 1),
        '[' => match bracket(pattern, p, c) {
            Some((true, next)) => Some(next),
            Some((false, _)) => None,
            None => (c == '[').then_some(p + 1),
        },
        '\\' if p + 1 < pattern.len() => (pattern[p + 1] == c).then_some(p + 2),
        other => (other == c).then_some(p + 1),
    }
}

/// A bracket expression: whether it holds `c`, and where it ends. `None` when it has no end and so means itself.
fn bracket(pattern: &[char], start: usize, c: char) -> Option<(bool, usize)> {
    let mut i = start + 1;
    let negated = matches!(pattern.get(i), Some('!' | '^'));
    i += usize::from(negated);
    let mut found = false;
    let first = i;
    loop {
        let mut low = *pattern.get(i)?;
        if low == ']' && i > first {
            return Some((found != negated, i + 1));
        }
        if low == '[' && pattern.get(i + 1) == Some(&':') {
            let end = (i + 2..pattern.len()).find(|&j| pattern[j] == ':' && pattern.get(j + 1) == Some(&']'))?;
            let class: String = pattern[i + 2..end].iter().collect();
            found |= in_class(&class, c);
            i = end + 2;
            continue;
        }
        if low == '\\' {
            i += 1;
            low = *pattern.get(i)?;
        }
        if pattern.get(i + 1) == Some(&'-') && pattern.get(i + 2).is_some_and(|c| *c != ']') {
            let mut high = pattern[i + 2];
            i += 3;
            if high == '\\' {
                high = *pattern.get(i)?;
                i += 1;
            }
            found |= (low..=high).contains(&c);
        } else {
            found |= low == c;
            i += 1;
        }
    }
}

fn in_class(class: &str, c: char) -> bool {
    match class {
        "alpha" => c.is_alphabetic(),
        "digit" => c.is_ascii_digit(),
        "alnum" => c.is_alphanumeric(),
        "upper" => c.is_uppercase(),
        "lower" => c.is_lowercase(),
        "space" => c.is_whitespace(),
        "blank" => c == ' ' || c == '\t',
        "punct" => c.is_ascii_punctuation(),
        "xdigit" => c.is_ascii_hexdigit(),
        "cntrl" => c.is_control(),
        "print" => !c.is_control(),
        "graph" => !c.is_control() && !c.is_whitespace(),
        _ => false,
    }
}

/// The files that match, sorted; empty when none do.
pub(crate) fn files(pattern: &str) -> Vec<String> {
    let (mut found, rest) = match pattern.strip_prefix('/') {
        Some(rest) => (vec!["/".to_owned()], rest),
        None => (vec![String::new()], pattern),
    };
    let parts: Vec<&str> = rest.split('/').collect();
    for (i, part) in parts.iter().enumerate() {
        let last = i + 1 == parts.len();
        if part.is_empty() {
            if last {
                found.retain(|f| std::path::Path::new(f).is_dir());
            }
            continue;
        }
        let mut next = Vec::new();
        for base in &found {
            step(base, part, last, &mut next);
        }
        found = next;
        if found.is_empty() {
            break;
        }
    }
    found.sort();
    found
}

fn step(base: &str, part: &str, last: bool, next: &mut Vec<String>) {
    if !is_pattern(part) {
        let mut name = String::new();
        let mut chars = part.chars();
        while let Some(c) = chars.next() {
            name.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
        }
        let path = format!("{base}{name}");
        if std::fs::symlink_metadata(&path).is_ok() {
            next.push(if last { path } else { format!("{path}/") });
        }
        return;
    }
    let dir = if base.is_empty() { "." } else { base };
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') && !part.starts_with('.') && !part.starts_with("\\.") {
            continue;
        }
        if matches(part, &name) {
            let path = format!("{base}{name}");
            if last {
                next.push(path);
            } else if std::path::Path::new(&path).is_dir() {
                next.push(format!("{path}/"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("?[0-9]", "x7", true),
            ("[!a]", "a", false),
            ("[^a]b", "cb", true),
            ("[[:digit:]]*", "9x", true),
            ("[]x]", "]", true),
            ("[abc", "[abc", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("*.tar.*", "a.tar.gz", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} against {text}");
        }
    }

    #[test]
    fn many_stars_do_not_blow_up() {
        let pattern = "*a".repeat(60) + "b";
        assert!(!matches(&pattern, &"a".repeat(2000)));
    }
}
