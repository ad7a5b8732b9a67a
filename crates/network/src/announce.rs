//! What the network tells the API.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Endpoints, Event, Service};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::Context;
use crate::view::Key;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-dns";
const MANAGER: &str = "kube-proxy";

/// Makes the Service of the cluster's DNS. It has no selector, as there are no pods behind it: its endpoint is the
/// node itself.
pub(crate) async fn dns_service(context: &Context) {
    let dns_ip = context.options.dns_ip.to_string();
    let labels = json!({
        "k8s-app": "kube-dns",
        "kubernetes.io/cluster-service": "true",
        "kubernetes.io/name": "CoreDNS",
    });
    let ports = |target: bool| -> Vec<Value> {
        let ports = [("dns", "UDP"), ("dns-tcp", "TCP")].into_iter();
        let port = |(name, protocol)| match target {
            true => json!({ "name": name, "protocol": protocol, "port": 53, "targetPort": 53 }),
            false => json!({ "name": name, "protocol": protocol, "port": 53 }),
        };
        ports.map(port).collect()
    };
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": NAME, "namespace": NAMESPACE, "labels": labels },
        "spec": { "clusterIP": dns_ip, "clusterIPs": [dns_ip], "ports": ports(true) },
    });
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": { "name": NAME, "namespace": NAMESPACE, "labels": labels },
        "subsets": [{
            "addresses": [{ "ip": context.runtime.node_ip().to_string() }],
            "ports": ports(false),
        }],
    });
    let parameters = PatchParams::apply(MANAGER).force();
    let services: Api<Service> = Api::namespaced(context.client.clone(), NAMESPACE);
    if let Err(error) = services.patch(NAME, &parameters, &Patch::Apply(service)).await {
        tracing::warn!(%error, "Cannot announce the cluster's DNS");
        return;
    }
    let all: Api<Endpoints> = Api::namespaced(context.client.clone(), NAMESPACE);
    if let Err(error) = all.patch(NAME, &parameters, &Patch::Apply(endpoints)).await {
        tracing::warn!(%error, "Cannot announce the endpoint of the cluster's DNS");
    }
}

/// Tells at which address of the host a service's load balancer is, or that there is none.
pub(crate) async fn balancer(context: &Context, service: &Key, ip: Option<Ipv4Addr>) {
    let ingress = ip.map(|ip| json!([{ "ip": ip.to_string(), "ipMode": "Proxy" }]));
    let status = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
    let services: Api<Service> = Api::namespaced(context.client.clone(), &service.namespace);
    let parameters = PatchParams {
        field_manager: Some(MANAGER.into()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(status);
    if let Err(error) = services.patch_status(&service.name, &parameters, &patch).await {
        tracing::debug!(%error, service = service.name, "load balancer not announced");
    }
}

/// Tells the owner of a service that one of its ports is not reachable.
pub(crate) async fn port_not_opened(context: &Context, service: &Key, message: &str) {
    let now = context.options.clock.now();
    let event = json!({
        "metadata": { "namespace": service.namespace, "name": format!("{}.{:x}", service.name, now.as_nanosecond()) },
        "involvedObject": {
            "apiVersion": "v1", "kind": "Service", "namespace": service.namespace, "name": service.name,
        },
        "type": "Warning",
        "reason": "PortUnavailable",
        "message": message,
        "source": { "component": MANAGER },
        "reportingComponent": MANAGER,
        "reportingInstance": "",
        "firstTimestamp": context.options.clock.now_seconds().to_string(),
        "lastTimestamp": context.options.clock.now_seconds().to_string(),
        "count": 1,
    });
    if let Err(error) = create(&context.client, &service.namespace, event).await {
        tracing::debug!(%error, "event not recorded");
    }
}

async fn create(client: &Client, namespace: &str, event: Value) -> Result<(), kube::Error> {
    let event: Event = serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    events.create(&PostParams::default(), &event).await.map(drop)
}
