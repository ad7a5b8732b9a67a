//! Reading objects that are parsed whole, as describe and the preview do. What is missing reads as empty.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value;

/// A string, or nothing.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A string, number or boolean as written; quantities and ports may be either.
pub(super) fn scalar(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// The items of a list, or none.
pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The entries of a map by key.
pub(super) fn pairs(value: &Value) -> Vec<(&str, &Value)> {
    let mut pairs: Vec<_> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
        .collect();
    pairs.sort_unstable_by_key(|(key, _)| *key);
    pairs
}

/// A whole number, or zero.
pub(super) fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// Whether it is `true`.
pub(super) fn yes(value: &Value) -> bool {
    value.as_bool().unwrap_or_default()
}

/// A moment.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// Whether there is something.
pub(super) fn present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    }
}

/// `<none>` for nothing.
pub(super) fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

/// The entry of a list whose `key` is `value`.
pub(super) fn by<'a>(list: &'a Value, key: &str, value: &str) -> Option<&'a Value> {
    items(list).iter().find(|item| item[key] == value)
}

/// `Kind/name` of the controller that owns the object; empty when none does.
pub(super) fn controller(object: &Value) -> String {
    items(&object["metadata"]["ownerReferences"])
        .iter()
        .find(|owner| yes(&owner["controller"]))
        .map_or_else(String::new, |owner| {
            format!("{}/{}", text(&owner["kind"]), text(&owner["name"]))
        })
}
