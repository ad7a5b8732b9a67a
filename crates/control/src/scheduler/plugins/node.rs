//! What a node says about itself: cordons, taints, labels.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    Node, NodeAffinity as Affinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, Toleration,
};

use crate::scheduler::events::ClusterEvent;
use crate::scheduler::framework::{Cluster, Filter, Plugin, Score, Unschedulable, normalize};
use crate::scheduler::types::{NodeInfo, PodInfo};

fn tolerations(pod: &Pod) -> &[Toleration] {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref());
    tolerations.unwrap_or_default()
}

fn tolerated(pod: &Pod, taint: &Taint) -> bool {
    tolerations(pod).iter().any(|toleration| tolerates(toleration, taint))
}

fn taints(node: &NodeInfo) -> impl Iterator<Item = &Taint> {
    let spec = node.node.as_ref().and_then(|node| node.spec.as_ref());
    spec.into_iter().flat_map(|spec| spec.taints.iter().flatten())
}

/// Whether a toleration covers a taint.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if !(effect.is_empty() || effect == taint.effect) || !(key.is_empty() || key == taint.key) {
        return false;
    }
    let (ours, theirs) = (
        toleration.value.as_deref().unwrap_or_default(),
        taint.value.as_deref().unwrap_or_default(),
    );
    let numbers = || Some((theirs.parse::<i64>().ok()?, ours.parse::<i64>().ok()?));
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        Some("Equal" | "") | None => !key.is_empty() && ours == theirs,
        Some("Gt") => numbers().is_some_and(|(theirs, ours)| theirs > ours),
        Some("Lt") => numbers().is_some_and(|(theirs, ours)| theirs < ours),
        _ => false,
    }
}

/// Keeps pods from nodes that are cordoned.
pub(super) struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn events(&self) -> ClusterEvent {
        ClusterEvent::NODE_ADD.or(ClusterEvent::NODE_TAINT)
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, _cluster: Cluster<'a>) -> Option<Box<dyn Filter + 'a>> {
        let cordon = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            effect: "NoSchedule".into(),
            ..Taint::default()
        };
        (!tolerated(&pod.pod, &cordon)).then(|| Box::new(Uncordoned) as Box<dyn Filter>)
    }
}

struct Uncordoned;

impl Filter for Uncordoned {
    fn filter(&self, node: &NodeInfo) -> Result<(), Unschedulable> {
        let spec = node.node.as_ref().and_then(|node| node.spec.as_ref());
        match spec.and_then(|spec| spec.unschedulable) {
            Some(true) => Err(Unschedulable::unresolvable("node(s) were unschedulable")),
            _ => Ok(()),
        }
    }
}

/// Keeps pods from nodes whose taints they do not tolerate.
pub(super) struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn events(&self) -> ClusterEvent {
        ClusterEvent::NODE_ADD.or(ClusterEvent::NODE_TAINT)
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, _cluster: Cluster<'a>) -> Option<Box<dyn Filter + 'a>> {
        Some(Box::new(Tolerations(&pod.pod)))
    }

    fn pre_score<'a>(&self, pod: &'a PodInfo, _: Cluster<'a>, nodes: &[&NodeInfo]) -> Option<Box<dyn Score + 'a>> {
        let soft = nodes.iter().any(|node| taints(node).any(is_soft));
        soft.then(|| Box::new(Tolerations(&pod.pod)) as Box<dyn Score>)
    }

    fn weight(&self) -> i64 {
        3
    }
}

struct Tolerations<'a>(&'a Pod);

fn is_soft(taint: &Taint) -> bool {
    taint.effect == "PreferNoSchedule"
}

impl Filter for Tolerations<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Unschedulable> {
        let mut hard = taints(node).filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
        match hard.any(|taint| !tolerated(self.0, taint)) {
            true => Err(Unschedulable::unresolvable("node(s) had untolerated taint(s)")),
            false => Ok(()),
        }
    }
}

