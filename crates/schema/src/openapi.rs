//! The OpenAPI documents: v3 per group and version, and v2.

use std::sync::Arc;

use serde_json::Value;

/// A served resource, as far as the documents show it.
#[derive(Debug, Clone)]
pub struct Served {
    /// `""` for the core group.
    pub group: String,
    /// `v1`
    pub version: String,
    /// `deployments`
    pub plural: String,
    /// `Deployment`
    pub kind: String,
    /// Whether it lives in namespaces.
    pub namespaced: bool,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verbs: Vec<String>,
    /// Its subresources.
    pub subresources: Vec<ServedSubresource>,
    /// A custom resource brings its own `openAPIV3Schema`.
    pub schema: Option<Value>,
}

/// A served subresource.
#[derive(Debug, Clone)]
pub struct ServedSubresource {
    /// `scale`
    pub name: String,
    /// Of the kind that it speaks: `autoscaling`, `v1`, `Scale`.
    pub group: String,
    /// See `group`.
    pub version: String,
    /// See `group`; empty if it speaks no kind (`log`).
    pub kind: String,
    /// `get`, `update`, `patch`, `create`.
    pub verbs: Vec<String>,
}

/// A document, ready to be sent.
#[derive(Debug)]
pub struct Document {
    /// Upper-case hex, without quotes; the `hash` in the index.
    pub etag: String,
    /// The body.
    pub json: Vec<u8>,
}

/// The documents of one set of served resources; each is made when first asked for.
#[derive(Debug)]
pub struct OpenApi {
    served: Vec<Served>,
}

impl OpenApi {
    /// Costs nothing yet: make a new one whenever the set changes (a custom resource came or went).
    pub fn new(served: Vec<Served>) -> OpenApi {
        OpenApi { served }
    }

    /// `GET /openapi/v3`
    pub fn v3_index(&self) -> Value {
        let _ = &self.served;
        serde_json::json!({"paths": {}})
    }

    /// `GET /openapi/v3/{path}`, where path is `api/v1` or `apis/apps/v1`.
    pub fn v3_group(&self, path: &str) -> Option<Arc<Document>> {
        let _ = path;
        None
    }

    /// `GET /openapi/v2` for JSON.
    pub fn v2_json(&self) -> Arc<Document> {
        Arc::new(Document {
            etag: String::new(),
            json: b"{}".to_vec(),
        })
    }
}

/// `GET /openapi/v2` for protobuf (to be sent as `application/octet-stream`).
pub fn v2_stub() -> &'static [u8] {
    b"\x0a\x03\x32\x2e\x30\x12\x06\x0a\x01\x4b\x12\x01\x31"
}
