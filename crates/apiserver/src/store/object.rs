//! One stored object: its bytes, and the few facts about it that requests ask for without wanting the rest.

use std::borrow::Borrow;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use knarr_resource::Fields;
use serde_json::{Map, Value};

/// Which table of the store. Never given to another table, also when its own is dropped.
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
/// The JSON carries no `kind`, and `apiVersion` only where it says something (custom resources). Every response adds them
/// itself (lists leave them out of their items, and one stored object may be served in several versions), which costs one
/// copy of a few bytes.
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
    body: RwLock<Body>,
    /// Bytes of the JSON.
    size: usize,
    /// Where in the JSON the digits of the version begin.
    version_at: usize,
}

/// The JSON of an object, starting with `{` and never empty.
#[derive(Debug)]
enum Body {
    Plain(Bytes),
    Packed {
        bytes: Box<[u8]>,
        dictionary: Option<Arc<[u8]>>,
    },
}

/// An object on its way to the store: encoded, but without the version that only the writer can give it.
#[derive(Debug)]
pub(crate) struct Draft {
    uid: Box<str>,
    /// With an empty string for `metadata.resourceVersion`.
    json: Vec<u8>,
    version_at: usize,
}

impl Draft {
    /// Encodes `value` without `kind`, and without `apiVersion` if that is not to be kept.
    pub(crate) fn new(mut value: Value, versioned: bool) -> Self {
        if let Some(map) = value.as_object_mut() {
            map.shift_remove("kind");
            if !versioned {
                map.shift_remove("apiVersion");
            }
            let metadata = map.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.insert("resourceVersion".into(), Value::String(String::new()));
            }
        }
        let json = serde_json::to_vec(&value).expect("a Value has string keys only");
        Self {
            uid: value["metadata"]["uid"].as_str().unwrap_or_default().into(),
            version_at: version_at(&json).expect("every object is a map with metadata"),
            json,
        }
    }

    /// The object at a version.
    pub(crate) fn stamp(&self, key: &str, version: u64, index: Index) -> Object {
        let json = splice(&self.json, self.version_at..self.version_at, version);
        Object {
            key: key.into(),
            uid: self.uid.clone(),
            version,
            index,
            size: json.len(),
            body: RwLock::new(Body::Plain(json)),
            version_at: self.version_at,
        }
    }
}

/// Replaces the digits of a version.
fn splice(json: &[u8], place: Range<usize>, version: u64) -> Bytes {
    let digits = version.to_string();
    let mut out = Vec::with_capacity(json.len() - place.len() + digits.len());
    out.extend_from_slice(&json[..place.start]);
    out.extend_from_slice(digits.as_bytes());
    out.extend_from_slice(&json[place.end..]);
    out.into()
}

