//! What all requests share.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use knarr_clock::Clock;
use knarr_resource::{Registry, ResourceInfo};
use knarr_schema::openapi::OpenApi;
use knarr_stream::backend::Backend;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::aggregator::{self, Identity, Remotes};
use crate::auth::node::NodeAuthorizer;
use crate::auth::rbac::Policy;
use crate::auth::token::Signer;
use crate::auth::x509::Authenticator;
use crate::discovery::Discovery;
use crate::error::Error;
use crate::http::inflight::Inflight;
use crate::http::metrics::Metrics;
use crate::memo::Memo;
use crate::policy::Registered;
use crate::store::{self, Expect, Index, Object, Slot, Spec, Store, Write, WriteError};
use crate::{Options, crd, discovery};

/// The table for what belongs to the server itself. No resource is stored there, so no request reaches it.
const INTERNAL: &str = "internal";
const SIGNING_KEY: &str = "/token-signing-key";

/// Of how many objects to remember what other versions show.
const SHOWN: usize = 4096;
/// How many objects that others are judged by to keep parsed.
const DECODED: usize = 1024;

/// What follows from which resources are served. It never changes; when a resource comes or goes, another takes its place.
pub(crate) struct Served {
    pub registry: Arc<Registry>,
    /// What other servers serve.
    pub remotes: Remotes,
    pub discovery: Discovery,
    pub openapi: OpenApi,
}

impl Served {
    fn new(registry: Arc<Registry>, remotes: Remotes) -> Self {
        let foreign = remotes
            .iter()
            .filter_map(|remote| Some((remote.document(), remote.openapi.clone()?)));
        Self {
            discovery: Discovery::new(registry.clone(), remotes.clone()),
            openapi: OpenApi::new(discovery::served(&registry), foreign.collect()),
            registry,
            remotes,
        }
    }

    /// Who serves a group version, if it is another server.
    pub(crate) fn remote(&self, group: &str, version: &str) -> Option<&Arc<aggregator::Remote>> {
        aggregator::find(&self.remotes, group, version)
    }
}

/// The state behind an [`crate::ApiServer`].
pub(crate) struct Server {
    pub options: Options,
    pub clock: Clock,
    pub store: Store,
    pub signer: Signer,
    /// The roles and bindings as last read.
    pub policy: Mutex<Option<Arc<Policy>>>,
    /// Who has shown which certificate.
    pub certificates: Authenticator,
    /// Webhooks and policies.
    pub registered: Registered,
    /// What kubelets may.
    pub nodes: Arc<NodeAuthorizer>,
    /// Held while the addresses and ports of a Service are chosen and until they are stored, so that no two Services get
    /// the same.
    pub services: tokio::sync::Mutex<()>,
    /// The requests that are worked on.
    pub inflight: Inflight,
    /// What `/metrics` tells.
    pub metrics: Metrics,
    /// Ends every watch.
    pub stopping: CancellationToken,
    /// Who this server is to those that it hands requests on to.
    pub front_proxy: Identity,
    /// Stored objects as other versions of their kinds show them, by the address of the resource that is kept with each.
    pub shown: Memo<usize, (Arc<ResourceInfo>, Arc<Object>)>,
    /// What [`Server::decoded`] has parsed.
    pub decoded: Memo<(), Arc<Value>>,
    /// The custom resources behind [`Server::served`].
    pub custom: crd::Made,
    served: RwLock<Arc<Served>>,
    /// The tables by their names. A table outlives its resource, because requests may still hold on to that.
    slots: RwLock<HashMap<String, Slot>>,
    /// The tables of the built-in resources, by group and plural.
    by_resource: HashMap<(Cow<'static, str>, Cow<'static, str>), Slot>,
    backends: RwLock<HashMap<String, Arc<dyn Backend>>>,
    advertised_to_pods: Mutex<Option<SocketAddr>>,
    ready: AtomicBool,
}

