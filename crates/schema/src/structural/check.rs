//! Whether a schema is structural, and otherwise what keeps it from being so.
//!
//! Follows `apiextensions-apiserver/pkg/apiserver/schema/validation.go` and `.../apis/apiextensions/validation`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Structural, pattern};
use crate::field::{Errors, Path};

/// Words of OpenAPI that custom resources may not use.
const UNSUPPORTED: [&str; 6] = [
    "$ref",
    "additionalItems",
    "definitions",
    "dependencies",
    "id",
    "patternProperties",
];

/// What the root may have when the status is a subresource.
const AT_ROOT: [&str; 22] = [
    "$schema",
    "additionalItems",
    "additionalProperties",
    "definitions",
    "dependencies",
    "description",
    "example",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "externalDocs",
    "format",
    "id",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "multipleOf",
    "pattern",
];
const ALSO_AT_ROOT: [&str; 12] = [
    "$ref",
    "patternProperties",
    "properties",
    "required",
    "title",
    "type",
    "uniqueItems",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

/// Complains of what a schema (`openAPIV3Schema`, found at `path`) may not have. `status` says whether the status is a
/// subresource. Rules in CEL are not looked at.
pub fn check(schema: &Value, path: &Path, status: bool, errors: &mut Errors) {
    let Some(map) = schema.as_object() else { return };
    if status {
        for key in map.keys() {
            if !AT_ROOT.contains(&key.as_str()) && !ALSO_AT_ROOT.contains(&key.as_str()) {
                let mut allowed: Vec<&str> = AT_ROOT.iter().chain(&ALSO_AT_ROOT).copied().collect();
                allowed.sort_unstable();
                let detail = format!(
                    "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                    ROOT_WORDS.join(" ")
                );
                errors.invalid(path, schema.clone(), detail);
                break;
            }
        }
    }
    if schema["nullable"] == true {
        errors.forbidden(&path.child("nullable"), "nullable cannot be true at the root");
    }
    Check { errors }.specified(schema, path, Level::Root);
    let structural = Structural::parse(schema);
    if errors.is_empty() {
        defaults(&structural, path, Place::Root, errors);
    }
}

/// The names in Go of what may be at the root.
const ROOT_WORDS: [&str; 22] = [
    "Description",
    "Type",
    "Format",
    "Title",
    "Maximum",
    "ExclusiveMaximum",
    "Minimum",
    "ExclusiveMinimum",
    "MaxLength",
    "MinLength",
    "Pattern",
    "MaxItems",
    "MinItems",
    "UniqueItems",
    "MultipleOf",
    "Required",
    "Items",
    "Properties",
    "ExternalDocs",
    "Example",
    "XPreserveUnknownFields",
    "XValidations",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

struct Check<'a> {
    errors: &'a mut Errors,
}

fn set(schema: &Value, key: &str) -> bool {
    match &schema[key] {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty() || key == "default",
        _ => true,
    }
}

fn fields<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema[key].as_object().into_iter().flatten()
}

fn items<'a>(schema: &'a Value, key: &str) -> &'a [Value] {
    schema[key].as_array().map_or(&[], Vec::as_slice)
}

/// `anyOf: [{type: integer}, {type: string}]`
fn integer_or_string(schemas: &[Value]) -> bool {
    let only = |schema: &Value, kind: &str| {
        schema
            .as_object()
            .is_some_and(|map| map.len() == 1 && map["type"] == kind)
    };
    matches!(schemas, [a, b] if map_has(a, "type") && map_has(b, "type") && only(a, "integer") && only(b, "string"))
}

fn map_has(schema: &Value, key: &str) -> bool {
    schema
        .as_object()
        .is_some_and(|map: &Map<String, Value>| map.contains_key(key))
}

