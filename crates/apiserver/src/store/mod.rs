//! The store: every object of the cluster, in memory, and on disk if asked for.
//!
//! Reads and watches are served from memory. Writes go through one [`writer`], which commits to [`disk`] first and makes them
//! visible after. There is no multi-version storage: the [`table`] of each resource keeps its recent events, which is enough
//! to continue watches and to page through a list as it was when its first page was read.

mod check;
mod disk;
mod object;
mod table;
mod writer;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod model_tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use object::{Change, Event, Index, Object, Slot, key};
pub(crate) use table::Expired;
pub(crate) use writer::{Expect, Write};

use crate::error::Error;
use disk::{Disk, Place};
use object::Entry;
use table::Table;
use writer::Op;

/// Versions are skipped over at a restart, so that a version that a crash lost is never given to another write.
const RESTART_GAP: u64 = 1000;
const _: () = assert!(RESTART_GAP > writer::UNSYNCED);

/// How the store treats the objects of one resource.
pub(crate) struct Spec {
    /// Name of the table on disk, such as `apps/deployments`.
    pub name: String,
    /// Whether a write waits for the disk. Events and leases do not.
    pub durable: bool,
    /// Computes what selectors look at.
    pub index: Box<dyn Fn(&Value) -> Index + Send + Sync>,
}

/// Why a write was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// A create found the object there.
    Exists,
    /// An update or a deletion found nothing.
    Missing,
    /// An update or a deletion found another version.
    Conflict,
    /// The disk failed; nothing was written.
    Disk(String),
    /// The store has shut down.
    Closed,
}

/// Objects of one resource at one version.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub version: u64,
    pub objects: Vec<Arc<Object>>,
}

struct State {
    /// The version of the last published write.
    version: u64,
    tables: Vec<Table>,
}

struct Inner {
    specs: Vec<Spec>,
    state: RwLock<State>,
    /// One signal per table: its waiters are the watches of that resource.
    changed: Vec<watch::Sender<u64>>,
}

impl Inner {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, version: u64, events: Vec<(Slot, Event)>) {
        let mut touched = BTreeSet::new();
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            for (slot, event) in events {
                touched.insert(slot);
                state.tables[slot].publish(Arc::new(event));
            }
            state.version = version;
        }
        for slot in touched {
            self.changed[slot].send_replace(version);
        }
    }
}

/// A handle on the store; clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Inner>,
    ops: mpsc::Sender<Op>,
}

impl Store {
    /// Opens the store and starts its writer on the current tokio runtime.
    pub(crate) fn open(specs: Vec<Spec>, path: Option<PathBuf>) -> Result<Self, Error> {
        Self::open_at(specs, path.map(Place::File))
    }

    fn open_at(specs: Vec<Spec>, place: Option<Place>) -> Result<Self, Error> {
        let (disk, tables, version) = match place {
            None => (None, (0..specs.len()).map(|_| Table::default()).collect(), 0),
            Some(place) => {
                let file = match &place {
                    Place::File(path) => path.clone(),
                    Place::Backend(_) => PathBuf::new(),
                };
                let (disk, content) = Disk::open(place)?;
                let version = match content.version {
                    0 => 0,
                    last => last + RESTART_GAP,
                };
                let tables =
                    load(&specs, content.rows, version).map_err(|reason| Error::Corrupt { path: file, reason })?;
                (Some(disk), tables, version)
            }
        };
        let inner = Arc::new(Inner {
            changed: specs.iter().map(|_| watch::Sender::new(version)).collect(),
            specs,
            state: RwLock::new(State { version, tables }),
        });
        let (ops, receiver) = mpsc::channel(1024);
        tokio::spawn(writer::run(inner.clone(), disk, receiver));
        Ok(Self { inner, ops })
    }

