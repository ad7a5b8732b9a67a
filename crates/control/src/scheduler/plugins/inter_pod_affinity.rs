//! `podAffinity` and `podAntiAffinity`, of the pod and of those that are there.
//!
//! A *domain* is the nodes that share a value of some label: `kubernetes.io/hostname`, a zone. A cycle counts matching pods by
//! domain once; a pod without affinity in a cluster without any costs nothing.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Namespace, Pod};

use crate::scheduler::cache::Placed;
use crate::scheduler::events::ClusterEvent;
use crate::scheduler::framework::{Cluster, Filter, MAX_NODE_SCORE, Plugin, Score, Unschedulable};
use crate::scheduler::types::{AffinityTerm, NodeInfo, PodInfo};
use crate::store::Store;

/// What a required affinity of a pod that is there is worth as a wish of that pod.
const HARD_POD_AFFINITY_WEIGHT: i64 = 1;

pub(super) struct InterPodAffinity;

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn events(&self) -> ClusterEvent {
        ClusterEvent::NODE_ADD
            .or(ClusterEvent::NODE_LABEL)
            .or(ClusterEvent::POD_ADD)
            .or(ClusterEvent::POD_LABEL)
            .or(ClusterEvent::POD_DELETE)
            .or(ClusterEvent::NAMESPACE_LABEL)
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, cluster: Cluster<'a>) -> Option<Box<dyn Filter + 'a>> {
        let mut rules = Rules {
            pod,
            namespaces: &cluster.caches.namespaces,
            refused: HashMap::new(),
            near: HashMap::new(),
            far: HashMap::new(),
        };
        for placed in cluster.cache.with_affinity() {
            if let Some(node) = cluster.cache.node(&placed.node) {
                rules.count_refusals(&placed.pod, node, 1);
            }
        }
        let terms = || pod.required_affinity.iter().chain(&pod.required_anti_affinity);
        for placed in candidates(terms(), cluster) {
            if let Some(node) = cluster.cache.node(&placed.node) {
                rules.count_matches(&placed.pod, node, 1);
            }
        }
        let idle = rules.refused.is_empty() && terms().next().is_none();
        (!idle).then(|| Box::new(rules) as Box<dyn Filter>)
    }

    fn pre_score<'a>(&self, pod: &'a PodInfo, cluster: Cluster<'a>, _: &[&NodeInfo]) -> Option<Box<dyn Score + 'a>> {
        let mut wishes = Wishes(HashMap::new());
        for placed in candidates(pod.preferred_affinity.iter(), cluster) {
            for term in &pod.preferred_affinity {
                if term.matches(&placed.pod.pod, &cluster.caches.namespaces) {
                    wishes.add(term, &placed.node, cluster, term.weight);
                }
            }
        }
        for placed in cluster.cache.with_affinity() {
            let other = &placed.pod;
            let hard = other
                .required_affinity
                .iter()
                .map(|term| (term, HARD_POD_AFFINITY_WEIGHT));
            let soft = other.preferred_affinity.iter().map(|term| (term, term.weight));
            for (term, weight) in hard.chain(soft) {
                if term.matches(&pod.pod, &cluster.caches.namespaces) {
                    wishes.add(term, &placed.node, cluster, weight);
                }
            }
        }
        (!wishes.0.is_empty()).then(|| Box::new(wishes) as Box<dyn Score>)
    }

    fn weight(&self) -> i64 {
        2
    }
}

/// The placed pods that the terms can speak of: those of the namespaces they name, or all.
fn candidates<'a>(
    terms: impl Iterator<Item = &'a AffinityTerm>,
    cluster: Cluster<'a>,
) -> Box<dyn Iterator<Item = &'a Placed> + 'a> {
    let mut named = std::collections::BTreeSet::new();
    for term in terms {
        match term.named_namespaces() {
            Some(namespaces) => named.extend(namespaces.iter().map(String::as_str)),
            None => return Box::new(cluster.cache.placed()),
        }
    }
    Box::new(
        named
            .into_iter()
            .flat_map(move |namespace| cluster.cache.in_namespace(namespace)),
    )
}

/// Matching pods by topology key and domain.
type Counts<'a> = HashMap<(&'a str, String), i64>;

struct Rules<'a> {
    pod: &'a PodInfo,
    namespaces: &'a Store<Namespace>,
    /// Pods that want this one out of their domain.
    refused: HashMap<(String, String), i64>,
    /// Pods that match all required affinity terms.
    near: Counts<'a>,
    /// Pods that match a required anti-affinity term.
    far: Counts<'a>,
}

