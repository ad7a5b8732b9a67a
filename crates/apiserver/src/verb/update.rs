//! PUT: whole objects in the place of others.

use axum::body::Body;
use http::{Response, StatusCode};
use knarr_resource::Failure;
use serde_json::Value;

use super::create::{self, Track};
use super::input::{self, Expected};
use super::modify;
use crate::http::call::Call;
use crate::http::render;
use crate::object::name_of;
use crate::server::Server;

pub(crate) async fn answer(
    server: &Server,
    call: &Call,
    subresource: Option<&str>,
    body: &[u8],
) -> Result<Response<Body>, Failure> {
    let api_version = call.resource.api_version();
    let expected = Expected {
        api_version: &api_version,
        kind: &call.resource.kind,
    };
    let (object, warnings) = input::read(call, &expected, body)?;
    create::check_place(call, &object)?;
    check_name(call, &object)?;
    let exists = server.store.get(server.slot_of(&call.resource), &call.key()).is_some();
    let outcome = if !exists && subresource.is_none() && call.resource.creates_on_update() {
        let mut object = object;
        object["metadata"]["name"] = call.name.clone().into();
        create::insert(server, call, object, Track::Fields).await?
    } else {
        modify::modify(server, call, subresource, Track::Fields, |_| Ok(object.clone())).await?
    };
    let code = if outcome.created() {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut response = outcome.respond(server, call, code)?;
    render::warn(&mut response, &warnings);
    Ok(response)
}

/// The path says which object is replaced, but the object has to agree in words: an empty one is a mistake.
pub(crate) fn check_name(call: &Call, object: &Value) -> Result<(), Failure> {
    match name_of(object) {
        "" => Err(Failure::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.name
        ))),
        _ => Ok(()),
    }
}
