//! Label selectors as query strings.

use serde_json::Value;

use super::field::{items, pairs, scalar, text};

/// A LabelSelector (`matchLabels`, `matchExpressions`) or a plain map of labels as the API's `labelSelector` parameter has it;
/// empty when it selects nothing in particular.
pub(super) fn query(selector: &Value) -> String {
    let is_label_selector = selector.get("matchLabels").is_some_and(Value::is_object)
        || selector.get("matchExpressions").is_some_and(Value::is_array);
    let labels = if is_label_selector {
        &selector["matchLabels"]
    } else {
        selector
    };
    let mut terms: Vec<String> = pairs(labels)
        .iter()
        .map(|(key, value)| format!("{key}={}", scalar(value)))
        .collect();
    if is_label_selector {
        terms.extend(items(&selector["matchExpressions"]).iter().filter_map(expression));
    }
    terms.join(",")
}

fn expression(expression: &Value) -> Option<String> {
    let key = text(&expression["key"]);
    let mut values: Vec<_> = items(&expression["values"]).iter().map(scalar).collect();
    values.sort_unstable();
    let values = values.join(",");
    Some(match text(&expression["operator"]) {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "Exists" => key.to_owned(),
        "DoesNotExist" => format!("!{key}"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_of_selector_becomes_a_query() {
        for (selector, expected) in [
            (json!({"app": "web", "a": "b"}), "a=b,app=web"),
            (json!({"matchLabels": {"app": "web"}}), "app=web"),
            (
                json!({"matchLabels": {"app": "web"}, "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["b", "a"]},
                    {"key": "env", "operator": "NotIn", "values": ["dev"]},
                    {"key": "x", "operator": "Exists"},
                    {"key": "y", "operator": "DoesNotExist"},
                ]}),
                "app=web,tier in (a,b),env notin (dev),x,!y",
            ),
            (
                json!({"matchLabels": "a label of that name"}),
                "matchLabels=a label of that name",
            ),
            (json!({}), ""),
            (json!(null), ""),
        ] {
            assert_eq!(query(&selector), expected);
        }
    }
}
