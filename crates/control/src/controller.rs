//! The loop that every controller shares.
//!
//! A controller declares what it watches and how a change maps to keys, and computes for one key what has to be done
//! ([`Controller::sync`]). Everything else is here: queueing, retries, workers, waiting for the caches.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::future::join_all;
use jiff::Timestamp;
use knarr_clock::Clock;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::caches::{Cached, Caches};
use crate::expect::Expectations;
use crate::key::Key;
use crate::queue::Queue;
use crate::store::Change;
use crate::write::{Failure, Performer, Plan};

/// Keys worked on at the same time, per controller.
const WORKERS: usize = 5;

/// One control loop.
pub(crate) trait Controller: Send + Sync + 'static {
    /// Its name, which is also what its events come from.
    const NAME: &'static str;

    /// The service account in `kube-system` that it acts as, which has what rights it needs; none for the user of the manager.
    const ACCOUNT: Option<&'static str> = Some(Self::NAME);

    /// Declares which changes queue which keys.
    fn watches(self: &Arc<Self>, watch: &mut Watches);

    /// Computes what has to be done for one key, from the caches alone.
    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan;

    /// Expectations that the plan's batch is to be counted in.
    fn expectations(&self) -> Option<&Expectations> {
        None
    }

    /// Brings one key in order. Controllers whose work cannot be planned ahead (because it depends on live reads)
    /// override this instead.
    fn reconcile(&self, key: &Key, cx: &Context) -> impl Future<Output = Result<Option<Duration>, Failure>> + Send {
        async move {
            let plan = self.sync(key, &cx.caches, cx.clock.now());
            let again = plan.again;
            cx.performer.perform(key, plan, self.expectations()).await?;
            Ok(again)
        }
    }
}

/// What a running controller works with.
pub(crate) struct Context {
    pub(crate) caches: Arc<Caches>,
    pub(crate) performer: Performer,
    pub(crate) clock: Clock,
}

/// Collects a controller's watches.
pub(crate) struct Watches {
    caches: Arc<Caches>,
    queue: Arc<Queue<Key>>,
    synced: Vec<BoxFuture<'static, ()>>,
}

impl Watches {
    pub(crate) fn new(caches: Arc<Caches>) -> Self {
        Self {
            caches,
            queue: Arc::new(Queue::new()),
            synced: Vec::new(),
        }
    }

    /// The queue, for a controller that has other reasons to look at a key than a change of a cached object.
    pub(crate) fn queue(&self) -> Arc<Queue<Key>> {
        self.queue.clone()
    }

    /// Queues the keys that `keys` derives from a change of a `K`.
    pub(crate) fn on<K: Cached>(
        &mut self,
        keys: impl Fn(&Change<K>, &Caches) -> Vec<Key> + Send + Sync + 'static,
    ) -> &mut Self {
        let queue = self.queue.clone();
        // Weak, because the handler is kept inside the caches.
        let caches: Weak<Caches> = Arc::downgrade(&self.caches);
        K::store(&self.caches).on_change(move |change| {
            if let Some(caches) = caches.upgrade() {
                for key in keys(change, &caches) {
                    queue.add(key);
                }
            }
        });
        self.read::<K>()
    }

    /// Queues the changed object itself.
    pub(crate) fn own<K: Cached>(&mut self) -> &mut Self {
        self.on::<K>(|change, _| {
            change
                .sides()
                .last()
                .map(|object| Key::of(object.as_ref()))
                .into_iter()
                .collect()
        })
    }

    /// Reads a cache without being woken by it: work starts when it is complete.
    pub(crate) fn read<K: Cached>(&mut self) -> &mut Self {
        let caches = self.caches.clone();
        self.synced
            .push(Box::pin(async move { K::store(&caches).wait_synced().await }));
        self
    }
}

/// Registers a controller's watches and returns its loop. Must be called before the informers start.
pub(crate) fn prepare<C: Controller>(
    controller: Arc<C>,
    cx: Arc<Context>,
    shutdown: CancellationToken,
) -> impl Future<Output = ()> + Send {
    let mut watches = Watches::new(cx.caches.clone());
    controller.watches(&mut watches);
    let Watches { queue, synced, .. } = watches;
    async move {
        let work = async {
            join_all(synced).await;
            tracing::info!(controller = C::NAME, "Caches are synced, starting controller");
            work(controller, cx, queue).await;
        };
        shutdown.run_until_cancelled(work).await;
    }
}

async fn work<C: Controller>(controller: Arc<C>, cx: Arc<Context>, queue: Arc<Queue<Key>>) {
    let permits = Arc::new(Semaphore::new(WORKERS));
    let mut tasks = JoinSet::new();
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return; // never closed
        };
        let key = queue.next().await;
        while tasks.try_join_next().is_some() {}
        let (controller, cx, queue) = (controller.clone(), cx.clone(), queue.clone());
        let work = InHand { queue, key };
        tasks.spawn(async move {
            match controller.reconcile(&work.key, &cx).await {
                Ok(again) => {
                    work.queue.forget(&work.key);
                    if let Some(delay) = again {
                        work.queue.add_after(work.key.clone(), delay);
                    }
                }
                Err(failure) => {
                    tracing::debug!(controller = C::NAME, key = %work.key, error = %failure, "sync failed, trying again");
                    work.queue.retry(work.key.clone());
                }
            }
            drop(permit);
        });
    }
}

/// A key that is being worked on. Done when dropped, so that a sync that panics (a bug) blocks no later one.
struct InHand {
    queue: Arc<Queue<Key>>,
    key: Key,
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.queue.done(&self.key);
    }
}
