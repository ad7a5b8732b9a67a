//! Walks over objects with the type in hand: which fields there are, which differ, how two become one.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};

use super::set::Set;
use crate::table::{Field, Key, Kind, ListType, Type};

/// How ownership looks at a value.
#[derive(Clone, Copy)]
pub(super) enum Shape<'a> {
    /// Owned whole: scalars, atomic lists, maps and structs.
    Leaf,
    Struct(&'a Type),
    /// Keys of any name, owned one by one.
    Map(&'a Kind),
    /// Scalars, owned one by one.
    Set,
    /// Items known by these keys.
    List(&'a [Key], &'a Kind),
    /// Part of an object that the table does not know: maps are looked into, lists are leaves.
    Deduced,
}

impl<'a> Shape<'a> {
    fn of_field(field: &'a Field) -> Self {
        if field.atomic {
            return Shape::Leaf;
        }
        match (&field.kind, &field.list) {
            (Kind::List(_), ListType::Set) => Shape::Set,
            (Kind::List(item), ListType::Map(keys)) => Shape::List(keys, item),
            (kind, _) => Shape::of_kind(kind),
        }
    }

    fn of_kind(kind: &'a Kind) -> Self {
        match kind {
            Kind::Struct(schema) if schema.get().atomic => Shape::Leaf,
            Kind::Struct(schema) => Shape::Struct(schema.get()),
            Kind::Map(of) => Shape::Map(of),
            Kind::Owned(_, ListType::Set) => Shape::Set,
            Kind::Owned(item, ListType::Map(keys)) => Shape::List(keys, item),
            _ => Shape::Leaf,
        }
    }

    /// Of a field or key.
    pub(super) fn child(self, name: &str) -> Shape<'a> {
        match self {
            Shape::Struct(type_) => match type_.field(name) {
                Some(field) => Shape::of_field(field),
                None => Shape::Deduced,
            },
            Shape::Map(of) => Shape::of_kind(of),
            Shape::Deduced => Shape::Deduced,
            Shape::Leaf | Shape::Set | Shape::List(..) => Shape::Leaf,
        }
    }

    pub(super) fn item(self) -> Shape<'a> {
        match self {
            Shape::List(_, item) => Shape::of_kind(item),
            _ => Shape::Leaf,
        }
    }

    /// Whether `name` is a field of a struct, which exists by the type, and not a key that somebody made.
    fn names(self, name: &str) -> bool {
        matches!(self, Shape::Struct(type_) if type_.field(name).is_some())
    }

    fn is_list(self) -> bool {
        matches!(self, Shape::Set | Shape::List(..))
    }

    fn is_map(self) -> bool {
        matches!(self, Shape::Struct(_) | Shape::Map(_) | Shape::Deduced)
    }

    /// The edge of an item of a list.
    pub(super) fn edge(self, item: &Value) -> Result<String, String> {
        match self {
            Shape::Set => Ok(format!("v:{item}")),
            Shape::List(keys, _) => {
                let mut found: Vec<(&str, Value)> = Vec::new();
                for key in keys {
                    let value = match (item.get(&*key.name), &key.default) {
                        (Some(value), _) if !value.is_null() => value.clone(),
                        (_, Some(default)) => default.clone(),
                        _ => {
                            return Err(format!(
                                "associative list with keys has an element that omits key field {:?} (and doesn't have default value)",
                                key.name
                            ));
                        }
                    };
                    found.push((&key.name, value));
                }
                found.sort_by_key(|(key, _)| *key);
                let keys: Map<String, Value> = found.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
                Ok(format!("k:{}", Value::Object(keys)))
            }
            _ => Err("not an associative list".into()),
        }
    }
}

/// The shape at the end of a path.
fn shape_at<'a>(root: Shape<'a>, path: &[String]) -> Shape<'a> {
    path.iter().fold(root, |shape, edge| match edge.strip_prefix("f:") {
        Some(name) => shape.child(name),
        None => shape.item(),
    })
}

/// Adds the named fields on the way to the members: who owns `spec.replicas` keeps `spec` in being.
pub(super) fn ensure_named(root: &Type, set: &Set) -> Set {
    set.with_members(&mut Vec::new(), &|path| match path.split_last() {
        Some((last, parents)) => last
            .strip_prefix("f:")
            .is_some_and(|name| shape_at(Shape::Struct(root), parents).names(name)),
        None => false,
    })
}

