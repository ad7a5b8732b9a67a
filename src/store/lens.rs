//! One sort and filter over a feed.

use std::sync::Arc;

use jiff::Timestamp;

use super::index::{ByUid, Change};
use super::rows::Rows;
use crate::store::{Filter, Listing, Row, Sort};

/// Keeps the rows that pass its filter in its order while the feed changes.
#[derive(Debug)]
pub struct Lens {
    sort: Sort,
    filter: Filter,
    faults: bool,
    rows: Rows,
    flip: Option<Timestamp>,
}

impl Lens {
    /// A lens over nothing yet.
    pub fn new(sort: Sort, filter: Filter, faults: bool) -> Self {
        Self {
            sort,
            filter,
            faults,
            rows: Rows::default(),
            flip: None,
        }
    }

    /// Its rows as they are now, whatever happens to it later. The feed adds what it knows of itself.
    pub fn snapshot(&self) -> Listing {
        Listing {
            rows: self.rows.clone(),
            sort: self.sort,
            ..Listing::default()
        }
    }

    /// Number of rows it keeps.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it keeps none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When time alone changes what an `age<10m` keeps; then it must be [`reset`](Self::reset).
    pub(super) fn flip(&self) -> Option<Timestamp> {
        self.flip
    }

    /// Filters and sorts everything anew.
    pub fn reset<'a>(&mut self, all: impl Iterator<Item = &'a Arc<Row>>, now: Timestamp) {
        self.flip = None;
        // A row is a few allocations made at once, so rows visited in the order of their addresses are read from memory
        // in long strides instead of a cache miss each: three times as fast.
        let mut all: Vec<&Arc<Row>> = all.collect();
        all.sort_unstable_by_key(|row| Arc::as_ptr(row));
        let mut kept: Vec<Arc<Row>> = Vec::new();
        for row in all {
            if self.keeps(row, now) {
                kept.push(row.clone());
            }
        }
        self.rows = Rows::from_sorted(self.sort.sort(kept));
    }

    /// Moves the changed rows; `all` are the feed's rows after the changes.
    pub(super) fn apply(&mut self, changes: &[Change], all: &ByUid, now: Timestamp) {
        if changes.len() * 8 > all.len() {
            return self.reset(all.values(), now);
        }
        for change in changes {
            self.change(change, now);
        }
    }

    /// Moves one row.
    pub fn change(&mut self, change: &Change, now: Timestamp) {
        let new = change.new.as_ref().filter(|row| self.keeps(row, now));
        // Whether the old row passed is asked of the order, not of the filter: the answer of `age<10m` changes with time.
        if let Some(old) = &change.old {
            if let Some(new) = new
                && self.rows.replace(old, new, self.sort)
            {
                return;
            }
            self.rows.remove(old, self.sort);
        }
        if let Some(new) = new {
            self.rows.insert(new.clone(), self.sort);
        }
    }

    fn keeps(&mut self, row: &Row, now: Timestamp) -> bool {
        if let Some(flip) = self.filter.flip(row, now) {
            self.flip = Some(self.flip.map_or(flip, |known| known.min(flip)));
        }
        (!self.faults || row.health.needs_attention()) && self.filter.keeps(row, now)
    }
}
