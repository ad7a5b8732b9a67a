//! What the server itself needs to know of an object's fields, whatever its kind, and the one kind (Service) whose fields
//! must be unique in the cluster.

use std::net::Ipv4Addr;
use std::sync::Arc;

use knarr_resource::allocate::{Pool, Used};
use knarr_resource::{ResourceInfo, Status};
use serde_json::{Map, Value};

use crate::server::Server;

/// Puts `kind` and `apiVersion` in front of an object.
pub(crate) fn typed(kind: &str, api_version: &str, value: Value) -> Value {
    let mut out = Map::new();
    out.insert("kind".into(), kind.into());
    out.insert("apiVersion".into(), api_version.into());
    if let Value::Object(map) = value {
        out.extend(map.into_iter().filter(|(key, _)| key != "kind" && key != "apiVersion"));
    }
    Value::Object(out)
}

/// `metadata.name`.
pub(crate) fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Gives an object the kind and version of a resource.
pub(crate) fn typed_for(resource: &ResourceInfo, object: &mut Value) {
    *object = typed(&resource.kind, &resource.api_version(), object.take());
}

/// Whether the object is on its way out.
pub(crate) fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Whether nothing keeps a deleted object any more: no finalizers, and for a pod no grace period.
pub(crate) fn is_gone(resource: &ResourceInfo, object: &Value) -> bool {
    let grace = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    is_deleting(object) && !resource.is_held(object) && grace == 0
}

/// Allocation of addresses and ports.
pub(crate) struct Service;

impl Service {
    fn concerns(resource: &ResourceInfo) -> bool {
        resource.storage == "services"
    }

    /// Keeps others from allocating until the guard is dropped. For other resources than Services there is no guard.
    pub(crate) async fn lock<'a>(
        server: &'a Server,
        resource: &ResourceInfo,
    ) -> Option<tokio::sync::MutexGuard<'a, ()>> {
        match Self::concerns(resource) {
            true => Some(server.services.lock().await),
            false => None,
        }
    }

    /// Gives a Service what it needs to have. The caller holds the lock until the Service is stored.
    pub(crate) fn assign(
        server: &Server,
        resource: &ResourceInfo,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        if !Self::concerns(resource) {
            return Ok(());
        }
        let all = server.store.list(server.slot_of(resource), None);
        let services: Vec<Arc<Value>> = all.objects.iter().map(|object| server.decoded(object)).collect();
        pool(server)
            .assign(service, old, &Used::by(services.iter().map(|service| &**service)))
            .map_err(|errors| Status::invalid(&resource.group, &resource.kind, name_of(service), &errors))
    }
}

/// The addresses and node ports of this cluster.
pub(crate) fn pool(server: &Server) -> Pool {
    let parsed = server
        .options
        .service_cidr
        .split_once('/')
        .and_then(|(network, prefix)| Some((network.parse::<Ipv4Addr>().ok()?, prefix.parse::<u32>().ok()?)));
    match parsed {
        Some((network, prefix)) => Pool::new(network, prefix, 30000..=32767),
        None => Pool::default(),
    }
}
