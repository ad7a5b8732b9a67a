//! Security contexts: as whom containers run, and with what powers.

use crate::field::{Errors, Path};
use crate::json::{absent, items};
use serde_json::Value;

pub(super) fn validate_pod(spec: &Value, path: &Path, errors: &mut Errors) {
    let context = &spec["securityContext"];
    let at = path.child("securityContext");
    for key in ["runAsUser", "runAsGroup", "fsGroup"] {
        validate_id(context, key, &at, errors);
    }
    for (i, group) in items(&context["supplementalGroups"]).iter().enumerate() {
        if !is_id(group) {
            errors.invalid(&at.child("supplementalGroups").index(i), group.clone(), ID_RULE);
        }
    }
    if spec["shareProcessNamespace"] == true && spec["hostPID"] == true {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&path.child("shareProcessNamespace"), true, detail);
    }
}

pub(super) fn validate_container(context: &Value, path: &Path, errors: &mut Errors) {
    for key in ["runAsUser", "runAsGroup"] {
        validate_id(context, key, path, errors);
    }
    // Privileges that are had need not be escalated to; to have them and forbid the escalation is a contradiction.
    if context["allowPrivilegeEscalation"] != false {
        return;
    }
    if context["privileged"] == true {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.invalid(path, context.clone(), detail);
    }
    if items(&context["capabilities"]["add"])
        .iter()
        .any(|c| c == "CAP_SYS_ADMIN")
    {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.invalid(path, context.clone(), detail);
    }
}

const ID_RULE: &str = "must be between 0 and 2147483647, inclusive";

fn is_id(value: &Value) -> bool {
    value.as_i64().is_some_and(|n| (0..=i64::from(i32::MAX)).contains(&n))
}

fn validate_id(context: &Value, key: &str, path: &Path, errors: &mut Errors) {
    if !absent(context, key) && !is_id(&context[key]) {
        errors.invalid(&path.child(key), context[key].clone(), ID_RULE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn contradictions_and_impossible_ids_are_named() {
        let mut errors = Errors::new();
        let spec = json!({
            "securityContext": {"runAsUser": -1, "fsGroup": 0, "supplementalGroups": [1, -2]},
            "shareProcessNamespace": true, "hostPID": true,
        });
        validate_pod(&spec, &Path::new("spec"), &mut errors);
        let context = json!({"allowPrivilegeEscalation": false, "privileged": true});
        validate_container(&context, &Path::new("c"), &mut errors);
        let lines: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                "spec.securityContext.supplementalGroups[1]: Invalid value: -2: must be between 0 and 2147483647, inclusive",
                "spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
                r#"c: Invalid value: {"allowPrivilegeEscalation":false,"privileged":true}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"#,
            ]
        );
    }
}
