//! Request bodies in Kubernetes' protobuf envelope.

use serde_json::Value;

/// Why a body could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// The body does not begin with the four bytes `k8s\0`.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NotProtobuf,
}

/// Decodes a body of `application/vnd.kubernetes.protobuf`; `apiVersion` and `kind` come from its envelope.
pub fn decode_request(body: &[u8]) -> Result<Value, ProtoError> {
    let _ = body;
    Err(ProtoError::NotProtobuf)
}
