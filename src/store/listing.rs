//! An immutable, sorted window onto a feed: cloning it is a few reference counts.

use std::sync::Arc;

use jiff::Timestamp;

use super::index::{Change, Index};
use super::rows::Rows;
use crate::cluster::ClusterId;
use crate::error::Error;
use crate::store::{Column, ObjectId, Row, Sort, Tally};

/// How far around its last place a row is looked for before anything dearer.
const NEIGHBOURS: usize = 16;

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

/// One namespace of one cluster, or all of a cluster: what is listed by one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The cluster.
    pub cluster: ClusterId,
    /// The namespace; `None` is all.
    pub namespace: Option<Arc<str>>,
    /// How reading it goes; loading as long as there is no way to the cluster.
    pub state: FeedState,
}

impl Part {
    /// Whether an object belongs to it.
    pub(super) fn holds(&self, id: &ObjectId) -> bool {
        self.cluster == id.cluster
            && self
                .namespace
                .as_ref()
                .is_none_or(|namespace| **namespace == *id.namespace)
    }
}

/// Rows in order, and how they came to be.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// How the feed is doing on the whole: what one part shows is not held back by what another does not.
    pub state: FeedState,
    /// How each of its parts is doing.
    pub parts: Arc<[Part]>,
    /// The columns, in the order of a row's cells; none before anything is known.
    pub columns: Arc<[Column]>,
    /// Rows before the filter.
    pub total: usize,
    /// How well they are, before the filter.
    pub tally: Tally,
    /// The rows are those of another sort or filter of the same feed, shown until the wanted ones are ready: what is
    /// absent here may be there.
    pub stand_in: bool,
    pub(super) rows: Rows,
    pub(super) sort: Sort,
    pub(super) index: Arc<Index>,
    pub(super) generation: u64,
}

impl Listing {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row at `index`.
    pub fn get(&self, index: usize) -> Option<&Arc<Row>> {
        steps::count();
        self.rows.get(index)
    }

    /// Rows from `start`, at most `count`.
    pub fn window(&self, start: usize, count: usize) -> impl Iterator<Item = &Arc<Row>> {
        self.rows.iter_from(start).take(count).inspect(|_| steps::count())
    }

    /// All rows in order. For the UI thread there may be too many of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Row>> {
        self.window(0, usize::MAX)
    }

    /// How the part is doing that an object belongs to: what is absent from one that is not live may be there all the same.
    pub fn state_of(&self, id: &ObjectId) -> &FeedState {
        let part = self.parts.iter().find(|part| part.holds(id));
        part.map_or(&self.state, |part| &part.state)
    }

    /// The newest row of an object of the feed, whether or not this listing's filter keeps it.
    pub fn find(&self, id: &ObjectId) -> Option<Arc<Row>> {
        steps::count();
        self.index.get(id)
    }

    /// Where the object is; `near` is where it was last seen. While the feed [is ahead](Self::is_behind), it may be here and not be found.
    pub fn position(&self, id: &ObjectId, near: usize) -> Option<usize> {
        let is = |at: usize| self.get(at).is_some_and(|row| row.id == *id);
        let around = |step: usize| [near.checked_add(step), near.checked_sub(step)].into_iter().flatten();
        let beside = (0..=NEIGHBOURS).flat_map(around).find(|at| is(*at));
        beside.or_else(|| self.rows.find(&*self.find(id)?, self.sort))
    }

    /// Whether the feed has gone on since: a newer listing is about to be published.
    pub fn is_behind(&self) -> bool {
        self.index.read().generation != self.generation
    }
}

impl FromIterator<Arc<Row>> for Listing {
    /// A live listing of these rows by namespace and name.
    fn from_iter<I: IntoIterator<Item = Arc<Row>>>(rows: I) -> Self {
        let sort = Sort::default();
        let rows = sort.sort(rows.into_iter().collect());
        let index = Arc::new(Index::default());
        index.apply(
            &rows
                .iter()
                .map(|row| Change {
                    old: None,
                    new: Some(row.clone()),
                })
                .collect::<Vec<_>>(),
        );
        let generation = index.read().generation;
        Self {
            state: FeedState::Live,
            columns: Arc::default(),
            total: rows.len(),
            tally: rows.iter().map(|row| row.health).collect(),
            stand_in: false,
            parts: Arc::default(),
            rows: Rows::from_sorted(rows),
            sort,
            generation,
            index,
        }
    }
}

#[cfg(not(test))]
mod steps {
    pub(super) fn count() {}
}

/// Counts the rows of listings that this thread looks at, so that a test fails when a key looks at all of many.
#[cfg(test)]
pub(crate) mod steps {
    use std::cell::Cell;

    thread_local! {
        static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn count() {
        STEPS.set(STEPS.get() + 1);
    }

    /// How many since the last time this was asked.
    pub(crate) fn taken() -> usize {
        STEPS.replace(0)
    }
}
