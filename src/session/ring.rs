//! Lines in bounded memory: chunks that snapshots share, dropped from the front when there are too many.

use std::collections::VecDeque;
use std::sync::Arc;

use super::logs::{LogLine, LogSnapshot};

/// Lines of a chunk.
pub(super) const CHUNK: usize = 512;
/// Most bytes of text held.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Most lines held.
const MAX_LINES: usize = 1_000_000;

/// The newest lines of a log.
#[derive(Debug, Default)]
pub(super) struct Ring {
    chunks: VecDeque<Arc<Vec<LogLine>>>,
    bytes: VecDeque<usize>,
    total: usize,
    first: u64,
    version: u64,
}

impl Ring {
    /// Adds a line; the oldest chunk goes when memory is full.
    pub(super) fn push(&mut self, line: LogLine) {
        self.version += 1;
        if self.chunks.back().is_none_or(|chunk| chunk.len() >= CHUNK) {
            self.chunks.push_back(Arc::new(Vec::with_capacity(16)));
            self.bytes.push_back(0);
        }
        let size = line.text.len() + std::mem::size_of::<LogLine>();
        if let (Some(chunk), Some(bytes)) = (self.chunks.back_mut(), self.bytes.back_mut()) {
            // Copies the open chunk at most once per snapshot.
            Arc::make_mut(chunk).push(line);
            *bytes += size;
            self.total += size;
        }
        while self.chunks.len() > 1 && (self.total > MAX_BYTES || self.chunks.len() > MAX_LINES / CHUNK) {
            self.chunks.pop_front();
            self.total -= self.bytes.pop_front().unwrap_or(0);
            self.first += CHUNK as u64;
        }
    }

    /// Drops everything; numbers go on.
    pub(super) fn clear(&mut self) {
        self.version += 1;
        let held: usize = self.chunks.iter().map(|chunk| chunk.len()).sum();
        self.first += held as u64;
        self.chunks.clear();
        self.bytes.clear();
        self.total = 0;
    }

    /// Grows with every change: what a snapshot is as new as.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// What is held now; costs one pointer per chunk.
    pub(super) fn snapshot(&self) -> LogSnapshot {
        LogSnapshot {
            first: self.first,
            chunks: self.chunks.iter().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogLine {
        LogLine {
            source: 0,
            time: None,
            text: text.into(),
        }
    }

    #[test]
    fn snapshots_do_not_change_while_lines_arrive() {
        let mut ring = Ring::default();
        for number in 0..CHUNK + 10 {
            ring.push(line(&number.to_string()));
        }
        let snapshot = ring.snapshot();
        ring.push(line("later"));
        assert_eq!(snapshot.len(), CHUNK + 10);
        assert_eq!(snapshot.get(CHUNK + 9).map(|line| &*line.text), Some("521"));
        assert_eq!(ring.snapshot().len(), CHUNK + 11);
    }

    #[test]
    fn memory_is_bounded_and_numbers_go_on() {
        let mut ring = Ring::default();
        let long = "x".repeat(64 * 1024);
        for _ in 0..3000 {
            ring.push(line(&long));
        }
        let snapshot = ring.snapshot();
        assert!(ring.total <= MAX_BYTES + CHUNK * (long.len() + 64));
        assert_eq!(snapshot.first + snapshot.len() as u64, 3000);
    }
}
