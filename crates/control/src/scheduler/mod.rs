//! kube-scheduler: gives each new pod a node.
//!
//! The [`queue`] says which pod is next. A *scheduling cycle* ([`framework`]) rules nodes out and ranks the rest with the
//! [`plugins`]; it works on the [`cache`] alone and is never held up by a request. The *binding cycle* that follows, and what
//! is to be told of a pod that fits nowhere, run beside the next cycles. A pod that fits nowhere waits aside until something
//! happens that may change the mind of the plugin that refused it, and may evict less important pods ([`preemption`]).

mod cache;
mod events;
mod framework;
pub(crate) mod plugins;
mod preemption;
mod queue;
mod types;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use knarr_clock::Clock;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::caches::{Cached, Caches};
use crate::event::Note;
use crate::key::Key;
use crate::pod;
use crate::queue::Queue;
use crate::store::Change;
use crate::write::{Path, Performer, Verb, Write};

use cache::Cache;
use events::ClusterEvent;
use framework::{Cluster, Diagnosis};
pub(crate) use plugins::{matches_node, tolerates};
use preemption::Preemption;
use queue::SchedulingQueue;
use types::PodInfo;

/// Where its events come from, and the `schedulerName` it answers to.
pub(crate) const NAME: &str = "default-scheduler";
/// Requests under way at once, for bindings and for what is told of pods that wait.
const REQUESTS: usize = 64;

/// The scheduler's state. Its lock is held for a decision, never across a request; events and decisions exclude each other,
/// so that no event is lost on a pod that is being decided about.
pub(crate) struct Scheduler {
    state: Mutex<State>,
    wake: Notify,
    /// What is still to be told of pods that fit nowhere; of each pod only the latest.
    reports: Mutex<HashMap<Key, Report>>,
    to_report: Queue<Key>,
}

#[derive(Default)]
struct State {
    cache: Cache,
    queue: SchedulingQueue,
    /// Where the next cycle begins among the nodes.
    start: usize,
}

/// What a scheduling cycle comes to.
enum Outcome {
    /// Bind it to this node, where it counts already.
    Bind(String),
    /// Its claims need these writes first, and then to be bound; it waits for that.
    PreBind(Vec<Write>),
    /// It has to wait.
    Wait(Report),
}

/// What people and other components are told of a pod that fits nowhere.
struct Report {
    pod: Arc<PodInfo>,
    message: String,
    /// The node that is being cleared for it, and who has to go.
    cleared: Option<(String, Vec<Arc<PodInfo>>)>,
}

impl State {
    /// One scheduling cycle. Reserves: the pod counts at once where it is to be bound.
    fn cycle(&mut self, pod: &Arc<PodInfo>, caches: &Caches) -> Outcome {
        let cluster = Cluster {
            cache: &self.cache,
            caches,
        };
        let decided = framework::schedule(pod, cluster, &self.queue, &mut self.start).map(str::to_owned);
        match decided {
            Ok(node) => {
                let chosen = self.cache.node(&node).and_then(|info| info.node.clone());
                if let Some(writes) = chosen.and_then(|node| plugins::pre_bind(pod, &node, caches)) {
                    let events = ClusterEvent::VOLUME.or(ClusterEvent::VOLUME_CLAIM);
                    self.queue.add_unschedulable(&pod.key(), events);
                    return Outcome::PreBind(writes);
                }
                self.queue.clear_nomination(pod.uid());
                self.cache.assume(pod.clone(), &node);
                Outcome::Bind(node)
            }
            Err(diagnosis) => Outcome::Wait(self.post_filter(pod, &diagnosis, caches)),
        }
    }

    /// `PostFilter`: makes room by preemption where that helps; the pod waits either way.
    fn post_filter(&mut self, pod: &Arc<PodInfo>, diagnosis: &Diagnosis, caches: &Caches) -> Report {
        let cluster = Cluster {
            cache: &self.cache,
            caches,
        };
        let mut message = diagnosis.message();
        let mut cleared = None;
        if diagnosis.total > 0 {
            match preemption::preempt(pod, cluster, &self.queue, diagnosis) {
                Preemption::None(reason) => {
                    message = format!("{message} no new claims to deallocate, preemption: {reason}");
                }
                Preemption::Victims { node, victims } => {
                    // Room that was kept there for less important pods is theirs no longer.
                    let robbed: Vec<Arc<PodInfo>> = self
                        .queue
                        .nominated_on(&node)
                        .filter(|other| other.priority() < pod.priority())
                        .cloned()
                        .collect();
                    robbed.iter().for_each(|other| self.queue.clear_nomination(other.uid()));
                    self.queue.nominate(pod, &node);
                    cleared = Some((node, victims));
                }
            }
        }
        self.queue.add_unschedulable(&pod.key(), preemption::helpful(diagnosis));
        Report {
            pod: pod.clone(),
            message,
            cleared,
        }
    }
}

