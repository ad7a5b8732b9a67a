//! Binding a pod to a node: the one write of a scheduler.

use axum::body::Body;
use bytes::Bytes;
use http::{Response, StatusCode};
use knarr_resource::{Failure, find};
use serde_json::{Value, json};

use crate::http::call::Call;
use crate::http::render;
use crate::object::name_of;
use crate::refusal;
use crate::server::Server;
use crate::store::{self, Expect, Write, WriteError};
use crate::verb::input::{self, Expected};

/// Serves `pods/NAME/binding`, and the older `bindings`, where the object names the pod.
pub(crate) async fn post(server: &Server, call: &Call, bytes: Bytes) -> Result<Response<Body>, Failure> {
    let expected = Expected {
        api_version: "v1",
        kind: "Binding",
    };
    let (binding, _) = input::read(call, &expected, &bytes)?;
    let pods = find("", "v1", "pods").ok_or_else(refusal::unknown_path)?;
    let name = match call.name.as_str() {
        "" => name_of(&binding).to_owned(),
        name if !name_of(&binding).is_empty() && name_of(&binding) != name => {
            return Err(Failure::bad_request(
                "name in URL does not match name in Binding object",
            ));
        }
        name => name.to_owned(),
    };
    let target = &binding["target"];
    let node = target["name"].as_str().unwrap_or_default();
    let kind = target["kind"].as_str().unwrap_or_default();
    if !matches!(kind, "" | "Node") || node.is_empty() {
        return Err(Failure::bad_request(format!(
            "the target of a binding is a Node with a name, not {target}"
        )));
    }
    let dry_run = call.query.dry_run()?;
    let slot = server.slot_of(pods);
    let key = store::key(&call.namespace, &name);
    loop {
        let live = server
            .store
            .get(slot, &key)
            .ok_or_else(|| Failure::not_found(pods, &name))?;
        let pod =
            bind(server, &name, &live.value(), &binding, node).map_err(|why| Failure::conflict(pods, &name, &why))?;
        let write = Write {
            slot,
            key: key.clone(),
            expect: Expect::Version(live.version),
            value: Some(pod),
        };
        if dry_run {
            break;
        }
        match server.store.write(write).await {
            Ok(_) => break,
            Err(WriteError::Conflict) => {}
            Err(error) => return Err(refusal::write(pods, &name, &error)),
        }
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    render::plain(call.form()?, StatusCode::CREATED, &status)
}

/// The pod on its node, or why it cannot go there.
fn bind(server: &Server, name: &str, old: &Value, binding: &Value, node: &str) -> Result<Value, String> {
    let own = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (wanted, uid) = (own(&binding["metadata"]["uid"]), own(&old["metadata"]["uid"]));
    if !wanted.is_empty() && wanted != uid {
        return Err(format!(
            "Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}"
        ));
    }
    if old["metadata"]["deletionTimestamp"].is_string() {
        return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let assigned = own(&old["spec"]["nodeName"]);
    if !assigned.is_empty() {
        return Err(format!("pod {name} is already assigned to node {assigned:?}"));
    }
    if old["spec"]["schedulingGates"]
        .as_array()
        .is_some_and(|gates| !gates.is_empty())
    {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut pod = old.clone();
    pod["spec"]["nodeName"] = json!(node);
    if let Some(annotations) = binding["metadata"]["annotations"].as_object() {
        for (key, value) in annotations {
            pod["metadata"]["annotations"][key] = value.clone();
        }
    }
    if !pod["status"].is_object() {
        pod["status"] = json!({});
    }
    let now = server.clock.now_seconds().to_string();
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| condition["type"] != "PodScheduled");
    conditions.push(json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
    }));
    pod["status"]["conditions"] = conditions.into();
    Ok(pod)
}
