//! One list and watch, and the single writer of its objects.
//!
//! A feed has one [keeper](keeper), which owns the rows and the lenses, and a [reader](reader) for each [part](Part) of its place, which
//! talks to the part's cluster and decodes: one that is slow or dead holds up no other. Between them is a short queue, so that a flood waits
//! in the server and not in memory. What a watch delivers is gathered for at most [`BATCH`](keeper::BATCH), then every lens moves its
//! changed rows and publishes once.

mod keeper;
mod reader;
mod table;
mod wire;

pub use wire::{Decoder, Event, Page};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use knarr_clock::Clock;
use tokio::sync::{Notify, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::catalog::Notifier;
use crate::cluster::Link;
use crate::store::RowMaker;
use crate::store::{Column, FeedState, Listing, Need, Object, ObjectId, Part, Query, Sort};
use keeper::Keeper;

/// News on their way from the readers to the keeper.
const QUEUE: usize = 64;

/// What a reader tells the keeper of its part.
#[derive(Debug)]
enum News {
    /// A list begins.
    Begin,
    /// The server's table has these columns.
    Columns(Arc<[Column]>),
    /// Some objects of the list.
    Page(Vec<Arc<Object>>),
    /// The list is complete: what it did not name is gone.
    End,
    /// The watch shows the object as it is now.
    Set(Arc<Object>),
    /// The watch shows that the object is gone.
    Gone(ObjectId),
    /// The part is doing so.
    State(FeedState),
}

/// How far a feed is: counted, so that a test knows when everything received is shown without waiting for time to pass.
#[derive(Debug, Default)]
struct Progress {
    /// Lists under way that have to come to an end first.
    listing: AtomicUsize,
    /// News received from the cluster, and of these the ones every lens has published.
    received: AtomicU64,
    published: AtomicU64,
}

/// A list under way, counted as such for as long as this is held.
#[derive(Debug)]
struct Underway(Arc<Shared>);

impl Underway {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.progress.listing.fetch_add(1, Ordering::AcqRel);
        Self(shared.clone())
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.progress.listing.fetch_sub(1, Ordering::AcqRel);
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
    query: Query,
    /// Whether the server is asked for a table.
    tabular: bool,
    clock: Clock,
    shared: Arc<Shared>,
    news: mpsc::Sender<(usize, News)>,
    /// By the number of the part.
    readers: BTreeMap<usize, AbortOnDropHandle<()>>,
    keeper: AbortOnDropHandle<()>,
}

impl Feed {
    /// A feed that reads from no cluster yet.
    pub(super) fn start(query: Query, maker: RowMaker, clock: Clock, notifier: Arc<Notifier>) -> Self {
        let shared = Arc::new(Shared {
            wish: Mutex::default(),
            changed: Notify::new(),
            progress: Progress::default(),
        });
        let tabular = maker.tabular;
        let (news, queue) = mpsc::channel(QUEUE);
        let keeper = Keeper::new(shared.clone(), &query, maker, clock.clone(), notifier);
        Self {
            query,
            tabular,
            clock,
            shared,
            news,
            readers: BTreeMap::new(),
            keeper: AbortOnDropHandle::new(tokio::spawn(keeper.run(queue))),
        }
    }

    /// Lists and watches what is in the link's cluster, anew when it did so already: the rows stay until they are known to be gone.
    pub(super) fn read(&mut self, link: &Link) {
        for (part, (cluster, namespace)) in self.query.place.parts().into_iter().enumerate() {
            if cluster == link.cluster {
                let out = reader::Out::new(part, self.news.clone(), self.shared.clone());
                let reader = reader::Reader::new(
                    link.clone(),
                    &self.query,
                    namespace,
                    self.tabular,
                    self.clock.clone(),
                    out,
                );
                let task = AbortOnDropHandle::new(tokio::spawn(reader.run()));
                self.readers.insert(part, task);
            }
        }
    }

    /// Says which lenses are needed; none lets the feed end after a while. `false` when it has ended already.
    pub(super) fn want(&self, specs: &[Spec]) -> bool {
        let mut wish = lock(&self.shared.wish);
        if wish.closed || self.keeper.is_finished() {
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

    /// Whether no list is under way and everything received is in every listing.
    pub(super) fn is_settled(&self) -> bool {
        let progress = &self.shared.progress;
        if progress.listing.load(Ordering::Acquire) > 0 {
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

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
