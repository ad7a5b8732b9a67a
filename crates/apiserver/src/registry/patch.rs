//! Patches in their four forms: JSON patch, merge patch, strategic merge patch and apply.

use knarr_resource::admission::Notes;
use knarr_resource::{Cause, FieldError, Path, Status};
use knarr_schema::managed::{self, ApplyError, ApplyOptions};
use knarr_schema::patch::{self, PatchError};
use knarr_schema::{Schema, strict};
use serde_json::{Value, json};

use super::{Outcome, Request, Track, create, update};
use crate::server::Server;

/// What is done about fields that the type of an object does not have (`fieldValidation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validation {
    Ignore,
    Warn,
    Strict,
}

/// A patch, understood but not yet applied.
pub(crate) enum Patch {
    Json(Value),
    Merge(Value),
    Strategic(Value),
    Apply(Value),
}

/// What `meta.k8s.io` PatchOptions say besides what every request says.
pub(crate) struct PatchOptions {
    /// Whether an apply takes fields from their owners.
    pub force: bool,
    pub validation: Validation,
    /// Fields that were in the patch twice.
    pub duplicates: Vec<String>,
}

impl Patch {
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
        PatchError::Invalid(why) | PatchError::TestFailed(why) => Status {
            code: 422,
            reason: "Invalid",
            message: format!("the server rejected our request due to an error in our request: {why}"),
            details: json!({}),
        },
    }
}

/// Changes an object by a patch; an apply makes it if it is not there.
pub(crate) async fn patch(
    server: &Server,
    request: &Request,
    patch: &Patch,
    options: &PatchOptions,
    notes: &mut Notes,
) -> Result<Outcome, Status> {
    if let Patch::Apply(applied) = patch {
        return apply(server, request, applied, options.force, notes).await;
    }
    let schema = &request.resource.schema;
    let mut warnings = Vec::new();
    let outcome = update(server, request, Track::Fields, notes, |live| {
        let before = strict::unknown_fields(schema, &live);
        let mut next = live;
        patch.change(schema, &mut next).map_err(refuse)?;
        if !next.is_object() {
            return Err(Status::bad_request("the patch left no object"));
        }
        warnings = options.duplicates.clone();
        warnings.extend(
            strict::unknown_fields(schema, &next)
                .into_iter()
                .filter(|field| !before.contains(field)),
        );
        check(request, patch, options.validation, &mut warnings, &mut next)?;
        Ok(next)
    })
    .await;
    notes.warnings.splice(0..0, warnings);
    outcome
}

/// What a patched object may not have: fields or types that its kind does not know.
fn check(
    request: &Request,
    patch: &Patch,
    validation: Validation,
    unknown: &mut Vec<String>,
    next: &mut Value,
) -> Result<(), Status> {
    let resource = &request.resource;
    let schema = &resource.schema;
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
                resource.kind, resource.version, resource.kind
            )),
        });
    }
    strict::prune(schema, next);
    match validation {
        Validation::Strict if !unknown.is_empty() => {
            Err(bad_patch(format!("strict decoding error: {}", unknown.join(", "))))
        }
        Validation::Ignore => {
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

/// Server-side apply.
async fn apply(
    server: &Server,
    request: &Request,
    applied: &Value,
    force: bool,
    notes: &mut Notes,
) -> Result<Outcome, Status> {
    let resource = &request.resource;
    let api_version = resource.api_version();
    let text = |key: &str| applied[key].as_str().unwrap_or_default();
    if (text("apiVersion"), text("kind")) != (api_version.as_str(), resource.kind.as_str()) {
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
    let schema = &resource.schema;
    if let Some(errors) = managed::type_errors(schema, applied) {
        return Err(Status::bad_request(format!(
            "failed to create typed patch object ({}/{}; {api_version}, Kind={}): {errors}",
            request.namespace, request.name, resource.kind
        )));
    }
    let mut applied = applied.clone();
    if !applied["metadata"].is_object() {
        applied["metadata"] = json!({});
    }
    applied["metadata"]["name"] = request.name.clone().into();
    if resource.namespaced {
        applied["metadata"]["namespace"] = request.namespace.clone().into();
    }
    let options = ApplyOptions {
        manager: &request.manager,
        force,
        api_version: &api_version,
        subresource: &request.subresource,
        now: server.clock.now(),
    };
    let merge = |live: Option<&Value>| managed::apply(schema, live, &applied, &options).map_err(refuse_apply);
    let exists = server.store.get(server.slot_of(resource), &request.key()).is_some();
    if exists || !request.subresource.is_empty() {
        return update(server, request, Track::Done, notes, |live| merge(Some(&live))).await;
    }
    create(server, request, merge(None)?, Track::Done, notes).await
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
