//! What a log line is: its level, and whether a filter keeps it.

use regex::Regex;

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

/// The role of a line by the level it carries near its start.
pub(super) fn level(line: &str) -> Role {
    let head: String = line.chars().take(80).collect::<String>().to_ascii_uppercase();
    let has = |word: &str| {
        head.match_indices(word).any(|(at, _)| {
            let before = head[..at].chars().next_back();
            let after = head[at + word.len()..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
        })
    };
    let glog = |letter: char| head.starts_with(letter) && head[1..].starts_with(|ch: char| ch.is_ascii_digit());
    if ["ERROR", "FATAL", "PANIC", "CRITICAL", "ERR", "EMERG"]
        .iter()
        .any(|word| has(word))
        || glog('E')
        || glog('F')
    {
        Role::LogError
    } else if has("WARN") || has("WARNING") || glog('W') {
        Role::LogWarning
    } else {
        Role::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_words_not_parts_of_words() {
        assert_eq!(level("2024 ERROR cannot open"), Role::LogError);
        assert_eq!(level("[warn] slow"), Role::LogWarning);
        assert_eq!(level("terrorist"), Role::Text);
        assert_eq!(level("E0102 12:00:00 kubelet"), Role::LogError);
        assert_eq!(level("Everything is fine"), Role::Text);
    }

    #[test]
    fn filters_are_text_patterns_or_their_inverse() {
        assert!(Matcher::parse("GET").expect("parses").keeps("a get b"));
        assert!(Matcher::parse("5\\d\\d").expect("parses").keeps("status 503"));
        assert!(!Matcher::parse("!debug").expect("parses").keeps("DEBUG x"));
        assert!(Matcher::parse("(").is_err());
    }
}