impl Server {
    pub(crate) async fn start(options: Options) -> Result<Arc<Self>, Error> {
        let registry = Registry::built_in();
        let (specs, slots) = specs(&registry);
        let store = Store::open(specs, options.data.clone())?;
        let signer = signer(&store, slots[INTERNAL]).await?;
        let by_resource: HashMap<_, _> = registry
            .iter()
            .filter(|resource| resource.stored())
            .map(|resource| {
                let name = (resource.group.clone().into(), resource.plural.clone().into());
                (name, slots[&resource.storage])
            })
            .collect();
        let slot = |group: &'static str, plural: &'static str| by_resource.get(&(group.into(), plural.into())).copied();
        let nodes = NodeAuthorizer::new(store.clone(), slot);
        let nodes = nodes.ok_or_else(|| Error::Options("there are no rules for nodes".into()))?;
        Ok(Arc::new(Self {
            certificates: Authenticator::new(&options.ca_pem)?,
            registered: Registered::default(),
            nodes: Arc::new(nodes),
            clock: options.clock.clone(),
            store,
            signer,
            policy: Mutex::new(None),
            services: tokio::sync::Mutex::new(()),
            inflight: Inflight::default(),
            metrics: Metrics::default(),
            stopping: CancellationToken::new(),
            front_proxy: Identity::new()?,
            shown: Memo::new(SHOWN),
            decoded: Memo::new(DECODED),
            custom: crd::Made::default(),
            served: RwLock::new(Arc::new(Served::new(Arc::new(registry), Remotes::new()))),
            slots: RwLock::new(slots),
            by_resource,
            backends: RwLock::new(HashMap::new()),
            advertised_to_pods: Mutex::new(None),
            ready: AtomicBool::new(false),
            options,
        }))
    }

    /// What is served now.
    pub(crate) fn served(&self) -> Arc<Served> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves other resources from now on.
    pub(crate) fn set_registry(&self, registry: Registry) {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        *served = Arc::new(Served::new(Arc::new(registry), served.remotes.clone()));
    }

    /// Hands requests on to other servers than before.
    pub(crate) fn set_remotes(&self, remotes: Remotes) {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        *served = Arc::new(Served::new(served.registry.clone(), remotes));
    }

    /// Says in which table a resource is stored.
    pub(crate) fn set_slot(&self, storage: String, slot: Slot) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.insert(storage, slot);
    }

    /// A resource that is served now.
    pub(crate) fn resource(&self, group: &str, version: &str, plural: &str) -> Option<Arc<ResourceInfo>> {
        self.served().registry.find(group, version, plural).cloned()
    }

    /// The table of a resource that is known to be served.
    pub(crate) fn slot(&self, group: &str, plural: &str) -> Slot {
        self.built_in(group, plural)
            .expect("asked for by the name of a built-in resource")
    }

    /// The table of a built-in resource.
    pub(crate) fn built_in<'a>(&'a self, group: &'a str, plural: &'a str) -> Option<Slot> {
        let slots: &HashMap<(Cow<'a, str>, Cow<'a, str>), Slot> = &self.by_resource;
        slots.get(&(group.into(), plural.into())).copied()
    }

    /// The table of a stored resource.
    pub(crate) fn slot_of(&self, resource: &ResourceInfo) -> Slot {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        *slots
            .get(&resource.storage)
            .expect("a table is made before its resource is served, and stays")
    }

    pub(crate) fn set_backend(&self, node: &str, backend: Arc<dyn Backend>) {
        let mut backends = self.backends.write().unwrap_or_else(PoisonError::into_inner);
        backends.insert(node.to_owned(), backend);
    }

    pub(crate) fn remove_backend(&self, node: &str) {
        let mut backends = self.backends.write().unwrap_or_else(PoisonError::into_inner);
        backends.remove(node);
    }

    pub(crate) fn backend(&self, node: &str) -> Option<Arc<dyn Backend>> {
        let backends = self.backends.read().unwrap_or_else(PoisonError::into_inner);
        backends.get(node).cloned()
    }

    /// Where pods reach this server, if they can.
    pub(crate) fn advertised_to_pods(&self) -> Option<SocketAddr> {
        *self.advertised_to_pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn advertise_to_pods(&self, address: SocketAddr) {
        *self.advertised_to_pods.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    pub(crate) fn ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.stopping.is_cancelled()
    }
}

fn specs(registry: &Registry) -> (Vec<Spec>, HashMap<String, Slot>) {
    let mut specs = Vec::new();
    let mut slots = HashMap::new();
    for resource in registry.iter().filter(|resource| resource.stored() && resource.native) {
        let resource = resource.clone();
        slots.insert(resource.storage.clone(), specs.len());
        specs.push(Spec {
            name: resource.storage.clone(),
            // Losing the last seconds of these in a crash costs nothing, and they are written all the time.
            durable: !matches!(resource.plural.as_str(), "events" | "leases"),
            versioned: false,
            index: Box::new(move |value| Index {
                labels: value["metadata"]["labels"].clone(),
                fields: resource.fields(value),
            }),
        });
    }
    slots.insert(INTERNAL.to_owned(), specs.len());
    specs.push(Spec {
        name: INTERNAL.to_owned(),
        durable: true,
        versioned: false,
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
