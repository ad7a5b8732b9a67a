//! Revisions: numbering ReplicaSets, so that `kubectl rollout history` and `undo` can name them.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::ResourceExt;

pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(crate) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(crate) const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
/// Longest history of revision numbers kept on one set.
const HISTORY_LENGTH: usize = 2000;

/// Annotations that belong to one object and are not copied to the other.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
];

/// The revision number of a set; 0 when it has none.
pub(crate) fn of(set: &ReplicaSet) -> i64 {
    number(set.annotations(), REVISION).unwrap_or(0)
}

/// A number in an annotation.
pub(crate) fn number(annotations: &BTreeMap<String, String>, key: &str) -> Option<i64> {
    annotations.get(key)?.parse().ok()
}

/// Gives the set that runs the current template the deployment's annotations (the change cause among them) and the
/// highest revision. A set that is rolled back to keeps its earlier numbers as history.
pub(crate) fn annotate(set: &mut ReplicaSet, deployment: &Deployment, revision: i64) -> bool {
    let before = set.annotations().clone();
    for (key, value) in deployment.annotations() {
        if !NOT_COPIED.contains(&key.as_str()) {
            set.annotations_mut().insert(key.clone(), value.clone());
        }
    }
    let old = of(set);
    if old < revision {
        let annotations = set.annotations_mut();
        annotations.insert(REVISION.into(), revision.to_string());
        if old > 0 {
            let history = annotations.entry(HISTORY.into()).or_default();
            remember(history, old);
        }
    }
    *set.annotations() != before
}

fn remember(history: &mut String, revision: i64) {
    if !history.is_empty() {
        history.push(',');
    }
    history.push_str(&revision.to_string());
    while history.len() > HISTORY_LENGTH {
        match history.find(',') {
            Some(comma) => history.drain(..=comma),
            None => return,
        };
    }
}
