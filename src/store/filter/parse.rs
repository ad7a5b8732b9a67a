//! From text to terms.

use std::iter::Peekable;
use std::str::CharIndices;

use regex::{Regex, RegexBuilder};

use super::term::{Column, Op, Term, Test, Value};
use crate::error::{Error, Result};

/// Longest filter understood: nobody types more, and a regular expression costs by its length.
const LONGEST: usize = 1024;
/// Memory a compiled regular expression may take.
const REGEX_SIZE: usize = 1 << 18;

pub(super) fn parse(text: &str, columns: &[&str]) -> Result<Vec<Vec<Term>>> {
    if text.len() > LONGEST {
        return Err(Error::usage(format!("the filter is longer than {LONGEST} bytes")));
    }
    let mut alternatives = vec![Vec::new()];
    for token in Tokens(text.char_indices().peekable(), text) {
        match token {
            Token::Or => alternatives.push(Vec::new()),
            Token::Term { inverse, body } => {
                let test = match body {
                    Body::Quoted(text) => Some(Test::Text(text.to_lowercase())),
                    Body::Regex(pattern) => regex(pattern)?,
                    Body::Word(word) => atom(word, columns)?,
                };
                if let (Some(test), Some(terms)) = (test, alternatives.last_mut()) {
                    terms.push(Term { inverse, test });
                }
            }
        }
    }
    alternatives.retain(|terms| !terms.is_empty());
    Ok(alternatives)
}

enum Token<'a> {
    Or,
    Term { inverse: bool, body: Body<'a> },
}

