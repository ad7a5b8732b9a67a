//! OpenAPI v2 in protobuf: gnostic's `openapi.v2.Document`, written from the JSON form.
//!
//! kubectl before 1.27 reads it to explain fields, to check manifests and to learn whether the server knows dry runs;
//! client-go's discovery reads nothing else. Messages are tables of what JSON calls a field, its number and its type, as
//! in <https://github.com/google/gnostic-models/blob/main/openapiv2/OpenAPIv2.proto>; anything else is left out.

use serde_json::{Map, Value};

use crate::proto::wire;

/// The document that `swagger` is.
pub(super) fn encode(swagger: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    if let Value::Object(document) = swagger {
        message(document, &DOCUMENT, &mut out);
    }
    out
}

struct Message {
    fields: &'static [(&'static str, u32, Kind)],
    /// The number of the list of `x-` members, 0 if there is none.
    extensions: u32,
}

enum Kind {
    Text,
    Bool,
    Int,
    Float,
    /// JSON text, which is valid YAML.
    Any,
    /// A list is written as so many of them.
    Message(&'static Message),
    /// A message that holds a list of names and messages under this number.
    Named(u32, &'static Message),
    /// A message with a single field, number 1.
    Boxed(&'static Kind),
    /// A parameter: in the body, in the query, or in the path.
    Parameter,
    /// A schema or a bool.
    SchemaOrBool,
}

use Kind::{Any, Bool, Boxed, Float, Int, Named, Parameter, SchemaOrBool, Text};

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Text),
        ("info", 2, Kind::Message(&INFO)),
        ("paths", 8, Named(2, &PATH_ITEM)),
        ("definitions", 9, Named(1, &SCHEMA)),
    ],
    extensions: 16,
};

static INFO: Message = Message {
    fields: &[("title", 1, Text), ("version", 2, Text)],
    extensions: 0,
};

static PATH_ITEM: Message = Message {
    fields: &[
        ("get", 2, Kind::Message(&OPERATION)),
        ("put", 3, Kind::Message(&OPERATION)),
        ("post", 4, Kind::Message(&OPERATION)),
        ("delete", 5, Kind::Message(&OPERATION)),
        ("options", 6, Kind::Message(&OPERATION)),
        ("head", 7, Kind::Message(&OPERATION)),
        ("patch", 8, Kind::Message(&OPERATION)),
        ("parameters", 9, Parameter),
    ],
    extensions: 10,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Text),
        ("summary", 2, Text),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("produces", 6, Text),
        ("consumes", 7, Text),
        ("parameters", 8, Parameter),
        ("responses", 9, Named(1, &RESPONSE_VALUE)),
        ("schemes", 10, Text),
        ("deprecated", 11, Bool),
    ],
    extensions: 13,
};

/// A response is one of two things in gnostic; here it is always the first.
static RESPONSE_VALUE: Message = Message {
    fields: &[("", 1, Kind::Message(&RESPONSE))],
    extensions: 0,
};

static RESPONSE: Message = Message {
    fields: &[("description", 1, Text), ("schema", 2, Boxed(&Kind::Message(&SCHEMA)))],
    extensions: 5,
};

static BODY: Message = Message {
    fields: &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Bool),
        ("schema", 5, Kind::Message(&SCHEMA)),
    ],
    extensions: 6,
};

static QUERY: Message = Message {
    fields: &[
        ("required", 1, Bool),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("allowEmptyValue", 5, Bool),
        ("type", 6, Text),
        ("format", 7, Text),
        ("default", 10, Any),
        ("uniqueItems", 20, Bool),
    ],
    extensions: 23,
};

