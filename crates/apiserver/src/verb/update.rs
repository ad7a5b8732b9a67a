//! PUT: a whole object in place of the one that is there.

use axum::body::Body;
use http::{Response, StatusCode};
use knarr_resource::Status;
use knarr_resource::admission::Notes;
use serde_json::Value;

use super::input::{self, Expected};
use crate::http::render;
use crate::http::request_info::RequestInfo;
use crate::object::name_of;
use crate::refusal;
use crate::registry::{self, Track};
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
    let updated = async {
        let exists = server.store.get(server.slot_of(&call.resource), &call.key()).is_some();
        let outcome = if !exists && call.subresource.is_none() && call.resource.creates_on_update() {
            let mut object = object;
            object["metadata"]["name"] = call.name.clone().into();
            registry::create(server, &request, object, Track::Fields, &mut notes).await?
        } else {
            registry::update(server, &request, Track::Fields, &mut notes, |_| Ok(object.clone())).await?
        };
        let code = match outcome.created() {
            true => StatusCode::CREATED,
            false => StatusCode::OK,
        };
        render::outcome(server, call, code, outcome)
    };
    let mut response = updated.await.unwrap_or_else(refusal::response);
    render::warn(&mut response, &notes.warnings);
    Ok(response)
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
