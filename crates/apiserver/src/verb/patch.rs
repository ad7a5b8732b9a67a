//! PATCH in its four forms: JSON patch, merge patch, strategic merge patch and apply.

use axum::body::Body;
use http::{Response, StatusCode};
use knarr_resource::admission::Notes;
use knarr_resource::{Cause, FieldError, Path, Status};
use knarr_schema::managed::{self, ApplyError, ApplyOptions};
use knarr_schema::patch::{self, PatchError};
use knarr_schema::{Schema, strict};
use serde_json::{Value, json};

use super::input::{self, Expected, FieldValidation};
use crate::http::body;
use crate::http::render;
use crate::http::request_info::RequestInfo;
use crate::refusal;
use crate::registry::{self, Track};
use crate::server::Server;

const ACCEPTED: &str = "application/json-patch+json, application/merge-patch+json, \
                        application/apply-patch+yaml, application/strategic-merge-patch+json";
const ACCEPTED_CUSTOM: &str = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
/// The most operations a JSON patch may have.
const OPERATIONS: usize = 10_000;

/// A patch, understood but not yet applied.
pub(crate) enum Patch {
    Json(Value),
    Merge(Value),
    Strategic(Value),
    Apply(Value),
}

impl Patch {
    /// Reads the body as its Content-Type says.
    pub(crate) fn read(call: &RequestInfo, bytes: &[u8]) -> Result<(Self, Vec<String>), Status> {
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
                        message: format!(
                            "The allowed maximum operations in a JSON patch is {OPERATIONS}, got {length}"
                        ),
                        details: Value::Null,
                    }),
                    Some(_) => Ok((Self::Json(value), duplicates)),
                }
            }
            "application/merge-patch+json" => object(json()?).map(|(value, more)| (Self::Merge(value), more)),
            // Only types of Go say how their lists are merged.
            "application/strategic-merge-patch+json" if call.resource.definition.is_some() => {
                Err(refusal::unsupported_media_type(ACCEPTED_CUSTOM))
            }
            "application/strategic-merge-patch+json" => {
                object(json()?).map(|(value, more)| (Self::Strategic(value), more))
            }
            "application/apply-patch+yaml" => {
                let (value, duplicates) = strict::parse_yaml(bytes)
                    .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
                if let Some(duplicate) = duplicates.first() {
                    return Err(Status::bad_request(format!("error decoding YAML: {duplicate}")));
                }
                object((value, duplicates)).map(|(value, more)| (Self::Apply(value), more))
            }
            _ => Err(refusal::unsupported_media_type(match call.resource.definition {
                Some(_) => ACCEPTED_CUSTOM,
                None => ACCEPTED,
            })),
        }
    }

    /// Applies anything but an apply, which needs to know more than the object.
    pub(crate) fn change(&self, schema: &Schema, target: &mut Value) -> Result<(), PatchError> {
        match self {
            Self::Json(operations) => patch::json_patch(target, operations),
            Self::Merge(changes) | Self::Apply(changes) => {
                patch::json_merge(target, changes);
                Ok(())
            }
            Self::Strategic(changes) => patch::strategic_merge(schema, target, changes),
        }
    }

    fn content(&self) -> &Value {
        match self {
            Self::Json(value) | Self::Merge(value) | Self::Strategic(value) | Self::Apply(value) => value,
        }
    }
}

/// The refusal for a patch that does not fit.
pub(crate) fn refuse(error: PatchError) -> Status {
    match error {
        PatchError::BadRequest(message) => Status::bad_request(message),
        // Details that named the object would make kubectl leave out the message.
        PatchError::Invalid(why) => Status {
            code: 422,
            reason: "Invalid",
            message: format!("the server rejected our request due to an error in our request: {why}"),
            details: json!({}),
        },
    }
}

pub(crate) async fn answer(server: &Server, call: &RequestInfo, bytes: &[u8]) -> Result<Response<Body>, Status> {
    let (patch, duplicates) = Patch::read(call, bytes)?;
    if let Patch::Apply(applied) = &patch {
        return apply(server, call, applied).await;
    }
    let schema = &call.resource.schema;
    let validation = input::field_validation(call)?;
    let mut warnings = Vec::new();
    let mut notes = Notes::default();
    let outcome = registry::update(server, &call.request(), Track::Fields, &mut notes, |live| {
        let before = strict::unknown_fields(schema, &live);
        let mut next = live;
        patch.change(schema, &mut next).map_err(refuse)?;
        if !next.is_object() {
            return Err(Status::bad_request("the patch left no object"));
        }
        warnings = duplicates.clone();
        warnings.extend(
            strict::unknown_fields(schema, &next)
                .into_iter()
                .filter(|field| !before.contains(field)),
        );
        check(call, &patch, validation, &mut warnings, schema, &mut next)?;
        Ok(next)
    })
    .await;
    let response = outcome.and_then(|outcome| render::outcome(server, call, StatusCode::OK, outcome));
    let mut response = response.unwrap_or_else(refusal::response);
    render::warn(&mut response, &warnings);
    render::warn(&mut response, &notes.warnings);
    Ok(response)
}