/// All fields of an object that was applied; an error if a list's items cannot be told apart.
pub(super) fn fields(root: &Type, object: &Value) -> Result<Set, String> {
    let mut set = Set::default();
    collect(Shape::Struct(root), object, &mut Vec::new(), &mut set)?;
    Ok(set)
}

fn collect(shape: Shape<'_>, value: &Value, path: &mut Vec<String>, set: &mut Set) -> Result<(), String> {
    match value {
        Value::Object(map) if shape.is_map() => {
            for (name, value) in map {
                path.push(format!("f:{name}"));
                collect(shape.child(name), value, path, set)?;
                if value.is_null() || is_empty(value) || !shape.names(name) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        Value::Array(items) if shape.is_list() => {
            let mut seen = HashSet::new();
            for (index, item) in items.iter().enumerate() {
                let edge = shape
                    .edge(item)
                    .map_err(|error| format!("{}: element {index}: {error}", show(path)))?;
                if !seen.insert(edge.clone()) {
                    let last = super::set::display(&[edge.as_str()]);
                    return Err(format!("{}: duplicate entries for key {last}", show(path)));
                }
                path.push(edge);
                collect(shape.item(), item, path, set)?;
                set.insert(path);
                path.pop();
            }
        }
        _ => set.insert(path),
    }
    Ok(())
}

fn show(path: &[String]) -> String {
    super::set::display(&path.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The paths of the lists, maps and structs in an object that are owned whole.
pub(super) fn atomics(shape: Shape<'_>, value: &Value, path: &mut String, found: &mut Vec<String>) {
    let before = path.len();
    match value {
        Value::Object(map) if shape.is_map() => {
            for (name, value) in map {
                path.push_str(&format!(".{name}"));
                atomics(shape.child(name), value, path, found);
                path.truncate(before);
            }
        }
        Value::Array(items) if shape.is_list() => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                atomics(shape.item(), item, path, found);
                path.truncate(before);
            }
        }
        Value::Object(_) | Value::Array(_) => found.push(path.clone()),
        _ => {}
    }
}

/// What became of one object in the other.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub added: Set,
    pub removed: Set,
    pub modified: Set,
}

impl Comparison {
    pub(super) fn is_same(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.modified.is_empty()
    }

    /// Leaves what a path says out of account.
    pub(super) fn ignore(&mut self, path: &[&str], below: bool) {
        for set in [&mut self.added, &mut self.removed, &mut self.modified] {
            if below {
                set.cut(path);
            } else {
                set.remove(path);
            }
        }
    }
}

pub(super) fn compare(root: &Type, old: &Value, new: &Value) -> Comparison {
    let mut comparison = Comparison::default();
    differ(
        Shape::Struct(root),
        Some(old),
        Some(new),
        &mut Vec::new(),
        &mut comparison,
    );
    comparison
}

fn differ(shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>, path: &mut Vec<String>, into: &mut Comparison) {
    let empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => false,
    };
    let fits = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(_)) => shape.is_map(),
        Some(Value::Array(_)) => shape.is_list(),
        _ => false,
    };
    // Two empty ones are compared as leaves, so that `{}` and nothing differ.
    if !fits(old) || !fits(new) || (empty(old) && empty(new)) {
        match (old, new) {
            (None, Some(_)) => into.added.insert(path),
            (Some(_), None) => into.removed.insert(path),
            (Some(old), Some(new)) if old != new => into.modified.insert(path),
            _ => {}
        }
        return;
    }
    if shape.is_map() {
        let nothing = Map::new();
        let old_map = old.and_then(Value::as_object).unwrap_or(&nothing);
        let new_map = new.and_then(Value::as_object).unwrap_or(&nothing);
        let gone = old_map.keys().filter(|name| !new_map.contains_key(*name));
        for name in gone.chain(new_map.keys()) {
            path.push(format!("f:{name}"));
            differ(shape.child(name), old_map.get(name), new_map.get(name), path, into);
            path.pop();
        }
    } else {
        let (old_items, new_items) = (index(shape, old), index(shape, new));
        let gone = old_items.keys().filter(|edge| !new_items.contains_key(*edge));
        for edge in gone.chain(new_items.keys()) {
            path.push(edge.clone());
            let (before, after) = (old_items.get(edge).copied(), new_items.get(edge).copied());
            differ(shape.item(), before, after, path, into);
            path.pop();
        }
    }
    match (old, new) {
        (None, _) => into.added.insert(path),
        (_, None) => into.removed.insert(path),
        _ => {}
    }
}

