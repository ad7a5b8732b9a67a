//! Pods: one worker each.

mod dispatch;
mod evict;
mod finish;
mod host_port;
mod launch;
pub(crate) mod plan;
mod registry;
pub(crate) mod state;
mod sync;
mod worker;

pub(crate) use dispatch::{Dispatcher, Mirror, dispatch};
pub(crate) use registry::{Desired, Registry, Shown};
pub(crate) use worker::spawn;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};

/// Marks the API server's copy of a static pod.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
/// What makes a static pod's manifest differ from another.
pub(crate) const HASH: &str = "kubernetes.io/config.hash";
/// Where a static pod comes from.
pub(crate) const SOURCE: &str = "kubernetes.io/config.source";

/// Namespace and name.
pub(crate) type Key = (String, String);

/// What the pod is known by.
pub(crate) fn key(pod: &Pod) -> Key {
    let meta = &pod.metadata;
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

/// Which one of that name it is.
pub(crate) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// An annotation's value.
pub(crate) fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// A reference to a pod, or to one of its containers (`spec.containers{web}`).
pub(crate) fn reference(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path,
    }
}
