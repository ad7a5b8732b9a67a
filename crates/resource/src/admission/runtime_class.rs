//! RuntimeClass: a pod that wants one has its overhead, and goes where it is.
//!
//! Source: <https://kubernetes.io/docs/concepts/containers/runtime-class/>.

use std::sync::Arc;

use super::{Attributes, Lookup};
use crate::field::quote;
use crate::json::{absent, entries, equal, items, object, set, text};
use crate::status::Status;
use serde_json::{Value, json};

/// The class of the pod; null if it wants none.
fn class(request: &Attributes<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<Arc<Value>, Status> {
    if absent(&pod["spec"], "runtimeClassName") {
        return Ok(Arc::default());
    }
    let name = text(&pod["spec"], "runtimeClassName");
    let found = lookup.get("node.k8s.io", "runtimeclasses", "", name);
    found.ok_or_else(|| {
        refused(
            request,
            pod,
            &format!("pod rejected: RuntimeClass {} not found", quote(name)),
        )
    })
}

fn refused(request: &Attributes<'_>, pod: &Value, why: &str) -> Status {
    Status::forbidden(request.resource, request.name_of(pod), why)
}

const OTHER_OVERHEAD: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

pub(super) fn mutate(request: &Attributes<'_>, pod: &mut Value, lookup: &dyn Lookup) -> Result<(), Status> {
    let class = class(request, pod, lookup)?;
    let overhead = &class["overhead"]["podFixed"];
    let own = &pod["spec"]["overhead"];
    if !overhead.is_null() && own.as_object().is_some_and(|own| !own.is_empty()) && !equal(own, overhead) {
        return Err(refused(request, pod, OTHER_OVERHEAD));
    }
    let scheduling = &class["scheduling"];
    for (key, value) in entries(&scheduling["nodeSelector"]) {
        let own = &pod["spec"]["nodeSelector"][key];
        if !own.is_null() && own != value {
            let (own, value) = (own.as_str().unwrap_or_default(), value.as_str().unwrap_or_default());
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
            );
            return Err(refused(request, pod, &why));
        }
    }
    let Some(spec) = object(pod, "spec") else { return Ok(()) };
    if !overhead.is_null() {
        set(spec, "overhead", overhead.clone());
    }
    for (key, value) in entries(&scheduling["nodeSelector"]) {
        if absent(spec, "nodeSelector") {
            set(spec, "nodeSelector", json!({}));
        }
        spec["nodeSelector"][key] = value.clone();
    }
    let mut tolerations = items(&spec["tolerations"]).to_vec();
    let before = tolerations.len();
    for toleration in items(&scheduling["tolerations"]) {
        if !tolerations.contains(toleration) {
            tolerations.push(toleration.clone());
        }
    }
    if tolerations.len() > before {
        set(spec, "tolerations", tolerations);
    }
    Ok(())
}

pub(super) fn validate(request: &Attributes<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
    let class = class(request, pod, lookup)?;
    let (wanted, own) = (&class["overhead"]["podFixed"], &pod["spec"]["overhead"]);
    if !wanted.is_null() && !equal(wanted, own) {
        return Err(refused(request, pod, OTHER_OVERHEAD));
    }
    if wanted.is_null() && !own.is_null() {
        let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        return Err(refused(request, pod, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Operation;
    use super::super::tests::{Objects, attributes};
    use super::*;

    #[test]
    fn a_pod_takes_over_what_its_class_says_or_is_refused() {
        let class = json!({
            "metadata": {"name": "x"}, "handler": "sandboxed", "overhead": {"podFixed": {"cpu": "250m"}},
            "scheduling": {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "k", "operator": "Exists"}]},
        });
        let cluster = Objects(vec![("runtimeclasses", class)]);
        let request = attributes("pods", Operation::Create);
        let mut pod = json!({"metadata": {"name": "x"}, "spec": {"runtimeClassName": "x"}});
        mutate(&request, &mut pod, &cluster).expect("admitted");
        mutate(&request, &mut pod, &cluster).expect("admitted again");
        validate(&request, &pod, &cluster).expect("valid");
        assert_eq!(
            pod["spec"],
            json!({
                "runtimeClassName": "x", "overhead": {"cpu": "250m"}, "nodeSelector": {"disk": "ssd"},
                "tolerations": [{"key": "k", "operator": "Exists"}],
            })
        );
        for (spec, why) in [
            (
                json!({"runtimeClassName": "y"}),
                "pod rejected: RuntimeClass \"y\" not found",
            ),
            (
                json!({"runtimeClassName": "x", "overhead": {"cpu": "1"}}),
                OTHER_OVERHEAD,
            ),
            (
                json!({"runtimeClassName": "x", "nodeSelector": {"disk": "hdd"}}),
                "conflict: runtimeClass.scheduling.nodeSelector[disk] = ssd; pod.spec.nodeSelector[disk] = hdd",
            ),
        ] {
            let mut pod = json!({"metadata": {"name": "x"}, "spec": spec});
            let refused = mutate(&request, &mut pod, &cluster).expect_err("refused");
            assert!(refused.message.ends_with(why), "{}", refused.message);
        }
    }
}
