//! Rows that stand together in an order, and their texts in one place: a filter looks for a word in one run of memory instead of following
//! eight pointers for each row.

use std::sync::{Arc, OnceLock};

use memchr::memmem::Finder;

use super::filter::texts;
use crate::store::Row;

/// A set of the rows of a block, by their places.
pub(super) type Bits = Vec<u64>;

/// Rows in order.
#[derive(Debug, Default)]
pub(super) struct Block {
    rows: Vec<Arc<Row>>,
    /// Made when a filter asks for the first time; from then on it follows the rows.
    haystack: OnceLock<Haystack>,
}

/// What a filter on text finds in each row, in lower case, one after the other.
#[derive(Clone, Debug, Default)]
struct Haystack {
    bytes: Vec<u8>,
    /// Where the text of each row ends.
    ends: Vec<u32>,
}

impl Block {
    pub(super) fn new(rows: Vec<Arc<Row>>) -> Self {
        Self {
            rows,
            haystack: OnceLock::new(),
        }
    }

    pub(super) fn rows(&self) -> &[Arc<Row>] {
        &self.rows
    }

    /// A copy with room for `capacity` rows.
    pub(super) fn copy(&self, capacity: usize) -> Self {
        let mut rows = Vec::with_capacity(capacity);
        rows.extend_from_slice(&self.rows);
        Self {
            rows,
            haystack: self.haystack.clone(),
        }
    }

    pub(super) fn insert(&mut self, at: usize, row: Arc<Row>) {
        if let Some(haystack) = self.haystack.get_mut() {
            haystack.insert(at, &row);
        }
        self.rows.insert(at, row);
    }

    pub(super) fn remove(&mut self, at: usize) {
        if let Some(haystack) = self.haystack.get_mut() {
            haystack.remove(at);
        }
        self.rows.remove(at);
    }

    pub(super) fn replace(&mut self, at: usize, row: Arc<Row>) {
        if let Some(haystack) = self.haystack.get_mut() {
            haystack.remove(at);
            haystack.insert(at, &row);
        }
        self.rows[at] = row;
    }

    /// Takes the second half away.
    pub(super) fn split(&mut self) -> Self {
        self.haystack.take();
        Self::new(self.rows.split_off(self.rows.len() / 2))
    }

    pub(super) fn append(&mut self, next: &Self) {
        self.haystack.take();
        self.rows.extend_from_slice(&next.rows);
    }

    /// The rows in which `needle`, which is in lower case, is found.
    pub(super) fn find(&self, needle: &Finder<'_>) -> Bits {
        let haystack = self.haystack.get_or_init(|| Haystack::of(&self.rows));
        let mut found = vec![0; self.rows.len().div_ceil(64)];
        let (mut row, mut from) = (0, 0);
        while let Some(at) = haystack.bytes.get(from..).and_then(|rest| needle.find(rest)) {
            let at = from + at;
            row += haystack.ends[row..].partition_point(|end| *end as usize <= at);
            let Some(end) = haystack.ends.get(row) else { break };
            found[row / 64] |= 1 << (row % 64);
            from = *end as usize;
        }
        found
    }
}

impl Haystack {
    fn of(rows: &[Arc<Row>]) -> Self {
        let mut haystack = Self::default();
        for row in rows {
            texts(row, &mut haystack.bytes);
            haystack.ends.push(haystack.bytes.len() as u32);
        }
        haystack.bytes.shrink_to_fit();
        haystack
    }

    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.ends[before] as usize)
    }

    fn insert(&mut self, at: usize, row: &Row) {
        let mut text = Vec::new();
        texts(row, &mut text);
        let start = self.start(at);
        self.ends.insert(at, start as u32);
        for end in &mut self.ends[at..] {
            *end += text.len() as u32;
        }
        self.bytes.splice(start..start, text);
    }

    fn remove(&mut self, at: usize) {
        let start = self.start(at);
        let end = self.ends.remove(at) as usize;
        for later in &mut self.ends[at..] {
            *later -= (end - start) as u32;
        }
        self.bytes.drain(start..end);
    }
}
