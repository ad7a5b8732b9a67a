//! The OpenAPI documents: v3 per group and version, and v2.
//!
//! kubectl reads them to explain fields, to compute patches (`x-kubernetes-patch-merge-key`), and to learn what the server
//! can do. They are made from the types when somebody first asks.

mod component;
mod path;
mod protobuf;
mod roots;
mod swagger;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::structural;
use crate::table::lookup;

/// The version of Kubernetes that the types are of.
const VERSION: &str = "v1.37.0";

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
    pub schema: Option<Arc<Value>>,
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
    /// JSON, or protobuf if that was asked for.
    pub body: Bytes,
    packed: OnceLock<Bytes>,
}

impl Document {
    /// The body as `pack` packs it: it is asked once.
    pub fn packed(&self, pack: impl FnOnce(&[u8]) -> Bytes) -> Bytes {
        self.packed.get_or_init(|| pack(&self.body)).clone()
    }
}

/// The documents of one set of served resources; each is made when first asked for.
#[derive(Debug)]
pub struct OpenApi {
    served: Vec<Served>,
    /// Documents of other servers, by path.
    foreign: BTreeMap<String, Bytes>,
    made: Mutex<HashMap<String, Arc<Document>>>,
}

impl OpenApi {
    /// Costs nothing yet: make a new one whenever the set changes (a custom resource came or went).
    ///
    /// `foreign` are v3 documents that other servers have made for the group versions that they serve, as JSON, by path.
    pub fn new(served: Vec<Served>, foreign: BTreeMap<String, Bytes>) -> OpenApi {
        OpenApi {
            served,
            foreign,
            made: Mutex::default(),
        }
    }

    /// `GET /openapi/v3`
    pub fn v3_index(&self) -> Value {
        let mut paths = Map::new();
        for served in &self.served {
            let path = served.path();
            if !paths.contains_key(&path) {
                let url = format!("/openapi/v3/{path}?hash={}", self.hash(&path));
                paths.insert(path, json!({"serverRelativeURL": url}));
            }
        }
        for path in self.foreign.keys() {
            let url = format!("/openapi/v3/{path}?hash={}", self.hash(path));
            paths.insert(path.clone(), json!({"serverRelativeURL": url}));
        }
        json!({"paths": paths})
    }

    /// `GET /openapi/v3/{path}`, where path is `api/v1` or `apis/apps/v1`.
    pub fn v3_group(&self, path: &str) -> Option<Arc<Document>> {
        if let Some(body) = self.foreign.get(path) {
            return Some(self.once(path, || (self.hash(path), body.to_vec())));
        }
        if !self.served.iter().any(|served| served.path() == path) {
            return None;
        }
        Some(self.once(path, || (self.hash(path), self.v3(path).to_string().into_bytes())))
    }

    /// `GET /openapi/v2` for JSON.
    pub fn v2_json(&self) -> Arc<Document> {
        self.once("v2", || (self.v2_hash("json"), self.v2().to_string().into_bytes()))
    }

    /// `GET /openapi/v2` for protobuf (`application/com.github.proto-openapi.spec.v2@v1.0+protobuf`).
    pub fn v2_protobuf(&self) -> Arc<Document> {
        self.once("v2 protobuf", || {
            (self.v2_hash("protobuf"), protobuf::encode(&self.v2()))
        })
    }

    fn v2(&self) -> Value {
        let groups = self.groups();
        let own = groups.iter().map(|path| self.document(path, structural::published_v2));
        // The others first: they cannot replace what is said here.
        let foreign = self
            .foreign
            .iter()
            .filter_map(|(path, document)| foreign(path, document));
        swagger::from_v3(foreign.chain(own), VERSION)
    }

    fn v2_hash(&self, form: &str) -> String {
        let groups = self.groups();
        let hashes: Vec<String> = groups
            .iter()
            .chain(self.foreign.keys())
            .map(|path| self.hash(path))
            .collect();
        digest(format!("{form} {}", hashes.concat()).as_bytes())
    }

    /// The paths of the v3 documents.
    fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = self.served.iter().map(Served::path).collect();
        groups.sort();
        groups.dedup();
        groups
    }

    fn once(&self, key: &str, make: impl FnOnce() -> (String, Vec<u8>)) -> Arc<Document> {
        // A poisoned lock only means that another request panicked; what is in the map is complete.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let document = made.entry(key.to_owned()).or_insert_with(|| {
            let (etag, body) = make();
            let body = body.into();
            Arc::new(Document {
                etag,
                body,
                packed: OnceLock::new(),
            })
        });
        Arc::clone(document)
    }

    /// Told from what the document is made of, so that the index needs no documents.
    fn hash(&self, path: &str) -> String {
        if let Some(document) = self.foreign.get(path) {
            return digest(document);
        }
        let mut text = format!("{} {VERSION} {path}", env!("CARGO_PKG_VERSION"));
        for served in self.served.iter().filter(|served| served.path() == path) {
            text.push_str(&format!("\n{served:?}"));
        }
        digest(text.as_bytes())
    }

    fn v3(&self, path: &str) -> Value {
        self.document(path, Value::clone)
    }

    /// The document of a group; `shown` is what it says of a custom resource's schema.
    fn document(&self, path: &str, shown: fn(&Value) -> Value) -> Value {
        let (mut paths, mut schemas) = (Map::new(), Map::new());
        for served in self.served.iter().filter(|served| served.path() == path) {
            let name = served.component();
            if lookup(&served.group, &served.version, &served.kind).is_none() {
                let (group, version, kind) = (&served.group, &served.version, &served.kind);
                schemas.insert(format!("{name}List"), component::list(&name, group, version, kind));
                schemas.insert(
                    name.clone(),
                    component::custom(served.schema.as_deref().map(shown).as_ref(), group, version, kind),
                );
            }
            path::add(served, &name, &mut paths);
        }
        let paths = Value::Object(paths);
        component::close_over(&paths, &mut schemas);
        json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": VERSION},
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {
                    "BearerToken": {"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"},
                },
            },
        })
    }
}

/// What a document of another server says about its own group version.
fn foreign(path: &str, document: &Bytes) -> Option<Value> {
    let mut document: Value = serde_json::from_slice(document).ok()?;
    let own = format!("/{path}/");
    document["paths"]
        .as_object_mut()?
        .retain(|path, _| path.starts_with(&own));
    Some(document)
}

impl Served {
    /// Of the group's document.
    fn path(&self) -> String {
        if self.group.is_empty() {
            format!("api/{}", self.version)
        } else {
            format!("apis/{}/{}", self.group, self.version)
        }
    }

    /// The name of the kind's schema; a custom one is named by its group, backwards: `com.example.v1.Thing`.
    fn component(&self) -> String {
        if let Some(id) = lookup(&self.group, &self.version, &self.kind) {
            return id.openapi_name();
        }
        let group: Vec<&str> = self.group.rsplit('.').collect();
        format!("{}.{}.{}", group.join("."), self.version, self.kind)
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests;
