//! Three-way merge: what the user changed in an object, made again on the object as it is now.

use std::fmt;

use serde_json::{Map, Value};

/// A place that was changed twice.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Clash {
    path: String,
    base: Value,
    mine: Value,
    theirs: Value,
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |value: &Value| match value {
            Value::Null => "nothing".to_owned(),
            value => crate::text::cut_end(&value.to_string(), 60).into_owned(),
        };
        let (base, mine, theirs) = (word(&self.base), word(&self.mine), word(&self.theirs));
        write!(f, "{} was {base}, is {theirs} now, and you want {mine}", self.path)
    }
}

/// Fields that name an element of a list, in the order in which they are tried (the merge keys of the Kubernetes API).
const NAMES: &[&str] = &[
    "name",
    "mountPath",
    "devicePath",
    "containerPort",
    "port",
    "topologyKey",
    "uid",
    "type",
    "ip",
    "key",
];

/// `theirs` with what changed between `base` and `mine`.
///
/// # Errors
///
/// Every place where `theirs` has changed too, and otherwise.
pub(super) fn three_way(base: &Value, mine: &Value, theirs: &Value) -> Result<Value, Vec<Clash>> {
    let mut clashes = Vec::new();
    let merged = merge("", Some(base), Some(mine), Some(theirs), &mut clashes);
    if clashes.is_empty() {
        Ok(merged.unwrap_or(Value::Null))
    } else {
        Err(clashes)
    }
}

/// `theirs` with what changed between `base` and `mine`, mine where both have changed; and where that was.
pub fn reconciled(base: &Value, mine: &Value, theirs: &Value) -> (Value, Vec<String>) {
    let mut clashes = Vec::new();
    let merged = merge("", Some(base), Some(mine), Some(theirs), &mut clashes);
    let said = clashes.iter().map(ToString::to_string).collect();
    (merged.unwrap_or(Value::Null), said)
}

fn merge(
    path: &str,
    base: Option<&Value>,
    mine: Option<&Value>,
    theirs: Option<&Value>,
    clashes: &mut Vec<Clash>,
) -> Option<Value> {
    if mine == base || mine == theirs {
        return theirs.cloned();
    }
    if theirs == base {
        return mine.cloned();
    }
    match (base, mine, theirs) {
        (base, Some(Value::Object(mine)), Some(Value::Object(theirs))) => {
            let none = Map::new();
            let base = base.and_then(Value::as_object).unwrap_or(&none);
            let mut out = Map::new();
            let more = mine.keys().filter(|key| !theirs.contains_key(*key));
            for key in theirs.keys().chain(more) {
                let path = format!("{path}{}{key}", if path.is_empty() { "" } else { "." });
                if let Some(value) = merge(&path, base.get(key), mine.get(key), theirs.get(key), clashes) {
                    out.insert(key.clone(), value);
                }
            }
            Some(Value::Object(out))
        }
        (base, Some(Value::Array(mine)), Some(Value::Array(theirs))) => {
            let none = Vec::new();
            let base = base.and_then(Value::as_array).unwrap_or(&none);
            match NAMES
                .iter()
                .find(|name| [base, mine, theirs].iter().all(|list| is_named(list, name)))
            {
                Some(name) => Some(Value::Array(elements(path, name, base, mine, theirs, clashes))),
                None => {
                    let list = |list: &[Value]| Value::Array(list.to_vec());
                    clash(path, Some(&list(base)), Some(&list(mine)), Some(&list(theirs)), clashes);
                    Some(list(mine))
                }
            }
        }
        (base, mine, theirs) => {
            clash(path, base, mine, theirs, clashes);
            mine.cloned()
        }
    }
}

fn clash(path: &str, base: Option<&Value>, mine: Option<&Value>, theirs: Option<&Value>, clashes: &mut Vec<Clash>) {
    clashes.push(Clash {
        path: path.to_owned(),
        base: base.cloned().unwrap_or_default(),
        mine: mine.cloned().unwrap_or_default(),
        theirs: theirs.cloned().unwrap_or_default(),
    });
}

