//! Removes pods that no kubelet will remove: those of nodes that no longer exist, those that were deleted before they
//! had a node, and the oldest finished ones when there are too many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;

use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::key::Key;
use crate::pod;
use crate::write::{Path, Plan, Write};

/// A node may come back, or its pods may be seen before it is.
const QUARANTINE: Duration = Duration::from_secs(40);

/// The pod garbage collector. Keys are pods; the empty key stands for the number of finished ones.
pub(crate) struct PodCollector {
    /// Most finished pods that are kept.
    most: usize,
    /// When a node was first found missing.
    missing: Mutex<HashMap<String, Timestamp>>,
}

impl PodCollector {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            missing: Mutex::default(),
        }
    }
}

impl Controller for PodCollector {
    const NAME: &'static str = "pod-garbage-collector-controller";
    const ACCOUNT: Option<&'static str> = Some("pod-garbage-collector");

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        let most = self.most;
        watch
            .on::<Pod>(move |change, caches| {
                let Some(pod) = &change.new else { return Vec::new() };
                let homeless = pod::node(pod).is_none_or(|node| caches.nodes.named(node).is_none());
                let mut keys = Vec::new();
                if homeless {
                    keys.push(Key::of(pod.as_ref()));
                }
                if pod::is_terminal(pod) && caches.pods.len() > most {
                    keys.push(Key::default());
                }
                keys
            })
            .on::<Node>(|change, caches| {
                let Some(gone) = change.old.as_ref().filter(|_| change.new.is_none()) else {
                    return Vec::new();
                };
                let name = gone.metadata.name.as_deref().unwrap_or_default();
                let pods = caches.pods.with_term(&format!("node/{name}"));
                pods.iter().map(|pod| Key::of(pod.as_ref())).collect()
            });
    }

    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan {
        if *key == Key::default() {
            return too_many(caches, self.most);
        }
        let Some(pod) = caches.pods.get(key) else {
            return Plan::nothing();
        };
        let Some(node) = pod::node(&pod) else {
            let leaving = pod.metadata.deletion_timestamp.is_some();
            return Plan::of(
                leaving
                    .then(|| Write::delete(pod.as_ref()).at_once())
                    .into_iter()
                    .collect(),
            );
        };
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if caches.nodes.named(node).is_some() {
            missing.remove(node);
            return Plan::nothing();
        }
        let since = *missing.entry(node.to_string()).or_insert(now);
        let left = QUARANTINE.saturating_sub(Duration::try_from(now.duration_since(since)).unwrap_or_default());
        if !left.is_zero() {
            return Plan {
                again: Some(left),
                ..Plan::default()
            };
        }
        Plan::of(bury(&pod, now))
    }
}

fn bury(pod: &Pod, now: Timestamp) -> Vec<Write> {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let mut writes = Vec::new();
    if !pod::is_terminal(pod) {
        let patch = json!({ "status": { "phase": "Failed", "conditions": [{
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists",
            "lastTransitionTime": now.to_string(),
        }]}});
        writes.push(Write::strategic(Path::of(pod).sub("status"), patch).fine_when_gone());
    }
    writes.push(Write::delete(pod).at_once());
    writes
}

fn too_many(caches: &Caches, most: usize) -> Plan {
    let mut finished: Vec<Arc<Pod>> = caches
        .pods
        .all()
        .into_iter()
        .filter(|pod| pod::is_terminal(pod))
        .collect();
    let surplus = finished.len().saturating_sub(most);
    finished.sort_by_key(|pod| {
        (
            pod.metadata.creation_timestamp.clone().map(|time| time.0),
            Key::of(pod.as_ref()),
        )
    });
    let oldest = finished.iter().take(surplus);
    Plan {
        batch: oldest.map(|pod| Write::delete(pod.as_ref()).at_once()).collect(),
        ..Plan::default()
    }
}

#[cfg(test)]
mod tests;
