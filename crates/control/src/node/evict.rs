//! Evicts pods from nodes with a `NoExecute` taint, each after the time that its tolerations give it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use serde_json::json;

use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::event::Note;
use crate::key::Key;
use crate::pod;
use crate::scheduler::tolerates;
use crate::write::{Path, Plan, Write};

/// The taint eviction controller. Keys are pods.
pub(crate) struct TaintEviction;

impl Controller for TaintEviction {
    const NAME: &'static str = "taint-eviction-controller";
    const ACCOUNT: Option<&'static str> = Some("node-controller");

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch
            .on::<Pod>(|change, caches| {
                let placed = change.new.as_ref().filter(|pod| is_concerned(pod, caches));
                placed.map(|pod| Key::of(pod.as_ref())).into_iter().collect()
            })
            .on::<Node>(|change, caches| {
                let taints = |node: &Option<Arc<Node>>| node.as_ref().map(|node| expelling(node)).unwrap_or_default();
                if taints(&change.old) == taints(&change.new) {
                    return Vec::new();
                }
                let name = change
                    .sides()
                    .last()
                    .and_then(|node| node.metadata.name.clone())
                    .unwrap_or_default();
                let pods = caches.pods.with_term(&format!("node/{name}"));
                pods.iter().map(|pod| Key::of(pod.as_ref())).collect()
            });
    }

    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan {
        let Some(pod) = caches.pods.get(key).filter(|pod| pod::is_active(pod)) else {
            return Plan::nothing();
        };
        let node = pod::node(&pod).and_then(|node| caches.nodes.named(node));
        let taints = node.map(|node| expelling(&node)).unwrap_or_default();
        let tolerations = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.tolerations.as_deref())
            .unwrap_or_default();
        let mut due: Option<Timestamp> = None;
        for taint in &taints {
            let used: Vec<_> = tolerations
                .iter()
                .filter(|toleration| tolerates(toleration, taint))
                .collect();
            let limit = if used.is_empty() {
                Some(now)
            } else {
                // Of several tolerations the shortest counts; none with a limit means forever.
                let seconds = used.iter().filter_map(|toleration| toleration.toleration_seconds).min();
                let since = taint.time_added.as_ref().map_or(now, |time| time.0);
                seconds.and_then(|seconds| since.checked_add(jiff::SignedDuration::from_secs(seconds.max(0))).ok())
            };
            due = [due, limit].into_iter().flatten().min();
        }
        match due {
            None => Plan::nothing(),
            Some(due) if due > now => Plan {
                again: Some(Duration::try_from(due.duration_since(now)).unwrap_or_default()),
                ..Plan::default()
            },
            Some(_) => evict(&pod, now),
        }
    }
}

fn is_concerned(pod: &Pod, caches: &Caches) -> bool {
    let node = pod::node(pod).and_then(|node| caches.nodes.named(node));
    node.is_some_and(|node| !expelling(&node).is_empty())
}

fn expelling(node: &Node) -> Vec<Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

fn evict(pod: &Pod, now: Timestamp) -> Plan {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let patch = json!({ "status": { "conditions": [{
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
        "lastTransitionTime": now.to_string(),
    }]}});
    let message = format!("Marking for deletion Pod {}", Key::of(pod));
    Plan {
        notes: vec![Note::normal(pod, "TaintManagerEviction", message)],
        writes: vec![
            Write::strategic(Path::of(pod).sub("status"), patch).fine_when_gone(),
            Write::delete(pod),
        ],
        ..Plan::default()
    }
}
