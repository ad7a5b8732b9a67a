//! What a log line is: its level, and whether a filter keeps it.

use std::ops::Range;

use regex::Regex;

use crate::document::TextLine;
use crate::error::{Error, Result};
use crate::theme::Role;

/// A filter on text: a plain substring, a regular expression where it is one, `!` inverts.
#[derive(Debug, Default)]
pub(super) enum Matcher {
    #[default]
    All,
    Text(String, bool),
    Pattern(Regex, bool),
}

impl Matcher {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (text, wanted) = match text.strip_prefix('!') {
            Some(rest) => (rest, false),
            None => (text, true),
        };
        if text.is_empty() {
            return Ok(Self::All);
        }
        if regex::escape(text) == text {
            return Ok(Self::Text(text.to_lowercase(), wanted));
        }
        let pattern = regex::RegexBuilder::new(text)
            .case_insensitive(true)
            .size_limit(1 << 20)
            .build();
        match pattern {
            Ok(pattern) => Ok(Self::Pattern(pattern, wanted)),
            Err(error) => Err(Error::usage(format!("{text:?} is no regular expression")).because(&error)),
        }
    }

    pub(super) fn keeps(&self, line: &str) -> bool {
        match self {
            Self::All => true,
            Self::Text(text, wanted) => line.to_lowercase().contains(text) == *wanted,
            Self::Pattern(pattern, wanted) => pattern.is_match(line) == *wanted,
        }
    }
}

/// Words for what is broken, and for what needs a look.
const ERRORS: [&str; 6] = ["ERROR", "FATAL", "PANIC", "CRITICAL", "EMERG", "ERR"];
const WARNINGS: [&str; 2] = ["WARNING", "WARN"];

/// Where a line carries its level near its start, and the level's role: the word stands out, the text is left alone.
pub(super) fn level(line: &str) -> Option<(Range<usize>, Role)> {
    let head: String = line.chars().take(80).map(|ch| ch.to_ascii_uppercase()).collect();
    let find = |word: &str| {
        let places = head.match_indices(word).map(|(at, _)| at..at + word.len());
        places.into_iter().find(|place| {
            let before = head[..place.start].chars().next_back();
            let after = head[place.end..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
        })
    };
    let glog = |letters: &[char]| {
        let is = head.starts_with(letters) && head[1..].starts_with(|ch: char| ch.is_ascii_digit());
        is.then(|| 0..head.find(' ').unwrap_or(head.len()))
    };
    let any = |words: &[&str]| words.iter().find_map(|word| find(word));
    let error = any(&ERRORS).or_else(|| glog(&['E', 'F']));
    let warning = || any(&WARNINGS).or_else(|| glog(&['W']));
    error
        .map(|place| (place, Role::LogError))
        .or_else(|| warning().map(|place| (place, Role::LogWarning)))
}

/// Adds a log line to `out`; the word of its level stands out.
pub(in crate::view) fn push_line(out: &mut TextLine, line: &str) {
    let Some((place, role)) = level(line) else {
        return out.push(Role::Text, line);
    };
    out.push(Role::Text, &line[..place.start]);
    out.push(role, &line[place.clone()]);
    out.push(Role::Text, &line[place.end..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_words_not_parts_of_words() {
        assert_eq!(level("2024 ERROR cannot open"), Some((5..10, Role::LogError)));
        assert_eq!(level("[warn] slow"), Some((1..5, Role::LogWarning)));
        assert_eq!(level("terrorist"), None);
        assert_eq!(level("E0102 12:00:00 kubelet"), Some((0..5, Role::LogError)));
        assert_eq!(level("Everything is fine"), None);
        assert_eq!(level("größer ERR"), Some((9..12, Role::LogError)));
    }

    #[test]
    fn filters_are_text_patterns_or_their_inverse() {
        assert!(Matcher::parse("GET").expect("parses").keeps("a get b"));
        assert!(Matcher::parse("5\\d\\d").expect("parses").keeps("status 503"));
        assert!(!Matcher::parse("!debug").expect("parses").keeps("DEBUG x"));
        assert!(Matcher::parse("(").is_err());
    }
}
