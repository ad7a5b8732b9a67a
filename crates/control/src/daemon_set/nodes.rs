//! Which nodes a daemon suits, and how its pods are tied to them.

use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodTemplateSpec, Taint,
    Toleration,
};
use kube::ResourceExt;

use crate::pod;
use crate::scheduler::plugins::node::{matches_affinity, tolerates};

const NAME_FIELD: &str = "metadata.name";
/// What happens to a node that a daemon stays on all the same.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NO_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What a node is to a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fitness {
    /// It should run there.
    Runs,
    /// It is not started there, but may go on.
    Stays,
    /// It has no business there.
    Leaves,
}

/// What a node is to the pods of a template.
pub(super) fn fitness(template: &PodTemplateSpec, node: &Node) -> Fitness {
    let mut pod = Pod {
        spec: template.spec.clone(),
        ..Pod::default()
    };
    let wanted = pod::node(&pod).is_none_or(|name| name == node.name_any());
    if !wanted || !matches_affinity(&pod, node) {
        return Fitness::Leaves;
    }
    pin(&mut pod, &node.name_any());
    let tolerations = pod.spec.and_then(|spec| spec.tolerations).unwrap_or_default();
    let refused = |effects: &[&str]| {
        let mut taints = taints(node).into_iter();
        taints.any(|taint| {
            effects.contains(&taint.effect.as_str())
                && !tolerations.iter().any(|toleration| tolerates(toleration, &taint))
        })
    };
    match (refused(&["NoSchedule", "NoExecute"]), refused(&["NoExecute"])) {
        (false, _) => Fitness::Runs,
        (true, false) => Fitness::Stays,
        (true, true) => Fitness::Leaves,
    }
}

fn taints(node: &Node) -> Vec<Taint> {
    node.spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default()
}

/// The node a pod is on, or is made for.
pub(super) fn target(pod: &Pod) -> Option<&str> {
    if let Some(node) = pod::node(pod) {
        return Some(node);
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?
        .node_selector_terms;
    let fields = terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let mut names = fields.filter(|field| field.key == NAME_FIELD && field.operator == "In");
    names.next()?.values.as_ref()?.first().map(String::as_str)
}

/// Ties a pod to a node, whatever befalls that.
pub(super) fn pin(pod: &mut Pod, node: &str) {
    let Some(spec) = &mut pod.spec else { return };
    let name = NodeSelectorRequirement {
        key: NAME_FIELD.into(),
        operator: "In".into(),
        values: Some(vec![node.to_owned()]),
    };
    let affinity: &mut NodeAffinity = spec
        .affinity
        .get_or_insert_with(Affinity::default)
        .node_affinity
        .get_or_insert_default();
    // The terms of the template have been looked at already: the node matches one of them.
    affinity.required_during_scheduling_ignored_during_execution = Some(NodeSelector {
        node_selector_terms: vec![NodeSelectorTerm {
            match_fields: Some(vec![name]),
            ..NodeSelectorTerm::default()
        }],
    });
    let host_network = spec.host_network == Some(true);
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in TOLERATED.into_iter().chain(host_network.then_some(NO_NETWORK)) {
        let toleration = Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Toleration::default()
        };
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
}
