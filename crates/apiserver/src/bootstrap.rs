//! The objects every cluster starts with.
//!
//! They are made if they are missing, at every start, and the most important ones whenever they go missing. What a user
//! has changed in them stays changed.

use std::sync::{Arc, Weak};

use base64::Engine;
use futures::future::select_all;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::auth::defaults;
use crate::error::Error;
use crate::object::{name_of, pool};
use crate::server::Server;
use crate::store::{self, Expect, Write, WriteError};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// All of it in one transaction: there is nothing to wait for in between.
pub(crate) async fn run(server: &Server) -> Result<(), Error> {
    let mut writes = Vec::new();
    namespaces(server, &mut writes)?;
    for own in defaults::policy() {
        let group = "rbac.authorization.k8s.io";
        complete(server, &mut writes, group, own.plural, own.namespace, own.object)?;
    }
    for (name, value, description) in [
        (
            "system-cluster-critical",
            2_000_000_000_i64,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ] {
        let class = json!({"metadata": {"name": name}, "value": value, "description": description});
        ensure(server, &mut writes, "scheduling.k8s.io", "priorityclasses", "", class)?;
    }
    storage_class(server, &mut writes)?;
    ingress_classes(server, &mut writes)?;
    cluster_info(server, &mut writes)?;
    let trusted = server.front_proxy.config_map(&server.options.ca_pem);
    replace(server, &mut writes, "", "configmaps", "kube-system", trusted, &["data"])?;
    kubernetes_service(server, &mut writes)?;
    store(server, writes).await
}

/// The class of claims that name none: directories of the node, which all nodes share, so there is nothing to wait for.
fn storage_class(server: &Server, writes: &mut Vec<Write>) -> Result<(), Error> {
    let class = json!({
        "metadata": {
            "name": "standard",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "knarr.dev/local",
        "allowVolumeExpansion": true,
    });
    ensure(server, writes, "storage.k8s.io", "storageclasses", "", class)
}

/// Brings back what somebody deletes but no cluster can be without: `kubectl delete all --all` takes the `kubernetes`
/// Service along.
pub(crate) struct Controller {
    /// Weak, so that a server that nobody uses any more goes away.
    server: Weak<Server>,
    stopping: CancellationToken,
    changes: Vec<watch::Receiver<u64>>,
}

impl Controller {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        let changes = [
            ("", "namespaces"),
            ("", "services"),
            ("", "endpoints"),
            ("discovery.k8s.io", "endpointslices"),
        ]
        .map(|(group, plural)| server.store.changes(server.slot(group, plural)));
        Self {
            server: Arc::downgrade(server),
            stopping: server.stopping.clone(),
            changes: changes.into(),
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            let changed = select_all(self.changes.iter_mut().map(|changes| Box::pin(changes.changed())));
            tokio::select! {
                () = self.stopping.cancelled() => return,
                (outcome, ..) = changed => if outcome.is_err() { return },
            }
            let Some(server) = self.server.upgrade() else {
                return;
            };
            // Somebody else may have been faster, and then there will be another change to look at.
            if let Err(error) = restore(&server).await {
                tracing::debug!(%error, "an object that every cluster needs is not as it should be");
            }
        }
    }
}

pub(crate) async fn restore(server: &Server) -> Result<(), Error> {
    let mut writes = Vec::new();
    namespaces(server, &mut writes)?;
    kubernetes_service(server, &mut writes)?;
    store(server, writes).await
}

fn namespaces(server: &Server, writes: &mut Vec<Write>) -> Result<(), Error> {
    for name in NAMESPACES {
        ensure(
            server,
            writes,
            "",
            "namespaces",
            "",
            json!({"metadata": {"name": name}}),
        )?;
    }
    Ok(())
}

/// Manifests that name a class mostly name `nginx`, and what they ask of it by annotations is what is served here.
fn ingress_classes(server: &Server, writes: &mut Vec<Write>) -> Result<(), Error> {
    for (name, default) in [("knarr", "true"), ("nginx", "false")] {
        let class = json!({
            "metadata": {
                "name": name,
                "annotations": {"ingressclass.kubernetes.io/is-default-class": default},
            },
            "spec": {"controller": "knarr.dev/ingress"},
        });
        ensure(server, writes, "networking.k8s.io", "ingressclasses", "", class)?;
    }
    Ok(())
}

/// How to reach and trust this cluster, for those who know nothing but its name.
fn cluster_info(server: &Server, writes: &mut Vec<Write>) -> Result<(), Error> {
    let (Some(address), false) = (server.options.advertise, server.options.ca_pem.is_empty()) else {
        return Ok(());
    };
    let authority = base64::engine::general_purpose::STANDARD.encode(&server.options.ca_pem);
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "",
            "cluster": {"certificate-authority-data": authority, "server": format!("https://{address}")},
        }],
    });
    let text = serde_yaml::to_string(&kubeconfig).map_err(|error| Error::Options(error.to_string()))?;
    let map = json!({"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": text}});
    replace(server, writes, "", "configmaps", "kube-public", map, &["data"])
}