impl Score for Tolerations<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        taints(node)
            .filter(|taint| is_soft(taint) && !tolerated(self.0, taint))
            .count() as i64
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize(scores, true);
    }
}

/// `nodeSelector` and `nodeAffinity`.
pub(super) struct NodeAffinity;

fn affinity(pod: &Pod) -> Option<&Affinity> {
    pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()
}

fn required(pod: &Pod) -> Option<&NodeSelector> {
    affinity(pod)?
        .required_during_scheduling_ignored_during_execution
        .as_ref()
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn events(&self) -> ClusterEvent {
        ClusterEvent::NODE_ADD.or(ClusterEvent::NODE_LABEL)
    }

    /// The pods of a DaemonSet name their node in each term.
    fn nodes(&self, pod: &PodInfo) -> Option<BTreeSet<String>> {
        let terms = &required(&pod.pod)?.node_selector_terms;
        let mut named = BTreeSet::new();
        for term in terms {
            let mut fields = term.match_fields.iter().flatten();
            let field = fields.find(|field| field.key == "metadata.name" && field.operator == "In")?;
            named.extend(field.values.iter().flatten().cloned());
        }
        (!terms.is_empty()).then_some(named)
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, _cluster: Cluster<'a>) -> Option<Box<dyn Filter + 'a>> {
        let selects = pod.pod.spec.as_ref().is_some_and(|spec| spec.node_selector.is_some());
        (selects || required(&pod.pod).is_some()).then(|| Box::new(Required(&pod.pod)) as Box<dyn Filter>)
    }

    fn pre_score<'a>(&self, pod: &'a PodInfo, _: Cluster<'a>, _nodes: &[&NodeInfo]) -> Option<Box<dyn Score + 'a>> {
        let preferred = affinity(&pod.pod)?
            .preferred_during_scheduling_ignored_during_execution
            .as_ref()?;
        (!preferred.is_empty()).then(|| Box::new(Preferred(affinity(&pod.pod))) as Box<dyn Score>)
    }

    fn weight(&self) -> i64 {
        2
    }
}

struct Required<'a>(&'a Pod);

impl Filter for Required<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Unschedulable> {
        match node.node.as_deref().is_some_and(|node| matches_affinity(self.0, node)) {
            true => Ok(()),
            false => Err(Unschedulable::unresolvable(
                "node(s) didn't match Pod's node affinity/selector",
            )),
        }
    }
}

struct Preferred<'a>(Option<&'a Affinity>);

impl Score for Preferred<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let Some(node) = &node.node else { return 0 };
        let terms = self
            .0
            .and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref());
        let met = terms
            .into_iter()
            .flatten()
            .filter(|term| matches_term(&term.preference, node));
        met.map(|term| i64::from(term.weight)).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize(scores, false);
    }
}

/// `nodeSelector` and the required node affinity.
pub(crate) fn matches_affinity(pod: &Pod, node: &Node) -> bool {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&NONE);
    let selected = pod.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
    selected
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value))
        && required(pod).is_none_or(|selector| matches_selector(selector, node))
}

/// One of the terms matches.
pub(crate) fn matches_selector(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| matches_term(term, node))
}

/// All requirements of a term hold. A term without any matches nothing.
fn matches_term(term: &NodeSelectorTerm, node: &Node) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    let label = |key: &str| Some(node.metadata.labels.as_ref()?.get(key)?.as_str());
    let field = |key: &str| node.metadata.name.as_deref().filter(|_| key == "metadata.name");
    labels
        .iter()
        .all(|requirement| holds(requirement, label(&requirement.key)))
        && fields
            .iter()
            .all(|requirement| holds(requirement, field(&requirement.key)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let among = |value: &str| values.iter().any(|candidate| candidate == value);
    let compared = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(among),
        "NotIn" => !value.is_some_and(among),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared().is_some_and(|(value, bound)| value > bound),
        "Lt" => compared().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}
