//! One list and watch, and the single writer of its objects.
//!
//! A feed is one task of two halves. The [reader](reader) talks to the cluster and decodes; the keeper, here, owns the rows and
//! the lenses. Between them is a short queue, so that a flood waits in the server and not in memory. What a watch
//! delivers is gathered for at most [`BATCH`], then every lens moves its changed rows and publishes once.

mod reader;
mod wire;

pub use wire::{Decoder, Event, Page};

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use knarr_clock::Clock;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use super::catalog::{Notifier, RowMaker};
use super::index::{Change, Index};
use super::lens::Lens;
use crate::cluster::Link;
use crate::store::{FeedState, Filter, Listing, Need, Object, Query, Row, Sort};

/// How long changes are gathered before the lenses see them.
const BATCH: Duration = Duration::from_millis(10);
/// How long a feed nobody needs goes on: people come back to what they have just left.
const GRACE: Duration = Duration::from_secs(10);
/// News on their way from the reader to the keeper.
const QUEUE: usize = 64;

/// What the reader tells the keeper.
#[derive(Debug)]
enum News {
    /// A list begins.
    Begin,
    /// Some objects of the list.
    Page(Vec<Arc<Object>>),
    /// The list is complete: what it did not name is gone.
    End,
    /// The watch shows the object as it is now.
    Set(Arc<Object>),
    /// The watch shows that the object is gone.
    Gone(Arc<str>),
    /// The feed is doing so.
    State(FeedState),
}

/// How far a feed is: counted, so that a test knows when everything received is shown without waiting for time to pass.
#[derive(Debug)]
struct Progress {
    /// A list is under way that has to come to an end first.
    listing: AtomicBool,
    /// News received from the cluster, and of these the ones every lens has published.
    received: AtomicU64,
    published: AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            listing: AtomicBool::new(true),
            received: AtomicU64::new(0),
            published: AtomicU64::new(0),
        }
    }
}

/// A lens as the catalog names it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spec {
    filter: String,
    sort: Sort,
    faults: bool,
}

impl Spec {
    pub(super) fn of(need: &Need) -> Self {
        Self {
            filter: need.filter.clone(),
            sort: need.sort,
            faults: need.faults,
        }
    }
}

/// Where a lens leaves its newest listing.
#[derive(Debug)]
struct Slot {
    listing: Mutex<Arc<Listing>>,
    /// Whether the lens itself has published, not only its stand-in.
    ready: AtomicBool,
}

impl Slot {
    fn get(&self) -> Arc<Listing> {
        lock(&self.listing).clone()
    }

    fn put(&self, listing: Listing) {
        let old = std::mem::replace(&mut *lock(&self.listing), Arc::new(listing));
        // Taken down outside the lock: it may be the last to hold many rows.
        drop(old);
        self.ready.store(true, Ordering::Release);
    }
}

/// The lenses a feed should have: written by the catalog, read by the keeper. Only the newest wish counts, so fast typing
/// in a filter never queues work.
#[derive(Debug, Default)]
struct Wish {
    lenses: Vec<(Spec, Arc<Slot>)>,
    /// Nobody needs any of them.
    idle: bool,
    /// The feed has ended.
    closed: bool,
}

impl Wish {
    /// Keeps the lenses of `specs`, adds the missing ones, forgets the others; says whether anything changed.
    fn fit(&mut self, specs: &[Spec]) -> bool {
        let lenses = std::mem::take(&mut self.lenses);
        let (kept, gone): (Vec<_>, Vec<_>) = lenses.into_iter().partition(|(spec, _)| specs.contains(spec));
        // What the view has just left looks most like what it wants now.
        let stand_in = gone.last().or(kept.last()).map(|(_, slot)| stand_in(&slot.get()));
        let known = kept.len();
        self.lenses = kept;
        for spec in specs {
            if self.lenses.iter().all(|(known, _)| known != spec) {
                let listing = Mutex::new(stand_in.clone().unwrap_or_default());
                self.lenses.push((
                    spec.clone(),
                    Arc::new(Slot {
                        listing,
                        ready: AtomicBool::new(false),
                    }),
                ));
            }
        }
        !gone.is_empty() || self.lenses.len() > known
    }
}

#[derive(Debug)]
struct Shared {
    wish: Mutex<Wish>,
    changed: Notify,
    progress: Progress,
}

