//! Responses: objects and lists in the form the client asked for.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use knarr_resource::{Failure, Resource};
use serde_json::{Map, Value, json};

use super::accept::{Encoding, Form, Shape};
use super::call::Call;
use crate::refusal;
use crate::server::{Server, native};
use crate::store::Object;

/// The object as this resource's version shows it, with `kind` and `apiVersion` in front.
pub(crate) fn present(resource: &Resource, object: &Object) -> Value {
    let mut value = object.value();
    if native(resource) != resource {
        resource.from_storage(&mut value);
    }
    typed(resource.kind, &resource.api_version(), value)
}

/// Puts `kind` and `apiVersion` in front of an object.
pub(crate) fn typed(kind: &str, api_version: &str, value: Value) -> Value {
    let mut out = Map::new();
    out.insert("kind".into(), kind.into());
    out.insert("apiVersion".into(), api_version.into());
    if let Value::Object(map) = value {
        out.extend(map.into_iter().filter(|(key, _)| key != "kind" && key != "apiVersion"));
    }
    Value::Object(out)
}

/// Objects of one resource as a kind of response body. Made once per request, also for a watch.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    resource: &'static Resource,
    /// Objects are stored as this resource shows them, so their bytes can be sent as they are.
    native: bool,
    /// `{"kind":"Pod","apiVersion":"v1",`, which replaces the first byte of the stored object.
    head: Bytes,
    shape: Shape,
    include: Include,
}

/// What the rows of a Table carry besides their cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Include {
    Nothing,
    Metadata,
    Object,
}

impl Writer {
    pub(crate) fn new(call: &Call, shape: Shape) -> Result<Self, Failure> {
        let resource = call.resource;
        let include = match call.query.get("includeObject") {
            None | Some("Metadata") => Include::Metadata,
            Some("None") => Include::Nothing,
            Some("Object") => Include::Object,
            Some(other) => {
                return Err(Failure::bad_request(format!(
                    "unrecognized includeObject value: {other:?}"
                )));
            }
        };
        let head = format!(
            r#"{{"kind":"{}","apiVersion":"{}","#,
            resource.kind,
            resource.api_version()
        );
        Ok(Self {
            resource,
            native: native(resource) == resource,
            head: head.into(),
            shape,
            include,
        })
    }

    /// The stored object as a full one, in two pieces that share memory with the store.
    pub(crate) fn stored(&self, object: &Object) -> [Bytes; 2] {
        if self.native {
            [self.head.clone(), object.json.slice(1..)]
        } else {
            [Bytes::new(), to_bytes(&present(self.resource, object))]
        }
    }

    /// One object in the shape asked for.
    pub(crate) fn one(&self, server: &Server, object: &Object) -> [Bytes; 2] {
        match self.shape {
            Shape::Object => self.stored(object),
            Shape::Metadata(version) => [Bytes::new(), to_bytes(&metadata(version, object.value()))],
            Shape::Table(_) => {
                let list = std::slice::from_ref(object);
                let meta = json!({"resourceVersion": object.version.to_string()});
                [Bytes::new(), to_bytes(&self.table(server, list.iter(), meta))]
            }
        }
    }

    /// An object that is not stored (the result of a dry run) in the shape asked for.
    pub(crate) fn value(&self, server: &Server, value: Value) -> Value {
        match self.shape {
            Shape::Object => value,
            Shape::Metadata(version) => metadata(version, value),
            Shape::Table(version) => self.table_of(server, version, &[value], json!({})),
        }
    }

    /// A list in the shape asked for.
    pub(crate) fn list(&self, server: &Server, objects: &[Arc<Object>], meta: &Value) -> Vec<u8> {
        let (kind, api_version, items): (String, String, Vec<Value>) = match self.shape {
            Shape::Table(_) => {
                let objects = objects.iter().map(|object| &**object);
                return to_vec(&self.table(server, objects, meta.clone()));
            }
            Shape::Object if self.native => return self.copy(objects, meta),
            Shape::Object => (
                self.resource.list_kind(),
                self.resource.api_version(),
                objects.iter().map(|object| present(self.resource, object)).collect(),
            ),
            Shape::Metadata(version) => (
                "PartialObjectMetadataList".into(),
                format!("meta.k8s.io/{version}"),
                objects.iter().map(|object| metadata(version, object.value())).collect(),
            ),
        };
        to_vec(&json!({"kind": kind, "apiVersion": api_version, "metadata": meta, "items": items}))
    }

