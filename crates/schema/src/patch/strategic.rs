//! Strategic merge patch.
//!
//! A merge patch replaces lists whole, so changing one container would mean to send them all, and to undo what somebody
//! else changed in the meantime. Here the type says by which key the items of a list are told apart, and the patch
//! only has what changes. Because a list in the patch then cannot say "not there", directives do:
//!
//! * `$patch: delete | replace | merge` in a map, or as an item of its own in a list
//! * `$deleteFromPrimitiveList/finalizers: [a]`
//! * `$setElementOrder/containers: [{name: b}, {name: a}]`: the order that the client saw last
//! * `$retainKeys: [type]`: all other keys go (the union types: volumes, a deployment's strategy)

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::PatchError;
use crate::table::{Field, Kind, Schema, Strategy, Type};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

pub(super) fn merge(schema: &Schema, target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let Value::Object(patch) = patch else {
        return Err(PatchError::BadRequest("Invalid JSON document".into()));
    };
    if !target.is_object() {
        *target = Map::new().into();
    }
    if let Value::Object(map) = target {
        let merged = merge_map(Some(Of::Struct(schema.get())), std::mem::take(map), patch)?;
        *map = merged.unwrap_or_default();
    }
    Ok(())
}

/// What is known of a map's fields.
#[derive(Clone, Copy)]
enum Of<'a> {
    Struct(&'a Type),
    /// A map of strings to this.
    Values(&'a Kind),
}

/// How a field's value is to be merged.
#[derive(Clone, Copy)]
struct Rule<'a> {
    kind: Option<&'a Kind>,
    strategy: Strategy,
}

const REPLACE: Rule<'static> = Rule {
    kind: None,
    strategy: Strategy::Default,
};

fn rule<'a>(of: Option<Of<'a>>, name: &str) -> Rule<'a> {
    match of {
        Some(Of::Struct(type_)) => match type_.field(name) {
            Some(Field { kind, patch, .. }) => Rule {
                kind: Some(kind),
                strategy: *patch,
            },
            None => REPLACE,
        },
        Some(Of::Values(kind)) => Rule {
            kind: Some(kind),
            strategy: Strategy::Default,
        },
        None => REPLACE,
    }
}

fn of(kind: Option<&Kind>) -> Option<Of<'_>> {
    match kind? {
        Kind::Struct(schema) => Some(Of::Struct(schema.get())),
        Kind::Map(values) => Some(Of::Values(values)),
        Kind::SchemaOrArray | Kind::SchemaOrBool | Kind::SchemaOrStrings => {
            Some(Of::Struct(Kind::schema_props().get()))
        }
        _ => None,
    }
}

fn bad(text: impl Into<String>) -> PatchError {
    PatchError::BadRequest(text.into())
}

