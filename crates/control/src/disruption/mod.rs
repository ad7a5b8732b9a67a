//! PodDisruptionBudget: how many pods may be evicted now.
//!
//! Evictions and preemptions ask the budget's status; this controller keeps it true. A pod that the server has let go is noted
//! in the status, so that it counts as gone before its deletion is seen; if it is not gone after two minutes, it is back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::event::Note;
use crate::key::Key;
use crate::store::Change;
use crate::write::{Plan, Write};
use crate::{amount, owner, pod};

const ALLOWED: &str = "DisruptionAllowed";
/// How long a deletion that was allowed may take to be seen.
const PATIENCE: SignedDuration = SignedDuration::from_secs(120);

/// The disruption controller.
pub(crate) struct Disruptions;

impl Controller for Disruptions {
    const NAME: &'static str = "disruption-controller";

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch
            .own::<PodDisruptionBudget>()
            .on::<Pod>(pod_changed)
            .on::<Deployment>(|change, caches| scaled(change, caches, |it| it.spec.replicas))
            .on::<ReplicaSet>(|change, caches| scaled(change, caches, |it| it.spec.replicas))
            .on::<StatefulSet>(|change, caches| scaled(change, caches, |it| it.spec.replicas))
            .on::<ReplicationController>(|change, caches| {
                scaled(change, caches, |it| it.spec.as_ref().and_then(|spec| spec.replicas))
            });
    }

    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan {
        let Some(budget) = caches.budgets.get(key) else {
            return Plan::nothing();
        };
        let pods = protected(&budget, caches);
        let mut plan = Plan::default();
        if pods.is_empty() {
            let message = "No matching pods found".to_string();
            plan.notes.push(Note::normal(budget.as_ref(), "NoPods", message));
        }
        let status = match expectation(&budget, &pods, caches) {
            Ok(expected) => {
                if expected.unmanaged > 0 {
                    plan.notes.push(unmanaged(&budget));
                }
                let (disrupted, again) = disrupted(&budget, &pods, now, &mut plan.notes);
                plan.again = again;
                status(&budget, &pods, &expected, disrupted, now)
            }
            Err(why) => {
                let message = format!("Failed to calculate the number of expected pods: {why}");
                plan.notes.push(Note::warning(
                    budget.as_ref(),
                    "CalculateExpectedPodCountFailed",
                    message,
                ));
                // Whatever it was before: when in doubt, nothing may be disrupted.
                failed(&budget, why, now)
            }
        };
        if budget.status.as_ref() != Some(&status) {
            let mut updated = budget.as_ref().clone();
            updated.status = Some(status);
            plan.writes.push(Write::replace_status(&updated).fine_when_gone());
        }
        plan
    }
}

/// The pods that a budget is about.
fn protected(budget: &PodDisruptionBudget, caches: &Caches) -> Vec<Arc<Pod>> {
    let selector = budget
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref())
        .and_then(owner::selector);
    let Some(selector) = selector else { return Vec::new() };
    let pods = caches
        .pods
        .in_namespace(budget.metadata.namespace.as_deref().unwrap_or_default());
    pods.into_iter()
        .filter(|pod| owner::matches(&selector, &pod.metadata))
        .collect()
}

/// How many pods there should be, and how many of them must be healthy.
struct Expectation {
    pods: i32,
    healthy: i32,
    /// Pods without a controller, of which nobody says how many there should be.
    unmanaged: usize,
}

fn expectation(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], caches: &Caches) -> Result<Expectation, String> {
    let spec = budget.spec.clone().unwrap_or_default();
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => {
            let (total, unmanaged) = scale(pods, caches)?;
            Ok(Expectation {
                pods: total,
                healthy: (total - amount::rounded_up(most, total)).max(0),
                unmanaged,
            })
        }
        (None, Some(IntOrString::Int(least))) => Ok(Expectation {
            pods: pods.len() as i32,
            healthy: *least,
            unmanaged: 0,
        }),
        (None, Some(share)) => {
            let (total, unmanaged) = scale(pods, caches)?;
            Ok(Expectation {
                pods: total,
                healthy: amount::rounded_up(share, total),
                unmanaged,
            })
        }
        (None, None) => Ok(Expectation {
            pods: 0,
            healthy: 0,
            unmanaged: 0,
        }),
    }
}

