//! The form in which Go would write an object back.

use jiff::Timestamp;
use knarr_apimachinery::Quantity;
use serde_json::{Map, Value};

use crate::table::{Field, Kind, Schema};

/// Drops the fields that the type does not have, nulls, and what Go's `omitempty` leaves out; writes quantities and times
/// in their canonical form. What [`super::type_errors`] complains of is left as it is.
pub fn prune(schema: &Schema, object: &mut Value) {
    match schema.structural() {
        Some(structural) => {
            structural.prune(object);
            // Of a custom resource only the metadata is Go's.
            if let Some(metadata) = object.get_mut("metadata")
                && let Some(Kind::Struct(meta)) = Schema::OBJECT.get().field("metadata").map(|field| &field.kind)
            {
                value(&Kind::Struct(meta.clone()), metadata, true);
            }
        }
        None => value(&Kind::Struct(schema.clone()), object, true),
    }
}

/// Only the canonical forms, for an object that says what is wanted and not what is: nothing is dropped.
pub(crate) fn canonical(schema: &Schema, object: &mut Value) {
    if schema.structural().is_some() {
        return value(&Kind::Struct(Schema::OBJECT), object, false);
    }
    value(&Kind::Struct(schema.clone()), object, false);
}

fn value(kind: &Kind, value_: &mut Value, drop: bool) {
    match (kind, value_) {
        (Kind::Struct(id), Value::Object(map)) => {
            let type_ = id.get();
            map.retain(|name, value_| match type_.field(name) {
                Some(field) => {
                    value(&field.kind, value_, drop);
                    !(drop && omitted(field, value_))
                }
                None => type_.open || !drop,
            });
        }
        (Kind::List(of), Value::Array(items)) => items.iter_mut().for_each(|item| element(of, item, drop)),
        (Kind::Map(of), Value::Object(map)) => map.values_mut().for_each(|item| element(of, item, drop)),
        (Kind::SchemaOrArray | Kind::SchemaOrBool | Kind::SchemaOrStrings, map @ Value::Object(_)) => {
            value(&Kind::Struct(Kind::schema_props().clone()), map, drop);
        }
        (Kind::SchemaOrArray, Value::Array(items)) => {
            items
                .iter_mut()
                .for_each(|item| element(&Kind::Struct(Kind::schema_props().clone()), item, drop));
        }
        (Kind::Quantity, quantity) => {
            let canonical = match &*quantity {
                Value::String(text) => Quantity::parse(text.trim()),
                Value::Number(number) => Quantity::parse(&number.to_string()),
                _ => return,
            };
            if let Ok(canonical) = canonical {
                *quantity = canonical.to_string().into();
            }
        }
        (Kind::Time | Kind::MicroTime, Value::String(text)) => {
            if let Ok(time) = text.parse::<Timestamp>() {
                *text = match kind {
                    Kind::MicroTime => format!("{time:.6}"),
                    _ => format!("{time:.0}"),
                };
            }
        }
        (Kind::Bytes, Value::String(text)) => text.retain(|c| c != '\n' && c != '\r'),
        _ => {}
    }
}

/// An item of a list or map: null stands for the type's zero.
fn element(kind: &Kind, item: &mut Value, drop: bool) {
    if drop && item.is_null() {
        *item = match kind {
            Kind::String | Kind::Bytes => "".into(),
            Kind::Int32 | Kind::Int64 | Kind::IntOrString => 0.into(),
            Kind::Bool => false.into(),
            Kind::Quantity => "0".into(),
            Kind::Struct(_) => Map::new().into(),
            _ => Value::Null,
        };
    }
    value(kind, item, drop);
}

fn omitted(field: &Field, value: &Value) -> bool {
    if value.is_null() {
        return true;
    }
    if field.required || field.pointer {
        return false;
    }
    match (&field.kind, value) {
        (Kind::String | Kind::Bytes, Value::String(text)) => text.is_empty(),
        (Kind::List(_), Value::Array(items)) => items.is_empty(),
        (Kind::Map(_), Value::Object(map)) => map.is_empty(),
        (Kind::Int32 | Kind::Int64, Value::Number(number)) => field.zero_omitted && number.as_i64() == Some(0),
        (Kind::Bool, Value::Bool(false)) => field.zero_omitted,
        _ => false,
    }
}