    /// Writes, and returns the object as stored (for a deletion its last state) once it is durable.
    pub(crate) async fn write(&self, write: Write) -> Result<Arc<Object>, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.ops
            .send(Op::Write(write, reply))
            .await
            .map_err(|_| WriteError::Closed)?;
        answer.await.unwrap_or(Err(WriteError::Closed))
    }

    /// One object.
    pub(crate) fn get(&self, slot: Slot, key: &str) -> Option<Arc<Object>> {
        self.inner.read().tables[slot].get(key).cloned()
    }

    /// The version of the last write.
    pub(crate) fn version(&self) -> u64 {
        self.inner.read().version
    }

    /// The version of the last write to one resource that is still in its history: changes whenever the resource does.
    pub(crate) fn table_version(&self, slot: Slot) -> u64 {
        *self.inner.changed[slot].borrow()
    }

    /// The objects of one namespace, or of all.
    pub(crate) fn list(&self, slot: Slot, namespace: Option<&str>) -> Snapshot {
        let state = self.inner.read();
        Snapshot {
            version: state.version,
            objects: state.tables[slot].range(namespace, None).cloned().collect(),
        }
    }

    /// The objects after a key as they were at a version: the next page of a list.
    pub(crate) fn list_at(
        &self,
        slot: Slot,
        namespace: Option<&str>,
        after: Option<&str>,
        version: u64,
    ) -> Result<Snapshot, Expired> {
        let state = self.inner.read();
        let objects = state.tables[slot].range_at(version, namespace, after)?;
        Ok(Snapshot { version, objects })
    }

    /// The objects after a key as they are now.
    pub(crate) fn list_after(&self, slot: Slot, namespace: Option<&str>, after: &str) -> Snapshot {
        let state = self.inner.read();
        Snapshot {
            version: state.version,
            objects: state.tables[slot].range(namespace, Some(after)).cloned().collect(),
        }
    }

    /// Up to `limit` events of a resource after a version, and the version up to which they are complete.
    pub(crate) fn events(&self, slot: Slot, after: u64, limit: usize) -> Result<(Vec<Arc<Event>>, u64), Expired> {
        let state = self.inner.read();
        let events = state.tables[slot].events(after, limit)?;
        let complete = match events.last() {
            Some(last) if events.len() == limit => last.object.version,
            _ => state.version,
        };
        Ok((events, complete))
    }

    /// A signal that fires when a resource changes.
    pub(crate) fn changes(&self, slot: Slot) -> watch::Receiver<u64> {
        self.inner.changed[slot].subscribe()
    }

    /// Forgets all history, as a compaction does: watches from before now get 410 Gone.
    pub(crate) fn compact(&self) {
        let mut state = self.inner.state.write().unwrap_or_else(PoisonError::into_inner);
        let version = state.version;
        for table in &mut state.tables {
            table.compact(version);
        }
    }

    /// Makes everything written so far durable, leases and events included.
    #[cfg(test)]
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        self.ask(Op::Flush).await
    }

    /// Makes everything written so far durable and lets go of the database. Reads are still answered, writes are refused.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        self.ask(Op::Close).await
    }

    async fn ask(&self, op: impl FnOnce(oneshot::Sender<Result<(), Error>>) -> Op) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let closed = || Error::Disk("the store has shut down".into());
        self.ops.send(op(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

fn load(specs: &[Spec], rows: Vec<(String, Vec<u8>)>, version: u64) -> Result<Vec<Table>, String> {
    let mut tables: Vec<BTreeSet<Entry>> = specs.iter().map(|_| BTreeSet::new()).collect();
    for (row, bytes) in rows {
        let (name, key) = row
            .split_once('\0')
            .ok_or_else(|| format!("the key {row:?} names no table"))?;
        // A table that this program does not serve stays on disk for the one that wrote it.
        let Some(slot) = specs.iter().position(|spec| spec.name == name) else {
            continue;
        };
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| format!("{name} {key}: {error}"))?;
        let stored = value["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .filter(|stored| *stored <= version)
            .ok_or_else(|| format!("{name} {key} has no valid resourceVersion"))?;
        let object = Object {
            key: key.into(),
            uid: value["metadata"]["uid"].as_str().unwrap_or_default().into(),
            version: stored,
            index: (specs[slot].index)(&value),
            json: bytes.into(),
        };
        tables[slot].insert(Entry(Arc::new(object)));
    }
    Ok(tables.into_iter().map(|table| Table::loaded(table, version)).collect())
}
