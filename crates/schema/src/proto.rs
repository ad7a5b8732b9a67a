//! Objects in Kubernetes' protobuf envelope.
//!
//! Typed Go clients (kubectl since 1.32, and whatever is built on that client-go) encode what they POST and PUT, and some
//! (kubelets, controllers that are told to) read nothing else. A message does not describe itself: the table tells which
//! number is which field, and what JSON looks like where it differs (times, quantities, int-or-strings, embedded structs).
//!
//! The body is hostile until proven otherwise: lengths are checked against what is left, nesting is bounded, and every value
//! made has cost the sender at least one byte.

mod encode;
mod value;
pub(crate) mod wire;

use serde_json::{Map, Value};

pub use encode::{can_encode, encode, encode_event};

use crate::table::{Kind, Slot, Type, Wire, lookup};
use value::Shape;
use wire::{Payload, Reader};

/// Deeper than any Kubernetes type nests; only `JSONSchemaProps` nests without a bound.
const MAX_DEPTH: usize = 128;

const MAGIC: &[u8] = b"k8s\0";

/// Why a body could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// The body does not begin with the four bytes `k8s\0`.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NotProtobuf,
    /// The envelope does not say what it holds.
    #[error("Object 'Kind' is missing in protobuf envelope")]
    MissingKind,
    /// The envelope holds what this table does not know.
    #[error("no kind \"{kind}\" is registered for version \"{api_version}\"")]
    UnknownKind {
        /// Of the envelope.
        api_version: String,
        /// Of the envelope.
        kind: String,
    },
    /// The bytes end in the middle of something.
    #[error("unexpected EOF")]
    Truncated,
    /// A field has another encoding than its type.
    #[error("proto: wrong wireType = {wire_type} for field {field}")]
    WireType {
        /// Its JSON name or its number.
        field: String,
        /// The encoding found.
        wire_type: u8,
    },
    /// A number of more than 64 bits, or a tag of zero.
    #[error("proto: integer overflow")]
    Overflow,
    /// A string that is not UTF-8.
    #[error("proto: field {0} contains invalid UTF-8")]
    Utf8(String),
    /// Embedded JSON that is none.
    #[error("proto: field {0} contains invalid JSON")]
    Json(String),
    /// Nested deeper than any object of the API.
    #[error("proto: message is nested too deeply")]
    TooDeep,
}

/// Decodes a body of `application/vnd.kubernetes.protobuf`; `apiVersion` and `kind` come from its envelope.
pub fn decode_request(body: &[u8]) -> Result<Value, ProtoError> {
    let envelope = Envelope::read(body.strip_prefix(MAGIC).ok_or(ProtoError::NotProtobuf)?)?;
    let mut object = Map::new();
    object.insert("apiVersion".into(), envelope.api_version.into());
    object.insert("kind".into(), envelope.kind.into());
    if envelope.content_type == "application/json" {
        let raw: Value = serde_json::from_slice(envelope.raw).map_err(|_| ProtoError::Json("raw".into()))?;
        if let Value::Object(fields) = raw {
            object.extend(fields);
        }
        return Ok(Value::Object(object));
    }
    if envelope.kind.is_empty() {
        return Err(ProtoError::MissingKind);
    }
    let (group, version) = envelope
        .api_version
        .split_once('/')
        .unwrap_or(("", envelope.api_version));
    let id = lookup(group, version, envelope.kind).ok_or_else(|| ProtoError::UnknownKind {
        api_version: envelope.api_version.into(),
        kind: envelope.kind.into(),
    })?;
    message(id.get(), &id.get().wire, envelope.raw, &mut object, 0)?;
    Ok(Value::Object(object))
}

/// `runtime.Unknown`: what every protobuf body is wrapped in, so that its kind is known before it is decoded.
#[derive(Default)]
struct Envelope<'a> {
    api_version: &'a str,
    kind: &'a str,
    raw: &'a [u8],
    content_type: &'a str,
}

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, ProtoError> {
        let mut envelope = Envelope::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, payload)) = reader.next()? {
            match number {
                1 => {
                    let mut meta = Reader::new(payload.bytes("typeMeta")?);
                    while let Some((number, payload)) = meta.next()? {
                        match number {
                            1 => envelope.api_version = payload.text("apiVersion")?,
                            2 => envelope.kind = payload.text("kind")?,
                            _ => {}
                        }
                    }
                }
                2 => envelope.raw = payload.bytes("raw")?,
                4 => envelope.content_type = payload.text("contentType")?,
                _ => {}
            }
        }
        Ok(envelope)
    }
}

