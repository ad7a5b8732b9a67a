//! Who owns which field: server-side apply and `metadata.managedFields`.
//!
//! Every write is by a manager, and the object remembers which fields each manager set. A plain update makes its manager the
//! owner of what it changed. An apply says all that its manager wants: it owns exactly that, what it no longer says
//! and nobody else owns goes away, and changing what somebody else owns is a conflict unless it is forced. Two who want the
//! same value own it together.

mod entry;
mod set;
mod typed;
mod walk;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::strict;
use crate::table::{Kind, Schema, Type};
use entry::Entry;
use set::Set;
use walk::Shape;

/// Who applies, and how.
#[derive(Debug, Clone)]
pub struct ApplyOptions<'a> {
    /// The `fieldManager` parameter (required for apply).
    pub manager: &'a str,
    /// Take fields over from other managers.
    pub force: bool,
    /// `apps/v1`
    pub api_version: &'a str,
    /// `""`, or `status` and the like.
    pub subresource: &'a str,
    /// The time of the request.
    pub now: Timestamp,
}

/// The operation of an entry that is not an apply is always `Update`, for create, update and patch alike.
#[derive(Debug, Clone)]
pub struct TrackOptions<'a> {
    /// The `fieldManager` parameter, or the first part of the User-Agent (see [`default_manager`]).
    pub manager: &'a str,
    /// `apps/v1`
    pub api_version: &'a str,
    /// `""`, or `status`, `scale` and the like.
    pub subresource: &'a str,
    /// The time of the request.
    pub now: Timestamp,
}

/// A field that another manager owns with another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// `"kubectl-client-side-apply" using apps/v1`, as Kubernetes words it.
    pub manager: String,
    /// `.spec.replicas`
    pub field: String,
}

/// Why an apply did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// 409 Conflict: the message of the Status, and one cause (reason `FieldManagerConflict`) for each.
    #[error("{message}")]
    Conflicts {
        /// `Apply failed with 1 conflict: conflict with "kubectl" using apps/v1: .spec.replicas`
        message: String,
        /// One per field.
        conflicts: Vec<Conflict>,
    },
    /// 400 BadRequest.
    #[error("{0}")]
    Invalid(String),
}

/// The manager's name when no `fieldManager` is given: the User-Agent up to its first slash, and `unknown` for those who
/// do not say even that.
pub fn default_manager(user_agent: &str) -> &str {
    match user_agent.split('/').next() {
        None | Some("") => "unknown",
        Some(program) => program,
    }
}

/// Why an object cannot be applied as one of its type: fields that the type does not have and values that do not fit, with
/// their paths, in one message.
pub fn type_errors(schema: &Schema, applied: &Value) -> Option<String> {
    let mut errors = typed::errors(schema, applied);
    match errors.len() {
        0 => strict::type_errors(schema, applied).into_iter().next(),
        1 => errors.pop(),
        _ => Some(format!("errors:\n  {}", errors.join("\n  "))),
    }
}

/// The object after applying `applied` to `live`, with `metadata.managedFields` brought up to date.
///
/// If nothing changes, the answer equals `live` (timestamps included), so that the caller can leave out the write.
pub fn apply(
    schema: &Schema,
    live: Option<&Value>,
    applied: &Value,
    options: &ApplyOptions<'_>,
) -> Result<Value, ApplyError> {
    let type_ = schema.get();
    let mut applied = applied.clone();
    check(&applied, options)?;
    strict::canonical(schema, &mut applied);
    if let Some(object) = applied.as_object_mut() {
        for field in foreign(type_, options.subresource) {
            object.shift_remove(*field);
        }
    }
    let mut set = walk::fields(type_, &applied).map_err(|error| refused(&applied, options, &error))?;
    strip(&mut set);

    let base = live.cloned().unwrap_or_else(|| Value::Object(Map::new()));
    let mut entries = entry::read(&base);
    if live.is_some() && entries.is_empty() {
        // Nobody watched so far: what is there belongs to those who were here before.
        entries.extend(before_first_apply(type_, &base, options));
    }
    let own = Entry {
        manager: options.manager.into(),
        applied: true,
        api_version: options.api_version.into(),
        subresource: options.subresource.into(),
        time: entry::stamp(options.now),
        fields: set,
    };
    let last = entries
        .iter()
        .position(|entry| entry.is_of(&own))
        .map(|at| entries.remove(at));

    let mut merged = base.clone();
    forget(&mut merged);
    walk::merge(Shape::Struct(type_), &mut merged, &applied);
    if let Some(last) = &last {
        let owned = entries
            .iter()
            .fold(own.fields.clone(), |all, entry| all.union(&entry.fields));
        let gone = walk::ensure_named(type_, &last.fields).difference(&walk::ensure_named(type_, &owned));
        walk::remove(Shape::Struct(type_), &mut merged, &gone);
    }
    drop_nulls(&mut merged);

    let mut before = base.clone();
    forget(&mut before);
    let mut comparison = walk::compare(type_, &before, &merged);
    ignore(&mut comparison, foreign(type_, options.subresource));
    let changed = comparison.modified.union(&comparison.added);
    let conflicts: Vec<(usize, Set)> = entries
        .iter()
        .enumerate()
        .map(|(at, entry)| (at, entry.fields.intersection(&changed)))
        .filter(|(_, set)| !set.is_empty())
        .collect();
    if !options.force && !conflicts.is_empty() {
        return Err(conflict(&entries, &conflicts));
    }
    if comparison.is_same()
        && last
            .as_ref()
            .is_some_and(|last| last.fields == own.fields && last.api_version == own.api_version)
    {
        return Ok(base);
    }
    disown(&mut entries, &changed.union(&comparison.removed));
    entries.push(own);
    entry::write(&mut merged, entries);
    Ok(merged)
}

