//! Quotas: what a write uses up is charged in the transaction that stores it, and given back by a controller that counts.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use futures::future::select_all;
use knarr_resource::Status;
use knarr_resource::admission::{Attributes, resource_quota};
use knarr_resource::resource_list::ResourceList;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::server::Server;
use crate::store::{Change, Event, Expect, Lane, Object, Slot, Write};

/// How many events are looked at in one go.
const BATCH: usize = 1000;

/// The writes that charge the quotas of the namespace, or why the object is more than they allow.
pub(super) fn charge(
    server: &Server,
    request: &Attributes<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<Vec<Write>, Status> {
    if !resource_quota::charges(request, object, old) {
        return Ok(Vec::new());
    }
    let slot = server.slot("", "resourcequotas");
    let mut writes = Vec::new();
    for live in &server.store.list(slot, Some(request.namespace)).objects {
        let mut quota = live.value();
        let now = server.clock.now();
        // Nobody slips in before a new quota is counted for the first time.
        if quota["status"]["hard"].is_null() {
            quota["status"] = status(server, &quota, request.namespace);
        }
        if let Some(used) = resource_quota::charge(request, &quota, object, old, now)? {
            quota["status"]["used"] = used.to_value();
            writes.push(Write {
                slot,
                key: live.key.to_string(),
                expect: Expect::Version(live.version),
                value: Some(quota),
            });
        }
    }
    Ok(writes)
}

/// Counts what is used: when a quota is new or changed, and when objects end, go or shrink.
pub(crate) struct Controller {
    /// Weak, so that a server that nobody uses any more goes away.
    server: Weak<Server>,
    stopping: CancellationToken,
    quotas: Slot,
    /// The tables whose objects some quota counts, each with the version up to which its events are known.
    counted: Vec<(Slot, u64, watch::Receiver<u64>)>,
}

impl Controller {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        let quotas = server.slot("", "resourcequotas");
        Self {
            server: Arc::downgrade(server),
            stopping: server.stopping.clone(),
            quotas,
            counted: vec![(quotas, 0, server.store.changes(quotas))],
        }
    }

    pub(crate) async fn run(mut self) {
        // Quotas that were there at the start are counted anew: the last charge may be older than the last change.
        let mut all = true;
        loop {
            let Some(server) = self.server.upgrade() else {
                return;
            };
            let namespaces = self.changed(&server, all);
            all = false;
            for namespace in namespaces {
                recount(&server, self.quotas, &namespace).await;
            }
            self.subscribe(&server);
            drop(server);
            let gone = {
                let changes = self
                    .counted
                    .iter_mut()
                    .map(|(_, _, changes)| Box::pin(changes.changed()));
                tokio::select! {
                    () = self.stopping.cancelled() => return,
                    (outcome, index, _) = select_all(changes) => outcome.is_err().then_some(index),
                }
            };
            match gone {
                None => {}
                Some(0) => return,
                // The table of a resource that is no longer served.
                Some(index) => drop(self.counted.swap_remove(index)),
            }
        }
    }

    /// The namespaces whose quotas may be out of date.
    fn changed(&mut self, server: &Server, all: bool) -> BTreeSet<String> {
        let mut namespaces = BTreeSet::new();
        for (slot, known, changes) in &mut self.counted {
            changes.mark_unchanged();
            let (quotas, mut everything) = (*slot == self.quotas, all && *slot == self.quotas);
            loop {
                let Ok((events, complete)) = server.store.events(*slot, &Lane::All, *known, BATCH) else {
                    everything = true;
                    *known = server.store.version();
                    break;
                };
                *known = complete;
                let matter = events.iter().filter(|event| quotas || gives_back(event));
                namespaces.extend(matter.map(|event| event.object.namespace().to_owned()));
                if events.len() < BATCH {
                    break;
                }
            }
            if everything {
                let quotas = server.store.list(self.quotas, None);
                namespaces.extend(quotas.objects.iter().map(|quota| quota.namespace().to_owned()));
            }
        }
        namespaces
    }

    /// Listens to the tables that quotas count, and to no others.
    fn subscribe(&mut self, server: &Server) {
        let quotas: Vec<Value> = server
            .store
            .list(self.quotas, None)
            .objects
            .iter()
            .map(|q| q.value())
            .collect();
        let mut slots = vec![self.quotas];
        if !quotas.is_empty() {
            slots.extend(counted(server, &quotas).into_iter().map(|(_, slot)| slot));
        }
        slots.dedup();
        self.counted.retain(|(slot, ..)| slots.contains(slot));
        for slot in slots {
            if !self.counted.iter().any(|(own, ..)| *own == slot) {
                let changes = server.store.changes(slot);
                // From the recount on, which looked at everything.
                self.counted.push((slot, 0, changes));
            }
        }
    }
}

