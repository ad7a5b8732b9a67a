//! What the network tells the API.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Endpoints, ObjectReference, Service};
use knarr_client::key::Key;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::Context;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-dns";
pub(crate) const MANAGER: &str = "kube-proxy";

/// Makes the Service of the cluster's DNS. It has no selector, as there are no pods behind it: its endpoint is the
/// node itself.
pub(crate) async fn dns_service(client: &Client, context: &Context) {
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
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    if let Err(error) = services.patch(NAME, &parameters, &Patch::Apply(service)).await {
        tracing::warn!(%error, "Cannot announce the cluster's DNS");
        return;
    }
    let all: Api<Endpoints> = Api::namespaced(client.clone(), NAMESPACE);
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
