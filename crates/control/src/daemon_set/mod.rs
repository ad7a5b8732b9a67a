//! DaemonSet: one pod on every node that suits.
//!
//! The controller decides which nodes suit, and makes for each a pod that only fits there; binding it is the scheduler's.
//! Pods of an old template are replaced within the bounds of the update strategy.

mod nodes;
mod rollout;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;

use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::event::Note;
use crate::expect::Expectations;
use crate::history::{Current, HASH_LABEL, History, hash_of};
use crate::key::Key;
use crate::store::Change;
use crate::write::{Plan, Write};
use crate::{owner, pod};

use nodes::{Fitness, fitness, target};

/// Most pods created or deleted in one sync.
const BURST: usize = 250;
const GENERATION: &str = "deprecated.daemonset.template.generation";
const GENERATION_LABEL: &str = "pod-template-generation";
/// How long a failed pod is left alone before it is deleted: doubles with each failure on the node.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(15 * 60);

/// The DaemonSet controller.
#[derive(Default)]
pub(crate) struct DaemonSets {
    expectations: Arc<Expectations>,
    /// When a pod of a set last failed on a node, and the wait after that.
    failures: Mutex<HashMap<(Key, String), (Timestamp, Duration)>>,
}

impl Controller for DaemonSets {
    const NAME: &'static str = "daemonset-controller";
    const ACCOUNT: Option<&'static str> = Some("daemon-set-controller");

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        let expectations = self.expectations.clone();
        watch
            .own::<DaemonSet>()
            .on::<Pod>(move |change, caches| pod_changed(change, caches, &expectations))
            .on::<Node>(node_changed)
            .on::<ControllerRevision>(|change, _| {
                let owner = |revision: &Arc<ControllerRevision>| owner::controller_key(&revision.metadata, "DaemonSet");
                change.sides().filter_map(owner).take(1).collect()
            });
    }

    fn expectations(&self) -> Option<&Expectations> {
        Some(&self.expectations)
    }

    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan {
        let Some(set) = caches.daemon_sets.get(key) else {
            self.expectations.forget(key);
            self.failures().retain(|(of, _), _| of != key);
            return Plan::nothing();
        };
        let Some(selector) = owner::selector(&set.spec.selector) else {
            return Plan::nothing();
        };
        if selector.selects_all() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            return Plan {
                notes: vec![Note::warning(set.as_ref(), "SelectingAll", message.into())],
                ..Plan::default()
            };
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Plan::nothing();
        }
        let settled = self.expectations.satisfied(key);
        let (history, adopt) = History::of(set.as_ref(), &selector, caches);
        let claim = owner::claim(set.as_ref(), &selector, &caches.pods, None, |_| true);
        if !adopt.is_empty() || !claim.writes.is_empty() {
            return Plan::of(adopt.into_iter().chain(claim.writes).collect());
        }
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let current = match history.current(
            set.as_ref(),
            &set.spec.template,
            collisions,
            |hash, _| hash.into(),
            collided(&set),
        ) {
            Current::Known(revision) => revision,
            Current::Missing(write) => return Plan::of(vec![*write]),
        };
        let mut view = View::new(&set, &current, &claim.owned, caches, now);
        let mut plan = Plan::default();
        if settled {
            view.manage(&mut |node, at| self.may_delete_failed(key, node, at, now));
            if view.deletions.is_empty() && view.creations.is_empty() {
                view.roll_out();
            }
            plan.batch = view.batch();
            plan.writes = history.truncate(&view.live(), set.spec.revision_history_limit);
        }
        plan.notes = std::mem::take(&mut view.notes);
        plan.again = view.again;
        let status = view.status();
        if set.status.as_ref() != Some(&status) {
            let mut updated = set.as_ref().clone();
            updated.status = Some(status);
            plan.writes.push(Write::replace_status(&updated).fine_when_gone());
        }
        plan
    }
}

/// The write that notes that a template's hash is taken.
fn collided(set: &DaemonSet) -> Option<Write> {
    let mut set = set.clone();
    let status = set.status.get_or_insert_default();
    status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
    Some(Write::replace_status(&set).fine_when_gone())
}

impl DaemonSets {
    fn failures(&self) -> std::sync::MutexGuard<'_, HashMap<(Key, String), (Timestamp, Duration)>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the failed pod on a node may be deleted, or how long to wait. `failed` is when it failed.
    fn may_delete_failed(&self, key: &Key, node: &str, failed: Timestamp, now: Timestamp) -> Result<(), Duration> {
        let mut failures = self.failures();
        let known = failures
            .entry((key.clone(), node.to_owned()))
            .or_insert((failed, Duration::ZERO));
        let passed = Duration::try_from(now.duration_since(known.0)).unwrap_or_default();
        if passed < known.1 {
            return Err(known.1 - passed);
        }
        let next = match passed > known.1 * 2 {
            true => FIRST_BACKOFF,
            false => (known.1 * 2).clamp(FIRST_BACKOFF, LAST_BACKOFF),
        };
        *known = (now, next);
        Ok(())
    }
}