/// What a patched object may not have: fields or types that its kind does not know.
fn check(
    call: &RequestInfo,
    patch: &Patch,
    validation: FieldValidation,
    unknown: &mut Vec<String>,
    schema: &Schema,
    next: &mut Value,
) -> Result<(), Status> {
    let bad_patch = |why: String| {
        let error = FieldError {
            path: Path::new("patch"),
            cause: Cause::Invalid,
            value: Value::from(match patch {
                Patch::Json(operations) => operations.to_string(),
                other => go(other.content()),
            }),
            detail: why,
        };
        Status::invalid("", "", "", &[error])
    };
    if let Some(error) = strict::type_errors(schema, next).into_iter().next() {
        return Err(match patch {
            Patch::Strategic(_) => bad_patch(error),
            _ => Status::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: {error}",
                call.resource.kind, call.resource.version, call.resource.kind
            )),
        });
    }
    strict::prune(schema, next);
    match validation {
        FieldValidation::Strict if !unknown.is_empty() => {
            Err(bad_patch(format!("strict decoding error: {}", unknown.join(", "))))
        }
        FieldValidation::Ignore => {
            unknown.clear();
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A value as Go's `%+v` prints it.
fn go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let mut fields: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", go(value))).collect();
            fields.sort();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

/// Server-side apply: creates the object if it is not there.
async fn apply(server: &Server, call: &RequestInfo, applied: &Value) -> Result<Response<Body>, Status> {
    let request = call.request();
    let mut problems = Vec::new();
    let mut require = |field: &str, detail: &str| {
        problems.push(FieldError {
            path: Path::new(field),
            cause: Cause::Required,
            value: Value::Null,
            detail: detail.into(),
        });
    };
    if call.query.get("fieldManager").is_none() {
        require("fieldManager", "is required for apply patch");
    }
    if !problems.is_empty() {
        return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &problems));
    }
    let api_version = call.resource.api_version();
    let expected = Expected {
        api_version: &api_version,
        kind: &call.resource.kind,
    };
    let text = |key: &str| applied[key].as_str().unwrap_or_default();
    if (text("apiVersion"), text("kind")) != (expected.api_version, expected.kind) {
        // Go prints the core group as nothing.
        let version = text("apiVersion");
        let slash = if version.contains('/') { "" } else { "/" };
        return Err(Status::bad_request(format!(
            "invalid object type: {slash}{version}, Kind={}",
            text("kind")
        )));
    }
    request.check_place(applied)?;
    if !applied["metadata"]["managedFields"].is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let schema = &call.resource.schema;
    if let Some(errors) = managed::type_errors(schema, applied) {
        return Err(Status::bad_request(format!(
            "failed to create typed patch object ({}/{}; {api_version}, Kind={}): {errors}",
            call.namespace, call.name, expected.kind
        )));
    }
    let mut applied = applied.clone();
    if !applied["metadata"].is_object() {
        applied["metadata"] = json!({});
    }
    applied["metadata"]["name"] = call.name.clone().into();
    if call.resource.namespaced {
        applied["metadata"]["namespace"] = call.namespace.clone().into();
    }
    let options = ApplyOptions {
        manager: &request.manager,
        force: call.query.flag("force"),
        api_version: &api_version,
        subresource: &request.subresource,
        now: server.clock.now(),
    };
    let merge = |live: Option<&Value>| managed::apply(schema, live, &applied, &options).map_err(refuse_apply);
    let exists = server.store.get(server.slot_of(&call.resource), &call.key()).is_some();
    let mut notes = Notes::default();
    let applied = async {
        let outcome = if exists || call.subresource.is_some() {
            registry::update(server, &request, Track::Done, &mut notes, |live| merge(Some(&live))).await?
        } else {
            registry::create(server, &request, merge(None)?, Track::Done, &mut notes).await?
        };
        let code = match outcome.created() {
            true => StatusCode::CREATED,
            false => StatusCode::OK,
        };
        render::outcome(server, call, code, outcome)
    };
    let mut response = applied.await.unwrap_or_else(refusal::response);
    render::warn(&mut response, &notes.warnings);
    Ok(response)
}

fn refuse_apply(error: ApplyError) -> Status {
    match error {
        ApplyError::Invalid(message) => Status::bad_request(message),
        ApplyError::Conflicts { message, conflicts } => {
            let causes: Vec<Value> = conflicts
                .iter()
                .map(|conflict| {
                    json!({
                        "reason": "FieldManagerConflict",
                        "message": format!("conflict with {}", conflict.manager),
                        "field": conflict.field,
                    })
                })
                .collect();
            Status {
                code: 409,
                reason: "Conflict",
                message,
                details: json!({"causes": causes}),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_in_go() {
        let value = json!({"spec": {"b": [1, "x"], "a": null}});
        assert_eq!(go(&value), "map[spec:map[a:<nil> b:[1 x]]]");
    }
}
