//! Lists whose items must be told apart: sets, and lists with keys.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use super::Structural;
use crate::field::{Errors, Path};

/// Complains of items that are there twice. What the old object had twice already is forgiven.
pub fn unique(schema: &Structural, object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let mut found = Errors::new();
    walk(schema, object, &Path::default(), &mut found);
    if found.is_empty() {
        return;
    }
    if let Some(old) = old {
        let mut before = Errors::new();
        walk(schema, old, &Path::default(), &mut before);
        if !before.is_empty() {
            return;
        }
    }
    for error in found.into_vec() {
        errors.push(&error.path, error.cause, error.value, error.detail);
    }
}

fn walk(schema: &Structural, value: &Value, path: &Path, errors: &mut Errors) {
    match value {
        Value::Array(items) => {
            let key = |item: &Value| match schema.list_type.as_str() {
                "set" => Some(item.clone()),
                "map" => {
                    let item_schema = schema.items.as_deref();
                    let keys = schema.list_map_keys.iter().filter_map(|key| {
                        let default = || item_schema?.properties.get(key)?.default.as_ref();
                        Some((key.clone(), item.get(key).or_else(default)?.clone()))
                    });
                    Some(Value::Object(keys.collect::<Map<_, _>>()))
                }
                _ => None,
            };
            let mut seen = HashSet::new();
            for (index, item) in items.iter().enumerate() {
                if let Some(key) = key(item)
                    && !seen.insert(canonical(&key))
                {
                    errors.duplicate(&path.index(index), key);
                }
                if let Some(inner) = &schema.items {
                    walk(inner, item, &path.index(index), errors);
                }
            }
        }
        Value::Object(map) => {
            for (name, inner) in map {
                let below = match schema.properties.contains_key(name) {
                    true => path.child(name),
                    false => path.key(name),
                };
                if let Some(field) = schema.field(name) {
                    walk(field, inner, &below, errors);
                }
            }
        }
        _ => {}
    }
}

/// The same text for the same value, whatever order its fields have.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, String> = map.iter().map(|(key, value)| (key, canonical(value))).collect();
            format!("{sorted:?}")
        }
        Value::Array(items) => format!("{:?}", items.iter().map(canonical).collect::<Vec<_>>()),
        other => other.to_string(),
    }
}
