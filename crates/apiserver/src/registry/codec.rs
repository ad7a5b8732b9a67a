//! Between the stored form of objects and the version of a request.
//!
//! A built-in kind is stored in one version, from which and to which its strategy converts. A custom resource is stored in
//! the storage version that its definition had at that time and says so (`apiVersion`); its strategy works with the version
//! of the request, so conversion, which may need a webhook, stands at the edge of the store, as upstream.

use std::sync::Arc;

use knarr_resource::{ResourceInfo, Status};
use serde_json::Value;

use crate::crd::conversion::convert;
use crate::object::{typed, typed_for};
use crate::server::Server;
use crate::store::{Index, Object};

/// Stored objects as the version of a resource shows them: pruned and defaulted, without kind and version, and with the
/// fields that its selectors know.
pub(crate) async fn show(
    server: &Server,
    resource: &Arc<ResourceInfo>,
    stored: Vec<Arc<Object>>,
) -> Result<Vec<Arc<Object>>, Status> {
    if resource.native {
        return Ok(stored);
    }
    let kind = Arc::as_ptr(resource) as usize;
    let known = |object: &Arc<Object>| server.shown.get(object, kind).map(|(_, shown)| shown);
    let mut shown: Vec<Option<Arc<Object>>> = stored.iter().map(known).collect();
    let missing: Vec<usize> = (0..stored.len()).filter(|at| shown[*at].is_none()).collect();
    let mut values: Vec<Value> = missing.iter().map(|at| stored[*at].value()).collect();
    from_storage(server, resource, &mut values).await?;
    for (at, value) in missing.into_iter().zip(values) {
        let index = Index {
            labels: value["metadata"]["labels"].clone(),
            fields: resource.fields(&value),
        };
        let object = Arc::new(stored[at].shown(value, index));
        // With its resource, whose address is part of the key.
        server.shown.put(&stored[at], kind, (resource.clone(), object.clone()));
        shown[at] = Some(object);
    }
    Ok(shown.into_iter().flatten().collect())
}

/// [`show`] for one object.
pub(crate) async fn show_one(
    server: &Server,
    resource: &Arc<ResourceInfo>,
    stored: Arc<Object>,
) -> Result<Arc<Object>, Status> {
    let shown = show(server, resource, vec![stored.clone()]).await?;
    Ok(shown.into_iter().next().unwrap_or(stored))
}

/// A stored object as the strategy of a resource works with it.
pub(crate) async fn decode(server: &Server, resource: &ResourceInfo, object: &Object) -> Result<Value, Status> {
    let mut value = object.value();
    if resource.definition.is_some() {
        from_storage(server, resource, std::slice::from_mut(&mut value)).await?;
    }
    Ok(value)
}

/// What a strategy works with as the version of the resource shows it, with kind and version.
pub(crate) fn present(resource: &ResourceInfo, mut object: Value) -> Value {
    if !resource.native {
        resource.from_storage(&mut object);
    }
    typed_for(resource, &mut object);
    object
}

/// What a strategy works with as it is stored.
pub(crate) async fn encode(server: &Server, resource: &ResourceInfo, mut object: Value) -> Result<Value, Status> {
    if let Some(definition) = &resource.definition {
        typed_for(resource, &mut object);
        let wanted = definition.stored_as(&resource.group);
        convert(server, definition, &wanted, std::slice::from_mut(&mut object)).await?;
    }
    Ok(object)
}

/// What the strategy of one version of a custom resource works with, as another version has it. What is built in is the same
/// in all versions.
pub(crate) async fn in_version(
    server: &Server,
    own: &ResourceInfo,
    wanted: &ResourceInfo,
    object: &Value,
) -> Result<Value, Status> {
    let mut object = object.clone();
    if let Some(definition) = own.definition.as_ref().filter(|_| !object.is_null()) {
        typed_for(own, &mut object);
        convert(
            server,
            definition,
            &wanted.api_version(),
            std::slice::from_mut(&mut object),
        )
        .await?;
    }
    Ok(object)
}

/// Whether an object is stored as it would be stored now.
pub(crate) fn is_current(resource: &ResourceInfo, object: &Value) -> bool {
    let Some(definition) = &resource.definition else {
        return true;
    };
    object["apiVersion"] == definition.stored_as(&resource.group)
}

async fn from_storage(server: &Server, resource: &ResourceInfo, objects: &mut [Value]) -> Result<(), Status> {
    if let Some(definition) = &resource.definition {
        for object in &mut *objects {
            let version = match object["apiVersion"].as_str() {
                Some(version) => version.to_owned(),
                // Written before versions were noted.
                None => definition.stored_as(&resource.group),
            };
            *object = typed(&resource.kind, &version, object.take());
        }
        convert(server, definition, &resource.api_version(), objects).await?;
    }
    for object in objects {
        resource.from_storage(object);
    }
    Ok(())
}