/// How many pods the controllers of these pods want, and how many pods have none.
fn scale(pods: &[Arc<Pod>], caches: &Caches) -> Result<(i32, usize), String> {
    let mut wanted: BTreeMap<String, i32> = BTreeMap::new();
    let mut unmanaged = 0;
    for pod in pods {
        let Some(owner) = owner::controller_of(&pod.metadata) else {
            unmanaged += 1;
            continue;
        };
        if wanted.contains_key(&owner.uid) {
            continue;
        }
        let key = Key::new(pod.namespace().unwrap_or_default(), &owner.name);
        let (uid, replicas) = controller(owner, &key, caches)
            .ok_or_else(|| format!("{} does not implement the scale subresource", plural(owner)))?;
        wanted.insert(uid, replicas);
    }
    Ok((wanted.values().sum(), unmanaged))
}

/// The UID of the controller that sets the scale, and the scale. A ReplicaSet of a Deployment follows that.
fn controller(owner: &OwnerReference, key: &Key, caches: &Caches) -> Option<(String, i32)> {
    let is = |uid: &Option<String>| uid.as_deref() == Some(owner.uid.as_str());
    let found = |uid: &Option<String>, replicas: Option<i32>| Some((uid.clone()?, replicas.unwrap_or(1)));
    match owner.kind.as_str() {
        "ReplicaSet" => {
            let set = caches.replica_sets.get(key).filter(|set| is(&set.metadata.uid))?;
            let deployment =
                owner::controller_key(&set.metadata, "Deployment").and_then(|key| caches.deployments.get(&key));
            match deployment {
                Some(deployment) => found(&deployment.metadata.uid, deployment.spec.replicas),
                None => found(&set.metadata.uid, set.spec.replicas),
            }
        }
        "StatefulSet" => {
            let set = caches.stateful_sets.get(key).filter(|set| is(&set.metadata.uid))?;
            found(&set.metadata.uid, set.spec.replicas)
        }
        "ReplicationController" => {
            let controller = caches
                .replication_controllers
                .get(key)
                .filter(|it| is(&it.metadata.uid))?;
            found(
                &controller.metadata.uid,
                controller.spec.as_ref().and_then(|spec| spec.replicas),
            )
        }
        _ => None,
    }
}

/// `jobs.batch`, as messages name a resource.
fn plural(owner: &OwnerReference) -> String {
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let dot = if group.is_empty() { "" } else { "." };
    format!("{}s{dot}{group}", owner.kind.to_lowercase())
}

fn unmanaged(budget: &PodDisruptionBudget) -> Note {
    let selector = budget
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.clone())
        .unwrap_or_default();
    let labels: Vec<String> = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let message = format!(
        "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
        labels.join(",")
    );
    Note::warning(budget, "UnmanagedPods", message)
}

/// The pods that were let go and are still there, and when to look at them again.
fn disrupted(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    now: Timestamp,
    notes: &mut Vec<Note>,
) -> (BTreeMap<String, Time>, Option<Duration>) {
    let noted = budget
        .status
        .as_ref()
        .and_then(|status| status.disrupted_pods.clone())
        .unwrap_or_default();
    let mut disrupted = BTreeMap::new();
    let mut again = None;
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let name = pod.name_any();
        let Some(since) = noted.get(&name) else { continue };
        let left = PATIENCE - now.duration_since(since.0);
        if left <= SignedDuration::ZERO {
            let (namespace, name) = (budget.namespace().unwrap_or_default(), budget.name_any());
            let message = format!("Pod was expected by PDB {namespace}/{name} to be deleted but it wasn't");
            notes.push(Note::warning(pod.as_ref(), "NotDeleted", message));
            continue;
        }
        let left = Duration::try_from(left).unwrap_or_default();
        again = Some(again.map_or(left, |again: Duration| again.min(left)));
        disrupted.insert(name, since.clone());
    }
    (disrupted, again)
}

