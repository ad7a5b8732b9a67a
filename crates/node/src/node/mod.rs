//! The Node object: registered once, refreshed rarely, with a lease that is renewed often and cheaply.

mod host;
mod lease;
mod object;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeStatus, ObjectReference};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::context::Context;

pub(crate) use host::capacity;
pub(crate) use lease::renew;

/// The status is written this often even if nothing has changed.
const REFRESH: Duration = Duration::from_secs(300);
/// After a failure it is tried again after this time.
const RETRY: Duration = Duration::from_secs(2);

/// Registers the node, or takes over the one that is there. Tries until the API server lets it.
pub(crate) async fn register(cx: &Context) {
    let nodes: Api<Node> = Api::all(cx.client.clone());
    loop {
        match try_register(cx, &nodes).await {
            Ok(uid) => {
                announce(cx, &uid);
                return;
            }
            Err(error) => tracing::warn!(%error, "node not registered"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn try_register(cx: &Context, nodes: &Api<Node>) -> kube::Result<String> {
    let name = &cx.options.node_name;
    let wanted = object::metadata(cx);
    let known = nodes.get_opt(name).await?;
    if known.is_none() {
        let node = Node {
            metadata: wanted.clone(),
            ..Node::default()
        };
        match nodes.create(&PostParams::default(), &node).await {
            Err(kube::Error::Api(answer)) if answer.reason == "AlreadyExists" => {}
            other => drop(other?),
        }
    }
    // Labels that are the kubelet's are put right; those of others stay.
    let patch = json!({ "metadata": { "labels": wanted.labels, "annotations": wanted.annotations } });
    let node = nodes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    write(cx, nodes, &node.status.unwrap_or_default()).await?;
    Ok(node.metadata.uid.unwrap_or_default())
}

/// Patches the status to what it is now.
async fn write(cx: &Context, nodes: &Api<Node>, previous: &NodeStatus) -> kube::Result<NodeStatus> {
    let status = object::status(cx, previous);
    let body = json!({ "status": status });
    nodes
        .patch_status(&cx.options.node_name, &PatchParams::default(), &Patch::Strategic(body))
        .await?;
    Ok(status)
}

/// What a kubelet tells when it starts.
fn announce(cx: &Context, uid: &str) {
    let name = &cx.options.node_name;
    let about = || ObjectReference {
        kind: Some("Node".into()),
        name: Some(name.clone()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    };
    for (reason, message) in [
        ("Starting", "Starting kubelet.".to_owned()),
        (
            "NodeHasSufficientMemory",
            format!("Node {name} status is now: NodeHasSufficientMemory"),
        ),
        (
            "NodeHasNoDiskPressure",
            format!("Node {name} status is now: NodeHasNoDiskPressure"),
        ),
        (
            "NodeHasSufficientPID",
            format!("Node {name} status is now: NodeHasSufficientPID"),
        ),
        ("NodeReady", format!("Node {name} status is now: NodeReady")),
    ] {
        cx.events.normal(about(), reason, message);
    }
}

/// Refreshes the status until the kubelet shuts down.
pub(crate) async fn refresh(cx: Arc<Context>) {
    let nodes: Api<Node> = Api::all(cx.client.clone());
    let mut wait = REFRESH;
    loop {
        tokio::time::sleep(wait).await;
        wait = match nodes.get_opt(&cx.options.node_name).await {
            Ok(Some(node)) => match write(&cx, &nodes, &node.status.unwrap_or_default()).await {
                Ok(_) => REFRESH,
                Err(_) => RETRY,
            },
            // Somebody has deleted it: it is still here.
            Ok(None) => {
                register(&cx).await;
                REFRESH
            }
            Err(_) => RETRY,
        };
    }
}

/// Tells that the kubelet stops, so that nobody has to find out by waiting.
pub(crate) async fn leave(cx: &Context) {
    let nodes: Api<Node> = Api::all(cx.client.clone());
    let condition = object::stopped(cx);
    let body = json!({ "status": { "conditions": [condition] } });
    let sent = nodes
        .patch_status(&cx.options.node_name, &PatchParams::default(), &Patch::Strategic(body))
        .await;
    if let Err(error) = sent {
        tracing::debug!(%error, "the node's end was not told");
    }
}