impl Scheduler {
    /// A scheduler fed by the caches. Must be made before the informers start.
    pub(crate) fn new(caches: &Arc<Caches>) -> Arc<Self> {
        let scheduler = Arc::new(Self {
            state: Mutex::default(),
            wake: Notify::new(),
            reports: Mutex::default(),
            to_report: Queue::new(),
        });
        let weak: Weak<Self> = Arc::downgrade(&scheduler);
        let on_pod = weak.clone();
        Pod::store(caches).on_change(move |change| {
            if let Some(scheduler) = on_pod.upgrade() {
                scheduler.pod_changed(change);
            }
        });
        scheduler.moves_on::<PersistentVolume>(caches, ClusterEvent::VOLUME);
        scheduler.moves_on::<PersistentVolumeClaim>(caches, ClusterEvent::VOLUME_CLAIM);
        scheduler.moves_on::<StorageClass>(caches, ClusterEvent::STORAGE_CLASS);
        let on_node = weak.clone();
        Node::store(caches).on_change(move |change| {
            if let Some(scheduler) = on_node.upgrade() {
                let mut state = scheduler.lock();
                let event = state.cache.node_changed(change.old.as_ref(), change.new.as_ref());
                state.queue.move_on(event);
                scheduler.wake.notify_one();
            }
        });
        Namespace::store(caches).on_change(move |change| {
            let labels = |namespace: &Option<Arc<Namespace>>| {
                namespace.as_ref().map(|namespace| namespace.metadata.labels.clone())
            };
            if labels(&change.old) != labels(&change.new)
                && let Some(scheduler) = weak.upgrade()
            {
                scheduler.lock().queue.move_on(ClusterEvent::NAMESPACE_LABEL);
                scheduler.wake.notify_one();
            }
        });
        scheduler
    }

    /// Lets those try again whom a change of a `K` may help.
    fn moves_on<K: Cached>(self: &Arc<Self>, caches: &Caches, event: ClusterEvent) {
        let weak = Arc::downgrade(self);
        K::store(caches).on_change(move |_| {
            if let Some(scheduler) = weak.upgrade() {
                scheduler.lock().queue.move_on(event);
                scheduler.wake.notify_one();
            }
        });
    }

    /// Runs until `shutdown`.
    pub(crate) async fn run(
        self: Arc<Self>,
        caches: Arc<Caches>,
        performer: Performer,
        clock: Clock,
        shutdown: CancellationToken,
    ) {
        let requests = Arc::new(Semaphore::new(REQUESTS));
        let schedule = async {
            Pod::store(&caches).wait_synced().await;
            Node::store(&caches).wait_synced().await;
            Namespace::store(&caches).wait_synced().await;
            PersistentVolume::store(&caches).wait_synced().await;
            PersistentVolumeClaim::store(&caches).wait_synced().await;
            StorageClass::store(&caches).wait_synced().await;
            let mut bindings = JoinSet::new();
            loop {
                // As many bindings as may be under way are: the API server sets the pace.
                let Ok(permit) = requests.clone().acquire_owned().await else {
                    return;
                };
                let pod = self.next().await;
                while bindings.try_join_next().is_some() {}
                let outcome = {
                    let mut state = self.lock();
                    match state.cache.has(pod.uid()) {
                        true => continue,
                        false => state.cycle(&pod, &caches),
                    }
                };
                match outcome {
                    Outcome::Bind(node) => {
                        let (scheduler, performer) = (self.clone(), performer.clone());
                        bindings.spawn(async move {
                            scheduler.bind(&pod, &node, &performer).await;
                            drop(permit);
                        });
                    }
                    Outcome::PreBind(writes) => {
                        let performer = performer.clone();
                        bindings.spawn(async move {
                            for write in writes {
                                // Whatever was in the way is about to be seen, and is a reason to try again.
                                if let Err(failure) = performer.write(write).await {
                                    tracing::debug!(pod = %pod.key(), error = %failure, "binding volumes failed");
                                }
                            }
                            drop(permit);
                        });
                    }
                    Outcome::Wait(report) => {
                        let key = pod.key();
                        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
                        // Victims that nobody was told of yet still have to go.
                        let earlier = reports.remove(&key).and_then(|earlier| earlier.cleared);
                        let cleared = report.cleared.or(earlier);
                        reports.insert(key.clone(), Report { cleared, ..report });
                        drop(reports);
                        self.to_report.add(key);
                    }
                }
            }
        };
        let report = async {
            let mut workers = JoinSet::new();
            for _ in 0..REQUESTS / 8 {
                let (scheduler, performer, clock) = (self.clone(), performer.clone(), clock.clone());
                workers.spawn(async move {
                    loop {
                        let key = scheduler.to_report.next().await;
                        let report = scheduler
                            .reports
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .remove(&key);
                        if let Some(report) = report {
                            scheduler.report(report, &performer, &clock).await;
                        }
                        scheduler.to_report.done(&key);
                    }
                });
            }
            workers.join_all().await
        };
        shutdown
            .run_until_cancelled(futures::future::join(schedule, report))
            .await;
    }

