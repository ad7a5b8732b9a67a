//! Every row of a feed by its object's identity. The feed writes it; the UI thread asks it where an object of a listing is.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::store::{ObjectId, Row};

/// A row that is found by its object's identity.
#[derive(Debug)]
pub(super) struct Identified(pub(super) Arc<Row>);

impl Borrow<ObjectId> for Identified {
    fn borrow(&self) -> &ObjectId {
        &self.0.id
    }
}

impl Hash for Identified {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl PartialEq for Identified {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Identified {}

/// Rows by identity.
#[derive(Debug, Default)]
pub(super) struct ById(HashSet<Identified>);

impl ById {
    pub(super) fn get(&self, id: &ObjectId) -> Option<&Arc<Row>> {
        self.0.get(id).map(|found| &found.0)
    }

    /// All rows, in no order.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Arc<Row>> {
        self.0.iter().map(|found| &found.0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Locked for one batch at most, and never across an await.
#[derive(Debug, Default)]
pub(super) struct Index(RwLock<Known>);

#[derive(Debug, Default)]
pub(super) struct Known {
    /// Grows with every batch: a listing of the same generation shows exactly these rows.
    pub generation: u64,
    pub rows: ById,
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
                    known.rows.0.replace(Identified(new.clone()));
                }
                (None, Some(old)) => {
                    known.rows.0.remove(&old.id);
                }
                (None, None) => {}
            }
        }
    }

    pub(super) fn get(&self, id: &ObjectId) -> Option<Arc<Row>> {
        self.read().rows.get(id).cloned()
    }

    /// Gives the memory back.
    pub(super) fn clear(&self) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.generation += 1;
        known.rows = ById::default();
    }
}
