//! What may change in a pod that exists. A pod is meant to be replaced rather than changed, so that is little.

use super::spec::{self, Place};
use super::toleration;
use crate::field::{Errors, Path};
use crate::json::{absent, differences, equal, existing, items, items_mut, keep, object, set, text};
use serde_json::Value;

const RULE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn validate(new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
    let path = Path::new("spec");
    if subresource == Some("status") {
        return validate_status(new, old, errors);
    }
    spec::validate(&new["spec"], &path, Place::Pod, errors);
    match subresource {
        Some("ephemeralcontainers") => validate_ephemeral(new, old, &path, errors),
        Some("resize") => {}
        _ => validate_spec(&new["spec"], &old["spec"], &path, errors),
    }
}

/// The node and its kubelet own the status, but not everything in it can be taken back.
fn validate_status(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("status");
    let nominated = text(&new["status"], "nominatedNodeName");
    for problem in crate::check::name::subdomain(nominated) {
        if !nominated.is_empty() {
            errors.invalid(&path.child("nominatedNodeName"), nominated, problem);
        }
    }
    // A container that ended and may not restart stays ended.
    if text(&new["spec"], "restartPolicy") == "Always" {
        return;
    }
    let restarts = |code: i64| text(&new["spec"], "restartPolicy") == "OnFailure" && code != 0;
    for (i, was) in items(&old["status"]["containerStatuses"]).iter().enumerate() {
        let ended = &was["state"]["terminated"];
        if ended.is_null() || restarts(ended["exitCode"].as_i64().unwrap_or(0)) {
            continue;
        }
        let is = items(&new["status"]["containerStatuses"])
            .iter()
            .find(|c| c["name"] == was["name"]);
        if is.is_some_and(|c| c["state"]["terminated"].is_null()) {
            let detail = "may not be transitioned to non-terminated state";
            errors.forbidden(&path.child("containerStatuses").index(i).child("state"), detail);
        }
    }
}

fn validate_ephemeral(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let list = "ephemeralContainers";
    for was in items(&old["spec"][list]) {
        let name = text(was, "name");
        match items(&new["spec"][list]).iter().find(|c| text(c, "name") == name) {
            None => {
                let detail = format!("existing ephemeral containers {name:?} may not be removed");
                errors.forbidden(&path.child(list), detail);
            }
            Some(is) if !equal(is, was) => {
                let detail = format!("existing ephemeral containers {name:?} may not be changed");
                errors.forbidden(&path.child(list), detail);
            }
            Some(_) => {}
        }
    }
    let known = |name: &str| {
        items(&new["spec"]["containers"])
            .iter()
            .any(|c| text(c, "name") == name)
    };
    for (i, item) in items(&new["spec"][list]).iter().enumerate() {
        let target = text(item, "targetContainerName");
        if !target.is_empty() && !known(target) {
            errors.not_found(&path.child(list).index(i).child("targetContainerName"), target);
        }
    }
}

fn validate_spec(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    for list in ["containers", "initContainers"] {
        if items(&new[list]).len() != items(&old[list]).len() {
            errors.forbidden(&path.child(list), "pod updates may not add or remove containers");
            return;
        }
    }
    validate_deadline(new, old, path, errors);
    validate_tolerations(new, old, path, errors);
    for gate in items(&new["schedulingGates"]) {
        if !items(&old["schedulingGates"]).contains(gate) {
            let detail = format!(
                "only deletion is allowed, but found new scheduling gate '{}'",
                text(gate, "name")
            );
            errors.forbidden(&path.child("schedulingGates"), detail);
        }
    }
    // What may change is taken out of the comparison by making it what it was.
    let mut rest = new.clone();
    for list in ["containers", "initContainers"] {
        for (container, was) in items_mut(&mut rest, list).zip(items(&old[list])) {
            keep(container, was, "image");
        }
    }
    for key in [
        "activeDeadlineSeconds",
        "tolerations",
        "schedulingGates",
        "ephemeralContainers",
    ] {
        keep(&mut rest, old, key);
    }
    if old["terminationGracePeriodSeconds"].as_i64().is_some_and(|n| n < 0) && new["terminationGracePeriodSeconds"] == 1
    {
        keep(&mut rest, old, "terminationGracePeriodSeconds");
    }
    // Until it is let to be scheduled, a pod may be directed to fewer nodes.
    if !items(&old["schedulingGates"]).is_empty() {
        keep(&mut rest, old, "nodeSelector");
        keep(&mut rest, old, "affinity");
    }
    if !equal(&rest, old) {
        errors.forbidden(path, format!("{RULE}\n{}\n", differences(&rest, old, "spec")));
    }
}

