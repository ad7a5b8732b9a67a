//! OpenAPI v2 ("swagger"), rewritten from v3: older tools, and the Python client's dynamic one, read nothing else.

use serde_json::{Map, Value, json};

use super::component::REF;

/// One v2 document of several v3 documents.
pub(super) fn from_v3(documents: impl Iterator<Item = Value>, version: &str) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for mut document in documents {
        if let Some(Value::Object(found)) = document.get_mut("paths").map(Value::take) {
            paths.extend(found.into_iter().map(|(path, item)| (path, path_item(item))));
        }
        if let Some(Value::Object(found)) = document.pointer_mut("/components/schemas").map(Value::take) {
            definitions.extend(found);
        }
    }
    for (name, schema) in &mut definitions {
        simplify(schema);
        if let Some(schema) = schema.as_object_mut()
            && let Some(kind) = schema.shift_remove("oneOf").map(|_| "string")
        {
            schema.insert("type".into(), kind.into());
            if name.ends_with("IntOrString") {
                schema.insert("format".into(), "int-or-string".into());
            }
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": paths,
        "definitions": definitions,
    })
}

fn path_item(item: Value) -> Value {
    let Value::Object(item) = item else { return item };
    let rewritten = item.into_iter().map(|(key, mut value)| {
        if key == "parameters" {
            value.as_array_mut().into_iter().flatten().for_each(parameter);
        } else {
            operation(&mut value);
        }
        (key, value)
    });
    Value::Object(rewritten.collect())
}

fn operation(value: &mut Value) {
    let body = value
        .as_object_mut()
        .and_then(|operation| operation.shift_remove("requestBody"));
    let parameters = value.get_mut("parameters").and_then(Value::as_array_mut);
    if let Some(parameters) = parameters {
        parameters.iter_mut().for_each(parameter);
        if let Some(Value::Object(content)) = body.as_ref().and_then(|body| body.get("content")) {
            let mut schema = content
                .values()
                .next()
                .and_then(|media| media.get("schema"))
                .cloned()
                .unwrap_or_default();
            simplify(&mut schema);
            let required = body
                .as_ref()
                .and_then(|body| body.get("required"))
                .cloned()
                .unwrap_or_default();
            parameters.push(json!({"name": "body", "in": "body", "required": required, "schema": schema}));
            value["consumes"] = content.keys().cloned().collect();
        }
    }
    value["produces"] = json!(["application/json"]);
    for response in value
        .get_mut("responses")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(Map::values_mut)
    {
        let content = response
            .as_object_mut()
            .and_then(|response| response.shift_remove("content"));
        let schema = content
            .as_ref()
            .and_then(|content| content.as_object()?.values().next()?.get("schema"));
        if let Some(schema) = schema {
            response["schema"] = schema.clone();
            simplify(&mut response["schema"]);
        }
    }
}

/// v2 has the type in the parameter itself.
fn parameter(value: &mut Value) {
    if let Some(parameter) = value.as_object_mut()
        && let Some(Value::Object(schema)) = parameter.shift_remove("schema")
    {
        parameter.extend(schema);
    }
}

/// A reference beside a description is in v3 wrapped in `allOf`, and stands alone in v2.
fn simplify(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.shift_remove("default");
            map.shift_remove("nullable");
            let reference = match map.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
                Some([only]) => only.get("$ref").cloned(),
                _ => None,
            };
            if let Some(reference) = reference {
                map.shift_remove("allOf");
                map.insert("$ref".into(), reference);
            }
            for (key, value) in map.iter_mut() {
                match value.as_str().and_then(|text| text.strip_prefix(REF)) {
                    Some(name) if key == "$ref" => *value = format!("#/definitions/{name}").into(),
                    _ => simplify(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        _ => {}
    }
}
