//! What keeps an applied object from being read by its type, in the words of Kubernetes' structured merge.
//!
//! They are not those of a plain write: items of lists are named by their keys, and everything wrong is told at once.

use serde_json::Value;

use super::set;
use super::walk::Shape;
use crate::table::{Kind, ListType, Schema};

/// Enough to see what is wrong.
const MAX_FINDINGS: usize = 100;

/// One line for each field that the type does not have and each value of the wrong sort.
pub(super) fn errors(schema: &Schema, object: &Value) -> Vec<String> {
    let mut check = Check::default();
    check.value(&Kind::Struct(schema.clone()), &ListType::Atomic, object);
    check.found
}

#[derive(Default)]
struct Check {
    path: String,
    found: Vec<String>,
}

impl Check {
    fn value(&mut self, kind: &Kind, list: &ListType, value: &Value) {
        if value.is_null() || self.found.len() >= MAX_FINDINGS {
            return;
        }
        match (kind, value) {
            (Kind::Struct(id), Value::Object(map)) => {
                let type_ = id.get();
                for (name, value) in map {
                    self.below(&format!(".{name}"), |check| match type_.field(name) {
                        Some(field) => check.value(&field.kind, &field.list, value),
                        None if type_.open => {}
                        None => check.complain("field not declared in schema"),
                    });
                }
            }
            (Kind::Map(of), Value::Object(map)) => {
                for (key, value) in map {
                    self.below(&format!(".{key}"), |check| check.value(of, &ListType::Atomic, value));
                }
            }
            (Kind::List(of), Value::Array(items)) => self.items(of, list, items),
            (Kind::Owned(of, list), Value::Array(items)) => self.items(of, list, items),
            (Kind::Struct(_) | Kind::Map(_), other) => {
                self.complain(&format!("expected map, got &{{{}}}", plain(other)))
            }
            (Kind::List(_) | Kind::Owned(..), other) => {
                self.complain(&format!("expected list, got &{{{}}}", plain(other)))
            }
            (Kind::String | Kind::Bytes, Value::String(_)) | (Kind::Bool, Value::Bool(_)) => {}
            (Kind::Int32 | Kind::Int64 | Kind::Float, Value::Number(_)) => {}
            (Kind::String | Kind::Bytes, other) => self.complain(&format!("expected string, got {}", literal(other))),
            (Kind::Bool, other) => self.complain(&format!("expected boolean, got {}", literal(other))),
            (Kind::Int32 | Kind::Int64 | Kind::Float, other) => {
                self.complain(&format!("expected numeric (int or float), got {}", type_of(other)));
            }
            // Its schemas say nothing about quantities, times and the like.
            _ => {}
        }
    }

    fn items(&mut self, of: &Kind, list: &ListType, items: &[Value]) {
        for (index, item) in items.iter().enumerate() {
            let edge = match list {
                ListType::Map(keys) => match Shape::List(keys, of).edge(item) {
                    Ok(edge) => set::display(&[edge.as_str()]),
                    Err(why) => {
                        self.complain(&format!("element {index}: {why}"));
                        continue;
                    }
                },
                ListType::Set => format!("[={item}]"),
                ListType::Atomic => format!("[{index}]"),
            };
            self.below(&edge, |check| check.value(of, &ListType::Atomic, item));
        }
    }

    fn below(&mut self, edge: &str, look: impl FnOnce(&mut Self)) {
        let before = self.path.len();
        self.path.push_str(edge);
        look(self);
        self.path.truncate(before);
    }

    fn complain(&mut self, what: &str) {
        if self.found.len() < MAX_FINDINGS {
            self.found.push(format!("{}: {what}", self.path));
        }
    }
}

/// As Go's `%#v` prints the wrapper around a value.
fn literal(value: &Value) -> String {
    let inner = match value {
        Value::String(text) => format!("{text:?}"),
        Value::Array(_) => format!("[]interface {{}}{}", plain(value)),
        Value::Object(_) => format!("map[string]interface {{}}{}", plain(value)),
        other => other.to_string(),
    };
    format!("&value.valueUnstructured{{Value:{inner}}}")
}

/// As Go's `%v` prints a value.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut fields: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", plain(value)))
                .collect();
            fields.sort();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

/// As Go's `%T` names the type of a value.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
