//! Answers in Kubernetes' protobuf envelope: the way back of what the parent module reads.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{MAGIC, wire};
use crate::table::{Kind, Schema, Slot, Type, Wire, by_name, lookup};

const META: &str = "apimachinery.pkg.apis.meta.v1";

/// Whether objects of a kind can be encoded; of custom resources there is no protobuf.
pub fn can_encode(group: &str, version: &str, kind: &str) -> bool {
    lookup(group, version, kind).is_some()
}

/// Encodes an object, a list or a Status as a body of `application/vnd.kubernetes.protobuf`. None if the table does not know
/// its kind.
pub fn encode(value: &Value) -> Option<Vec<u8>> {
    let mut out = MAGIC.to_vec();
    envelope(value, &mut out)?;
    Some(out)
}

/// Encodes an event of a watch (`ADDED`, ...) as a frame of `application/vnd.kubernetes.protobuf;stream=watch`: four bytes
/// that tell the length, and a `meta.k8s.io` WatchEvent that holds the object in an envelope of its own.
pub fn encode_event(event: &str, object: &Value) -> Option<Vec<u8>> {
    let object = encode(object)?;
    let mut out = vec![0; 4];
    wire::bytes(&mut out, 1, event.as_bytes());
    wire::nested(&mut out, 2, |out| wire::bytes(out, 1, &object));
    let length = u32::try_from(out.len() - 4).ok()?;
    out.get_mut(..4)?.copy_from_slice(&length.to_be_bytes());
    Some(out)
}

/// `runtime.Unknown` around the message of a kind.
fn envelope(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let object = value.as_object()?;
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let layout = Layout::of(group, version, kind)?;
    wire::nested(out, 1, |out| {
        wire::bytes(out, 1, api_version.as_bytes());
        wire::bytes(out, 2, kind.as_bytes());
    });
    wire::nested(out, 2, |out| layout.write(object, out));
    wire::bytes(out, 3, b"");
    wire::bytes(out, 4, b"");
    Some(())
}

/// How the body of a kind is laid out.
enum Layout {
    Object(Schema),
    /// `metadata` and `items`, as every list has them.
    List(Box<Layout>),
    /// Nothing but `metadata`.
    Metadata,
}

impl Layout {
    fn of(group: &str, version: &str, kind: &str) -> Option<Self> {
        if group == "meta.k8s.io" && kind == "PartialObjectMetadata" {
            return Some(Self::Metadata);
        }
        match lookup(group, version, kind) {
            Some(schema) => Some(Self::Object(schema)),
            None => Some(Self::List(Box::new(Self::of(
                group,
                version,
                kind.strip_suffix("List")?,
            )?))),
        }
    }

    fn write(&self, object: &Map<String, Value>, out: &mut Vec<u8>) {
        let metadata = |name: &str, out: &mut Vec<u8>| {
            if let (Some(Value::Object(metadata)), Some(schema)) =
                (object.get("metadata"), by_name(&format!("{META}.{name}")))
            {
                wire::nested(out, 1, |out| struct_(schema.get(), metadata, out));
            }
        };
        match self {
            Self::Object(schema) => struct_(schema.get(), object, out),
            Self::Metadata => metadata("ObjectMeta", out),
            Self::List(item) => {
                metadata("ListMeta", out);
                for value in object.get("items").and_then(Value::as_array).into_iter().flatten() {
                    if let Value::Object(value) = value {
                        wire::nested(out, 2, |out| item.write(value, out));
                    }
                }
            }
        }
    }
}

fn struct_(type_: &Type, object: &Map<String, Value>, out: &mut Vec<u8>) {
    message(type_, &type_.wire, object, out);
}

fn message(type_: &Type, wire: &Wire, object: &Map<String, Value>, out: &mut Vec<u8>) {
    for (number, slot) in &wire.0 {
        match slot {
            Slot::Field(index) => {
                if let Some(field) = type_.fields().get(*index)
                    && let Some(value) = object.get(&*field.json)
                {
                    self::field(*number, &field.kind, value, out);
                }
            }
            Slot::Embedded(inner) => wire::nested(out, *number, |out| message(type_, inner, object, out)),
        }
    }
}

