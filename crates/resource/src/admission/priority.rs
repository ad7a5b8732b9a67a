//! Priority: a class is a name for a number, and the number goes into the pod.

use super::{Lookup, Request};
use crate::json::{absent, blank, object, set, text};
use crate::kind::SYSTEM_CLASSES;
use crate::status::Failure;
use serde_json::{Value, json};

/// The two classes that every cluster starts with.
pub fn system_classes() -> Vec<Value> {
    SYSTEM_CLASSES
        .iter()
        .map(|(name, value, description)| {
            json!({
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": name},
                "value": value,
                "description": description,
                "preemptionPolicy": "PreemptLowerPriority",
            })
        })
        .collect()
}

pub(super) fn admit(request: &Request<'_>, pod: &mut Value, lookup: &dyn Lookup) -> Result<(), Failure> {
    let refuse = |why: &str| Failure::forbidden(request.resource, request.name, why);
    let (Some(classes), Some(spec)) = (
        lookup.resource("scheduling.k8s.io", "v1", "priorityclasses"),
        object(pod, "spec"),
    ) else {
        return Ok(());
    };
    let name = text(spec, "priorityClassName").to_owned();
    let class = if name.is_empty() {
        let mut defaults = lookup.list(&classes, "");
        defaults.retain(|c| c["globalDefault"] == true);
        // Of several defaults, the lowest disturbs least.
        defaults.into_iter().min_by_key(|c| c["value"].as_i64())
    } else {
        let known = lookup.get(&classes, "", &name);
        Some(known.ok_or_else(|| refuse(&format!("no PriorityClass with name {name} was found")))?)
    };
    let class = class.unwrap_or_else(|| json!({}));
    let value = class["value"].as_i64().unwrap_or(0);
    let policy = match text(&class, "preemptionPolicy") {
        "" => "PreemptLowerPriority",
        policy => policy,
    };
    if !absent(spec, "priority") && spec["priority"] != value {
        let why =
            "the integer value of priority must not be provided in pod spec; priority admission controller computed ";
        let given = &spec["priority"];
        return Err(refuse(&format!(
            "{why}{value} from the given PriorityClass name, but {given} was given"
        )));
    }
    if name.is_empty() && !blank(&class["metadata"], "name") {
        let default = class["metadata"]["name"].clone();
        set(spec, "priorityClassName", default);
    }
    set(spec, "priority", value);
    if absent(spec, "preemptionPolicy") {
        set(spec, "preemptionPolicy", policy);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Operation;
    use super::super::tests::{Objects, request};
    use super::*;

    #[test]
    fn the_class_decides_the_priority() {
        let mut classes = system_classes();
        classes.push(
            json!({"metadata": {"name": "usual"}, "value": 7, "globalDefault": true, "preemptionPolicy": "Never"}),
        );
        let cluster = Objects(classes.into_iter().map(|c| ("priorityclasses", c)).collect());
        let admitted = |spec: Value, cluster: &Objects| {
            let mut pod = json!({"spec": spec});
            admit(&request("pods", Operation::Create), &mut pod, cluster).map_err(|f| f.message)?;
            Ok::<_, String>(pod["spec"].clone())
        };
        assert_eq!(
            admitted(json!({}), &Objects(Vec::new())),
            Ok(json!({"priority": 0, "preemptionPolicy": "PreemptLowerPriority"}))
        );
        assert_eq!(
            admitted(json!({}), &cluster),
            Ok(json!({"priorityClassName": "usual", "priority": 7, "preemptionPolicy": "Never"}))
        );
        assert_eq!(
            admitted(json!({"priorityClassName": "system-node-critical"}), &cluster).expect("admitted")["priority"],
            2_000_001_000
        );
        assert_eq!(
            admitted(json!({"priorityClassName": "none"}), &cluster),
            Err("pods \"x\" is forbidden: no PriorityClass with name none was found".to_owned())
        );
        assert!(admitted(json!({"priority": 5}), &cluster).is_err());
    }
}
