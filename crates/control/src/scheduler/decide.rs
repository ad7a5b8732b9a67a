//! One decision: where a pod goes, or why it cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Pod};

use super::cluster::{Cluster, Host};
use super::demand::Demand;
use super::filter::{self, Misfit};
use super::relation::Relations;
use super::score;
use crate::store::Store;

/// What was decided.
pub(crate) enum Decision {
    /// Bind it to this node.
    Bind(String),
    /// Evict these, then try again: they make room on this node.
    Preempt {
        node: String,
        victims: Vec<Arc<Pod>>,
        message: String,
    },
    /// It has to wait.
    Wait(String),
}

/// Decides about one pod.
pub(crate) fn decide(pod: &Pod, cluster: &Cluster, namespaces: &Store<Namespace>) -> Decision {
    let demand = Demand::of(pod);
    let relations = Relations::new(pod, cluster, namespaces);
    let mut fitting = Vec::new();
    let mut misfits: BTreeMap<&str, Misfit> = BTreeMap::new();
    for (name, node, host) in cluster.nodes() {
        match filter::alone(pod, &demand, node, host).and_then(|()| relations.check(node)) {
            Ok(()) => fitting.push((name, node, host)),
            Err(misfit) => _ = misfits.insert(name, misfit),
        }
    }
    if let Some(node) = score::best(pod, &demand, &relations, &fitting) {
        return Decision::Bind(node.to_string());
    }
    if misfits.is_empty() {
        return Decision::Wait("no nodes available to schedule pods".into());
    }
    let total = misfits.len();
    let message = summary(
        total,
        misfits
            .values()
            .flat_map(|misfit| misfit.reasons.iter().map(String::as_str)),
    );
    let policy = pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref());
    if policy == Some("Never") {
        return Decision::Wait(format!(
            "{message} preemption: not eligible due to preemptionPolicy=Never."
        ));
    }
    match preempt(pod, &demand, cluster, namespaces, &misfits) {
        Some((node, victims)) => Decision::Preempt { node, victims, message },
        None => {
            let hopeless = misfits.values().map(|misfit| {
                if misfit.preemptible {
                    "No preemption victims found for incoming pod"
                } else {
                    "Preemption is not helpful for scheduling"
                }
            });
            Decision::Wait(format!("{message} preemption: {}", summary(total, hopeless)))
        }
    }
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
fn summary<'a>(total: usize, reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let counted: BTreeSet<String> = counts
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    let counted: Vec<String> = counted.into_iter().collect();
    format!("0/{total} nodes are available: {}.", counted.join(", "))
}

pub(crate) fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
}

/// Looks for the node where evicting pods of lower priority makes room at the least cost.
fn preempt(
    pod: &Pod,
    demand: &Demand,
    cluster: &Cluster,
    namespaces: &Store<Namespace>,
    misfits: &BTreeMap<&str, Misfit>,
) -> Option<(String, Vec<Arc<Pod>>)> {
    let ours = priority(pod);
    let lower = cluster
        .nodes()
        .any(|(_, _, host)| host.pods.values().any(|guest| priority(&guest.pod) < ours));
    if !lower {
        return None;
    }
    let candidates = misfits.iter().filter(|(_, misfit)| misfit.preemptible);
    let plans = candidates.filter_map(|(name, _)| {
        let host = cluster.hosts.get(*name)?;
        let victims = victims(pod, demand, cluster, namespaces, name, host)?;
        let highest = victims.iter().map(|victim| priority(victim)).max()?;
        let sum: i64 = victims.iter().map(|victim| i64::from(priority(victim))).sum();
        Some(((highest, sum, victims.len()), name.to_string(), victims))
    });
    plans
        .min_by(|a, b| a.0.cmp(&b.0))
        .map(|(_, name, victims)| (name, victims))
}

/// The fewest and least important pods whose eviction makes room on one node.
fn victims(
    pod: &Pod,
    demand: &Demand,
    cluster: &Cluster,
    namespaces: &Store<Namespace>,
    name: &str,
    host: &Host,
) -> Option<Vec<Arc<Pod>>> {
    let node = host.node.as_deref()?;
    let ours = priority(pod);
    let mut trial = Cluster::default();
    trial.hosts.clone_from(&cluster.hosts);
    let fits = |trial: &Cluster| {
        let host = &trial.hosts[name];
        filter::alone(pod, demand, node, host).is_ok() && Relations::new(pod, trial, namespaces).check(node).is_ok()
    };
    let mut lower: Vec<Arc<Pod>> = host
        .pods
        .values()
        .map(|guest| guest.pod.clone())
        .filter(|guest| priority(guest) < ours)
        .collect();
    if lower.is_empty() {
        return None;
    }
    let place = trial.hosts.get_mut(name)?;
    for guest in &lower {
        place.remove(super::cluster::uid(guest));
    }
    if !fits(&trial) {
        return None;
    }
    // Spare as many as possible, the most important first.
    lower.sort_by_key(|guest| std::cmp::Reverse(priority(guest)));
    let mut victims = Vec::new();
    for guest in lower {
        trial.hosts.get_mut(name)?.add(guest.clone());
        if !fits(&trial) {
            trial.hosts.get_mut(name)?.remove(super::cluster::uid(&guest));
            victims.push(guest);
        }
    }
    Some(victims)
}
