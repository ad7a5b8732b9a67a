//! Where something is wrong in an expression, in the form that CEL's users know.

use std::fmt;

/// One fault in an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Where, in characters from the start; `None` when the expression as a whole is meant.
    pub offset: Option<u32>,
    /// What.
    pub message: String,
}

/// Why an expression does not compile. Displays as `ERROR: <input>:1:5: message`, the line, and a caret below the
/// place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issues {
    source: String,
    issues: Vec<Issue>,
}

/// More issues than this help nobody.
const MOST: usize = 100;

impl Issues {
    pub(crate) fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            issues: Vec::new(),
        }
    }

    pub(crate) fn report(&mut self, offset: u32, message: impl Into<String>) {
        self.issues.push(Issue {
            offset: Some(offset),
            message: message.into(),
        });
    }

    pub(crate) fn report_whole(&mut self, message: impl Into<String>) {
        self.issues.push(Issue {
            offset: None,
            message: message.into(),
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.issues.is_empty()
    }

    /// Each fault, in the order of the text.
    pub fn issues(&self) -> impl Iterator<Item = &Issue> {
        let mut sorted: Vec<&Issue> = self.issues.iter().collect();
        sorted.sort_by_key(|issue| issue.offset);
        sorted.into_iter().take(MOST)
    }
}

impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, issue) in self.issues().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            let Some(offset) = issue.offset else {
                write!(f, "ERROR: <input>:-1:0: {}", issue.message)?;
                continue;
            };
            let before: Vec<char> = self.source.chars().take(offset as usize).collect();
            let line = before.iter().filter(|c| **c == '\n').count();
            let column = before.iter().rev().take_while(|c| **c != '\n').count();
            write!(f, "ERROR: <input>:{}:{}: {}", line + 1, column + 1, issue.message)?;
            let text = self.source.split('\n').nth(line).unwrap_or_default();
            write!(f, "\n | {}\n | ", text.replace('\t', " "))?;
            // Wide characters get wide dots, so that the caret stays below its place.
            let mut letters = text.chars();
            for _ in 0..column {
                f.write_str(if letters.next().is_some_and(|c| c.len_utf8() > 1) {
                    "．"
                } else {
                    "."
                })?;
            }
            f.write_str(if letters.next().is_some_and(|c| c.len_utf8() > 1) {
                "＾"
            } else {
                "^"
            })?;
        }
        Ok(())
    }
}

impl std::error::Error for Issues {}
