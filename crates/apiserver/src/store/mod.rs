//! The store: every object of the cluster, in memory, and on disk if asked for.
//!
//! Reads and watches are served from memory. Writes go through one [`writer`], which commits to [`disk`] first and makes them
//! visible after. There is no multi-version storage: the [`table`] of each resource keeps its recent events, which is enough
//! to continue watches and to page through a list as it was when its first page was read.

#![expect(
    clippy::mutable_key_type,
    reason = "entries are ordered by their keys, which never change"
)]

mod check;
mod cold;
pub(crate) mod disk;
mod frame;
mod lane;
pub(crate) mod log;
mod object;
pub(crate) mod replay;
mod table;
mod writer;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod sim;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use lane::Lane;
pub(crate) use object::{Change, Event, Index, Object, Slot, key};
pub(crate) use table::Expired;
pub(crate) use writer::{Expect, Write};

use crate::error::Error;
use cold::{Sibling, Warm};
use disk::{Disk, Folder};
use lane::Wake;
use log::{Log, Snapshot as OnDisk, Tuning};
use object::{Draft, Entry};
use table::Table;
use writer::{New, Op, Prepared, Transaction, Writer, row};

/// Versions are skipped over at a restart, so that a version that a crash lost is never given to another write.
pub(crate) const RESTART_GAP: u64 = 1000;
const _: () = assert!(RESTART_GAP > writer::UNSYNCED);

/// Fewer objects than this are not worth a thread of their own at the start.
const LEAST_SHARE: usize = 1000;
/// Objects that a list takes from a table at once.
const PIECE: usize = 1024;

/// How the store treats the objects of one resource.
pub(crate) struct Spec {
    /// Name of the table on disk, such as `apps/deployments`.
    pub name: String,
    /// Whether a write waits for the disk. Events and leases do not.
    pub durable: bool,
    /// Whether objects keep their `apiVersion`, which says in which of several versions they are stored.
    pub versioned: bool,
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
    /// The disk failed, and the write may or may not be there after a restart.
    Unknown(String),
    /// The store has shut down.
    Closed,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => f.write_str("there is such an object already"),
            Self::Missing => f.write_str("there is no such object"),
            Self::Conflict => f.write_str("the object has been modified"),
            Self::Disk(reason) => write!(f, "the object was not stored: {reason}"),
            Self::Unknown(reason) => write!(f, "it is not known whether the object was stored: {reason}"),
            Self::Closed => f.write_str("the store has shut down"),
        }
    }
}

/// Why a transaction was refused: which of its writes (the first, if it is not the fault of one), and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransactError {
    pub index: usize,
    pub error: WriteError,
}

/// Objects of one resource at one version.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub version: u64,
    pub objects: Vec<Arc<Object>>,
}

/// A table and what belongs to it.
struct Served {
    spec: Arc<Spec>,
    table: Table,
    sibling: Sibling,
    /// Its waiters are the watches of that resource.
    changed: watch::Sender<u64>,
}

/// Some objects of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub version: u64,
    pub objects: Vec<Arc<Object>>,
    /// There are others after them.
    pub more: bool,
}

struct State {
    /// The version of the last published write.
    version: u64,
    /// By slot; none where a table has been dropped.
    tables: Vec<Option<Served>>,
    /// Objects on disk of tables that nobody has asked for yet, by name of the table.
    parked: HashMap<String, Vec<(String, Bytes)>>,
}

impl State {
    fn served(&self, slot: Slot) -> Option<&Served> {
        self.tables.get(slot)?.as_ref()
    }

    fn table(&self, slot: Slot) -> Option<&Table> {
        self.served(slot).map(|served| &served.table)
    }

    fn spec(&self, slot: Slot) -> Option<Arc<Spec>> {
        self.served(slot).map(|served| served.spec.clone())
    }

    /// Bytes of all objects and their keys.
    fn live_bytes(&self) -> u64 {
        let tables = self.tables.iter().flatten();
        tables.map(|served| served.table.bytes()).sum()
    }

    /// Everything that belongs on disk.
    fn on_disk(&self) -> OnDisk {
        let mut objects: Vec<(Arc<Spec>, Arc<Object>)> = Vec::new();
        for served in self.tables.iter().flatten() {
            let table = served.table.range(None, None);
            objects.extend(table.map(|object| (served.spec.clone(), object.clone())));
        }
        let parked = self.parked.clone().into_iter().flat_map(|(name, rows)| {
            let named = move |(key, json)| (format!("{name}\0{key}"), json);
            rows.into_iter().map(named)
        });
        let objects = objects.into_iter();
        let objects = objects.map(|(spec, object)| (row(&spec, &object.key), object.json()));
        (self.version, Box::new(parked.chain(objects)))
    }

