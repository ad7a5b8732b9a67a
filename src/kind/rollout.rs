//! Rollouts: the revisions of a workload, and what the controllers keep of them.

use jiff::Timestamp;
use serde_json::Value;

use super::field::{int, items, text, time};
use super::{Related, pod_selector, template};
use crate::cluster::Resource;

/// The annotation that numbers the ReplicaSets of a Deployment.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// The annotation that says why a revision was made.
const CAUSE: &str = "kubernetes.io/change-cause";

/// A pod template that a workload has, or had.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Its number: the larger, the later.
    pub number: i64,
    /// The name of the ReplicaSet or ControllerRevision that keeps it.
    pub name: String,
    /// When that was made.
    pub made: Option<Timestamp>,
    /// Why it was made, where somebody said so.
    pub cause: String,
    /// The pod template.
    pub template: Value,
    /// Whether the workload has it now.
    pub current: bool,
}

/// What keeps the revisions of a workload; `None` for a kind that has none.
pub fn keepers(resource: &Resource, object: &Value) -> Option<Related> {
    let plural = match (&*resource.group, &*resource.plural) {
        ("apps", "deployments") => "replicasets",
        ("apps", "statefulsets" | "daemonsets") => "controllerrevisions",
        _ => return None,
    };
    Some(Related::new("apps", plural, &object["metadata"]["namespace"]).labels(pod_selector(object)))
}

/// Whether `object` is controlled by `owner`.
pub(super) fn owns(owner: &Value, object: &Value) -> bool {
    items(&object["metadata"]["ownerReferences"])
        .iter()
        .any(|reference| reference["controller"] == true && reference["uid"] == owner["metadata"]["uid"])
}

/// The revisions of a workload, the latest first, from the ReplicaSets or ControllerRevisions that keep them.
pub fn revisions(workload: &Value, keepers: &[Value]) -> Vec<Revision> {
    let now = template::own(workload);
    let mut all: Vec<Revision> = keepers
        .iter()
        .filter(|keeper| owns(workload, keeper))
        .map(|keeper| revision(keeper, &now))
        .collect();
    all.sort_by_key(|revision| std::cmp::Reverse((revision.number, revision.made)));
    // Two may have the same template, when one was made again: the later one is meant.
    let mut found = false;
    for revision in &mut all {
        revision.current &= !found;
        found |= revision.current;
    }
    all
}

fn revision(keeper: &Value, now: &Value) -> Revision {
    let metadata = &keeper["metadata"];
    let (number, template) = if keeper["spec"].is_object() {
        let number = text(&metadata["annotations"][REVISION]).parse().unwrap_or_default();
        (number, template::own(keeper))
    } else {
        let mut template = keeper["data"]["spec"]["template"].clone();
        if let Some(map) = template.as_object_mut() {
            map.shift_remove("$patch");
        }
        (int(&keeper["revision"]), template)
    };
    Revision {
        number,
        name: text(&metadata["name"]).to_owned(),
        made: time(&metadata["creationTimestamp"]),
        cause: text(&metadata["annotations"][CAUSE]).to_owned(),
        current: template == *now,
        template,
    }
}

/// How far a rollout is, in one sentence, and whether it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Every pod is of the present template, and available.
    Complete(String),
    /// On its way.
    Rolling(String),
    /// Held by the user.
    Paused(String),
    /// It does not go on by itself.
    Stalled(String),
}

/// How far the rollout of a workload is, worded as `kubectl rollout status` words it.
pub fn standing(plural: &str, object: &Value) -> Standing {
    let (spec, status) = (&object["spec"], &object["status"]);
    let name = text(&object["metadata"]["name"]);
    if int(&status["observedGeneration"]) < int(&object["metadata"]["generation"]) {
        return Standing::Rolling("Waiting for the last change to be observed".into());
    }
    match plural {
        "daemonsets" => daemon_set(name, spec, status),
        "statefulsets" => stateful_set(name, spec, status),
        _ => deployment(name, spec, status),
    }
}

fn deployment(name: &str, spec: &Value, status: &Value) -> Standing {
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    let (updated, total, available) = (
        int(&status["updatedReplicas"]),
        int(&status["replicas"]),
        int(&status["availableReplicas"]),
    );
    let far = if updated < wanted {
        format!("{updated} out of {wanted} new replicas have been updated")
    } else if total > updated {
        format!("{} old replicas are pending termination", total - updated)
    } else if available < updated {
        format!("{available} of {updated} updated replicas are available")
    } else {
        return Standing::Complete(format!("deployment {name:?} successfully rolled out"));
    };
    let progressing = super::field::by(&status["conditions"], "type", "Progressing").unwrap_or(&Value::Null);
    if progressing["reason"] == "ProgressDeadlineExceeded" {
        return Standing::Stalled(format!("{far}: exceeded its progress deadline"));
    }
    let failure = super::field::by(&status["conditions"], "type", "ReplicaFailure");
    if let Some(failure) = failure.filter(|failure| failure["status"] == "True") {
        return Standing::Stalled(format!("{far}: {}", text(&failure["message"])));
    }
    if spec["paused"] == true {
        return Standing::Paused(format!("{far}: paused"));
    }
    Standing::Rolling(far)
}

