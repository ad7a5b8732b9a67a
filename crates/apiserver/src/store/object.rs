//! One stored object: its bytes, and the few facts about it that requests ask for without wanting the rest.

use std::borrow::Borrow;
use std::sync::Arc;

use bytes::Bytes;
use knarr_resource::Fields;
use serde_json::Value;

/// Which table of the store: the index of a served resource.
pub(crate) type Slot = usize;

/// What selectors look at, computed once per write so that a list never parses an object to filter it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Index {
    /// `metadata.labels`, null without any.
    pub labels: Value,
    /// The fields a field selector may name.
    pub fields: Fields,
}

/// An object as stored. Immutable: an update makes a new one, so readers never wait and never see half a change.
///
/// The JSON carries neither `kind` nor `apiVersion`. Every response adds them itself (lists leave them out of their items,
/// and one stored object may be served in several versions), which costs one copy of a few bytes.
#[derive(Debug)]
pub(crate) struct Object {
    /// `namespace/name`, with an empty namespace for cluster-scoped objects.
    pub key: Box<str>,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `metadata.resourceVersion`.
    pub version: u64,
    /// Labels and selectable fields.
    pub index: Index,
    /// The object, starting with `{` and never empty.
    pub json: Bytes,
}

impl Object {
    /// Serialises `value`. Its `metadata.resourceVersion` is set to `version`; `kind` and `apiVersion` are dropped.
    pub(crate) fn new(key: &str, mut value: Value, version: u64, index: Index) -> Self {
        if let Some(map) = value.as_object_mut() {
            map.shift_remove("kind");
            map.shift_remove("apiVersion");
        }
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".into(), Value::String(version.to_string()));
        }
        let uid = value["metadata"]["uid"].as_str().unwrap_or_default().into();
        let mut json = serde_json::to_vec(&value).expect("a Value has string keys only");
        json.shrink_to_fit();
        Self {
            key: key.into(),
            uid,
            version,
            index,
            json: json.into(),
        }
    }

    /// The namespace, empty for cluster-scoped objects.
    pub(crate) fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The name.
    pub(crate) fn name(&self) -> &str {
        self.key.split_once('/').map_or(&self.key, |(_, name)| name)
    }

    /// Parses the object. It has neither `kind` nor `apiVersion`.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.json).expect("the store wrote it with serde_json")
    }
}

/// The key of an object. The order of keys is the order of lists; it is that of etcd, where `a-b/x` sorts before `a/x`.
pub(crate) fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// An object in the sorted set of its table, ordered by key.
#[derive(Clone, Debug)]
pub(crate) struct Entry(pub Arc<Object>);

impl Borrow<str> for Entry {
    fn borrow(&self) -> &str {
        &self.0.key
    }
}
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

/// One write, as watches see it.
#[derive(Debug)]
pub(crate) struct Event {
    pub change: Change,
    /// The object after the change; for a deletion its last state, under the version of the deletion.
    pub object: Arc<Object>,
    /// The object before the change. Selectors need it: an object that stops matching is "deleted" for that watch.
    pub previous: Option<Arc<Object>>,
}