/// A DaemonSet, its pods by node, and what is to be done.
struct View<'a> {
    set: &'a DaemonSet,
    revision: &'a ControllerRevision,
    nodes: Vec<Arc<Node>>,
    /// Pods by the node they are on, or made for, those that are over and on their way out left aside.
    pods: BTreeMap<String, Vec<Arc<Pod>>>,
    now: Timestamp,
    deletions: Vec<Arc<Pod>>,
    creations: Vec<String>,
    notes: Vec<Note>,
    again: Option<Duration>,
}

impl<'a> View<'a> {
    fn new(
        set: &'a DaemonSet,
        revision: &'a ControllerRevision,
        owned: &[Arc<Pod>],
        caches: &Caches,
        now: Timestamp,
    ) -> Self {
        let mut pods: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in owned {
            if pod.metadata.deletion_timestamp.is_some() && pod::is_terminal(pod) {
                continue;
            }
            if let Some(node) = target(pod) {
                pods.entry(node.to_owned()).or_default().push(pod.clone());
            }
        }
        Self {
            set,
            revision,
            nodes: caches.nodes.all(),
            pods,
            now,
            deletions: Vec::new(),
            creations: Vec::new(),
            notes: Vec::new(),
            again: None,
        }
    }

    fn fitness(&self, node: &Node) -> Fitness {
        fitness(&self.set.spec.template, node)
    }

    fn pods_on(&self, node: &str) -> &[Arc<Pod>] {
        self.pods.get(node).map_or(&[], Vec::as_slice)
    }

    fn hash(&self) -> &str {
        self.revision.labels().get(HASH_LABEL).map_or("", String::as_str)
    }

    fn is_current(&self, pod: &Pod) -> bool {
        hash_of(pod) == Some(self.hash())
    }

    fn min_ready(&self) -> i32 {
        self.set.spec.min_ready_seconds.unwrap_or(0)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pod::available_in(pod, self.min_ready(), self.now) == Some(Duration::ZERO)
    }

    fn wake_after(&mut self, wait: Duration) {
        self.again = Some(self.again.map_or(wait, |again| again.min(wait)));
    }

    /// Sees to it that each node that suits has a pod, and no other has one.
    fn manage(&mut self, may_delete: &mut dyn FnMut(&str, Timestamp) -> Result<(), Duration>) {
        let nodes = self.nodes.clone();
        for node in &nodes {
            let name = node.name_any();
            let pods = self.pods_on(&name).to_vec();
            match self.fitness(node) {
                Fitness::Runs if pods.is_empty() => self.creations.push(name),
                Fitness::Runs | Fitness::Stays => self.prune(&name, &pods, may_delete),
                Fitness::Leaves => {
                    let present = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
                    self.deletions.extend(present);
                }
            }
        }
        // Pods for nodes that are no more and that never got there.
        let names: HashSet<String> = nodes.iter().map(|node| node.name_any()).collect();
        let lost = self
            .pods
            .iter()
            .filter(|(node, _)| !names.contains(*node))
            .flat_map(|(_, pods)| pods);
        let lost: Vec<_> = lost
            .filter(|pod| pod::node(pod).is_none() && pod.metadata.deletion_timestamp.is_none())
            .cloned()
            .collect();
        self.deletions.extend(lost);
    }