/// A running feed. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Feed {
    shared: Arc<Shared>,
    task: tokio::task::AbortHandle,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Feed {
    /// Starts listing and watching.
    pub(super) fn start(link: Link, query: Query, maker: RowMaker, clock: Clock, notifier: Arc<Notifier>) -> Self {
        let shared = Arc::new(Shared {
            wish: Mutex::default(),
            changed: Notify::new(),
            progress: Progress::default(),
        });
        let (out, news) = mpsc::channel(QUEUE);
        let reader = reader::Reader::new(link, query, clock.clone(), out, shared.clone());
        let keeper = Keeper::new(shared.clone(), maker, clock, notifier);
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                () = reader.run() => {}
                () = keeper.run(news) => {}
            }
        });
        Self {
            shared,
            task: task.abort_handle(),
        }
    }

    /// Says which lenses are needed; none lets the feed end after a while. `false` when it has ended already.
    pub(super) fn want(&self, specs: &[Spec]) -> bool {
        let mut wish = lock(&self.shared.wish);
        if wish.closed || self.task.is_finished() {
            return false;
        }
        let idle = specs.is_empty();
        if idle != wish.idle {
            wish.idle = idle;
            self.shared.changed.notify_one();
        }
        if idle {
            // The lenses stay as they are, ready for whoever comes back.
            return true;
        }
        if wish.fit(specs) {
            self.shared.changed.notify_one();
        }
        true
    }

    /// The newest listing of a lens; that of another one while nobody has asked for this lens yet.
    pub(super) fn listing(&self, spec: &Spec) -> Option<Arc<Listing>> {
        let wish = lock(&self.shared.wish);
        match wish.lenses.iter().find(|(known, _)| known == spec) {
            Some((_, slot)) => Some(slot.get()),
            None => wish.lenses.last().map(|(_, slot)| stand_in(&slot.get())),
        }
    }

    /// Whether the first list is over and everything received is in every listing.
    pub(super) fn is_settled(&self) -> bool {
        let progress = &self.shared.progress;
        if progress.listing.load(Ordering::Acquire) {
            return false;
        }
        let published = progress.published.load(Ordering::Acquire);
        let wish = lock(&self.shared.wish);
        published == progress.received.load(Ordering::Acquire)
            && wish.lenses.iter().all(|(_, slot)| slot.ready.load(Ordering::Acquire))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stand_in(listing: &Arc<Listing>) -> Arc<Listing> {
    Arc::new(Listing {
        stand_in: true,
        ..Listing::clone(listing)
    })
}

/// Owns the rows and the lenses.
struct Keeper {
    shared: Arc<Shared>,
    maker: RowMaker,
    clock: Clock,
    notifier: Arc<Notifier>,
    index: Arc<Index>,
    lenses: Vec<(Spec, Lens, Arc<Slot>)>,
    state: FeedState,
    faults: usize,
    /// What the watch has delivered and no lens has seen: the newest of each object, `None` when it is gone.
    pending: HashMap<Arc<str>, Option<Arc<Object>>>,
    /// When the pending changes are applied.
    due: Option<Instant>,
    /// UIDs the list under way has named.
    named: HashSet<Arc<str>>,
    /// News taken from the queue.
    taken: u64,
    /// When the feed ends unless somebody needs it.
    ends: Option<Instant>,
    /// When time alone changes what a lens keeps.
    flips: Option<Instant>,
}

impl Keeper {
    fn new(shared: Arc<Shared>, maker: RowMaker, clock: Clock, notifier: Arc<Notifier>) -> Self {
        Self {
            shared,
            maker,
            clock,
            notifier,
            index: Arc::default(),
            lenses: Vec::new(),
            state: FeedState::Loading,
            faults: 0,
            pending: HashMap::new(),
            due: None,
            named: HashSet::new(),
            taken: 0,
            ends: None,
            flips: None,
        }
    }

    async fn run(mut self, mut queue: mpsc::Receiver<News>) {
        let shared = self.shared.clone();
        loop {
            tokio::select! {
                biased;
                () = shared.changed.notified() => self.refit(),
                () = at(self.due) => self.flush(),
                news = queue.recv() => match news {
                    Some(news) => self.take(news),
                    None => return,
                },
                () = at(self.flips) => self.flip(),
                () = at(self.ends) => if self.close() { return },
            }
        }
    }

    fn take(&mut self, news: News) {
        self.taken += 1;
        match news {
            News::Set(object) => self.gather(object.id.uid.clone(), Some(object)),
            News::Gone(uid) => self.gather(uid, None),
            News::Begin => {
                self.flush();
                self.named.clear();
                self.published();
            }
            News::Page(objects) => {
                let changes: Vec<Change> = objects.iter().filter_map(|object| self.listed(object)).collect();
                self.named.extend(objects.iter().map(|object| object.id.uid.clone()));
                self.changed(&changes);
            }
            News::End => {
                let named = std::mem::take(&mut self.named);
                let gone: Vec<Change> = {
                    let known = self.index.read();
                    let unnamed = known.rows.values().filter(|row| !named.contains(&row.id.uid));
                    unnamed
                        .map(|row| Change {
                            old: Some(row.clone()),
                            new: None,
                        })
                        .collect()
                };
                self.changed(&gone);
            }
            News::State(state) => {
                self.flush();
                self.state = state;
                self.publish();
            }
        }
    }

    fn gather(&mut self, uid: Arc<str>, object: Option<Arc<Object>>) {
        self.pending.insert(uid, object);
        if self.due.is_none() {
            self.due = Some(Instant::now() + BATCH);
        }
    }

    /// The change that a list shows, if it shows one. What was missed between two watches is not news to highlight.
    fn listed(&self, object: &Arc<Object>) -> Option<Change> {
        let old = self.index.get(&object.id.uid);
        if let Some(old) = &old
            && old.object.raw == object.raw
        {
            return None;
        }
        let changed = old.as_ref().and_then(|old| old.changed);
        let new = Some(Arc::new((self.maker.make)(object, changed)));
        Some(Change { old, new })
    }

    /// Applies what is pending.
    fn flush(&mut self) {
        if self.due.take().is_none() {
            return;
        }
        let now = self.clock.now();
        let mut changes = Vec::with_capacity(self.pending.len());
        for (uid, object) in self.pending.drain() {
            let old = self.index.get(&uid);
            let new = object.map(|object| {
                let mut row = (self.maker.make)(&object, Some(now));
                // A heartbeat that changes nothing one can see is no change to point at.
                if let Some(old) = old.as_ref().filter(|old| looks_like(old, &row)) {
                    row.changed = old.changed;
                }
                Arc::new(row)
            });
            if old.is_some() || new.is_some() {
                changes.push(Change { old, new });
            }
        }
        self.changed(&changes);
    }

    fn changed(&mut self, changes: &[Change]) {
        if changes.is_empty() {
            return self.published();
        }
        let faults = |row: &Option<Arc<Row>>| usize::from(row.as_ref().is_some_and(|row| row.health.needs_attention()));
        for change in changes {
            self.faults = self.faults + faults(&change.new) - faults(&change.old);
        }
        self.index.apply(changes);
        let now = self.clock.now();
        let known = self.index.read();
        for (_, lens, _) in &mut self.lenses {
            lens.apply(changes, &known.rows, now);
        }
        drop(known);
        self.arm();
        self.publish();
    }

    /// Makes the lenses the catalog wishes for.
    fn refit(&mut self) {
        let (wanted, idle) = {
            let wish = lock(&self.shared.wish);
            (wish.lenses.clone(), wish.idle)
        };
        self.ends = idle.then(|| Instant::now() + GRACE);
        self.lenses
            .retain(|(_, _, slot)| wanted.iter().any(|(_, wanted)| Arc::ptr_eq(slot, wanted)));
        for (spec, slot) in wanted {
            if self.lenses.iter().any(|(_, _, known)| Arc::ptr_eq(known, &slot)) {
                continue;
            }
            // The view has refused what cannot be parsed; another's filter may still come here with other columns.
            let filter =
                Filter::parse(&spec.filter, &self.maker.titles).unwrap_or_else(|_| Filter::literal(&spec.filter));
            let mut lens = Lens::new(spec.sort, filter, spec.faults);
            lens.reset(self.index.read().rows.values(), self.clock.now());
            slot.put(self.listing(&lens));
            self.lenses.push((spec, lens, slot));
            self.notifier.raise();
        }
        self.arm();
    }

    /// Time has changed what some lenses keep.
    fn flip(&mut self) {
        let now = self.clock.now();
        for (_, lens, _) in &mut self.lenses {
            if lens.flip().is_some_and(|flip| flip <= now) {
                lens.reset(self.index.read().rows.values(), now);
            }
        }
        self.publish();
        self.arm();
    }

    fn arm(&mut self) {
        let first = self.lenses.iter().filter_map(|(_, lens, _)| lens.flip()).min();
        // At most once a second, however many ages are about to pass the limit.
        self.flips = first.map(|first| {
            let wait = Duration::try_from(first.duration_since(self.clock.now())).unwrap_or_default();
            Instant::now() + wait.max(Duration::from_secs(1)).min(Duration::from_secs(86_400))
        });
    }

    fn listing(&self, lens: &Lens) -> Listing {
        let known = self.index.read();
        Listing {
            state: self.state.clone(),
            total: known.rows.len(),
            faults: self.faults,
            index: self.index.clone(),
            generation: known.generation,
            ..lens.snapshot()
        }
    }

    fn publish(&mut self) {
        for (_, lens, slot) in &self.lenses {
            slot.put(self.listing(lens));
        }
        self.notifier.raise();
        self.published();
    }

    fn published(&mut self) {
        if self.due.is_none() {
            self.shared.progress.published.store(self.taken, Ordering::Release);
        }
    }

    /// Ends the feed unless somebody has come back meanwhile.
    fn close(&mut self) -> bool {
        let mut wish = lock(&self.shared.wish);
        if !wish.idle {
            self.ends = None;
            return false;
        }
        wish.closed = true;
        wish.lenses.clear();
        self.index.clear();
        true
    }
}

fn looks_like(a: &Row, b: &Row) -> bool {
    a.health == b.health && a.cells == b.cells && a.labels == b.labels
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
