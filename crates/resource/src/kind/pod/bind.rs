//! The binding subresource: the scheduler's word on where a pod runs.

use crate::field::{Errors, Path};
use crate::json::{absent, blank, entries, items, object, set, text};
use crate::meta::stamp;
use crate::printer::name_of;
use crate::status::Status;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Assigns a pod to the node that a Binding names.
///
/// A pod is bound once: of two schedulers that choose at the same time, the second is told so.
pub fn bind(pod: &mut Value, binding: &Value, now: Timestamp) -> Result<(), Status> {
    let target = &binding["target"];
    let name = name_of(pod).to_owned();
    let mut errors = Errors::new();
    if !matches!(text(target, "kind"), "" | "Node") {
        let at = Path::new("target").child("kind");
        errors.not_supported(&at, text(target, "kind"), &["Node", "<empty>"]);
    }
    if blank(target, "name") {
        errors.required(&Path::new("target").child("name"), "");
    }
    if !errors.is_empty() {
        return Err(Status::invalid("", "Binding", &name, &errors.into_vec()));
    }
    let uid = text(&binding["metadata"], "uid");
    let refused = if !uid.is_empty() && pod["metadata"]["uid"] != uid {
        let mine = text(&pod["metadata"], "uid");
        Some(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {mine}"
        ))
    } else if !absent(&pod["metadata"], "deletionTimestamp") {
        Some(format!("pod {name} is being deleted, cannot be assigned to a host"))
    } else if !blank(&pod["spec"], "nodeName") {
        let node = text(&pod["spec"], "nodeName");
        Some(format!("pod {name} is already assigned to node {node:?}"))
    } else if !items(&pod["spec"]["schedulingGates"]).is_empty() {
        Some(format!("pod {name} has non-empty .spec.schedulingGates"))
    } else {
        None
    };
    if let Some(why) = refused {
        return Err(Status {
            code: 409,
            reason: "Conflict",
            message: format!("Operation cannot be fulfilled on pods/binding {name:?}: {why}"),
            details: json!({"name": name, "kind": "pods/binding"}),
        });
    }
    if let Some(spec) = object(pod, "spec") {
        set(spec, "nodeName", text(target, "name"));
    }
    if let Some(meta) = object(pod, "metadata")
        && entries(&binding["metadata"]["annotations"]).next().is_some()
        && let Some(annotations) = object(meta, "annotations")
    {
        for (key, value) in entries(&binding["metadata"]["annotations"]) {
            set(annotations, key, value.clone());
        }
    }
    scheduled(pod, now);
    Ok(())
}

/// Replaces the PodScheduled condition, which said why the pod waited.
fn scheduled(pod: &mut Value, now: Timestamp) {
    let Some(status) = object(pod, "status") else { return };
    let condition = json!({
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": stamp(now),
    });
    let mut conditions: Vec<Value> = items(&status["conditions"]).to_vec();
    match conditions.iter_mut().find(|c| c["type"] == "PodScheduled") {
        Some(old) if old["status"] == "True" => {}
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
    set(status, "conditions", conditions);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(node: &str) -> Value {
        json!({"metadata": {"name": "p", "annotations": {"by": "me"}}, "target": {"kind": "Node", "name": node}})
    }

    #[test]
    fn a_pod_is_bound_once() {
        let mut pod = json!({
            "metadata": {"name": "p"},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]},
        });
        bind(&mut pod, &binding("n"), Timestamp::UNIX_EPOCH).expect("free");
        assert_eq!(pod["spec"]["nodeName"], "n");
        assert_eq!(pod["metadata"]["annotations"], json!({"by": "me"}));
        assert_eq!(
            pod["status"]["conditions"],
            json!([{"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": "1970-01-01T00:00:00Z"}])
        );
        let failure = bind(&mut pod, &binding("m"), Timestamp::UNIX_EPOCH).expect_err("taken");
        assert_eq!(
            (failure.code, failure.message.as_str()),
            (
                409,
                "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n\""
            )
        );
    }

    #[test]
    fn some_pods_cannot_be_bound() {
        for (pod, node, why) in [
            (json!({"metadata": {"deletionTimestamp": "x"}}), "n", "is being deleted"),
            (
                json!({"spec": {"schedulingGates": [{"name": "g"}]}}),
                "n",
                "has non-empty .spec.schedulingGates",
            ),
            (json!({}), "", "target.name: Required value"),
        ] {
            let failure = bind(&mut pod.clone(), &binding(node), Timestamp::UNIX_EPOCH).expect_err(why);
            assert!(failure.message.contains(why), "{}", failure.message);
        }
    }
}
