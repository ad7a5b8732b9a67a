//! An immutable, sorted window onto a feed: cloning it is one reference count.

use std::sync::Arc;

use jiff::Timestamp;

use crate::error::Error;
use crate::store::Row;

/// How a feed is doing.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum FeedState {
    /// The first list is under way; rows appear as they arrive.
    #[default]
    Loading,
    /// Listed, and watching.
    Live,
    /// The watch broke; what is shown was true at `since`, and the feed is trying again.
    Stale {
        /// When the cluster was last heard.
        since: Timestamp,
        /// Why.
        error: Error,
    },
    /// The list was refused (403, 404 ...); the feed tries again slowly.
    Failed(Error),
}

/// Rows in order, and how they came to be.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// How the feed is doing.
    pub state: FeedState,
    /// Rows before the filter.
    pub total: usize,
    /// Rows (before the filter) that need attention.
    pub faults: usize,
    rows: Arc<Vec<Arc<Row>>>,
}

impl Listing {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row at `index`.
    pub fn get(&self, index: usize) -> Option<&Arc<Row>> {
        self.rows.get(index)
    }

    /// Rows from `start`, at most `count`.
    pub fn window(&self, start: usize, count: usize) -> impl Iterator<Item = &Arc<Row>> {
        self.rows.iter().skip(start).take(count)
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Row>> {
        self.rows.iter()
    }

    /// Where the object with `uid` is; `near` is where it was last seen.
    pub fn position(&self, uid: &str, near: usize) -> Option<usize> {
        match self.get(near) {
            Some(row) if *row.id.uid == *uid => Some(near),
            _ => self.rows.iter().position(|row| *row.id.uid == *uid),
        }
    }
}
