//! Tolerations.

use crate::check::name::{label_value, qualified_name};
use crate::field::{Errors, Path};
use crate::json::{absent, blank, items, text};
use serde_json::Value;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(crate) fn validate(tolerations: &Value, path: &Path, errors: &mut Errors) {
    for (i, toleration) in items(tolerations).iter().enumerate() {
        let at = path.index(i);
        let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
        if !key.is_empty() {
            for problem in qualified_name(key) {
                errors.invalid(&at.child("key"), key, problem);
            }
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(&at.child("operator"), operator, detail);
        }
        let effect = text(toleration, "effect");
        if !absent(toleration, "tolerationSeconds") && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(&at.child("effect"), effect, detail);
        }
        match operator {
            "" | "Equal" => {
                let value = text(toleration, "value");
                if let Some(problem) = label_value(value).into_iter().next() {
                    errors.invalid(&at.child("operator"), value, problem);
                }
            }
            "Exists" => {
                if !blank(toleration, "value") {
                    let detail = "value must be empty when `operator` is 'Exists'";
                    errors.invalid(&at.child("operator"), toleration.clone(), detail);
                }
            }
            other => errors.not_supported(&at.child("operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            errors.not_supported(&at.child("effect"), effect, EFFECTS);
        }
    }
}

/// Whether two tolerations tolerate the same taints, for however long.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    let operator = |t: &Value| match text(t, "operator") {
        "" => "Equal".to_owned(),
        other => other.to_owned(),
    };
    ["key", "value", "effect"]
        .iter()
        .all(|key| text(a, key) == text(b, key))
        && operator(a) == operator(b)
}
