//! Ranks the nodes that fit.
//!
//! Each aspect gives 0 to 100; the weights are those of the default scheduler profile.

use k8s_openapi::api::core::v1::{Node, Pod};

use super::cluster::Host;
use super::demand::Demand;
use super::filter;
use super::relation::Relations;
use crate::owner;

const FULL: i64 = 100;

/// The best node, by name when several are equally good.
pub(crate) fn best<'a>(
    pod: &Pod,
    demand: &Demand,
    relations: &Relations,
    fitting: &[(&'a str, &Node, &Host)],
) -> Option<&'a str> {
    let raw = |aspect: &dyn Fn(&Node, &Host) -> i64| -> Vec<i64> {
        fitting.iter().map(|(_, node, host)| aspect(node, host)).collect()
    };
    let tolerated = lower_is_better(raw(&|node, _| untolerated(pod, node)));
    let preferred = higher_is_better(raw(&|node, _| node_preference(pod, node)));
    let related = span(raw(&|node, _| relations.preference(node)));
    let siblings = lower_is_better(raw(&|_, host| count_siblings(pod, host)));
    let least = raw(&|_, host| least_allocated(demand, host));
    let balanced = raw(&|_, host| balanced(demand, host));
    let mut best: Option<(i64, &str)> = None;
    for (index, (name, _, _)) in fitting.iter().enumerate() {
        let score = 3 * tolerated[index]
            + 2 * preferred[index]
            + 2 * related[index]
            + 2 * siblings[index]
            + least[index]
            + balanced[index];
        if best.is_none_or(|(most, _)| score > most) {
            best = Some((score, name));
        }
    }
    best.map(|(_, name)| name)
}

fn higher_is_better(raw: Vec<i64>) -> Vec<i64> {
    let most = raw.iter().copied().max().unwrap_or(0);
    raw.into_iter()
        .map(|value| if most > 0 { value * FULL / most } else { 0 })
        .collect()
}

fn lower_is_better(raw: Vec<i64>) -> Vec<i64> {
    let most = raw.iter().copied().max().unwrap_or(0);
    raw.into_iter()
        .map(|value| if most > 0 { FULL - value * FULL / most } else { FULL })
        .collect()
}

/// Stretches values that may be negative over the whole range.
fn span(raw: Vec<i64>) -> Vec<i64> {
    let (least, most) = (
        raw.iter().copied().min().unwrap_or(0),
        raw.iter().copied().max().unwrap_or(0),
    );
    let width = most - least;
    raw.into_iter()
        .map(|value| if width > 0 { (value - least) * FULL / width } else { 0 })
        .collect()
}

/// `PreferNoSchedule` taints that the pod does not tolerate.
fn untolerated(pod: &Pod, node: &Node) -> i64 {
    let tolerations = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.tolerations.as_deref())
        .unwrap_or_default();
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let soft = taints.filter(|taint| taint.effect == "PreferNoSchedule");
    soft.filter(|taint| {
        !tolerations
            .iter()
            .any(|toleration| filter::tolerates(toleration, taint))
    })
    .count() as i64
}

fn node_preference(pod: &Pod, node: &Node) -> i64 {
    let affinity = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
    let terms = affinity.and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref());
    let met = terms
        .into_iter()
        .flatten()
        .filter(|term| filter::matches_term(&term.preference, node));
    met.map(|term| i64::from(term.weight)).sum()
}

/// Pods of the same controller that are here already: replicas are spread.
fn count_siblings(pod: &Pod, host: &Host) -> i64 {
    let Some(owner) = owner::controller_uid(&pod.metadata) else {
        return 0;
    };
    let guests = host.pods.values();
    guests
        .filter(|guest| owner::controller_uid(&guest.pod.metadata) == Some(owner))
        .count() as i64
}

/// The emptier, the better.
fn least_allocated(demand: &Demand, host: &Host) -> i64 {
    let free = |name: &str| {
        let capacity = host.allocatable.get(name);
        let used = host.used_usual.get(name).saturating_add(demand.usual.get(name));
        if capacity <= 0 || used > capacity {
            0
        } else {
            (capacity - used).saturating_mul(FULL) / capacity
        }
    };
    (free("cpu") + free("memory")) / 2
}

/// The closer the shares of CPU and memory, the better: nothing is left over that nothing fits into.
fn balanced(demand: &Demand, host: &Host) -> i64 {
    let share = |name: &str| {
        let capacity = host.allocatable.get(name);
        let used = host.used.get(name).saturating_add(demand.exact.get(name));
        if capacity <= 0 {
            1.0
        } else {
            (used as f64 / capacity as f64).min(1.0)
        }
    };
    let deviation = (share("cpu") - share("memory")).abs() / 2.0;
    ((1.0 - deviation) * FULL as f64) as i64
}
