//! A schema as OpenAPI v2 shows it.

use serde_json::{Map, Value};

/// For v2, which knows neither junctors nor null: what remains is true, if less.
pub fn published_v2(schema: &Value) -> Value {
    let Value::Object(map) = schema else {
        return schema.clone();
    };
    if map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) && map.contains_key("properties") {
        // At the root, where it matters most, clients are told nothing rather than something wrong.
        let mut open = simplified(map);
        open.shift_remove("properties");
        return open.into();
    }
    simplified(map).into()
}

fn simplified(map: &Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::new();
    let nullable = map.get("nullable") == Some(&Value::Bool(true));
    let preserve = map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    let bare_array = map.get("type").is_some_and(|kind| kind == "array") && !map.contains_key("items");
    for (key, value) in map {
        let value = match key.as_str() {
            "allOf" | "anyOf" | "oneOf" | "not" | "nullable" => continue,
            "type" if nullable || preserve || bare_array => continue,
            "properties" | "items" if nullable || preserve => continue,
            "required" => {
                let kept = value.as_array().into_iter().flatten().filter(|name| {
                    let field = name.as_str().and_then(|name| map.get("properties")?.get(name));
                    field.is_none_or(|field| field["nullable"] != true)
                });
                let kept: Vec<Value> = kept.cloned().collect();
                if kept.is_empty() {
                    continue;
                }
                kept.into()
            }
            "properties" => {
                let fields = value.as_object().into_iter().flatten();
                Value::Object(
                    fields
                        .map(|(name, field)| (name.clone(), published_v2(field)))
                        .collect(),
                )
            }
            "items" | "additionalProperties" if value.is_object() => published_v2(value),
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    out
}
