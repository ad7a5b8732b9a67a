//! What the network tells the API.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Endpoints, ObjectReference, Service};
use knarr_client::key::Key;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::{Context, ingress};

pub(crate) const NAMESPACE: &str = "kube-system";
pub(crate) const MANAGER: &str = "kube-proxy";

/// Makes the Service of the cluster's DNS.
pub(crate) async fn dns_service(client: &Client, context: &Context) {
    let dns_ip = context.options.dns_ip.to_string();
    let labels = json!({
        "k8s-app": "kube-dns",
        "kubernetes.io/cluster-service": "true",
        "kubernetes.io/name": "CoreDNS",
    });
    let spec = json!({ "clusterIP": dns_ip, "clusterIPs": [dns_ip] });
    let ports = [("dns", "UDP", 53, 53), ("dns-tcp", "TCP", 53, 53)];
    own_service(client, context, "kube-dns", &labels, spec, &ports).await;
}

/// Makes the Service of the Ingress controller.
pub(crate) async fn ingress_service(context: &Context) {
    let labels = json!({ "app.kubernetes.io/name": ingress::SERVICE });
    let ports = [
        ("http", "TCP", 80, ingress::HTTP),
        ("https", "TCP", 443, ingress::HTTPS),
    ];
    let spec = json!({ "type": "LoadBalancer" });
    own_service(&context.client, context, ingress::SERVICE, &labels, spec, &ports).await;
}

/// Makes a Service of something that listens at the node's address. It has no selector, as there are no pods behind it: its endpoint
/// is the node itself. Ports are named, with their protocol, and where they lead.
async fn own_service(
    client: &Client,
    context: &Context,
    name: &str,
    labels: &Value,
    mut spec: Value,
    ports: &[(&str, &str, u16, u16)],
) {
    spec["ports"] = ports
        .iter()
        .map(|(name, protocol, port, target)| {
            json!({ "name": name, "protocol": protocol, "port": port, "targetPort": target })
        })
        .collect();
    let targets: Vec<Value> = ports
        .iter()
        .map(|(name, protocol, _, target)| json!({ "name": name, "protocol": protocol, "port": target }))
        .collect();
    let metadata = json!({ "name": name, "namespace": NAMESPACE, "labels": labels });
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec });
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": metadata,
        "subsets": [{ "addresses": [{ "ip": context.runtime.node_ip().to_string() }], "ports": targets }],
    });
    let parameters = PatchParams::apply(MANAGER).force();
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    if let Err(error) = services.patch(name, &parameters, &Patch::Apply(service)).await {
        tracing::warn!(%error, name, "Cannot announce a service of the node");
        return;
    }
    let all: Api<Endpoints> = Api::namespaced(client.clone(), NAMESPACE);
    if let Err(error) = all.patch(name, &parameters, &Patch::Apply(endpoints)).await {
        tracing::warn!(%error, name, "Cannot announce the endpoint of a service of the node");
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
pub(crate) fn port_not_opened(context: &Context, service: &Key, message: String) {
    let about = ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Service".into()),
        namespace: Some(service.namespace.clone()),
        name: Some(service.name.clone()),
        ..ObjectReference::default()
    };
    context.recorder.warning(about, "PortUnavailable", message);
}
