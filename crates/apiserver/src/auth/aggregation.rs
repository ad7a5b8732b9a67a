//! Fills in the rules of aggregated ClusterRoles, so that everybody can read what they allow.

use std::sync::{Arc, Weak};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::rbac::{self, GROUP};
use crate::object::name_of;
use crate::server::Server;
use crate::store::{Expect, Slot, Write};

pub(crate) struct Controller {
    /// Weak, so that a server that nobody uses any more goes away.
    server: Weak<Server>,
    stopping: CancellationToken,
    slot: Slot,
    changes: watch::Receiver<u64>,
}

impl Controller {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        let slot = server.slot(GROUP, "clusterroles");
        Self {
            server: Arc::downgrade(server),
            stopping: server.stopping.clone(),
            slot,
            changes: server.store.changes(slot),
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            let Some(server) = self.server.upgrade() else {
                return;
            };
            fill(&server, self.slot).await;
            drop(server);
            tokio::select! {
                () = self.stopping.cancelled() => return,
                changed = self.changes.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Writes the rules that differ. Roles may aggregate aggregated ones: each write is a change, after which this runs again.
async fn fill(server: &Server, slot: Slot) {
    let snapshot = server.store.list(slot, None);
    let roles: Vec<Value> = snapshot.objects.iter().map(|object| object.value()).collect();
    let mut writes = Vec::new();
    for (live, role) in snapshot.objects.iter().zip(&roles) {
        if !role["aggregationRule"].is_object() {
            continue;
        }
        let rules = json!(rbac::aggregated(&roles, name_of(role)));
        if role["rules"] != rules {
            let mut role = role.clone();
            role["rules"] = rules;
            writes.push(Write {
                slot,
                key: live.key.to_string(),
                expect: Expect::Version(live.version),
                value: Some(role),
            });
        }
    }
    // A role that changed meanwhile is another change, which is looked at next.
    if !writes.is_empty()
        && let Err(refused) = server.store.transact(writes).await
    {
        tracing::debug!(?refused, "the rules of aggregated roles are filled in later");
    }
}