fn stateful_set(name: &str, spec: &Value, status: &Value) -> Standing {
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    let updated = int(&status["updatedReplicas"]);
    if spec["updateStrategy"]["type"] == "OnDelete" {
        return Standing::Complete("pods take over a new template when they are deleted (OnDelete)".into());
    }
    let ready = int(&status["readyReplicas"]);
    if ready < wanted {
        return Standing::Rolling(format!("Waiting for {} pods to be ready", wanted - ready));
    }
    let partition = int(&spec["updateStrategy"]["rollingUpdate"]["partition"]);
    if partition > 0 {
        let due = (wanted - partition).max(0);
        return if updated < due {
            Standing::Rolling(format!(
                "{updated} out of {due} new pods have been updated (partition {partition})"
            ))
        } else {
            Standing::Complete(format!(
                "partitioned roll out complete: {updated} new pods have been updated"
            ))
        };
    }
    if status["updateRevision"] != status["currentRevision"] {
        return Standing::Rolling(format!(
            "{updated} pods at revision {}",
            text(&status["updateRevision"])
        ));
    }
    Standing::Complete(format!(
        "statefulset {name:?} rolled out: {} pods at revision {}",
        int(&status["currentReplicas"]),
        text(&status["currentRevision"])
    ))
}

fn daemon_set(name: &str, spec: &Value, status: &Value) -> Standing {
    if spec["updateStrategy"]["type"] == "OnDelete" {
        return Standing::Complete("pods take over a new template when they are deleted (OnDelete)".into());
    }
    let (wanted, updated, available) = (
        int(&status["desiredNumberScheduled"]),
        int(&status["updatedNumberScheduled"]),
        int(&status["numberAvailable"]),
    );
    if updated < wanted {
        Standing::Rolling(format!("{updated} out of {wanted} new pods have been updated"))
    } else if available < wanted {
        Standing::Rolling(format!("{available} of {wanted} updated pods are available"))
    } else {
        Standing::Complete(format!("daemon set {name:?} successfully rolled out"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(name: &str, revision: &str, image: &str, owner: &str) -> Value {
        json!({
            "metadata": {
                "name": name,
                "annotations": {REVISION: revision},
                "ownerReferences": [{"controller": true, "uid": owner}],
            },
            "spec": {"template": {"metadata": {"labels": {"app": "web", "pod-template-hash": name}}, "spec": {"image": image}}},
        })
    }

    #[test]
    fn revisions_are_those_of_the_owner_the_latest_first_and_one_is_current() {
        let workload = json!({
            "metadata": {"uid": "d"},
            "spec": {"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"image": "two"}}},
        });
        let sets = [
            set("a", "1", "one", "d"),
            set("c", "10", "two", "d"),
            set("b", "2", "two", "d"),
            set("x", "11", "two", "other"),
        ];
        let all = revisions(&workload, &sets);
        let told: Vec<_> = all.iter().map(|one| (one.number, &*one.name, one.current)).collect();
        assert_eq!(told, [(10, "c", true), (2, "b", false), (1, "a", false)]);
    }

    #[test]
    fn a_controller_revision_holds_a_template_without_the_marks_of_a_patch() {
        let workload = json!({"metadata": {"uid": "s"}, "spec": {"template": {"spec": {"image": "one"}}}});
        let kept = json!({
            "metadata": {"name": "s-1", "ownerReferences": [{"controller": true, "uid": "s"}]},
            "revision": 4,
            "data": {"spec": {"template": {"$patch": "replace", "spec": {"image": "one"}}}},
        });
        let all = revisions(&workload, &[kept]);
        assert_eq!((all[0].number, all[0].current), (4, true));
    }

    #[test]
    fn standing_tells_what_a_rollout_waits_for() {
        let deployment = |status: Value, paused: bool| {
            json!({
                "metadata": {"name": "web", "generation": 2},
                "spec": {"replicas": 3, "paused": paused}, "status": status,
            })
        };
        let cases = [
            (json!({"observedGeneration": 1}), "observed"),
            (
                json!({"observedGeneration": 2, "updatedReplicas": 1, "replicas": 4}),
                "1 out of 3 new replicas",
            ),
            (
                json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 4}),
                "1 old replicas",
            ),
            (
                json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 2}),
                "2 of 3 updated replicas",
            ),
        ];
        for (status, expected) in cases {
            let Standing::Rolling(said) = standing("deployments", &deployment(status, false)) else {
                panic!("{expected}");
            };
            assert!(said.contains(expected), "{said}");
        }
        let late = json!({
            "observedGeneration": 2, "updatedReplicas": 1, "replicas": 4,
            "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}],
        });
        assert!(matches!(
            standing("deployments", &deployment(late, false)),
            Standing::Stalled(_)
        ));
        let held = json!({"observedGeneration": 2, "updatedReplicas": 1, "replicas": 4});
        assert!(matches!(
            standing("deployments", &deployment(held, true)),
            Standing::Paused(_)
        ));
    }
}
