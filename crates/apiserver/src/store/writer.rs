//! The single writer.
//!
//! Every write of every client passes through this one task, which makes three hard things simple. Resource versions are
//! handed out by a counter that nobody else touches. Optimistic concurrency is a comparison, since nothing can change between
//! the comparison and the write. And durability is cheap: whatever has queued up while the disk was busy with the last
//! group goes into the next one (group commit), so a slow disk makes groups larger rather than clients slower.
//!
//! A write becomes visible, and is acknowledged, only after its group is on disk. If the disk refuses, the whole group
//! is refused and the counter goes back: nobody has seen those versions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::disk::{Disk, Row};
use super::object::{Change, Draft, Event, Index, Object, Slot};
use super::{Inner, Spec, TransactError, WriteError};
use crate::error::Error;

/// The largest number of transactions that share a group.
const BATCH: usize = 512;
/// At most this many versions may be lost in a crash when their objects (events, leases) do not ask to be durable.
/// [`super::RESTART_GAP`] must be larger.
pub(super) const UNSYNCED: u64 = 256;

/// What a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Nothing: a create.
    Absent,
    /// The object at this version.
    Version(u64),
}

/// One write.
#[derive(Debug)]
pub(crate) struct Write {
    pub slot: Slot,
    pub key: String,
    pub expect: Expect,
    /// The new object; none deletes it.
    pub value: Option<Value>,
}

/// A write with everything done that need not be done one after the other.
pub(super) struct Prepared {
    pub slot: Slot,
    pub key: String,
    pub expect: Expect,
    pub new: Option<New>,
}

pub(super) struct New {
    pub draft: Draft,
    pub index: Index,
    /// By whose rules the index was computed.
    pub spec: Arc<Spec>,
}

pub(super) type Reply = oneshot::Sender<Result<Vec<Arc<Object>>, TransactError>>;

pub(super) enum Op {
    Transact(Vec<Prepared>, Reply),
    /// Delete everything in a table, and the table.
    Drop(Slot, oneshot::Sender<Result<(), Error>>),
    /// Make everything so far durable.
    #[cfg(test)]
    Flush(oneshot::Sender<Result<(), Error>>),
    /// Make everything so far durable, let go of the disk and end. Later writes are refused.
    Close(oneshot::Sender<Result<(), Error>>),
    /// Compare memory and disk.
    Content(oneshot::Sender<Result<Option<super::disk::Content>, Error>>),
}

#[derive(Default)]
struct Batch {
    /// The keys this batch has changed so far: later writes of the batch must see earlier ones.
    overlay: HashMap<(Slot, String), Option<Arc<Object>>>,
    events: Vec<(Slot, Event)>,
    rows: Vec<Row>,
    acks: Vec<(Reply, Vec<Arc<Object>>)>,
    dropped: HashSet<Slot>,
    /// Those who wait for the batch, but not for an object.
    waiters: Vec<oneshot::Sender<Result<(), Error>>>,
    closing: bool,
    version: u64,
    durable: bool,
}

/// Runs until it is closed, or every handle of the store is gone.
pub(super) async fn run(inner: Arc<Inner>, mut disk: Option<Disk>, mut ops: mpsc::Receiver<Op>) {
    let persist = disk.is_some();
    let mut durable_version = inner.read().version;
    let mut queue = Vec::with_capacity(BATCH);
    while ops.recv_many(&mut queue, BATCH).await > 0 {
        let mut batch = Batch {
            version: inner.read().version,
            ..Batch::default()
        };
        let mut contents = Vec::new();
        for op in queue.drain(..) {
            match op {
                Op::Transact(writes, reply) => batch.transact(&inner, writes, reply),
                Op::Drop(slot, reply) => batch.drop_table(&inner, slot, reply),
                #[cfg(test)]
                Op::Flush(reply) => {
                    batch.durable = true;
                    batch.waiters.push(reply);
                }
                Op::Close(reply) => {
                    batch.durable = true;
                    batch.closing = true;
                    batch.waiters.push(reply);
                }
                Op::Content(reply) => contents.push(reply),
            }
        }
        let durable = batch.durable || batch.version - durable_version > UNSYNCED;
        let outcome = match disk.take() {
            Some(open) if !batch.rows.is_empty() || (durable && batch.version > durable_version) => {
                let rows = std::mem::take(&mut batch.rows);
                let (returned, outcome) = commit(open, rows, batch.version, durable).await;
                disk = returned;
                outcome
            }
            // The thread that held the disk panicked: without it nothing may be acknowledged any more.
            None if persist => Err(Error::Disk("the database is gone".into())),
            open => {
                disk = open;
                Ok(())
            }
        };
        if outcome.is_ok() {
            if durable {
                durable_version = batch.version;
            }
            inner.publish(batch.version, batch.events, &batch.dropped);
        }
        if batch.closing {
            // Before the answer: who gets it may open the database at once.
            disk = None;
        }
        match outcome {
            Ok(()) => {
                // A client that went away does not undo its write.
                for (reply, objects) in batch.acks {
                    let _ = reply.send(Ok(objects));
                }
                for reply in batch.waiters {
                    let _ = reply.send(Ok(()));
                }
            }
            Err(error) => {
                let reason = error.to_string();
                tracing::error!(error = %reason, "refused {} transactions", batch.acks.len());
                for (reply, _) in batch.acks {
                    let error = WriteError::Disk(reason.clone());
                    let _ = reply.send(Err(TransactError { index: 0, error }));
                }
                for reply in batch.waiters {
                    let _ = reply.send(Err(Error::Disk(reason.clone())));
                }
            }
        }
        for reply in contents {
            let _ = reply.send(disk.as_ref().map(Disk::content).transpose());
        }
        if batch.closing {
            return;
        }
    }
}

