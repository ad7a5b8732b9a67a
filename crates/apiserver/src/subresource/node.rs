//! From a pod to the node that runs it.

use std::sync::Arc;

use knarr_resource::Status;
use knarr_stream::backend::{Backend, PodRef};
use serde_json::Value;

use crate::refusal;
use crate::server::Server;

/// How the node knows the pod.
pub(crate) fn pod_ref(pod: &Value) -> PodRef {
    let text = |key: &str| pod["metadata"][key].as_str().unwrap_or_default().to_owned();
    PodRef {
        namespace: text("namespace"),
        name: text("name"),
        uid: text("uid"),
    }
}

/// The node of a pod; empty before it is scheduled.
pub(crate) fn node_of(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}

/// What serves a pod's streams.
pub(crate) fn backend(server: &Server, pod: &Value) -> Result<Arc<dyn Backend>, Status> {
    let node = node_of(pod);
    if node.is_empty() {
        let name = &pod["metadata"]["name"];
        let name = name.as_str().unwrap_or_default();
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    server
        .backend(node)
        .ok_or_else(|| refusal::internal(format_args!("error dialing backend: node {node:?} cannot be reached")))
}