fn status(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    expected: &Expectation,
    disrupted: BTreeMap<String, Time>,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let counts = |pod: &&Arc<Pod>| {
        pod.metadata.deletion_timestamp.is_none() && !disrupted.contains_key(&pod.name_any()) && pod::is_ready(pod)
    };
    let healthy = pods.iter().filter(counts).count() as i32;
    let allowed = match expected.pods {
        ..=0 => 0,
        _ => (healthy - expected.healthy).max(0),
    };
    let (is, reason) = match allowed {
        0 => ("False", "InsufficientPods"),
        _ => ("True", "SufficientPods"),
    };
    PodDisruptionBudgetStatus {
        conditions: Some(conditions(budget, is, reason, String::new(), now)),
        current_healthy: Some(healthy),
        desired_healthy: Some(expected.healthy),
        expected_pods: Some(expected.pods),
        disruptions_allowed: Some(allowed),
        disrupted_pods: Some(disrupted).filter(|disrupted| !disrupted.is_empty()),
        observed_generation: budget.metadata.generation,
    }
}

fn failed(budget: &PodDisruptionBudget, why: String, now: Timestamp) -> PodDisruptionBudgetStatus {
    PodDisruptionBudgetStatus {
        conditions: Some(conditions(budget, "False", "SyncFailed", why, now)),
        disruptions_allowed: Some(0),
        observed_generation: budget.metadata.generation,
        ..budget.status.clone().unwrap_or_default()
    }
}

fn conditions(
    budget: &PodDisruptionBudget,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> Vec<Condition> {
    let old = budget
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let (mut others, mut known): (Vec<_>, Vec<_>) = old.into_iter().partition(|condition| condition.type_ != ALLOWED);
    let since = known
        .pop()
        .filter(|known| known.status == status)
        .map(|known| known.last_transition_time);
    others.push(Condition {
        type_: ALLOWED.into(),
        status: status.into(),
        reason: reason.into(),
        message,
        observed_generation: budget.metadata.generation,
        last_transition_time: since.unwrap_or(Time(now)),
    });
    others
}

/// The budgets that are about a pod as it was or is.
fn pod_changed(change: &Change<Pod>, caches: &Caches) -> Vec<Key> {
    let Some(pod) = change.sides().last() else {
        return Vec::new();
    };
    let budgets = caches
        .budgets
        .in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
    let about = |budget: &&Arc<PodDisruptionBudget>| {
        let selector = budget
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref())
            .and_then(owner::selector);
        selector.is_some_and(|selector| change.sides().any(|pod| owner::matches(&selector, &pod.metadata)))
    };
    budgets
        .iter()
        .filter(about)
        .map(|budget| Key::of(budget.as_ref()))
        .collect()
}

/// The budgets of a namespace in which a controller has got another scale.
fn scaled<K: kube::Resource>(change: &Change<K>, caches: &Caches, replicas: fn(&K) -> Option<i32>) -> Vec<Key> {
    let wanted = |side: &Option<Arc<K>>| side.as_ref().map(|it| replicas(it));
    if wanted(&change.old) == wanted(&change.new) {
        return Vec::new();
    }
    let namespace = change
        .sides()
        .last()
        .and_then(|it| it.meta().namespace.clone())
        .unwrap_or_default();
    caches
        .budgets
        .in_namespace(&namespace)
        .iter()
        .map(|budget| Key::of(budget.as_ref()))
        .collect()
}

#[cfg(test)]
mod tests;
