//! Log tails.

use std::sync::Arc;

use jiff::Timestamp;

/// One log line.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// Index into the spec's sources.
    pub source: u16,
    /// When the container wrote it, as the node stamped it.
    pub time: Option<Timestamp>,
    /// The line, harmless: escape sequences are removed.
    pub text: Box<str>,
}

/// The lines held at one moment; cloning it is cheap.
#[derive(Clone, Debug, Default)]
pub struct LogSnapshot {
    /// Number of the first line held; grows when the ring drops old lines.
    pub first: u64,
    lines: Vec<Arc<LogLine>>,
}

impl LogSnapshot {
    /// Lines held.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether no line has come yet.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The line at `index` of those held.
    pub fn get(&self, index: usize) -> Option<&LogLine> {
        self.lines.get(index).map(|line| &**line)
    }
}
