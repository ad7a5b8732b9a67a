//! Protobuf scalars as the JSON that Go would have written.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::ProtoError;
use super::wire::{Payload, Reader};
use crate::table::Kind;

/// What matters of a field beside its kind. Protobuf always has a plain Go value, even if it is zero, where JSON leaves it
/// out; of a pointer it has even a zero only if the pointer is set, and then JSON has it too.
pub(super) struct Shape<'a> {
    pub name: &'a str,
    pub zero_omitted: bool,
    pub pointer: bool,
}

impl Shape<'_> {
    /// An item of a list or map is written whatever its value.
    pub(super) fn item(&self) -> Shape<'_> {
        Shape {
            name: self.name,
            zero_omitted: false,
            pointer: true,
        }
    }
}

/// The value of a scalar field, or none if JSON would leave it out.
pub(super) fn scalar(shape: &Shape<'_>, kind: &Kind, payload: Payload<'_>) -> Result<Option<Value>, ProtoError> {
    let name = shape.name;
    Ok(match kind {
        Kind::String => {
            let text = payload.text(name)?;
            (shape.pointer || !text.is_empty()).then(|| text.into())
        }
        Kind::Int32 | Kind::Int64 => {
            let number = payload.varint(name)?;
            (!shape.zero_omitted || number != 0).then(|| self::number(kind, number))
        }
        Kind::Bool => {
            let number = payload.varint(name)?;
            (!shape.zero_omitted || number != 0).then(|| (number != 0).into())
        }
        Kind::Float => match payload {
            Payload::Fixed64(bits) => Some(f64::from_bits(bits).into()),
            Payload::Fixed32(bits) => Some(f64::from(f32::from_bits(bits)).into()),
            _ => return Err(payload.unexpected(name)),
        },
        Kind::Bytes => {
            let bytes = payload.bytes(name)?;
            (shape.pointer || !bytes.is_empty()).then(|| STANDARD.encode(bytes).into())
        }
        Kind::Quantity => {
            let mut text = "0";
            let mut reader = Reader::new(payload.bytes(name)?);
            while let Some((number, payload)) = reader.next()? {
                if number == 1 {
                    text = payload.text(name)?;
                }
            }
            Some(text.into())
        }
        Kind::Time | Kind::MicroTime => time(kind, payload.bytes(name)?, name)?,
        Kind::IntOrString => {
            let (mut is_text, mut number, mut text) = (false, 0, "");
            let mut reader = Reader::new(payload.bytes(name)?);
            while let Some((field, payload)) = reader.next()? {
                match field {
                    1 => is_text = payload.varint(name)? == 1,
                    2 => number = payload.varint(name)?,
                    3 => text = payload.text(name)?,
                    _ => {}
                }
            }
            Some(if is_text {
                text.into()
            } else {
                self::number(&Kind::Int32, number)
            })
        }
        Kind::Any => {
            let mut raw: &[u8] = b"";
            let mut reader = Reader::new(payload.bytes(name)?);
            while let Some((number, payload)) = reader.next()? {
                if number == 1 {
                    raw = payload.bytes(name)?;
                }
            }
            if raw.is_empty() {
                return Ok(None);
            }
            Some(serde_json::from_slice(raw).map_err(|_| ProtoError::Json(name.to_owned()))?)
        }
        Kind::Strings => {
            let mut list = Vec::new();
            let mut reader = Reader::new(payload.bytes(name)?);
            while let Some((number, payload)) = reader.next()? {
                if number == 1 {
                    list.push(Value::from(payload.text(name)?));
                }
            }
            Some(list.into())
        }
        Kind::SchemaOrArray
        | Kind::SchemaOrBool
        | Kind::SchemaOrStrings
        | Kind::Struct(_)
        | Kind::List(_)
        | Kind::Owned(..)
        | Kind::Map(_) => None,
    })
}

/// An int32 travels sign-extended to 64 bits.
pub(super) fn number(kind: &Kind, number: u64) -> Value {
    match kind {
        Kind::Int32 => Value::from(number as i32),
        _ => Value::from(number as i64),
    }
}

/// Stands for an item of a list or map that has no value of its own (a zero time).
pub(super) fn zero(kind: &Kind) -> Value {
    match kind {
        Kind::String => "".into(),
        Kind::Int32 | Kind::Int64 => 0.into(),
        Kind::Bool => false.into(),
        Kind::Struct(_) => Value::Object(Default::default()),
        Kind::Quantity => "0".into(),
        Kind::Bytes => "".into(),
        _ => Value::Null,
    }
}

/// Go's zero time travels as an empty message and is left out of JSON.
fn time(kind: &Kind, bytes: &[u8], name: &str) -> Result<Option<Value>, ProtoError> {
    let (mut seconds, mut nanos) = (0i64, 0i32);
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.next()? {
        match number {
            1 => seconds = payload.varint(name)? as i64,
            2 => nanos = payload.varint(name)? as i32,
            _ => {}
        }
    }
    if seconds == 0 && nanos == 0 {
        return Ok(None);
    }
    let micros = if *kind == Kind::MicroTime {
        nanos.clamp(0, 999_999_999) / 1000 * 1000
    } else {
        0
    };
    // Out of jiff's range (years -9999 to 9999) it is no time that RFC 3339 can show either.
    let Ok(time) = Timestamp::new(seconds, micros) else {
        return Ok(None);
    };
    Ok(Some(
        if *kind == Kind::MicroTime {
            format!("{time:.6}")
        } else {
            time.to_string()
        }
        .into(),
    ))
}
