//! Every row of a feed by UID. The feed writes it; the UI thread asks it where an object of a listing is.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::store::Row;

/// Rows by UID.
pub(super) type ByUid = HashMap<Arc<str>, Arc<Row>>;

/// Locked for one batch at most, and never across an await.
#[derive(Debug, Default)]
pub(super) struct Index(RwLock<Known>);

#[derive(Debug, Default)]
pub(super) struct Known {
    /// Grows with every batch: a listing of the same generation shows exactly these rows.
    pub generation: u64,
    pub rows: ByUid,
}

/// What happened to one object: the row it had, and the row it has.
#[derive(Clone, Debug)]
pub struct Change {
    /// The row before; `None` for a new object.
    pub old: Option<Arc<Row>>,
    /// The row after; `None` for a deleted object.
    pub new: Option<Arc<Row>>,
}

impl Index {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn apply(&self, changes: &[Change]) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.generation += 1;
        for change in changes {
            match (&change.new, &change.old) {
                (Some(new), _) => {
                    known.rows.insert(new.id.uid.clone(), new.clone());
                }
                (None, Some(old)) => {
                    known.rows.remove(&old.id.uid);
                }
                (None, None) => {}
            }
        }
    }

    pub(super) fn get(&self, uid: &str) -> Option<Arc<Row>> {
        self.read().rows.get(uid).cloned()
    }

    /// Gives the memory back.
    pub(super) fn clear(&self) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.generation += 1;
        known.rows = ByUid::new();
    }
}
