//! Rules nodes out for a pod.
//!
//! Each rule says why in the words that users know from `kubectl describe pod`. Rules run in a fixed order and the
//! first that fails speaks for the node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, Toleration,
};

use super::cluster::Host;
use super::demand::Demand;

/// Why a node does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) reasons: Vec<String>,
    /// Evicting pods from the node could help.
    pub(crate) preemptible: bool,
}

impl Misfit {
    pub(crate) fn lasting(reason: &str) -> Self {
        Self {
            reasons: vec![reason.into()],
            preemptible: false,
        }
    }

    pub(crate) fn passing(reasons: Vec<String>) -> Self {
        Self {
            reasons,
            preemptible: true,
        }
    }
}

/// The rules that look at one node alone.
pub(crate) fn alone(pod: &Pod, demand: &Demand, node: &Node, host: &Host) -> Result<(), Misfit> {
    let tolerations = tolerations(pod);
    let spec = node.spec.as_ref();
    if spec.and_then(|spec| spec.unschedulable) == Some(true) {
        let cordon = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            effect: "NoSchedule".into(),
            ..Taint::default()
        };
        if !tolerations.iter().any(|toleration| tolerates(toleration, &cordon)) {
            return Err(Misfit::lasting("node(s) were unschedulable"));
        }
    }
    let hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    let mut taints = spec.iter().flat_map(|spec| spec.taints.iter().flatten()).filter(hard);
    if taints.any(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint))) {
        return Err(Misfit::lasting("node(s) had untolerated taint(s)"));
    }
    if !matches_affinity(pod, node) {
        return Err(Misfit::lasting("node(s) didn't match Pod's node affinity/selector"));
    }
    let taken = host.pods.values().flat_map(|guest| &guest.demand.host_ports);
    if demand
        .host_ports
        .iter()
        .any(|ours| taken.clone().any(|theirs| collide(ours, theirs)))
    {
        let reason = "node(s) didn't have free ports for the requested pod ports";
        return Err(Misfit::passing(vec![reason.into()]));
    }
    let missing = insufficient(demand, host);
    if !missing.is_empty() {
        // More than the whole node has: no eviction helps.
        let beyond = demand
            .exact
            .0
            .iter()
            .any(|(name, amount)| *amount > host.allocatable.get(name));
        return Err(Misfit {
            reasons: missing,
            preemptible: !beyond,
        });
    }
    Ok(())
}

fn tolerations(pod: &Pod) -> &[Toleration] {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref());
    tolerations.unwrap_or_default()
}

/// Whether a toleration covers a taint.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if !(effect.is_empty() || effect == taint.effect) || !(key.is_empty() || key == taint.key) {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        Some("Equal" | "") | None => {
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    }
}

/// `nodeSelector` and the required node affinity.
pub(crate) fn matches_affinity(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = &pod.spec else { return true };
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&NONE);
    let selected = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|selector| matches_selector(selector, node))
}

fn matches_selector(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| matches_term(term, node))
}

/// All requirements of a term hold. A term without any matches nothing.
pub(crate) fn matches_term(term: &NodeSelectorTerm, node: &Node) -> bool {
    let labels = term.match_expressions.iter().flatten();
    let fields = term.match_fields.iter().flatten();
    if labels.clone().next().is_none() && fields.clone().next().is_none() {
        return false;
    }
    let label = |key: &str| Some(node.metadata.labels.as_ref()?.get(key)?.as_str());
    let field = |key: &str| node.metadata.name.as_deref().filter(|_| key == "metadata.name");
    labels
        .into_iter()
        .all(|requirement| holds(requirement, label(&requirement.key)))
        && fields
            .into_iter()
            .all(|requirement| holds(requirement, field(&requirement.key)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let among = |value: &str| values.iter().any(|candidate| candidate == value);
    let number = |text: &str| text.parse::<i64>().ok();
    let bound = values.first().and_then(|bound| number(bound));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(among),
        "NotIn" => !value.is_some_and(among),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => value
            .and_then(number)
            .zip(bound)
            .is_some_and(|(value, bound)| value > bound),
        "Lt" => value
            .and_then(number)
            .zip(bound)
            .is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

fn collide(a: &(String, String, i32), b: &(String, String, i32)) -> bool {
    let wildcard = |ip: &str| ip == "0.0.0.0" || ip == "::";
    a.0 == b.0 && a.2 == b.2 && (a.1 == b.1 || wildcard(&a.1) || wildcard(&b.1))
}

fn insufficient(demand: &Demand, host: &Host) -> Vec<String> {
    let mut missing = Vec::new();
    let pods = i64::try_from(host.pods.len()).unwrap_or(i64::MAX);
    if host.allocatable.0.get("pods").is_some_and(|most| pods + 1 > *most) {
        missing.push("Too many pods".to_string());
    }
    for (name, amount) in &demand.exact.0 {
        let free = host.allocatable.get(name).saturating_sub(host.used.get(name));
        if *amount > 0 && *amount > free {
            missing.push(format!("Insufficient {name}"));
        }
    }
    missing
}
