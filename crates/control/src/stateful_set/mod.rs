//! StatefulSet: pods with an identity that outlives them.
//!
//! Each pod has an ordinal, and with it a name, a hostname and claims of its own; there are never two of one ordinal. A pod
//! that is on its way out keeps its place until it is known to be gone, even if nobody can tell because its node is lost.

mod claim;
mod identity;
mod status;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use kube::{Resource, ResourceExt};

use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::event::Note;
use crate::history::{Current, History, hash_of, template_of};
use crate::key::Key;
use crate::store::Change;
use crate::write::{Plan, Write};
use crate::{owner, pod};

/// The StatefulSet controller.
pub(crate) struct StatefulSets;

impl Controller for StatefulSets {
    const NAME: &'static str = "statefulset-controller";

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch
            .own::<StatefulSet>()
            .on::<Pod>(pod_changed)
            .on::<ControllerRevision>(|change, _| {
                let owner =
                    |revision: &Arc<ControllerRevision>| owner::controller_key(&revision.metadata, "StatefulSet");
                change.sides().filter_map(owner).take(1).collect()
            })
            .read::<PersistentVolumeClaim>();
    }

    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan {
        let Some(set) = caches.stateful_sets.get(key) else {
            return Plan::nothing();
        };
        let Some(selector) = owner::selector(&set.spec.selector) else {
            return Plan::nothing();
        };
        let (history, adopt) = History::of(set.as_ref(), &selector, caches);
        let claim = owner::claim(set.as_ref(), &selector, &caches.pods, None, |pod| {
            identity::ordinal(&set, pod).is_some()
        });
        if !adopt.is_empty() || !claim.writes.is_empty() {
            return Plan::of(adopt.into_iter().chain(claim.writes).collect());
        }
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let update = match history.current(
            set.as_ref(),
            &set.spec.template,
            collisions,
            |_, name| name.into(),
            collided(&set),
        ) {
            Current::Known(revision) => revision,
            Current::Missing(write) => return Plan::of(vec![*write]),
        };
        let name = set
            .status
            .as_ref()
            .and_then(|status| status.current_revision.as_deref());
        let current = name.and_then(|name| history.named(name)).unwrap_or(&update).clone();
        let run = Run {
            set: &set,
            caches,
            current: Revision::of(&current, &set),
            update: Revision::of(&update, &set),
            pods: claim
                .owned
                .iter()
                .filter_map(|pod| Some((identity::ordinal(&set, pod)?, pod.clone())))
                .collect(),
            now,
        };
        let mut plan = Plan::default();
        let live: HashSet<String> = run
            .pods
            .values()
            .filter_map(|pod| hash_of(pod).map(str::to_owned))
            .chain([current.name_any(), update.name_any()])
            .collect();
        plan.writes = history.truncate(&live, set.spec.revision_history_limit);
        if set.metadata.deletion_timestamp.is_none() {
            plan.batch = run.step();
        }
        plan.again = run.next_available();
        // Of what was done nothing is in the cache yet: the status tells what was seen, whether it went well or not.
        let status = run.status();
        if set.status.as_ref() != Some(&status) {
            let mut updated = set.as_ref().clone();
            updated.status = Some(status);
            let write = Write::replace_status(&updated).fine_when_gone();
            plan.then = Some(Box::new(move |_| vec![write]));
        }
        plan
    }
}

/// The write that notes that a template's hash is taken.
fn collided(set: &StatefulSet) -> Option<Write> {
    let mut set = set.clone();
    let status = set.status.get_or_insert_default();
    status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
    Some(Write::replace_status(&set).fine_when_gone())
}

/// A template by the name of its revision.
struct Revision {
    name: String,
    template: PodTemplateSpec,
}

impl Revision {
    fn of(revision: &ControllerRevision, set: &StatefulSet) -> Self {
        Self {
            name: revision.name_any(),
            template: template_of(revision).unwrap_or_else(|| set.spec.template.clone()),
        }
    }
}

/// One sync of a set.
struct Run<'a> {
    set: &'a StatefulSet,
    caches: &'a Caches,
    current: Revision,
    update: Revision,
    /// By ordinal.
    pods: BTreeMap<i32, Arc<Pod>>,
    now: Timestamp,
}

