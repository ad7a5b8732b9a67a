//! ReplicaSet and ReplicationController: keep a number of identical pods.
//!
//! The set owns the pods that its selector matches and that carry its UID as controller. It creates and deletes until
//! as many are active as asked for, and reports what it sees. It never waits and never remembers (but for its
//! [expectations](crate::expect)): each sync starts from what is there.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    Pod, PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::Resource;
use kube::core::Selector;
use serde::Serialize;

use crate::caches::{Cached, Caches};
use crate::controller::{Controller, Watches};
use crate::event::Note;
use crate::expect::Expectations;
use crate::key::Key;
use crate::store::Change;
use crate::write::{Failure, Plan, Write};
use crate::{owner, pod, rank};

/// Most pods created or deleted in one sync.
const BURST: usize = 500;

/// A kind that keeps a number of identical pods.
pub(crate) trait Replicated: Cached + Serialize {
    /// The name of its controller.
    const CONTROLLER: &'static str;

    /// Its selector, if that is valid.
    fn selector(&self) -> Option<Selector>;
    /// How many pods there should be.
    fn replicas(&self) -> i32;
    /// How long a pod must have been ready to be available.
    fn min_ready_seconds(&self) -> i32;
    /// What its pods are made from.
    fn template(&self) -> Option<&PodTemplateSpec>;
    /// What was reported last.
    fn status(&self) -> Option<ReplicaSetStatus>;
    /// With another status.
    fn with_status(&self, status: ReplicaSetStatus) -> Self;
}

impl Replicated for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset-controller";

    fn selector(&self) -> Option<Selector> {
        owner::selector(&self.spec.selector)
    }

    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.template.as_ref()
    }

    fn status(&self) -> Option<ReplicaSetStatus> {
        self.status.clone()
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        Self {
            status: Some(status),
            ..self.clone()
        }
    }
}

impl Replicated for ReplicationController {
    const CONTROLLER: &'static str = "replication-controller";

    fn selector(&self) -> Option<Selector> {
        owner::selector(&LabelSelector {
            match_labels: self.spec.as_ref()?.selector.clone(),
            ..LabelSelector::default()
        })
    }

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn status(&self) -> Option<ReplicaSetStatus> {
        let status = self.status.clone()?;
        let condition = |condition: ReplicationControllerCondition| ReplicaSetCondition {
            last_transition_time: condition.last_transition_time,
            message: condition.message,
            reason: condition.reason,
            status: Some(condition.status),
            type_: Some(condition.type_),
        };
        Some(ReplicaSetStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
            terminating_replicas: None,
        })
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        let condition = |condition: ReplicaSetCondition| ReplicationControllerCondition {
            last_transition_time: condition.last_transition_time,
            message: condition.message,
            reason: condition.reason,
            status: condition.status.unwrap_or_default(),
            type_: condition.type_.unwrap_or_default(),
        };
        Self {
            status: Some(ReplicationControllerStatus {
                available_replicas: status.available_replicas,
                conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
                fully_labeled_replicas: status.fully_labeled_replicas,
                observed_generation: status.observed_generation,
                ready_replicas: status.ready_replicas,
                replicas: status.replicas,
            }),
            ..self.clone()
        }
    }
}

/// The controller of ReplicaSets, or of ReplicationControllers.
pub(crate) struct Replicas<K> {
    expectations: Arc<Expectations>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Default for Replicas<K> {
    fn default() -> Self {
        Self {
            expectations: Arc::default(),
            kind: PhantomData,
        }
    }
}

impl<K: Replicated> Controller for Replicas<K> {
    const NAME: &'static str = K::CONTROLLER;

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        let expectations = self.expectations.clone();
        watch
            .own::<K>()
            .on::<Pod>(move |change, caches| pod_changed::<K>(change, caches, &expectations));
    }

    fn expectations(&self) -> Option<&Expectations> {
        Some(&self.expectations)
    }

    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan {
        let Some(set) = K::store(caches).get(key) else {
            self.expectations.forget(key);
            return Plan::nothing();
        };
        // Read the expectations before the pods: what arrives in between is then at worst not acted upon yet.
        let settled = self.expectations.satisfied(key);
        let Some(selector) = set.selector() else {
            return Plan::nothing();
        };
        let claim = owner::claim(set.as_ref(), &selector, &caches.pods, None, pod::is_active);
        let pods = claim.owned;
        let terminating = owned_terminating(set.as_ref(), caches);
        let batch = if settled && set.meta().deletion_timestamp.is_none() {
            manage(set.as_ref(), &pods, caches, now)
        } else {
            Vec::new()
        };
        let again = next_available(set.as_ref(), &pods, now);
        Plan {
            writes: claim.writes,
            batch,
            then: Some(Box::new(move |failure| {
                let status = status(set.as_ref(), &pods, terminating, failure, now);
                let updated = set.with_status(status);
                // Compared as it will be stored: not every kind has a place for all of it.
                if set.status() == updated.status() {
                    return Vec::new();
                }
                vec![Write::replace_status(&updated).fine_when_gone()]
            })),
            again,
            ..Plan::default()
        }
    }
}

/// Which sets a change of a pod concerns, after noting what it fulfils.
fn pod_changed<K: Replicated>(change: &Change<Pod>, caches: &Caches, expectations: &Expectations) -> Vec<Key> {
    let mut keys = expectations.observe(change, &K::kind(&()));
    if let Some(new) = &change.new
        && new.metadata.deletion_timestamp.is_none()
        && owner::controller_of(&new.metadata).is_none()
    {
        keys.extend(adopters::<K>(new, caches));
    }
    keys
}

