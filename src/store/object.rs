//! Objects as raw JSON. Typed or parsed trees of a whole kind cost ten times the memory, so an object is kept as
//! the server sent it, without `managedFields`, and parsed when one is looked at.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::pack::Packed;
use crate::cluster::ClusterId;
use crate::store::Cell;

/// Names one object for good: a later object of the same name has another UID. Clusters that were restored from one copy have objects of
/// the same UID, so two are the same when cluster and UID are.
#[derive(Clone, Debug)]
pub struct ObjectId {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// UID.
    pub uid: Arc<str>,
}

impl PartialEq for ObjectId {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ObjectId {}

impl Ord for ObjectId {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.cluster, &*self.uid).cmp(&(other.cluster, &*other.uid))
    }
}

impl PartialOrd for ObjectId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for ObjectId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.cluster, &*self.uid).hash(state);
    }
}

impl ObjectId {
    /// The namespace, when it has one.
    pub fn namespace(&self) -> Option<&str> {
        Some(&*self.namespace).filter(|namespace| !namespace.is_empty())
    }
}

/// One object of a cluster.
#[derive(Debug)]
pub struct Object {
    /// Its identity.
    pub id: ObjectId,
    /// `metadata.resourceVersion`.
    pub resource_version: Box<str>,
    /// What the server's table shows of it, when it was asked for one.
    pub cells: Option<Arc<[Cell]>>,
    packed: Packed,
}

impl Object {
    /// An object from its JSON, which should be without `metadata.managedFields`.
    pub fn new(id: ObjectId, resource_version: &str, json: &str) -> Self {
        Self::packed(id, resource_version, Packed::alone(json))
    }

    pub(super) fn packed(id: ObjectId, resource_version: &str, packed: Packed) -> Self {
        Self {
            id,
            resource_version: resource_version.into(),
            cells: None,
            packed,
        }
    }

    /// The object as JSON.
    pub fn json(&self) -> Cow<'_, str> {
        self.packed.json()
    }

    /// The same object with what the server's table shows of it.
    pub(super) fn shown(self, cells: Option<Arc<[Cell]>>) -> Self {
        Self { cells, ..self }
    }

    /// Whether two versions of an object are the same JSON, and shown alike.
    pub fn is_same(&self, other: &Self) -> bool {
        self.cells == other.cells && self.packed.is_same(&other.packed)
    }

    /// Parses the parts that `T` names.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.json())
    }

    /// The whole object; `Null` when the server sent something that is no JSON (it cannot, the feed parsed it).
    pub fn value(&self) -> Value {
        self.parse().unwrap_or(Value::Null)
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.resource_version == other.resource_version && self.is_same(other)
    }
}