/// A list's items by their edges. An item without its keys has none; of several with one edge the first counts.
fn index<'a>(shape: Shape<'_>, list: Option<&'a Value>) -> BTreeMap<String, &'a Value> {
    let mut found = BTreeMap::new();
    for item in list.and_then(Value::as_array).into_iter().flatten() {
        if let Ok(edge) = shape.edge(item) {
            found.entry(edge).or_insert(item);
        }
    }
    found
}

/// Lays what was applied over what is there.
pub(super) fn merge(shape: Shape<'_>, live: &mut Value, applied: &Value) {
    match (&mut *live, applied) {
        (Value::Object(map), Value::Object(applied)) if shape.is_map() => {
            for (name, value) in applied {
                match map.get_mut(name) {
                    Some(live) => merge(shape.child(name), live, value),
                    None => {
                        map.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(items), Value::Array(applied)) if shape.is_list() => {
            *items = merge_list(shape, std::mem::take(items), applied);
        }
        _ => *live = applied.clone(),
    }
}

/// In the order of what was applied; an item that only the object has stays where it is among those that both have.
fn merge_list(shape: Shape<'_>, live: Vec<Value>, applied: &[Value]) -> Vec<Value> {
    let edges = |items: &[Value]| items.iter().map(|item| shape.edge(item).ok()).collect::<Vec<_>>();
    let (live_edges, applied_edges) = (edges(&live), edges(applied));
    let wanted: HashSet<&String> = applied_edges.iter().flatten().collect();
    let mut places: HashMap<&String, usize> = HashMap::new();
    for (at, edge) in live_edges.iter().enumerate() {
        if let Some(edge) = edge {
            places.entry(edge).or_insert(at);
        }
    }
    let mut live: Vec<Option<Value>> = live.into_iter().map(Some).collect();
    let mut result = Vec::with_capacity(live.len() + applied.len());
    let (mut l, mut a) = (0, 0);
    while l < live.len() || a < applied.len() {
        let turn = applied_edges.get(a).and_then(Option::as_ref);
        if let Some(edge) = live_edges.get(l) {
            let edge = edge.as_ref();
            if edge.is_none_or(|edge| !wanted.contains(edge)) {
                result.extend(live[l].take());
                l += 1;
                continue;
            }
            // Both have it, but it is wanted elsewhere: it is taken when its turn comes.
            if edge != turn && (a >= applied.len() || turn.is_some_and(|turn| places.contains_key(turn))) {
                l += 1;
                continue;
            }
        }
        if let Some(item) = applied.get(a) {
            let at = turn.and_then(|turn| places.get(turn));
            let mut merged = at.and_then(|at| live[*at].take()).unwrap_or(Value::Null);
            merge(shape.item(), &mut merged, item);
            result.push(merged);
            a += 1;
        }
    }
    result
}

/// Takes the members of a set out of the object.
pub(super) fn remove(shape: Shape<'_>, value: &mut Value, set: &Set) {
    match value {
        Value::Object(map) => {
            for (edge, node) in set.iter() {
                let Some(name) = edge.strip_prefix("f:") else { continue };
                let Some(inner) = map.get_mut(name) else { continue };
                if node.member {
                    map.shift_remove(name);
                } else {
                    remove(shape.child(name), inner, &node.children);
                }
            }
        }
        Value::Array(items) if shape.is_list() => {
            items.retain_mut(|item| {
                let Some(node) = shape.edge(item).ok().and_then(|edge| set.get(&edge)) else {
                    return true;
                };
                if !node.member {
                    remove(shape.item(), item, &node.children);
                }
                !node.member
            });
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
