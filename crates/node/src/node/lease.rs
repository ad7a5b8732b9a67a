//! The node's lease: a heartbeat so small that the whole Node object need not be written for it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use knarr_clock::Clock;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::context::Context;

const NAMESPACE: &str = "kube-node-lease";
/// How long the lease is good for: seconds.
const DURATION: u32 = 40;
/// How often it is renewed.
pub(crate) const RENEWAL: Duration = Duration::from_secs(10);

/// Renews the lease until the kubelet shuts down.
pub(crate) async fn renew(cx: Arc<Context>) {
    let mut renewals = tokio::time::interval(RENEWAL);
    renewals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut known, mut lost) = (false, false);
    loop {
        renewals.tick().await;
        let (client, name, clock) = (&cx.client, &cx.options.node_name, &cx.clock);
        let renewed = match known {
            true => touch(client, name, clock).await,
            false => acquire(client, name, clock).await,
        };
        match renewed {
            Ok(()) => {
                known = true;
                if std::mem::take(&mut lost) {
                    cx.reached.notify_one();
                }
            }
            Err(error) => {
                (known, lost) = (false, true);
                tracing::debug!(%error, "lease not renewed");
            }
        }
    }
}

fn leases(client: &Client) -> Api<Lease> {
    Api::namespaced(client.clone(), NAMESPACE)
}

/// Renews a lease that is there.
pub(crate) async fn touch(client: &Client, name: &str, clock: &Clock) -> kube::Result<()> {
    let patch = json!({ "spec": { "renewTime": now(clock) } });
    leases(client)
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map(drop)
}

/// Makes the lease, or takes it over.
pub(crate) async fn acquire(client: &Client, name: &str, clock: &Clock) -> kube::Result<()> {
    let node = Api::<Node>::all(client.clone()).get_opt(name).await?;
    let owner = node
        .and_then(|node| node.metadata.uid)
        .map(|uid| json!([{ "apiVersion": "v1", "kind": "Node", "name": name, "uid": uid }]));
    let lease = json!({
        "metadata": { "name": name, "namespace": NAMESPACE, "ownerReferences": owner },
        "spec": { "holderIdentity": name, "leaseDurationSeconds": DURATION, "renewTime": now(clock) },
    });
    let object: Lease = serde_json::from_value(lease.clone()).map_err(kube::Error::SerdeError)?;
    match leases(client).create(&PostParams::default(), &object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if answer.reason == "AlreadyExists" => leases(client)
            .patch(name, &PatchParams::default(), &Patch::Merge(lease))
            .await
            .map(drop),
        Err(error) => Err(error),
    }
}

/// Leases count in microseconds.
fn now(clock: &Clock) -> String {
    clock.now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
