//! The marked rows of a table. As many as there are rows: what concerns all of them is done in slices, between keys.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::store::{FeedState, Listing, ObjectId, Row};

/// Marks looked at in one go.
const SLICE: usize = 4_000;
/// Between two looks at more of them than that.
const REST: SignedDuration = SignedDuration::from_secs(1);

/// Marked rows, by the identities of their objects.
#[derive(Debug, Default)]
pub(super) struct Marks {
    rows: BTreeMap<ObjectId, Arc<Row>>,
    /// Where marking all has come to in the listing that was there when that was asked for.
    marking: Option<(Arc<Listing>, usize)>,
    /// What has been unmarked before that came to it.
    spared: BTreeSet<ObjectId>,
    /// Whether objects have changed since the marks began to follow them the last time.
    owed: bool,
    /// Up to where they have followed, while they do.
    followed: Option<Option<ObjectId>>,
    /// When they had all followed the last time.
    rested: Option<Timestamp>,
}

impl Marks {
    /// Marks every row of a listing.
    pub(super) fn all(listing: &Arc<Listing>) -> Self {
        let mut marks = Self {
            marking: Some((listing.clone(), 0)),
            ..Self::default()
        };
        marks.mark();
        marks
    }

    /// How many there are, or will be in a moment.
    pub(super) fn len(&self) -> usize {
        let coming = self.marking.as_ref();
        let coming = coming.map_or(0, |(listing, next)| listing.len().saturating_sub(*next));
        (self.rows.len() + coming).saturating_sub(self.spared.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn has(&self, id: &ObjectId) -> bool {
        self.rows.contains_key(id)
    }

    /// All of them; one is about to do something with them.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Arc<Row>> {
        let coming = self.marking.iter();
        let coming = coming.flat_map(|(listing, next)| listing.window(*next, usize::MAX));
        self.rows
            .values()
            .chain(coming.filter(|row| !self.spared.contains(&row.id)))
    }

    pub(super) fn toggle(&mut self, row: &Arc<Row>) {
        if self.rows.remove(&row.id).is_some() {
            return;
        }
        if self.marking.is_none() {
            self.rows.insert(row.id.clone(), row.clone());
        } else if !self.spared.remove(&row.id) {
            self.spared.insert(row.id.clone());
        }
    }

    /// Objects have changed: marks follow them, and one that has vanished loses its mark once its absence is certain.
    pub(super) fn follow(&mut self, listing: &Listing, now: Timestamp) {
        self.owed = true;
        self.go(listing, now);
    }

    /// Goes on with what takes long; whether there is more.
    pub(super) fn work(&mut self, listing: &Listing, now: Timestamp) -> bool {
        self.mark() || self.go(listing, now)
    }

    fn mark(&mut self) -> bool {
        let Some((listing, next)) = self.marking.take() else {
            return false;
        };
        let rows = listing.window(next, SLICE).filter(|row| !self.spared.contains(&row.id));
        self.rows.extend(rows.map(|row| (row.id.clone(), row.clone())));
        if next + SLICE < listing.len() {
            self.marking = Some((listing, next + SLICE));
        } else {
            self.spared.clear();
        }
        self.marking.is_some()
    }

    fn go(&mut self, listing: &Listing, now: Timestamp) -> bool {
        let rested = self.rested.is_none_or(|at| now.duration_since(at) >= REST);
        if self.followed.is_none() && self.owed && (rested || self.rows.len() <= SLICE) {
            self.owed = false;
            self.followed = Some(None);
        }
        let Some(followed) = self.followed.take() else {
            return false;
        };
        let from = followed.map_or(Bound::Unbounded, Bound::Excluded);
        let mut gone = Vec::new();
        let mut last = None;
        for (id, row) in self.rows.range_mut((from, Bound::Unbounded)).take(SLICE) {
            match listing.find(id) {
                Some(newest) => *row = newest,
                None if *listing.state_of(id) == FeedState::Live => gone.push(id.clone()),
                None => {}
            }
            last = Some(id.clone());
        }
        for id in &gone {
            self.rows.remove(id);
        }
        match last {
            Some(last) => self.followed = Some(Some(last)),
            None => self.rested = Some(now),
        }
        self.followed.is_some()
    }
}