static PATH: Message = Message {
    fields: &[
        ("required", 1, Bool),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("format", 6, Text),
        ("default", 9, Any),
        ("uniqueItems", 19, Bool),
    ],
    extensions: 22,
};

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("title", 3, Text),
        ("description", 4, Text),
        ("default", 5, Any),
        ("multipleOf", 6, Float),
        ("maximum", 7, Float),
        ("exclusiveMaximum", 8, Bool),
        ("minimum", 9, Float),
        ("exclusiveMinimum", 10, Bool),
        ("maxLength", 11, Int),
        ("minLength", 12, Int),
        ("pattern", 13, Text),
        ("maxItems", 14, Int),
        ("minItems", 15, Int),
        ("uniqueItems", 16, Bool),
        ("maxProperties", 17, Int),
        ("minProperties", 18, Int),
        ("required", 19, Text),
        ("enum", 20, Any),
        ("additionalProperties", 21, SchemaOrBool),
        ("type", 22, Boxed(&Text)),
        ("items", 23, Boxed(&Kind::Message(&SCHEMA))),
        ("allOf", 24, Kind::Message(&SCHEMA)),
        ("properties", 25, Named(1, &SCHEMA)),
        ("readOnly", 27, Bool),
        ("example", 30, Any),
    ],
    extensions: 31,
};

fn message(object: &Map<String, Value>, message: &Message, out: &mut Vec<u8>) {
    for (name, number, kind) in message.fields {
        if name.is_empty() {
            wire::nested(out, *number, |out| {
                if let Kind::Message(inner) = kind {
                    self::message(object, inner, out);
                }
            });
        } else if let Some(value) = object.get(*name) {
            field(value, *number, kind, out);
        }
    }
    if message.extensions != 0 {
        for (name, value) in object.iter().filter(|(name, _)| name.starts_with("x-")) {
            wire::nested(out, message.extensions, |out| {
                wire::bytes(out, 1, name.as_bytes());
                any(value, 2, out);
            });
        }
    }
}

fn field(value: &Value, number: u32, kind: &Kind, out: &mut Vec<u8>) {
    match (kind, value) {
        (Boxed(kind), value) => wire::nested(out, number, |out| field(value, 1, kind, out)),
        // `default: []` is one value, unlike the members of an `enum`.
        (Any, value) if number != 20 => any(value, number, out),
        (kind, Value::Array(items)) => items.iter().for_each(|item| field(item, number, kind, out)),
        (Any, value) => any(value, number, out),
        (Text, Value::String(text)) => wire::bytes(out, number, text.as_bytes()),
        (Bool, Value::Bool(true)) => wire::varint(out, number, 1),
        (Int, value) => match value.as_i64() {
            None | Some(0) => {}
            Some(int) => wire::varint(out, number, int.cast_unsigned()),
        },
        (Float, value) => match value.as_f64() {
            None | Some(0.0) => {}
            Some(float) => wire::fixed64(out, number, float.to_bits()),
        },
        (Kind::Message(kind), Value::Object(object)) => {
            wire::nested(out, number, |out| message(object, kind, out));
        }
        (Named(entries, kind), Value::Object(object)) => wire::nested(out, number, |out| {
            for (name, value) in object {
                wire::nested(out, *entries, |out| {
                    wire::bytes(out, 1, name.as_bytes());
                    if let Value::Object(value) = value {
                        wire::nested(out, 2, |out| message(value, kind, out));
                    }
                });
            }
        }),
        (SchemaOrBool, value) => wire::nested(out, number, |out| match value {
            Value::Bool(allowed) => wire::varint(out, 2, u64::from(*allowed)),
            schema => field(schema, 1, &Kind::Message(&SCHEMA), out),
        }),
        (Parameter, Value::Object(object)) => wire::nested(out, number, |out| {
            let place = object.get("in").and_then(Value::as_str);
            wire::nested(out, 1, |out| match place {
                Some("body") => wire::nested(out, 1, |out| message(object, &BODY, out)),
                Some("query") => wire::nested(out, 2, |out| {
                    wire::nested(out, 3, |out| message(object, &QUERY, out));
                }),
                _ => wire::nested(out, 2, |out| {
                    wire::nested(out, 4, |out| message(object, &PATH, out));
                }),
            });
        }),
        _ => {}
    }
}

fn any(value: &Value, number: u32, out: &mut Vec<u8>) {
    wire::nested(out, number, |out| wire::bytes(out, 2, value.to_string().as_bytes()));
}
