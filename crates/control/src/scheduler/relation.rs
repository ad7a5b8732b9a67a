//! Rules and preferences that relate a pod to other pods: affinity, anti-affinity, topology spread.
//!
//! All of them speak of *domains*: the nodes that share a value of some node label (`kubernetes.io/hostname`, a zone).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, PodAffinityTerm, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::Selector;

use super::cluster::Cluster;
use super::filter::{self, Misfit};
use crate::owner;
use crate::store::Store;

/// Matches a term against other pods, resolved once per decision.
struct Matcher {
    selector: Option<Selector>,
    namespaces: BTreeSet<String>,
    topology: String,
}

impl Matcher {
    fn new(term: &PodAffinityTerm, pod: &Pod, namespaces: &Store<Namespace>) -> Self {
        let mut named: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if let Some(selector) = term.namespace_selector.as_ref().and_then(owner::selector) {
            let selected = namespaces.all();
            let selected = selected
                .iter()
                .filter(|namespace| owner::matches(&selector, &namespace.metadata));
            named.extend(selected.filter_map(|namespace| namespace.metadata.name.clone()));
        } else if named.is_empty() {
            named.extend(pod.metadata.namespace.clone());
        }
        let keys = term.match_label_keys.as_deref().unwrap_or_default();
        Self {
            selector: term
                .label_selector
                .as_ref()
                .and_then(|selector| with_keys(selector, keys, pod)),
            namespaces: named,
            topology: term.topology_key.clone(),
        }
    }

    fn matches(&self, pod: &Pod) -> bool {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        self.namespaces.contains(namespace)
            && self
                .selector
                .as_ref()
                .is_some_and(|selector| owner::matches(selector, &pod.metadata))
    }
}

/// A selector narrowed to the pod's own values of some labels (`matchLabelKeys`).
fn with_keys(selector: &LabelSelector, keys: &[String], pod: &Pod) -> Option<Selector> {
    let mut selector = selector.clone();
    for key in keys {
        if let Some(value) = pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)) {
            selector
                .match_expressions
                .get_or_insert_default()
                .push(LabelSelectorRequirement {
                    key: key.clone(),
                    operator: "In".into(),
                    values: Some(vec![value.clone()]),
                });
        }
    }
    owner::selector(&selector)
}

fn domain<'a>(node: &'a Node, topology: &str) -> Option<&'a str> {
    Some(node.metadata.labels.as_ref()?.get(topology)?.as_str())
}

/// What a decision needs to know about other pods.
pub(crate) struct Relations {
    affinity: Vec<Matcher>,
    /// Domains (per affinity term) that hold a matching pod.
    near: Vec<BTreeSet<String>>,
    /// No pod matches all affinity terms yet, and this one matches them itself: it may be the first of its group.
    may_be_first: bool,
    anti: Vec<Matcher>,
    far: Vec<BTreeSet<String>>,
    /// (topology, domain) that existing pods keep this one out of.
    refused: BTreeSet<(String, String)>,
    spread: Vec<Spread>,
    /// Preferred terms of both kinds, with their (signed) score per (topology, domain).
    preferred: HashMap<(String, String), i64>,
}

struct Spread {
    constraint: TopologySpreadConstraint,
    counts: BTreeMap<String, i32>,
    least: i32,
    own: i32,
}

