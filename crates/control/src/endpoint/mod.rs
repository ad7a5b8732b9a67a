//! Where the traffic of a service goes.
//!
//! For each service with a selector the addresses of its pods are published twice: as EndpointSlices, which proxies
//! and DNS read, and as the older Endpoints object, which people and older programs read. A pod is listed as ready
//! while its readiness probe says so; that is all that takes it into and out of load balancing.

pub(crate) mod legacy;
pub(crate) mod mirror;
pub(crate) mod slice;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Resource;
use kube::core::{Selector, SelectorExt};

use crate::caches::Caches;
use crate::key::Key;
use crate::pod;
use crate::store::Change;

/// A pod as a destination.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub(crate) ip: String,
    pub(crate) node: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) pod: ObjectReference,
    /// Its readiness probe is content (or the service does not care).
    pub(crate) serving: bool,
    pub(crate) terminating: bool,
    /// The service's ports that the pod has, resolved to numbers.
    pub(crate) ports: Vec<Port>,
}

/// A port of a service, resolved for one pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub(crate) name: Option<String>,
    pub(crate) number: i32,
    pub(crate) protocol: String,
    pub(crate) app_protocol: Option<String>,
}

/// The selector of a service whose endpoints are managed. `None` for those made by hand and for external names.
pub(crate) fn selector(service: &Service) -> Option<Selector> {
    let spec = service.spec.as_ref()?;
    let labels = spec.selector.as_ref().filter(|labels| !labels.is_empty())?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    Some(labels.clone().into_iter().collect())
}

/// No cluster IP: DNS answers with the pods themselves.
pub(crate) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// All pods that a service selects and that have an address of the family.
pub(crate) fn destinations(service: &Service, selector: &Selector, caches: &Caches, v6: bool) -> Vec<Destination> {
    let spec = service.spec.clone().unwrap_or_default();
    let any = spec.publish_not_ready_addresses == Some(true);
    let namespace = service.meta().namespace.as_deref().unwrap_or_default();
    let pods = caches.pods.in_namespace(namespace);
    let chosen = pods.iter().filter(|pod| {
        pod.metadata
            .labels
            .as_ref()
            .is_some_and(|labels| selector.matches(labels))
            && !pod::is_terminal(pod)
    });
    chosen
        .filter_map(|pod| {
            let hostname = pod.spec.as_ref().filter(|spec| spec.subdomain == service.metadata.name);
            Some(Destination {
                ip: address(pod, v6)?,
                node: pod::node(pod).map(str::to_string),
                hostname: hostname
                    .and_then(|spec| spec.hostname.clone())
                    .filter(|name| !name.is_empty()),
                pod: ObjectReference {
                    kind: Some("Pod".into()),
                    namespace: pod.metadata.namespace.clone(),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                    ..ObjectReference::default()
                },
                serving: any || pod::is_ready(pod),
                terminating: pod.metadata.deletion_timestamp.is_some(),
                ports: spec
                    .ports
                    .iter()
                    .flatten()
                    .filter_map(|port| resolve(port, pod))
                    .collect(),
            })
        })
        // A service that has ports has nothing to offer on a pod that has none of them.
        .filter(|destination| !destination.ports.is_empty() || spec.ports.as_ref().is_none_or(|ports| ports.is_empty()))
        .collect()
}

fn address(pod: &Pod, v6: bool) -> Option<String> {
    let status = pod.status.as_ref()?;
    let ips = status.pod_ips.iter().flatten().map(|ip| &ip.ip);
    let mut candidates = ips.chain(&status.pod_ip);
    candidates.find(|ip| !ip.is_empty() && ip.contains(':') == v6).cloned()
}

/// A named target port is looked up in the pod: each pod may have its own number for it.
fn resolve(port: &ServicePort, pod: &Pod) -> Option<Port> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
    let number = match &port.target_port {
        None | Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars = spec.init_containers.iter().flatten();
            let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
            let mut ports = spec
                .containers
                .iter()
                .chain(sidecars)
                .flat_map(|container| container.ports.iter().flatten());
            let named = ports.find(|candidate| {
                candidate.name.as_ref() == Some(name) && candidate.protocol.as_deref().unwrap_or("TCP") == protocol
            });
            named?.container_port
        }
    };
    Some(Port {
        name: port.name.clone().filter(|name| !name.is_empty()),
        number,
        protocol,
        app_protocol: port.app_protocol.clone(),
    })
}

/// The services that a change of a pod concerns.
pub(crate) fn pod_changed(change: &Change<Pod>, caches: &Caches) -> Vec<Key> {
    if let (Some(old), Some(new)) = (&change.old, &change.new) {
        let relevant = |pod: &Pod| {
            let ips = pod
                .status
                .as_ref()
                .map(|status| (status.pod_ip.clone(), status.pod_ips.clone()));
            let meta = &pod.metadata;
            let states = (
                pod::is_ready(pod),
                pod::is_terminal(pod),
                meta.deletion_timestamp.is_some(),
            );
            (ips, states, meta.labels.clone(), pod::node(pod).map(str::to_string))
        };
        if relevant(old) == relevant(new) {
            return Vec::new();
        }
    }
    let Some(pod) = change.sides().next() else {
        return Vec::new();
    };
    let services = caches
        .services
        .in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
    let concerned = services.iter().filter(|service| {
        selector(service).is_some_and(|selector| {
            change.sides().any(|pod| {
                pod.metadata
                    .labels
                    .as_ref()
                    .is_some_and(|labels| selector.matches(labels))
            })
        })
    });
    concerned.map(|service| Key::of(service.as_ref())).collect()
}

#[cfg(test)]
mod tests;
