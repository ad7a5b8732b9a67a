//! Fields that a type does not have, and values that do not fit.

use serde_json::Value;

use super::{Path, scalar};
use crate::table::{Field, Kind, Schema};

/// As many findings as Kubernetes reports at most.
const MAX_FINDINGS: usize = 100;

/// The fields that the type does not have: `unknown field "spec.contatiners"`.
pub fn unknown_fields(schema: &Schema, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match schema.structural() {
        Some(structural) => {
            metadata(object, &mut found);
            let dropped = structural.prune(&mut object.clone());
            found.extend(
                dropped
                    .iter()
                    .take(MAX_FINDINGS)
                    .map(|path| format!("unknown field {path:?}")),
            );
        }
        None => unknown(&Kind::Struct(schema.clone()), object, &mut Path::default(), &mut found),
    }
    found
}

/// Only the metadata of a custom resource has a type of Go.
fn metadata(object: &Value, found: &mut Vec<String>) {
    unknown(&Kind::Struct(Schema::OBJECT), object, &mut Path::default(), found);
}

fn unknown(kind: &Kind, value: &Value, path: &mut Path, found: &mut Vec<String>) {
    match (kind, value) {
        (Kind::Struct(id), Value::Object(map)) => {
            let type_ = id.get();
            for (name, value) in map {
                path.field(name, |path| match type_.field(name) {
                    Some(field) => unknown(&field.kind, value, path, found),
                    None if type_.open || found.len() >= MAX_FINDINGS => {}
                    None => found.push(format!("unknown field {:?}", path.0)),
                });
            }
        }
        (Kind::List(of), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                path.item(index, |path| unknown(of, item, path, found));
            }
        }
        (Kind::Map(of), Value::Object(map)) => {
            for (key, value) in map {
                path.field(key, |path| unknown(of, value, path, found));
            }
        }
        (Kind::SchemaOrArray | Kind::SchemaOrBool | Kind::SchemaOrStrings, Value::Object(_)) => {
            unknown(&Kind::Struct(Kind::schema_props().clone()), value, path, found);
        }
        (Kind::SchemaOrArray, Value::Array(_)) => {
            unknown(
                &Kind::List(Box::new(Kind::Struct(Kind::schema_props().clone()))),
                value,
                path,
                found,
            );
        }
        _ => {}
    }
}

/// The values whose JSON type does not fit their field, in the words of Go's `encoding/json`. Go stops caring after the
/// first; a caller that wants one message takes that.
pub fn type_errors(schema: &Schema, object: &Value) -> Vec<String> {
    let mut check = Check {
        path: Path::default(),
        found: Vec::new(),
    };
    if object.is_object() {
        let typed = match schema.structural() {
            Some(_) => Schema::OBJECT,
            None => schema.clone(),
        };
        check.value(&Kind::Struct(typed), None, object);
    } else {
        check.found.push(format!(
            "json: cannot unmarshal {} into Go value of type {}",
            describe(object),
            schema.get().go_name()
        ));
    }
    check.found
}

struct Check {
    /// Go's path has no indices, and no keys of maps.
    path: Path,
    found: Vec<String>,
}

/// The struct and the field that Go was filling when it met the value.
type Place<'a> = Option<(&'a str, &'a Field)>;

impl Check {
    fn value(&mut self, kind: &Kind, place: Place<'_>, value: &Value) {
        if self.found.len() >= MAX_FINDINGS || value.is_null() {
            return;
        }
        match (kind, value) {
            (Kind::Struct(id), Value::Object(map)) => {
                let type_ = id.get();
                for (name, value) in map {
                    let Some(field) = type_.field(name) else { continue };
                    let before = self.path.0.len();
                    if before > 0 {
                        self.path.0.push('.');
                    }
                    self.path.0.push_str(name);
                    self.value(&field.kind, Some((type_.short_name(), field)), value);
                    self.path.0.truncate(before);
                }
            }
            (Kind::List(of), Value::Array(items)) => items.iter().for_each(|item| self.value(of, place, item)),
            (Kind::Map(of), Value::Object(map)) => map.values().for_each(|value| self.value(of, place, value)),
            (Kind::Strings, Value::Array(items)) => {
                items.iter().for_each(|item| self.value(&Kind::String, place, item));
            }
            (Kind::SchemaOrArray | Kind::SchemaOrBool | Kind::SchemaOrStrings, Value::Object(_)) => {
                self.value(&Kind::Struct(Kind::schema_props().clone()), place, value);
            }
            (Kind::SchemaOrArray, Value::Array(items)) => {
                let props = Kind::Struct(Kind::schema_props().clone());
                items.iter().for_each(|item| self.value(&props, place, item));
            }
            (Kind::SchemaOrBool, Value::Bool(_)) | (Kind::SchemaOrStrings, Value::Array(_)) | (Kind::Any, _) => {}
            _ => match scalar::check(kind, value) {
                Ok(true) => {}
                Ok(false) => self.mismatch(kind, place, value),
                Err(message) => self.found.push(message),
            },
        }
    }

    fn mismatch(&mut self, kind: &Kind, place: Place<'_>, value: &Value) {
        let what = match (kind, value) {
            // Go shows the number only where a number would have been right.
            (Kind::Int32 | Kind::Int64 | Kind::IntOrString, Value::Number(number)) => format!("number {number}"),
            _ => describe(value).to_owned(),
        };
        let (struct_, go) = match place {
            Some((struct_, field)) if field.kind == *kind => (struct_, field.go_type()),
            Some((struct_, field)) => (
                struct_,
                field
                    .go_type()
                    .strip_prefix("[]")
                    .map_or_else(|| kind.go_type(), str::to_owned),
            ),
            None => return,
        };
        let path = &self.path.0;
        self.found.push(format!(
            "json: cannot unmarshal {what} into Go struct field {struct_}.{path} of type {go}"
        ));
    }
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
