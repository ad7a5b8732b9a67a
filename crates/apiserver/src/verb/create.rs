//! POST: new objects.

use axum::body::Body;
use http::{Response, StatusCode};
use knarr_resource::Status;
use knarr_resource::admission::Notes;

use super::input::{self, Expected};
use crate::http::render;
use crate::http::request_info::RequestInfo;
use crate::refusal;
use crate::registry::{self, Track};
use crate::server::Server;

pub(crate) async fn answer(server: &Server, call: &RequestInfo, body: &[u8]) -> Result<Response<Body>, Status> {
    call.form()?;
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
    let created = async {
        request.check_place(&object)?;
        let outcome = registry::create(server, &request, object, Track::Fields, &mut notes).await?;
        render::outcome(server, call, StatusCode::CREATED, outcome)
    };
    // A refusal does not silence the warnings: a field with a typo is often why a required one is missing.
    let mut response = created.await.unwrap_or_else(refusal::response);
    render::warn(&mut response, &notes.warnings);
    Ok(response)
}