impl Relations {
    pub(crate) fn new(pod: &Pod, cluster: &Cluster, namespaces: &Store<Namespace>) -> Self {
        let affinity_of = |pod: &Pod| {
            pod.spec
                .as_ref()
                .and_then(|spec| spec.affinity.clone())
                .unwrap_or_default()
        };
        let mine = affinity_of(pod);
        let matcher = |term: &PodAffinityTerm| Matcher::new(term, pod, namespaces);
        let together = mine.pod_affinity.unwrap_or_default();
        let apart = mine.pod_anti_affinity.unwrap_or_default();
        let required = |terms: Option<Vec<PodAffinityTerm>>| terms.iter().flatten().map(matcher).collect::<Vec<_>>();
        let affinity = required(together.required_during_scheduling_ignored_during_execution);
        let anti = required(apart.required_during_scheduling_ignored_during_execution);
        let weighted = together
            .preferred_during_scheduling_ignored_during_execution
            .into_iter()
            .flatten();
        let mut wishes: Vec<(i64, Matcher)> = weighted
            .map(|wish| (wish.weight.into(), matcher(&wish.pod_affinity_term)))
            .collect();
        let weighted = apart
            .preferred_during_scheduling_ignored_during_execution
            .into_iter()
            .flatten();
        wishes.extend(weighted.map(|wish| (-i64::from(wish.weight), matcher(&wish.pod_affinity_term))));

        let mut near = vec![BTreeSet::new(); affinity.len()];
        let mut far = vec![BTreeSet::new(); anti.len()];
        let mut refused = BTreeSet::new();
        let mut preferred: HashMap<(String, String), i64> = HashMap::new();
        for (_, node, host) in cluster.nodes() {
            for guest in host.pods.values() {
                let other = guest.pod.as_ref();
                if !affinity.is_empty() && affinity.iter().all(|term| term.matches(other)) {
                    for (term, domains) in affinity.iter().zip(&mut near) {
                        domains.extend(domain(node, &term.topology).map(str::to_string));
                    }
                }
                for (term, domains) in anti.iter().zip(&mut far) {
                    if term.matches(other) {
                        domains.extend(domain(node, &term.topology).map(str::to_string));
                    }
                }
                for (weight, wish) in &wishes {
                    if let Some(domain) = domain(node, &wish.topology).filter(|_| wish.matches(other)) {
                        *preferred
                            .entry((wish.topology.clone(), domain.to_string()))
                            .or_default() += weight;
                    }
                }
                let theirs = other
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.affinity.as_ref()?.pod_anti_affinity.as_ref());
                let terms = theirs.and_then(|anti| anti.required_during_scheduling_ignored_during_execution.as_ref());
                for term in terms.into_iter().flatten() {
                    let term = Matcher::new(term, other, namespaces);
                    if let Some(domain) = domain(node, &term.topology).filter(|_| term.matches(pod)) {
                        refused.insert((term.topology.clone(), domain.to_string()));
                    }
                }
            }
        }
        let may_be_first = near.iter().all(BTreeSet::is_empty) && affinity.iter().all(|term| term.matches(pod));
        Self {
            affinity,
            near,
            may_be_first,
            anti,
            far,
            refused,
            spread: spread(pod, cluster),
            preferred,
        }
    }

    /// Whether the pod may go to this node.
    pub(crate) fn check(&self, node: &Node) -> Result<(), Misfit> {
        for spread in &self.spread {
            let Some(domain) = domain(node, &spread.constraint.topology_key) else {
                let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Err(Misfit::lasting(reason));
            };
            let count = spread.counts.get(domain).copied().unwrap_or(0);
            if count + spread.own - spread.least > spread.constraint.max_skew {
                let reason = "node(s) didn't match pod topology spread constraints";
                return Err(Misfit::passing(vec![reason.into()]));
            }
        }
        let near = self.affinity.iter().zip(&self.near).all(|(term, domains)| {
            domain(node, &term.topology).is_some_and(|domain| self.may_be_first || domains.contains(domain))
        });
        if !near {
            return Err(Misfit::lasting("node(s) didn't match pod affinity rules"));
        }
        let close = self
            .anti
            .iter()
            .zip(&self.far)
            .any(|(term, domains)| domain(node, &term.topology).is_some_and(|domain| domains.contains(domain)));
        if close {
            return Err(Misfit::passing(vec![
                "node(s) didn't match pod anti-affinity rules".into(),
            ]));
        }
        let refused = self
            .refused
            .iter()
            .any(|(topology, value)| domain(node, topology) == Some(value));
        if refused {
            return Err(Misfit::passing(vec![
                "node(s) didn't satisfy existing pods anti-affinity rules".into(),
            ]));
        }
        Ok(())
    }

    /// How much the preferred terms speak for a node.
    pub(crate) fn preference(&self, node: &Node) -> i64 {
        let wishes = self.preferred.iter();
        let met = wishes.filter(|((topology, value), _)| domain(node, topology) == Some(value));
        met.map(|(_, weight)| weight).sum()
    }
}

/// Counts, per hard constraint, the matching pods of each domain that the pod could go to.
fn spread(pod: &Pod, cluster: &Cluster) -> Vec<Spread> {
    let constraints = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.topology_spread_constraints.clone());
    let hard = constraints
        .into_iter()
        .flatten()
        .filter(|c| c.when_unsatisfiable == "DoNotSchedule");
    hard.map(|constraint| {
        let keys = constraint.match_label_keys.as_deref().unwrap_or_default();
        let selector = constraint
            .label_selector
            .as_ref()
            .and_then(|selector| with_keys(selector, keys, pod));
        let matches = |other: &Pod| {
            selector
                .as_ref()
                .is_some_and(|selector| owner::matches(selector, &other.metadata))
        };
        let mut counts: BTreeMap<String, i32> = BTreeMap::new();
        for (_, node, host) in cluster
            .nodes()
            .filter(|(_, node, _)| filter::matches_affinity(pod, node))
        {
            let Some(domain) = domain(node, &constraint.topology_key) else {
                continue;
            };
            let same = host.pods.values().filter(|guest| {
                let other = &guest.pod.metadata;
                other.namespace == pod.metadata.namespace && other.deletion_timestamp.is_none() && matches(&guest.pod)
            });
            *counts.entry(domain.to_string()).or_default() += same.count() as i32;
        }
        let enough = i32::try_from(counts.len()).unwrap_or(i32::MAX) >= constraint.min_domains.unwrap_or(1);
        let least = if enough {
            counts.values().copied().min().unwrap_or(0)
        } else {
            0
        };
        Spread {
            least,
            own: i32::from(matches(pod)),
            counts,
            constraint,
        }
    })
    .collect()
}
