//! JSON patch, bounded, with the error texts of the library that Kubernetes uses.

use json_patch::{Patch, PatchErrorKind, PatchOperation};
use serde_json::Value;

use super::PatchError;

/// As many operations as Kubernetes takes.
const MAX_OPERATIONS: usize = 10_000;
/// What `copy` operations may add: each can double the document.
const MAX_COPIED: usize = 3 << 20;

pub(super) fn apply(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let Some(operations) = patch.as_array() else {
        return Err(PatchError::BadRequest(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type jsonpatch.Patch",
            if patch.is_object() { "object" } else { "value" }
        )));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::BadRequest(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    for operation in operations {
        check(operation)?;
    }
    let patch: Patch = serde_json::from_value(patch.clone())
        .map_err(|error| PatchError::BadRequest(format!("error decoding patch: {error}")))?;
    let mut copied = 0;
    for operation in &patch.0 {
        // Alone, so that each can be weighed first; the crate would undo a failed patch only as a whole, and so does the
        // caller, who throws the target away.
        if let PatchOperation::Copy(copy) = operation {
            copied += target
                .pointer(copy.from.as_str())
                .map_or(0, |value| value.to_string().len());
            if copied > MAX_COPIED {
                return Err(PatchError::Invalid(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
                )));
            }
        }
        run(target, operation)?;
    }
    Ok(())
}

/// What the crate would report in serde's words.
fn check(operation: &Value) -> Result<(), PatchError> {
    let op = operation.get("op").and_then(Value::as_str).unwrap_or_default();
    match op {
        "add" | "remove" | "replace" | "move" | "copy" | "test" => {}
        other => return Err(PatchError::Invalid(format!("Unexpected kind: {other}"))),
    }
    let text = |key: &str| operation.get(key).and_then(Value::as_str);
    let Some(path) = text("path") else {
        return Err(PatchError::Invalid(format!(
            "{op} operation: failed to decode path: missing value"
        )));
    };
    for pointer in [Some(path), text("from")].into_iter().flatten() {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(PatchError::Invalid(missing(op, pointer)));
        }
    }
    if matches!(op, "move" | "copy") && text("from").is_none() {
        return Err(PatchError::Invalid(format!(
            "{op} operation: failed to decode from: missing value"
        )));
    }
    Ok(())
}

fn run(target: &mut Value, operation: &PatchOperation) -> Result<(), PatchError> {
    // A test of a missing path passes if it asks for null.
    if let PatchOperation::Test(test) = operation
        && test.value.is_null()
        && target.pointer(test.path.as_str()).is_none()
    {
        return Ok(());
    }
    json_patch::patch_unsafe(target, std::slice::from_ref(operation)).map_err(|error| {
        let path = operation.path().as_str();
        let (op, from) = match operation {
            PatchOperation::Add(_) => ("add", path),
            PatchOperation::Remove(_) => ("remove", path),
            PatchOperation::Replace(_) => ("replace", path),
            PatchOperation::Move(operation) => ("move", operation.from.as_str()),
            PatchOperation::Copy(operation) => ("copy", operation.from.as_str()),
            PatchOperation::Test(_) => ("test", path),
        };
        if matches!(error.kind, PatchErrorKind::TestFailed) {
            return PatchError::TestFailed(format!("testing value {path} failed: test failed"));
        }
        PatchError::Invalid(match error.kind {
            PatchErrorKind::InvalidFromPointer => missing(op, from),
            PatchErrorKind::CannotMoveInsideItself => format!("{op} operation does not apply: {from} is inside {path}"),
            PatchErrorKind::InvalidPointer if op == "replace" => {
                format!("replace operation does not apply: doc is missing key: {path}: missing value")
            }
            PatchErrorKind::InvalidPointer if op == "test" => {
                format!("error in test for path: '{path}': missing value")
            }
            PatchErrorKind::InvalidPointer if op == "remove" => {
                format!(
                    "error in remove for path: '{path}': Unable to remove nonexistent key: {}: missing value",
                    last(path)
                )
            }
            _ => missing(op, path),
        })
    })
}

fn missing(op: &str, path: &str) -> String {
    format!("{op} operation does not apply: doc is missing path: \"{path}\": missing value")
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}
