//! The group versions that this server serves itself, as APIServices: there is one for each, and none for those that went.

use std::collections::BTreeMap;

use knarr_resource::custom;
use serde_json::{Value, json};

use super::stamp;
use crate::error::Error;
use crate::object::name_of;
use crate::server::Server;
use crate::store::{self, Expect, Write, WriteError};

pub(crate) const GROUP: &str = "apiregistration.k8s.io";
pub(crate) const PLURAL: &str = "apiservices";
/// Marks those that are made here.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// Brings the local APIServices up to date.
pub(super) async fn register(server: &Server) -> Result<(), Error> {
    let slot = server.slot(GROUP, PLURAL);
    let served = server.served();
    let mut wanted: BTreeMap<String, (String, String, bool)> = BTreeMap::new();
    for resource in served.registry.iter() {
        let (group, version) = (resource.group.clone(), resource.version.clone());
        let own = resource.definition.is_some();
        wanted
            .entry(format!("{version}.{group}"))
            .or_insert((group, version, own));
    }
    let mut writes = Vec::new();
    for object in server.store.list(slot, None).objects {
        let value = object.value();
        let managed = value["metadata"]["labels"][MANAGED].is_string() && value["spec"]["service"].is_null();
        if wanted.remove(name_of(&value)).is_none() && managed {
            writes.push(Write {
                slot,
                key: object.key.to_string(),
                expect: Expect::Version(object.version),
                value: None,
            });
        }
    }
    let now = stamp(server.clock.now());
    for (name, (group, version, own)) in wanted {
        writes.push(Write {
            slot,
            key: store::key("", &name),
            expect: Expect::Absent,
            value: Some(local(&name, &group, &version, own, &now)),
        });
    }
    if writes.is_empty() {
        return Ok(());
    }
    match server.store.transact(writes).await.map_err(|refused| refused.error) {
        // Somebody else was faster with one of them: there will be another change to look at.
        Ok(_) | Err(WriteError::Conflict | WriteError::Exists | WriteError::Missing | WriteError::Closed) => Ok(()),
        Err(error) => Err(Error::Disk(format!("{error:?}"))),
    }
}

fn local(name: &str, group: &str, version: &str, own: bool, now: &str) -> Value {
    // As upstream: the core group first, then what is built in, then custom resources; stable versions before others.
    let (group_priority, version_priority) = match (group, own) {
        ("", _) => (18000, 1),
        (_, false) => (17000, 15),
        (_, true) => (1000, 100),
    };
    let stable = custom::priority(version).0 == 3;
    json!({
        "metadata": {
            "name": name, "uid": knarr_resource::new_uid(), "creationTimestamp": now,
            "labels": {MANAGED: if own { "true" } else { "onstart" }},
        },
        "spec": {
            "group": group, "version": version, "groupPriorityMinimum": group_priority,
            "versionPriority": if stable { version_priority } else { version_priority.min(9) },
        },
        "status": {"conditions": [{
            "type": "Available", "status": "True", "lastTransitionTime": now, "reason": "Local",
            "message": "Local APIServices are always available",
        }]},
    })
}