/// Lays `applied` over `live` as [`apply`] does, but for nobody: no field gets or loses an owner.
///
/// # Errors
/// `applied` is no object of the type, or would replace a list, map or struct that is one value, whose other items its author
/// may not know of. In the words of MutatingAdmissionPolicy.
pub fn merge(schema: &Schema, live: &mut Value, applied: &Value) -> Result<(), String> {
    if let Some(why) = type_errors(schema, applied) {
        return Err(format!("failed to convert patch object to typed object: {why}"));
    }
    let shape = Shape::Struct(schema.get());
    let mut atomics = Vec::new();
    walk::atomics(shape, applied, &mut String::new(), &mut atomics);
    if !atomics.is_empty() {
        let atomics = atomics.join(", ");
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {atomics}"
        ));
    }
    walk::merge(shape, live, applied);
    Ok(())
}

/// Brings `metadata.managedFields` of `new` up to date after a create (`old` is none), update or patch.
///
/// What the request itself said in managedFields counts (a client may edit the list; `[{}]` empties it), but not if it said
/// nothing: then the old list is kept. An object that has lost its list is not tracked until somebody applies.
pub fn track(schema: &Schema, old: Option<&Value>, new: &mut Value, options: &TrackOptions<'_>) {
    let type_ = schema.get();
    let mut entries = entry::read(new);
    if options.subresource.is_empty() && entry::is_reset(new) {
        return entry::write(new, Vec::new());
    }
    if let Some(old) = old
        && (entries.is_empty() || !options.subresource.is_empty())
    {
        entries = entry::read(old);
    }
    if old.is_some() && entries.is_empty() {
        return entry::write(new, entries);
    }
    let mut before = old.cloned().unwrap_or_else(|| blank(type_, new));
    forget(&mut before);
    forget(new);
    let mut comparison = walk::compare(type_, &before, new);
    ignore(&mut comparison, foreign(type_, options.subresource));
    let changed = comparison.modified.union(&comparison.added);
    disown(&mut entries, &changed.union(&comparison.removed));
    if !changed.is_empty() {
        let mut own = Entry {
            manager: options.manager.into(),
            applied: false,
            api_version: options.api_version.into(),
            subresource: options.subresource.into(),
            time: entry::stamp(options.now),
            fields: changed,
        };
        if let Some(at) = entries.iter().position(|entry| entry.is_of(&own)) {
            own.fields = own.fields.union(&entries.remove(at).fields);
        }
        entries.push(own);
    }
    entries.retain(|entry| !entry.fields.is_empty());
    entry::cap(&mut entries);
    entry::write(new, entries);
}

fn check(applied: &Value, options: &ApplyOptions<'_>) -> Result<(), ApplyError> {
    let version = applied.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if version != options.api_version {
        return Err(ApplyError::Invalid(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
            options.api_version
        )));
    }
    let managed = applied.pointer("/metadata/managedFields");
    if managed.is_some_and(|list| !list.is_null() && list.as_array().is_none_or(|list| !list.is_empty())) {
        return Err(ApplyError::Invalid("metadata.managedFields must be nil".into()));
    }
    Ok(())
}

