//! The text being edited, and its past.

use std::rc::Rc;

/// Steps that can be undone.
const HISTORY: usize = 200;

/// Largest file that is opened.
const MAX_FILE: u64 = 64 << 20;

/// Lines are shared between the present and the past: a step of history costs pointers, not text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snapshot {
    lines: Vec<Rc<str>>,
    row: usize,
    column: usize,
}

/// Lines without their ends; never none at all.
#[derive(Debug)]
pub(super) struct Buffer {
    lines: Vec<Rc<str>>,
    undo: Vec<Snapshot>,
    redo: Vec<Snapshot>,
    /// Counts changes.
    pub version: u64,
    pub saved: u64,
}

impl Buffer {
    pub(super) fn new(text: &str) -> Self {
        let mut lines: Vec<Rc<str>> = text.lines().map(Rc::from).collect();
        if lines.is_empty() {
            lines.push("".into());
        }
        Self {
            lines,
            undo: Vec::new(),
            redo: Vec::new(),
            version: 0,
            saved: 0,
        }
    }

    /// Reads a file. `Ok(None)`: there is none yet.
    pub(super) fn load(path: &str) -> Result<Option<String>, String> {
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(crate::say::reason(&error)),
            Ok(meta) if !meta.is_file() => return Err("not a regular file".to_owned()),
            Ok(meta) if meta.len() > MAX_FILE => return Err("file too large".to_owned()),
            Ok(_) => {}
        }
        match std::fs::read(path) {
            Ok(bytes) => String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| "not a text file".to_owned()),
            Err(error) => Err(crate::say::reason(&error)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn line(&self, row: usize) -> &str {
        self.lines.get(row).map_or("", |l| l)
    }

    pub(super) fn chars(&self, row: usize) -> Vec<char> {
        self.line(row).chars().collect()
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    pub(super) fn modified(&self) -> bool {
        self.version != self.saved
    }

    /// Remembers the state before a change.
    pub(super) fn checkpoint(&mut self, row: usize, column: usize) {
        let lines = self.lines.clone();
        if self.undo.last().is_some_and(|last| last.lines == lines) {
            return;
        }
        self.undo.push(Snapshot { lines, row, column });
        if self.undo.len() > HISTORY {
            self.undo.remove(0);
        }
        self.redo.clear();
    }

    /// Goes back (or, with `forward`, on again) one step; the result is where the cursor was.
    pub(super) fn travel(&mut self, forward: bool, row: usize, column: usize) -> Option<(usize, usize)> {
        let current = self.lines.clone();
        let (from, to) = if forward {
            (&mut self.redo, &mut self.undo)
        } else {
            (&mut self.undo, &mut self.redo)
        };
        // A checkpoint that nothing followed is no step.
        while from.last().is_some_and(|s| s.lines == current) {
            from.pop();
        }
        let target = from.pop()?;
        to.push(Snapshot {
            lines: current,
            row,
            column,
        });
        self.lines = target.lines;
        self.version += 1;
        Some((target.row, target.column))
    }

    pub(super) fn set(&mut self, row: usize, text: &str) {
        if let Some(line) = self.lines.get_mut(row) {
            *line = text.into();
            self.version += 1;
        }
    }

    pub(super) fn set_chars(&mut self, row: usize, chars: &[char]) {
        self.set(row, &chars.iter().collect::<String>());
    }

    pub(super) fn insert(&mut self, row: usize, text: &str) {
        self.lines.insert(row.min(self.lines.len()), text.into());
        self.version += 1;
    }

    /// Takes lines out; one empty line stays when all go.
    pub(super) fn remove(&mut self, from: usize, to: usize) -> Vec<String> {
        let to = to.min(self.lines.len());
        let gone: Vec<String> = self.lines.drain(from.min(to)..to).map(|l| l.to_string()).collect();
        if self.lines.is_empty() {
            self.lines.push("".into());
        }
        self.version += 1;
        gone
    }

    /// Takes the text between two places out, across lines.
    pub(super) fn cut(&mut self, from: (usize, usize), to: (usize, usize)) -> Vec<String> {
        let copied = self.copy(from, to);
        let head: Vec<char> = self.chars(from.0).into_iter().take(from.1).collect();
        let tail: Vec<char> = self.chars(to.0).into_iter().skip(to.1).collect();
        self.lines
            .drain(from.0 + 1..(to.0 + 1).min(self.lines.len()).max(from.0 + 1));
        self.set_chars(from.0, &[head, tail].concat());
        copied
    }

    pub(super) fn copy(&self, from: (usize, usize), to: (usize, usize)) -> Vec<String> {
        (from.0..=to.0.min(self.lines.len().saturating_sub(1)))
            .map(|row| {
                let chars = self.chars(row);
                let start = if row == from.0 { from.1.min(chars.len()) } else { 0 };
                let end = if row == to.0 {
                    to.1.min(chars.len())
                } else {
                    chars.len()
                };
                chars[start..end.max(start)].iter().collect()
            })
            .collect()
    }
}
