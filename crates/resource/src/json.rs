//! Reading and changing JSON whose shape a client chose: nothing here panics on an unexpected type.

use serde_json::{Map, Value};

/// Text at `key`, empty if there is none.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Items of a list; none for anything else.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Items of a list, to change; none for anything else.
pub(crate) fn items_mut<'a>(object: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    object
        .get_mut(key)
        .and_then(Value::as_array_mut)
        .map(|list| list.iter_mut())
        .unwrap_or_default()
}

/// Entries of a map; none for anything else.
pub(crate) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Whether a field is absent: missing or null.
pub(crate) fn absent(value: &Value, key: &str) -> bool {
    value.get(key).is_none_or(Value::is_null)
}

/// Whether a field holds nothing worth defaulting around: missing, null or the empty string.
pub(crate) fn blank(value: &Value, key: &str) -> bool {
    value
        .get(key)
        .is_none_or(|v| v.is_null() || v.as_str().is_some_and(str::is_empty))
}

/// Sets `key` unless it is there.
pub(crate) fn default_to(object: &mut Value, key: &str, value: impl Into<Value>) {
    if blank(object, key) {
        set(object, key, value);
    }
}

/// Sets `key` if `object` is an object.
pub(crate) fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value.into());
    }
}

/// Removes `key`, if it is there, keeping the order of the others.
pub(crate) fn remove(object: &mut Value, key: &str) {
    if let Some(map) = object.as_object_mut() {
        map.shift_remove(key);
    }
}

/// Makes `key` of `new` what it is in `old`: absent if it is absent there.
pub(crate) fn keep(new: &mut Value, old: &Value, key: &str) {
    match old.get(key) {
        Some(value) => set(new, key, value.clone()),
        None => remove(new, key),
    }
}

/// The object at `key`, made if it is missing; `None` if something else is there.
pub(crate) fn object<'a>(parent: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    let slot = parent.as_object_mut()?.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    slot.is_object().then_some(slot)
}

/// The object at `key`, if there is one.
pub(crate) fn existing<'a>(parent: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    parent.get_mut(key).filter(|v| v.is_object())
}

/// Whether two values mean the same to Kubernetes: a field that is null, or holds an empty list or map, equals a field
/// that is absent.
pub fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(key, value)| match y.get(key) {
                Some(other) => equal(value, other),
                None => nothing(value),
            }) && y.iter().all(|(key, value)| x.contains_key(key) || nothing(value))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| equal(a, b)),
        _ => a == b || (nothing(a) && nothing(b)),
    }
}

fn nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Enough to see what was changed; a client that rewrites the whole spec need not read all of it back.
const SHOWN_CHANGES: usize = 16;

/// The changed fields with both values, a line each.
pub(crate) fn differences(new: &Value, old: &Value, path: &str) -> String {
    let mut lines = Vec::new();
    compare(new, old, path, &mut lines);
    lines.truncate(SHOWN_CHANGES);
    lines.join("\n")
}

fn compare(new: &Value, old: &Value, path: &str, lines: &mut Vec<String>) {
    if lines.len() > SHOWN_CHANGES || equal(new, old) {
        return;
    }
    match (new, old) {
        (Value::Object(a), Value::Object(b)) => {
            for key in b.keys().chain(a.keys().filter(|key| !b.contains_key(*key))) {
                compare(&new[key], &old[key], &format!("{path}.{key}"), lines);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                compare(a, b, &format!("{path}[{i}]"), lines);
            }
        }
        _ => {
            lines.push(format!("- {path}: {old}"));
            lines.push(format!("+ {path}: {new}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_null_and_empty_are_equal() {
        assert!(equal(&json!({"a": null, "b": [], "c": 1}), &json!({"c": 1, "d": {}})));
        assert!(!equal(&json!({"a": [1]}), &json!({"a": [1, 2]})));
        assert!(!equal(&json!({"a": 0}), &json!({})));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_left_alone() {
        let mut value = json!("text");
        default_to(&mut value, "a", 1);
        assert_eq!(object(&mut value, "a"), None);
        assert_eq!(value, json!("text"));
        let mut list = json!({"a": [1]});
        assert_eq!(object(&mut list, "a"), None);
    }
}
