//! The EndpointSlices of a service.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{Destination, Port};
use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::expect::Expectations;
use crate::key::Key;
use crate::owner;
use crate::store::Change;
use crate::write::{Plan, Write};

pub(crate) const SERVICE: &str = "kubernetes.io/service-name";
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const OURS: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Most endpoints in one slice.
const CAPACITY: usize = 100;

/// The endpoint slice controller. Keys are services.
#[derive(Default)]
pub(crate) struct EndpointSlices {
    expectations: Arc<Expectations>,
}

impl Controller for EndpointSlices {
    const NAME: &'static str = "endpoint-slice-controller";
    const ACCOUNT: Option<&'static str> = Some("endpointslice-controller");

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        let expectations = self.expectations.clone();
        watch
            .own::<Service>()
            .on::<Pod>(super::pod_changed)
            .on::<EndpointSlice>(move |change, _| slice_changed(change, OURS, &expectations));
    }

    fn expectations(&self) -> Option<&Expectations> {
        Some(&self.expectations)
    }

    fn sync(&self, key: &Key, caches: &Caches, _: Timestamp) -> Plan {
        let Some(service) = caches.services.get(key) else {
            self.expectations.forget(key);
            return Plan::nothing(); // the garbage collector takes the slices
        };
        let Some(selector) = super::selector(&service) else {
            return Plan::nothing();
        };
        if service.metadata.deletion_timestamp.is_some() || !self.expectations.satisfied(key) {
            return Plan::nothing();
        }
        let mut labels = service.metadata.labels.clone().unwrap_or_default();
        labels.insert(MANAGED_BY.into(), OURS.into());
        labels.insert(SERVICE.into(), key.name.clone());
        if super::is_headless(&service) {
            labels.insert(HEADLESS.into(), String::new());
        }
        let families = service.spec.as_ref().and_then(|spec| spec.ip_families.clone());
        let families = families
            .filter(|families| !families.is_empty())
            .unwrap_or_else(|| vec!["IPv4".into()]);
        let mut wanted = Wanted::default();
        for family in families {
            let destinations = super::destinations(&service, &selector, caches, family == "IPv6");
            wanted.add_family(family, &destinations);
        }
        let existing = managed(key, OURS, caches);
        reconcile(key, labels, owner::reference(service.as_ref()), wanted, &existing)
    }
}

/// Slices of a service that one controller manages.
pub(crate) fn managed(service: &Key, manager: &str, caches: &Caches) -> Vec<Arc<EndpointSlice>> {
    let slices = caches
        .endpoint_slices
        .with_term(&format!("service/{}/{}", service.namespace, service.name));
    slices
        .into_iter()
        .filter(|slice| label(slice, MANAGED_BY) == Some(manager))
        .collect()
}

pub(crate) fn label<'a>(slice: &'a EndpointSlice, key: &str) -> Option<&'a str> {
    Some(slice.metadata.labels.as_ref()?.get(key)?.as_str())
}

/// The service that a change of a slice concerns, after noting what it fulfils.
pub(crate) fn slice_changed(change: &Change<EndpointSlice>, manager: &str, expectations: &Expectations) -> Vec<Key> {
    let mut keys = Vec::new();
    for slice in change.sides().filter(|slice| label(slice, MANAGED_BY) == Some(manager)) {
        let namespace = slice.metadata.namespace.clone().unwrap_or_default();
        let Some(service) = label(slice, SERVICE) else { continue };
        let key = Key::new(namespace, service);
        match (&change.old, &change.new) {
            (None, Some(_)) => expectations.created(&key),
            (Some(_), None) => expectations.deleted(&key, slice.metadata.uid.as_deref().unwrap_or_default()),
            _ => {}
        }
        keys.push(key);
    }
    keys.dedup();
    keys
}

/// What the slices should hold: endpoints by address family and set of ports.
#[derive(Default)]
pub(crate) struct Wanted(BTreeMap<(String, Vec<Port>), Vec<Endpoint>>);

impl Wanted {
    pub(crate) fn add(&mut self, family: &str, ports: Vec<Port>, endpoint: Endpoint) {
        self.0.entry((family.to_string(), ports)).or_default().push(endpoint);
    }

