//! Feeds and lenses for the union of all views' needs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use knarr_clock::Clock;

use super::feed::{Feed, Spec};
use crate::cluster::{ClusterId, Link, Resource};
use crate::store::{Listing, Need, Query, RowMaker};

/// Most feeds that go on although nobody needs them: with a preview open, every row the cursor rests on has one.
pub(super) const MOST_IDLE: usize = 4;

/// Wakes the application when a listing has changed, at most once until it has looked.
pub(super) struct Notifier {
    dirty: AtomicBool,
    notify: Arc<dyn Fn() + Send + Sync>,
}

impl Notifier {
    pub(super) fn new(notify: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self {
            dirty: AtomicBool::new(false),
            notify,
        }
    }

    /// Something new is published. Called after it is.
    pub(super) fn raise(&self) {
        if !self.dirty.swap(true, Ordering::AcqRel) {
            (self.notify)();
        }
    }
}

/// Keeps feeds alive while some view needs them.
pub struct Catalog {
    links: BTreeMap<ClusterId, Link>,
    feeds: HashMap<Query, Feed>,
    /// Feeds nobody needs, the longest so first.
    idle: Vec<Query>,
    wanted: HashSet<Need>,
    notifier: Arc<Notifier>,
    maker: Arc<dyn Fn(&Resource) -> RowMaker + Send + Sync>,
    clock: Clock,
    loading: Arc<Listing>,
}

impl Catalog {
    /// A catalog without feeds. `notify` is called from feed tasks when a listing has changed, at most once until
    /// [`Catalog::take_dirty`]; `maker` gives the row maker of a resource.
    pub fn new(
        notify: Arc<dyn Fn() + Send + Sync>,
        maker: Arc<dyn Fn(&Resource) -> RowMaker + Send + Sync>,
        clock: Clock,
    ) -> Self {
        Self {
            links: BTreeMap::new(),
            feeds: HashMap::new(),
            idle: Vec::new(),
            wanted: HashSet::new(),
            notifier: Arc::new(Notifier::new(notify)),
            maker,
            clock,
            loading: Arc::default(),
        }
    }

    /// There is a way to a cluster, or a new one: what is wanted of it is read anew. Must be called inside a tokio runtime.
    pub fn connect(&mut self, link: Link) {
        for feed in self.feeds.values_mut() {
            feed.read(&link);
        }
        self.links.insert(link.cluster, link);
    }

    /// A cluster serves something else now: feeds that begin from here on know it.
    pub fn know(&mut self, link: Link) {
        self.links.insert(link.cluster, link);
    }

    /// Ends everything.
    pub fn clear(&mut self) {
        self.links.clear();
        self.feeds.clear();
        self.wanted.clear();
    }

    /// Starts what is newly needed; what no view needs any more ends after a while. Must be called inside a tokio runtime.
    pub fn want(&mut self, needs: &HashSet<Need>) {
        self.wanted.clone_from(needs);
        let mut by_query: HashMap<&Query, Vec<Spec>> = HashMap::new();
        for need in needs {
            by_query.entry(&need.query).or_default().push(Spec::of(need));
        }
        self.feeds
            .retain(|query, feed| feed.want(by_query.get(query).map_or(&[], Vec::as_slice)));
        self.idle
            .retain(|query| self.feeds.contains_key(query) && !by_query.contains_key(query));
        for query in self.feeds.keys() {
            if !by_query.contains_key(query) && !self.idle.contains(query) {
                self.idle.push(query.clone());
            }
        }
        let spare = self.idle.len().saturating_sub(MOST_IDLE);
        for query in self.idle.drain(..spare) {
            self.feeds.remove(&query);
        }
        for (query, specs) in by_query {
            self.feeds.entry(query.clone()).or_insert_with(|| {
                let maker = (self.maker)(&query.resource);
                let mut feed = Feed::start(query.clone(), maker, self.clock.clone(), self.notifier.clone());
                feed.want(&specs);
                for link in self.links.values() {
                    feed.read(link);
                }
                feed
            });
        }
    }

    /// The newest listing for a need; an empty, loading one when its feed has just begun. When only its sort or filter is
    /// new, the rows of the lens before it [stand in](Listing::stand_in), so that a table never flashes empty.
    pub fn listing(&self, need: &Need) -> Arc<Listing> {
        let feed = self.feeds.get(&need.query);
        feed.and_then(|feed| feed.listing(&Spec::of(need)))
            .unwrap_or_else(|| self.loading.clone())
    }

    #[cfg(test)]
    pub(super) fn link(&self) -> Option<&Link> {
        self.links.values().next()
    }

    /// Allows the next notification.
    pub fn take_dirty(&self) {
        self.notifier.dirty.store(false, Ordering::Release);
    }

    /// Whether every wanted feed has completed its first lists (or failed to) wherever there is a way to the cluster, and everything
    /// received is published and looked at: what tests wait for.
    pub fn is_settled(&self) -> bool {
        let settled = |need: &Need| self.feeds.get(&need.query).is_some_and(Feed::is_settled);
        self.wanted.iter().all(settled) && !self.notifier.dirty.load(Ordering::Acquire)
    }
}