fn validate_deadline(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let Some(was) = old["activeDeadlineSeconds"].as_i64() else {
        return;
    };
    let at = path.child("activeDeadlineSeconds");
    if absent(new, "activeDeadlineSeconds") {
        let detail = "must not update from a positive integer to nil value";
        errors.invalid(&at, Value::Null, detail);
    } else if new["activeDeadlineSeconds"].as_i64().is_some_and(|n| n > was) {
        let detail = "must be less than or equal to previous value";
        errors.invalid(&at, new["activeDeadlineSeconds"].clone(), detail);
    }
}

fn validate_tolerations(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let kept = items(&old["tolerations"])
        .iter()
        .all(|was| items(&new["tolerations"]).iter().any(|is| toleration::same(is, was)));
    if !kept {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.forbidden(&path.child("tolerations"), detail);
    }
}

/// A resize changes the resources of containers and nothing else.
pub(super) fn resize(new: &mut Value, old: &Value) {
    let wanted = new["spec"].clone();
    set(new, "spec", old["spec"].clone());
    keep(new, old, "status");
    let Some(spec) = existing(new, "spec") else { return };
    for list in ["containers", "initContainers"] {
        for container in items_mut(spec, list) {
            let same = |other: &&Value| other["name"] == container["name"];
            let Some(wish) = items(&wanted[list]).iter().find(same) else {
                continue;
            };
            let resources = wish["resources"].clone();
            if let Some(mine) = object(container, "resources") {
                for key in ["limits", "requests"] {
                    keep(mine, &resources, key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Value {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a", "image": "i", "env": [{"name": "A", "value": "1"}]}],
            "tolerations": [{"key": "k", "operator": "Exists"}],
            "activeDeadlineSeconds": 10,
            "restartPolicy": "Never",
        }, "status": {"containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 0}}}]}});
        super::super::default::pod(&mut pod);
        pod
    }

    fn mistakes(subresource: Option<&str>, change: fn(&mut Value)) -> Vec<String> {
        let (old, mut new) = (pod(), pod());
        change(&mut new);
        let mut errors = Errors::new();
        validate(&new, &old, subresource, &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn little_may_change() {
        let none = Vec::<String>::new();
        assert_eq!(
            mistakes(None, |p| p["spec"]["containers"][0]["image"] = json!("j")),
            none
        );
        assert_eq!(mistakes(None, |p| p["spec"]["activeDeadlineSeconds"] = json!(5)), none);
        let more = |p: &mut Value| {
            p["spec"]["tolerations"] = json!([{"key": "k", "operator": "Exists"}, {"key": "l", "operator": "Exists"}])
        };
        assert_eq!(mistakes(None, more), none);
        assert_eq!(
            mistakes(None, |p| p["spec"]["containers"][0]["env"][0]["value"] = json!("2")),
            [format!(
                "spec: Forbidden: {RULE}\n- spec.containers[0].env[0].value: \"1\"\n+ spec.containers[0].env[0].value: \"2\"\n"
            )]
        );
        assert_eq!(
            mistakes(None, |p| p["spec"]["tolerations"] = json!([])),
            ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]
        );
        assert_eq!(
            mistakes(None, |p| p["spec"]["activeDeadlineSeconds"] = json!(20)),
            ["spec.activeDeadlineSeconds: Invalid value: 20: must be less than or equal to previous value"]
        );
        let second = |p: &mut Value| {
            let mut copy = p["spec"]["containers"][0].clone();
            copy["name"] = json!("b");
            p["spec"]["containers"].as_array_mut().expect("a list").push(copy);
        };
        assert_eq!(
            mistakes(None, second),
            ["spec.containers: Forbidden: pod updates may not add or remove containers"]
        );
    }

    #[test]
    fn what_has_ended_stays_ended() {
        assert_eq!(
            mistakes(Some("status"), |p| p["status"]["containerStatuses"][0]["state"] =
                json!({"running": {}})),
            ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]
        );
    }

    #[test]
    fn ephemeral_containers_are_only_added() {
        let mut old = pod();
        old["spec"]["ephemeralContainers"] = json!([{"name": "d", "image": "i"}]);
        super::super::default::pod(&mut old);
        let mut new = old.clone();
        new["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "i", "targetContainerName": "x"}]);
        super::super::default::pod(&mut new);
        let mut errors = Errors::new();
        validate(&new, &old, Some("ephemeralcontainers"), &mut errors);
        let lines: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed",
                "spec.ephemeralContainers[0].targetContainerName: Not found: \"x\"",
            ]
        );
    }

    #[test]
    fn a_resize_changes_resources_alone() {
        let old = pod();
        let mut new = pod();
        new["spec"]["containers"][0]["image"] = json!("j");
        new["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}});
        resize(&mut new, &old);
        assert_eq!(new["spec"]["containers"][0]["image"], "i");
        assert_eq!(new["spec"]["containers"][0]["resources"]["limits"], json!({"cpu": "1"}));
    }
}
