use serde_json::{Value, json};

use super::*;
use crate::field::{Errors, Path};

fn lines(errors: Errors) -> Vec<String> {
    errors.into_vec().iter().map(ToString::to_string).collect()
}

fn found(schema: Value, object: Value) -> Vec<String> {
    let mut errors = Errors::new();
    Structural::parse(&schema).validate(&object, None, &mut errors);
    lines(errors)
}

fn spec(properties: Value) -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}})
}

#[test]
fn mistakes_are_worded_as_upstream_words_them() {
    let one = |field: Value, value: Value| found(spec(json!({"x": field})), json!({"spec": {"x": value}}));
    for (field, value, expected) in [
        (
            json!({"type": "string"}),
            json!(1),
            r#"spec.x: Invalid value: "integer": spec.x in body must be of type string: "integer""#,
        ),
        (
            json!({"type": "string", "enum": ["x", "w"]}),
            json!("z"),
            r#"spec.x: Unsupported value: "z": supported values: "x", "w""#,
        ),
        (
            json!({"type": "integer", "maximum": 3}),
            json!(9),
            "spec.x: Invalid value: 9: spec.x in body should be less than or equal to 3",
        ),
        (
            json!({"type": "integer", "minimum": 0, "exclusiveMinimum": true}),
            json!(0),
            "spec.x: Invalid value: 0: spec.x in body should be greater than 0",
        ),
        (
            json!({"type": "string", "pattern": "^a"}),
            json!("c"),
            r#"spec.x: Invalid value: "c": spec.x in body should match '^a'"#,
        ),
        (
            json!({"type": "string", "maxLength": 2}),
            json!("abc"),
            "spec.x: Too long: may not be more than 2 bytes",
        ),
        (
            json!({"type": "string", "minLength": 3}),
            json!("a"),
            r#"spec.x: Invalid value: "a": spec.x in body should be at least 3 chars long"#,
        ),
        (
            json!({"type": "array", "maxItems": 1, "items": {"type": "string"}}),
            json!(["a", "b"]),
            "spec.x: Too many: 2: must have at most 1 item",
        ),
        (
            json!({"type": "array", "minItems": 2, "items": {"type": "string"}}),
            json!(["a"]),
            "spec.x: Invalid value: 1: spec.x in body should have at least 2 items",
        ),
        (
            json!({"type": "integer", "multipleOf": 2}),
            json!(3),
            "spec.x: Invalid value: 3: spec.x in body should be a multiple of 2",
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("nope"),
            r#"spec.x: Invalid value: "nope": spec.x in body must be of type date-time: "nope""#,
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            r#"spec.x: Invalid value: "boolean": spec.x in body must be of type integer,string: "boolean""#,
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(4_294_967_296_i64),
            r#"<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.x"#,
        ),
    ] {
        assert_eq!(one(field, value), [expected]);
    }
    let required = json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}}});
    assert_eq!(found(required, json!({"spec": {}})), ["spec.a: Required value"]);
    let junctor = spec(json!({"x": {"type": "string", "oneOf": [{"pattern": "^a"}, {"pattern": "^b"}]}}));
    assert_eq!(
        found(junctor, json!({"spec": {"x": "c"}})),
        [
            r#"<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found none valid"#,
            r#"spec.x: Invalid value: "c": spec.x in body should match '^a'"#,
        ]
    );
}

#[test]
fn what_was_wrong_before_and_is_untouched_is_forgiven() {
    let schema = spec(json!({"a": {"type": "string", "pattern": "^a"}, "b": {"type": "integer"}}));
    let schema = Structural::parse(&schema);
    let old = json!({"spec": {"a": "x", "b": 1}});
    let mut errors = Errors::new();
    schema.validate(&json!({"spec": {"a": "x", "b": 2}}), Some(&old), &mut errors);
    assert_eq!(lines(errors), Vec::<String>::new());
    let mut errors = Errors::new();
    schema.validate(&json!({"spec": {"a": "y", "b": 1}}), Some(&old), &mut errors);
    assert_eq!(lines(errors).len(), 1);
}

