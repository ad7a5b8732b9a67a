//! `topologySpreadConstraints` (KEP-895), and the spreading of a controller's pods over nodes where none are given.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Pod, TopologySpreadConstraint};
use kube::core::Selector;

use super::node::{matches_affinity, tolerates};
use crate::owner;
use crate::scheduler::events::ClusterEvent;
use crate::scheduler::framework::{Cluster, Filter, MAX_NODE_SCORE, Plugin, Score, Unschedulable};
use crate::scheduler::types::{NodeInfo, PodInfo, narrowed};

const MISSING_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";
const TOO_SKEWED: &str = "node(s) didn't match pod topology spread constraints";
/// How uneven the pods of a controller may be over nodes, where its pods say nothing.
const DEFAULT_MAX_SKEW: i64 = 3;

pub(super) struct PodTopologySpread;

fn constraints<'a>(pod: &'a PodInfo, action: &'a str) -> impl Iterator<Item = &'a TopologySpreadConstraint> {
    let spec = pod.pod.spec.as_ref();
    let constraints = spec.and_then(|spec| spec.topology_spread_constraints.as_deref());
    let all = constraints.unwrap_or_default().iter();
    all.filter(move |constraint| constraint.when_unsatisfiable == action)
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn events(&self) -> ClusterEvent {
        ClusterEvent::NODE_ADD
            .or(ClusterEvent::NODE_DELETE)
            .or(ClusterEvent::NODE_LABEL)
            .or(ClusterEvent::NODE_TAINT)
            .or(ClusterEvent::POD_ADD)
            .or(ClusterEvent::POD_LABEL)
            .or(ClusterEvent::POD_DELETE)
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, cluster: Cluster<'a>) -> Option<Box<dyn Filter + 'a>> {
        let spreads: Vec<Spread<'a>> = constraints(pod, "DoNotSchedule")
            .map(|constraint| Spread::new(constraint, pod, cluster))
            .collect();
        (!spreads.is_empty()).then(|| Box::new(Hard(spreads)) as Box<dyn Filter>)
    }

    fn pre_score<'a>(
        &self,
        pod: &'a PodInfo,
        cluster: Cluster<'a>,
        nodes: &[&NodeInfo],
    ) -> Option<Box<dyn Score + 'a>> {
        let asked = pod
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.topology_spread_constraints.as_ref());
        if asked.is_some_and(|asked| !asked.is_empty()) {
            let spreads: Vec<Spread<'a>> = constraints(pod, "ScheduleAnyway")
                .map(|constraint| Spread::new(constraint, pod, cluster))
                .collect();
            return (!spreads.is_empty()).then(|| Box::new(Soft::new(spreads, nodes)) as Box<dyn Score>);
        }
        let siblings = cluster.cache.siblings(owner::controller_uid(&pod.pod.metadata)?)?;
        let weight = weight(nodes.len());
        Some(Box::new(Siblings { siblings, weight }))
    }

    fn weight(&self) -> i64 {
        2
    }
}

/// A constraint with the matching pods of each domain that the pod could go to.
struct Spread<'a> {
    constraint: &'a TopologySpreadConstraint,
    pod: &'a Pod,
    selector: Option<Selector>,
    counts: BTreeMap<String, i64>,
}

impl<'a> Spread<'a> {
    fn new(constraint: &'a TopologySpreadConstraint, pod: &'a PodInfo, cluster: Cluster<'a>) -> Self {
        let selector = constraint.label_selector.as_ref();
        let keys = constraint.match_label_keys.as_deref();
        let mut spread = Self {
            constraint,
            pod: &pod.pod,
            selector: selector.and_then(|selector| narrowed(selector, keys, None, &pod.pod)),
            counts: BTreeMap::new(),
        };
        let nodes = cluster.cache.nodes().filter(|node| spread.counts_node(node));
        let domains = nodes.filter_map(|node| node.label(&constraint.topology_key));
        spread.counts = domains.map(|domain| (domain.to_owned(), 0)).collect();
        for placed in cluster.cache.in_namespace(pod.namespace()) {
            if let Some(node) = cluster.cache.node(&placed.node) {
                spread.count(&placed.pod, node, 1);
            }
        }
        spread
    }