    /// The usual list: its items are copied from the store as they are, never parsed.
    fn copy(&self, objects: &[Arc<Object>], meta: &Value) -> Vec<u8> {
        let size: usize = objects.iter().map(|object| object.json.len() + 1).sum();
        let mut out = Vec::with_capacity(size + 256);
        let head = format!(
            r#"{{"kind":"{}","apiVersion":"{}","metadata":{meta},"items":["#,
            self.resource.list_kind(),
            self.resource.api_version()
        );
        out.extend_from_slice(head.as_bytes());
        for (i, object) in objects.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&object.json);
        }
        out.extend_from_slice(b"]}\n");
        out
    }

    fn table<'a>(&self, server: &Server, objects: impl Iterator<Item = &'a Object>, meta: Value) -> Value {
        let Shape::Table(version) = self.shape else {
            return Value::Null;
        };
        let values: Vec<Value> = objects.map(|object| present(self.resource, object)).collect();
        self.table_of(server, version, &values, meta)
    }

    fn table_of(&self, server: &Server, version: &str, values: &[Value], meta: Value) -> Value {
        let references: Vec<&Value> = values.iter().collect();
        let table = self.resource.table(&references, server.clock.now());
        let rows: Vec<Value> = table
            .rows
            .iter()
            .zip(values)
            .map(|(row, value)| {
                let mut out = json!({"cells": row.cells});
                if !row.conditions.is_empty() {
                    out["conditions"] = Value::from(row.conditions.clone());
                }
                match self.include {
                    Include::Nothing => {}
                    Include::Metadata => out["object"] = metadata(version, value.clone()),
                    Include::Object => out["object"] = value.clone(),
                }
                out
            })
            .collect();
        json!({
            "kind": "Table",
            "apiVersion": format!("meta.k8s.io/{version}"),
            "metadata": meta,
            "columnDefinitions": table.column_definitions(),
            "rows": rows,
        })
    }

    /// The object of a bookmark: nothing but a version.
    pub(crate) fn bookmark(&self, version: u64, initial_events_end: bool) -> Bytes {
        let mut meta = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
        if initial_events_end {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        to_bytes(&match self.shape {
            Shape::Object => json!({
                "kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": meta,
            }),
            Shape::Metadata(version) => metadata(version, json!({"metadata": meta})),
            Shape::Table(table_version) => json!({
                "kind": "Table", "apiVersion": format!("meta.k8s.io/{table_version}"),
                "metadata": {"resourceVersion": version.to_string()},
                "columnDefinitions": self.resource.table(&[], jiff::Timestamp::UNIX_EPOCH).column_definitions(),
                "rows": [{"cells": [], "object": metadata(table_version, json!({"metadata": meta}))}],
            }),
        })
    }
}

fn metadata(version: &str, mut value: Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": value["metadata"].take(),
    })
}

fn to_vec(value: &Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).expect("a Value has string keys only");
    bytes.push(b'\n');
    bytes
}

fn to_bytes(value: &Value) -> Bytes {
    serde_json::to_vec(value).expect("a Value has string keys only").into()
}

/// A stored object as the response to a request.
pub(crate) fn object(
    server: &Server,
    call: &Call,
    code: StatusCode,
    object: &Object,
) -> Result<Response<Body>, Failure> {
    let form = call.form()?;
    let [head, tail] = Writer::new(call, form.shape)?.one(server, object);
    let mut bytes = Vec::with_capacity(head.len() + tail.len() + 1);
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&tail);
    bytes.push(b'\n');
    finish(form.encoding, code, bytes)
}

/// An object that is not stored as the response to a request.
pub(crate) fn value(server: &Server, call: &Call, code: StatusCode, value: Value) -> Result<Response<Body>, Failure> {
    let form = call.form()?;
    let value = Writer::new(call, form.shape)?.value(server, value);
    finish(form.encoding, code, to_vec(&value))
}

/// Any JSON as the response to a request, whatever shape was asked for: reviews, scales, Status objects.
pub(crate) fn plain(form: Form, code: StatusCode, value: &Value) -> Result<Response<Body>, Failure> {
    finish(form.encoding, code, to_vec(value))
}

/// JSON bytes as a response in the encoding asked for.
pub(crate) fn finish(encoding: Encoding, code: StatusCode, json: Vec<u8>) -> Result<Response<Body>, Failure> {
    let (media, bytes) = match encoding {
        Encoding::Json => ("application/json", json),
        Encoding::Pretty | Encoding::Yaml => {
            let value: Value = serde_json::from_slice(&json).map_err(refusal::internal)?;
            match encoding {
                Encoding::Yaml => {
                    let text = serde_yaml::to_string(&value).map_err(refusal::internal)?;
                    ("application/yaml", text.into_bytes())
                }
                _ => {
                    let mut text = serde_json::to_vec_pretty(&value).map_err(refusal::internal)?;
                    text.push(b'\n');
                    ("application/json", text)
                }
            }
        }
    };
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

/// Adds what the client should know but need not act on, as kubectl prints it.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let quoted: String = warning
            .chars()
            .filter(|c| !c.is_control())
            .flat_map(|c| match c {
                '"' | '\\' => vec!['\\', c],
                c => vec![c],
            })
            .collect();
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

/// `Status` of a success.
pub(crate) fn success(resource: &Resource, name: &str, uid: &str) -> Value {
    let mut details = Map::new();
    for (key, value) in [
        ("name", name),
        ("group", resource.group),
        ("kind", resource.plural),
        ("uid", uid),
    ] {
        if !value.is_empty() {
            details.insert(key.into(), value.into());
        }
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
