//! What is wrong with a ValidatingAdmissionPolicy that no request has shown yet: its expressions are checked against the
//! schemas of the kinds it matches, and `status.typeChecking` says what was found.

use std::sync::{Arc, Weak};

use knarr_resource::expressions;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::registered::GROUP;
use crate::server::Server;
use crate::store::{Expect, Write, WriteError};

const PLURAL: &str = "validatingadmissionpolicies";

/// Checks each policy once for each of its generations.
pub(crate) struct Controller {
    /// Weak, so that a server that nobody uses any more goes away.
    server: Weak<Server>,
    stopping: CancellationToken,
    changes: watch::Receiver<u64>,
}

impl Controller {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self {
            server: Arc::downgrade(server),
            stopping: server.stopping.clone(),
            changes: server.store.changes(server.slot(GROUP, PLURAL)),
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            self.changes.mark_unchanged();
            let Some(server) = self.server.upgrade() else { return };
            check_all(&server).await;
            drop(server);
            tokio::select! {
                () = self.stopping.cancelled() => return,
                changed = self.changes.changed() => if changed.is_err() { return },
            }
        }
    }
}

async fn check_all(server: &Server) {
    let slot = server.slot(GROUP, PLURAL);
    for live in server.store.list(slot, None).objects {
        let mut policy = live.value();
        let generation = policy["metadata"]["generation"].clone();
        if policy["status"]["observedGeneration"] == generation {
            continue;
        }
        let checking = type_check(server, &policy["spec"]);
        policy["status"] = json!({"observedGeneration": generation, "typeChecking": checking});
        let write = Write {
            slot,
            key: live.key.to_string(),
            expect: Expect::Version(live.version),
            value: Some(policy),
        };
        match server.store.write(write).await {
            // Whoever changed it meanwhile made another change to look at.
            Ok(_) | Err(WriteError::Conflict | WriteError::Missing | WriteError::Closed) => {}
            Err(error) => tracing::warn!(?error, "the status of a policy could not be stored"),
        }
    }
}

fn type_check(server: &Server, spec: &Value) -> Value {
    let served = server.served();
    let kind = &spec["paramKind"];
    let version = kind["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = kind["kind"].as_str().unwrap_or_default();
    let params = served.registry.by_kind(group, version, kind);
    expressions::type_check(spec, params.map(|params| &**params), |group, version, plural| {
        served.registry.find(group, version, plural).cloned()
    })
}
