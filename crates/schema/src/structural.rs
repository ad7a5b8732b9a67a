//! Structural schemas: the part of OpenAPI in which a CustomResourceDefinition describes its objects.
//!
//! A structural schema says of every field what it is, once, outside of all junctors (`allOf`, `anyOf`, `oneOf`, `not`), so that
//! objects can be pruned, defaulted and merged by it. See "Specifying a structural schema" in the Kubernetes documentation.

mod check;
mod format;
mod list;
mod openapi;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;
use serde_json::{Map, Value};

use crate::table::{self, Field, Key, Kind, ListType, Schema, Type};

pub use check::check;
pub use format::is_known as knows_format;
pub use list::unique;
pub use openapi::published_v2;

/// A schema, read from JSON that the type `JSONSchemaProps` fits.
#[derive(Debug, Clone, Default)]
pub struct Structural {
    /// `object`, `array`, `string`, `integer`, `number` or `boolean`; empty for int-or-string and values of any type.
    pub kind: String,
    /// The fields of an object.
    pub properties: BTreeMap<String, Structural>,
    /// What other fields an object has.
    pub additional: Option<Box<Additional>>,
    /// The items of an array.
    pub items: Option<Box<Structural>>,
    /// Null is a value like others.
    pub nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields`
    pub preserve: bool,
    /// `x-kubernetes-embedded-resource`
    pub embedded: bool,
    /// `x-kubernetes-int-or-string`
    pub int_or_string: bool,
    /// What an absent value becomes.
    pub default: Option<Value>,
    /// `x-kubernetes-list-type`
    pub list_type: String,
    /// `x-kubernetes-list-map-keys`
    pub list_map_keys: Vec<String>,
    /// `x-kubernetes-map-type`
    pub map_type: String,
    /// `x-kubernetes-validations`, as written.
    pub rules: Vec<Value>,
    /// What the value itself must be like.
    pub checks: Checks,
}

/// `additionalProperties`.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "always behind a box, and most are of a type")]
pub enum Additional {
    /// All fields, or none, of any type.
    Any(bool),
    /// Fields of this type.
    Of(Structural),
}

/// The validations of a value.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    /// `format`, in the spelling of the schema.
    pub format: String,
    /// Upper bound of a number.
    pub maximum: Option<f64>,
    /// The upper bound itself is too much.
    pub exclusive_maximum: bool,
    /// Lower bound of a number.
    pub minimum: Option<f64>,
    /// The lower bound itself is too little.
    pub exclusive_minimum: bool,
    /// A number is a multiple of this.
    pub multiple_of: Option<f64>,
    /// Bound of the length of a string, in characters.
    pub max_length: Option<u64>,
    /// See `max_length`.
    pub min_length: Option<u64>,
    /// A string matches this; none inside if it is no regular expression.
    pub pattern: Option<(String, Option<Regex>)>,
    /// Bound of the length of an array.
    pub max_items: Option<u64>,
    /// See `max_items`.
    pub min_items: Option<u64>,
    /// Bound of the number of fields of an object.
    pub max_properties: Option<u64>,
    /// See `max_properties`.
    pub min_properties: Option<u64>,
    /// The only values.
    pub values: Vec<Value>,
    /// Fields that an object must have.
    pub required: Vec<String>,
    /// All of these hold.
    pub all_of: Vec<Structural>,
    /// At least one of these holds.
    pub any_of: Vec<Structural>,
    /// Exactly one of these holds.
    pub one_of: Vec<Structural>,
    /// This does not hold.
    pub not: Option<Box<Structural>>,
}

/// A pattern may be as large as this when compiled; the schema comes from a client.
const PATTERN_SIZE: usize = 1 << 20;

/// Compiles a pattern of a schema.
pub fn pattern(text: &str) -> Result<Regex, regex::Error> {
    regex::RegexBuilder::new(text).size_limit(PATTERN_SIZE).build()
}

impl Structural {
    /// Reads a schema. What does not belong into one is ignored: [`check`] has complained of it.
    pub fn parse(schema: &Value) -> Self {
        let text = |key: &str| schema[key].as_str().unwrap_or_default().to_owned();
        let flag = |key: &str| schema[key].as_bool().unwrap_or(false);
        let size = |key: &str| schema[key].as_u64();
        let texts = |key: &str| -> Vec<String> {
            let items = schema[key].as_array().into_iter().flatten();
            items.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let schemas = |key: &str| -> Vec<Structural> {
            let items = schema[key].as_array().into_iter().flatten();
            items.map(Structural::parse).collect()
        };
        let one = |key: &str| {
            schema
                .get(key)
                .filter(|inner| inner.is_object())
                .map(|inner| Box::new(Structural::parse(inner)))
        };
        let properties = schema["properties"].as_object().into_iter().flatten();
        Self {
            kind: text("type"),
            properties: properties
                .map(|(name, inner)| (name.clone(), Structural::parse(inner)))
                .collect(),
            additional: match schema.get("additionalProperties") {
                Some(Value::Bool(any)) => Some(Box::new(Additional::Any(*any))),
                Some(inner @ Value::Object(_)) => Some(Box::new(Additional::Of(Structural::parse(inner)))),
                _ => None,
            },
            items: one("items"),
            nullable: flag("nullable"),
            preserve: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            default: schema.get("default").filter(|value| !value.is_null()).cloned(),
            list_type: text("x-kubernetes-list-type"),
            list_map_keys: texts("x-kubernetes-list-map-keys"),
            map_type: text("x-kubernetes-map-type"),
            rules: schema["x-kubernetes-validations"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
            checks: Checks {
                format: text("format"),
                maximum: schema["maximum"].as_f64(),
                exclusive_maximum: flag("exclusiveMaximum"),
                minimum: schema["minimum"].as_f64(),
                exclusive_minimum: flag("exclusiveMinimum"),
                multiple_of: schema["multipleOf"].as_f64(),
                max_length: size("maxLength"),
                min_length: size("minLength"),
                pattern: schema["pattern"]
                    .as_str()
                    .filter(|text| !text.is_empty())
                    .map(|text| (text.to_owned(), pattern(text).ok())),
                max_items: size("maxItems"),
                min_items: size("minItems"),
                max_properties: size("maxProperties"),
                min_properties: size("minProperties"),
                values: schema["enum"].as_array().cloned().unwrap_or_default(),
                required: texts("required"),
                all_of: schemas("allOf"),
                any_of: schemas("anyOf"),
                one_of: schemas("oneOf"),
                not: one("not"),
            },
        }
    }

    /// The schema of fields that `properties` does not name.
    pub fn values(&self) -> Option<&Structural> {
        match self.additional.as_deref() {
            Some(Additional::Of(values)) => Some(values),
            _ => None,
        }
    }

    /// The schema of a field, named or not.
    pub fn field(&self, name: &str) -> Option<&Structural> {
        self.properties.get(name).or_else(|| self.values())
    }

    /// Whether there is a rule in CEL anywhere in the schema.
    pub fn has_rules(&self) -> bool {
        let below = || {
            self.properties
                .values()
                .chain(self.items.as_deref())
                .chain(self.values())
        };
        !self.rules.is_empty()
            || below().any(Structural::has_rules)
            || self.checks.all_of.iter().any(Structural::has_rules)
    }

    /// Drops the fields that the schema does not have, and tells which: `spec.colour`. Metadata of objects stays.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut dropped = Vec::new();
        self.prune_value(object, true, &mut String::new(), &mut dropped);
        dropped
    }

    fn prune_value(&self, value: &mut Value, resource: bool, path: &mut String, dropped: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.retain(|name, inner| {
                if (resource || self.embedded) && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                    return true;
                }
                let before = path.len();
                if before > 0 {
                    path.push('.');
                }
                path.push_str(name);
                let kept = match (self.properties.get(name), self.additional.as_deref()) {
                    (Some(field), _) | (None, Some(Additional::Of(field))) => {
                        field.prune_value(inner, false, path, dropped);
                        true
                    }
                    _ if self.preserve => true,
                    (None, Some(Additional::Any(true))) => {
                        ANY.prune_value(inner, false, path, dropped);
                        true
                    }
                    _ => {
                        dropped.push(path.clone());
                        false
                    }
                };
                path.truncate(before);
                kept
            }),
            Value::Array(items) => {
                let schema: &Structural = match &self.items {
                    Some(items) => items,
                    None if self.preserve => return,
                    None => &ANY,
                };
                for (index, item) in items.iter_mut().enumerate() {
                    let before = path.len();
                    path.push_str(&format!("[{index}]"));
                    schema.prune_value(item, false, path, dropped);
                    path.truncate(before);
                }
            }
            _ => {}
        }
    }

    /// Fills in defaults. A null where none is allowed counts as absent.
    pub fn fill(&self, value: &mut Value) {
        self.fill_at(value, true);
    }

    fn fill_at(&self, value: &mut Value, resource: bool) {
        match value {
            Value::Object(map) => {
                map.retain(|name, inner| match self.field(name) {
                    Some(field) if inner.is_null() => field.nullable || field.default.is_some(),
                    _ => true,
                });
                for (name, field) in &self.properties {
                    if resource && name == "metadata" {
                        continue;
                    }
                    let Some(default) = &field.default else { continue };
                    match map.get_mut(name) {
                        None => {
                            map.insert(name.clone(), default.clone());
                        }
                        Some(inner) if inner.is_null() && !field.nullable => *inner = default.clone(),
                        Some(_) => {}
                    }
                }
                for (name, inner) in map.iter_mut() {
                    let Some(field) = self.field(name) else { continue };
                    if inner.is_null()
                        && !field.nullable
                        && let Some(default) = &field.default
                    {
                        *inner = default.clone();
                    }
                    field.fill_at(inner, false);
                }
            }
            Value::Array(list) => {
                if let Some(schema) = &self.items {
                    for item in list {
                        if item.is_null()
                            && !schema.nullable
                            && let Some(default) = &schema.default
                        {
                            *item = default.clone();
                        }
                        schema.fill_at(item, false);
                    }
                }
            }
            _ => {}
        }
    }

    /// The schema as server-side apply sees it, with everything else about it at hand. `status` says whether the status is
    /// a subresource.
    pub fn compile(self, name: &str, status: bool) -> Schema {
        let type_ = self.root_type(name, status);
        Schema::own(type_, self)
    }

    fn root_type(&self, name: &str, status: bool) -> Type {
        let mut type_ = self.struct_type(true);
        type_.name = name.to_owned().into();
        type_.status = status;
        type_
    }

    fn struct_type(&self, resource: bool) -> Type {
        let mut fields: Vec<Field> = Vec::new();
        if resource {
            fields.push(Field::plain("apiVersion", Kind::String));
            fields.push(Field::plain("kind", Kind::String));
            let metadata = table::by_name("apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap_or(&Schema::OBJECT);
            fields.push(Field::plain("metadata", Kind::Struct(metadata.clone())));
        }
        for (name, inner) in &self.properties {
            if !(resource && matches!(name.as_str(), "apiVersion" | "kind" | "metadata")) {
                fields.push(Field::plain(name, inner.owned_kind()));
            }
        }
        Type::custom(
            fields,
            self.preserve || matches!(self.additional.as_deref(), Some(Additional::Any(true))),
        )
    }

    /// How server-side apply sees a value of this schema.
    fn owned_kind(&self) -> Kind {
        match self.kind.as_str() {
            "object" if self.map_type == "atomic" => Kind::Any,
            "object" => match self.values() {
                Some(values) => Kind::Map(Box::new(values.owned_kind())),
                None => Kind::Struct(Schema::own(self.struct_type(self.embedded), Structural::default())),
            },
            "array" => {
                let item = self.items.as_ref().map_or(Kind::Any, |items| items.owned_kind());
                match self.list_type.as_str() {
                    "set" => Kind::Owned(Box::new(item), ListType::Set),
                    "map" => Kind::Owned(Box::new(item), ListType::Map(self.keys())),
                    _ => Kind::List(Box::new(item)),
                }
            }
            "string" => Kind::String,
            "integer" => Kind::Int64,
            "number" => Kind::Float,
            "boolean" => Kind::Bool,
            _ if self.preserve => Kind::Struct(Schema::own(Type::custom(Vec::new(), true), Structural::default())),
            _ => Kind::IntOrString,
        }
    }

    fn keys(&self) -> Vec<Key> {
        let default = |name: &str| self.items.as_ref()?.properties.get(name)?.default.clone();
        self.list_map_keys
            .iter()
            .map(|name| Key {
                name: name.clone().into(),
                default: default(name),
            })
            .collect()
    }
}

/// Below `additionalProperties: true` and arrays without items nothing is specified.
static ANY: std::sync::LazyLock<Structural> = std::sync::LazyLock::new(Structural::default);

/// A structural schema and what is made from it.
#[derive(Debug)]
pub(crate) struct Custom {
    pub type_: Type,
    pub structural: Structural,
}

impl Schema {
    pub(crate) fn own(type_: Type, structural: Structural) -> Self {
        Self::custom(Arc::new(Custom { type_, structural }))
    }

    /// The structural schema, if a CustomResourceDefinition describes this kind.
    pub fn structural(&self) -> Option<&Structural> {
        self.as_custom().map(|custom| &custom.structural)
    }
}

/// Whether two values are the same for JSON, whatever order their fields have and however their numbers are written.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => same_maps(a, b),
        _ => a == b,
    }
}

fn same_maps(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    a.len() == b.len()
        && a.iter()
            .all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
}

#[cfg(test)]
mod tests;
