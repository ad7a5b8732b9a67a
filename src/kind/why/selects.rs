//! Label selectors over labels.

use serde_json::Value;

use crate::kind::field::{items, scalar, text};

/// Whether a LabelSelector selects these labels. One without terms selects everything, `null` nothing.
pub(in crate::kind) fn selects(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return false;
    }
    let pairs = selector["matchLabels"].as_object();
    pairs.into_iter().flatten().all(|(key, value)| labels[key] == *value)
        && items(&selector["matchExpressions"])
            .iter()
            .all(|expression| holds(expression, labels))
}

/// Whether one requirement of a LabelSelector or of a node selector holds.
pub(super) fn holds(requirement: &Value, labels: &Value) -> bool {
    let label = &labels[text(&requirement["key"])];
    let listed = || items(&requirement["values"]).contains(label);
    let compare = |less: bool| {
        let number = |value: &Value| scalar(value).parse::<i64>().ok();
        match (number(label), number(&requirement["values"][0])) {
            (Some(has), Some(asked)) => (has < asked) == less && has != asked,
            _ => false,
        }
    };
    match text(&requirement["operator"]) {
        "In" => !label.is_null() && listed(),
        "NotIn" => label.is_null() || !listed(),
        "Exists" => !label.is_null(),
        "DoesNotExist" => label.is_null(),
        "Gt" => compare(false),
        "Lt" => compare(true),
        _ => false,
    }
}
