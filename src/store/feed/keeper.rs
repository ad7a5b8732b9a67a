//! The half of a feed that owns the rows and the lenses.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use knarr_clock::Clock;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::{News, Part, Shared, Slot, Spec, lock};
use crate::store::RowMaker;
use crate::store::catalog::Notifier;
use crate::store::index::{Change, Index};
use crate::store::{FeedState, Filter, Lens, Listing, Object, ObjectId, Order, Query, Row, Seen, Tally};

/// How long changes are gathered before the lenses see them.
pub(super) const BATCH: Duration = Duration::from_millis(10);
/// How long a feed nobody needs goes on: people come back to what they have just left.
pub(super) const GRACE: Duration = Duration::from_secs(10);
/// Owns the rows and the lenses.
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    maker: RowMaker,
    pub(super) clock: Clock,
    notifier: Arc<Notifier>,
    index: Arc<Index>,
    /// One for each sort that a lens has.
    orders: Vec<Order>,
    pub(super) lenses: Vec<(Spec, Lens, Arc<Slot>)>,
    parts: Arc<[Part]>,
    tally: Tally,
    /// What the watches have delivered and no lens has seen: the newest of each object, `None` when it is gone.
    pending: HashMap<ObjectId, Option<Arc<Object>>>,
    /// When the pending changes are applied.
    due: Option<Instant>,
    /// UIDs that the list under way of each part has named.
    named: Vec<HashSet<Arc<str>>>,
    /// News taken from the queue.
    pub(super) taken: u64,
    /// When the feed ends unless somebody needs it.
    ends: Option<Instant>,
    /// When time alone changes what a lens keeps.
    flips: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        query: &Query,
        maker: RowMaker,
        clock: Clock,
        notifier: Arc<Notifier>,
    ) -> Self {
        let part = |(cluster, namespace)| Part {
            cluster,
            namespace,
            state: FeedState::Loading,
        };
        let parts: Arc<[Part]> = query.place.parts().into_iter().map(part).collect();
        Self {
            shared,
            maker,
            clock,
            notifier,
            index: Arc::default(),
            orders: Vec::new(),
            lenses: Vec::new(),
            named: vec![HashSet::new(); parts.len()],
            parts,
            tally: Tally::default(),
            pending: HashMap::new(),
            due: None,
            taken: 0,
            ends: None,
            flips: None,
        }
    }

    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<(usize, News)>) {
        let shared = self.shared.clone();
        loop {
            tokio::select! {
                biased;
                () = shared.changed.notified() => self.refit(),
                () = at(self.due) => self.flush(),
                news = queue.recv() => match news {
                    Some((part, news)) => self.take(part, news),
                    None => return,
                },
                () = at(self.flips) => self.flip(),
                () = at(self.ends) => if self.close() { return },
            }
        }
    }

    pub(super) fn take(&mut self, part: usize, news: News) {
        self.taken += 1;
        match news {
            News::Set(object) => self.gather(object.id.clone(), Some(object)),
            News::Gone(id) => self.gather(id, None),
            News::Begin => {
                self.flush();
                self.named[part].clear();
                self.published();
            }
            News::Columns(columns) => {
                self.flush();
                self.maker.learn(columns);
                // Filters and orders are made of the columns.
                self.lenses.clear();
                self.orders.clear();
                self.refit();
                self.published();
            }
            News::Page(objects) => {
                let changes: Vec<Change> = objects.iter().filter_map(|object| self.listed(object)).collect();
                self.named[part].extend(objects.iter().map(|object| object.id.uid.clone()));
                self.changed(&changes);
            }
            News::End => {
                let named = std::mem::take(&mut self.named[part]);
                let listed = &self.parts[part];
                let gone: Vec<Change> = {
                    let known = self.index.read();
                    let unnamed = known
                        .rows
                        .rows()
                        .filter(|row| listed.holds(&row.id) && !named.contains(&row.id.uid));
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
                let changed = Part {
                    state,
                    ..self.parts[part].clone()
                };
                let parts = self.parts.iter().enumerate();
                self.parts = parts
                    .map(|(at, known)| if at == part { changed.clone() } else { known.clone() })
                    .collect();
                self.publish();
            }
        }
    }

    fn gather(&mut self, id: ObjectId, object: Option<Arc<Object>>) {
        self.pending.insert(id, object);
        if self.due.is_none() {
            self.due = Some(Instant::now() + BATCH);
        }
    }

    /// The change that a list shows, if it shows one. What was missed between two watches is not news to highlight.
    fn listed(&self, object: &Arc<Object>) -> Option<Change> {
        let old = self.index.get(&object.id);
        if let Some(old) = &old
            && old.object.is_same(object)
        {
            return None;
        }
        let seen = Seen {
            at: self.clock.now(),
            before: old.as_deref(),
            live: false,
        };
        let new = Some(Arc::new(self.maker.row(object, seen)));
        Some(Change { old, new })
    }

    /// Applies what is pending.
    pub(super) fn flush(&mut self) {
        if self.due.take().is_none() {
            return;
        }
        let now = self.clock.now();
        let mut changes = Vec::with_capacity(self.pending.len());
        for (id, object) in self.pending.drain() {
            let old = self.index.get(&id);
            let new = object.map(|object| {
                let seen = Seen {
                    at: now,
                    before: old.as_deref(),
                    live: true,
                };
                Arc::new(self.maker.row(&object, seen))
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
        let health = |row: &Option<Arc<Row>>| row.as_ref().map(|row| row.health);
        for change in changes {
            self.tally.change(health(&change.old), health(&change.new));
        }
        self.index.apply(changes);
        let now = self.clock.now();
        let known = self.index.read();
        for order in &mut self.orders {
            order.apply(changes, &known.rows);
        }
        drop(known);
        for (_, lens, _) in &mut self.lenses {
            if let Some(order) = order_of(&self.orders, lens) {
                lens.apply(changes, order, now);
            }
        }
        self.arm();
        self.publish();
    }

    /// Makes the lenses the catalog wishes for.
    pub(super) fn refit(&mut self) {
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
            let titles: Vec<&str> = self.maker.columns.iter().map(|column| &*column.title).collect();
            // The view has refused what cannot be parsed; another's filter may still come here with other columns.
            let filter = Filter::parse(&spec.filter, &titles).unwrap_or_else(|_| Filter::literal(&spec.filter));
            let mut lens = Lens::new(spec.sort, filter, spec.faults);
            if order_of(&self.orders, &lens).is_none() {
                let rows = self.index.read().rows.rows().cloned().collect::<Vec<_>>();
                self.orders.push(Order::new(spec.sort, rows.into_iter()));
            }
            if let Some(order) = order_of(&self.orders, &lens) {
                lens.reset(order, self.clock.now());
            }
            slot.put(self.listing(&lens));
            self.lenses.push((spec, lens, slot));
            self.notifier.raise();
        }
        let lenses = &self.lenses;
        self.orders
            .retain(|order| lenses.iter().any(|(_, lens, _)| lens.sort() == order.sort()));
        self.arm();
    }

    /// Time has changed what some lenses keep.
    fn flip(&mut self) {
        let now = self.clock.now();
        for (_, lens, _) in &mut self.lenses {
            if lens.flip().is_some_and(|flip| flip <= now)
                && let Some(order) = order_of(&self.orders, lens)
            {
                lens.reset(order, now);
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
            state: whole(&self.parts),
            parts: self.parts.clone(),
            columns: self.maker.columns.clone(),
            total: known.rows.len(),
            tally: self.tally,
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

/// How a feed is doing on the whole: as its best part, because what that shows can be worked with.
fn whole(parts: &[Part]) -> FeedState {
    let rank = |part: &&Part| match part.state {
        FeedState::Live => 0,
        FeedState::Stale { .. } => 1,
        FeedState::Loading => 2,
        FeedState::Failed(_) => 3,
    };
    let best = parts.iter().min_by_key(rank);
    best.map_or(FeedState::Loading, |part| part.state.clone())
}

fn order_of<'a>(orders: &'a [Order], lens: &Lens) -> Option<&'a Order> {
    orders.iter().find(|order| order.sort() == lens.sort())
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
