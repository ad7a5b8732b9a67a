//! Priority: a class is a name for a number, and the number goes into the pod.

use super::{Attributes, Lookup, Operation};
use crate::json::{absent, blank, object, set, text};
use crate::kind::SYSTEM_CLASSES;
use crate::status::Status;
use serde_json::{Value, json};
use std::sync::Arc;

const GROUP: &str = "scheduling.k8s.io";

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

pub(super) fn mutate(request: &Attributes<'_>, pod: &mut Value, lookup: &dyn Lookup) -> Result<(), Status> {
    let refuse = |why: &str| Status::forbidden(request.resource, request.name, why);
    let Some(spec) = object(pod, "spec") else {
        return Ok(());
    };
    let name = text(spec, "priorityClassName").to_owned();
    let class = if name.is_empty() {
        default_class(lookup)
    } else {
        let known = lookup.get(GROUP, "priorityclasses", "", &name);
        Some(known.ok_or_else(|| refuse(&format!("no PriorityClass with name {name} was found")))?)
    };
    let class = class.unwrap_or_default();
    let value = class["value"].as_i64().unwrap_or(0);
    let policy = match text(&class, "preemptionPolicy") {
        "" => "PreemptLowerPriority",
        policy => policy,
    };
    if !absent(spec, "priority") && spec["priority"] != value {
        let given = &spec["priority"];
        return Err(refuse(&format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        )));
    }
    if name.is_empty() && !blank(&class["metadata"], "name") {
        let default = class["metadata"]["name"].clone();
        set(spec, "priorityClassName", default);
    }
    set(spec, "priority", value);
    let given = text(spec, "preemptionPolicy");
    if !given.is_empty() && given != policy {
        return Err(refuse(&format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        )));
    }
    set(spec, "preemptionPolicy", policy);
    Ok(())
}

/// Only one class can be what pods get that name none.
pub(super) fn validate(request: &Attributes<'_>, class: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
    let writes = matches!(request.operation, Operation::Create | Operation::Update) && request.subresource.is_empty();
    if !writes || !request.is_resource(GROUP, "priorityclasses") || class["globalDefault"] != true {
        return Ok(());
    }
    let name = text(&class["metadata"], "name");
    match default_class(lookup) {
        Some(default) if request.operation == Operation::Create || text(&default["metadata"], "name") != name => {
            let other = text(&default["metadata"], "name");
            let why = format!("PriorityClass {other} is already marked as default. Only one default can exist");
            Err(Status::forbidden(request.resource, request.name_of(class), &why))
        }
        _ => Ok(()),
    }
}

/// Of several defaults, the lowest disturbs least.
fn default_class(lookup: &dyn Lookup) -> Option<Arc<Value>> {
    let classes = lookup.list(GROUP, "priorityclasses", "");
    let defaults = classes.into_iter().filter(|class| class["globalDefault"] == true);
    defaults.min_by_key(|class| class["value"].as_i64())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Objects, attributes};
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
            mutate(&attributes("pods", Operation::Create), &mut pod, cluster).map_err(|f| f.message)?;
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

    #[test]
    fn there_is_one_default() {
        let class = |name: &str| json!({"metadata": {"name": name}, "value": 1, "globalDefault": true});
        let cluster = Objects(vec![("priorityclasses", class("a"))]);
        let told = |operation, name| {
            let request = attributes("priorityclasses", operation);
            validate(&request, &class(name), &cluster).map_err(|f| f.message)
        };
        let refusal = "priorityclasses.scheduling.k8s.io \"x\" is forbidden: PriorityClass a is already marked as default. Only one default can exist";
        assert_eq!(told(Operation::Create, "x"), Err(refusal.to_owned()));
        assert_eq!(told(Operation::Update, "x"), Err(refusal.to_owned()));
        assert_eq!(told(Operation::Update, "a"), Ok(()));
    }
}
