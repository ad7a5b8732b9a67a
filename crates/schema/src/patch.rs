//! The three kinds of patches of a PATCH request (the fourth, apply, is in [`crate::managed`]).

mod json;
mod strategic;

use serde_json::Value;

use crate::table::Schema;

/// A patch that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is malformed: 400 BadRequest.
    #[error("{0}")]
    BadRequest(String),
    /// It does not fit the object (a missing path): 422 Invalid.
    #[error("{0}")]
    Invalid(String),
    /// A `test` of it does not hold: 422 Invalid.
    #[error("{0}")]
    TestFailed(String),
}

/// JSON merge patch (RFC 7386): null deletes, objects are merged, the rest replaces.
pub fn json_merge(target: &mut Value, patch: &Value) {
    json_patch::merge(target, patch);
}

/// Strategic merge patch: as a merge patch, but lists with a merge key are merged item by item, and directives
/// (`$patch`, `$deleteFromPrimitiveList/`, `$setElementOrder/`, `$retainKeys`) say what plain JSON cannot.
pub fn strategic_merge(schema: &Schema, target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    strategic::merge(schema, target, patch)
}

/// JSON patch (RFC 6902).
pub fn json_patch(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    json::apply(target, patch)
}

#[cfg(test)]
mod tests;