fn merge_key(fields: Option<Of<'_>>, name: &str) -> Option<&'static str> {
    match rule(fields, name).strategy {
        Strategy::MergeBy(key) => Some(key),
        _ => None,
    }
}

/// The merged map, or none if the patch deletes it.
fn merge_map(
    fields: Option<Of<'_>>,
    mut original: Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<Option<Map<String, Value>>, PatchError> {
    match patch.get(PATCH) {
        None => {}
        Some(Value::String(directive)) => match directive.as_str() {
            "merge" => {}
            "replace" => {
                let plain = patch.iter().filter(|(key, _)| *key != PATCH);
                return Ok(Some(plain.map(|(key, value)| (key.clone(), value.clone())).collect()));
            }
            "delete" => return Ok(None),
            other => return Err(bad(format!("unknown patch type: {other} in map: {}", go_map(patch)))),
        },
        Some(other) => return Err(bad(format!("unknown patch type: {other} in map: {}", go_map(patch)))),
    }
    retain_keys(&mut original, patch)?;
    let orders: Vec<_> = patch
        .iter()
        .filter_map(|(key, order)| Some((key.strip_prefix(ELEMENT_ORDER)?, order)))
        .collect();
    let served: Vec<_> = orders
        .iter()
        .map(|(name, _)| {
            let list = original
                .get(*name)
                .and_then(Value::as_array)
                .map_or(&[][..], Vec::as_slice);
            ids(list, merge_key(fields, name))
        })
        .collect();
    let mut gone = HashSet::new();
    for (key, value) in patch {
        if key == PATCH || key == RETAIN_KEYS || key.starts_with(ELEMENT_ORDER) {
            continue;
        }
        if let Some(name) = key.strip_prefix(DELETE_FROM) {
            let Value::Array(unwanted) = value else {
                return Err(bad("delete from primitive list must be a list"));
            };
            if let Some(Value::Array(list)) = original.get_mut(name) {
                let unwanted: HashSet<String> = unwanted.iter().map(Value::to_string).collect();
                list.retain(|item| !unwanted.contains(&item.to_string()));
            }
            continue;
        }
        if value.is_null() {
            gone.insert(key.as_str());
            continue;
        }
        let rule = rule(fields, key);
        let old = original.get_mut(key).map(Value::take);
        let merged = match (old, value) {
            (Some(Value::Object(old)), Value::Object(patch)) if rule.strategy != Strategy::Replace => {
                merge_map(of(rule.kind), old, patch)?.map(Value::Object)
            }
            (Some(Value::Array(old)), Value::Array(patch)) => Some(merge_list(rule, old, patch)?.into()),
            // Nothing to merge with: the patch is the value, without its directives.
            (_, Value::Object(patch)) => merge_map(of(rule.kind), Map::new(), patch)?.map(Value::Object),
            (_, Value::Array(patch)) => Some(merge_list(rule, Vec::new(), patch)?.into()),
            (_, scalar) => Some(scalar.clone()),
        };
        match merged {
            Some(value) => {
                original.insert(key.clone(), value);
            }
            None => {
                gone.insert(key.as_str());
            }
        }
    }
    // All at once: to take one key out of a map that keeps its order is to move all behind it.
    original.retain(|key, _| !gone.contains(key.as_str()));
    // Orders come last: by now the lists are merged.
    for ((name, order), served) in orders.into_iter().zip(served) {
        let Value::Array(order) = order else {
            return Err(bad("$setElementOrder must be a list"));
        };
        if let Some(Value::Array(list)) = original.get_mut(name) {
            let patched = patch.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            *list = in_order(std::mem::take(list), &served, order, patched, merge_key(fields, name))?;
        }
    }
    Ok(Some(original))
}

/// Keeps only the listed keys; the patch itself may set no others.
fn retain_keys(original: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), PatchError> {
    let Some(keys) = patch.get(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(keys) = keys else {
        return Err(bad("$retainKeys must be a list"));
    };
    let kept = |key: &str| keys.iter().any(|k| k.as_str() == Some(key));
    for (key, value) in patch {
        if !key.starts_with('$') && !value.is_null() && !kept(key) {
            return Err(bad("the patch has a key that is not in its $retainKeys list"));
        }
    }
    original.retain(|key, _| kept(key));
    Ok(())
}

fn merge_list(rule: Rule<'_>, original: Vec<Value>, patch: &[Value]) -> Result<Vec<Value>, PatchError> {
    let item = match rule.kind {
        Some(Kind::List(item)) => Some(&**item),
        _ => None,
    };
    match rule.strategy {
        Strategy::MergeBy(key) => merge_by_key(of(item), key, original, patch),
        Strategy::MergeScalars => {
            let mut list = original;
            let mut seen: HashSet<String> = list.iter().map(Value::to_string).collect();
            list.extend(patch.iter().filter(|value| seen.insert(value.to_string())).cloned());
            Ok(list)
        }
        Strategy::Default | Strategy::Replace => {
            let mut list = Vec::with_capacity(patch.len());
            for value in patch {
                match value {
                    Value::Object(map) => {
                        if map.get(PATCH).is_some_and(|directive| directive == "replace") && map.len() == 1 {
                            continue;
                        }
                        list.extend(merge_map(of(item), Map::new(), map)?.map(Value::Object));
                    }
                    plain => list.push(plain.clone()),
                }
            }
            Ok(list)
        }
    }
}

/// Merges items that share a key; new ones go to the end.
fn merge_by_key(
    fields: Option<Of<'_>>,
    key: &str,
    original: Vec<Value>,
    patch: &[Value],
) -> Result<Vec<Value>, PatchError> {
    let (mut list, mut plain_items, mut deleted, mut replaces) = (original, Vec::new(), HashSet::new(), false);
    // Deletions come first, wherever they stand.
    for item in patch {
        let Value::Object(item) = item else {
            return Err(bad(format!("expected a map with merge key {key} as list item")));
        };
        match item.get(PATCH) {
            None => plain_items.push(item),
            Some(directive) if directive == "delete" => {
                deleted.insert(plain(item.get(key).ok_or_else(|| no_merge_key(item, key))?));
            }
            Some(directive) if directive == "replace" => replaces = true,
            Some(directive) if directive == "merge" => {
                return Err(bad("merging lists cannot yet be specified in the patch"));
            }
            Some(other) => {
                return Err(bad(format!(
                    "unknown patch type: {} in map: {}",
                    plain(other),
                    go_map(item)
                )));
            }
        }
    }
    let id = |item: &Value| item.get(key).map(plain);
    list.retain(|item| !replaces && id(item).is_none_or(|id| !deleted.contains(&id)));
    let mut places: HashMap<String, usize> = HashMap::new();
    for (at, item) in list.iter().enumerate() {
        if let Some(id) = id(item) {
            places.entry(id).or_insert(at);
        }
    }
    for item in plain_items {
        let id = plain(item.get(key).ok_or_else(|| no_merge_key(item, key))?);
        let old = match places.get(&id).and_then(|at| list.get_mut(*at)) {
            Some(old) => old,
            None => {
                places.insert(id, list.len());
                list.push(Value::Null);
                let Some(new) = list.last_mut() else { continue };
                new
            }
        };
        let map = if let Value::Object(map) = old.take() {
            map
        } else {
            Map::new()
        };
        *old = merge_map(fields, map, item)?.unwrap_or_default().into();
    }
    Ok(list)
}

fn no_merge_key(item: &Map<String, Value>, key: &str) -> PatchError {
    bad(format!(
        "map: {} does not contain declared merge key: {key}",
        go_map(item)
    ))
}

/// Kubernetes compares merge keys as text: a patch may say `80` where the object has `"80"`.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What tells a list's items apart, as text.
fn ids(list: &[Value], key: Option<&str>) -> Vec<Option<String>> {
    let id = |item: &Value| match key {
        Some(key) => item.get(key).map(plain),
        None => Some(plain(item)),
    };
    list.iter().map(id).collect()
}

/// Puts the items that the client knew in the order that it wants, and weaves in those that only the server has: each goes
/// before the first known item that followed it in the server's own order.
fn in_order(
    list: Vec<Value>,
    served: &[Option<String>],
    order: &[Value],
    patched: &[Value],
    key: Option<&str>,
) -> Result<Vec<Value>, PatchError> {
    let wanted = ids(order, key);
    let places = |ids: &[Option<String>]| -> HashMap<String, usize> {
        ids.iter()
            .enumerate()
            .rev()
            .filter_map(|(at, id)| Some((id.clone()?, at)))
            .collect()
    };
    let (wanted_places, served_places) = (places(&wanted), places(served));
    if wanted.contains(&None) {
        return Err(bad(format!(
            "$setElementOrder has an item without merge key {}",
            key.unwrap_or_default()
        )));
    }
    for (item, id) in patched.iter().zip(ids(patched, key)) {
        if item.get(PATCH).is_none() && id.is_some_and(|id| !wanted_places.contains_key(&id)) {
            return Err(bad("The order in patch list:\n doesn't match $setElementOrder list:\n"));
        }
    }
    let listed = ids(&list, key);
    let (mut known, mut others) = (Vec::new(), Vec::new());
    for (item, id) in list.into_iter().zip(listed) {
        let place = |places: &HashMap<String, usize>| id.as_ref().and_then(|id| places.get(id)).copied();
        let server_place = place(&served_places);
        match place(&wanted_places) {
            Some(place) => known.push((place, server_place, item)),
            None => others.push((server_place, item)),
        }
    }
    known.sort_by_key(|(place, ..)| *place);
    let mut result = Vec::with_capacity(known.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, place, item) in known {
        while let Some((_, other)) = others.next_if(|(other, _)| matches!((other, place), (Some(a), Some(b)) if *a < b))
        {
            result.push(other);
        }
        result.push(item);
    }
    result.extend(others.map(|(_, other)| other));
    Ok(result)
}

/// As Go prints a map.
fn go_map(map: &Map<String, Value>) -> String {
    let mut parts: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{key}:{}", plain(value)))
        .collect();
    parts.sort();
    format!("map[{}]", parts.join(" "))
}
