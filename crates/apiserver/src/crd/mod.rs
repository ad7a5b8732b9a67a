//! Custom resources: from the definitions that are stored follows what is served.
//!
//! [`serve`] reads all definitions and puts a new registry in place of the old one; the [`Controller`] does so whenever a
//! definition changes, accepts their names, and empties those that are deleted.

mod cleanup;
pub(crate) mod conversion;
mod local;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::future::select_all;
use jiff::Timestamp;
use knarr_resource::{Registry, ResourceInfo, crd, custom};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::server::Server;
use crate::store::{Expect, Index, Object, Slot, Spec, Write, WriteError};

pub(crate) const GROUP: &str = "apiextensions.k8s.io";
pub(crate) const PLURAL: &str = "customresourcedefinitions";

/// What has been made of the definitions, so that a change of one costs nothing for the others.
#[derive(Default)]
pub(crate) struct Made(Mutex<HashMap<String, Custom>>);

/// One definition as it is served.
#[derive(Clone)]
struct Custom {
    /// What it was made from.
    source: Source,
    resources: Vec<Arc<ResourceInfo>>,
    slot: Slot,
}

#[derive(Clone, PartialEq)]
struct Source {
    spec: Value,
    accepted: Value,
    conditions: [bool; 2],
}

impl Source {
    fn of(definition: &Value) -> Self {
        Self {
            spec: definition["spec"].clone(),
            accepted: definition["status"]["acceptedNames"].clone(),
            conditions: [
                crd::is_true(definition, "Established"),
                crd::condition(definition, "Terminating").is_some(),
            ],
        }
    }
}

/// A stored definition, and as it is to be.
struct Definition {
    live: Arc<Object>,
    value: Value,
}

fn definitions(server: &Server) -> Vec<Definition> {
    let stored = server.store.list(server.slot(GROUP, PLURAL), None);
    let mut found: Vec<Definition> = stored
        .objects
        .into_iter()
        .map(|live| Definition {
            value: live.value(),
            live,
        })
        .collect();
    // Who came first has the names.
    let age = |definition: &Definition| {
        let created = definition.value["metadata"]["creationTimestamp"].as_str();
        created.unwrap_or_default().to_owned()
    };
    found.sort_by_key(age);
    found
}

/// Serves what the stored definitions say.
pub(crate) fn serve(server: &Server) -> Result<(), Error> {
    let values: Vec<Value> = definitions(server).into_iter().map(|found| found.value).collect();
    serve_these(server, &values)
}

fn serve_these(server: &Server, definitions: &[Value]) -> Result<(), Error> {
    let mut made = server.custom.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut next = HashMap::new();
    let mut changed = false;
    for definition in definitions {
        let uid = definition["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let source = Source::of(definition);
        let custom = match made.get(&uid) {
            Some(custom) if custom.source == source => custom.clone(),
            _ => {
                let Some(custom) = make(server, definition, source)? else {
                    changed |= made.contains_key(&uid);
                    continue;
                };
                changed = true;
                custom
            }
        };
        next.insert(uid, custom);
    }
    changed |= made.len() != next.len();
    if !changed {
        return Ok(());
    }
    *made = next;
    let mut resources: Vec<Arc<ResourceInfo>> = Registry::built_in().iter().cloned().collect();
    let mut own: Vec<&Arc<ResourceInfo>> = made.values().flat_map(|custom| &custom.resources).collect();
    own.sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural)));
    resources.extend(own.into_iter().cloned());
    server.set_registry(Registry::new(resources));
    Ok(())
}