/// Sets that might adopt an orphan.
fn adopters<'a, K: Replicated>(orphan: &'a Pod, caches: &'a Caches) -> impl Iterator<Item = Key> + 'a {
    let namespace = orphan.metadata.namespace.as_deref().unwrap_or_default();
    let sets = K::store(caches).in_namespace(namespace).into_iter();
    sets.filter(|set| {
        set.selector()
            .is_some_and(|selector| owner::matches(&selector, &orphan.metadata))
    })
    .map(|set| Key::of(set.as_ref()))
}

fn owned_terminating<K: Replicated>(set: &K, caches: &Caches) -> usize {
    let uid = set.meta().uid.as_deref().unwrap_or_default();
    let pods = caches.pods.with_term(&format!("controller/{uid}"));
    pods.iter().filter(|pod| pod::is_terminating(pod)).count()
}

fn wanted<K: Replicated>(set: &K) -> usize {
    usize::try_from(set.replicas()).unwrap_or(0)
}

/// The creations or deletions that bring the number of pods closer to what is wanted.
fn manage<K: Replicated>(set: &K, pods: &[Arc<Pod>], caches: &Caches, now: Timestamp) -> Vec<Write> {
    let (wanted, have) = (wanted(set), pods.len());
    if have < wanted {
        let Some(template) = set.template() else {
            return Vec::new();
        };
        let new = pod::from_template(template, set);
        let create = || {
            Write::create(&new)
                .on_success(Note::normal(set, "SuccessfulCreate", "Created pod: {name}".into()))
                .on_failure(Note::warning(set, "FailedCreate", "Error creating: {error}".into()))
                .fine_when_terminating()
        };
        return (0..(wanted - have).min(BURST)).map(|_| create()).collect();
    }
    let surplus = (have - wanted).min(BURST);
    if surplus == 0 {
        return Vec::new();
    }
    let related = related_pods(set, caches);
    rank::first_to_go(pods, &related, surplus, now)
        .iter()
        .map(|pod| {
            let name = pod.metadata.name.as_deref().unwrap_or_default();

            Write::delete(pod.as_ref())
                .on_success(Note::normal(set, "SuccessfulDelete", format!("Deleted pod: {name}")))
                .on_failure(Note::warning(set, "FailedDelete", "Error deleting: {error}".into()))
        })
        .collect()
}

/// Pods of all sets of the same owner, this one's included: deletion prefers nodes that hold many of them.
fn related_pods<K: Replicated>(set: &K, caches: &Caches) -> Vec<Arc<Pod>> {
    let uids: Vec<String> = match owner::controller_uid(set.meta()) {
        Some(owner) => {
            let sets = K::store(caches).with_term(&format!("controller/{owner}"));
            sets.iter().filter_map(|set| set.meta().uid.clone()).collect()
        }
        None => set.meta().uid.clone().into_iter().collect(),
    };
    uids.iter()
        .flat_map(|uid| caches.pods.with_term(&format!("controller/{uid}")))
        .collect()
}

/// When a pod that is ready, but not for long enough, will count as available.
fn next_available<K: Replicated>(set: &K, pods: &[Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let least = set.min_ready_seconds();
    let waits = pods.iter().filter_map(|pod| pod::available_in(pod, least, now));
    waits.filter(|wait| !wait.is_zero()).min()
}

fn status<K: Replicated>(
    set: &K,
    pods: &[Arc<Pod>],
    terminating: usize,
    failure: Option<&Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let least = set.min_ready_seconds();
    let template_labels = set.template().and_then(|t| t.metadata.as_ref()?.labels.as_ref());
    let labelled = |pod: &Pod| {
        template_labels.into_iter().flatten().all(|(key, value)| {
            let labels = pod.meta().labels.as_ref();
            labels.and_then(|labels| labels.get(key)) == Some(value)
        })
    };
    let count = |matches: &dyn Fn(&Pod) -> bool| pods.iter().filter(|pod| matches(pod)).count() as i32;
    let nonzero = |count: i32| (count != 0).then_some(count);
    ReplicaSetStatus {
        replicas: pods.len() as i32,
        fully_labeled_replicas: nonzero(count(&labelled)),
        ready_replicas: nonzero(count(&pod::is_ready)),
        available_replicas: nonzero(count(&|pod| pod::available_in(pod, least, now) == Some(Duration::ZERO))),
        terminating_replicas: Some(terminating as i32),
        observed_generation: set.meta().generation,
        conditions: conditions(set, pods, failure, now),
    }
}

/// The only condition of a set: `ReplicaFailure` while pods cannot be created or deleted.
fn conditions<K: Replicated>(
    set: &K,
    pods: &[Arc<Pod>],
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = set.status().and_then(|status| status.conditions).unwrap_or_default();
    let known = conditions
        .iter()
        .position(|condition| condition.type_.as_deref() == Some("ReplicaFailure"));
    match (failure, known) {
        (Some(failure), None) => {
            let reason = if pods.len() < wanted(set) {
                "FailedCreate"
            } else {
                "FailedDelete"
            };
            conditions.push(ReplicaSetCondition {
                type_: Some("ReplicaFailure".into()),
                status: Some("True".into()),
                reason: Some(reason.into()),
                message: Some(failure.message.clone()),
                last_transition_time: Some(Time(now)),
            });
        }
        (None, Some(index)) => {
            conditions.remove(index);
        }
        _ => {}
    }
    (!conditions.is_empty()).then_some(conditions)
}

#[cfg(test)]
mod tests;
