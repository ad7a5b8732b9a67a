//! Binding a pod to a node: the one write of a scheduler.

use axum::body::Body;
use bytes::Bytes;
use http::{Response, StatusCode};
use knarr_resource::{Failure, bind};
use serde_json::json;

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
    let pods = server.resource("", "v1", "pods").ok_or_else(refusal::unknown_path)?;
    let name = match call.name.as_str() {
        "" => name_of(&binding).to_owned(),
        name if !name_of(&binding).is_empty() && name_of(&binding) != name => {
            return Err(Failure::bad_request(
                "name in URL does not match name in Binding object",
            ));
        }
        name => name.to_owned(),
    };
    let dry_run = call.query.dry_run();
    let slot = server.slot_of(&pods);
    let key = store::key(&call.namespace, &name);
    loop {
        let live = server
            .store
            .get(slot, &key)
            .ok_or_else(|| Failure::not_found(&pods, &name))?;
        let mut pod = live.value();
        bind(&mut pod, &binding, server.clock.now())?;
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
            Err(error) => return Err(refusal::write(&pods, &name, &error)),
        }
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    render::plain(call.form()?, StatusCode::CREATED, &status)
}