/// Makes what serves one definition: its table, if it has none yet, and a resource for each version.
fn make(server: &Server, definition: &Value, source: Source) -> Result<Option<Custom>, Error> {
    let resources: Vec<Arc<ResourceInfo>> = custom::resources(definition).into_iter().map(Arc::new).collect();
    let storage = crd::storage_version(definition);
    let versions = definition["spec"]["versions"].as_array();
    let stored = versions
        .into_iter()
        .flatten()
        .find(|version| version["name"] == storage);
    let Some(stored) = stored.filter(|_| source.conditions[0]) else {
        return Ok(None);
    };
    let name = match resources.first() {
        Some(resource) => resource.storage.clone(),
        None => custom::resource(definition, stored).storage,
    };
    let spec = Spec {
        name: name.clone(),
        durable: true,
        versioned: true,
        // The fields depend on the version that is asked for.
        index: Box::new(|value| Index {
            labels: value["metadata"]["labels"].clone(),
            ..Index::default()
        }),
    };
    let slot = server.store.table(spec)?;
    server.set_slot(name, slot);
    Ok(Some(Custom {
        source,
        resources,
        slot,
    }))
}

/// Accepts names, and takes away what is deleted.
pub(crate) struct Controller {
    /// Weak, so that a server that nobody uses any more goes away.
    server: Weak<Server>,
    stopping: CancellationToken,
    changes: watch::Receiver<u64>,
    services: watch::Receiver<u64>,
}

impl Controller {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self {
            server: Arc::downgrade(server),
            stopping: server.stopping.clone(),
            changes: server.store.changes(server.slot(GROUP, PLURAL)),
            services: server.store.changes(server.slot(local::GROUP, local::PLURAL)),
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            self.changes.mark_unchanged();
            self.services.mark_unchanged();
            let Some(server) = self.server.upgrade() else { return };
            // The tables of definitions that go: when the last object is gone, there is work to do.
            let mut others = match reconcile(&server).await {
                Ok(others) => others,
                Err(error) => {
                    tracing::warn!(%error, "custom resources are not served as they are defined");
                    Vec::new()
                }
            };
            drop(server);
            let emptied = async {
                match others.is_empty() {
                    true => std::future::pending().await,
                    false => select_all(others.iter_mut().map(|table| Box::pin(table.changed()))).await,
                }
            };
            tokio::select! {
                () = self.stopping.cancelled() => return,
                changed = self.changes.changed() => if changed.is_err() { return },
                changed = self.services.changed() => if changed.is_err() { return },
                _ = emptied => {}
            }
        }
    }
}

/// Does whatever the definitions ask for. Returns what else to wait for.
pub(crate) async fn reconcile(server: &Server) -> Result<Vec<watch::Receiver<u64>>, Error> {
    let now = server.clock.now();
    let mut definitions = definitions(server);
    let mut all: Vec<Value> = definitions.iter().map(|found| found.value.clone()).collect();
    let mut changed = Vec::new();
    for (at, definition) in definitions.iter_mut().enumerate() {
        if definition.value["metadata"]["deletionTimestamp"].is_null() && accept(&mut definition.value, &all, now) {
            all[at] = definition.value.clone();
            changed.push(at);
        }
    }
    // Served before anybody can read that it is.
    serve_these(server, &all)?;
    local::register(server).await?;
    for at in changed {
        write(server, &definitions[at]).await?;
    }
    let mut waiting = Vec::new();
    for definition in &mut definitions {
        if !definition.value["metadata"]["deletionTimestamp"].is_null() {
            waiting.extend(cleanup::run(server, definition, now).await?);
        }
    }
    Ok(waiting)
}

/// Brings the conditions of a definition up to date.
fn accept(definition: &mut Value, all: &[Value], now: Timestamp) -> bool {
    let now = stamp(now);
    let changed = crd::names::accept(definition, all, &now);
    crd::approve(definition, &now) | changed
}

fn stamp(now: Timestamp) -> String {
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// Stores a definition, unless somebody else has changed it: then it will be looked at again.
async fn write(server: &Server, definition: &Definition) -> Result<(), Error> {
    put(server, &definition.live, Some(definition.value.clone())).await
}

async fn put(server: &Server, live: &Object, value: Option<Value>) -> Result<(), Error> {
    let write = Write {
        slot: server.slot(GROUP, PLURAL),
        key: live.key.to_string(),
        expect: Expect::Version(live.version),
        value,
    };
    match server.store.write(write).await {
        Ok(_) | Err(WriteError::Conflict | WriteError::Missing | WriteError::Closed) => Ok(()),
        Err(error) => Err(Error::Disk(format!("{error:?}"))),
    }
}
