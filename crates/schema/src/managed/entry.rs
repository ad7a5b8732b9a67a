//! The entries of `metadata.managedFields`.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::set::Set;

/// More entries of updates than this are melted into [`ANCIENT`].
const MAX_UPDATERS: usize = 10;
/// The manager that stands for the oldest updates.
const ANCIENT: &str = "ancient-changes";

/// Who did what, when, to which fields.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub manager: String,
    pub applied: bool,
    pub api_version: String,
    pub subresource: String,
    pub time: String,
    pub fields: Set,
}

impl Entry {
    /// Whether two entries are of one manager. An applier is the same whatever version it applies.
    pub(super) fn is_of(&self, other: &Entry) -> bool {
        self.manager == other.manager
            && self.applied == other.applied
            && self.subresource == other.subresource
            && (self.applied || self.api_version == other.api_version)
    }

    /// `"kubectl" with subresource "status" using apps/v1`, as Kubernetes names it in a conflict.
    pub(super) fn title(&self) -> String {
        let mut title = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            title.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if !self.applied {
            title.push_str(&format!(" using {}", self.api_version));
        }
        title
    }

    fn read(entry: &Value) -> Option<Entry> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Entry {
            manager: text("manager"),
            applied: match entry.get("operation")?.as_str()? {
                "Apply" => true,
                "Update" => false,
                _ => return None,
            },
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: Set::from_json(entry.get("fieldsV1")?),
        })
    }

    fn write(&self) -> Value {
        let mut entry = Map::new();
        entry.insert("manager".into(), self.manager.as_str().into());
        entry.insert("operation".into(), if self.applied { "Apply" } else { "Update" }.into());
        entry.insert("apiVersion".into(), self.api_version.as_str().into());
        if !self.time.is_empty() {
            entry.insert("time".into(), self.time.as_str().into());
        }
        entry.insert("fieldsType".into(), "FieldsV1".into());
        entry.insert("fieldsV1".into(), self.fields.to_json());
        if !self.subresource.is_empty() {
            entry.insert("subresource".into(), self.subresource.as_str().into());
        }
        entry.into()
    }
}

/// The precision of `metav1.Time`.
pub(super) fn stamp(now: Timestamp) -> String {
    format!("{now:.0}")
}

/// The entries of an object; malformed ones are dropped.
pub(super) fn read(object: &Value) -> Vec<Entry> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries.into_iter().flatten().filter_map(Entry::read).collect()
}

/// Whether the request asks to forget all managers: a list of one empty entry. (An empty list does not: a client that knows
/// nothing of managers sends no entries either.)
pub(super) fn is_reset(object: &Value) -> bool {
    object
        .pointer("/metadata/managedFields")
        .is_some_and(|list| *list == json!([{}]))
}

/// Puts the entries into the object, appliers first, then by time.
pub(super) fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by(|a, b| {
        let key = |entry: &Entry| {
            (
                !entry.applied,
                entry.time.clone(),
                entry.manager.clone(),
                entry.api_version.clone(),
                entry.subresource.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    let Some(object) = object.as_object_mut() else { return };
    let metadata = object.entry("metadata").or_insert_with(|| Map::new().into());
    let Some(metadata) = metadata.as_object_mut() else {
        return;
    };
    if entries.is_empty() {
        metadata.shift_remove("managedFields");
    } else {
        metadata.insert("managedFields".into(), entries.iter().map(Entry::write).collect());
    }
}

/// Keeps the list short: the oldest updates of one version become one entry. Appliers are never melted, for an applier's
/// next request needs to know what its last one said.
pub(super) fn cap(entries: &mut Vec<Entry>) {
    let mut updaters = entries.iter().filter(|entry| !entry.applied).count();
    if updaters <= MAX_UPDATERS {
        return;
    }
    entries.sort_by(|a, b| (a.applied, &a.time, &a.manager).cmp(&(b.applied, &b.time, &b.manager)));
    let mut buckets: Vec<Entry> = Vec::new();
    let mut kept = Vec::new();
    for entry in entries.drain(..) {
        if entry.applied || updaters <= MAX_UPDATERS {
            kept.push(entry);
            continue;
        }
        match buckets
            .iter_mut()
            .find(|bucket| bucket.api_version == entry.api_version)
        {
            Some(bucket) => {
                bucket.manager = ANCIENT.into();
                bucket.subresource = String::new();
                bucket.fields = bucket.fields.union(&entry.fields);
                bucket.time = entry.time;
                updaters -= 1;
            }
            None => buckets.push(entry),
        }
    }
    entries.extend(buckets);
    entries.append(&mut kept);
}