/// Commits on a thread that may block. Comes back without the disk only if that thread panicked.
async fn commit(mut disk: Disk, rows: Vec<Row>, version: u64, durable: bool) -> (Option<Disk>, Result<(), Error>) {
    let task = tokio::task::spawn_blocking(move || {
        let outcome = disk.commit(&rows, version, durable);
        (disk, outcome)
    });
    match task.await {
        Ok((disk, outcome)) => (Some(disk), outcome),
        Err(error) => (None, Err(Error::Disk(format!("the database engine failed: {error}")))),
    }
}

impl Batch {
    /// What a key holds with the batch applied. `None` if there is no such table any more.
    fn current(&self, inner: &Inner, slot: Slot, key: &str) -> Option<Option<Arc<Object>>> {
        if self.dropped.contains(&slot) {
            return None;
        }
        // Not worth a second map just to look up without an owned key: a batch rarely meets its own keys.
        if let Some(changed) = self.overlay.get(&(slot, key.to_owned())) {
            return Some(changed.clone());
        }
        Some(inner.read().table(slot)?.get(key).cloned())
    }

    /// Applies a transaction to the batch, or refuses it at once.
    fn transact(&mut self, inner: &Inner, writes: Vec<Prepared>, reply: Reply) {
        for (index, write) in writes.iter().enumerate() {
            if let Err(error) = self.expected(inner, write) {
                let _ = reply.send(Err(TransactError { index, error }));
                return;
            }
        }
        let objects = writes
            .into_iter()
            .filter_map(|write| self.apply(inner, write))
            .collect();
        self.acks.push((reply, objects));
    }

    /// Whether a write finds what it expects. No two writes of a transaction have the same key.
    fn expected(&self, inner: &Inner, write: &Prepared) -> Result<(), WriteError> {
        let current = self.current(inner, write.slot, &write.key).ok_or(WriteError::Missing)?;
        match (write.expect, current) {
            (Expect::Absent, Some(_)) => Err(WriteError::Exists),
            (Expect::Version(_), None) => Err(WriteError::Missing),
            (Expect::Version(wanted), Some(object)) if object.version != wanted => Err(WriteError::Conflict),
            (Expect::Absent, None) if write.new.is_none() => Err(WriteError::Missing),
            _ => Ok(()),
        }
    }

    fn apply(&mut self, inner: &Inner, write: Prepared) -> Option<Arc<Object>> {
        let spec = inner.read().spec(write.slot)?;
        let current = self.current(inner, write.slot, &write.key)?;
        self.version += 1;
        let (change, object) = match write.new {
            Some(new) => {
                let mut object = new.draft.stamp(&write.key, self.version, new.index);
                if !Arc::ptr_eq(&new.spec, &spec) {
                    object.index = (spec.index)(&object.value());
                }
                match current {
                    Some(_) => (Change::Modified, object),
                    None => (Change::Added, object),
                }
            }
            None => (Change::Deleted, current.as_ref()?.restamped(self.version)),
        };
        let object = Arc::new(object);
        let live = (change != Change::Deleted).then(|| object.clone());
        self.durable |= spec.durable;
        let bytes = live.as_ref().map(|object| object.json.clone());
        self.rows.push((row(&spec, &write.key), bytes));
        self.overlay.insert((write.slot, write.key), live);
        let event = Event {
            change,
            object: object.clone(),
            previous: current,
        };
        self.events.push((write.slot, event));
        Some(object)
    }

    fn drop_table(&mut self, inner: &Inner, slot: Slot, reply: oneshot::Sender<Result<(), Error>>) {
        let mut keys: HashSet<String> = {
            let state = inner.read();
            let table = state.table(slot);
            let objects = table.into_iter().flat_map(|table| table.range(None, None));
            objects.map(|object| object.key.to_string()).collect()
        };
        let added = self.overlay.keys().filter(|(changed, _)| *changed == slot);
        keys.extend(added.map(|(_, key)| key.clone()));
        for key in keys {
            let Some(Some(object)) = self.current(inner, slot, &key) else {
                continue;
            };
            let expect = Expect::Version(object.version);
            let new = None;
            self.apply(inner, Prepared { slot, key, expect, new });
        }
        self.dropped.insert(slot);
        self.waiters.push(reply);
    }
}

/// The key of an object on disk.
pub(super) fn row(spec: &Spec, key: &str) -> String {
    format!("{}\0{key}", spec.name)
}