    /// Waits for the next pod.
    async fn next(&self) -> Arc<PodInfo> {
        loop {
            let woken = self.wake.notified();
            let next_at = {
                let mut state = self.lock();
                if let Some(pod) = state.queue.pop() {
                    return pod;
                }
                state.queue.next_at()
            };
            match next_at {
                Some(at) => _ = tokio::time::timeout_at(at, woken).await,
                None => woken.await,
            }
        }
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let mut state = self.lock();
        let event = state.cache.pod_changed(change.old.as_ref(), change.new.as_ref());
        match &change.new {
            Some(new) if is_pending(new) && !state.cache.has(cache::uid(new)) => {
                state.queue.add(Arc::new(PodInfo::new(new.clone())));
            }
            // Being bound: the queue keeps it until that has worked.
            Some(new) if is_pending(new) => {}
            new => {
                if let Some(gone) = new.as_ref().or(change.old.as_ref()) {
                    state.queue.remove(&Key::of(gone.as_ref()));
                }
            }
        }
        state.queue.move_on(event);
        drop(state);
        self.wake.notify_one();
    }

    /// The binding cycle.
    async fn bind(&self, pod: &PodInfo, node: &str, performer: &Performer) {
        let key = pod.key();
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": { "namespace": key.namespace, "name": key.name, "uid": pod.uid() },
            "target": { "apiVersion": "v1", "kind": "Node", "name": node },
        });
        let object = pod.pod.as_ref();
        let bound =
            Note::normal(object, "Scheduled", format!("Successfully assigned {key} to {node}")).doing("Binding");
        let path = Path::of(object).sub("binding");
        match performer.send(Verb::Create, &path, &binding).await {
            Ok(_) => {
                tracing::info!(pod = %key, node, "Successfully bound pod to node");
                performer.record(bound);
                self.lock().queue.remove(&key);
            }
            Err(failure) => {
                {
                    let mut state = self.lock();
                    state.cache.forget(pod.uid());
                    state.queue.add_backoff(&key);
                    state.queue.move_on(ClusterEvent::POD_DELETE);
                }
                self.wake.notify_one();
                // Gone, or bound by somebody else: nothing to do.
                if failure.code != 404 && failure.code != 409 {
                    let message = format!("Binding failed: {}", failure.message);
                    performer.record(Note::warning(object, "FailedScheduling", message).doing("Scheduling"));
                }
            }
        }
    }

    /// Tells why a pod waits, and evicts those who have to make room for it.
    async fn report(&self, report: Report, performer: &Performer, clock: &Clock) {
        let Report { pod, message, cleared } = report;
        let object = pod.pod.as_ref();
        let mut writes = Vec::new();
        let mut status = json!({});
        if let Some((node, victims)) = &cleared {
            for victim in victims {
                if victim.pod.metadata.deletion_timestamp.is_none() {
                    writes.extend(evict(&victim.pod, object, node, clock));
                }
            }
            status["nominatedNodeName"] = json!(node);
        }
        let known = pod::condition(object, "PodScheduled");
        if known.is_none_or(|known| known.message.as_ref() != Some(&message) || known.status != "False") {
            let since = known
                .filter(|known| known.status == "False")
                .and_then(|known| known.last_transition_time.clone());
            status["conditions"] = json!([{
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": message,
                "lastProbeTime": null,
                "lastTransitionTime": since.map_or(clock.now_seconds(), |since| since.0).to_string(),
            }]);
        }
        if status != json!({}) {
            writes.push(Write::strategic(Path::of(object).sub("status"), json!({ "status": status })).fine_when_gone());
        }
        performer.record(Note::warning(object, "FailedScheduling", message).doing("Scheduling"));
        for write in writes {
            if let Err(failure) = performer.write(write).await {
                tracing::debug!(pod = %pod.key(), error = %failure, "could not report");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn evict(victim: &Pod, for_pod: &Pod, node: &str, clock: &Clock) -> [Write; 2] {
    let condition: Value = json!([{
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": "default-scheduler: preempting to accommodate a higher priority pod",
        "lastTransitionTime": clock.now_seconds().to_string(),
    }]);
    let patch = json!({ "status": { "conditions": condition } });
    let message = format!("Preempted by pod {} on node {node}", cache::uid(for_pod));
    [
        Write::strategic(Path::of(victim).sub("status"), patch).fine_when_gone(),
        Write::delete(victim).on_success(Note::normal(victim, "Preempted", message).doing("Preempting")),
    ]
}

/// Waits for this scheduler: no node, not gated, not finished, not leaving.
fn is_pending(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let ours = spec.scheduler_name.as_deref().is_none_or(|name| name == NAME);
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    ours && !gated && pod::node(pod).is_none() && pod::is_active(pod)
}

#[cfg(test)]
mod tests;