/// Where the text of `metadata.resourceVersion` begins in JSON as serde_json writes it: without spaces.
fn version_at(json: &[u8]) -> Option<usize> {
    let (mut at, mut depth, mut in_metadata) = (0, 0_usize, false);
    while at < json.len() {
        match json[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b'"' => {
                let start = at + 1;
                at = start;
                while *json.get(at)? != b'"' {
                    at += if json[at] == b'\\' { 2 } else { 1 };
                }
                let is_key = start >= 2 && matches!(json[start - 2], b'{' | b',') && json.get(at + 1) == Some(&b':');
                if is_key && depth == 1 {
                    in_metadata = &json[start..at] == b"metadata";
                } else if is_key && depth == 2 && in_metadata && &json[start..at] == b"resourceVersion" {
                    return (json.get(at + 2) == Some(&b'"')).then_some(at + 3);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

impl Object {
    /// An object as read from the disk. `None` if it does not say its version.
    pub(crate) fn loaded(key: &str, json: Bytes, value: &Value, index: Index) -> Option<Self> {
        Some(Self {
            key: key.into(),
            uid: value["metadata"]["uid"].as_str().unwrap_or_default().into(),
            version: value["metadata"]["resourceVersion"].as_str()?.parse().ok()?,
            index,
            version_at: version_at(&json)?,
            size: json.len(),
            body: RwLock::new(Body::Plain(json)),
        })
    }

    /// The same object with another version, or another index.
    fn with(&self, version: u64, index: Index, json: Bytes) -> Self {
        Self {
            key: self.key.clone(),
            uid: self.uid.clone(),
            version,
            index,
            size: json.len(),
            body: RwLock::new(Body::Plain(json)),
            version_at: self.version_at,
        }
    }

    /// The same content under another version.
    pub(crate) fn restamped(&self, version: u64) -> Self {
        let json = self.json();
        let digits = json[self.version_at..].iter().take_while(|byte| byte.is_ascii_digit());
        let place = self.version_at..self.version_at + digits.count();
        self.with(version, self.index.clone(), splice(&json, place, version))
    }

    /// The same object as another version of its kind shows it.
    pub(crate) fn shown(&self, value: Value, index: Index) -> Self {
        Draft::new(value, false).stamp(&self.key, self.version, index)
    }

    /// The same object with another index.
    pub(crate) fn reindexed(&self, index: Index) -> Self {
        self.with(self.version, index, self.json())
    }

    /// The object as JSON.
    pub(crate) fn json(&self) -> Bytes {
        match &*self.body.read().unwrap_or_else(PoisonError::into_inner) {
            Body::Plain(json) => json.clone(),
            Body::Packed { bytes, dictionary } => {
                let dictionary = dictionary.as_deref().unwrap_or_default();
                let json = lz4_flex::block::decompress_with_dict(bytes, self.size, dictionary);
                json.expect("it was packed by this process").into()
            }
        }
    }

    /// Bytes of the JSON.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Makes it take less room, and longer to read.
    pub(super) fn pack(&self, dictionary: Option<Arc<[u8]>>) {
        let json = match &*self.body.read().unwrap_or_else(PoisonError::into_inner) {
            Body::Plain(json) => json.clone(),
            Body::Packed { .. } => return,
        };
        let bytes = lz4_flex::block::compress_with_dict(&json, dictionary.as_deref().unwrap_or_default());
        if bytes.len() < self.size / 2 {
            let bytes = bytes.into_boxed_slice();
            *self.body.write().unwrap_or_else(PoisonError::into_inner) = Body::Packed { bytes, dictionary };
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

    /// Parses the object.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.json()).expect("the store wrote it with serde_json")
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_version_is_found_and_replaced_wherever_it_stands() {
        for value in [
            json!({"metadata": {"name": "a", "resourceVersion": "x"}, "spec": {}}),
            json!({"spec": {"metadata": {"resourceVersion": "1"}, "a": ["metadata", "\"", "\\"]}, "metadata": {"name": "a"}}),
            json!({"involvedObject": {"resourceVersion": "9"}, "metadata": {"annotations": {"resourceVersion": "8", "a": "\"resourceVersion\":\"7\""}}}),
            json!({"spec": 1}),
        ] {
            let mut expected = value.clone();
            let draft = Draft::new(value, false);
            for version in [7, 1234] {
                expected["metadata"]["resourceVersion"] = json!(version.to_string());
                let object = draft.stamp("a/b", version, Index::default());
                assert_eq!((object.version, object.value()), (version, expected.clone()));
                assert_eq!(object.restamped(99_999).value()["metadata"]["resourceVersion"], "99999");
                let again = Object::loaded("a/b", object.json(), &object.value(), Index::default());
                assert_eq!(again.expect("it has a version").version_at, object.version_at);
            }
        }
    }

    #[test]
    fn a_packed_object_reads_as_before_and_is_much_smaller() {
        let pod = |name: &str| {
            let containers: Vec<Value> = (0..40)
                .map(|n| json!({"name": format!("c{n}"), "image": "busybox", "env": [{"name": "N", "value": n}]}))
                .collect();
            let value = json!({"metadata": {"name": name, "uid": name}, "spec": {"containers": containers}});
            Draft::new(value, false).stamp(name, 5, Index::default())
        };
        let (first, second) = (pod("first"), pod("second"));
        let (before, sibling) = (second.json(), Arc::from(&first.json()[..]));
        for dictionary in [None, Some(sibling)] {
            let object = Object::loaded("second", before.clone(), &second.value(), Index::default()).expect("whole");
            let most = if dictionary.is_some() { 12 } else { 3 };
            object.pack(dictionary);
            assert_eq!((object.json(), object.size()), (before.clone(), before.len()));
            assert_eq!(object.restamped(77).value()["metadata"]["resourceVersion"], "77");
            let body = object.body.read().expect("not poisoned");
            assert!(
                matches!(&*body, Body::Packed { bytes, .. } if bytes.len() < before.len() / most),
                "{body:?}"
            );
        }
    }
}