/// Writes a value; one that does not fit its type, which storing has excluded, is left out.
fn field(number: u32, kind: &Kind, value: &Value, out: &mut Vec<u8>) {
    match (kind, value) {
        (_, Value::Null) => {}
        (Kind::List(of), Value::Array(items)) => items.iter().for_each(|item| self::item(number, of, item, out)),
        (Kind::Map(of), Value::Object(entries)) => {
            for (key, value) in entries {
                wire::nested(out, number, |out| {
                    wire::bytes(out, 1, key.as_bytes());
                    self::item(2, of, value, out);
                });
            }
        }
        (Kind::Struct(schema), Value::Object(object)) => {
            wire::nested(out, number, |out| struct_(schema.get(), object, out));
        }
        (Kind::String, Value::String(text)) => wire::bytes(out, number, text.as_bytes()),
        (Kind::Int32 | Kind::Int64, Value::Number(_)) => wire::varint(out, number, integer(value)),
        (Kind::Float, Value::Number(float)) => {
            wire::fixed64(out, number, float.as_f64().unwrap_or_default().to_bits());
        }
        (Kind::Bool, Value::Bool(flag)) => wire::varint(out, number, u64::from(*flag)),
        (Kind::Bytes, Value::String(text)) => {
            wire::bytes(out, number, &STANDARD.decode(text).unwrap_or_default());
        }
        (Kind::Quantity, value) => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            wire::nested(out, number, |out| wire::bytes(out, 1, text.as_bytes()));
        }
        (Kind::Time | Kind::MicroTime, Value::String(text)) => {
            if let Ok(time) = text.parse::<Timestamp>() {
                wire::nested(out, number, |out| {
                    wire::varint(out, 1, time.as_second().cast_unsigned());
                    let nanos = i64::from(time.subsec_nanosecond());
                    wire::varint(out, 2, nanos.cast_unsigned());
                });
            }
        }
        (Kind::IntOrString, Value::String(text)) => wire::nested(out, number, |out| {
            wire::varint(out, 1, 1);
            wire::varint(out, 2, 0);
            wire::bytes(out, 3, text.as_bytes());
        }),
        (Kind::IntOrString, Value::Number(_)) => wire::nested(out, number, |out| {
            wire::varint(out, 1, 0);
            wire::varint(out, 2, integer(value));
            wire::bytes(out, 3, b"");
        }),
        (Kind::Any, value) => wire::nested(out, number, |out| wire::bytes(out, 1, value.to_string().as_bytes())),
        (Kind::Strings, Value::Array(items)) => wire::nested(out, number, |out| {
            for text in items.iter().filter_map(Value::as_str) {
                wire::bytes(out, 1, text.as_bytes());
            }
        }),
        (Kind::SchemaOrBool, Value::Bool(allows)) => {
            wire::nested(out, number, |out| wire::varint(out, 1, u64::from(*allows)));
        }
        (Kind::SchemaOrBool, Value::Object(schema)) => wire::nested(out, number, |out| {
            wire::varint(out, 1, 1);
            wire::nested(out, 2, |out| struct_(Kind::schema_props().get(), schema, out));
        }),
        (Kind::SchemaOrArray | Kind::SchemaOrStrings, Value::Object(schema)) => wire::nested(out, number, |out| {
            wire::nested(out, 1, |out| struct_(Kind::schema_props().get(), schema, out));
        }),
        (Kind::SchemaOrArray | Kind::SchemaOrStrings, Value::Array(items)) => wire::nested(out, number, |out| {
            for item in items {
                match item {
                    Value::Object(schema) => {
                        wire::nested(out, 2, |out| struct_(Kind::schema_props().get(), schema, out));
                    }
                    Value::String(property) => wire::bytes(out, 2, property.as_bytes()),
                    _ => {}
                }
            }
        }),
        _ => {}
    }
}

/// An item of a list, or the value of a map's entry: there even if it has no value of its own.
fn item(number: u32, kind: &Kind, value: &Value, out: &mut Vec<u8>) {
    let before = out.len();
    field(number, kind, value, out);
    if out.len() == before && !matches!(kind, Kind::Int32 | Kind::Int64 | Kind::Bool | Kind::Float) {
        wire::bytes(out, number, b"");
    }
}

/// A negative number travels as 64 bits, whatever its type.
fn integer(value: &Value) -> u64 {
    let integer = value.as_i64().or_else(|| value.as_f64().map(|float| float as i64));
    integer.unwrap_or_default().cast_unsigned()
}
