//! `DefaultPreemption`: which less important pods have to go so that a pod fits.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;

use super::cache::uid;
use super::events::ClusterEvent;
use super::framework::{Cluster, Diagnosis, Filters, Unschedulable, summary};
use super::queue::SchedulingQueue;
use super::types::PodInfo;
use crate::key::Key;
use crate::store::Store;
use crate::{owner, pod};

/// Enough candidates to choose from: a tenth of the nodes, at least this many.
const MIN_CANDIDATES: usize = 100;

/// What preemption comes to.
pub(crate) enum Preemption {
    /// These leave the node, and the pod is nominated for it.
    Victims { node: String, victims: Vec<Arc<PodInfo>> },
    /// It does not help, and why not.
    None(String),
}

/// The node where evicting pods of lower priority makes room at the least cost.
pub(crate) fn preempt(
    pod: &PodInfo,
    cluster: Cluster<'_>,
    queue: &SchedulingQueue,
    diagnosis: &Diagnosis,
) -> Preemption {
    let spec = pod.pod.spec.as_ref();
    if spec.and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never") {
        return Preemption::None("not eligible due to preemptionPolicy=Never.".into());
    }
    if waits_for_victims(pod, cluster, queue) {
        return Preemption::None("not eligible due to a terminating pod on the nominated node.".into());
    }
    let resolvable = diagnosis.nodes.iter().filter(|(_, refusal)| refusal.resolvable);
    let most = (diagnosis.total / 10).max(MIN_CANDIDATES);
    let mut filters = Filters::new(pod, cluster);
    let candidates = resolvable
        .filter_map(|(name, _)| victims(pod, cluster, queue, name, &mut filters))
        .take(most);
    let best = candidates.min_by(|a, b| a.cost.cmp(&b.cost));
    if let Some(Candidate { node, victims, .. }) = best {
        return Preemption::Victims { node, victims };
    }
    let hopeless = diagnosis
        .nodes
        .values()
        .map(|refusal: &Unschedulable| match refusal.resolvable {
            true => "No preemption victims found for incoming pod",
            false => "Preemption is not helpful for scheduling",
        });
    Preemption::None(summary(diagnosis.total, hopeless))
}

/// Whether those who have to make room are still on their way out.
fn waits_for_victims(pod: &PodInfo, cluster: Cluster<'_>, queue: &SchedulingQueue) -> bool {
    let nominated = queue.nomination(pod.uid()).and_then(|name| cluster.cache.node(name));
    nominated.is_some_and(|node| {
        node.pods.values().any(|other| {
            let leaving = other.pod.metadata.deletion_timestamp.is_some();
            let preempted = pod::condition(&other.pod, "DisruptionTarget")
                .is_some_and(|condition| condition.reason.as_deref() == Some("PreemptionByScheduler"));
            other.priority() < pod.priority() && leaving && preempted
        })
    })
}

struct Candidate {
    /// How many victims a disruption budget protects, the priority of the most important one, the sum of all, their number,
    /// and how late the most important started (the later the better).
    cost: (usize, i32, i64, usize, std::cmp::Reverse<Option<jiff::Timestamp>>),
    node: String,
    victims: Vec<Arc<PodInfo>>,
}

/// The fewest and least important pods whose eviction makes room on one node.
fn victims(
    pod: &PodInfo,
    cluster: Cluster<'_>,
    queue: &SchedulingQueue,
    name: &str,
    filters: &mut Filters<'_>,
) -> Option<Candidate> {
    let node = cluster.cache.node(name)?;
    let mut lower: Vec<Arc<PodInfo>> = node
        .pods
        .values()
        .filter(|other| other.priority() < pod.priority())
        .cloned()
        .collect();
    if lower.is_empty() {
        return None;
    }
    let mut trial = node.clone();
    for other in &lower {
        trial.remove(other.uid());
        filters.remove_pod(other, node);
    }
    let mut gone = lower.clone();
    let mut victims = Vec::new();
    let mut violations = 0;
    let possible = filters.check_with_nominated(pod, &trial, queue).is_ok();
    if possible {
        // Spare as many as possible, the most important and the oldest first.
        lower.sort_by(|a, b| {
            let by_age = started(a).cmp(&started(b)).then_with(|| uid(&a.pod).cmp(uid(&b.pod)));
            b.priority().cmp(&a.priority()).then(by_age)
        });
        gone.clear();
        let (protected, others) = by_protection(lower, &cluster.caches.budgets);
        let candidates = protected
            .into_iter()
            .map(|pod| (pod, 1))
            .chain(others.into_iter().map(|pod| (pod, 0)));
        for (other, violation) in candidates {
            trial.add(other.clone());
            filters.add_pod(&other, node);
            if filters.check_with_nominated(pod, &trial, queue).is_err() {
                trial.remove(other.uid());
                filters.remove_pod(&other, node);
                gone.push(other.clone());
                victims.push(other);
                violations += violation;
            }
        }
    }
    // The filters serve the next node, too.
    gone.iter().for_each(|other| filters.add_pod(other, node));
    if !possible || victims.is_empty() {
        return None;
    }
    let highest = victims.iter().map(|victim| victim.priority()).max()?;
    let sum = victims
        .iter()
        .map(|victim| i64::from(victim.priority()) + i64::from(i32::MAX) + 1)
        .sum();
    let first = victims
        .iter()
        .filter(|victim| victim.priority() == highest)
        .filter_map(started)
        .min();
    Some(Candidate {
        cost: (violations, highest, sum, victims.len(), std::cmp::Reverse(first)),
        node: name.to_owned(),
        victims,
    })
}

/// The pods whose loss would violate a disruption budget, and the others. Each budget is used up in the order given.
fn by_protection(
    pods: Vec<Arc<PodInfo>>,
    budgets: &Store<PodDisruptionBudget>,
) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut left: HashMap<String, i32> = HashMap::new();
    pods.into_iter().partition(|pod| {
        let mut violates = false;
        for budget in budgets.in_namespace(pod.namespace()) {
            let selector = budget
                .spec
                .as_ref()
                .and_then(|spec| spec.selector.as_ref())
                .and_then(owner::selector);
            if !selector.is_some_and(|selector| !selector.selects_all() && owner::matches(&selector, &pod.pod.metadata))
            {
                continue;
            }
            let status = budget.status.as_ref();
            let noted = status.and_then(|status| status.disrupted_pods.as_ref());
            if noted.is_some_and(|noted| noted.contains_key(&pod.pod.name_any())) {
                continue;
            }
            let allowed = status.and_then(|status| status.disruptions_allowed).unwrap_or(0);
            let left = left.entry(Key::of(budget.as_ref()).to_string()).or_insert(allowed);
            *left -= 1;
            violates |= *left < 0;
        }
        violates
    })
}

fn started(pod: &Arc<PodInfo>) -> Option<jiff::Timestamp> {
    let status = pod.pod.status.as_ref()?;
    Some(status.start_time.as_ref()?.0)
}

/// What may help a pod that preemption did not: the same as before, and the end of any pod.
pub(crate) fn helpful(diagnosis: &Diagnosis) -> ClusterEvent {
    match diagnosis.nodes.values().any(|refusal| refusal.resolvable) {
        true => diagnosis.helpful | ClusterEvent::POD_DELETE,
        false => diagnosis.helpful,
    }
}