impl Run<'_> {
    fn first(&self) -> i32 {
        self.set
            .spec
            .ordinals
            .as_ref()
            .and_then(|ordinals| ordinals.start)
            .unwrap_or(0)
    }

    fn replicas(&self) -> i32 {
        self.set.spec.replicas.unwrap_or(1)
    }

    fn ordinals(&self) -> std::ops::Range<i32> {
        self.first()..self.first().saturating_add(self.replicas())
    }

    fn is_parallel(&self) -> bool {
        self.set.spec.pod_management_policy.as_deref() == Some("Parallel")
    }

    fn min_ready(&self) -> i32 {
        self.set.spec.min_ready_seconds.unwrap_or(0)
    }

    /// Runs, and has been ready for long enough.
    fn is_available(&self, pod: &Pod) -> bool {
        pod::phase(pod) == "Running" && pod::available_in(pod, self.min_ready(), self.now) == Some(Duration::ZERO)
    }

    /// Whether nothing more may be done before this pod is better.
    fn is_healthy(&self, pod: &Pod) -> bool {
        pod.metadata.deletion_timestamp.is_none() && self.is_available(pod)
    }

    fn next_available(&self) -> Option<Duration> {
        let waits = self
            .pods
            .values()
            .filter_map(|pod| pod::available_in(pod, self.min_ready(), self.now));
        waits.filter(|wait| !wait.is_zero()).min()
    }

    /// What is done now. In order, that is at most one thing: make the first pod that is missing, once all before it are well;
    /// then take away from the end; then update from the end.
    fn step(&self) -> Vec<Write> {
        let mut writes = Vec::new();
        for ordinal in self.ordinals() {
            let (more, blocks) = self.look_at(ordinal);
            writes.extend(more);
            if blocks && !self.is_parallel() {
                return writes;
            }
        }
        writes.extend(self.surplus_claims());
        let (more, blocks) = self.scale_down();
        writes.extend(more);
        if writes.is_empty() && !blocks {
            writes.extend(self.roll_out());
        }
        writes
    }

    /// What is done about one ordinal, and whether the next has to wait for it.
    fn look_at(&self, ordinal: i32) -> (Vec<Write>, bool) {
        let Some(pod) = self.pods.get(&ordinal) else {
            return (self.create(ordinal), true);
        };
        let leaving = pod.metadata.deletion_timestamp.is_some();
        if pod::is_terminal(pod) {
            // It comes again when it is gone.
            return (if leaving { Vec::new() } else { self.replace_ended(pod) }, true);
        }
        let mut writes = Vec::new();
        if !leaving {
            if pod::phase(pod) == "Pending" {
                writes.extend(self.missing_claims(ordinal));
            }
            writes.extend(identity::correct(pod));
            writes.extend(self.claim_owners(ordinal, pod));
        }
        (writes, !self.is_healthy(pod))
    }

    fn replace_ended(&self, pod: &Pod) -> Vec<Write> {
        let (reason, word, warning) = match pod::phase(pod) {
            "Failed" => ("RecreatingFailedPod", "failed", true),
            _ => ("RecreatingTerminatedPod", "terminated", false),
        };
        let namespace = self.set.namespace().unwrap_or_default();
        let (set, name) = (self.set.name_any(), pod.name_any());
        let message = format!("StatefulSet {namespace}/{set} is recreating {word} Pod {name}");
        let note = match warning {
            true => Note::warning(self.set, reason, message),
            false => Note::normal(self.set, reason, message),
        };
        vec![self.delete(pod).on_success(note)]
    }

    /// The claims of an ordinal that are not there, and then its pod.
    fn create(&self, ordinal: i32) -> Vec<Write> {
        if self.has_stale_claim(ordinal) {
            return Vec::new();
        }
        let pod = identity::pod(self.set, self.revision_for(ordinal), ordinal);
        let name = pod.name_any();
        let set = self.set.name_any();
        let create = Write::create(&pod)
            .on_success(Note::normal(
                self.set,
                "SuccessfulCreate",
                format!("Create Pod {name} in StatefulSet {set} successful"),
            ))
            .on_failure(Note::warning(
                self.set,
                "FailedCreate",
                format!("Create Pod {name} in StatefulSet {set} failed error: {{error}}"),
            ))
            .fine_when_there()
            .fine_when_terminating();
        let mut writes = self.missing_claims(ordinal);
        writes.push(create);
        writes
    }

    /// A pod that is made while an update goes on gets the template that its ordinal has then.
    fn revision_for(&self, ordinal: i32) -> &Revision {
        let strategy = self.set.spec.update_strategy.as_ref();
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
            return &self.update;
        }
        let old = match strategy.and_then(|strategy| strategy.rolling_update.as_ref()) {
            Some(rolling) => ordinal < self.first() + rolling.partition.unwrap_or(0),
            None => {
                let status = self.set.status.as_ref();
                ordinal < self.first() + status.and_then(|status| status.current_replicas).unwrap_or(0)
            }
        };
        if old { &self.current } else { &self.update }
    }

    fn delete(&self, pod: &Pod) -> Write {
        let (name, set) = (pod.name_any(), self.set.name_any());
        Write::delete(pod)
            .on_success(Note::normal(
                self.set,
                "SuccessfulDelete",
                format!("Delete Pod {name} in StatefulSet {set} successful"),
            ))
            .on_failure(Note::warning(
                self.set,
                "FailedDelete",
                format!("Delete Pod {name} in StatefulSet {set} failed error: {{error}}"),
            ))
    }

    /// Pods that are too many, the last first.
    fn condemned(&self) -> Vec<(i32, &Arc<Pod>)> {
        let wanted = self.ordinals();
        let surplus = self.pods.iter().rev().filter(|(ordinal, _)| !wanted.contains(ordinal));
        surplus.map(|(ordinal, pod)| (*ordinal, pod)).collect()
    }

    fn scale_down(&self) -> (Vec<Write>, bool) {
        let condemned = self.condemned();
        let leaving = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
        if self.is_parallel() {
            let present = condemned.iter().filter(|(_, pod)| !leaving(pod));
            return (present.map(|(_, pod)| self.delete(pod)).collect(), false);
        }
        let Some((_, last)) = condemned.first() else {
            return (Vec::new(), false);
        };
        // One that is not well blocks the others; it may go itself if nothing before it is unwell.
        let first_unwell = condemned.iter().rev().find(|(_, pod)| !self.is_healthy(pod));
        let blocked = leaving(last)
            || (!self.is_available(last) && first_unwell.is_none_or(|(_, pod)| pod.metadata.uid != last.metadata.uid));
        (if blocked { Vec::new() } else { vec![self.delete(last)] }, true)
    }

    /// Deletes the last pod that is not of the new template, once those after it are well.
    fn roll_out(&self) -> Option<Write> {
        let strategy = self.set.spec.update_strategy.as_ref();
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
            return None;
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let partition = rolling.and_then(|rolling| rolling.partition).unwrap_or(0);
        let ordinals = self.ordinals();
        for ordinal in (self.first().saturating_add(partition)..ordinals.end).rev() {
            let pod = self.pods.get(&ordinal)?;
            if hash_of(pod) != Some(&self.update.name) && pod.metadata.deletion_timestamp.is_none() {
                return Some(self.delete(pod));
            }
            if !self.is_healthy(pod) {
                return None;
            }
        }
        None
    }
}

/// Which sets a change of a pod concerns.
fn pod_changed(change: &Change<Pod>, caches: &Caches) -> Vec<Key> {
    let mut keys: Vec<Key> = change
        .sides()
        .filter_map(|pod| owner::controller_key(&pod.metadata, "StatefulSet"))
        .collect();
    keys.dedup();
    if let Some(orphan) = change
        .new
        .as_ref()
        .filter(|pod| owner::controller_of(&pod.metadata).is_none())
    {
        let namespace = orphan.meta().namespace.as_deref().unwrap_or_default();
        let adopts = |set: &Arc<StatefulSet>| {
            identity::ordinal(set, orphan).is_some()
                && owner::selector(&set.spec.selector)
                    .is_some_and(|selector| owner::matches(&selector, &orphan.metadata))
        };
        let sets = caches.stateful_sets.in_namespace(namespace).into_iter();
        keys.extend(sets.filter(adopts).map(|set| Key::of(set.as_ref())));
    }
    keys
}

#[cfg(test)]
mod tests;
