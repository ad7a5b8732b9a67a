//! A definition that is deleted takes its objects along.

use jiff::Timestamp;
use knarr_resource::crd::{self, FINALIZER};
use serde_json::{Value, json};
use tokio::sync::watch;

use std::sync::PoisonError;

use super::{Definition, put, serve, stamp};
use crate::error::Error;
use crate::server::Server;
use crate::store::{Expect, Slot, Write};

/// Objects deleted in one transaction.
const CHUNK: usize = 256;

/// Does what is to be done next. Returns what to wait for, if there are objects that do not go at once.
pub(super) async fn run(
    server: &Server,
    definition: &mut Definition,
    now: Timestamp,
) -> Result<Option<watch::Receiver<u64>>, Error> {
    let held = definition.value["metadata"]["finalizers"].as_array();
    if !held.is_some_and(|held| held.iter().any(|held| held == FINALIZER)) {
        return Ok(None);
    }
    let uid = definition.value["metadata"]["uid"].as_str().unwrap_or_default();
    let slot = {
        let made = server.custom.0.lock().unwrap_or_else(PoisonError::into_inner);
        made.get(uid).map(|custom| custom.slot)
    };
    let time = stamp(now);
    let Some(slot) = slot else {
        let message = "resource was never established";
        crd::set_condition(
            &mut definition.value,
            "Terminating",
            "False",
            "NeverEstablished",
            message,
            &time,
        );
        release(server, definition).await?;
        return Ok(None);
    };
    let message = "CustomResource deletion is in progress";
    if crd::set_condition(
        &mut definition.value,
        "Terminating",
        "True",
        "InstanceDeletionInProgress",
        message,
        &time,
    ) {
        // Written first; this runs again for the change.
        put(server, &definition.live, Some(definition.value.clone())).await?;
        return Ok(None);
    }
    let changes = server.store.changes(slot);
    if empty(server, slot, &time).await? {
        let message = "removed all instances";
        crd::set_condition(
            &mut definition.value,
            "Terminating",
            "False",
            "InstanceDeletionCompleted",
            message,
            &time,
        );
        release(server, definition).await?;
        serve(server)?;
        server.store.drop_table(slot).await?;
        return Ok(None);
    }
    Ok(Some(changes))
}

/// Asks all objects to go. Whether none is left.
async fn empty(server: &Server, slot: Slot, now: &str) -> Result<bool, Error> {
    let objects = server.store.list(slot, None).objects;
    let mut writes = Vec::new();
    let mut left = false;
    for object in &objects {
        let mut value = object.value();
        let held = value["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|held| !held.is_empty());
        left |= held;
        if held && value["metadata"]["deletionTimestamp"].is_string() {
            continue;
        }
        let next = held.then(|| {
            value["metadata"]["deletionTimestamp"] = json!(now);
            value["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            value
        });
        writes.push(Write {
            slot,
            key: object.key.to_string(),
            expect: Expect::Version(object.version),
            value: next,
        });
    }
    while !writes.is_empty() {
        let rest = writes.split_off(writes.len().min(CHUNK));
        // Somebody else was faster with one of them: it is looked at again.
        if server.store.transact(writes).await.is_err() {
            left = true;
        }
        writes = rest;
    }
    Ok(!left)
}

/// Lets go of the definition; nothing else may hold it.
async fn release(server: &Server, definition: &mut Definition) -> Result<(), Error> {
    let metadata = &mut definition.value["metadata"];
    let mut held: Vec<Value> = metadata["finalizers"].as_array().cloned().unwrap_or_default();
    held.retain(|held| held != FINALIZER);
    if held.is_empty() {
        return put(server, &definition.live, None).await;
    }
    metadata["finalizers"] = held.into();
    put(server, &definition.live, Some(definition.value.clone())).await
}
