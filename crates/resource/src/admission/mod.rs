//! Admission: the rules that need to look at other objects, or that belong to the cluster rather than to a kind.
//!
//! Each plugin of Kubernetes that the cluster runs is a module here. Plugins that change an object run before those
//! that only refuse.

use crate::resource::Resource;
use crate::status::Failure;
use serde_json::Value;

/// What admission may look at besides the request.
pub trait Lookup {
    /// One object; `namespace` is empty for cluster-scoped resources.
    fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Value>;
    /// All objects, in one namespace or in all if `namespace` is empty.
    fn list(&self, resource: &Resource, namespace: &str) -> Vec<Value>;
}

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Store a new object, or send one to a subresource.
    Create,
    /// Replace an object.
    Update,
    /// Remove an object.
    Delete,
}

/// A request as admission sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The resource in the path.
    pub resource: &'a Resource,
    /// The subresource in the path.
    pub subresource: Option<&'a str>,
    /// What is to be done.
    pub operation: Operation,
    /// The namespace in the path, empty for cluster-scoped resources.
    pub namespace: &'a str,
    /// The name of the object, which may be empty on create.
    pub name: &'a str,
}

/// Changes `object` as the cluster's rules want it, or says why the request is refused.
///
/// `old` is the stored object on update and delete; on delete `object` is null.
pub fn admit(
    request: &Request<'_>,
    object: &mut Value,
    old: Option<&Value>,
    lookup: &dyn Lookup,
) -> Result<(), Failure> {
    let _ = (request, object, old, lookup);
    Ok(())
}
