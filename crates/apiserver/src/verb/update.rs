//! PUT: a whole object in place of the one that is there.

use axum::body::Body;
use http::Response;
use knarr_resource::Status;
use knarr_resource::admission::Notes;
use serde_json::Value;

use super::input::{self, Expected};
use crate::http::render;
use crate::http::request_info::RequestInfo;
use crate::object::name_of;
use crate::registry;
use crate::server::Server;

pub(crate) async fn answer(server: &Server, call: &RequestInfo, body: &[u8]) -> Result<Response<Body>, Status> {
    let api_version = call.resource.api_version();
    let expected = Expected {
        api_version: &api_version,
        kind: &call.resource.kind,
    };
    let (object, warnings) = input::read(call, &expected, body)?;
    let mut notes = Notes {
        warnings,
        ..Notes::default()
    };
    let request = call.request();
    request.check_place(&object)?;
    check_name(call, &object)?;
    let outcome = registry::replace(server, &request, object, &mut notes).await;
    render::written(server, call, outcome, &notes)
}

/// The path says which object is replaced, but the object has to agree in words: an empty one is a mistake.
pub(crate) fn check_name(call: &RequestInfo, object: &Value) -> Result<(), Status> {
    match name_of(object) {
        "" => Err(Status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.name
        ))),
        _ => Ok(()),
    }
}
