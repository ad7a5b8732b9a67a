//! Objects that clients send: decoded, checked against their type, and pruned.

use knarr_resource::Status;
use knarr_schema::{Schema, lookup, strict};
use serde_json::Value;

use crate::http::body;
use crate::http::request_info::RequestInfo;
use crate::registry::Validation;

/// Which kind a body should have.
#[derive(Clone, Debug)]
pub(crate) struct Expected<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
}

impl Expected<'_> {
    /// The type in the table of types.
    pub(crate) fn schema(&self) -> Schema {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", self.api_version));
        lookup(group, version, self.kind).unwrap_or(Schema::OBJECT)
    }
}

pub(crate) fn field_validation(call: &RequestInfo) -> Result<Validation, Status> {
    match call.query.get("fieldValidation") {
        None | Some("Warn") => Ok(Validation::Warn),
        Some("Ignore") => Ok(Validation::Ignore),
        Some("Strict") => Ok(Validation::Strict),
        Some(other) => Err(Status::bad_request(format!(
            "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
        ))),
    }
}

/// Reads a body as an object of the expected kind. Returns it with the warnings for the client.
pub(crate) fn read(call: &RequestInfo, expected: &Expected<'_>, bytes: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let (mut object, duplicates) = body::decode(call.header("content-type"), expected.kind, bytes)?;
    check_kind(&mut object, expected)?;
    let warnings = check_fields(call, expected, &mut object, duplicates)?;
    Ok((object, warnings))
}

/// The path has already said what is meant, so kind and version may be missing; but they may not contradict it.
fn check_kind(object: &mut Value, expected: &Expected<'_>) -> Result<(), Status> {
    let Some(map) = object.as_object_mut() else {
        return Err(Status::bad_request("the body is not an object"));
    };
    let Expected { api_version, kind } = *expected;
    match map.get("apiVersion").and_then(Value::as_str).unwrap_or_default() {
        "" => {
            map.insert("apiVersion".into(), api_version.into());
        }
        own if own != api_version => {
            return Err(Status::bad_request(format!(
                "the API version in the data ({own}) does not match the expected API version ({api_version})"
            )));
        }
        _ => {}
    }
    match map.get("kind").and_then(Value::as_str).unwrap_or_default() {
        "" => {
            map.insert("kind".into(), kind.into());
        }
        own if own != kind => {
            return Err(Status::bad_request(format!(
                "{own} in version {:?} cannot be handled as a {kind}: the kind in the data ({own}) does not match the expected kind ({kind})",
                version_of(api_version)
            )));
        }
        _ => {}
    }
    Ok(())
}

fn version_of(api_version: &str) -> &str {
    api_version.rsplit('/').next().unwrap_or(api_version)
}

fn check_fields(
    call: &RequestInfo,
    expected: &Expected<'_>,
    object: &mut Value,
    duplicates: Vec<String>,
) -> Result<Vec<String>, Status> {
    let validation = field_validation(call)?;
    let schema = &match expected.api_version == call.resource.api_version() && expected.kind == call.resource.kind {
        true => call.resource.schema.clone(),
        false => expected.schema(),
    };
    let unusable = |why: &str| {
        let (kind, version) = (expected.kind, version_of(expected.api_version));
        Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
        ))
    };
    if let Some(error) = strict::type_errors(schema, object).first() {
        return Err(unusable(error));
    }
    let mut wrong = duplicates;
    wrong.extend(strict::unknown_fields(schema, object));
    strict::prune(schema, object);
    if wrong.is_empty() {
        return Ok(wrong);
    }
    match validation {
        Validation::Strict => Err(unusable(&format!("strict decoding error: {}", wrong.join(", ")))),
        Validation::Warn => Ok(wrong),
        Validation::Ignore => Ok(Vec::new()),
    }
}