    /// `nodeAffinityPolicy` (Honor unless said otherwise) and `nodeTaintsPolicy` (Ignore unless said otherwise).
    fn counts_node(&self, node: &NodeInfo) -> bool {
        let Some(object) = node.node.as_deref() else {
            return false;
        };
        let by_affinity =
            self.constraint.node_affinity_policy.as_deref() == Some("Ignore") || matches_affinity(self.pod, object);
        let spec = object.spec.as_ref();
        let mut hard = spec
            .into_iter()
            .flat_map(|spec| spec.taints.iter().flatten())
            .filter(|taint| taint.effect != "PreferNoSchedule");
        let tolerations = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.tolerations.as_deref())
            .unwrap_or_default();
        by_affinity
            && (self.constraint.node_taints_policy.as_deref() != Some("Honor")
                || hard.all(|taint| tolerations.iter().any(|toleration| tolerates(toleration, taint))))
    }

    fn matches(&self, other: &Pod) -> bool {
        let selector = self.selector.as_ref();
        other.metadata.namespace == self.pod.metadata.namespace
            && selector.is_some_and(|selector| owner::matches(selector, &other.metadata))
    }

    fn count(&mut self, other: &PodInfo, node: &NodeInfo, by: i64) {
        if other.pod.metadata.deletion_timestamp.is_some() || !self.matches(&other.pod) || !self.counts_node(node) {
            return;
        }
        if let Some(count) = node
            .label(&self.constraint.topology_key)
            .and_then(|domain| self.counts.get_mut(domain))
        {
            *count += by;
        }
    }

    fn least(&self) -> i64 {
        let wanted = usize::try_from(self.constraint.min_domains.unwrap_or(1)).unwrap_or(1);
        match self.counts.len() >= wanted {
            true => self.counts.values().copied().min().unwrap_or(0),
            false => 0,
        }
    }
}

struct Hard<'a>(Vec<Spread<'a>>);

impl Filter for Hard<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Unschedulable> {
        for spread in &self.0 {
            let Some(domain) = node.label(&spread.constraint.topology_key) else {
                return Err(Unschedulable::unresolvable(MISSING_LABEL));
            };
            let count = spread.counts.get(domain).copied().unwrap_or(0);
            let own = i64::from(spread.matches(spread.pod));
            if count + own - spread.least() > i64::from(spread.constraint.max_skew) {
                return Err(Unschedulable::resolvable(TOO_SKEWED));
            }
        }
        Ok(())
    }

    fn add_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.0.iter_mut().for_each(|spread| spread.count(pod, node, 1));
    }

    fn remove_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.0.iter_mut().for_each(|spread| spread.count(pod, node, -1));
    }
}

/// A constraint over many domains weighs as much as one over few.
fn weight(domains: usize) -> f64 {
    (domains as f64 + 2.0).ln()
}

fn cost(count: i64, weight: f64, max_skew: i64) -> f64 {
    count as f64 * weight + (max_skew - 1) as f64
}

/// The fewest matching pods are best: the highest becomes 0, the lowest 100. Nodes without the label are worst.
fn normalize_costs(scores: &mut [i64]) {
    let known = || scores.iter().copied().filter(|score| *score != i64::MAX);
    let (Some(least), Some(most)) = (known().min(), known().max()) else {
        scores.fill(0);
        return;
    };
    for score in scores {
        *score = match *score {
            i64::MAX => 0,
            _ if most == 0 => MAX_NODE_SCORE,
            score => MAX_NODE_SCORE * (most + least - score) / most,
        };
    }
}

struct Soft<'a>(Vec<(Spread<'a>, f64)>);

impl<'a> Soft<'a> {
    fn new(spreads: Vec<Spread<'a>>, nodes: &[&NodeInfo]) -> Self {
        let weighted = spreads.into_iter().map(|spread| {
            let key = &spread.constraint.topology_key;
            let domains: std::collections::BTreeSet<&str> = nodes.iter().filter_map(|node| node.label(key)).collect();
            let weight = weight(domains.len());
            (spread, weight)
        });
        Self(weighted.collect())
    }
}

impl Score for Soft<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let mut sum = 0.0;
        for (spread, weight) in &self.0 {
            let Some(domain) = node.label(&spread.constraint.topology_key) else {
                return i64::MAX;
            };
            let count = spread.counts.get(domain).copied().unwrap_or(0);
            sum += cost(count, *weight, i64::from(spread.constraint.max_skew));
        }
        sum.round() as i64
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_costs(scores);
    }
}

/// The system's default constraint: the pods of a controller spread over nodes.
struct Siblings<'a> {
    siblings: &'a HashMap<String, i64>,
    weight: f64,
}

impl Score for Siblings<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let count = self.siblings.get(&node.name).copied().unwrap_or(0);
        cost(count, self.weight, DEFAULT_MAX_SKEW).round() as i64
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_costs(scores);
    }
}