    fn add_family(&mut self, family: String, destinations: &[Destination]) {
        for destination in destinations {
            self.add(&family, destination.ports.clone(), endpoint(destination));
        }
        // An empty slice tells apart "no endpoints" from "not computed yet".
        if destinations.is_empty() {
            self.0.entry((family, Vec::new())).or_default();
        }
    }
}

fn endpoint(destination: &Destination) -> Endpoint {
    Endpoint {
        addresses: vec![destination.ip.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(destination.serving && !destination.terminating),
            serving: Some(destination.serving),
            terminating: Some(destination.terminating),
        }),
        hostname: destination.hostname.clone(),
        node_name: destination.node.clone(),
        target_ref: Some(destination.pod.clone()),
        ..Endpoint::default()
    }
}

/// Changes as few slices as possible: an endpoint stays in the slice it is in.
pub(crate) fn reconcile(
    service: &Key,
    labels: BTreeMap<String, String>,
    owner: OwnerReference,
    wanted: Wanted,
    existing: &[Arc<EndpointSlice>],
) -> Plan {
    let mut plan = Plan::nothing();
    let mut kept: Vec<bool> = vec![false; existing.len()];
    for ((family, ports), endpoints) in wanted.0 {
        let ports: Vec<EndpointPort> = ports.iter().map(port).collect();
        let same =
            |slice: &EndpointSlice| slice.address_type == family && slice.ports.as_deref().unwrap_or_default() == ports;
        let mut missing: BTreeMap<Vec<String>, Endpoint> = endpoints
            .into_iter()
            .map(|endpoint| (endpoint.addresses.clone(), endpoint))
            .collect();
        let placeholder = missing.is_empty();
        let mut filled: Vec<(usize, Vec<Endpoint>)> = Vec::new();
        for (index, slice) in existing.iter().enumerate().filter(|(_, slice)| same(slice)) {
            let stay = slice
                .endpoints
                .iter()
                .flatten()
                .filter_map(|known| missing.remove(&known.addresses));
            filled.push((index, stay.collect()));
        }
        let mut missing = missing.into_values();
        for (_, endpoints) in &mut filled {
            endpoints.extend(missing.by_ref().take(CAPACITY.saturating_sub(endpoints.len())));
        }
        let mut empty_kept = false;
        for (index, endpoints) in filled {
            if endpoints.is_empty() && (!placeholder || empty_kept) {
                continue; // deleted below
            }
            empty_kept = true;
            kept[index] = true;
            let mut updated = existing[index].as_ref().clone();
            updated.endpoints = Some(endpoints).filter(|endpoints| !endpoints.is_empty());
            updated.metadata.labels = Some(labels.clone());
            let normal = |slice: &EndpointSlice| {
                let endpoints = slice.endpoints.clone().filter(|endpoints| !endpoints.is_empty());
                (endpoints, slice.metadata.labels.clone())
            };
            if normal(&updated) != normal(&existing[index]) {
                updated.endpoints.get_or_insert_default();
                plan.writes.push(Write::replace(&updated).fine_when_gone());
            }
        }
        let rest: Vec<Endpoint> = missing.collect();
        let chunks = rest.chunks(CAPACITY).map(<[Endpoint]>::to_vec);
        let empty = (placeholder && !empty_kept).then(Vec::new);
        for endpoints in chunks.chain(empty) {
            let slice = EndpointSlice {
                address_type: family.clone(),
                endpoints: Some(endpoints),
                ports: Some(ports.clone()),
                metadata: ObjectMeta {
                    namespace: Some(service.namespace.clone()),
                    generate_name: Some(format!("{}-", service.name)),
                    labels: Some(labels.clone()),
                    owner_references: Some(vec![owner.clone()]),
                    ..ObjectMeta::default()
                },
            };
            plan.batch.push(Write::create(&slice).fine_when_terminating());
        }
    }
    let void = existing.iter().zip(kept).filter(|(_, kept)| !kept);
    plan.batch.extend(void.map(|(slice, _)| Write::delete(slice.as_ref())));
    plan
}

fn port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.number),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}
