//! Mirrors Endpoints made by hand into EndpointSlices, so that readers of slices see them too.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};

use super::Port;
use super::slice::{self, MANAGED_BY, SERVICE, Wanted};
use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::expect::Expectations;
use crate::key::Key;
use crate::owner;
use crate::write::{Plan, Write};

const OURS: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const ELECTION: &str = "control-plane.alpha.kubernetes.io/leader";

/// The mirroring controller. Keys are services.
#[derive(Default)]
pub(crate) struct Mirror {
    expectations: Arc<Expectations>,
}

impl Controller for Mirror {
    const NAME: &'static str = "endpoint-slice-mirroring-controller";
    const ACCOUNT: Option<&'static str> = Some("endpointslicemirroring-controller");

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        let expectations = self.expectations.clone();
        watch
            .own::<Service>()
            .own::<Endpoints>()
            .on::<EndpointSlice>(move |change, _| slice::slice_changed(change, OURS, &expectations));
    }

    fn expectations(&self) -> Option<&Expectations> {
        Some(&self.expectations)
    }

    fn sync(&self, key: &Key, caches: &Caches, _: Timestamp) -> Plan {
        if !self.expectations.satisfied(key) {
            return Plan::nothing();
        }
        let existing = slice::managed(key, OURS, caches);
        let service = caches
            .services
            .get(key)
            .filter(|service| super::selector(service).is_none());
        let Some((endpoints, _)) = caches.endpoints.get(key).filter(|e| is_mirrored(e)).zip(service) else {
            return Plan {
                batch: existing.iter().map(|slice| Write::delete(slice.as_ref())).collect(),
                ..Plan::default()
            };
        };
        let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
        labels.insert(MANAGED_BY.into(), OURS.into());
        labels.insert(SERVICE.into(), key.name.clone());
        let wanted = wanted(&endpoints);
        slice::reconcile(key, labels, owner::reference(endpoints.as_ref()), wanted, &existing)
    }
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let has = |map: &Option<BTreeMap<String, String>>, key: &str| map.as_ref().is_some_and(|map| map.contains_key(key));
    let skip = endpoints.metadata.labels.as_ref().and_then(|labels| labels.get(SKIP));
    skip.map(String::as_str) != Some("true") && !has(&endpoints.metadata.annotations, ELECTION)
}

fn wanted(endpoints: &Endpoints) -> Wanted {
    let mut wanted = Wanted::default();
    for subset in endpoints.subsets.iter().flatten() {
        let ports: Vec<Port> = subset
            .ports
            .iter()
            .flatten()
            .map(|port| Port {
                name: port.name.clone(),
                number: port.port,
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                app_protocol: port.app_protocol.clone(),
            })
            .collect();
        let mut add = |address: &EndpointAddress, ready: bool| {
            let family = if address.ip.contains(':') { "IPv6" } else { "IPv4" };
            let endpoint = Endpoint {
                addresses: vec![address.ip.clone()],
                conditions: Some(EndpointConditions {
                    ready: Some(ready),
                    ..EndpointConditions::default()
                }),
                hostname: address.hostname.clone(),
                node_name: address.node_name.clone(),
                target_ref: address.target_ref.clone(),
                ..Endpoint::default()
            };
            wanted.add(family, ports.clone(), endpoint);
        };
        subset.addresses.iter().flatten().for_each(|address| add(address, true));
        subset
            .not_ready_addresses
            .iter()
            .flatten()
            .for_each(|address| add(address, false));
    }
    wanted
}
