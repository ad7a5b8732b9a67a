//! The scheduling framework (KEP-624): extension points, and the one scheduling cycle that runs through them.
//!
//! `PreFilter` and `PreScore` read what a cycle needs once and answer a [`Filter`] or a [`Score`], or nothing where the plugin
//! has nothing to say about the pod; it is then skipped for every node.

use std::collections::{BTreeMap, BTreeSet};

use super::cache::Cache;
use super::events::ClusterEvent;
use super::plugins;
use super::queue::SchedulingQueue;
use super::types::{NodeInfo, PodInfo};
use crate::caches::Caches;

/// The highest score of a node.
pub(crate) const MAX_NODE_SCORE: i64 = 100;
/// In small clusters every node is looked at; in large ones as many as this and a share of them.
const MIN_FEASIBLE_NODES: usize = 100;
const MIN_FEASIBLE_PERCENT: usize = 5;

/// Why a node does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unschedulable {
    pub(crate) reasons: Vec<String>,
    /// Whether evicting pods from the node could help: `Unschedulable`, not `UnschedulableAndUnresolvable`.
    pub(crate) resolvable: bool,
    /// The events after which the plugin that said so may say otherwise.
    pub(crate) helpful: ClusterEvent,
}

impl Unschedulable {
    pub(crate) fn unresolvable(reason: &str) -> Self {
        Self {
            reasons: vec![reason.into()],
            resolvable: false,
            helpful: ClusterEvent::NONE,
        }
    }

    pub(crate) fn resolvable(reason: &str) -> Self {
        Self {
            resolvable: true,
            ..Self::unresolvable(reason)
        }
    }
}

/// What plugins may look at during a cycle.
#[derive(Clone, Copy)]
pub(crate) struct Cluster<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) caches: &'a Caches,
}

/// A plugin, stateless between cycles.
pub(crate) trait Plugin: Sync {
    /// Its name in Kubernetes, as messages have it.
    fn name(&self) -> &'static str;

    /// `EventsToRegister`: what may make its refusals void.
    fn events(&self) -> ClusterEvent {
        ClusterEvent::ALL
    }

    /// The only nodes that can fit, where the pod names them.
    fn nodes(&self, _pod: &PodInfo) -> Option<BTreeSet<String>> {
        None
    }

    /// What `PreFilter` says of the pod itself, whatever the node.
    fn admits(&self, _pod: &PodInfo, _cluster: Cluster<'_>) -> Result<(), Unschedulable> {
        Ok(())
    }

    /// `PreFilter`.
    fn pre_filter<'a>(&self, _pod: &'a PodInfo, _cluster: Cluster<'a>) -> Option<Box<dyn Filter + 'a>> {
        None
    }

    /// `PreScore`; the nodes are those that fit.
    fn pre_score<'a>(
        &self,
        _pod: &'a PodInfo,
        _cluster: Cluster<'a>,
        _nodes: &[&NodeInfo],
    ) -> Option<Box<dyn Score + 'a>> {
        None
    }

    /// Its weight among the scores.
    fn weight(&self) -> i64 {
        1
    }
}

/// Rules nodes out for one pod.
pub(crate) trait Filter {
    /// Whether the pod fits on the node, as the node is described (which may be a trial).
    fn filter(&self, node: &NodeInfo) -> Result<(), Unschedulable>;

    /// From now on, a pod counts as being on the node.
    fn add_pod(&mut self, _pod: &PodInfo, _node: &NodeInfo) {}

    /// From now on, a pod counts as gone from the node. The inverse of [`Filter::add_pod`].
    fn remove_pod(&mut self, _pod: &PodInfo, _node: &NodeInfo) {}
}

/// Ranks nodes for one pod.
pub(crate) trait Score {
    fn score(&self, node: &NodeInfo) -> i64;

    /// `NormalizeScore`: brings all scores into the range from 0 to [`MAX_NODE_SCORE`].
    fn normalize(&self, _scores: &mut [i64]) {}
}

/// The filters of one cycle with the plugins they belong to.
pub(crate) struct Filters<'a> {
    filters: Vec<(&'static dyn Plugin, Box<dyn Filter + 'a>)>,
}

