//! The single writer.
//!
//! Every write of every client passes through this one task, which makes three hard things simple. Resource versions are
//! handed out by a counter that nobody else touches. Optimistic concurrency is a comparison, since nothing can change between
//! the comparison and the write. And durability is cheap: whatever has queued up while the disk was busy with the last
//! group goes into the next one (group commit), so a slow disk makes groups larger rather than clients slower.
//!
//! A write becomes visible, and is acknowledged, only after its group is on disk. If the disk refuses, the whole group
//! is refused and the counter goes back: nobody has seen those versions. A full disk still takes deletions. If nobody can
//! know whether the group is on disk, its versions are never given out again.
//!
//! Events and leases do not ask to be durable: they are visible at once, and go to disk with the next group that is, or after
//! a second.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::log::{Log, Row, Status};
use super::object::{Change, Draft, Event, Index, Object, Slot};
use super::replay::Content;
use super::{Inner, Spec, TransactError, WriteError};
use crate::error::Error;

/// The largest number of transactions that share a group.
const BATCH: usize = 512;
/// At most this many versions may be lost in a crash when their objects (events, leases) do not ask to be durable.
/// [`super::RESTART_GAP`] must be larger.
pub(super) const UNSYNCED: u64 = 256;
/// The longest time for which they stay off the disk.
const LINGER: Duration = Duration::from_secs(1);
/// How often a disk that refused is tried again when nobody writes.
const RETRY: Duration = Duration::from_secs(1);

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
    /// Deletes the object.
    pub deletes: bool,
}

pub(super) struct New {
    pub draft: Draft,
    pub index: Index,
    /// By whose rules the index was computed.
    pub spec: Arc<Spec>,
}

pub(super) struct Transaction {
    pub writes: Vec<Prepared>,
    pub reply: oneshot::Sender<Result<Vec<Arc<Object>>, TransactError>>,
}

type Done = oneshot::Sender<Result<(), Error>>;

pub(super) enum Op {
    Transact(Transaction),
    /// Delete everything in a table, and the table.
    Drop(Slot, Done),
    /// Make everything so far durable.
    #[cfg(test)]
    Flush(Done),
    /// Make everything so far durable, let go of the disk and end. Later writes are refused.
    Close(Done),
    /// Compare memory and disk.
    Content(oneshot::Sender<Result<Option<Content>, Error>>),
    /// A rewrite of the database has got somewhere.
    Tend,
}

#[derive(Default)]
struct Batch {
    /// The keys this batch has changed so far: later writes of the batch must see earlier ones.
    overlay: HashMap<(Slot, String), Option<Arc<Object>>>,
    events: Vec<(Slot, Event)>,
    rows: Vec<Row>,
    transactions: Vec<(Transaction, Vec<Arc<Object>>)>,
    dropped: HashSet<Slot>,
    /// Those who wait for the batch, but not for an object.
    waiters: Vec<Done>,
    closing: bool,
    version: u64,
    durable: bool,
}

/// What a group came to.
type Outcome = Result<(), Status>;

pub(super) struct Writer {
    inner: Arc<Inner>,
    /// None in memory; and after a panic of the thread that had it, when nothing may be acknowledged any more.
    log: Option<Log>,
    persists: bool,
    ops: mpsc::Receiver<Op>,
    /// The last version given out.
    version: u64,
    durable_version: u64,
    /// What is visible but not on disk, by key, and since when.
    lingering: BTreeMap<String, Option<Bytes>>,
    since: Instant,
    /// When to try a disk again that has refused.
    retry: Option<Instant>,
}

impl Writer {
    pub(super) fn new(inner: Arc<Inner>, log: Option<Log>, ops: mpsc::Receiver<Op>) -> Self {
        let version = inner.read().version;
        Self {
            inner,
            persists: log.is_some(),
            log,
            ops,
            version,
            durable_version: version,
            lingering: BTreeMap::new(),
            since: Instant::now(),
            retry: None,
        }
    }

    /// Runs until it is closed, or every handle of the store is gone.
    pub(super) async fn run(mut self) {
        let mut queue = Vec::with_capacity(BATCH);
        loop {
            let flush = (!self.lingering.is_empty()).then(|| self.since + LINGER);
            let wake = self.retry.or(flush);
            let mut closing = false;
            tokio::select! {
                biased;
                received = self.ops.recv_many(&mut queue, BATCH) => closing = received == 0,
                () = sleep_until(wake.unwrap_or(self.since)), if wake.is_some() => {
                    if self.retry.is_some() {
                        self.probe().await;
                        continue;
                    }
                }
            }
            if !self.round(&mut queue, closing).await {
                return;
            }
        }
    }

