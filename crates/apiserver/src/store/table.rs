//! The objects of one resource and the recent past of that resource.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::watch;

use super::Spec;
use super::lane::{Lane, Lanes, Wake};
use super::object::{Change, Entry, Event, Object};

/// Events kept for watches that reconnect.
const HISTORY_EVENTS: usize = 10_000;
/// Bytes of JSON the kept events may hold. A table of large objects keeps fewer of them.
const HISTORY_BYTES: usize = 24 << 20;

/// The version asked for is older than what the history reaches back to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expired {
    /// The oldest version a watch may start from.
    pub oldest: u64,
}

fn size(object: &Object) -> u64 {
    (object.key.len() + object.size()) as u64
}

/// Live objects and history. Only the publisher of committed writes changes it, under the store's lock.
#[derive(Debug, Default)]
pub(crate) struct Table {
    objects: BTreeSet<Entry>,
    history: VecDeque<Arc<Event>>,
    history_bytes: usize,
    /// Bytes of the objects and their keys.
    bytes: u64,
    lanes: Lanes,
    /// Every event after this version is in `history`.
    floor: u64,
}

impl Table {
    /// A table as loaded from disk: objects without a past.
    pub(crate) fn loaded(objects: BTreeSet<Entry>, floor: u64) -> Self {
        Self {
            bytes: objects.iter().map(|entry| size(&entry.0)).sum(),
            objects,
            floor,
            ..Self::default()
        }
    }

    /// Computes the index of every object by new rules. The past keeps the old one.
    pub(crate) fn reindex(&mut self, spec: &Spec) {
        let reindexed = self.objects.iter().map(|Entry(object)| {
            let index = (spec.index)(&object.value());
            Entry(match index == object.index {
                true => object.clone(),
                false => Arc::new(object.reindexed(index)),
            })
        });
        self.objects = reindexed.collect();
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Object>> {
        self.objects.get(key).map(|entry| &entry.0)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn history(&self) -> &VecDeque<Arc<Event>> {
        &self.history
    }

    /// Objects of one namespace, or of all, whose key is greater than `after`.
    pub(crate) fn range<'a>(
        &'a self,
        namespace: Option<&str>,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let prefix = namespace.map_or(String::new(), |namespace| format!("{namespace}/"));
        let start = match after {
            Some(after) if after >= prefix.as_str() => Bound::Excluded(after.to_owned()),
            _ => Bound::Included(prefix.clone()),
        };
        self.objects
            .range::<str, _>((start.as_ref().map(String::as_str), Bound::Unbounded))
            .map(|entry| &entry.0)
            .take_while(move |object| object.key.starts_with(&prefix))
    }

    /// The same as [`Table::range`] as it was at an older version, by undoing the events since then: calls `each` until it
    /// returns false.
    pub(crate) fn visit_at<'a>(
        &'a self,
        version: u64,
        namespace: Option<&str>,
        after: Option<&str>,
        mut each: impl FnMut(&'a Arc<Object>) -> bool,
    ) -> Result<(), Expired> {
        let since = self.since(version)?;
        // The first event after `version` that touched a key knows what the key held at `version`.
        let prefix = namespace.map_or(String::new(), |namespace| format!("{namespace}/"));
        let mut undone: BTreeMap<&str, Option<&Arc<Object>>> = BTreeMap::new();
        for event in self.history.range(since..) {
            let key: &str = &event.object.key;
            if key.starts_with(&prefix) && after.is_none_or(|after| key > after) {
                undone.entry(key).or_insert(event.previous.as_ref());
            }
        }
        let mut undone = undone.into_iter().peekable();
        let mut live = self.range(namespace, after).peekable();
        loop {
            let then = match (live.peek(), undone.peek()) {
                (None, None) => return Ok(()),
                (Some(object), Some((key, _))) if &*object.key < *key => live.next(),
                (Some(_), None) => live.next(),
                (object, Some((key, _))) => {
                    if object.is_some_and(|object| &*object.key == *key) {
                        live.next();
                    }
                    undone.next().and_then(|(_, before)| before)
                }
            };
            if then.is_some_and(|object| !each(object)) {
                return Ok(());
            }
        }
    }

    /// Index in the history of the first event after `version`.
    fn since(&self, version: u64) -> Result<usize, Expired> {
        if version < self.floor {
            return Err(Expired { oldest: self.floor });
        }
        Ok(self.history.partition_point(|event| event.object.version <= version))
    }

    /// A signal for the events of a part of the table.
    pub(super) fn follow(&mut self, lane: Lane, version: u64) -> watch::Receiver<u64> {
        self.lanes.follow(lane, &self.history, self.floor, version)
    }

    /// Up to `limit` events of a part of the table after `version`.
    pub(crate) fn events(&self, lane: &Lane, version: u64, limit: usize) -> Result<Vec<Arc<Event>>, Expired> {
        if let Some(events) = self.lanes.events(lane, version, limit) {
            return events;
        }
        let since = self.since(version)?;
        Ok(self.history.range(since..).take(limit).cloned().collect())
    }

    /// Makes a committed write visible.
    pub(super) fn publish(&mut self, event: Arc<Event>, wake: &mut Wake) {
        self.lanes.publish(&event, wake);
        self.bytes -= event.previous.as_deref().map_or(0, size);
        match event.change {
            Change::Deleted => {
                self.objects.remove(&*event.object.key);
            }
            Change::Added | Change::Modified => {
                self.bytes += size(&event.object);
                self.objects.replace(Entry(event.object.clone()));
            }
        }
        self.history_bytes += event.object.size();
        self.history.push_back(event);
        while self.history.len() > HISTORY_EVENTS || (self.history_bytes > HISTORY_BYTES && self.history.len() > 1) {
            let Some(oldest) = self.history.pop_front() else { break };
            self.lanes.forget(&oldest);
            self.history_bytes -= oldest.object.size();
            self.floor = oldest.object.version;
        }
    }

    /// Forgets the history, as a compaction of etcd would: older watches must list again.
    pub(crate) fn compact(&mut self, version: u64) {
        self.history.clear();
        self.lanes.compact(version);
        self.history_bytes = 0;
        self.floor = version;
    }
}
