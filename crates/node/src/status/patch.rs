//! Sending a status: a strategic merge patch of the status subresource, bound to the pod's UID.
//!
//! A patch cannot conflict with other writers of the pod, and conditions that others own are merged by their type. The UID
//! in it makes it fail when the pod has been replaced by another of the same name.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// The patch from one to the other; `None` when there is no difference.
pub(super) fn diff(old: &PodStatus, new: &PodStatus) -> Option<Value> {
    let object = |status: &PodStatus| match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let (old, new) = (object(old), object(new));
    let mut patch = Map::new();
    for (field, value) in &new {
        if old.get(field) == Some(value) {
            continue;
        }
        match field.as_str() {
            "conditions" => conditions(&mut patch, old.get(field), value),
            "podIPs" | "hostIPs" => {
                let list = [
                    vec![json!({ "$patch": "replace" })],
                    value.as_array().cloned().unwrap_or_default(),
                ]
                .concat();
                patch.insert(field.clone(), Value::Array(list));
            }
            _ => {
                patch.insert(field.clone(), value.clone());
            }
        }
    }
    // Fields of ours that have no value any more; those of others (nominatedNodeName) stay.
    for field in ["reason", "message", "podIP", "podIPs"] {
        if old.contains_key(field) && !new.contains_key(field) {
            patch.insert(field.to_owned(), Value::Null);
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Of our conditions those that differ, merged by type, and the order of ours. Those of others are theirs to write.
fn conditions(patch: &mut Map<String, Value>, old: Option<&Value>, new: &Value) {
    let ours = |list: Option<&Value>| {
        let list = list.and_then(Value::as_array).into_iter().flatten();
        let own = |condition: &&Value| condition["type"].as_str().is_some_and(super::condition::own);
        list.filter(own).cloned().collect::<Vec<_>>()
    };
    let (old, new) = (ours(old), ours(Some(new)));
    if old == new {
        return;
    }
    let order: Vec<Value> = new
        .iter()
        .map(|condition| json!({ "type": condition["type"] }))
        .collect();
    let changed = new
        .into_iter()
        .filter(|condition| !old.contains(condition))
        .map(|mut condition| {
            let known = old.iter().find(|known| known["type"] == condition["type"]);
            for field in ["reason", "message"] {
                if known.is_some_and(|known| known.get(field).is_some()) && condition.get(field).is_none() {
                    condition[field] = Value::Null;
                }
            }
            condition
        });
    patch.insert("conditions".into(), changed.collect());
    patch.insert("$setElementOrder/conditions".into(), Value::Array(order));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).expect("a status")
    }

    #[test]
    fn a_patch_says_only_what_has_changed() {
        let old = status(json!({
            "phase": "Pending", "hostIP": "1.1.1.1", "reason": "Old", "podIPs": [{ "ip": "10.0.0.1" }],
            "conditions": [
                { "type": "Ready", "status": "False", "reason": "ContainersNotReady" },
                { "type": "theirs", "status": "False" },
                { "type": "PodScheduled", "status": "True" },
            ],
        }));
        let new = status(json!({
            "phase": "Running", "hostIP": "1.1.1.1", "podIPs": [{ "ip": "10.0.0.2" }],
            "conditions": [
                { "type": "Ready", "status": "True" },
                { "type": "PodScheduled", "status": "True" },
                { "type": "theirs", "status": "True" },
            ],
        }));
        let expected = json!({
            "phase": "Running",
            "podIPs": [{ "$patch": "replace" }, { "ip": "10.0.0.2" }],
            "$setElementOrder/conditions": [{ "type": "Ready" }, { "type": "PodScheduled" }],
            "conditions": [{ "type": "Ready", "status": "True", "reason": null }],
            "reason": null,
        });
        assert_eq!(diff(&old, &new), Some(expected));
        assert_eq!(diff(&new, &new), None);
    }
}
