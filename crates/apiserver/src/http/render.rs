//! Responses: objects and lists in the form the client asked for.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use knarr_resource::admission::Notes;
use knarr_resource::{ResourceInfo, Status};
use knarr_schema::proto;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::accept::{Encoding, Form, PROTOBUF, Shape};
use super::request_info::RequestInfo;
use crate::object::typed;
use crate::refusal;
use crate::registry::Outcome;
use crate::server::Server;
use crate::store::Object;

/// Objects of one resource, as its version shows them, as a kind of response body. Made once per request, also for a watch.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    resource: Arc<ResourceInfo>,
    /// `{"kind":"Pod","apiVersion":"v1",`, which replaces the first byte of an object.
    head: Bytes,
    shape: Shape,
    include: Include,
    /// A watch says only with its first event what the columns are.
    columns: bool,
}

/// What the rows of a Table carry besides their cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Include {
    Nothing,
    Metadata,
    Object,
}

impl Writer {
    pub(crate) fn new(call: &RequestInfo, shape: Shape) -> Result<Self, Status> {
        let resource = call.resource.clone();
        let include = match call.query.get("includeObject") {
            None | Some("Metadata") => Include::Metadata,
            Some("None") => Include::Nothing,
            Some("Object") => Include::Object,
            Some(other) => {
                return Err(Status::bad_request(format!(
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
            head: head.into(),
            shape,
            include,
            columns: true,
        })
    }

    /// What the columns are has been said.
    pub(crate) fn omit_columns(&mut self) {
        self.columns = false;
    }

    fn column_definitions(&self) -> Value {
        match self.columns {
            true => self
                .resource
                .table(&[], jiff::Timestamp::UNIX_EPOCH)
                .column_definitions(),
            false => Value::Null,
        }
    }

    /// The object with kind and version, in two pieces that share memory with the store.
    fn whole(&self, object: &Object) -> [Bytes; 2] {
        [self.head.clone(), object.json().slice(1..)]
    }

    /// One object in the shape asked for.
    pub(crate) fn one(&self, server: &Server, object: &Object) -> [Bytes; 2] {
        let mut out = Vec::new();
        match self.shape {
            Shape::Object => return self.whole(object),
            Shape::Metadata(version) => write_metadata(version, &object.json(), &mut out),
            Shape::Table(version) => {
                let meta = json!({"resourceVersion": object.version.to_string()});
                self.write_table(server, version, [object.json()], &meta, &mut out);
            }
        }
        [Bytes::new(), out.into()]
    }

    /// An object that is not stored (the result of a dry run) in the shape asked for.
    pub(crate) fn value(&self, server: &Server, value: &Value) -> Vec<u8> {
        let bytes = to_bytes(value);
        let mut out = Vec::new();
        match self.shape {
            Shape::Object => out.extend_from_slice(&bytes),
            Shape::Metadata(version) => write_metadata(version, &bytes, &mut out),
            Shape::Table(version) => self.write_table(server, version, [bytes], &json!({}), &mut out),
        }
        out.push(b'\n');
        out
    }

    /// A list in the shape asked for. Where the shape allows it, the objects are copied from the store without parsing them,
    /// and never is more than one of them parsed at a time.
    pub(crate) fn list(&self, server: &Server, objects: &[Arc<Object>], meta: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        let (kind, api_version) = match self.shape {
            Shape::Table(version) => {
                self.write_table(
                    server,
                    version,
                    objects.iter().map(|object| object.json()),
                    meta,
                    &mut out,
                );
                out.push(b'\n');
                return out;
            }
            Shape::Object => (self.resource.list_kind.clone(), self.resource.api_version()),
            Shape::Metadata(version) => ("PartialObjectMetadataList".into(), format!("meta.k8s.io/{version}")),
        };
        if self.shape == Shape::Object {
            out.reserve(objects.iter().map(|object| object.size() + 1).sum::<usize>() + 256);
        }
        let head = format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{meta},"items":["#);
        out.extend_from_slice(head.as_bytes());
        for (i, object) in objects.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            match self.shape {
                Shape::Metadata(version) => write_metadata(version, &object.json(), &mut out),
                // The items of a list carry neither kind nor version, but for custom resources.
                _ if self.resource.definition.is_none() => out.extend_from_slice(&object.json()),
                _ => self.whole(object).iter().for_each(|piece| out.extend_from_slice(piece)),
            }
        }
        out.extend_from_slice(b"]}\n");
        out
    }

    /// A Table of objects as they are stored, or with kind and version.
    fn write_table(
        &self,
        server: &Server,
        version: &str,
        objects: impl IntoIterator<Item = impl AsRef<[u8]>>,
        meta: &Value,
        out: &mut Vec<u8>,
    ) {
        let now = server.clock.now();
        let columns = self.column_definitions();
        let head = format!(
            r#"{{"kind":"Table","apiVersion":"meta.k8s.io/{version}","metadata":{meta},"columnDefinitions":{columns},"rows":["#
        );
        out.extend_from_slice(head.as_bytes());
        for (i, bytes) in objects.into_iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            let bytes = bytes.as_ref();
            let value = self.parse(bytes);
            let row = self.resource.table(&[&value], now).rows.pop().unwrap_or_default();
            out.extend_from_slice(b"{\"cells\":");
            write_value(&Value::from(row.cells), out);
            if !row.conditions.is_empty() {
                out.extend_from_slice(b",\"conditions\":");
                write_value(&Value::from(row.conditions), out);
            }
            if self.include != Include::Nothing {
                out.extend_from_slice(b",\"object\":");
            }
            match self.include {
                Include::Nothing => {}
                Include::Metadata => write_metadata(version, bytes, out),
                Include::Object => write_value(&value, out),
            }
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }

    fn parse(&self, bytes: &[u8]) -> Value {
        let value: Value = serde_json::from_slice(bytes).expect("written by serde_json");
        typed(&self.resource.kind, &self.resource.api_version(), value)
    }

    /// The object of a bookmark: nothing but a version.
    pub(crate) fn bookmark(&self, version: u64, initial_events_end: bool) -> Bytes {
        let mut meta = json!({"resourceVersion": version.to_string()});
        if initial_events_end {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let partial = |version: &str| json!({"kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": meta});
        to_bytes(&match self.shape {
            Shape::Object => json!({
                "kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": meta,
            }),
            Shape::Metadata(meta_version) => partial(meta_version),
            Shape::Table(table_version) => json!({
                "kind": "Table", "apiVersion": format!("meta.k8s.io/{table_version}"),
                "metadata": {"resourceVersion": version.to_string()},
                "columnDefinitions": self.column_definitions(),
                "rows": [{"cells": [], "object": partial(table_version)}],
            }),
        })
    }
}

/// Writes the metadata of an object, found in its bytes without building a tree of the rest.
fn write_metadata(version: &str, object: &[u8], out: &mut Vec<u8>) {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    let head: Option<Head<'_>> = serde_json::from_slice(object).ok();
    let metadata = head.map_or("{}", |head| head.metadata.get());
    let text =
        format!(r#"{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{version}","metadata":{metadata}}}"#);
    out.extend_from_slice(text.as_bytes());
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a Value has string keys only, and a Vec takes all bytes");
}

fn to_vec(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_value(value, &mut bytes);
    bytes.push(b'\n');
    bytes
}

fn to_bytes(value: &Value) -> Bytes {
    let mut bytes = Vec::new();
    write_value(value, &mut bytes);
    bytes.into()
}

/// An object, as the version of the request shows it, as the response to a request.
pub(crate) fn object(
    server: &Server,
    call: &RequestInfo,
    code: StatusCode,
    object: &Object,
) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    let [head, tail] = Writer::new(call, form.shape)?.one(server, object);
    let mut bytes = Vec::with_capacity(head.len() + tail.len() + 1);
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&tail);
    bytes.push(b'\n');
    finish(form.encoding, code, bytes)
}

/// An object that is not stored as the response to a request.
pub(crate) fn value(
    server: &Server,
    call: &RequestInfo,
    code: StatusCode,
    value: Value,
) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    let bytes = Writer::new(call, form.shape)?.value(server, &value);
    finish(form.encoding, code, bytes)
}

/// What became of a write as the response to a request. A refusal does not silence the warnings: a field with a typo is
/// often why a required one is missing.
pub(crate) fn written(
    server: &Server,
    call: &RequestInfo,
    outcome: Result<Outcome, Status>,
    notes: &Notes,
) -> Result<Response<Body>, Status> {
    let answered = outcome.and_then(|outcome| {
        let code = match outcome.created() {
            true => StatusCode::CREATED,
            false => StatusCode::OK,
        };
        match outcome {
            Outcome::Stored(stored, _) => object(server, call, code, &stored),
            dry @ Outcome::Dry(..) => value(server, call, code, dry.into_value(&call.resource)),
        }
    });
    let mut response = answered.unwrap_or_else(refusal::response);
    warn(&mut response, &notes.warnings);
    Ok(response)
}

/// Any JSON as the response to a request, whatever shape was asked for: reviews, scales, Status objects.
pub(crate) fn plain(form: Form, code: StatusCode, value: &Value) -> Result<Response<Body>, Status> {
    finish(form.encoding, code, to_vec(value))
}

/// JSON bytes as a response in the encoding asked for.
pub(crate) fn finish(encoding: Encoding, code: StatusCode, json: Vec<u8>) -> Result<Response<Body>, Status> {
    let parsed = || serde_json::from_slice::<Value>(&json).map_err(refusal::internal);
    let (media, bytes) = match encoding {
        Encoding::Json => ("application/json", json),
        Encoding::Yaml => {
            let text = serde_yaml::to_string(&parsed()?).map_err(refusal::internal)?;
            ("application/yaml", text.into_bytes())
        }
        Encoding::Pretty => {
            let mut text = serde_json::to_vec_pretty(&parsed()?).map_err(refusal::internal)?;
            text.push(b'\n');
            ("application/json", text)
        }
        Encoding::Protobuf => match proto::encode(&parsed()?) {
            Some(bytes) => (PROTOBUF, bytes),
            None => ("application/json", json),
        },
    };
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

/// Writes the Status of a failure that [`refusal::response`] has begun to answer with.
pub(crate) fn finish_status(response: &mut Response<Body>, encoding: Encoding) {
    let Some(failure) = response.extensions_mut().remove::<Status>() else {
        return;
    };
    let status = to_vec(&refusal::status(&failure));
    // It can be written in every encoding; if not, an empty body with the right code is the best that is left.
    if let Ok(written) = finish(encoding, response.status(), status) {
        let (parts, body) = written.into_parts();
        if let Some(media) = parts.headers.get(header::CONTENT_TYPE) {
            response.headers_mut().insert(header::CONTENT_TYPE, media.clone());
        }
        *response.body_mut() = body;
    }
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
pub(crate) fn success(resource: &ResourceInfo, name: &str, uid: &str) -> Value {
    let mut details = Map::new();
    for (key, value) in [
        ("name", name),
        ("group", resource.group.as_str()),
        ("kind", resource.plural.as_str()),
        ("uid", uid),
    ] {
        if !value.is_empty() {
            details.insert(key.into(), value.into());
        }
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