    /// Answers what is queued. False if that was the end.
    async fn round(&mut self, queue: &mut Vec<Op>, closing: bool) -> bool {
        let mut batch = Batch {
            version: self.version,
            durable: closing,
            closing,
            ..Batch::default()
        };
        let mut contents = Vec::new();
        for op in queue.drain(..) {
            match op {
                Op::Transact(transaction) => batch.transact(&self.inner, transaction),
                Op::Drop(slot, done) => batch.drop_table(&self.inner, slot, done),
                #[cfg(test)]
                Op::Flush(done) => {
                    batch.durable = true;
                    batch.waiters.push(done);
                }
                Op::Close(done) => {
                    batch.durable = true;
                    batch.closing = true;
                    batch.waiters.push(done);
                }
                Op::Content(reply) => contents.push(reply),
                Op::Tend => {}
            }
        }
        batch.durable |= batch.version - self.durable_version > UNSYNCED;
        batch.durable |= !self.lingering.is_empty() && self.since.elapsed() >= LINGER;
        let mut outcome = self.commit(&batch, true).await;
        if let Err(Status::Refused { reason, full: true }) = &outcome {
            self.note(reason);
            if let Some(deletions) = batch.only_deletions(&self.inner, self.version, reason) {
                batch = deletions;
                outcome = self.commit(&batch, false).await;
                if matches!(outcome, Err(Status::Refused { full: true, .. })) && self.give_room().await {
                    outcome = self.commit(&batch, false).await;
                }
            }
        }
        let closing = batch.closing;
        if closing && let Some(log) = self.log.take() {
            // Before the answer: who gets it may open the database at once.
            let closed = tokio::task::spawn_blocking(move || log.close()).await;
            if let Ok(Err(failure)) = closed {
                outcome = outcome.and(Err(failure));
            }
        }
        self.settle(batch, outcome);
        for reply in contents {
            let _ = reply.send(self.log.as_ref().map(Log::content).transpose());
        }
        if !closing {
            self.tend().await;
        }
        !closing
    }

    /// Makes a batch durable, if it asks for it. Objects that linger go along if `all` is set.
    async fn commit(&mut self, batch: &Batch, all: bool) -> Outcome {
        if !self.persists {
            return Ok(());
        }
        let gone = || Status::Unknown("the database is gone: the thread that wrote to it failed".into());
        if !batch.durable || (batch.rows.is_empty() && (self.lingering.is_empty() || !all)) {
            return self.log.is_some().then_some(()).ok_or_else(gone);
        }
        let mut rows: Vec<Row> = Vec::new();
        if all {
            let changed: HashSet<&str> = batch.rows.iter().map(|(key, _)| key.as_str()).collect();
            let lingering = self.lingering.iter().filter(|(key, _)| !changed.contains(key.as_str()));
            rows.extend(lingering.map(|(key, value)| (key.clone(), value.clone())));
        }
        rows.extend(batch.rows.iter().cloned());
        let version = batch.version;
        let outcome = self.on_disk(move |log| log.append(&rows, version)).await;
        let outcome = outcome.unwrap_or_else(|| Err(gone()));
        if outcome.is_ok() {
            if all {
                self.lingering.clear();
                self.durable_version = version;
            } else {
                batch.rows.iter().for_each(|(key, _)| drop(self.lingering.remove(key)));
            }
        }
        outcome
    }

    /// Does something with the log on a thread that may block. None without a log, or if that thread panicked.
    async fn on_disk<T: Send + 'static>(&mut self, work: impl FnOnce(&mut Log) -> T + Send + 'static) -> Option<T> {
        let mut log = self.log.take()?;
        let task = tokio::task::spawn_blocking(move || {
            let outcome = work(&mut log);
            (log, outcome)
        });
        let (log, outcome) = task.await.ok()?;
        self.log = Some(log);
        Some(outcome)
    }

    /// Makes a batch visible and answers those who wait for it, or tells them why not.
    fn settle(&mut self, batch: Batch, outcome: Outcome) {
        match outcome {
            Ok(()) => {
                if self.persists && !batch.durable && !batch.rows.is_empty() {
                    if self.lingering.is_empty() {
                        self.since = Instant::now();
                    }
                    self.lingering.extend(batch.rows);
                }
                self.version = batch.version;
                self.inner.publish(batch.version, batch.events, &batch.dropped);
                // A client that went away does not undo its write.
                for (transaction, objects) in batch.transactions {
                    let _ = transaction.reply.send(Ok(objects));
                }
                for done in batch.waiters {
                    let _ = done.send(Ok(()));
                }
            }
            Err(failure) => {
                self.note(failure.reason());
                let error = match &failure {
                    Status::Refused { reason, .. } => WriteError::Disk(reason.clone()),
                    Status::Unknown(reason) => {
                        // Perhaps they are on disk, with these versions.
                        self.version = batch.version;
                        WriteError::Unknown(reason.clone())
                    }
                };
                batch.refuse(&error);
            }
        }
    }

    /// Notes that the disk refuses.
    fn note(&mut self, reason: &str) {
        tracing::error!(error = %reason, "the disk refused to store");
        self.inner.set_health(Some(reason.to_owned()));
        self.retry = Some(Instant::now() + RETRY);
    }

    /// Tries a disk again that has refused.
    async fn probe(&mut self) {
        match self.on_disk(Log::probe).await {
            Some(Ok(())) => {
                tracing::info!("the disk stores again");
                self.inner.set_health(None);
                self.retry = None;
            }
            Some(Err(failure)) => {
                self.inner.set_health(Some(failure.reason().to_owned()));
                self.retry = Some(Instant::now() + RETRY);
            }
            None => self.retry = None,
        }
    }

    async fn give_room(&mut self) -> bool {
        self.on_disk(Log::give_room).await.unwrap_or(false)
    }

    /// Starts, or goes on with, a rewrite of the database.
    async fn tend(&mut self) {
        let live = self.inner.read().live_bytes();
        if self.log.as_ref().is_some_and(|log| log.wants(live)) {
            self.on_disk(move |log| log.tend(live)).await;
        }
    }
}

