//! The single writer.
//!
//! Every write of every client passes through this one task, which makes three hard things simple. Resource versions are
//! handed out by a counter that nobody else touches. Optimistic concurrency is a comparison, since nothing can change between
//! the comparison and the write. And durability is cheap: whatever has queued up while the disk was busy with the last
//! transaction goes into the next one (group commit), so a slow disk makes batches larger rather than clients slower.
//!
//! A write becomes visible, and is acknowledged, only after its transaction is on disk. If the disk refuses, the whole batch
//! is refused and the counter goes back: nobody has seen those versions.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::disk::{Disk, Row};
use super::object::{Change, Event, Object, Slot};
use super::{Inner, WriteError};
use crate::error::Error;

/// The largest number of writes that share a transaction.
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

pub(super) enum Op {
    Write(Write, oneshot::Sender<Result<Arc<Object>, WriteError>>),
    /// Make everything so far durable.
    #[cfg(test)]
    Flush(oneshot::Sender<Result<(), Error>>),
    /// Make everything so far durable, let go of the disk and end. Later writes are refused.
    Close(oneshot::Sender<Result<(), Error>>),
    /// Compare memory and disk.
    Content(oneshot::Sender<Result<Option<super::disk::Content>, Error>>),
}

type Ack = (oneshot::Sender<Result<Arc<Object>, WriteError>>, Arc<Object>);

struct Batch {
    /// The keys this batch has changed so far: later writes of the batch must see earlier ones.
    overlay: HashMap<(Slot, String), Option<Arc<Object>>>,
    events: Vec<(Slot, Event)>,
    rows: Vec<Row>,
    acks: Vec<Ack>,
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
            overlay: HashMap::new(),
            events: Vec::new(),
            rows: Vec::new(),
            acks: Vec::new(),
            version: inner.read().version,
            durable: false,
        };
        let mut contents = Vec::new();
        let mut closes = Vec::new();
        #[cfg_attr(not(test), expect(unused_mut, reason = "only tests flush and go on"))]
        let mut flushes: Vec<oneshot::Sender<Result<(), Error>>> = Vec::new();
        for op in queue.drain(..) {
            match op {
                Op::Write(write, reply) => batch.add(&inner, write, reply, persist),
                #[cfg(test)]
                Op::Flush(reply) => flushes.push(reply),
                Op::Close(reply) => closes.push(reply),
                Op::Content(reply) => contents.push(reply),
            }
        }
        let durable =
            batch.durable || !(flushes.is_empty() && closes.is_empty()) || batch.version - durable_version > UNSYNCED;
        let outcome = match disk.take() {
            Some(open) if !batch.rows.is_empty() || (durable && batch.version > durable_version) => {
                let rows = std::mem::take(&mut batch.rows);
                let version = batch.version;
                let (returned, outcome) = commit(open, rows, version, durable).await;
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
        let closed = outcome.as_ref().copied().map_err(ToString::to_string);
        match outcome {
            Ok(()) => {
                if durable {
                    durable_version = batch.version;
                }
                inner.publish(batch.version, batch.events);
                for (reply, object) in batch.acks {
                    // A client that went away does not undo its write.
                    let _ = reply.send(Ok(object));
                }
                for reply in flushes {
                    let _ = reply.send(Ok(()));
                }
            }
            Err(error) => {
                let message = error.to_string();
                tracing::error!(error = %message, "refused {} writes", batch.acks.len());
                for (reply, _) in batch.acks {
                    let _ = reply.send(Err(WriteError::Disk(message.clone())));
                }
                for reply in flushes {
                    let _ = reply.send(Err(Error::Disk(message.clone())));
                }
            }
        }
        for reply in contents {
            let _ = reply.send(disk.as_ref().map(Disk::content).transpose());
        }
        if !closes.is_empty() {
            // Before the answer: who gets it may open the database at once.
            drop(disk);
            for reply in closes {
                let _ = reply.send(closed.clone().map_err(Error::Disk));
            }
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
    /// Checks one write against the state with the batch applied; refuses it at once or adds it.
    fn add(
        &mut self,
        inner: &Inner,
        write: Write,
        reply: oneshot::Sender<Result<Arc<Object>, WriteError>>,
        persist: bool,
    ) {
        let Write {
            slot,
            key,
            expect,
            value,
        } = write;
        let place = (slot, key);
        let current = match self.overlay.get(&place) {
            Some(changed) => changed.clone(),
            None => inner.read().tables[slot].get(&place.1).cloned(),
        };
        let refusal = match (expect, &current) {
            (Expect::Absent, Some(_)) => Some(WriteError::Exists),
            (Expect::Version(_), None) => Some(WriteError::Missing),
            (Expect::Version(wanted), Some(object)) if object.version != wanted => Some(WriteError::Conflict),
            (Expect::Absent, None) if value.is_none() => Some(WriteError::Missing),
            _ => None,
        };
        if let Some(refusal) = refusal {
            let _ = reply.send(Err(refusal));
            return;
        }
        self.version += 1;
        let spec = &inner.specs[slot];
        let (change, object) = match (value, &current) {
            (Some(value), current) => {
                let index = (spec.index)(&value);
                let object = Arc::new(Object::new(&place.1, value, self.version, index));
                let change = if current.is_some() {
                    Change::Modified
                } else {
                    Change::Added
                };
                (change, object)
            }
            (None, Some(last)) => {
                let tombstone = Object::new(&place.1, last.value(), self.version, last.index.clone());
                (Change::Deleted, Arc::new(tombstone))
            }
            (None, None) => return,
        };
        let live = (change != Change::Deleted).then(|| object.clone());
        if persist {
            self.durable |= spec.durable;
            let bytes = live.as_ref().map(|object| object.json.clone());
            self.rows.push((format!("{}\0{}", spec.name, place.1), bytes));
        }
        self.overlay.insert(place, live);
        let event = Event {
            change,
            object: object.clone(),
            previous: current,
        };
        self.events.push((slot, event));
        self.acks.push((reply, object));
    }
}
