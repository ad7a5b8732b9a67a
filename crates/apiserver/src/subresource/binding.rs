//! Binding a pod to a node: the one write of a scheduler.

use axum::body::Body;
use bytes::Bytes;
use http::{Response, StatusCode};
use knarr_resource::admission::{Notes, Operation};
use knarr_resource::{Status, bind};
use serde_json::json;

use crate::http::render;
use crate::http::request_info::RequestInfo;
use crate::object::name_of;
use crate::refusal;
use crate::registry::{self, Request, admission};
use crate::server::Server;
use crate::verb::input::{self, Expected};

/// Serves `pods/NAME/binding`, and the older `bindings`, where the object names the pod.
pub(crate) async fn post(server: &Server, call: &RequestInfo, bytes: Bytes) -> Result<Response<Body>, Status> {
    let expected = Expected {
        api_version: "v1",
        kind: "Binding",
    };
    let (mut binding, warnings) = input::read(call, &expected, &bytes)?;
    let mut notes = Notes {
        warnings,
        ..Notes::default()
    };
    let name = match call.name.as_str() {
        "" => name_of(&binding).to_owned(),
        name if !name_of(&binding).is_empty() && name_of(&binding) != name => {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
        name => name.to_owned(),
    };
    let request = call.request();
    let attributes = request.attributes(Operation::Create, &name);
    let stored = async {
        admission::mutate(server, &attributes, &mut binding, None, &mut notes).await?;
        admission::validate(server, &attributes, &binding, None, &mut notes).await?;
        let pod = Request {
            resource: server.resource("", "v1", "pods").ok_or_else(refusal::unknown_path)?,
            subresource: "binding".into(),
            name: name.clone(),
            ..request.clone()
        };
        registry::assign(server, &pod, |pod| bind(pod, &binding, server.clock.now())).await?;
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        render::plain(call.form()?, StatusCode::CREATED, &status)
    };
    let mut response = stored.await.unwrap_or_else(refusal::response);
    render::warn(&mut response, &notes.warnings);
    Ok(response)
}