    /// Adds a table with what the disk holds for it, or gives the one of that name new rules.
    fn serve(&mut self, spec: Spec) -> Result<Slot, String> {
        let spec = Arc::new(spec);
        let named = |served: &Option<Served>| served.as_ref().is_some_and(|served| served.spec.name == spec.name);
        if let Some(slot) = self.tables.iter().position(named)
            && let Some(served) = &mut self.tables[slot]
        {
            served.table.reindex(&spec);
            served.spec = spec;
            return Ok(slot);
        }
        let rows = self.parked.get(&spec.name).map_or(&[][..], Vec::as_slice);
        let objects = load_all(&spec, rows, self.version)?;
        let objects = objects.into_iter().map(|object| Entry(Arc::new(object))).collect();
        self.parked.remove(&spec.name);
        self.tables.push(Some(Served {
            table: Table::loaded(objects, self.version),
            changed: watch::Sender::new(self.version),
            sibling: Sibling::of(&spec.name),
            spec,
        }));
        Ok(self.tables.len() - 1)
    }
}

struct Inner {
    state: RwLock<State>,
    warm: Warm,
    /// Why the disk refuses to store, if it does.
    health: Mutex<Option<String>>,
    /// Names the file in errors.
    file: PathBuf,
}

impl Inner {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the disk held.
    fn fill(&self, content: replay::Content) -> Result<(), Error> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.version = content.version;
        for (row, bytes) in content.rows {
            let Some((name, key)) = row.split_once('\0') else {
                let reason = format!("the key {row:?} names no table");
                let path = self.file.clone();
                return Err(Error::Corrupt { path, reason });
            };
            let parked = state.parked.entry(name.to_owned()).or_default();
            parked.push((key.to_owned(), bytes));
        }
        Ok(())
    }

    fn set_health(&self, reason: Option<String>) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    fn publish(&self, version: u64, events: Vec<(Slot, Event)>, dropped: &HashSet<Slot>) {
        let mut wake = Wake::default();
        let mut warm = Vec::with_capacity(events.len());
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            for (slot, event) in events {
                if let Some(Some(served)) = state.tables.get_mut(slot) {
                    warm.push((event.object.clone(), served.sibling.clone()));
                    served.table.publish(Arc::new(event), &mut wake);
                    wake.add(&served.changed);
                }
            }
            for slot in dropped {
                // The end of its signals ends its watches.
                state.tables[*slot] = None;
            }
            state.version = version;
        }
        wake.send(version);
        self.warm.add(warm);
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
        let disk = match path {
            Some(path) => Some(Arc::new(Folder::lock(&path)?) as Arc<dyn Disk>),
            None => None,
        };
        Self::open_on(specs, disk, Tuning::default())
    }

    fn open_on(specs: Vec<Spec>, disk: Option<Arc<dyn Disk>>, tuning: Tuning) -> Result<Self, Error> {
        let (ops, receiver) = mpsc::channel(1024);
        let file = disk.as_ref().map(|disk| disk.path().to_path_buf()).unwrap_or_default();
        let inner = Arc::new(Inner {
            state: RwLock::new(State {
                version: 0,
                tables: Vec::new(),
                parked: HashMap::new(),
            }),
            warm: Warm::default(),
            health: Mutex::new(None),
            file,
        });
        let mut log = None;
        if let Some(disk) = disk {
            let source = inner.clone();
            let source = Arc::new(move || source.read().on_disk());
            let wake = ops.downgrade();
            let wake = Arc::new(move || {
                // If the queue is full the writer does not sleep.
                let _ = wake.upgrade().map(|ops| ops.try_send(Op::Tend));
            });
            let (opened, content) = Log::open(disk, tuning, source, wake)?;
            inner.fill(content)?;
            log = Some(opened);
        }
        let store = Self { inner, ops };
        for spec in specs {
            store.table(spec)?;
        }
        tokio::spawn(Writer::new(store.inner.clone(), log, receiver).run());
        Ok(store)
    }

    /// Whether the disk stores what it is given, and if not, why.
    pub(crate) fn health(&self) -> Result<(), String> {
        let health = self.inner.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.clone().map_or(Ok(()), Err)
    }

    /// The table of that name: a new one, with whatever the disk holds for it; or, if there is one, that one under new rules
    /// for its index.
    #[cfg_attr(not(test), allow(dead_code, reason = "custom resources come and go at run time"))]
    pub(crate) fn table(&self, spec: Spec) -> Result<Slot, Error> {
        let mut state = self.inner.state.write().unwrap_or_else(PoisonError::into_inner);
        let path = self.inner.file.clone();
        let slot = state.serve(spec).map_err(|reason| Error::Corrupt { path, reason })?;
        if let Some(served) = state.served(slot) {
            let objects = served.table.range(None, None);
            let objects = objects.map(|object| (object.clone(), served.sibling.clone()));
            self.inner.warm.add(objects);
        }
        Ok(slot)
    }

    /// Deletes a table with everything in it, and ends its watches.
    #[cfg_attr(not(test), allow(dead_code, reason = "custom resources come and go at run time"))]
    pub(crate) async fn drop_table(&self, slot: Slot) -> Result<(), Error> {
        self.ask(|reply| Op::Drop(slot, reply)).await
    }

    /// Writes, and returns the object as stored (for a deletion its last state) once it is durable.
    pub(crate) async fn write(&self, write: Write) -> Result<Arc<Object>, WriteError> {
        match self.transact(vec![write]).await {
            Ok(mut objects) => objects.pop().ok_or(WriteError::Missing),
            Err(refused) => Err(refused.error),
        }
    }

    /// All of the writes or none; they become visible together, each object with a version of its own. Returns the objects
    /// in the order of the writes (see [`Store::write`]). No two of them may concern the same object.
    pub(crate) async fn transact(&self, writes: Vec<Write>) -> Result<Vec<Arc<Object>>, TransactError> {
        let mut prepared: Vec<Prepared> = Vec::with_capacity(writes.len());
        let mut keys = HashSet::new();
        for (index, write) in writes.into_iter().enumerate() {
            let Some(spec) = self.inner.read().spec(write.slot) else {
                let error = WriteError::Missing;
                return Err(TransactError { index, error });
            };
            if !keys.insert((write.slot, write.key.clone())) {
                let error = WriteError::Conflict;
                return Err(TransactError { index, error });
            }
            let deletes = write.value.is_none();
            let new = write.value.map(|value| New {
                index: (spec.index)(&value),
                draft: Draft::new(value, spec.versioned),
                spec,
            });
            prepared.push(Prepared {
                slot: write.slot,
                key: write.key,
                expect: write.expect,
                new,
                deletes,
            });
        }
        let closed = TransactError {
            index: 0,
            error: WriteError::Closed,
        };
        let (reply, answer) = oneshot::channel();
        let writes = prepared;
        if self
            .ops
            .send(Op::Transact(Transaction { writes, reply }))
            .await
            .is_err()
        {
            return Err(closed);
        }
        answer.await.unwrap_or(Err(closed))
    }

    /// One object.
    pub(crate) fn get(&self, slot: Slot, key: &str) -> Option<Arc<Object>> {
        self.inner.read().table(slot)?.get(key).cloned()
    }

    /// The version of the last write.
    pub(crate) fn version(&self) -> u64 {
        self.inner.read().version
    }

    /// The version of the last write to one resource that is still in its history: changes whenever the resource does.
    pub(crate) fn table_version(&self, slot: Slot) -> u64 {
        self.inner
            .read()
            .served(slot)
            .map_or(0, |served| *served.changed.borrow())
    }

    /// The objects of one namespace, or of all.
    pub(crate) fn list(&self, slot: Slot, namespace: Option<&str>) -> Snapshot {
        let state = self.inner.read();
        let table = state.table(slot);
        let objects = table.into_iter().flat_map(|table| table.range(namespace, None));
        Snapshot {
            version: state.version,
            objects: objects.cloned().collect(),
        }
    }

    /// Up to `limit` objects after a key that `wanted` picks, as they were at a version or as they are now.
    pub(crate) fn page(
        &self,
        slot: Slot,
        namespace: Option<&str>,
        (after, version): (Option<&str>, Option<u64>),
        limit: usize,
        wanted: impl Fn(&Object) -> bool,
    ) -> Result<Page, Expired> {
        let mut page = Page {
            version: version.unwrap_or_default(),
            objects: Vec::new(),
            more: false,
        };
        let mut after = after.map(str::to_owned);
        let mut now = version.is_none();
        // A piece at a time, since whoever publishes waits for readers to be done.
        loop {
            let mut piece: Vec<Arc<Object>> = Vec::new();
            {
                let state = self.inner.read();
                if std::mem::take(&mut now) {
                    page.version = state.version;
                }
                let Some(table) = state.table(slot) else {
                    return Ok(page);
                };
                table.visit_at(page.version, namespace, after.as_deref(), |object| {
                    piece.push(object.clone());
                    piece.len() < PIECE
                })?;
            }
            let last = piece.len() < PIECE;
            after = piece.last().map(|object| object.key.to_string());
            for object in piece {
                if !wanted(&object) {
                    continue;
                }
                if page.objects.len() == limit {
                    page.more = true;
                    return Ok(page);
                }
                page.objects.push(object);
            }
            if last {
                return Ok(page);
            }
        }
    }

    /// How many objects there were after a key.
    pub(crate) fn count_after(&self, slot: Slot, namespace: Option<&str>, after: &str, version: u64) -> usize {
        let state = self.inner.read();
        let mut count = 0;
        if let Some(table) = state.table(slot) {
            let counted = table.visit_at(version, namespace, Some(after), |_| {
                count += 1;
                true
            });
            // Expired in this very moment: a number that is not right is none.
            if counted.is_err() {
                return 0;
            }
        }
        count
    }

    /// Up to `limit` events of a part of a resource after a version, and the version up to which they are complete. Only
    /// those who follow that part ask for it.
    pub(crate) fn events(
        &self,
        slot: Slot,
        lane: &Lane,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<Arc<Event>>, u64), Expired> {
        let state = self.inner.read();
        let events = match state.table(slot) {
            Some(table) => table.events(lane, after, limit)?,
            None => Vec::new(),
        };
        let complete = match events.last() {
            Some(last) if events.len() == limit => last.object.version,
            _ => state.version,
        };
        Ok((events, complete))
    }

    /// A signal that fires when a part of a resource changes, and ends when its table is dropped.
    pub(crate) fn follow(&self, slot: Slot, lane: &Lane) -> watch::Receiver<u64> {
        if *lane == Lane::All {
            return self.changes(slot);
        }
        let mut state = self.inner.state.write().unwrap_or_else(PoisonError::into_inner);
        let version = state.version;
        match state.tables.get_mut(slot) {
            Some(Some(served)) => served.table.follow(lane.clone(), version),
            _ => watch::channel(0).1,
        }
    }

    /// A signal that fires when a resource changes, and ends when its table is dropped.
    pub(crate) fn changes(&self, slot: Slot) -> watch::Receiver<u64> {
        match self.inner.read().served(slot) {
            Some(served) => served.changed.subscribe(),
            // A signal whose sender is gone, as that of a dropped table is.
            None => watch::channel(0).1,
        }
    }

    /// Forgets all history, as a compaction does: watches from before now get 410 Gone.
    pub(crate) fn compact(&self) {
        let mut state = self.inner.state.write().unwrap_or_else(PoisonError::into_inner);
        let version = state.version;
        for served in state.tables.iter_mut().flatten() {
            served.table.compact(version);
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

/// All objects of a table, read on as many threads as there are processors.
fn load_all(spec: &Spec, rows: &[(String, Bytes)], version: u64) -> Result<Vec<Object>, String> {
    let read = |rows: &[(String, Bytes)]| -> Result<Vec<Object>, String> {
        rows.iter()
            .map(|(key, json)| load(spec, key, json.clone(), version))
            .collect()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = rows.len().div_ceil(threads).max(LEAST_SHARE);
    if rows.len() <= share {
        return read(rows);
    }
    std::thread::scope(|scope| {
        let shares: Vec<_> = rows.chunks(share).map(|rows| scope.spawn(move || read(rows))).collect();
        let mut all = Vec::with_capacity(rows.len());
        for share in shares {
            all.extend(share.join().map_err(|_| "reading it failed".to_owned())??);
        }
        Ok(all)
    })
}

/// An object as it lies on disk.
fn load(spec: &Spec, key: &str, json: Bytes, version: u64) -> Result<Object, String> {
    let name = &spec.name;
    let value: Value = serde_json::from_slice(&json).map_err(|error| format!("{name} {key}: {error}"))?;
    Object::loaded(key, json, &value, (spec.index)(&value))
        .filter(|object| object.version <= version)
        .ok_or_else(|| format!("{name} {key} has no valid resourceVersion"))
}