enum Body<'a> {
    Quoted(&'a str),
    Regex(&'a str),
    Word(&'a str),
}

struct Tokens<'a>(Peekable<CharIndices<'a>>, &'a str);

impl<'a> Tokens<'a> {
    /// Up to `end`, which is left out, or up to the end of the text.
    fn until(&mut self, end: char) -> &'a str {
        let start = self.0.peek().map_or(self.1.len(), |(at, _)| *at);
        let mut escaped = false;
        for (at, ch) in self.0.by_ref() {
            if ch == end && !escaped {
                return &self.1[start..at];
            }
            escaped = ch == '\\' && !escaped;
        }
        &self.1[start..]
    }

    fn word(&mut self) -> &'a str {
        let start = self.0.peek().map_or(self.1.len(), |(at, _)| *at);
        let mut depth = 0_usize;
        while let Some((at, ch)) = self.0.peek().copied() {
            // `web-(a|b)` is one regular expression, `a|b` are two terms.
            match ch {
                '(' | '[' => depth += 1,
                ')' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if ch.is_whitespace() || (ch == '|' && depth == 0) {
                return &self.1[start..at];
            }
            self.0.next();
        }
        &self.1[start..]
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        while self.0.next_if(|(_, ch)| ch.is_whitespace()).is_some() {}
        if self.0.next_if(|(_, ch)| *ch == '|').is_some() {
            return Some(Token::Or);
        }
        let inverse = self.0.next_if(|(_, ch)| *ch == '!').is_some();
        let body = match self.0.peek()?.1 {
            quote @ ('"' | '/') => {
                self.0.next();
                let inner = self.until(quote);
                if quote == '"' {
                    Body::Quoted(inner)
                } else {
                    Body::Regex(inner)
                }
            }
            _ => Body::Word(self.word()),
        };
        Some(Token::Term { inverse, body })
    }
}

fn regex(pattern: &str) -> Result<Option<Test>> {
    if pattern.is_empty() {
        return Ok(None);
    }
    compile(pattern).map(|regex| Some(Test::Regex(regex))).map_err(|error| {
        let text = error.to_string();
        let why = text
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned();
        Error::usage(format!("/{pattern}/ is no regular expression: {why}"))
            .hint(format!("to look for this text itself, quote it: \"{pattern}\""))
    })
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .case_insensitive(true)
        .size_limit(REGEX_SIZE)
        .dfa_size_limit(REGEX_SIZE)
        .build()
}

/// A word without quotes or slashes; `None` while nothing is there to test yet.
fn atom(word: &str, columns: &[&str]) -> Result<Option<Test>> {
    if let Some(pattern) = word.strip_prefix('~') {
        return Ok((!pattern.is_empty()).then(|| Test::Fuzzy(pattern.to_lowercase())));
    }
    if let Some((key, op, value)) = split(word)
        && let Some(test) = keyed(key, op, value, columns)?
    {
        return Ok(test);
    }
    // What only looks like a regular expression, and is none, is text: `a[1` on the way to `a[12]`.
    let is_pattern = word.contains(['^', '$', '*', '+', '?', '[', ']', '(', ')', '{', '}', '\\']);
    if is_pattern && let Ok(regex) = compile(word) {
        return Ok(Some(Test::Regex(regex)));
    }
    Ok((!word.is_empty()).then(|| Test::Text(word.to_lowercase())))
}

/// `key`, operator and value of `restarts>=3`, when the word begins with a key and an operator follows it.
fn split(word: &str) -> Option<(&str, Op, &str)> {
    let end = word.find(|ch: char| !(ch.is_ascii_alphanumeric() || "-_./%".contains(ch)))?;
    let (key, rest) = word.split_at(end);
    let ops = [
        (">=", Op::AtLeast),
        ("<=", Op::AtMost),
        ("!=", Op::Not),
        ("==", Op::Is),
        (">", Op::More),
        ("<", Op::Less),
        ("=", Op::Is),
        (":", Op::Has),
    ];
    let (sign, op) = ops.into_iter().find(|(sign, _)| rest.starts_with(sign))?;
    (!key.is_empty()).then(|| (key, op, &rest[sign.len()..]))
}

/// The test of `key op value`; the outer `None` says that it is plain text after all (`nginx:1.25`, `10.0.0.1:80`).
fn keyed(key: &str, op: Op, value: &str, columns: &[&str]) -> Result<Option<Option<Test>>> {
    if plain(key) == "label" && op == Op::Has {
        let (name, test) = match split(value) {
            Some((name, op @ (Op::Is | Op::Not), value)) => (name, Some((op, value))),
            _ => (value, None),
        };
        return Ok(Some((!name.is_empty()).then(|| label(name, test))));
    }
    let ordering = matches!(op, Op::More | Op::Less | Op::AtLeast | Op::AtMost);
    let Some(column) = find(key, columns, ordering) else {
        return match op {
            Op::Is | Op::Not => Ok(Some(Some(label(key, Some((op, value)))))),
            Op::Has => Ok(None),
            _ => Err(Error::usage(format!("no column is called {key:?}"))
                .hint(format!("the columns are {}", columns.join(", ").to_lowercase()))),
        };
    };
    if value.is_empty() {
        return Ok(Some(None));
    }
    if !ordering {
        return Ok(Some(Some(Test::Column {
            column,
            op,
            value: Value::text(value),
        })));
    }
    let value = Value::ordered(value).ok_or_else(|| {
        Error::usage(format!("{value:?} is no number, duration or quantity"))
            .hint("write it like restarts>3, age<10m or memory>128Mi")
    })?;
    Ok(Some(Some(Test::Column { column, op, value })))
}

fn label(name: &str, test: Option<(Op, &str)>) -> Test {
    Test::Label {
        name: name.to_owned(),
        test: test.map(|(op, value)| (op == Op::Not, value.to_owned())),
    }
}

/// Titles are compared without case and punctuation: `up-to-date` is UP-TO-DATE, `ports` is PORT(S).
fn plain(title: &str) -> String {
    title
        .chars()
        .filter(|ch| ch.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

fn find(key: &str, columns: &[&str], by_start: bool) -> Option<Column> {
    let key = plain(key);
    let titles: Vec<String> = columns.iter().map(|title| plain(title)).collect();
    if let Some(at) = titles.iter().position(|title| *title == key) {
        return Some(Column::Cell(at));
    }
    match key.as_str() {
        "" => return None,
        "namespace" | "ns" => return Some(Column::Namespace),
        "name" => return Some(Column::Name),
        _ => {}
    }
    let mut starting = titles
        .iter()
        .enumerate()
        .filter(|(_, title)| by_start && title.starts_with(&key));
    match (starting.next(), starting.next()) {
        (Some((at, _)), None) => Some(Column::Cell(at)),
        _ => None,
    }
}
