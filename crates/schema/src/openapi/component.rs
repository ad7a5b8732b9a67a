//! The schemas: made from the Rust types by schemars, with what it does not know added from the table.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::roots;
use crate::table::{self, Field, ListType, Strategy, Type};

/// Where the documents keep their schemas.
pub(super) const REF: &str = "#/components/schemas/";

pub(super) const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Every schema by its full name. They take some milliseconds, and never change.
pub(super) fn all() -> &'static BTreeMap<String, Value> {
    static ALL: OnceLock<BTreeMap<String, Value>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut generator = SchemaSettings::openapi3().into_generator();
        roots::collect(&mut generator);
        let mut schemas: BTreeMap<String, Value> = generator.take_definitions(true).into_iter().collect();
        for type_ in table::all() {
            if let Some(schema) = schemas.get_mut(&format!("io.k8s.{}", type_.name)) {
                annotate(type_, schema);
            }
        }
        let mut delete_options = Vec::new();
        for type_ in table::all() {
            if let Some((group, version, kind)) = type_.kind {
                let name = format!("io.k8s.{}", type_.name);
                if schemas.contains_key(&name) && type_.field("metadata").is_some() {
                    schemas.insert(format!("{name}List"), list(&name, group, version, kind));
                }
                let options = json!({"group": group, "kind": "DeleteOptions", "version": version});
                if !delete_options.contains(&options) {
                    delete_options.push(options);
                }
            }
        }
        if let Some(schema) = schemas.get_mut(&format!("{META}.DeleteOptions")) {
            schema["x-kubernetes-group-version-kind"] = delete_options.into();
        }
        replace(&mut schemas, "io.k8s.apimachinery.pkg.util.intstr.IntOrString", |schema| {
            schema["format"] = "int-or-string".into();
            schema["oneOf"] = json!([{"type": "integer"}, {"type": "string"}]);
        });
        replace(&mut schemas, "io.k8s.apimachinery.pkg.api.resource.Quantity", |schema| {
            schema["oneOf"] = json!([{"type": "string"}, {"type": "number"}]);
        });
        schemas.insert(
            format!("{META}.Patch"),
            json!({
                "description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.",
                "type": "object",
            }),
        );
        schemas
    })
}

fn replace(schemas: &mut BTreeMap<String, Value>, name: &str, change: impl FnOnce(&mut Value)) {
    if let Some(schema) = schemas.get_mut(name) {
        if let Some(schema) = schema.as_object_mut() {
            schema.shift_remove("x-kubernetes-int-or-string");
        }
        change(schema);
    }
}

/// Without merge keys kubectl would compute patches that leave removed containers in place.
fn annotate(type_: &Type, schema: &mut Value) {
    if type_.atomic {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    if let Some((group, version, kind)) = type_.kind {
        schema["x-kubernetes-group-version-kind"] = json!([{"group": group, "kind": kind, "version": version}]);
        // The Rust types always have metadata; a request need not.
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|field| field != "metadata");
            if required.is_empty()
                && let Some(schema) = schema.as_object_mut()
            {
                schema.shift_remove("required");
            }
        }
    }
    for field in type_.fields() {
        let property = schema
            .get_mut("properties")
            .and_then(|properties| properties.get_mut(&*field.json));
        if let Some(property) = property.and_then(Value::as_object_mut) {
            annotate_field(field, property);
        }
    }
}

fn annotate_field(field: &Field, property: &mut Map<String, Value>) {
    let mut strategies = Vec::new();
    match field.patch {
        Strategy::Default => {}
        Strategy::Replace => strategies.push("replace"),
        Strategy::MergeScalars => strategies.push("merge"),
        Strategy::MergeBy(key) => {
            strategies.push("merge");
            property.insert("x-kubernetes-patch-merge-key".into(), key.into());
        }
    }
    if field.retain_keys {
        strategies.push("retainKeys");
    }
    if !strategies.is_empty() {
        property.insert("x-kubernetes-patch-strategy".into(), strategies.join(",").into());
    }
    if property.get("type").is_some_and(|kind| kind == "array") {
        let list = match &field.list {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map(keys) => {
                let keys: Vec<&str> = keys.iter().map(|key| &*key.name).collect();
                property.insert("x-kubernetes-list-map-keys".into(), keys.into());
                "map"
            }
        };
        property.insert("x-kubernetes-list-type".into(), list.into());
    } else if field.atomic {
        property.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
}

/// The schema of a list of a kind.
pub(super) fn list(item: &str, group: &str, version: &str, kind: &str) -> Value {
    json!({
        "description": format!("{kind}List is a list of {kind}."),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": API_VERSION, "type": "string"},
            "items": {
                "description": format!("List of {kind} objects."),
                "type": "array",
                "items": {"allOf": [{"$ref": format!("{REF}{item}")}], "default": {}},
            },
            "kind": {"description": KIND, "type": "string"},
            "metadata": {
                "description": "Standard list metadata.",
                "allOf": [{"$ref": format!("{REF}{META}.ListMeta")}],
                "default": {},
            },
        },
        "x-kubernetes-group-version-kind": [{"group": group, "kind": format!("{kind}List"), "version": version}],
    })
}

const API_VERSION: &str = "The version of the schema of this object, with its group: apps/v1. The server converts what it recognises, and may refuse what it does not.";
const KIND: &str = "The REST resource that this object represents, in CamelCase. It cannot be changed.";

/// A custom resource's schema, completed by what every object has; any object at all if it has none.
pub(super) fn custom(own: Option<&Value>, group: &str, version: &str, kind: &str) -> Value {
    let mut schema = match own {
        Some(Value::Object(own)) => own.clone(),
        _ => Map::from_iter([("x-kubernetes-preserve-unknown-fields".to_owned(), true.into())]),
    };
    schema.insert("type".into(), "object".into());
    let properties = schema.entry("properties").or_insert_with(|| Map::new().into());
    if let Some(properties) = properties.as_object_mut() {
        properties.insert(
            "apiVersion".into(),
            json!({"description": API_VERSION, "type": "string"}),
        );
        properties.insert("kind".into(), json!({"description": KIND, "type": "string"}));
        let metadata = json!({
            "description": "Standard object's metadata.",
            "allOf": [{"$ref": format!("{REF}{META}.ObjectMeta")}],
        });
        properties.insert("metadata".into(), metadata);
    }
    schema.insert(
        "x-kubernetes-group-version-kind".into(),
        json!([{"group": group, "kind": kind, "version": version}]),
    );
    schema.into()
}

/// Adds to `into` what its schemas and `value` refer to, and what that refers to, and so on.
pub(super) fn close_over(value: &Value, into: &mut Map<String, Value>) {
    let mut open = Vec::new();
    references(value, &mut open);
    into.values().for_each(|schema| references(schema, &mut open));
    while let Some(name) = open.pop() {
        if !into.contains_key(&name)
            && let Some(schema) = all().get(&name)
        {
            references(schema, &mut open);
            into.insert(name, schema.clone());
        }
    }
    into.sort_keys();
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().and_then(|text| text.strip_prefix(REF)) {
                    Some(name) if key == "$ref" => found.push(name.to_owned()),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}