/// The Service by which pods reach this server. Its endpoints follow the address of this start.
fn kubernetes_service(server: &Server, writes: &mut Vec<Write>) -> Result<(), Error> {
    let port = json!({"name": "https", "port": 443, "protocol": "TCP", "targetPort": port(server)});
    let ip = pool(server).first().to_string();
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "metadata": {"name": "kubernetes", "labels": labels},
        "spec": {
            "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ports": [port],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        },
    });
    ensure(server, writes, "", "services", "default", service)?;
    let Some(address) = server.advertised_to_pods() else {
        return Ok(());
    };
    let endpoints = json!({
        "metadata": {
            "name": "kubernetes",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": address.ip().to_string()}],
            "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
        }],
    });
    replace(server, writes, "", "endpoints", "default", endpoints, &["subsets"])?;
    let slice = json!({
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
    });
    let group = "discovery.k8s.io";
    replace(
        server,
        writes,
        group,
        "endpointslices",
        "default",
        slice,
        &["endpoints", "ports"],
    )
}

fn port(server: &Server) -> u16 {
    server.options.advertise.map_or(6443, |address| address.port())
}

/// Creates an object if there is none of its name.
fn ensure(
    server: &Server,
    writes: &mut Vec<Write>,
    group: &str,
    plural: &str,
    namespace: &str,
    mut object: Value,
) -> Result<(), Error> {
    let resource = server
        .resource(group, "v1", plural)
        .ok_or_else(|| Error::Options(format!("{plural} are not served, but every cluster needs some")))?;
    let slot = server.slot_of(&resource);
    let key = store::key(namespace, name_of(&object));
    if server.store.get(slot, &key).is_some() {
        return Ok(());
    }
    resource.default(&mut object);
    resource.identify(&mut object, server.clock.now());
    resource.prepare_create(&mut object, namespace);
    resource.default(&mut object);
    let write = Write {
        slot,
        key,
        expect: Expect::Absent,
        value: Some(object),
    };
    writes.push(write);
    Ok(())
}

/// Creates a role or a binding, or gives it back the rules and subjects that it lacks, unless it is annotated not to. What a user
/// has added stays: <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#auto-reconciliation>.
fn complete(
    server: &Server,
    writes: &mut Vec<Write>,
    group: &str,
    plural: &str,
    namespace: &str,
    mut object: Value,
) -> Result<(), Error> {
    let slot = server.slot(group, plural);
    let key = store::key(namespace, name_of(&object));
    let Some(live) = server.store.get(slot, &key) else {
        return ensure(server, writes, group, plural, namespace, object);
    };
    if let Some(resource) = server.resource(group, "v1", plural) {
        resource.default(&mut object);
    }
    let mut value = live.value();
    if value["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] == "false" {
        return Ok(());
    }
    // The rules of a role that aggregates others are its controller's.
    let list = match plural.ends_with("bindings") {
        true => "subjects",
        false if object["aggregationRule"].is_object() => return Ok(()),
        false => "rules",
    };
    let mut items = value[list].as_array().cloned().unwrap_or_default();
    let wanted = object[list].as_array().into_iter().flatten();
    let missing: Vec<Value> = wanted.filter(|item| !items.contains(item)).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    items.extend(missing);
    value[list] = items.into();
    writes.push(Write {
        slot,
        key,
        expect: Expect::Version(live.version),
        value: Some(value),
    });
    Ok(())
}

/// Creates an object, or replaces some fields of the one that is there.
fn replace(
    server: &Server,
    writes: &mut Vec<Write>,
    group: &str,
    plural: &str,
    namespace: &str,
    object: Value,
    fields: &[&str],
) -> Result<(), Error> {
    let slot = server.slot(group, plural);
    let key = store::key(namespace, name_of(&object));
    let Some(live) = server.store.get(slot, &key) else {
        return ensure(server, writes, group, plural, namespace, object);
    };
    let mut value = live.value();
    if fields.iter().all(|field| value[*field] == object[*field]) {
        return Ok(());
    }
    for field in fields {
        value[*field] = object[*field].clone();
    }
    let write = Write {
        slot,
        key,
        expect: Expect::Version(live.version),
        value: Some(value),
    };
    writes.push(write);
    Ok(())
}

async fn store(server: &Server, writes: Vec<Write>) -> Result<(), Error> {
    if writes.is_empty() {
        return Ok(());
    }
    let outcome = server.store.transact(writes).await.map(drop);
    store_error(outcome.map_err(|refused| refused.error))
}

fn store_error(outcome: Result<(), WriteError>) -> Result<(), Error> {
    outcome.map_err(|error| match error {
        WriteError::Disk(reason) => Error::Disk(reason),
        other => Error::Disk(format!("an object that every cluster needs was not stored: {other:?}")),
    })
}