#[test]
fn unknown_fields_go_and_metadata_stays() {
    let schema = Structural::parse(&json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"a": {"type": "string"}, "open": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"closed": {"type": "object", "properties": {"k": {"type": "string"}}}},
        }, "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"k": {"type": "string"}}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}},
    }}));
    let mut object = json!({
        "apiVersion": "a/v1", "kind": "K", "metadata": {"name": "x"}, "extra": 1,
        "spec": {"a": "x", "b": 1, "open": {"any": {"thing": 1}, "closed": {"k": "v", "gone": 1}},
            "map": {"one": {"k": "v", "gone": 1}}, "list": [{"gone": 1}],
            "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"x": 1}}},
    });
    let mut dropped = schema.prune(&mut object);
    dropped.sort();
    assert_eq!(
        dropped,
        [
            "extra",
            "spec.b",
            "spec.list[0].gone",
            "spec.map.one.gone",
            "spec.open.closed.gone"
        ]
    );
    assert_eq!(
        object["spec"]["open"],
        json!({"any": {"thing": 1}, "closed": {"k": "v"}})
    );
    assert_eq!(object["metadata"], json!({"name": "x"}));
    assert_eq!(object["spec"]["template"]["spec"], json!({"x": 1}));
}

#[test]
fn defaults_apply_where_there_is_something_to_fill() {
    let schema = Structural::parse(&json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "a": {"type": "integer", "default": 1}, "n": {"type": "string", "nullable": true, "default": "x"},
            "z": {"type": "string"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
        }},
        "other": {"type": "object", "default": {}, "properties": {"b": {"type": "boolean", "default": true}}},
    }}));
    let mut object = json!({"spec": {"a": null, "n": null, "z": null, "list": [{}]}});
    schema.fill(&mut object);
    assert_eq!(
        object,
        json!({"spec": {"a": 1, "n": null, "list": [{"p": "TCP"}]}, "other": {"b": true}})
    );
    let mut empty = json!({});
    schema.fill(&mut empty);
    assert_eq!(empty, json!({"other": {"b": true}}));
}

#[test]
fn a_schema_that_is_not_structural_is_told_why() {
    let of = |schema: Value| {
        let mut errors = Errors::new();
        check(&schema, &Path::new("s"), false, &mut errors);
        lines(errors)
    };
    let root = |properties: Value| json!({"type": "object", "properties": properties});
    for (schema, expected) in [
        (json!({}), "s.type: Required value: must not be empty at the root"),
        (
            root(json!({"a": {}})),
            "s.properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            root(json!({"a": {"type": "array"}})),
            "s.properties[a].items: Required value: must be specified",
        ),
        (
            root(
                json!({"a": {"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": {"type": "string"}}}),
            ),
            "s.properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            root(json!({"a": {"type": "string", "anyOf": [{"type": "string"}]}})),
            "s.properties[a].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            root(json!({"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}})),
            "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ),
        (
            root(
                json!({"a": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}}}}}),
            ),
            "s.properties[a].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        (
            root(json!({"a": {"type": "string", "default": 1}})),
            r#"s.properties[a].default: Invalid value: "integer":  in body must be of type string: "integer""#,
        ),
        (
            root(json!({"a": {"type": "object", "properties": {}, "default": {"x": 1}}})),
            r#"s.properties[a].default: Invalid value: {"x":1}: must not have unknown fields"#,
        ),
        (
            root(json!({"a": {"type": "array", "uniqueItems": true, "items": {"type": "string"}}})),
            "s.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
    ] {
        assert_eq!(of(schema), [expected]);
    }
    assert_eq!(
        of(root(
            json!({"a": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}})
        )),
        Vec::<String>::new()
    );
}

#[test]
fn items_of_sets_and_keyed_lists_are_unique() {
    let schema = Structural::parse(&spec(json!({
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
            "items": {"type": "object", "properties": {"n": {"type": "string"}}}},
    })));
    let object = json!({"spec": {"set": ["a", "a"], "map": [{"n": "a"}, {"n": "a", "v": 1}]}});
    let mut errors = Errors::new();
    unique(&schema, &object, None, &mut errors);
    assert_eq!(
        lines(errors),
        [
            r#"spec.set[1]: Duplicate value: "a""#,
            r#"spec.map[1]: Duplicate value: {"n":"a"}"#
        ]
    );
    let mut errors = Errors::new();
    unique(&schema, &object, Some(&object), &mut errors);
    assert!(errors.is_empty());
}
