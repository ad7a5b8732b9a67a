//! The scheduler: gives each new pod a node.
//!
//! A pod without a node is *pending*. The scheduler takes one pending pod at a time, rules out the nodes that do not
//! fit ([`filter`], [`relation`]), ranks the rest ([`score`]) and binds the pod to the best. When none fits, the pod
//! waits aside until something changes that may make room; attempts back off from one to ten seconds.

mod cluster;
mod decide;
mod demand;
mod filter;
mod relation;
mod score;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use knarr_clock::Clock;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::caches::{Cached, Caches};
use crate::event::Note;
use crate::key::Key;
use crate::pod;
use crate::queue::Queue;
use crate::store::Change;
use crate::write::{Path, Performer, Verb, Write};

use cluster::Cluster;
use decide::Decision;
pub(crate) use filter::tolerates;

/// Where its events come from, and the `schedulerName` it answers to.
pub(crate) const NAME: &str = "default-scheduler";
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// A pod that waits aside is tried again after this time although nothing has changed.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// The scheduler's state. Its lock is held for a decision, never across a request.
pub(crate) struct Scheduler {
    state: Mutex<State>,
    queue: Queue<Key>,
}

#[derive(Default)]
struct State {
    cluster: Cluster,
    /// Pods that did not fit anywhere.
    aside: HashMap<Key, Attempts>,
}

#[derive(Clone, Copy)]
struct Attempts {
    count: u32,
    last: Instant,
}