/// Whether every element has the field, each another one.
fn is_named(list: &[Value], name: &str) -> bool {
    let mut seen = Vec::new();
    list.iter().all(|element| match element.get(name) {
        Some(value @ (Value::String(_) | Value::Number(_))) if !seen.contains(&value) => {
            seen.push(value);
            true
        }
        _ => false,
    })
}

fn elements(
    path: &str,
    name: &str,
    base: &[Value],
    mine: &[Value],
    theirs: &[Value],
    clashes: &mut Vec<Clash>,
) -> Vec<Value> {
    let of = |list: &[Value], key: &Value| list.iter().find(|element| element.get(name) == Some(key)).cloned();
    let keys = |list: &[Value]| {
        list.iter()
            .filter_map(|element| element.get(name).cloned())
            .collect::<Vec<_>>()
    };
    // In the user's order; what others have added follows.
    let mut order = keys(mine);
    order.extend(keys(theirs).into_iter().filter(|key| of(mine, key).is_none()));
    order
        .iter()
        .filter_map(|key| {
            let word = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
            let path = format!("{path}[{name}={word}]");
            merge(
                &path,
                of(base, key).as_ref(),
                of(mine, key).as_ref(),
                of(theirs, key).as_ref(),
                clashes,
            )
        })
        .collect()
}

/// The merge patch (RFC 7386) that makes `to` of `from`.
pub(super) fn patch(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return to.clone();
    };
    let mut fields = Map::new();
    for (key, value) in to {
        match from.get(key) {
            Some(old) if old == value => {}
            Some(old @ Value::Object(_)) if value.is_object() => {
                fields.insert(key.clone(), patch(old, value));
            }
            _ => {
                fields.insert(key.clone(), value.clone());
            }
        }
    }
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        fields.insert(key.clone(), Value::Null);
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_in_different_places_are_all_kept() {
        let base = json!({"spec": {"replicas": 1, "containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:1"}]}});
        let mine = json!({"spec": {"replicas": 1, "containers": [{"name": "a", "image": "x:2"}, {"name": "b", "image": "y:1"}]}});
        let theirs = json!({"spec": {"replicas": 3, "paused": true, "containers": [
            {"name": "a", "image": "x:1"}, {"name": "b", "image": "y:2"}, {"name": "sidecar", "image": "z"}]}, "status": {"ready": 3}});
        let merged = three_way(&base, &mine, &theirs).expect("no clash");
        assert_eq!(
            merged,
            json!({"spec": {"replicas": 3, "paused": true, "containers": [
                {"name": "a", "image": "x:2"}, {"name": "b", "image": "y:2"}, {"name": "sidecar", "image": "z"}]}, "status": {"ready": 3}})
        );
        assert_eq!(
            patch(&theirs, &merged)["spec"].as_object().map(Map::len),
            Some(1),
            "only the list is sent"
        );
    }

    #[test]
    fn a_place_changed_twice_is_named_with_all_its_values() {
        let at = |replicas: u32| json!({"spec": {"replicas": replicas, "containers": [{"name": "a", "image": format!("x:{replicas}")}]}});
        let clashes = three_way(&at(1), &at(5), &at(3)).expect_err("twice");
        let said: Vec<String> = clashes.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "spec.replicas was 1, is 3 now, and you want 5",
                "spec.containers[name=a].image was \"x:1\", is \"x:3\" now, and you want \"x:5\"",
            ]
        );
        assert_eq!(
            three_way(&at(1), &at(3), &at(3)),
            Ok(at(3)),
            "the same twice is no clash"
        );
    }

    #[test]
    fn what_was_removed_goes_and_lists_without_names_are_one_value() {
        let base = json!({"a": {"x": 1, "y": 2}, "list": [1, 2]});
        let mine = json!({"a": {"y": 2}, "list": [1, 2, 3]});
        let theirs = json!({"a": {"x": 1, "y": 2, "z": 3}, "list": [1, 2]});
        let merged = three_way(&base, &mine, &theirs).expect("no clash");
        assert_eq!(merged, json!({"a": {"y": 2, "z": 3}, "list": [1, 2, 3]}));
        assert_eq!(patch(&theirs, &merged), json!({"a": {"x": null}, "list": [1, 2, 3]}));
    }
}
