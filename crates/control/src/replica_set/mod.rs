//! ReplicaSet: keeps a number of identical pods.
//!
//! The set owns the pods that its selector matches and that carry its UID as controller. It creates and deletes until
//! as many are active as asked for, and reports what it sees. It never waits and never remembers (but for its
//! [expectations](crate::expect)): each sync starts from what is there.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;

use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::event::Note;
use crate::expect::Expectations;
use crate::key::Key;
use crate::store::Change;
use crate::write::{Failure, Plan, Write};
use crate::{owner, pod, rank};

/// Most pods created or deleted in one sync.
const BURST: usize = 500;

/// The ReplicaSet controller.
#[derive(Default)]
pub(crate) struct ReplicaSets {
    expectations: Arc<Expectations>,
}

impl Controller for ReplicaSets {
    const NAME: &'static str = "replicaset-controller";

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        let expectations = self.expectations.clone();
        watch
            .own::<ReplicaSet>()
            .on::<Pod>(move |change, caches| pod_changed(change, caches, &expectations));
    }

    fn expectations(&self) -> Option<&Expectations> {
        Some(&self.expectations)
    }

    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan {
        let Some(set) = caches.replica_sets.get(key) else {
            self.expectations.forget(key);
            return Plan::nothing();
        };
        // Read the expectations before the pods: what arrives in between is then at worst not acted upon yet.
        let settled = self.expectations.satisfied(key);
        let Some(selector) = owner::selector(&set.spec.selector) else {
            return Plan::nothing();
        };
        let claim = owner::claim(set.as_ref(), &selector, &caches.pods, None, pod::is_active);
        let pods = claim.owned;
        let terminating = owned_terminating(&set, caches);
        let batch = if settled && set.metadata.deletion_timestamp.is_none() {
            manage(&set, &pods, caches, now)
        } else {
            Vec::new()
        };
        let again = next_available(&set, &pods, now);
        Plan {
            writes: claim.writes,
            batch,
            then: Some(Box::new(move |failure| {
                let status = status(&set, &pods, terminating, failure, now);
                if set.status.as_ref() == Some(&status) {
                    return Vec::new();
                }
                let mut updated = set.as_ref().clone();
                updated.status = Some(status);
                vec![Write::replace_status(&updated).fine_when_gone()]
            })),
            again,
            ..Plan::default()
        }
    }
}

/// Which sets a change of a pod concerns, after noting what it fulfils.
fn pod_changed(change: &Change<Pod>, caches: &Caches, expectations: &Expectations) -> Vec<Key> {
    let owner_of = |pod: &Pod| owner::controller_key(&pod.metadata, "ReplicaSet");
    let mut keys: Vec<Key> = change.sides().filter_map(|pod| owner_of(pod)).collect();
    keys.dedup();
    match (&change.old, &change.new) {
        (None, Some(new)) => {
            if let (Some(key), None) = (owner_of(new), &new.metadata.deletion_timestamp) {
                expectations.created(&key);
            }
        }
        (Some(old), None) => fulfil_deletion(old, expectations),
        _ => {}
    }
    if let Some(new) = &change.new {
        if new.metadata.deletion_timestamp.is_some() {
            fulfil_deletion(new, expectations);
        } else if owner::controller_of(&new.metadata).is_none() {
            keys.extend(adopters(new, caches));
        }
    }
    keys
}

fn fulfil_deletion(pod: &Pod, expectations: &Expectations) {
    if let Some(key) = owner::controller_key(&pod.metadata, "ReplicaSet") {
        expectations.deleted(&key, pod.metadata.uid.as_deref().unwrap_or_default());
    }
}

/// Sets that might adopt an orphan.
fn adopters<'a>(orphan: &'a Pod, caches: &'a Caches) -> impl Iterator<Item = Key> + 'a {
    let namespace = orphan.metadata.namespace.as_deref().unwrap_or_default();
    let sets = caches.replica_sets.in_namespace(namespace).into_iter();
    sets.filter(|set| {
        owner::selector(&set.spec.selector).is_some_and(|selector| owner::matches(&selector, &orphan.metadata))
    })
    .map(|set| Key::of(set.as_ref()))
}

fn owned_terminating(set: &ReplicaSet, caches: &Caches) -> usize {
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let pods = caches.pods.with_term(&format!("controller/{uid}"));
    let terminating = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some());
    terminating.filter(|pod| !pod::is_terminal(pod)).count()
}

fn wanted(set: &ReplicaSet) -> usize {
    usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0)
}

/// The creations or deletions that bring the number of pods closer to what is wanted.
fn manage(set: &ReplicaSet, pods: &[Arc<Pod>], caches: &Caches, now: Timestamp) -> Vec<Write> {
    let (wanted, have) = (wanted(set), pods.len());
    if have < wanted {
        let Some(template) = &set.spec.template else {
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
fn related_pods(set: &ReplicaSet, caches: &Caches) -> Vec<Arc<Pod>> {
    let uids: Vec<String> = match owner::controller_uid(&set.metadata) {
        Some(owner) => {
            let sets = caches.replica_sets.with_term(&format!("controller/{owner}"));
            sets.iter().filter_map(|set| set.metadata.uid.clone()).collect()
        }
        None => set.metadata.uid.clone().into_iter().collect(),
    };
    uids.iter()
        .flat_map(|uid| caches.pods.with_term(&format!("controller/{uid}")))
        .collect()
}

/// When a pod that is ready, but not for long enough, will count as available.
fn next_available(set: &ReplicaSet, pods: &[Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let least = set.spec.min_ready_seconds.unwrap_or(0);
    let waits = pods.iter().filter_map(|pod| pod::available_in(pod, least, now));
    waits.filter(|wait| !wait.is_zero()).min()
}

fn status(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    terminating: usize,
    failure: Option<&Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let least = set.spec.min_ready_seconds.unwrap_or(0);
    let template_labels = set
        .spec
        .template
        .as_ref()
        .and_then(|t| t.metadata.as_ref()?.labels.as_ref());
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
        observed_generation: set.metadata.generation,
        conditions: conditions(set, pods, failure, now),
    }
}

/// The only condition of a set: `ReplicaFailure` while pods cannot be created or deleted.
fn conditions(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let old = set.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions = old.cloned().unwrap_or_default();
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
