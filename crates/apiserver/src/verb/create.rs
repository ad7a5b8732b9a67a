//! POST: new objects.

use axum::body::Body;
use http::Response;
use knarr_resource::Status;
use knarr_resource::admission::Notes;

use super::input::{self, Expected};
use crate::http::render;
use crate::http::request_info::RequestInfo;
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
    let outcome = match request.check_place(&object) {
        Ok(()) => registry::create(server, &request, object, Track::Fields, &mut notes).await,
        Err(failure) => Err(failure),
    };
    render::written(server, call, outcome, &notes)
}
