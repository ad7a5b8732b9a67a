//! What the API says about services, indexed for the questions asked here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_client::key::Key;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Api, Client};
use tokio::sync::watch;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A service and where its traffic goes.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) service: Arc<Service>,
    pub(crate) slices: Vec<Arc<EndpointSlice>>,
}

/// All services at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// By namespace and name.
    pub(crate) services: BTreeMap<Key, Entry>,
    /// The services that an address belongs to: as their own, or as an endpoint's.
    pub(crate) by_address: HashMap<IpAddr, Vec<Key>>,
    /// The addresses of the nodes that are ready.
    pub(crate) nodes: BTreeSet<IpAddr>,
    /// Grows with every change.
    pub(crate) version: u32,
}

impl View {
    pub(crate) fn new(services: Vec<Arc<Service>>, slices: Vec<Arc<EndpointSlice>>, version: u32) -> Self {
        let mut view = Self {
            version,
            ..Self::default()
        };
        for service in services {
            let entry = Entry {
                service: service.clone(),
                slices: Vec::new(),
            };
            view.services.insert(Key::of(service.as_ref()), entry);
        }
        for slice in slices {
            let labels = slice.metadata.labels.as_ref();
            let Some(name) = labels.and_then(|labels| labels.get(SERVICE_NAME)) else {
                continue;
            };
            let key = Key::new(slice.metadata.namespace.as_deref().unwrap_or_default(), name);
            if let Some(entry) = view.services.get_mut(&key) {
                entry.slices.push(slice);
            }
        }
        for (key, entry) in &mut view.services {
            // The store has no order, and answers should not change without a reason.
            entry.slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
            for address in entry.addresses() {
                let keys = view.by_address.entry(address).or_default();
                if keys.last() != Some(key) {
                    keys.push(key.clone());
                }
            }
        }
        view
    }
}

impl Entry {
    /// Its own addresses; a headless service has none.
    pub(crate) fn cluster_ips(&self) -> Vec<IpAddr> {
        let Some(spec) = &self.service.spec else {
            return Vec::new();
        };
        let mut ips: Vec<&String> = spec.cluster_ips.iter().flatten().collect();
        if ips.is_empty() {
            ips.extend(&spec.cluster_ip);
        }
        ips.into_iter().filter_map(|ip| ip.parse().ok()).collect()
    }

    /// No address of its own: names stand for the pods themselves.
    pub(crate) fn is_headless(&self) -> bool {
        let spec = self.service.spec.as_ref();
        spec.and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
    }

    /// The name outside the cluster that this service stands for.
    pub(crate) fn external_name(&self) -> Option<&str> {
        let spec = self.service.spec.as_ref()?;
        spec.external_name
            .as_deref()
            .filter(|_| spec.type_.as_deref() == Some("ExternalName"))
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let endpoints = self.slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
        let endpoints = endpoints.flat_map(|endpoint| &endpoint.addresses);
        let mut all = self.cluster_ips();
        all.extend(endpoints.filter_map(|address| address.parse::<IpAddr>().ok()));
        all.into_iter()
    }
}

/// Keeps the view current. A burst of changes makes one new view.
pub(crate) async fn follow(client: Client, publish: watch::Sender<Arc<View>>) {
    let (services, writer) = reflector::store::<Service>();
    let stream = watch_objects(Api::<Service>::all(client.clone()), watcher::Config::default()).default_backoff();
    let stream = stream.modify(|service| service.metadata.managed_fields = None);
    let service_news = news(reflector::reflector(writer, stream), "services");
    let (slices, writer) = reflector::store::<EndpointSlice>();
    let stream = watch_objects(Api::<EndpointSlice>::all(client.clone()), watcher::Config::default()).default_backoff();
    let stream = stream.modify(|slice| slice.metadata.managed_fields = None);
    let slice_news = news(reflector::reflector(writer, stream), "endpoint slices");
    let (nodes, writer) = reflector::store::<Node>();
    let stream = watch_objects(Api::<Node>::all(client), watcher::Config::default()).default_backoff();
    let stream = stream.modify(|node| node.metadata.managed_fields = None);
    let node_news = news(reflector::reflector(writer, stream), "nodes");
    // Nodes are written all the time, and their addresses hardly ever change.
    let (mut known, there) = (None, nodes.clone());
    let node_news = node_news.filter(move |()| {
        let now = Some(ready_addresses(&nodes.state()));
        std::future::ready(std::mem::replace(&mut known, now.clone()) != now)
    });
    let others = futures::stream::select(slice_news, node_news);
    let mut news = std::pin::pin!(futures::stream::select(service_news, others));
    for version in 1_u32.. {
        let mut changed = news.next().await;
        while changed.is_some() {
            // Until there is nothing more to read.
            match news.next().now_or_never() {
                None => break,
                Some(next) => changed = next,
            }
        }
        if changed.is_none() {
            return;
        }
        if is_complete(&services) && is_complete(&slices) {
            let view = View {
                nodes: ready_addresses(&there.state()),
                ..View::new(services.state(), slices.state(), version)
            };
            publish.send_replace(Arc::new(view));
        }
    }
}

/// The addresses of the nodes that are ready.
fn ready_addresses(nodes: &[Arc<Node>]) -> BTreeSet<IpAddr> {
    let ready = nodes.iter().filter_map(|node| {
        let status = node.status.as_ref()?;
        let mut conditions = status.conditions.iter().flatten();
        conditions.find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
        let mut addresses = status.addresses.iter().flatten();
        let own = addresses.find(|address| address.type_ == "InternalIP")?;
        own.address.parse().ok()
    });
    ready.collect()
}

fn is_complete<K>(store: &Store<K>) -> bool
where
    K: reflector::Lookup + Clone + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone,
{
    matches!(store.wait_until_ready().now_or_never(), Some(Ok(())))
}

/// One item whenever the store has changed.
fn news<K>(stream: impl Stream<Item = watcher::Result<Event<K>>>, what: &'static str) -> impl Stream<Item = ()> {
    stream
        .inspect_err(move |error| tracing::debug!(%error, "watch of {what} interrupted"))
        .filter_map(|event| {
            let changed = matches!(event, Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone));
            std::future::ready(changed.then_some(()))
        })
}