fn bump<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, i64>, key: K, by: i64) {
    let count = counts.entry(key).or_default();
    *count += by;
}

impl<'a> Rules<'a> {
    fn count_refusals(&mut self, other: &PodInfo, node: &NodeInfo, by: i64) {
        for term in &other.required_anti_affinity {
            if let Some(domain) = node.label(&term.topology_key)
                && term.matches(&self.pod.pod, self.namespaces)
            {
                bump(&mut self.refused, (term.topology_key.clone(), domain.to_owned()), by);
            }
        }
    }

    fn count_matches(&mut self, other: &PodInfo, node: &NodeInfo, by: i64) {
        let pod: &'a PodInfo = self.pod;
        if self.all_affinity(&other.pod) {
            for term in &pod.required_affinity {
                if let Some(domain) = node.label(&term.topology_key) {
                    bump(&mut self.near, (term.topology_key.as_str(), domain.to_owned()), by);
                }
            }
        }
        for term in &pod.required_anti_affinity {
            if let Some(domain) = node.label(&term.topology_key)
                && term.matches(&other.pod, self.namespaces)
            {
                bump(&mut self.far, (term.topology_key.as_str(), domain.to_owned()), by);
            }
        }
    }

    fn all_affinity(&self, other: &Pod) -> bool {
        let terms = &self.pod.required_affinity;
        !terms.is_empty() && terms.iter().all(|term| term.matches(other, self.namespaces))
    }

    /// The first of a group of pods that want to be together may go anywhere.
    fn is_first_of_its_group(&self) -> bool {
        self.near.values().all(|count| *count <= 0) && self.all_affinity(&self.pod.pod)
    }
}

impl Filter for Rules<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Unschedulable> {
        let mut near = true;
        for term in &self.pod.required_affinity {
            let Some(domain) = node.label(&term.topology_key) else {
                return Err(Unschedulable::unresolvable("node(s) didn't match pod affinity rules"));
            };
            let count = self.near.get(&(term.topology_key.as_str(), domain.to_owned()));
            near &= count.is_some_and(|count| *count > 0);
        }
        if !near && !self.is_first_of_its_group() {
            return Err(Unschedulable::unresolvable("node(s) didn't match pod affinity rules"));
        }
        for term in &self.pod.required_anti_affinity {
            if let Some(domain) = node.label(&term.topology_key) {
                let count = self.far.get(&(term.topology_key.as_str(), domain.to_owned()));
                if count.is_some_and(|count| *count > 0) {
                    return Err(Unschedulable::resolvable(
                        "node(s) didn't match pod anti-affinity rules",
                    ));
                }
            }
        }
        let mut refused = self.refused.iter().filter(|(_, count)| **count > 0);
        if refused.any(|((topology, domain), _)| node.label(topology) == Some(domain)) {
            return Err(Unschedulable::resolvable(
                "node(s) didn't satisfy existing pods anti-affinity rules",
            ));
        }
        Ok(())
    }

    fn add_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.count_refusals(pod, node, 1);
        self.count_matches(pod, node, 1);
    }

    fn remove_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.count_refusals(pod, node, -1);
        self.count_matches(pod, node, -1);
    }
}

/// What wishes are worth, by topology key and domain.
struct Wishes(HashMap<String, HashMap<String, i64>>);

impl Wishes {
    fn add(&mut self, term: &AffinityTerm, node: &str, cluster: Cluster<'_>, weight: i64) {
        let Some(domain) = cluster.cache.node(node).and_then(|node| node.label(&term.topology_key)) else {
            return;
        };
        let domains = self.0.entry(term.topology_key.clone()).or_default();
        bump(domains, domain.to_owned(), weight);
    }
}

impl Score for Wishes {
    fn score(&self, node: &NodeInfo) -> i64 {
        let topologies = self.0.iter();
        topologies
            .filter_map(|(topology, domains)| domains.get(node.label(topology)?))
            .sum()
    }

    /// Values may be negative: they are stretched over the whole range.
    fn normalize(&self, scores: &mut [i64]) {
        let least = scores.iter().copied().min().unwrap_or(0);
        let width = scores.iter().copied().max().unwrap_or(0) - least;
        for score in scores {
            *score = if width > 0 {
                (*score - least) * MAX_NODE_SCORE / width
            } else {
                0
            };
        }
    }
}
