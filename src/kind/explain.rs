//! What fields mean: the schema of a kind, from the server's OpenAPI v3.

use serde_json::Value;

use super::field::{items, text};
use crate::document::{Document, TextLine};
use crate::theme::Role;

/// How deep a chain of references is followed at one field.
const DEEPEST: usize = 16;

/// The path of the OpenAPI v3 document of a group and version.
pub fn path(group: &str, version: &str) -> String {
    match group {
        "" => format!("/openapi/v3/api/{version}"),
        group => format!("/openapi/v3/apis/{group}/{version}"),
    }
}

/// A schema, behind its references.
fn resolved<'a>(openapi: &'a Value, schema: &'a Value) -> &'a Value {
    let mut schema = schema;
    for _ in 0..DEEPEST {
        let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
        let Some(name) = reference.and_then(|reference| reference.rsplit('/').next()) else {
            break;
        };
        schema = &openapi["components"]["schemas"][name];
    }
    schema
}

/// What the elements of a list or the values of a map are; else the schema itself.
fn element<'a>(openapi: &'a Value, schema: &'a Value) -> &'a Value {
    let schema = resolved(openapi, schema);
    if schema["items"].is_object() {
        resolved(openapi, &schema["items"])
    } else if schema["additionalProperties"].is_object() {
        resolved(openapi, &schema["additionalProperties"])
    } else {
        schema
    }
}

/// `string`, `[]Container`, `map[string]string`: the type of a field as `kubectl explain` writes it.
fn type_of(openapi: &Value, schema: &Value) -> String {
    let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
    let inner = resolved(openapi, schema);
    match text(&inner["type"]) {
        "array" => format!("[]{}", type_of(openapi, &inner["items"])),
        "object" if inner["additionalProperties"].is_object() => {
            format!("map[string]{}", type_of(openapi, &inner["additionalProperties"]))
        }
        "object" | "" => {
            let name = reference.and_then(|reference| reference.rsplit(['/', '.']).next());
            name.unwrap_or("Object").to_owned()
        }
        plain => plain.to_owned(),
    }
}

/// What a field of a kind means, and the fields below it. `None` when there is no such field.
pub fn explain(openapi: &Value, kind: &str, version: &str, group: &str, fields: &[&str]) -> Option<Document> {
    let schemas = openapi["components"]["schemas"].as_object()?;
    let is_meant = |schema: &&Value| {
        items(&schema["x-kubernetes-group-version-kind"])
            .iter()
            .any(|known| known["kind"] == kind && known["version"] == version && text(&known["group"]) == group)
    };
    let root = schemas.values().find(is_meant)?;
    let (mut schema, mut described) = (root, root);
    for field in fields {
        described = element(openapi, schema)["properties"].get(field)?;
        schema = described;
    }
    let mut page = Document::new();
    let head = |page: &mut Document, name: &str, value: &str| {
        let line = TextLine::new()
            .with(Role::Field, &crate::text::pad_right(&format!("{name}:"), 10))
            .with(Role::Strong, value);
        page.push(line.hanging(10));
    };
    if !group.is_empty() {
        head(&mut page, "GROUP", group);
    }
    head(&mut page, "KIND", kind);
    head(&mut page, "VERSION", version);
    if !fields.is_empty() {
        let name = format!("{} <{}>", fields.join("."), type_of(openapi, described));
        head(&mut page, "FIELD", &name);
    }
    page.push(TextLine::new());
    // What is said of the field itself comes before what is said of its type.
    let own = text(&described["description"]);
    let inner = element(openapi, schema);
    let about = if own.is_empty() {
        text(&inner["description"])
    } else {
        own
    };
    for line in about.lines() {
        page.push(TextLine::new().with(Role::Text, line).hanging(0));
    }
    let Some(properties) = inner["properties"].as_object() else {
        return Some(page);
    };
    page.push(TextLine::new());
    page.push(TextLine::new().with(Role::Section, "FIELDS"));
    let mut names: Vec<&String> = properties.keys().collect();
    names.sort_unstable();
    for name in names {
        let property = &properties[name];
        let mut line = TextLine::new()
            .with(Role::Text, "  ")
            .with(Role::Strong, name)
            .with(Role::Dim, &format!("  <{}>", type_of(openapi, property)));
        if items(&inner["required"]).iter().any(|required| required == &**name) {
            line.push(Role::Warning, "  required");
        }
        page.push(line);
        let said = text(&property["description"]);
        let first = said.split_inclusive(". ").next().unwrap_or_default().trim();
        if !first.is_empty() {
            page.push(TextLine::new().with(Role::Dim, &format!("      {first}")).hanging(6));
        }
    }
    Some(page)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_found_through_references_lists_and_maps() {
        let openapi = json!({"components": {"schemas": {
            "io.k8s.Pod": {
                "x-kubernetes-group-version-kind": [{"group": "", "kind": "Pod", "version": "v1"}],
                "description": "Pod is a collection.", "type": "object",
                "properties": {"spec": {"description": "What is wanted.", "allOf": [{"$ref": "#/components/schemas/io.k8s.PodSpec"}]}},
            },
            "io.k8s.PodSpec": {
                "type": "object", "required": ["containers"],
                "properties": {
                    "containers": {"type": "array", "description": "Its containers. More of it.",
                        "items": {"allOf": [{"$ref": "#/components/schemas/io.k8s.Container"}]}},
                    "nodeSelector": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            },
            "io.k8s.Container": {"type": "object", "properties": {"image": {"type": "string", "description": "An image."}}},
        }}});
        let told = |fields: &[&str]| explain(&openapi, "Pod", "v1", "", fields).map(|page| page.plain());
        let spec = told(&["spec"]).expect("a field");
        for expected in [
            "spec <PodSpec>",
            "What is wanted.",
            "containers  <[]Container>  required",
            "Its containers.\n",
            "<map[string]string>",
        ] {
            assert!(spec.contains(expected), "{expected}: {spec}");
        }
        let image = told(&["spec", "containers", "image"]).expect("a field");
        assert!(
            image.contains("image <string>") && image.contains("An image."),
            "{image}"
        );
        assert_eq!(told(&["spec", "colour"]), None);
    }
}