    /// Of several pods on a node the oldest stays; while it surges, the oldest of each template. What is over is deleted, and
    /// made anew when it is gone.
    fn prune(
        &mut self,
        node: &str,
        pods: &[Arc<Pod>],
        may_delete: &mut dyn FnMut(&str, Timestamp) -> Result<(), Duration>,
    ) {
        let mut running = Vec::new();
        for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            let name = pod.name_any();
            match pod::phase(pod) {
                "Failed" => match may_delete(node, self.now) {
                    Ok(()) => {
                        let message = format!(
                            "Found failed daemon pod {}/{name} on node {node}, will try to kill it",
                            self.set.namespace().unwrap_or_default()
                        );
                        self.notes.push(Note::warning(self.set, "FailedDaemonPod", message));
                        self.deletions.push(pod.clone());
                    }
                    Err(wait) => self.wake_after(wait),
                },
                "Succeeded" => {
                    let message = format!(
                        "Found succeeded daemon pod {}/{name} on node {node}, will try to delete it",
                        self.set.namespace().unwrap_or_default()
                    );
                    self.notes.push(Note::normal(self.set, "SucceededDaemonPod", message));
                    self.deletions.push(pod.clone());
                }
                _ => running.push(pod.clone()),
            }
        }
        running.sort_by_key(|pod| {
            (
                pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
                pod.name_any(),
            )
        });
        if !self.surges() {
            self.deletions.extend(running.into_iter().skip(1));
            return;
        }
        let (current, old): (Vec<_>, Vec<_>) = running.into_iter().partition(|pod| self.is_current(pod));
        let replaced = current.first().is_some_and(|pod| self.is_available(pod));
        self.deletions.extend(current.into_iter().skip(1));
        self.deletions.extend(old.into_iter().skip(usize::from(!replaced)));
    }

    fn batch(&self) -> Vec<Write> {
        let created = self.creations.iter().take(BURST).map(|node| {
            Write::create(&self.pod_for(node))
                .on_success(Note::normal(self.set, "SuccessfulCreate", "Created pod: {name}".into()))
                .on_failure(Note::warning(
                    self.set,
                    "FailedCreate",
                    "Error creating: {error}".into(),
                ))
                .fine_when_terminating()
        });
        let deleted = self.deletions.iter().take(BURST).map(|pod| {
            Write::delete(pod.as_ref())
                .on_success(Note::normal(
                    self.set,
                    "SuccessfulDelete",
                    format!("Deleted pod: {}", pod.name_any()),
                ))
                .on_failure(Note::warning(
                    self.set,
                    "FailedDelete",
                    "Error deleting: {error}".into(),
                ))
        });
        created.chain(deleted).collect()
    }

    fn pod_for(&self, node: &str) -> Pod {
        let mut pod = pod::from_template(&self.set.spec.template, self.set);
        let labels = pod.labels_mut();
        labels.insert(HASH_LABEL.into(), self.hash().to_owned());
        if let Some(generation) = self.set.annotations().get(GENERATION) {
            labels.insert(GENERATION_LABEL.into(), generation.clone());
        }
        nodes::pin(&mut pod, node);
        pod
    }

    /// The revisions that pods or the set itself use.
    fn live(&self) -> HashSet<String> {
        let hashes = self.pods.values().flatten().filter_map(|pod| hash_of(pod));
        let used = hashes.map(|hash| format!("{}-{hash}", self.set.name_any()));
        used.chain([self.revision.name_any()]).collect()
    }

    fn status(&mut self) -> DaemonSetStatus {
        let old = self.set.status.clone().unwrap_or_default();
        let mut status = DaemonSetStatus {
            collision_count: old.collision_count,
            conditions: old.conditions,
            observed_generation: self.set.metadata.generation,
            ..DaemonSetStatus::default()
        };
        let (mut available, mut updated) = (0, 0);
        for node in self.nodes.clone() {
            let pods = self.pods_on(&node.name_any()).to_vec();
            if self.fitness(&node) != Fitness::Runs {
                status.number_misscheduled += i32::from(!pods.is_empty());
                continue;
            }
            status.desired_number_scheduled += 1;
            let oldest = pods.iter().min_by_key(|pod| {
                (
                    !pod::is_active(pod),
                    pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
                )
            });
            let Some(pod) = oldest else { continue };
            status.current_number_scheduled += 1;
            updated += i32::from(self.is_current(pod));
            if pod::is_ready(pod) {
                status.number_ready += 1;
                available += i32::from(self.is_available(pod));
            }
            for pod in &pods {
                if let Some(wait) = pod::available_in(pod, self.min_ready(), self.now).filter(|wait| !wait.is_zero()) {
                    self.wake_after(wait);
                }
            }
        }
        let some = |count: i32| Some(count).filter(|count| *count != 0);
        status.number_available = some(available);
        status.number_unavailable = some(status.desired_number_scheduled - available);
        status.updated_number_scheduled = some(updated);
        status
    }
}

/// Which sets a change of a pod concerns, after noting what it fulfils.
fn pod_changed(change: &Change<Pod>, caches: &Caches, expectations: &Expectations) -> Vec<Key> {
    let mut keys = expectations.observe(change, "DaemonSet");
    if let Some(orphan) = change
        .new
        .as_ref()
        .filter(|pod| owner::controller_of(&pod.metadata).is_none())
    {
        let namespace = orphan.metadata.namespace.as_deref().unwrap_or_default();
        let adopts = |set: &Arc<DaemonSet>| {
            owner::selector(&set.spec.selector)
                .is_some_and(|selector| !selector.selects_all() && owner::matches(&selector, &orphan.metadata))
        };
        let sets = caches.daemon_sets.in_namespace(namespace).into_iter();
        keys.extend(sets.filter(adopts).map(|set| Key::of(set.as_ref())));
    }
    keys
}

/// A node that comes, goes or changes its labels or taints concerns the sets to which that makes a difference.
fn node_changed(change: &Change<Node>, caches: &Caches) -> Vec<Key> {
    let shape = |node: &Arc<Node>| (node.metadata.labels.clone(), node.spec.clone());
    if change.old.as_ref().map(shape) == change.new.as_ref().map(shape) {
        return Vec::new();
    }
    let sets = caches.daemon_sets.all();
    let concerned = sets.iter().filter(|set| {
        let judge = |node: &Arc<Node>| fitness(&set.spec.template, node);
        let before = change.old.as_ref().map_or(Fitness::Leaves, judge);
        let after = change.new.as_ref().map_or(Fitness::Leaves, judge);
        before != after
    });
    concerned.map(|set| Key::of(set.as_ref())).collect()
}

#[cfg(test)]
mod tests;