impl Batch {
    /// What a key holds with the batch applied. `None` if there is no such table any more.
    fn current(&self, inner: &Inner, slot: Slot, key: &str) -> Option<Option<Arc<Object>>> {
        if self.dropped.contains(&slot) {
            return None;
        }
        if let Some(changed) = self.overlay.get(&(slot, key.to_owned())) {
            return Some(changed.clone());
        }
        Some(inner.read().table(slot)?.get(key).cloned())
    }

    /// Applies a transaction to the batch, or refuses it at once.
    fn transact(&mut self, inner: &Inner, mut transaction: Transaction) {
        for (index, write) in transaction.writes.iter().enumerate() {
            if let Err(error) = self.expected(inner, write) {
                let _ = transaction.reply.send(Err(TransactError { index, error }));
                return;
            }
        }
        let writes = transaction.writes.iter_mut();
        let objects = writes.filter_map(|write| self.apply(inner, write)).collect();
        self.transactions.push((transaction, objects));
    }

    /// Whether a write finds what it expects. No two writes of a transaction have the same key.
    fn expected(&self, inner: &Inner, write: &Prepared) -> Result<(), WriteError> {
        let current = self.current(inner, write.slot, &write.key).ok_or(WriteError::Missing)?;
        match (write.expect, current) {
            (Expect::Absent, Some(_)) => Err(WriteError::Exists),
            (Expect::Version(_), None) => Err(WriteError::Missing),
            (Expect::Version(wanted), Some(object)) if object.version != wanted => Err(WriteError::Conflict),
            (Expect::Absent, None) if write.deletes => Err(WriteError::Missing),
            _ => Ok(()),
        }
    }

    fn apply(&mut self, inner: &Inner, write: &mut Prepared) -> Option<Arc<Object>> {
        let spec = inner.read().spec(write.slot)?;
        let current = self.current(inner, write.slot, &write.key)?;
        self.version += 1;
        let (change, object) = match write.new.take() {
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
        let bytes = live.as_ref().map(|object| object.json());
        self.rows.push((row(&spec, &write.key), bytes));
        self.overlay.insert((write.slot, write.key.clone()), live);
        let event = Event {
            change,
            object: object.clone(),
            previous: current,
        };
        self.events.push((write.slot, event));
        Some(object)
    }

    fn drop_table(&mut self, inner: &Inner, slot: Slot, done: Done) {
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
            let mut write = Prepared {
                slot,
                key,
                expect: Expect::Version(object.version),
                new: None,
                deletes: true,
            };
            self.apply(inner, &mut write);
        }
        self.dropped.insert(slot);
        self.waiters.push(done);
    }

    /// The deletions of the batch; what needs room is refused. None, and nothing is done, if there are none.
    fn only_deletions(&mut self, inner: &Inner, version: u64, reason: &str) -> Option<Self> {
        let deletes = |transaction: &Transaction| transaction.writes.iter().all(|write| write.deletes);
        if !self.transactions.iter().any(|(transaction, _)| deletes(transaction)) {
            return None;
        }
        let mut batch = Self {
            version,
            closing: self.closing,
            ..Self::default()
        };
        let mut refused = Self {
            waiters: std::mem::take(&mut self.waiters),
            ..Self::default()
        };
        for (transaction, objects) in std::mem::take(&mut self.transactions) {
            match deletes(&transaction) {
                true => batch.transact(inner, transaction),
                false => refused.transactions.push((transaction, objects)),
            }
        }
        refused.refuse(&WriteError::Disk(reason.to_owned()));
        Some(batch)
    }

    fn refuse(self, error: &WriteError) {
        for (transaction, _) in self.transactions {
            let error = error.clone();
            let _ = transaction.reply.send(Err(TransactError { index: 0, error }));
        }
        for done in self.waiters {
            let _ = done.send(Err(Error::Disk(error.to_string())));
        }
    }
}

/// The key of an object on disk.
pub(super) fn row(spec: &Spec, key: &str) -> String {
    format!("{}\0{key}", spec.name)
}
