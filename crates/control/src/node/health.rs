//! Watches the heartbeats of nodes.
//!
//! A kubelet renews its Lease every ten seconds. When it has not done so for the grace period, nobody can say how the
//! node is: its conditions become `Unknown` and it is tainted, which keeps new pods away at once and evicts the present
//! ones once their tolerations have run out. What counts is when a renewal was *seen*, on this machine's clock: the
//! nodes' clocks may differ, and after a restart of the control plane every node gets a full period of grace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use serde_json::json;

use crate::caches::{Caches, NODE_LEASES};
use crate::controller::{Controller, Watches};
use crate::event::Note;
use crate::key::Key;
use crate::pod;
use crate::write::{Path, Plan, Write};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions besides `Ready` that a kubelet reports, and the taint of each.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// The node lifecycle controller.
pub(crate) struct NodeHealth {
    grace: Duration,
    seen: Mutex<HashMap<String, Sign>>,
}

/// The last sign of life of a node.
#[derive(Clone, PartialEq)]
struct Sign {
    renewal: Option<MicroTime>,
    heartbeat: Option<Time>,
    at: Timestamp,
}

impl NodeHealth {
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            grace,
            seen: Mutex::default(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<String, Sign>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the node has been silent. `None` when it is seen for the first time.
    fn silence(&self, node: &Node, caches: &Caches, now: Timestamp) -> Option<Duration> {
        let name = node.metadata.name.clone().unwrap_or_default();
        let lease = caches.node_leases.get(&Key::new(NODE_LEASES, &name));
        let fresh = Sign {
            renewal: lease.and_then(|lease| lease.spec.as_ref()?.renew_time.clone()),
            heartbeat: condition(node, "Ready").and_then(|ready| ready.last_heartbeat_time.clone()),
            at: now,
        };
        let mut seen = self.seen();
        let Some(sign) = seen.get_mut(&name) else {
            seen.insert(name, fresh);
            return None;
        };
        if sign.renewal != fresh.renewal || sign.heartbeat != fresh.heartbeat {
            *sign = fresh;
        }
        Some(Duration::try_from(now.duration_since(sign.at)).unwrap_or_default())
    }
}

impl Controller for NodeHealth {
    const NAME: &'static str = "node-controller";

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch.own::<Node>().read::<Pod>().on::<Lease>(|change, _| {
            let name = change.sides().last().and_then(|lease| lease.metadata.name.clone());
            name.map(|name| Key::new("", name)).into_iter().collect()
        });
    }

    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan {
        let Some(node) = caches.nodes.get(key) else {
            self.seen().remove(&key.name);
            return Plan::nothing();
        };
        let silence = self.silence(&node, caches, now);
        let is_new = silence.is_none();
        let silence = silence.unwrap_or_default();
        let lost = silence >= self.grace;
        let mut node = node.as_ref().clone();
        let mut plan = Plan {
            again: Some(self.grace.saturating_sub(silence)).filter(|_| !lost),
            ..Plan::default()
        };
        if is_new {
            let message = format!("Node {0} event: Registered Node {0} in Controller", key.name);
            plan.notes.push(Note::normal(&node, "RegisteredNode", message));
        }
        let was_ready = is_ready(&node);
        if lost {
            plan.writes.extend(give_up(&mut node, now));
        }
        let taints = taints(&node, now);
        if node
            .spec
            .as_ref()
            .and_then(|spec| spec.taints.clone())
            .unwrap_or_default()
            != taints
        {
            let patch = json!({ "spec": { "taints": if taints.is_empty() { None } else { Some(taints) } } });
            plan.writes
                .push(Write::merge(Path::named::<Node>(key), patch).fine_when_gone());
        }
        if !is_ready(&node) {
            if was_ready {
                let message = format!("Node {} status is now: NodeNotReady", key.name);
                plan.notes.push(Note::normal(&node, "NodeNotReady", message));
            }
            let pods = caches.pods.with_term(&format!("node/{}", key.name));
            for pod in pods.iter().filter(|pod| pod::is_ready(pod)) {
                plan.batch.push(unready(pod, now));
            }
        }
        plan
    }
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Marks every condition as unknown. Only what has changed is written.
fn give_up(node: &mut Node, now: Timestamp) -> Option<Write> {
    let kinds = ["Ready"]
        .into_iter()
        .chain(PRESSURES[..3].iter().map(|(kind, _)| *kind));
    let unknown = |kind: &str| {
        let known = condition(node, kind);
        if known.is_some_and(|known| known.status == "Unknown") {
            return None;
        }
        let (reason, message) = match known {
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        let heartbeat = known.map_or_else(
            || node.metadata.creation_timestamp.clone(),
            |c| c.last_heartbeat_time.clone(),
        );
        Some(NodeCondition {
            type_: kind.into(),
            status: "Unknown".into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_heartbeat_time: heartbeat,
            last_transition_time: Some(Time(now)),
        })
    };
    let changed: Vec<NodeCondition> = kinds.filter_map(unknown).collect();
    if changed.is_empty() {
        return None;
    }
    let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.retain(|condition| changed.iter().all(|changed| changed.type_ != condition.type_));
    conditions.extend(changed.iter().cloned());
    let patch = json!({ "status": { "conditions": changed } });
    Some(Write::strategic(Path::of(node).sub("status"), patch).fine_when_gone())
}

/// The taints the node should have: those that others set, and those that follow from its conditions.
fn taints(node: &Node, now: Timestamp) -> Vec<Taint> {
    let current = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let ready = condition(node, "Ready").map_or("Unknown", |ready| ready.status.as_str());
    let lost = condition(node, "Ready").is_some() && ready == "Unknown";
    if ready != "True" {
        let key = if lost { UNREACHABLE } else { NOT_READY };
        wanted.extend([(key, "NoSchedule"), (key, "NoExecute")]);
    }
    for (kind, key) in PRESSURES {
        if condition(node, kind).is_some_and(|pressure| pressure.status == "True") {
            wanted.push((key, "NoSchedule"));
        }
    }
    let managed = |key: &str| {
        [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&key) || PRESSURES.iter().any(|(_, taint)| *taint == key)
    };
    let mut taints: Vec<Taint> = current
        .iter()
        .filter(|taint| !managed(&taint.key) || wanted.contains(&(taint.key.as_str(), taint.effect.as_str())))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            taints.push(Taint {
                key: key.into(),
                effect: effect.into(),
                value: None,
                time_added: Some(Time(now)),
            });
        }
    }
    taints
}

/// Takes a pod out of service: nobody knows whether it still runs.
fn unready(pod: &Pod, now: Timestamp) -> Write {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let condition = json!({ "type": "Ready", "status": "False", "lastTransitionTime": now.to_string() });
    let patch = json!({ "status": { "conditions": [condition] } });
    Write::strategic(Path::of(pod).sub("status"), patch)
        .on_success(Note::warning(pod, "NodeNotReady", "Node is not ready".into()))
        .fine_when_gone()
}