/// Decodes the fields of a message into `into`; a number that the table does not know is skipped, as protobuf wants it.
fn message(
    type_: &Type,
    wire: &Wire,
    bytes: &[u8],
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtoError> {
    if depth > MAX_DEPTH {
        return Err(ProtoError::TooDeep);
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.next()? {
        match wire.0.get(&number) {
            Some(Slot::Field(index)) => {
                if let Some(field) = type_.fields().get(*index) {
                    let shape = Shape {
                        name: &field.json,
                        zero_omitted: field.zero_omitted,
                        pointer: field.pointer,
                    };
                    add(&shape, &field.kind, payload, into, depth)?;
                }
            }
            Some(Slot::Embedded(inner)) => message(type_, inner, payload.bytes("embedded struct")?, into, depth + 1)?,
            None => {}
        }
    }
    Ok(())
}

/// Adds one occurrence of a field. A repeated field occurs once per item; a struct that occurs twice is merged.
fn add(
    shape: &Shape<'_>,
    kind: &Kind,
    payload: Payload<'_>,
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtoError> {
    match kind {
        Kind::List(of) => {
            let Value::Array(list) = into.entry(shape.name).or_insert_with(|| Value::Array(Vec::new())) else {
                return Ok(());
            };
            if let (Kind::Int32 | Kind::Int64, Payload::Bytes(packed)) = (&**of, payload) {
                let mut reader = Reader::new(packed);
                while !reader.is_empty() {
                    list.push(value::number(of, reader.varint()?));
                }
                return Ok(());
            }
            let mut item = Map::new();
            add(&shape.item(), of, payload, &mut item, depth)?;
            list.push(item.remove(shape.name).unwrap_or_else(|| value::zero(of)));
        }
        Kind::Map(of) => {
            let (mut key, mut found) = ("", None);
            let mut reader = Reader::new(payload.bytes(shape.name)?);
            while let Some((number, payload)) = reader.next()? {
                match number {
                    1 => key = payload.text(shape.name)?,
                    2 => found = Some(payload),
                    _ => {}
                }
            }
            let mut item = Map::new();
            if let Some(payload) = found {
                add(&shape.item(), of, payload, &mut item, depth)?;
            }
            if let Value::Object(map) = into.entry(shape.name).or_insert_with(|| Value::Object(Map::new())) {
                map.insert(
                    key.to_owned(),
                    item.remove(shape.name).unwrap_or_else(|| value::zero(of)),
                );
            }
        }
        Kind::Struct(schema) => {
            let bytes = payload.bytes(shape.name)?;
            if let Value::Object(inner) = into.entry(shape.name).or_insert_with(|| Value::Object(Map::new())) {
                message(schema.get(), &schema.get().wire, bytes, inner, depth + 1)?;
            }
        }
        Kind::SchemaOrArray | Kind::SchemaOrBool | Kind::SchemaOrStrings => {
            into.insert(
                shape.name.into(),
                schema_or(kind, payload.bytes(shape.name)?, depth + 1)?,
            );
        }
        scalar => {
            if let Some(value) = value::scalar(shape, scalar, payload)? {
                into.insert(shape.name.into(), value);
            }
        }
    }
    Ok(())
}

/// A union of `JSONSchemaProps` and something simpler. Array and strings have the schema first and the others
/// second; bool has them the other way round.
fn schema_or(kind: &Kind, bytes: &[u8], depth: usize) -> Result<Value, ProtoError> {
    let props = Kind::schema_props();
    let schema = |payload: Payload<'_>| {
        let mut map = Map::new();
        message(
            props.get(),
            &props.get().wire,
            payload.bytes("schema")?,
            &mut map,
            depth,
        )?;
        Ok(Value::Object(map))
    };
    let (mut allows, mut found, mut many) = (false, None, Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.next()? {
        match (kind, number) {
            (Kind::SchemaOrBool, 1) => allows = payload.varint("allows")? != 0,
            (Kind::SchemaOrBool, 2) | (_, 1) => found = Some(schema(payload)?),
            (Kind::SchemaOrArray, 2) => many.push(schema(payload)?),
            (Kind::SchemaOrStrings, 2) => many.push(payload.text("property")?.into()),
            _ => {}
        }
    }
    Ok(match (found, kind) {
        (Some(schema), _) => schema,
        (None, Kind::SchemaOrBool) => allows.into(),
        (None, _) => many.into(),
    })
}

#[cfg(test)]
mod tests;
