//! Who owns which field: server-side apply and `metadata.managedFields`.

use jiff::Timestamp;
use serde_json::Value;

use crate::TypeId;

/// Who applies, and how.
#[derive(Debug, Clone)]
pub struct ApplyOptions<'a> {
    /// The `fieldManager` parameter (required for apply).
    pub manager: &'a str,
    /// Take fields over from other managers.
    pub force: bool,
    /// `apps/v1`
    pub api_version: &'a str,
    /// `""`, or `status` and the like.
    pub subresource: &'a str,
    /// The time of the request.
    pub now: Timestamp,
}

/// The operation of an entry that is not an apply is always `Update`, for create, update and patch alike.
#[derive(Debug, Clone)]
pub struct TrackOptions<'a> {
    /// The `fieldManager` parameter, or the first part of the User-Agent (see [`default_manager`]).
    pub manager: &'a str,
    /// `apps/v1`
    pub api_version: &'a str,
    /// `""`, or `status`, `scale` and the like.
    pub subresource: &'a str,
    /// The time of the request.
    pub now: Timestamp,
}

/// A field that another manager owns with another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// `"kubectl-client-side-apply" using apps/v1`, as Kubernetes words it.
    pub manager: String,
    /// `.spec.replicas`
    pub field: String,
}

/// Why an apply did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// 409 Conflict: the message of the Status, and one cause (reason `FieldManagerConflict`) for each.
    #[error("{message}")]
    Conflicts {
        /// `Apply failed with 1 conflict: conflict with "kubectl" using apps/v1: .spec.replicas`
        message: String,
        /// One per field.
        conflicts: Vec<Conflict>,
    },
    /// 400 BadRequest.
    #[error("{0}")]
    Invalid(String),
}

/// The manager's name when no `fieldManager` is given: the User-Agent up to its first slash.
pub fn default_manager(user_agent: &str) -> &str {
    user_agent.split('/').next().unwrap_or_default()
}

/// The object after applying `applied` to `live`, with `metadata.managedFields` brought up to date.
///
/// If nothing changes, the answer equals `live` (timestamps included), so that the caller can leave out the write.
pub fn apply(
    id: TypeId,
    live: Option<&Value>,
    applied: &Value,
    options: &ApplyOptions<'_>,
) -> Result<Value, ApplyError> {
    let _ = (id, live, options);
    Ok(applied.clone())
}

/// Brings `metadata.managedFields` of `new` up to date after a create (`old` is none), update or patch.
///
/// What the request itself said in managedFields counts only if it emptied the list (`[]` or `[{}]` resets it, as in
/// Kubernetes).
pub fn track(id: TypeId, old: Option<&Value>, new: &mut Value, options: &TrackOptions<'_>) {
    let _ = (id, old, new, options);
}
