//! Deployment: moves from one pod template to the next.
//!
//! Each template has its own ReplicaSet, named after the template's hash. A rollout scales the new set up and the old
//! ones down, within the bounds of the strategy; a rollback is nothing but a rollout to a template that a set exists
//! for already. All state of a rollout is in the sets and in the deployment's conditions.

mod condition;
mod revision;
mod rollout;
mod scale;
mod status;
pub(crate) mod template;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::event::Note;
use crate::key::Key;
use crate::owner;
use crate::store::Change;
use crate::write::{Plan, Write};

use rollout::Rollout;

/// The Deployment controller.
pub(crate) struct Deployments;

impl Controller for Deployments {
    const NAME: &'static str = "deployment-controller";

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch
            .own::<Deployment>()
            .on::<ReplicaSet>(set_changed)
            .on::<Pod>(pod_changed);
    }

    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan {
        let Some(deployment) = caches.deployments.get(key) else {
            return Plan::nothing();
        };
        let selects_all = {
            let selector = &deployment.spec.selector;
            selector.match_labels.as_ref().is_none_or(|labels| labels.is_empty())
                && selector.match_expressions.as_ref().is_none_or(|list| list.is_empty())
        };
        if selects_all {
            return refuse(&deployment);
        }
        let Some(selector) = owner::selector(&deployment.spec.selector) else {
            return Plan::nothing();
        };
        let claim = owner::claim(deployment.as_ref(), &selector, &caches.replica_sets, None, |_| true);
        if !claim.writes.is_empty() {
            // Adoption changes the sets; go on when the cache shows them.
            return Plan::of(claim.writes);
        }
        let sets = claim.owned.iter().map(|set| set.as_ref().clone()).collect();
        let mut rollout = Rollout::new(&deployment, sets, now);
        rollout.run(|set| has_live_pods(set, caches));
        let again = rollout.next_check();
        Plan {
            writes: rollout.into_writes(),
            again,
            ..Plan::default()
        }
    }
}

/// A deployment that selects every pod of the namespace would fight with all others.
fn refuse(deployment: &Deployment) -> Plan {
    let message = "This deployment is selecting all pods. A non-empty selector is required.".to_string();
    let mut plan = Plan {
        notes: vec![Note::warning(deployment, "SelectingAll", message)],
        ..Plan::default()
    };
    let seen = deployment.status.as_ref().and_then(|status| status.observed_generation);
    if seen < deployment.metadata.generation {
        let mut updated = deployment.clone();
        updated.status.get_or_insert_default().observed_generation = deployment.metadata.generation;
        plan.writes.push(Write::replace_status(&updated).fine_when_gone());
    }
    plan
}

fn has_live_pods(set: &ReplicaSet, caches: &Caches) -> bool {
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let pods = caches.pods.with_term(&format!("controller/{uid}"));
    pods.iter().any(|pod| !crate::pod::is_terminal(pod))
}

fn set_changed(change: &Change<ReplicaSet>, caches: &Caches) -> Vec<Key> {
    let mut keys: Vec<Key> = change
        .sides()
        .filter_map(|set| owner::controller_key(&set.metadata, "Deployment"))
        .collect();
    keys.dedup();
    if let Some(orphan) = change
        .new
        .as_ref()
        .filter(|set| owner::controller_of(&set.metadata).is_none())
    {
        let namespace = orphan.metadata.namespace.as_deref().unwrap_or_default();
        let candidates = caches
            .deployments
            .in_namespace(namespace)
            .into_iter()
            .filter(|deployment| {
                owner::selector(&deployment.spec.selector)
                    .is_some_and(|selector| !selector.selects_all() && owner::matches(&selector, &orphan.metadata))
            });
        keys.extend(candidates.map(|deployment| Key::of(deployment.as_ref())));
    }
    keys
}

/// Recreate waits until the old pods are really gone, which no ReplicaSet's status tells.
fn pod_changed(change: &Change<Pod>, caches: &Caches) -> Vec<Key> {
    let Some(pod) = change
        .old
        .as_ref()
        .filter(|_| change.new.as_ref().is_none_or(|pod| crate::pod::is_terminal(pod)))
    else {
        return Vec::new();
    };
    let set = owner::controller_key(&pod.metadata, "ReplicaSet").and_then(|key| caches.replica_sets.get(&key));
    let key = set.and_then(|set| owner::controller_key(&set.metadata, "Deployment"));
    let recreates = |key: &Key| {
        caches
            .deployments
            .get(key)
            .is_some_and(|deployment| scale::Strategy::of(&deployment) == scale::Strategy::Recreate)
    };
    key.into_iter().filter(recreates).collect()
}

/// One second more than asked, because stamps have no fractions.
fn after(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0).saturating_add(1))
}

#[cfg(test)]
mod tests;
