//! One sort and filter over a feed.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::Timestamp;

use super::index::{ByUid, Change};
use super::row::natural;
use super::rows::Rows;
use crate::store::{Cell, Filter, Row, Sort};

impl Sort {
    /// The order of two rows. Total: two rows are equal only when they are of the same object and have the same key.
    /// Descending turns the column around, not the names that break ties, and empty cells stay last.
    pub fn order(self, a: &Row, b: &Row) -> Ordering {
        let column = self.column.map_or(Ordering::Equal, |column| {
            let (a, b) = (
                a.cells.get(column).unwrap_or(&Cell::Empty),
                b.cells.get(column).unwrap_or(&Cell::Empty),
            );
            let order = a.order(b);
            let turn = self.descending && *a != Cell::Empty && *b != Cell::Empty;
            if turn { order.reverse() } else { order }
        });
        let names = || {
            let namespaces = if Arc::ptr_eq(&a.id.namespace, &b.id.namespace) {
                Ordering::Equal
            } else {
                natural(&a.id.namespace, &b.id.namespace)
            };
            namespaces
                .then_with(|| natural(&a.id.name, &b.id.name))
                .then_with(|| a.id.uid.cmp(&b.id.uid))
        };
        match self.column {
            None if self.descending => natural(&b.id.namespace, &a.id.namespace)
                .then_with(|| natural(&b.id.name, &a.id.name))
                .then_with(|| a.id.uid.cmp(&b.id.uid)),
            _ => column.then_with(names),
        }
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

    /// Its rows.
    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Its order.
    pub(super) fn sort(&self) -> Sort {
        self.sort
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
        let mut kept: Vec<Arc<Row>> = Vec::new();
        for row in all {
            if self.keeps(row, now) {
                kept.push(row.clone());
            }
        }
        kept.sort_by(|a, b| self.sort.order(a, b));
        self.rows = Rows::from_sorted(&kept);
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
