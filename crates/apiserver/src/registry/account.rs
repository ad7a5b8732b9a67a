//! Patience with a namespace that is only just there.
//!
//! A controller gives every namespace its account `default`, a moment after the namespace was made; without it there can be
//! no pods. Nobody who makes a namespace and then a pod in it should have to know of this race.

use std::time::Duration;

use serde_json::Value;

use super::Request;
use crate::object::is_deleting;
use crate::server::Server;
use crate::store;

/// The one account that comes by itself.
const DEFAULT: &str = "default";
/// How long the controller may take.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Returns when the account that a new pod needs is there, or when it is pointless to wait for it. Says nothing about
/// either: admission will.
pub(crate) async fn awaited(server: &Server, request: &Request, object: &Value) {
    if request.resource.storage != "pods" || !runs_as_default(object) {
        return;
    }
    let slot = server.slot("", "serviceaccounts");
    let key = store::key(&request.namespace, DEFAULT);
    let mut changes = server.store.changes(slot);
    if server.store.get(slot, &key).is_some() {
        return;
    }
    let namespace = server.find("", "namespaces", "", &request.namespace);
    if namespace.is_none_or(|namespace| is_deleting(&namespace)) {
        return;
    }
    let there = async {
        while server.store.get(slot, &key).is_none() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = tokio::time::sleep(PATIENCE) => {}
        () = server.stopping.cancelled() => {}
    }
}

fn runs_as_default(pod: &Value) -> bool {
    let name = |field: &str| pod["spec"][field].as_str().filter(|name| !name.is_empty());
    let mirror = pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string();
    !mirror
        && name("serviceAccountName")
            .or_else(|| name("serviceAccount"))
            .is_none_or(|name| name == DEFAULT)
}
