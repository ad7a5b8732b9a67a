//! Expectations: what a controller has asked for but not yet seen in its cache.
//!
//! A cache lags behind the writes of its own controller. Without memory of them, a ReplicaSet that has just created
//! three pods would look into the cache, find none, and create three more. So it notes how many creations and which
//! deletions it is waiting for, and manages nothing until the watch has shown them all (or five minutes have passed,
//! in case an event was lost for good).

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use crate::key::Key;
use crate::owner;
use crate::store::Change;

const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// The expectations of one controller, by the key of the owner.
#[derive(Default)]
pub(crate) struct Expectations(Mutex<HashMap<Key, Pending>>);

struct Pending {
    creations: usize,
    /// UIDs, so that a pod seen first as terminating and then as gone counts once.
    deletions: HashSet<String>,
    since: Instant,
}

impl Expectations {
    /// Whether everything asked for has been seen.
    pub(crate) fn satisfied(&self, owner: &Key) -> bool {
        self.lock().get(owner).is_none_or(|pending| {
            (pending.creations == 0 && pending.deletions.is_empty()) || pending.since.elapsed() > PATIENCE
        })
    }

    /// Notes writes that are about to be made. Must come before them: the watch may be faster than the response.
    pub(crate) fn expect(&self, owner: &Key, creations: usize, deletions: impl IntoIterator<Item = String>) {
        self.lock().insert(
            owner.clone(),
            Pending {
                creations,
                deletions: deletions.into_iter().collect(),
                since: Instant::now(),
            },
        );
    }

    /// A creation was seen, or will never be.
    pub(crate) fn created(&self, owner: &Key) {
        if let Some(pending) = self.lock().get_mut(owner) {
            pending.creations = pending.creations.saturating_sub(1);
        }
    }

    /// A deletion was seen, or will never be.
    pub(crate) fn deleted(&self, owner: &Key, uid: &str) {
        if let Some(pending) = self.lock().get_mut(owner) {
            pending.deletions.remove(uid);
        }
    }

    /// Notes what a change of a pod fulfils, and answers the owners of that kind that it concerns.
    pub(crate) fn observe(&self, change: &Change<Pod>, kind: &str) -> Vec<Key> {
        let owner_of = |pod: &Pod| owner::controller_key(&pod.metadata, kind);
        let mut keys: Vec<Key> = change.sides().filter_map(|pod| owner_of(pod)).collect();
        keys.dedup();
        if let (None, Some(new)) = (&change.old, &change.new)
            && let (Some(key), None) = (owner_of(new), &new.metadata.deletion_timestamp)
        {
            self.created(&key);
        }
        let leaving = match &change.new {
            Some(new) => Some(new).filter(|new| new.metadata.deletion_timestamp.is_some()),
            None => change.old.as_ref(),
        };
        if let Some((pod, key)) = leaving.and_then(|pod| Some((pod, owner_of(pod)?))) {
            self.deleted(&key, pod.metadata.uid.as_deref().unwrap_or_default());
        }
        keys
    }

    /// The owner is gone.
    pub(crate) fn forget(&self, owner: &Key) {
        self.lock().remove(owner);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Pending>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn satisfied_only_when_every_write_was_seen_or_patience_ran_out() {
        let (expectations, key) = (Expectations::default(), Key::new("default", "web"));
        assert!(expectations.satisfied(&key));
        expectations.expect(&key, 1, ["u1".to_string()]);
        expectations.deleted(&key, "u1");
        expectations.deleted(&key, "u1");
        assert!(!expectations.satisfied(&key));
        expectations.created(&key);
        assert!(expectations.satisfied(&key));
        expectations.expect(&key, 1, []);
        tokio::time::advance(PATIENCE + Duration::from_secs(1)).await;
        assert!(expectations.satisfied(&key));
    }
}