impl<'a> Filters<'a> {
    pub(crate) fn new(pod: &'a PodInfo, cluster: Cluster<'a>) -> Self {
        let all = plugins::ALL.iter().copied();
        Self {
            filters: all
                .filter_map(|plugin| Some((plugin, plugin.pre_filter(pod, cluster)?)))
                .collect(),
        }
    }

    /// Asks each plugin in order; the first that refuses speaks for the node.
    pub(crate) fn check(&self, node: &NodeInfo) -> Result<(), Unschedulable> {
        for (plugin, filter) in &self.filters {
            filter.filter(node).map_err(|refusal| Unschedulable {
                helpful: plugin.events(),
                ..refusal
            })?;
        }
        Ok(())
    }

    pub(crate) fn add_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.filters
            .iter_mut()
            .for_each(|(_, filter)| filter.add_pod(pod, node));
    }

    pub(crate) fn remove_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.filters
            .iter_mut()
            .for_each(|(_, filter)| filter.remove_pod(pod, node));
    }

    /// The same with the pods for which room is kept on the node counted as there, if they are as important; and without
    /// them too, since they may yet go elsewhere and pod affinity must not rest on them.
    pub(crate) fn check_with_nominated(
        &mut self,
        pod: &PodInfo,
        node: &NodeInfo,
        queue: &SchedulingQueue,
    ) -> Result<(), Unschedulable> {
        let nominated: Vec<_> = queue
            .nominated_on(&node.name)
            .filter(|other| other.priority() >= pod.priority() && other.uid() != pod.uid())
            .filter(|other| !node.pods.contains_key(other.uid()))
            .cloned()
            .collect();
        if !nominated.is_empty() {
            let mut crowded = node.clone();
            for other in &nominated {
                crowded.add(other.clone());
                self.add_pod(other, node);
            }
            let fits = self.check(&crowded);
            nominated.iter().for_each(|other| self.remove_pod(other, node));
            fits?;
        }
        self.check(node)
    }
}

/// Why a pod fits nowhere: `FitError`.
#[derive(Debug, Default)]
pub(crate) struct Diagnosis {
    /// By name of the node.
    pub(crate) nodes: BTreeMap<String, Unschedulable>,
    /// How many nodes there are.
    pub(crate) total: usize,
    /// Why it fits nowhere, whatever the node.
    pub(crate) everywhere: Option<String>,
    /// What may make it fit.
    pub(crate) helpful: ClusterEvent,
}

impl Diagnosis {
    /// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
    pub(crate) fn message(&self) -> String {
        if self.total == 0 {
            return "no nodes available to schedule pods".into();
        }
        if let Some(reason) = &self.everywhere {
            return format!("0/{} nodes are available: {reason}.", self.total);
        }
        let reasons = self.nodes.values().flat_map(|refusal| &refusal.reasons);
        summary(self.total, reasons.map(String::as_str))
    }
}

/// Counts reasons: `0/3 nodes are available: 1 b, 2 a.`
pub(crate) fn summary<'a>(total: usize, reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut counted: Vec<String> = counts
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    counted.sort();
    format!("0/{total} nodes are available: {}.", counted.join(", "))
}

