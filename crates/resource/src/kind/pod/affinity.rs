//! Where a pod would like to run: affinity to nodes and pods, and spreading.

use crate::check::label::validate_selector;
use crate::check::name::qualified_name;
use crate::field::{Errors, Path};
use crate::json::{blank, items, text};
use serde_json::Value;

pub(super) fn validate(affinity: &Value, path: &Path, errors: &mut Errors) {
    let node = &affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let at = path
        .child("nodeAffinity")
        .child("requiredDuringSchedulingIgnoredDuringExecution");
    if !node.is_null() {
        validate_node_selector(node, &at, errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let list = "requiredDuringSchedulingIgnoredDuringExecution";
        let at = path.child(kind).child(list);
        for (i, term) in items(&affinity[kind][list]).iter().enumerate() {
            validate_pod_term(term, &at.index(i), errors);
        }
        let list = "preferredDuringSchedulingIgnoredDuringExecution";
        let at = path.child(kind).child(list);
        for (i, weighted) in items(&affinity[kind][list]).iter().enumerate() {
            let weight = weighted["weight"].as_i64().unwrap_or(0);
            if !(1..=100).contains(&weight) {
                errors.invalid(&at.index(i).child("weight"), weight, "must be in the range 1-100");
            }
            validate_pod_term(
                &weighted["podAffinityTerm"],
                &at.index(i).child("podAffinityTerm"),
                errors,
            );
        }
    }
}

/// A `NodeSelector`: of a pod, or of a volume that not every node can reach.
pub(crate) fn validate_node_selector(selector: &Value, path: &Path, errors: &mut Errors) {
    let at = path.child("nodeSelectorTerms");
    if items(&selector["nodeSelectorTerms"]).is_empty() {
        errors.required(&at, "must have at least one node selector term");
    }
    for (i, term) in items(&selector["nodeSelectorTerms"]).iter().enumerate() {
        validate_node_term(term, &at.index(i), errors);
    }
}

fn validate_node_term(term: &Value, path: &Path, errors: &mut Errors) {
    for (i, expression) in items(&term["matchExpressions"]).iter().enumerate() {
        let at = path.child("matchExpressions").index(i);
        let values = items(&expression["values"]).len();
        match text(expression, "operator") {
            "In" | "NotIn" if values == 0 => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required(&at.child("values"), detail);
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&at.child("values"), detail);
            }
            "Gt" | "Lt" if values != 1 => {
                let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.required(&at.child("values"), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        let key = text(expression, "key");
        for problem in qualified_name(key) {
            errors.invalid(&at.child("key"), key, problem);
        }
    }
}

fn validate_pod_term(term: &Value, path: &Path, errors: &mut Errors) {
    validate_selector(&term["labelSelector"], &path.child("labelSelector"), errors);
    if blank(term, "topologyKey") {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
}

pub(super) fn validate_spread(constraints: &Value, path: &Path, errors: &mut Errors) {
    for (i, constraint) in items(constraints).iter().enumerate() {
        let at = path.index(i);
        let skew = constraint["maxSkew"].as_i64().unwrap_or(0);
        if skew <= 0 {
            errors.invalid(&at.child("maxSkew"), skew, "must be greater than zero");
        }
        if blank(constraint, "topologyKey") {
            errors.required(&at.child("topologyKey"), "can not be empty");
        }
        let choice = text(constraint, "whenUnsatisfiable");
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&choice) {
            let choices = ["DoNotSchedule", "ScheduleAnyway"];
            errors.not_supported(&at.child("whenUnsatisfiable"), choice, &choices);
        }
        validate_selector(&constraint["labelSelector"], &at.child("labelSelector"), errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mistakes_in_affinity_are_named() {
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        let affinity = json!({
            "nodeAffinity": {required: {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "a", "operator": "In"},
                {"key": "a", "operator": "Exists", "values": ["x"]},
                {"key": "a", "operator": "Gt", "values": []},
                {"key": "a", "operator": "Like"},
            ]}]}},
            "podAntiAffinity": {
                required: [{"labelSelector": {"matchExpressions": [{"key": "k", "operator": "In"}]}}],
                preferred: [{"weight": 0, "podAffinityTerm": {"topologyKey": "t"}}],
            },
        });
        let mut errors = Errors::new();
        validate(&affinity, &Path::new("a"), &mut errors);
        validate(&json!({"nodeAffinity": {required: {}}}), &Path::new("b"), &mut errors);
        validate_spread(&json!([{"whenUnsatisfiable": "X"}]), &Path::new("c"), &mut errors);
        let lines: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
        let node = format!("a.nodeAffinity.{required}.nodeSelectorTerms[0].matchExpressions");
        let pod = format!("a.podAntiAffinity.{required}[0]");
        assert_eq!(
            lines,
            [
                format!("{node}[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"),
                format!("{node}[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
                format!("{node}[2].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"),
                format!("{node}[3].operator: Invalid value: \"Like\": not a valid selector operator"),
                format!("{pod}.labelSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"),
                format!("{pod}.topologyKey: Required value: can not be empty"),
                format!("a.podAntiAffinity.{preferred}[0].weight: Invalid value: 0: must be in the range 1-100"),
                format!("b.nodeAffinity.{required}.nodeSelectorTerms: Required value: must have at least one node selector term"),
                "c[0].maxSkew: Invalid value: 0: must be greater than zero".to_owned(),
                "c[0].topologyKey: Required value: can not be empty".to_owned(),
                r#"c[0].whenUnsatisfiable: Unsupported value: "X": supported values: "DoNotSchedule", "ScheduleAnyway""#.to_owned(),
            ]
        );
    }
}
