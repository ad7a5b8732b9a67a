//! Objects as raw JSON. Typed or parsed trees of a whole kind cost ten times the memory, so an object is kept as
//! the server sent it, without `managedFields`, and parsed when one is looked at.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Names one object for good: a later object of the same name has another UID.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// UID.
    pub uid: Arc<str>,
}

impl ObjectId {
    /// The namespace, when it has one.
    pub fn namespace(&self) -> Option<&str> {
        Some(&*self.namespace).filter(|namespace| !namespace.is_empty())
    }
}

/// One object of a cluster.
#[derive(Debug, PartialEq, Eq)]
pub struct Object {
    /// Its identity.
    pub id: ObjectId,
    /// `metadata.resourceVersion`.
    pub resource_version: Box<str>,
    /// The object as JSON, without `metadata.managedFields`.
    pub raw: Box<str>,
}

impl Object {
    /// Parses the parts that `T` names.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.raw)
    }

    /// The whole object; `Null` when the server sent something that is no JSON (it cannot, the feed parsed it).
    pub fn value(&self) -> Value {
        self.parse().unwrap_or(Value::Null)
    }
}