/// How many fitting nodes are enough: all in small clusters; in larger ones 50 % less 1 % for each 125 nodes, at least 5 %.
fn enough(nodes: usize) -> usize {
    if nodes < MIN_FEASIBLE_NODES {
        return nodes;
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(MIN_FEASIBLE_PERCENT);
    (nodes * percent / 100).max(MIN_FEASIBLE_NODES)
}

/// Finds the best node for a pod. `start` is where to begin among the nodes; it moves on, so that in a large cluster each
/// node gets its turn.
pub(crate) fn schedule<'a>(
    pod: &'a PodInfo,
    cluster: Cluster<'a>,
    queue: &SchedulingQueue,
    start: &mut usize,
) -> Result<&'a str, Diagnosis> {
    let nodes = cluster.cache.all_nodes();
    let total = cluster.cache.nodes().count();
    let mut diagnosis = Diagnosis {
        total,
        helpful: ClusterEvent::NODE_ADD,
        ..Diagnosis::default()
    };
    for plugin in plugins::ALL {
        if let Err(refusal) = plugin.admits(pod, cluster) {
            diagnosis.helpful = plugin.events();
            diagnosis.everywhere = refusal.reasons.first().cloned();
            let all = cluster.cache.nodes().map(|node| (node.name.clone(), refusal.clone()));
            diagnosis.nodes = all.collect();
            return Err(diagnosis);
        }
    }
    let mut filters = Filters::new(pod, cluster);
    let mut fitting: Vec<&NodeInfo> = Vec::new();
    let narrowed = plugins::ALL
        .iter()
        .find_map(|plugin| Some((*plugin, plugin.nodes(pod)?)));
    let mut refuse = |node: &NodeInfo, refusal: Unschedulable| {
        diagnosis.helpful = diagnosis.helpful | refusal.helpful;
        diagnosis.nodes.insert(node.name.clone(), refusal);
    };
    if let Some((plugin, named)) = &narrowed {
        for node in named.iter().filter_map(|name| cluster.cache.node(name)) {
            match filters.check_with_nominated(pod, node, queue) {
                Ok(()) => fitting.push(node),
                Err(refusal) => refuse(node, refusal),
            }
        }
        if fitting.is_empty() {
            let reason = format!("node(s) didn't satisfy plugin(s) [{}]", plugin.name());
            for node in cluster.cache.nodes().filter(|node| !named.contains(&node.name)) {
                let mut refusal = Unschedulable::unresolvable(&reason);
                refusal.helpful = plugin.events();
                refuse(node, refusal);
            }
        }
    } else {
        // Room that was made for the pod is looked at first: it may be all there is.
        let cleared = queue.nomination(pod.uid()).and_then(|name| cluster.cache.node(name));
        if let Some(node) = cleared.filter(|node| filters.check_with_nominated(pod, node, queue).is_ok()) {
            return Ok(&node.name);
        }
        let enough = enough(total);
        let mut looked = 0;
        for offset in 0..nodes.len() {
            let node = &nodes[(*start + offset) % nodes.len()];
            looked = offset + 1;
            if node.node.is_none() {
                continue;
            }
            match filters.check_with_nominated(pod, node, queue) {
                Ok(()) => fitting.push(node),
                Err(refusal) => refuse(node, refusal),
            }
            if fitting.len() >= enough {
                break;
            }
        }
        if !nodes.is_empty() {
            *start = (*start + looked) % nodes.len();
        }
    }
    match fitting.as_slice() {
        [] => Err(diagnosis),
        [only] => Ok(&only.name),
        _ => Ok(best(pod, cluster, &fitting)),
    }
}

/// The node with the highest sum of weighted scores, by name when several are equally good.
fn best<'a>(pod: &'a PodInfo, cluster: Cluster<'a>, nodes: &[&'a NodeInfo]) -> &'a str {
    let mut totals = vec![0i64; nodes.len()];
    for plugin in plugins::ALL {
        let Some(score) = plugin.pre_score(pod, cluster, nodes) else {
            continue;
        };
        let mut scores: Vec<i64> = nodes.iter().map(|node| score.score(node)).collect();
        score.normalize(&mut scores);
        for (total, score) in totals.iter_mut().zip(scores) {
            *total += score * plugin.weight();
        }
    }
    let ranked = nodes.iter().zip(totals);
    ranked
        .max_by(|(a, ours), (b, theirs)| ours.cmp(theirs).then_with(|| b.name.cmp(&a.name)))
        .map_or("", |(node, _)| node.name.as_str())
}

/// `DefaultNormalizeScore`: the highest becomes 100, or with `reverse` 0.
pub(crate) fn normalize(scores: &mut [i64], reverse: bool) {
    let most = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let share = if most > 0 { *score * MAX_NODE_SCORE / most } else { 0 };
        *score = if reverse { MAX_NODE_SCORE - share } else { share };
    }
}
