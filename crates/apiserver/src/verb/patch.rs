//! PATCH: the form of the patch is told by the Content-Type.

use axum::body::Body;
use http::Response;
use knarr_resource::Status;
use knarr_resource::admission::Notes;
use knarr_schema::strict;
use serde_json::Value;

use super::input;
use crate::http::body;
use crate::http::render;
use crate::http::request_info::RequestInfo;
use crate::refusal;
use crate::registry::{self, Patch, PatchOptions};
use crate::server::Server;

const ACCEPTED: &str = "application/json-patch+json, application/merge-patch+json, \
                        application/apply-patch+yaml, application/strategic-merge-patch+json";
const ACCEPTED_CUSTOM: &str = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
/// The most operations a JSON patch may have.
const OPERATIONS: usize = 10_000;

/// Reads the body as its Content-Type says. Returns the fields that are in it twice as well.
pub(crate) fn read(call: &RequestInfo, bytes: &[u8]) -> Result<(Patch, Vec<String>), Status> {
    let json =
        || strict::parse_json(bytes).map_err(|error| Status::bad_request(format!("error decoding patch: {error}")));
    let object = |(value, duplicates): (Value, Vec<String>)| match value.is_object() {
        true => Ok((value, duplicates)),
        false => Err(Status::bad_request(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            body::go_type(&value)
        ))),
    };
    match body::essence(call.header("content-type")) {
        "application/json-patch+json" => {
            let (value, duplicates) = json()?;
            match value.as_array().map(Vec::len) {
                None => Err(Status::bad_request(format!(
                    "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
                    body::go_type(&value)
                ))),
                Some(length) if length > OPERATIONS => Err(Status {
                    code: 413,
                    reason: "RequestEntityTooLarge",
                    message: format!("The allowed maximum operations in a JSON patch is {OPERATIONS}, got {length}"),
                    details: Value::Null,
                }),
                Some(_) => Ok((Patch::Json(value), duplicates)),
            }
        }
        "application/merge-patch+json" => object(json()?).map(|(value, more)| (Patch::Merge(value), more)),
        // Only types of Go say how their lists are merged.
        "application/strategic-merge-patch+json" if call.resource.definition.is_some() => {
            Err(refusal::unsupported_media_type(ACCEPTED_CUSTOM))
        }
        "application/strategic-merge-patch+json" => {
            object(json()?).map(|(value, more)| (Patch::Strategic(value), more))
        }
        "application/apply-patch+yaml" => {
            let (value, duplicates) = strict::parse_yaml(bytes)
                .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
            if let Some(duplicate) = duplicates.first() {
                return Err(Status::bad_request(format!("error decoding YAML: {duplicate}")));
            }
            object((value, duplicates)).map(|(value, more)| (Patch::Apply(value), more))
        }
        _ => Err(refusal::unsupported_media_type(match call.resource.definition {
            Some(_) => ACCEPTED_CUSTOM,
            None => ACCEPTED,
        })),
    }
}

pub(crate) async fn answer(server: &Server, call: &RequestInfo, bytes: &[u8]) -> Result<Response<Body>, Status> {
    let (patch, duplicates) = read(call, bytes)?;
    let options = PatchOptions {
        force: call.query.flag("force"),
        validation: input::field_validation(call)?,
        duplicates,
    };
    let mut notes = Notes::default();
    let outcome = registry::patch(server, &call.request(), &patch, &options, &mut notes).await;
    render::written(server, call, outcome, &notes)
}