/// The resources that these quotas count, with their tables.
fn counted(server: &Server, quotas: &[Value]) -> Vec<(Arc<knarr_resource::ResourceInfo>, Slot)> {
    let names: BTreeSet<&String> = quotas
        .iter()
        .flat_map(|quota| quota["spec"]["hard"].as_object().into_iter().flatten())
        .map(|(name, _)| name)
        .collect();
    let served = server.served();
    let resources = served.registry.iter().filter(|resource| {
        let concerned = |name: &&String| resource_quota::concerns(&resource.group, &resource.plural, name);
        resource.stored() && resource.native && resource.namespaced && names.iter().any(concerned)
    });
    resources
        .map(|resource| (resource.clone(), server.slot_of(resource)))
        .collect()
}

/// Whether a change can make the used amount smaller: admission charges what makes it larger.
fn gives_back(event: &Event) -> bool {
    let phase = |object: &Object| object.index.fields.get("status.phase").map(str::to_owned);
    match event.change {
        Change::Added => false,
        Change::Deleted => true,
        // A pod uses nothing once it has ended. What has no phase may have shrunk.
        Change::Modified => match phase(&event.object).as_deref() {
            Some("Succeeded" | "Failed") => event.previous.as_deref().and_then(phase) != phase(&event.object),
            Some(_) => false,
            None => true,
        },
    }
}

/// Writes into the status of each quota of a namespace what is used there.
async fn recount(server: &Server, slot: Slot, namespace: &str) {
    let listed = server.store.list(slot, Some(namespace));
    for key in listed.objects.iter().map(|object| object.key.to_string()) {
        // Whoever charges the quota meanwhile changes it, so that this write fails and the objects are counted again.
        for _ in 0..64 {
            let Some(live) = server.store.get(slot, &key) else {
                break;
            };
            let mut quota = live.value();
            let status = status(server, &quota, namespace);
            if quota["status"] == status {
                break;
            }
            quota["status"] = status;
            let write = Write {
                slot,
                key: key.clone(),
                expect: Expect::Version(live.version),
                value: Some(quota),
            };
            match server.store.write(write).await {
                Err(crate::store::WriteError::Conflict) => {}
                Err(error) => {
                    tracing::warn!(?error, quota = key, "what the quota has used was not stored");
                    break;
                }
                Ok(_) => break,
            }
        }
    }
}

/// The status of a quota as of now.
fn status(server: &Server, quota: &Value, namespace: &str) -> Value {
    let hard = match &quota["spec"]["hard"] {
        Value::Null => json!({}),
        hard => hard.clone(),
    };
    json!({"hard": hard, "used": count(server, quota, namespace).to_value()})
}

fn count(server: &Server, quota: &Value, namespace: &str) -> ResourceList {
    let now = server.clock.now();
    let hard = ResourceList::of(&quota["spec"]["hard"]);
    let mut used = ResourceList::default();
    for (resource, slot) in counted(server, std::slice::from_ref(quota)) {
        for object in &server.store.list(slot, Some(namespace)).objects {
            let object = object.value();
            if resource_quota::matches(quota, &resource.group, &resource.plural, &object) {
                used.add_all(&resource_quota::usage(&resource.group, &resource.plural, &object, now));
            }
        }
    }
    used.retain(|name, _| hard.get(name).is_some());
    let missing: Vec<&str> = hard.names().filter(|name| used.get(name).is_none()).collect();
    for name in missing {
        used.insert(name, knarr_apimachinery::Quantity::ZERO);
    }
    used
}