impl Check<'_> {
    /// A schema outside of junctors.
    fn specified(&mut self, schema: &Value, path: &Path, level: Level) {
        let kind = schema["type"].as_str().unwrap_or_default();
        let preserve = schema["x-kubernetes-preserve-unknown-fields"] == true;
        let int_or_string = schema["x-kubernetes-int-or-string"] == true;
        let embedded = schema["x-kubernetes-embedded-resource"] == true;
        self.anywhere(schema, path);
        let at = path.child("type");
        match kind {
            "" if level == Level::Root => self.errors.required(&at, "must not be empty at the root"),
            "" if !int_or_string && !preserve => {
                let what = match level {
                    Level::Item => "must not be empty for specified array items",
                    _ => "must not be empty for specified object fields",
                };
                self.errors.required(&at, what);
            }
            "" | "array" | "boolean" | "integer" | "number" | "object" | "string" => {
                if level == Level::Root && kind != "object" {
                    self.errors.invalid(&at, kind, "must be object at the root");
                }
            }
            "null" => self
                .errors
                .forbidden(&at, "type cannot be set to null, use nullable as an alternative"),
            other => self.errors.not_supported(
                &at,
                other,
                &["array", "boolean", "integer", "number", "object", "string"],
            ),
        }
        if int_or_string && !kind.is_empty() {
            let detail = "must be empty if x-kubernetes-int-or-string is true";
            self.errors.invalid(&at, kind, detail);
        }
        if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
            let at = path.child("x-kubernetes-preserve-unknown-fields");
            self.errors.invalid(&at, false, "must be true or undefined");
        }
        if embedded {
            if kind != "object" {
                let detail = "must be object if x-kubernetes-embedded-resource is true";
                match kind {
                    "" => self.errors.required(&at, detail),
                    kind => self.errors.invalid(&at, kind, detail),
                }
            }
            if !preserve && !set(schema, "properties") {
                let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
                self.errors.required(&path.child("properties"), detail);
            }
        }
        if (embedded || level == Level::Root) && schema["properties"].is_object() {
            self.meta(&schema["properties"], &path.child("properties"));
        }
        if map_has(schema, "additionalProperties") && set(schema, "additionalProperties") {
            let at = path.child("additionalProperties");
            if level == Level::Root {
                self.errors.forbidden(&at, "must not be used at the root");
            }
            if set(schema, "properties") {
                self.errors
                    .forbidden(&at, "additionalProperties and properties are mutual exclusive");
            }
            if kind != "object" && level != Level::Root {
                self.errors.invalid(
                    &path.child("type"),
                    kind,
                    "must be object if additionalProperties is specified",
                );
            }
            if schema["additionalProperties"].is_object() {
                self.specified(&schema["additionalProperties"], &at, Level::Field);
            }
        }
        for (name, field) in fields(schema, "properties") {
            self.specified(field, &path.child("properties").key(name), Level::Field);
        }
        match &schema["items"] {
            Value::Null if kind == "array" => self.errors.required(&path.child("items"), "must be specified"),
            Value::Array(_) => self
                .errors
                .forbidden(&path.child("items"), "items must be a schema object and not an array"),
            inner @ Value::Object(_) => self.specified(inner, &path.child("items"), Level::Item),
            _ => {}
        }
        self.lists(schema, kind, path);
        self.junctors(schema, schema, path, int_or_string);
    }

    /// What no schema may have, in junctors or outside.
    fn anywhere(&mut self, schema: &Value, path: &Path) {
        for word in UNSUPPORTED {
            if set(schema, word) {
                self.errors
                    .forbidden(&path.child(word), format!("{word} is not supported"));
            }
        }
        if schema["uniqueItems"] == true {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.errors.forbidden(&path.child("uniqueItems"), detail);
        }
        if let Some(text) = schema["pattern"].as_str()
            && let Err(error) = pattern(text)
        {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let detail = format!("must be a valid regular expression, but isn't: error parsing regexp: {why}");
            self.errors.invalid(&path.child("pattern"), text, detail);
        }
    }

    /// Fields of metadata are the server's.
    fn meta(&mut self, properties: &Value, path: &Path) {
        for key in ["apiVersion", "kind"] {
            let kind = &properties[key]["type"];
            if map_has(properties, key) && kind != "string" {
                let at = path.key(key).child("type");
                self.errors.invalid(
                    &at,
                    kind.as_str().unwrap_or_default(),
                    format!("must be string for {key}"),
                );
            }
        }
        if let Some(metadata) = properties.get("metadata") {
            let at = path.key("metadata");
            let kind = metadata["type"].as_str().unwrap_or_default();
            if kind != "object" {
                self.errors.invalid(&at.child("type"), kind, "must be object");
            }
            let allowed = ["type", "properties", "description", "title", "default"];
            let foreign = metadata
                .as_object()
                .is_some_and(|map| map.keys().any(|key| !allowed.contains(&key.as_str())));
            let others = fields(metadata, "properties").any(|(name, _)| name != "name" && name != "generateName");
            if foreign || others {
                let detail =
                    "must not specify anything other than name and generateName, but metadata is implicitly specified";
                self.errors.forbidden(&at, detail);
            }
        }
    }

    fn lists(&mut self, schema: &Value, kind: &str, path: &Path) {
        let list = schema["x-kubernetes-list-type"].as_str().unwrap_or_default();
        let keys: Vec<&str> = items(schema, "x-kubernetes-list-map-keys")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let at = path.child("x-kubernetes-list-type");
        if !list.is_empty() && kind != "array" {
            if kind.is_empty() {
                self.errors.required(
                    &path.child("type"),
                    "must be array if x-kubernetes-list-type is specified",
                );
            } else {
                let detail = "must be array if x-kubernetes-list-type is specified";
                self.errors.invalid(&path.child("type"), kind, detail);
            }
        }
        if !["", "atomic", "set", "map"].contains(&list) {
            self.errors.not_supported(&at, list, &["atomic", "map", "set"]);
        }
        if !keys.is_empty() && list != "map" {
            if list.is_empty() {
                self.errors
                    .required(&at, "must be map if x-kubernetes-list-map-keys is non-empty");
            } else {
                let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
                self.errors.invalid(&at, list, detail);
            }
        }
        let map_type = schema["x-kubernetes-map-type"].as_str().unwrap_or_default();
        if !map_type.is_empty() {
            if kind != "object" {
                let detail = "must be object if x-kubernetes-map-type is specified";
                match kind {
                    "" => self.errors.required(&path.child("type"), detail),
                    kind => self.errors.invalid(&path.child("type"), kind, detail),
                }
            }
            if !["atomic", "granular"].contains(&map_type) {
                let at = path.child("x-kubernetes-map-type");
                self.errors.not_supported(&at, map_type, &["atomic", "granular"]);
            }
        }
        let item = &schema["items"];
        let inside = path.child("items");
        match list {
            "map" => {
                let at_keys = path.child("x-kubernetes-list-map-keys");
                if keys.is_empty() {
                    self.errors
                        .required(&at_keys, "must not be empty if x-kubernetes-list-type is map");
                }
                if item.is_null() {
                    self.errors
                        .required(&inside, "must have a schema if x-kubernetes-list-type is map");
                    return;
                }
                if item["type"] != "object" {
                    let detail = "must be object if parent array's x-kubernetes-list-type is map";
                    self.errors
                        .invalid(&inside.child("type"), item["type"].as_str().unwrap_or_default(), detail);
                }
                let required: Vec<&str> = items(item, "required").iter().filter_map(Value::as_str).collect();
                let mut seen = BTreeSet::new();
                for (index, key) in keys.iter().enumerate() {
                    let Some(field) = item["properties"].get(*key) else {
                        self.errors.invalid(
                            &at_keys.index(index),
                            *key,
                            "entries must all be names of item properties",
                        );
                        continue;
                    };
                    let at = inside.child("properties").key(key);
                    if let kind @ ("array" | "object") = field["type"].as_str().unwrap_or_default() {
                        let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map".to_owned();
                        self.errors.invalid(&at.child("type"), kind, detail);
                    }
                    if field["nullable"] == true {
                        let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                        self.errors.forbidden(&at.child("nullable"), detail);
                    }
                    if !required.contains(key) && field["default"].is_null() {
                        let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                        self.errors.required(&at.child("default"), detail);
                    }
                    if !seen.insert(*key) {
                        self.errors.duplicate(&at_keys.index(index), *key);
                    }
                }
            }
            "set" => {
                if item.is_null() {
                    self.errors
                        .required(&inside, "must have a schema if x-kubernetes-list-type is set");
                    return;
                }
                if item["nullable"] == true {
                    let detail = "cannot be nullable when x-kubernetes-list-type is set";
                    self.errors.forbidden(&inside.child("nullable"), detail);
                }
                match item["type"].as_str().unwrap_or_default() {
                    "array" if !matches!(item["x-kubernetes-list-type"].as_str(), None | Some("atomic")) => {
                        let found = item["x-kubernetes-list-type"].clone();
                        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
                        self.errors
                            .invalid(&inside.child("x-kubernetes-list-type"), found, detail);
                    }
                    "object" if item["x-kubernetes-map-type"] != "atomic" => {
                        let at = inside.child("x-kubernetes-map-type");
                        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
                        match item["x-kubernetes-map-type"].as_str() {
                            None => self.errors.required(&at, detail),
                            Some(found) => self.errors.invalid(&at, found, detail),
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// The junctors of `schema`, whose fields must all be specified by `outer`.
    fn junctors(&mut self, schema: &Value, outer: &Value, path: &Path, int_or_string: bool) {
        for junctor in ["allOf", "anyOf", "oneOf"] {
            let inner = items(schema, junctor);
            if junctor == "anyOf" && int_or_string && integer_or_string(inner) {
                continue;
            }
            for (index, inner) in inner.iter().enumerate() {
                let first = junctor == "allOf" && index == 0;
                self.nested(inner, outer, &path.child(junctor).index(index), int_or_string && first);
            }
        }
        if schema["not"].is_object() {
            self.nested(&schema["not"], outer, &path.child("not"), false);
        }
    }

    /// A schema inside of a junctor, which only validates.
    fn nested(&mut self, schema: &Value, outer: &Value, path: &Path, int_or_string: bool) {
        self.anywhere(schema, path);
        for word in ["type", "title", "description", "default", "additionalProperties"] {
            if map_has(schema, word) && set(schema, word) {
                let detail = match word {
                    "default" | "additionalProperties" => "must be undefined to be structural",
                    _ => "must be empty to be structural",
                };
                self.errors.forbidden(&path.child(word), detail);
            }
        }
        if schema["nullable"] == true {
            self.errors
                .forbidden(&path.child("nullable"), "must be false to be structural");
        }
        for (word, detail) in [
            (
                "x-kubernetes-preserve-unknown-fields",
                "must be undefined to be structural",
            ),
            ("x-kubernetes-embedded-resource", "must be false to be structural"),
            ("x-kubernetes-int-or-string", "must be false to be structural"),
            ("x-kubernetes-list-map-keys", "must be empty to be structural"),
            ("x-kubernetes-list-type", "must be undefined to be structural"),
            ("x-kubernetes-map-type", "must be undefined to be structural"),
        ] {
            if set(schema, word) {
                self.errors.forbidden(&path.child(word), detail);
            }
        }
        if map_has(schema, "metadata") {
            self.errors
                .forbidden(&path.child("metadata"), "must not be specified in a nested context");
        }
        for (name, field) in fields(schema, "properties") {
            let at = path.child("properties").key(name);
            if name == "metadata" && outer["type"] == "object" && map_has(&outer["properties"], "kind") {
                self.errors.forbidden(&at, "must not be specified in a nested context");
            }
            let known = outer["properties"].get(name).or_else(|| {
                let values = &outer["additionalProperties"];
                values.is_object().then_some(values)
            });
            match known {
                Some(known) => self.nested(field, known, &at, false),
                None if matches!(name.as_str(), "metadata" | "apiVersion" | "kind") => {}
                None => {
                    self.errors.required(
                        &outer_path(path).child("properties").key(name),
                        "because it is defined in ".to_owned() + at.as_str(),
                    );
                }
            }
        }
        if schema["items"].is_object() {
            match outer["items"].is_object() {
                true => self.nested(&schema["items"], &outer["items"], &path.child("items"), false),
                false => self.errors.required(
                    &outer_path(path).child("items"),
                    "because it is defined in ".to_owned() + path.child("items").as_str(),
                ),
            }
        }
        self.junctors(schema, outer, path, int_or_string);
    }
}

/// The schema that a junctor belongs to.
fn outer_path(path: &Path) -> Path {
    let text = path.as_str();
    let end = [".allOf[", ".anyOf[", ".oneOf[", ".not"]
        .iter()
        .filter_map(|junctor| text.find(junctor))
        .min()
        .unwrap_or(text.len());
    let mut out = text[..end].to_owned();
    // The same fields lie below the junctor and beside it.
    let below = &text[end..];
    if let Some(at) = below.find(".properties[").or_else(|| below.find(".items")) {
        out.push_str(&below[at..]);
    }
    Path::new(&out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    /// The metadata of the root.
    Metadata,
    /// Anywhere else.
    Inside,
}

/// Defaults must be what their own schema says.
fn defaults(schema: &Structural, path: &Path, place: Place, errors: &mut Errors) {
    if let Some(default) = &schema.default {
        let at = path.child("default");
        let mut pruned = default.clone();
        let mut wrong = Errors::new();
        if place == Place::Metadata {
            wrong.forbidden(&at, "must not be set in top-level metadata");
        } else {
            let holder = Structural {
                properties: [("default".to_owned(), schema.clone())].into(),
                ..Structural::default()
            };
            let mut object = Value::Object(Map::from_iter([("default".to_owned(), pruned.clone())]));
            let unknown = holder.prune_inside(&mut object);
            pruned = object["default"].take();
            if unknown > 0 {
                wrong.invalid(&at, default.clone(), "must not have unknown fields");
            } else {
                schema.validate_at(&pruned, &at, &mut wrong);
            }
        }
        for error in wrong.into_vec() {
            errors.push(&error.path, error.cause, error.value, error.detail);
        }
    }
    for (name, field) in &schema.properties {
        let place = match (place, name.as_str()) {
            (Place::Root, "metadata" | "apiVersion" | "kind") | (Place::Metadata, _) => Place::Metadata,
            _ => Place::Inside,
        };
        defaults(field, &path.child("properties").key(name), place, errors);
    }
    let place = if place == Place::Metadata { place } else { Place::Inside };
    if let Some(values) = schema.values() {
        defaults(values, &path.child("additionalProperties"), place, errors);
    }
    if let Some(inner) = &schema.items {
        defaults(inner, &path.child("items"), place, errors);
    }
}

impl Structural {
    /// How many fields of a value, held by an object that is no resource, would be dropped.
    fn prune_inside(&self, holder: &mut Value) -> usize {
        let mut dropped = Vec::new();
        self.prune_value(holder, false, &mut String::new(), &mut dropped);
        dropped.len()
    }
}
