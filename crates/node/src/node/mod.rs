//! The Node object: registered once, refreshed rarely, with a lease that is renewed often and cheaply.

mod host;
mod lease;
mod object;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, ObjectReference};
use knarr_runtime::RuntimeStatus;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use tokio::time::Instant;

use crate::context::Context;

pub(crate) use host::{MachineUsage, disk, machine_usage};
pub(crate) use lease::{RENEWAL, acquire, renew, touch};
pub(crate) use object::{arch, conditions, resources};

/// The status is written this often even if nothing has changed.
const REFRESH: Duration = Duration::from_secs(300);
/// After a failure it is tried again after this time.
const RETRY: Duration = Duration::from_secs(2);

/// Registers the node, or takes over the one that is there. Tries until the API server lets it. Returns what the node is then.
pub(crate) async fn register(cx: &Context) -> Seen {
    let nodes: Api<Node> = Api::all(cx.client.clone());
    let runtime = cx.runtime.status().borrow().clone();
    loop {
        match try_register(cx, &nodes, &runtime).await {
            Ok(node) => {
                let seen = Seen::of(&node, &runtime);
                seen.announce(cx);
                return seen;
            }
            Err(error) => tracing::warn!(%error, "node not registered"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn try_register(cx: &Context, nodes: &Api<Node>, runtime: &RuntimeStatus) -> kube::Result<Node> {
    let name = &cx.options.node_name;
    let wanted = object::metadata(cx);
    let cidr = cx.options.pod_cidr.clone();
    // With its status: what is ready at once needs no second write, and no taint in between.
    let node = Node {
        metadata: wanted.clone(),
        spec: Some(NodeSpec {
            pod_cidrs: cidr.clone().map(|cidr| vec![cidr]),
            pod_cidr: cidr,
            ..NodeSpec::default()
        }),
        status: Some(object::status(cx, &NodeStatus::default(), runtime)),
    };
    match nodes.create(&PostParams::default(), &node).await {
        Err(kube::Error::Api(answer)) if answer.reason == "AlreadyExists" => {}
        created => return created,
    }
    // Labels that are the kubelet's are put right; those of others stay.
    let patch = json!({ "metadata": { "labels": wanted.labels, "annotations": wanted.annotations } });
    let node = nodes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    write(
        cx,
        nodes,
        node.status.as_ref().unwrap_or(&NodeStatus::default()),
        runtime,
    )
    .await?;
    Ok(node)
}

/// Patches the status to what it is now.
async fn write(cx: &Context, nodes: &Api<Node>, previous: &NodeStatus, runtime: &RuntimeStatus) -> kube::Result<()> {
    let status = object::status(cx, previous, runtime);
    let body = json!({ "status": status });
    let name = &cx.options.node_name;
    nodes
        .patch_status(name, &PatchParams::default(), &Patch::Strategic(body))
        .await
        .map(drop)
}

/// What was last seen, and told, of the node.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    uid: String,
    ready: bool,
    schedulable: bool,
}

impl Seen {
    fn of(node: &Node, runtime: &RuntimeStatus) -> Self {
        Self {
            uid: node.metadata.uid.clone().unwrap_or_default(),
            ready: runtime.down.is_none(),
            schedulable: node.spec.as_ref().is_none_or(|spec| spec.unschedulable != Some(true)),
        }
    }

    /// An event about the node's new status.
    fn tell(&self, cx: &Context, reason: &'static str) {
        let name = &cx.options.node_name;
        cx.events
            .normal(self.about(cx), reason, format!("Node {name} status is now: {reason}"));
    }

    fn about(&self, cx: &Context) -> ObjectReference {
        ObjectReference {
            kind: Some("Node".into()),
            name: Some(cx.options.node_name.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }

    fn ready(&mut self, cx: &Context, ready: bool) {
        if std::mem::replace(&mut self.ready, ready) != ready {
            self.tell(cx, if ready { "NodeReady" } else { "NodeNotReady" });
        }
    }

    fn schedulable(&mut self, cx: &Context, schedulable: bool) {
        if std::mem::replace(&mut self.schedulable, schedulable) != schedulable {
            self.tell(
                cx,
                if schedulable {
                    "NodeSchedulable"
                } else {
                    "NodeNotSchedulable"
                },
            );
        }
    }

    /// What a kubelet tells when it starts.
    fn announce(&self, cx: &Context) {
        cx.events.normal(self.about(cx), "Starting", "Starting kubelet.");
        for reason in [
            "NodeHasSufficientMemory",
            "NodeHasNoDiskPressure",
            "NodeHasSufficientPID",
        ] {
            self.tell(cx, reason);
        }
        self.tell(cx, if self.ready { "NodeReady" } else { "NodeNotReady" });
    }
}

/// Keeps the status up to date until the kubelet shuts down: from time to time, and at once when the container runtime goes down or comes
/// back. Tells of both, and of the node's being cordoned.
pub(crate) async fn refresh(cx: Arc<Context>, mut seen: Seen) {
    let nodes: Api<Node> = Api::all(cx.client.clone());
    let name = cx.options.node_name.clone();
    let own = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut own = std::pin::pin!(watcher(nodes.clone(), own).default_backoff());
    let mut runtime = cx.runtime.status();
    let mut due = Instant::now() + REFRESH;
    loop {
        tokio::select! {
            // The channel's other end lives as long as the runtime.
            Ok(()) = runtime.changed() => {}
            Some(event) = own.next() => {
                if let Ok(watcher::Event::Apply(node) | watcher::Event::InitApply(node)) = event {
                    let now = Seen::of(&node, &RuntimeStatus::default());
                    seen.uid = now.uid;
                    seen.schedulable(&cx, now.schedulable);
                    // While this kubelet was not heard it was given up.
                    if object::is_given_up(&node) {
                        due = Instant::now();
                    }
                }
                continue;
            }
            () = cx.reached.notified() => {}
            () = tokio::time::sleep_until(due) => {}
        }
        let status = runtime.borrow_and_update().clone();
        let wait = match nodes.get_opt(&name).await {
            Ok(Some(node)) => match write(&cx, &nodes, &node.status.unwrap_or_default(), &status).await {
                Ok(()) => {
                    seen.ready(&cx, status.down.is_none());
                    REFRESH
                }
                Err(_) => RETRY,
            },
            // Somebody has deleted it: it is still here.
            Ok(None) => {
                seen = register(&cx).await;
                REFRESH
            }
            Err(_) => RETRY,
        };
        due = Instant::now() + wait;
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
