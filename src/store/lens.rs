//! One sort over a feed ([`Order`]), and one filter over that ([`Lens`]).
//!
//! An order says nothing of filters: what a user types at `/` looks at the rows in their order and sorts nothing.

use std::sync::Arc;

use jiff::Timestamp;

use super::index::{ById, Change};
use super::rows::Rows;
use crate::store::{Filter, Listing, Row, Sort};

/// Every row of a feed in one order.
#[derive(Debug)]
pub struct Order {
    sort: Sort,
    rows: Rows,
}

impl Order {
    /// Sorts all rows.
    pub fn new(sort: Sort, all: impl Iterator<Item = Arc<Row>>) -> Self {
        Self {
            sort,
            rows: Rows::from_sorted(sort.sort(all.collect())),
        }
    }

    /// What it is sorted by.
    pub fn sort(&self) -> Sort {
        self.sort
    }

    /// Moves the changed rows; `all` are the feed's rows after the changes.
    pub(super) fn apply(&mut self, changes: &[Change], all: &ById) {
        if changes.len() * 8 > all.len() {
            *self = Self::new(self.sort, all.rows().cloned());
            return;
        }
        for Change { old, new } in changes {
            move_row(&mut self.rows, old.as_ref(), new.as_ref(), self.sort);
        }
    }
}

/// Puts the new row where it belongs, and takes the old one away.
fn move_row(rows: &mut Rows, old: Option<&Arc<Row>>, new: Option<&Arc<Row>>, sort: Sort) {
    if let Some(old) = old {
        if let Some(new) = new
            && rows.replace(old, new, sort)
        {
            return;
        }
        rows.remove(old, sort);
    }
    if let Some(new) = new {
        rows.insert(new.clone(), sort);
    }
}

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

    /// What it is sorted by.
    pub(super) fn sort(&self) -> Sort {
        self.sort
    }

    /// Filters everything anew, in the order that has the lens's sort.
    pub fn reset(&mut self, order: &Order, now: Timestamp) {
        self.flip = None;
        if self.filter.is_empty() && !self.faults {
            self.rows = order.rows.clone();
            return;
        }
        let mut kept = Vec::new();
        order
            .rows
            .blocks()
            .for_each(|block| self.filter.pick(block, now, &mut kept));
        if self.faults {
            kept.retain(|row| row.health.needs_attention());
        }
        if self.filter.is_timely() {
            let flips = order.rows.iter_from(0).filter_map(|row| self.filter.flip(row, now));
            self.flip = flips.min();
        }
        self.rows = Rows::from_sorted(kept);
    }

    /// Moves the changed rows; `order` is the feed's order after the changes.
    pub(super) fn apply(&mut self, changes: &[Change], order: &Order, now: Timestamp) {
        if changes.len() * 8 > order.rows.len() || (self.filter.is_empty() && !self.faults) {
            return self.reset(order, now);
        }
        for change in changes {
            self.change(change, now);
        }
    }

    /// Moves one row.
    pub fn change(&mut self, change: &Change, now: Timestamp) {
        let new = change.new.as_ref().filter(|row| self.keeps(row, now));
        // Whether the old row passed is asked of the order, not of the filter: the answer of `age<10m` changes with time.
        move_row(&mut self.rows, change.old.as_ref(), new, self.sort);
    }

    fn keeps(&mut self, row: &Row, now: Timestamp) -> bool {
        if let Some(flip) = self.filter.flip(row, now) {
            self.flip = Some(self.flip.map_or(flip, |known| known.min(flip)));
        }
        (!self.faults || row.health.needs_attention()) && self.filter.keeps(row, now)
    }
}
