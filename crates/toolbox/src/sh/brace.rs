//! Brace expansion (`{a,b}`, `{1..5}`), which bash has and ash has not.

use super::ast::{Part, Word};

/// How many words one word may become.
const MOST: usize = 100_000;

/// All words that a word stands for.
pub(super) fn expand(word: &Word) -> Vec<Word> {
    for (i, part) in word.iter().enumerate() {
        let Part::Lit(text) = part else { continue };
        for (open, _) in text.match_indices('{') {
            if let Some(alternatives) = alternatives(word, i, open) {
                let mut all = Vec::new();
                for alternative in alternatives {
                    all.extend(expand(&alternative));
                    if all.len() > MOST {
                        return vec![word.clone()];
                    }
                }
                return all;
            }
        }
    }
    vec![word.clone()]
}

/// The words that the brace at `open` of part `index` gives, or `None` when it is no brace expansion.
fn alternatives(word: &Word, index: usize, open: usize) -> Option<Vec<Word>> {
    let mut depth = 0usize;
    let mut choices: Vec<Word> = vec![Word::new()];
    let mut commas = false;
    for (i, part) in word.iter().enumerate().skip(index) {
        let Part::Lit(text) = part else {
            choices.last_mut()?.push(part.clone());
            continue;
        };
        let from = if i == index { open + 1 } else { 0 };
        let mut start = from;
        for (at, c) in text.char_indices().filter(|(at, _)| *at >= from) {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' if depth == 0 => {
                    push(choices.last_mut()?, &text[start..at]);
                    choices.push(Word::new());
                    start = at + 1;
                    commas = true;
                }
                '}' => {
                    push(choices.last_mut()?, &text[start..at]);
                    let Part::Lit(first) = &word[index] else { return None };
                    let (head, tail) = (&first[..open], &text[at + 1..]);
                    let choices = if commas { choices } else { range(&choices)? };
                    return Some(
                        choices
                            .into_iter()
                            .map(|choice| join(word, index, head, choice, i, tail))
                            .collect(),
                    );
                }
                _ => {}
            }
        }
        push(choices.last_mut()?, &text[start..]);
    }
    None
}

fn push(word: &mut Word, text: &str) {
    if !text.is_empty() {
        word.push(Part::Lit(text.to_owned()));
    }
}

fn join(word: &Word, index: usize, head: &str, choice: Word, end: usize, tail: &str) -> Word {
    let mut whole: Word = word[..index].to_vec();
    push(&mut whole, head);
    whole.extend(choice);
    push(&mut whole, tail);
    whole.extend_from_slice(&word[end + 1..]);
    whole
}

fn range(choices: &[Word]) -> Option<Vec<Word>> {
    let [choice] = choices else { return None };
    let [Part::Lit(text)] = choice.as_slice() else {
        return None;
    };
    let mut parts = text.split("..");
    let (from, to) = (parts.next()?, parts.next()?);
    let step: i64 = parts.next().map_or(Ok(1), str::parse).ok()?;
    if parts.next().is_some() {
        return None;
    }
    let step = step.unsigned_abs().max(1);
    let single = |s: &str| s.chars().next().filter(|c| c.is_ascii_alphabetic() && s.len() == 1);
    let (low, high, letters) = match (single(from), single(to)) {
        (Some(a), Some(b)) => (i64::from(u32::from(a)), i64::from(u32::from(b)), true),
        _ => (from.parse::<i64>().ok()?, to.parse::<i64>().ok()?, false),
    };
    let padded = |s: &str| s.trim_start_matches('-').len() > 1 && s.trim_start_matches('-').starts_with('0');
    let width = if padded(from) || padded(to) {
        from.len().max(to.len())
    } else {
        0
    };
    let count = usize::try_from(low.abs_diff(high) / step).ok().filter(|n| *n < MOST)?;
    let step = i64::try_from(step).ok()? * if low <= high { 1 } else { -1 };
    Some(
        (0..=count)
            .map(|n| {
                let value = low + step * i64::try_from(n).unwrap_or(0);
                let text = if letters {
                    u32::try_from(value)
                        .ok()
                        .and_then(char::from_u32)
                        .map(String::from)
                        .unwrap_or_default()
                } else {
                    format!("{value:0width$}")
                };
                vec![Part::Lit(text)]
            })
            .collect(),
    )
}
