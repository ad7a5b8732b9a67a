//! Text with roles: what describe, YAML, help and logs hand to the pager.

use std::sync::{Arc, Mutex, PoisonError};

use similar::{ChangeTag, TextDiff};

use crate::text;
use crate::theme::Role;

/// A run of text in one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What the text is.
    pub role: Role,
    /// The text, harmless.
    pub text: Box<str>,
}

/// Lines of more bytes than this remember where they wrap.
const LONG: usize = 2_000;

/// Where a long line wraps, for the width it was last asked for: the rows of a line of a megabyte are counted once, not at every key.
#[derive(Debug, Default)]
struct Wrapped(Mutex<Option<(usize, Rows)>>);

/// Where the rows of a line begin and end, in bytes.
pub type Rows = Arc<[(usize, usize)]>;

// What is remembered is no part of a line: a copy counts again, and equal lines stay equal.
impl Clone for Wrapped {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Wrapped {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Wrapped {}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TextLine {
    /// Its spans from left to right.
    pub spans: Vec<Span>,
    /// Columns later pieces are indented by when the line wraps.
    pub hang: u16,
    wrapped: Wrapped,
}

impl TextLine {
    /// The rows it takes when it wraps.
    pub fn rows(&self, columns: usize) -> Rows {
        let count = || text::wraps(&self.plain(), columns, self.indent(columns)).collect::<Rows>();
        if self.spans.iter().map(|span| span.text.len()).sum::<usize>() < LONG {
            return count();
        }
        let mut wrapped = self.wrapped.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*wrapped {
            Some((known, rows)) if *known == columns => rows.clone(),
            _ => {
                let rows = count();
                *wrapped = Some((columns, rows.clone()));
                rows
            }
        }
    }

    /// Columns by which its later rows are indented.
    pub fn indent(&self, columns: usize) -> usize {
        usize::from(self.hang).min(columns / 2)
    }

    /// An empty line.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a span; its text is made harmless here.
    #[must_use]
    pub fn with(mut self, role: Role, text: &str) -> Self {
        self.push(role, text);
        self
    }

    /// Adds a span; its text is made harmless here.
    pub fn push(&mut self, role: Role, text: &str) {
        if !text.is_empty() {
            self.spans.push(Span {
                role,
                text: text::clean(text).into(),
            });
        }
    }

    /// Sets the hanging indent.
    #[must_use]
    pub fn hanging(mut self, columns: usize) -> Self {
        self.hang = columns.min(60) as u16;
        self
    }

    /// The line without roles.
    pub fn plain(&self) -> String {
        self.spans.iter().map(|span| &*span.text).collect()
    }
}

/// A text of lines.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Document {
    /// The lines from top to bottom.
    pub lines: Vec<TextLine>,
}

impl Document {
    /// An empty text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line.
    pub fn push(&mut self, line: TextLine) {
        self.lines.push(line);
    }

    /// The text without roles, each line ended by a newline.
    pub fn plain(&self) -> String {
        let mut out = String::new();
        for line in &self.lines {
            out.push_str(&line.plain());
            out.push('\n');
        }
        out
    }
}

/// What differs between two texts: added and removed lines with a few around them, indented by so many columns.
pub fn difference(before: &str, after: &str, indent: usize) -> Vec<TextLine> {
    const AROUND: usize = 3;
    let diff = TextDiff::from_lines(before, after);
    let margin = " ".repeat(indent);
    let mut lines = Vec::new();
    for group in diff.grouped_ops(AROUND) {
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let (sign, role) = match change.tag() {
                ChangeTag::Delete => ("-", Role::DiffRemove),
                ChangeTag::Insert => ("+", Role::DiffAdd),
                ChangeTag::Equal => (" ", Role::Dim),
            };
            let text = change.value().trim_end_matches('\n');
            lines.push(
                TextLine::new()
                    .with(role, &format!("{margin}{sign} {text}"))
                    .hanging(indent + 4),
            );
        }
    }
    lines
}