fn refused(applied: &Value, options: &ApplyOptions<'_>, error: &str) -> ApplyError {
    let text = |pointer: &str| applied.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name, kind) = (text("/metadata/namespace"), text("/metadata/name"), text("/kind"));
    ApplyError::Invalid(format!(
        "failed to create typed patch object ({namespace}/{name}; {}, Kind={kind}): {error}",
        options.api_version
    ))
}

/// The field of the object that a request to this subresource cannot set: the status belongs to the status subresource,
/// the spec to the object itself.
fn foreign(type_: &Type, subresource: &str) -> &'static [&'static str] {
    let has_status = match type_.custom {
        true => type_.status,
        false => type_.field("status").is_some(),
    };
    match subresource {
        "" if has_status => &["status"],
        "status" if type_.custom => &["metadata", "spec"],
        "status" => &["spec"],
        _ => &[],
    }
}

/// What nobody owns: the server sets it, or it says which object this is.
const UNOWNED: [&[&str]; 13] = [
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:clusterName"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:resourceVersion"],
    &["f:metadata", "f:deletionTimestamp"],
];

fn strip(set: &mut Set) {
    UNOWNED.iter().for_each(|path| set.remove(path));
}

fn ignore(comparison: &mut walk::Comparison, foreign: &[&str]) {
    UNOWNED.iter().for_each(|path| comparison.ignore(path, false));
    for field in foreign {
        comparison.ignore(&[&format!("f:{field}")], true);
    }
}

fn forget(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
}

/// Takes fields from all managers: a field that was changed by one has a new owner, one that is gone has none.
fn disown(entries: &mut [Entry], fields: &Set) {
    for entry in entries {
        entry.fields = entry.fields.difference(fields);
    }
}

/// An apply may say null; the object does not.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// What Go has before anything is set: structs that are no pointers exist from the start and are not added by the creator.
fn blank(type_: &Type, new: &Value) -> Value {
    const VALUES: [&str; 7] = [
        "metadata",
        "spec",
        "status",
        "template",
        "jobTemplate",
        "strategy",
        "updateStrategy",
    ];
    let values = if type_.custom { &VALUES[..1] } else { &VALUES[..] };
    let mut map = Map::new();
    for field in type_.fields().iter().filter(|field| values.contains(&&*field.json)) {
        if let (Kind::Struct(inner), Some(value)) = (&field.kind, new.get(&*field.json)) {
            map.insert(field.json.to_string(), blank(inner.get(), value));
        }
    }
    map.into()
}

fn before_first_apply(type_: &Type, live: &Value, options: &ApplyOptions<'_>) -> Option<Entry> {
    let mut before = live.clone();
    forget(&mut before);
    let mut comparison = walk::compare(type_, &blank(type_, &before), &before);
    ignore(&mut comparison, foreign(type_, ""));
    let fields = comparison.added.union(&comparison.modified);
    (!fields.is_empty()).then(|| Entry {
        manager: "before-first-apply".into(),
        applied: false,
        api_version: options.api_version.into(),
        subresource: String::new(),
        time: entry::stamp(options.now),
        fields,
    })
}

fn conflict(entries: &[Entry], sets: &[(usize, Set)]) -> ApplyError {
    let mut managers: Vec<(String, Vec<String>)> = Vec::new();
    for (at, set) in sets {
        if let Some(entry) = entries.get(*at) {
            managers.push((
                entry.title(),
                set.members().iter().map(|path| set::display(path)).collect(),
            ));
        }
    }
    managers.sort();
    let conflicts: Vec<Conflict> = managers
        .iter()
        .flat_map(|(manager, fields)| {
            fields.iter().map(|field| Conflict {
                manager: manager.clone(),
                field: field.clone(),
            })
        })
        .collect();
    let message = match conflicts.as_slice() {
        [one] => format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            one.manager, one.field
        ),
        many => {
            let lines: Vec<String> = managers
                .iter()
                .flat_map(|(manager, fields)| {
                    let title = format!("conflicts with {manager}:");
                    std::iter::once(title).chain(fields.iter().map(|field| format!("- {field}")))
                })
                .collect();
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    ApplyError::Conflicts { message, conflicts }
}

#[cfg(test)]
mod tests;
