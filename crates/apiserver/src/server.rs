//! What all requests share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use knarr_clock::Clock;
use knarr_resource::{RESOURCES, Resource};
use knarr_schema::openapi::OpenApi;
use knarr_stream::backend::Backend;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::auth::rbac::Policy;
use crate::auth::token::Signer;
use crate::discovery::Discovery;
use crate::error::Error;
use crate::store::{self, Expect, Index, Slot, Spec, Store, Write, WriteError};
use crate::{Options, discovery};

/// The table for what belongs to the server itself. No resource is stored there, so no request reaches it.
const INTERNAL: &str = "internal";
const SIGNING_KEY: &str = "/token-signing-key";

/// The state behind an [`crate::ApiServer`].
pub(crate) struct Server {
    pub options: Options,
    pub clock: Clock,
    pub store: Store,
    pub signer: Signer,
    pub discovery: Discovery,
    pub openapi: OpenApi,
    /// The roles and bindings as last read.
    pub policy: Mutex<Option<Arc<Policy>>>,
    /// Held while the addresses and ports of a Service are chosen and until they are stored, so that no two Services get
    /// the same.
    pub services: tokio::sync::Mutex<()>,
    /// Held while an eviction is weighed against the disruption budgets and until it is stored.
    pub evictions: tokio::sync::Mutex<()>,
    /// Ends every watch.
    pub stopping: CancellationToken,
    slots: HashMap<&'static str, Slot>,
    /// Table of each resource, in the order of [`RESOURCES`].
    by_resource: HashMap<(&'static str, &'static str), Slot>,
    backends: RwLock<HashMap<String, Arc<dyn Backend>>>,
    ready: AtomicBool,
}

impl Server {
    pub(crate) async fn start(options: Options) -> Result<Arc<Self>, Error> {
        let (specs, slots) = specs();
        let store = Store::open(specs, options.data.clone())?;
        let signer = signer(&store, slots[INTERNAL]).await?;
        let by_resource = RESOURCES
            .iter()
            .filter(|resource| resource.stored())
            .map(|resource| ((resource.group, resource.plural), slots[resource.storage]))
            .collect();
        Ok(Arc::new(Self {
            clock: options.clock.clone(),
            store,
            signer,
            discovery: Discovery::new(),
            openapi: OpenApi::new(discovery::served()),
            policy: Mutex::new(None),
            services: tokio::sync::Mutex::new(()),
            evictions: tokio::sync::Mutex::new(()),
            stopping: CancellationToken::new(),
            slots,
            by_resource,
            backends: RwLock::new(HashMap::new()),
            ready: AtomicBool::new(false),
            options,
        }))
    }

    /// The table of a resource that is known to be served.
    pub(crate) fn slot(&self, group: &str, plural: &str) -> Slot {
        *self
            .by_resource
            .get(&(group, plural))
            .expect("asked for by the name of a built-in resource")
    }

    /// The table of a stored resource.
    pub(crate) fn slot_of(&self, resource: &Resource) -> Slot {
        self.slots[resource.storage]
    }

    pub(crate) fn set_backend(&self, node: &str, backend: Arc<dyn Backend>) {
        let mut backends = self.backends.write().unwrap_or_else(PoisonError::into_inner);
        backends.insert(node.to_owned(), backend);
    }

    pub(crate) fn backend(&self, node: &str) -> Option<Arc<dyn Backend>> {
        let backends = self.backends.read().unwrap_or_else(PoisonError::into_inner);
        backends.get(node).cloned()
    }

    pub(crate) fn ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.stopping.is_cancelled()
    }
}

/// The version of a resource in which its objects are stored: of those that share a table, the first.
pub(crate) fn native(resource: &Resource) -> &'static Resource {
    RESOURCES
        .iter()
        .find(|other| other.storage == resource.storage && other.stored())
        .expect("a stored resource is its own candidate")
}

fn specs() -> (Vec<Spec>, HashMap<&'static str, Slot>) {
    let mut specs = Vec::new();
    let mut slots = HashMap::new();
    for resource in RESOURCES.iter().filter(|resource| resource.stored()) {
        if slots.contains_key(resource.storage) {
            continue;
        }
        slots.insert(resource.storage, specs.len());
        specs.push(Spec {
            name: resource.storage.to_owned(),
            // Losing the last seconds of these in a crash costs nothing, and they are written all the time.
            durable: !matches!(resource.plural, "events" | "leases"),
            index: Box::new(move |value| Index {
                labels: value["metadata"]["labels"].clone(),
                fields: resource.fields(value),
            }),
        });
    }
    slots.insert(INTERNAL, specs.len());
    specs.push(Spec {
        name: INTERNAL.to_owned(),
        durable: true,
        index: Box::new(|_| Index::default()),
    });
    (specs, slots)
}

/// The key that signs service account tokens: made at the first start, and kept, so that tokens survive a restart.
async fn signer(store: &Store, slot: Slot) -> Result<Signer, Error> {
    if store.get(slot, SIGNING_KEY).is_none() {
        let key = Signer::generate()?;
        let value: Value = json!({"metadata": {"name": "token-signing-key"}, "pkcs8": key});
        let write = Write {
            slot,
            key: SIGNING_KEY.into(),
            expect: Expect::Absent,
            value: Some(value),
        };
        store.write(write).await.map_err(|error| match error {
            WriteError::Disk(reason) => Error::Disk(reason),
            other => Error::Disk(format!("{other:?}")),
        })?;
    }
    let stored = store
        .get(slot, SIGNING_KEY)
        .ok_or_else(|| Error::Disk("the token signing key was not stored".into()))?;
    Signer::load(stored.value()["pkcs8"].as_str().unwrap_or_default())
}

impl Server {
    /// A stored object by the name of its resource.
    pub(crate) fn find(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let object = self.store.get(self.slot(group, plural), &store::key(namespace, name))?;
        Some(object.value())
    }
}
