//! The Endpoints object of a service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service};

use super::{Destination, Port};
use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::key::Key;
use crate::write::{Plan, Write};

const HEADLESS: &str = "service.kubernetes.io/headless";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// Most addresses in one object.
const CAPACITY: usize = 1000;

/// The endpoints controller. Keys are services.
pub(crate) struct LegacyEndpoints;

impl Controller for LegacyEndpoints {
    const NAME: &'static str = "endpoint-controller";

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch.own::<Service>().own::<Endpoints>().on::<Pod>(super::pod_changed);
    }

    fn sync(&self, key: &Key, caches: &Caches, _: Timestamp) -> Plan {
        let current = caches.endpoints.get(key);
        let Some(service) = caches.services.get(key) else {
            let managed = current.filter(|endpoints| {
                endpoints
                    .metadata
                    .labels
                    .as_ref()
                    .is_some_and(|labels| labels.contains_key(MANAGED_BY))
            });
            return Plan::of(
                managed
                    .iter()
                    .map(|endpoints| Write::delete(endpoints.as_ref()))
                    .collect(),
            );
        };
        let Some(selector) = super::selector(&service) else {
            return Plan::nothing();
        };
        let destinations = super::destinations(&service, &selector, caches, false);
        let mut wanted = current.as_deref().cloned().unwrap_or_default();
        wanted.metadata.namespace = Some(key.namespace.clone());
        wanted.metadata.name = Some(key.name.clone());
        let mut labels = service.metadata.labels.clone().unwrap_or_default();
        labels.insert(MANAGED_BY.into(), "endpoint-controller".into());
        if super::is_headless(&service) {
            labels.insert(HEADLESS.into(), String::new());
        }
        wanted.metadata.labels = Some(labels);
        let subsets = subsets(&destinations);
        wanted.subsets = (!subsets.is_empty()).then_some(subsets);
        match current {
            None => Plan::of(vec![Write::create(&wanted).fine_when_terminating()]),
            Some(current) if *current != wanted => Plan::of(vec![Write::replace(&wanted)]),
            Some(_) => Plan::nothing(),
        }
    }
}

/// Groups ports that are offered by the same pods.
fn subsets(destinations: &[Destination]) -> Vec<EndpointSubset> {
    // Leaving pods are listed only where even unready ones are wanted.
    let listed = destinations
        .iter()
        .filter(|destination| !destination.terminating)
        .take(CAPACITY);
    let listed: Vec<&Destination> = listed.collect();
    let mut offers: BTreeMap<Option<&Port>, BTreeSet<usize>> = BTreeMap::new();
    for (index, destination) in listed.iter().enumerate() {
        if destination.ports.is_empty() {
            offers.entry(None).or_default().insert(index);
        }
        for port in &destination.ports {
            offers.entry(Some(port)).or_default().insert(index);
        }
    }
    let mut groups: BTreeMap<BTreeSet<usize>, Vec<&Port>> = BTreeMap::new();
    for (port, offering) in offers {
        groups.entry(offering).or_default().extend(port);
    }
    groups
        .into_iter()
        .map(|(offering, ports)| {
            let addresses = |serving: bool| {
                let chosen = offering
                    .iter()
                    .map(|index| listed[*index])
                    .filter(|each| each.serving == serving);
                let mut addresses: Vec<EndpointAddress> = chosen.map(address).collect();
                addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
                (!addresses.is_empty()).then_some(addresses)
            };
            let ports: Vec<EndpointPort> = ports.into_iter().map(port).collect();
            EndpointSubset {
                addresses: addresses(true),
                not_ready_addresses: addresses(false),
                ports: (!ports.is_empty()).then_some(ports),
            }
        })
        .collect()
}

fn address(destination: &Destination) -> EndpointAddress {
    EndpointAddress {
        ip: destination.ip.clone(),
        hostname: destination.hostname.clone(),
        node_name: destination.node.clone(),
        target_ref: Some(destination.pod.clone()),
    }
}

fn port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: port.name.clone(),
        port: port.number,
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}