impl Attempts {
    /// What is left of the back-off.
    fn wait(&self) -> Duration {
        let doubled = FIRST_BACKOFF.saturating_mul(1u32.checked_shl(self.count.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(LAST_BACKOFF).saturating_sub(self.last.elapsed())
    }
}

impl Scheduler {
    /// A scheduler fed by the caches. Must be made before the informers start.
    pub(crate) fn new(caches: &Arc<Caches>) -> Arc<Self> {
        let scheduler = Arc::new(Self {
            state: Mutex::default(),
            queue: Queue::new(),
        });
        let weak: Weak<Self> = Arc::downgrade(&scheduler);
        let on_pod = weak.clone();
        Pod::store(caches).on_change(move |change| {
            if let Some(scheduler) = on_pod.upgrade() {
                scheduler.pod_changed(change);
            }
        });
        Node::store(caches).on_change(move |change| {
            if let Some(scheduler) = weak.upgrade() {
                let mut state = scheduler.lock();
                if state.cluster.node_changed(change.old.as_ref(), change.new.as_ref()) {
                    scheduler.reconsider(&mut state);
                }
            }
        });
        scheduler
    }

    /// Runs until `shutdown`.
    pub(crate) async fn run(
        self: Arc<Self>,
        caches: Arc<Caches>,
        performer: Performer,
        clock: Clock,
        shutdown: CancellationToken,
    ) {
        let work = async {
            Pod::store(&caches).wait_synced().await;
            Node::store(&caches).wait_synced().await;
            Namespace::store(&caches).wait_synced().await;
            let mut bindings = JoinSet::new();
            loop {
                let key = self.queue.next().await;
                while bindings.try_join_next().is_some() {}
                let Some(pod) = caches.pods.get(&key).filter(|pod| is_pending(pod)) else {
                    self.lock().aside.remove(&key);
                    self.queue.done(&key);
                    continue;
                };
                match self.place(&pod, &caches.namespaces) {
                    None => {}
                    Some(Decision::Bind(node)) => {
                        let (scheduler, performer) = (self.clone(), performer.clone());
                        bindings.spawn(async move { scheduler.bind(&pod, &node, &performer).await });
                    }
                    Some(decision) => self.report(&pod, decision, &performer, &clock).await,
                }
                self.queue.done(&key);
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let mut state = self.lock();
        if state.cluster.pod_changed(change.old.as_ref(), change.new.as_ref()) {
            self.reconsider(&mut state);
        }
        match &change.new {
            Some(new) if is_pending(new) => {
                // The scheduler's own status updates are no reason to try again.
                let news = change
                    .old
                    .as_ref()
                    .is_none_or(|old| old.spec != new.spec || old.metadata.labels != new.metadata.labels);
                if news {
                    self.queue.add(Key::of(new.as_ref()));
                }
            }
            Some(_) => {}
            None => {
                if let Some(old) = &change.old {
                    state.aside.remove(&Key::of(old.as_ref()));
                }
            }
        }
    }

    /// Something may have made room: those that wait get another try, each after its back-off.
    fn reconsider(&self, state: &mut State) {
        for (key, attempts) in &state.aside {
            self.queue.add_after(key.clone(), attempts.wait());
        }
    }

    /// Decides, and counts a placed pod at once. `None` when it has a place already.
    fn place(&self, pod: &Arc<Pod>, namespaces: &crate::store::Store<Namespace>) -> Option<Decision> {
        let mut state = self.lock();
        if state.cluster.has(pod) {
            return None;
        }
        let decision = decide::decide(pod, &state.cluster, namespaces);
        let key = Key::of(pod.as_ref());
        match &decision {
            Decision::Bind(node) => {
                state.cluster.assume(pod.clone(), node);
                state.aside.remove(&key);
            }
            _ => {
                let count = state.aside.get(&key).map_or(0, |attempts| attempts.count) + 1;
                let last = Instant::now();
                state.aside.insert(key.clone(), Attempts { count, last });
                self.queue.add_after(key, PATIENCE);
            }
        }
        Some(decision)
    }

    async fn bind(&self, pod: &Pod, node: &str, performer: &Performer) {
        let key = Key::of(pod);
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": { "namespace": key.namespace, "name": key.name, "uid": pod.metadata.uid },
            "target": { "apiVersion": "v1", "kind": "Node", "name": node },
        });
        let bound = Note::normal(pod, "Scheduled", format!("Successfully assigned {key} to {node}"));
        let path = Path::of(pod).sub("binding");
        match performer.send(Verb::Create, &path, &binding).await {
            Ok(_) => {
                tracing::info!(pod = %key, node, "Successfully bound pod to node");
                performer.recorder.record(bound);
            }
            Err(failure) => {
                self.lock().cluster.forget(cluster::uid(pod));
                // Gone, or bound by somebody else: nothing to do.
                if failure.code != 404 && failure.code != 409 {
                    let message = format!("Binding failed: {}", failure.message);
                    performer
                        .recorder
                        .record(Note::warning(pod, "FailedScheduling", message));
                }
                self.queue.add_after(key, FIRST_BACKOFF);
            }
        }
    }

    /// Tells why a pod waits, and evicts those who have to make room for it.
    async fn report(&self, pod: &Pod, decision: Decision, performer: &Performer, clock: &Clock) {
        let (message, room) = match decision {
            Decision::Wait(message) => (message, None),
            Decision::Preempt { node, victims, message } => (message, Some((node, victims))),
            Decision::Bind(_) => return,
        };
        let mut writes = Vec::new();
        let mut status = json!({});
        if let Some((node, victims)) = &room {
            for victim in victims
                .iter()
                .filter(|victim| victim.metadata.deletion_timestamp.is_none())
            {
                writes.extend(evict(victim, pod, node, clock));
            }
            status["nominatedNodeName"] = json!(node);
        }
        let known = pod::condition(pod, "PodScheduled");
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
            writes.push(Write::strategic(Path::of(pod).sub("status"), json!({ "status": status })).fine_when_gone());
        }
        performer
            .recorder
            .record(Note::warning(pod, "FailedScheduling", message));
        for write in writes {
            if let Err(failure) = performer.write(write).await {
                tracing::debug!(pod = %Key::of(pod), error = %failure, "could not report");
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
    let message = format!("Preempted by pod {} on node {node}", cluster::uid(for_pod));
    [
        Write::strategic(Path::of(victim).sub("status"), patch).fine_when_gone(),
        Write::delete(victim).on_success(Note::normal(victim, "Preempted", message)),
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
