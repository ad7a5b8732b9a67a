//! Whether other servers are there, in the `Available` condition of their APIServices.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::{join_all, select_all};
use knarr_resource::crd::set_condition;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{GROUP, PLURAL, Remote, find};
use crate::dial::Address;
use crate::server::Server;
use crate::store::{Expect, Object, Write, WriteError};

/// How often a server that is there is asked whether it still is.
const RESYNC: Duration = Duration::from_secs(30);
/// How long to wait before one that is not there is asked again; twice as long each time, up to [`RESYNC`].
const FIRST_RETRY: Duration = Duration::from_millis(250);

/// What an APIService waits for.
struct Trouble {
    reason: &'static str,
    message: String,
}

/// Asks the servers, and serves what they offer.
pub(crate) struct Controller {
    /// Weak, so that a server that nobody uses any more goes away.
    server: Weak<Server>,
    stopping: CancellationToken,
    changes: Vec<watch::Receiver<u64>>,
}

impl Controller {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        let changes = [
            (GROUP, PLURAL),
            ("", "services"),
            ("", "endpoints"),
            ("discovery.k8s.io", "endpointslices"),
        ]
        .map(|(group, plural)| server.store.changes(server.slot(group, plural)));
        Self {
            server: Arc::downgrade(server),
            stopping: server.stopping.clone(),
            changes: changes.into(),
        }
    }

    pub(crate) async fn run(mut self) {
        let mut retry = FIRST_RETRY;
        loop {
            for changes in &mut self.changes {
                changes.mark_unchanged();
            }
            let Some(server) = self.server.upgrade() else { return };
            let remotes = sync(&server).await;
            drop(server);
            let (wait, next) = match (remotes.is_empty(), remotes.iter().all(|remote| remote.available)) {
                (true, _) => (None, FIRST_RETRY),
                (false, true) => (Some(RESYNC), FIRST_RETRY),
                (false, false) => (Some(retry), (retry * 2).min(RESYNC)),
            };
            retry = next;
            let time = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    // Nothing to ask: no timer wakes anybody.
                    None => std::future::pending().await,
                }
            };
            let changed = select_all(self.changes.iter_mut().map(|changes| Box::pin(changes.changed())));
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = time => {}
                (outcome, ..) = changed => if outcome.is_err() { return },
            }
        }
    }
}

/// Asks every server, writes down what it found, and serves that.
async fn sync(server: &Server) -> Vec<Arc<Remote>> {
    let stored = server.store.list(server.slot(GROUP, PLURAL), None).objects;
    let before = server.served();
    let asked = stored.iter().filter_map(|live| {
        let value = live.value();
        let mut remote = Remote::of(&value)?;
        // What it offered stays known while it is away.
        if let Some(known) = find(&before.remotes, &remote.group, &remote.version) {
            remote.resources = known.resources.clone();
            remote.openapi = known.openapi.clone();
        }
        Some(async move {
            let trouble = check(server, &mut remote).await.err();
            remote.available = trouble.is_none();
            (live, value, remote, trouble)
        })
    });
    let answers = join_all(asked.collect::<Vec<_>>()).await;
    let remotes: Vec<Arc<Remote>> = answers
        .iter()
        .map(|(_, _, remote, _)| Arc::new(remote.clone()))
        .collect();
    // Served before anybody can read that it is.
    if before.remotes != remotes {
        server.set_remotes(remotes.clone());
    }
    for (live, value, _, trouble) in answers {
        report(server, live, value, trouble).await;
    }
    remotes
}

async fn report(server: &Server, live: &Object, mut value: Value, trouble: Option<Trouble>) {
    let now = jiff::Timestamp::from_second(server.clock.now().as_second()).unwrap_or_default();
    let (status, reason, message) = match &trouble {
        None => ("True", "Passed", "all checks passed"),
        Some(trouble) => ("False", trouble.reason, trouble.message.as_str()),
    };
    if !value["status"].is_object() {
        value["status"] = json!({});
    }
    if !set_condition(&mut value, "Available", status, reason, message, &now.to_string()) {
        return;
    }
    let write = Write {
        slot: server.slot(GROUP, PLURAL),
        key: live.key.to_string(),
        expect: Expect::Version(live.version),
        value: Some(value),
    };
    match server.store.write(write).await {
        // If somebody else was faster, it is looked at again.
        Ok(_) | Err(WriteError::Conflict | WriteError::Missing | WriteError::Closed) => {}
        Err(error) => tracing::warn!(%error, apiservice = live.name(), "whether it is available was not stored"),
    }
}

/// Asks one server what it offers.
async fn check(server: &Server, remote: &mut Remote) -> Result<(), Trouble> {
    routed(server, remote)?;
    let list = remote.get(server, &remote.path()).await;
    let list = list.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).map_err(|error| error.to_string()));
    let list = list.map_err(|message| Trouble {
        reason: "FailedDiscoveryCheck",
        message,
    })?;
    remote.resources = Some(list);
    // A server need not describe its kinds.
    let path = format!("/openapi/v3/{}", remote.document());
    remote.openapi = remote.get(server, &path).await.ok();
    Ok(())
}

/// Whether there is a way to a server.
fn routed(server: &Server, remote: &Remote) -> Result<(), Trouble> {
    let Address::Service { namespace, name, port } = &remote.address else {
        return Ok(());
    };
    let trouble = |reason, message| Err(Trouble { reason, message });
    let Some(service) = server.find("", "services", namespace, name) else {
        let message = format!("service/{name} in {namespace:?} is not present");
        return trouble("ServiceNotFound", message);
    };
    if !matches!(service["spec"]["type"].as_str(), None | Some("ClusterIP")) {
        return Ok(());
    }
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let Some(own) = ports.find(|own| own["port"].as_u64() == Some(u64::from(*port))) else {
        let message = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return trouble("ServicePortError", message);
    };
    let port_name = own["name"].as_str().unwrap_or_default();
    let slot = server.slot("discovery.k8s.io", "endpointslices");
    let slices: Vec<Value> = server
        .store
        .list(slot, Some(namespace))
        .objects
        .iter()
        .filter(|slice| slice.index.labels["kubernetes.io/service-name"] == name.as_str())
        .map(|slice| slice.value())
        .collect();
    if slices.is_empty() {
        let message = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return trouble("EndpointsNotFound", message);
    }
    if !slices.iter().any(|slice| has_endpoint(slice, port_name)) {
        let message = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
        );
        return trouble("MissingEndpoints", message);
    }
    Ok(())
}

fn has_endpoint(slice: &Value, port_name: &str) -> bool {
    let list = |key: &str| slice[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready = |endpoint: &Value| endpoint["conditions"]["ready"] != false;
    let named = |port: &Value| port["name"].as_str().unwrap_or_default() == port_name && port["port"].is_number();
    list("endpoints").iter().any(ready) && list("ports").iter().any(named)
}
