use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::table::{Schema, lookup};

fn id(group: &str, kind: &str) -> Schema {
    lookup(group, "v1", kind).unwrap()
}

#[test]
fn a_typo_is_named_with_its_path() {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metdata": {}, "metadata": {"labels": {"any": "thing"}},
        "spec": {"template": {"spec": {"contatiners": [], "containers": [
            {"name": "a"},
            {"name": "b", "ports": [{"contatinerPort": 80}], "resources": {"limits": {"any/thing": 1}}, "env": [{"nmae": 1}]},
        ]}}},
    });
    assert_eq!(
        unknown_fields(&id("apps", "Deployment"), &deployment),
        [
            r#"unknown field "metdata""#,
            r#"unknown field "spec.template.spec.contatiners""#,
            r#"unknown field "spec.template.spec.containers[1].ports[0].contatinerPort""#,
            r#"unknown field "spec.template.spec.containers[1].env[0].nmae""#,
        ]
    );
    let schema = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {
        "properties": {"a": {"items": {"tipe": "x"}, "additionalProperties": {"tipo": 1}, "default": {"free": 1}}},
    }}}]}});
    assert_eq!(
        unknown_fields(&id("apiextensions.k8s.io", "CustomResourceDefinition"), &schema),
        [
            r#"unknown field "spec.versions[0].schema.openAPIV3Schema.properties.a.items.tipe""#,
            r#"unknown field "spec.versions[0].schema.openAPIV3Schema.properties.a.additionalProperties.tipo""#,
        ]
    );
    let custom = json!({"spec": {"anything": 1}, "metadata": {"nam": "x"}});
    assert_eq!(
        unknown_fields(&Schema::OBJECT, &custom),
        [r#"unknown field "metadata.nam""#]
    );
}

#[test]
fn a_value_of_the_wrong_type_is_told_as_go_tells_it() {
    for (group, kind, object, message) in [
        (
            "apps",
            "Deployment",
            json!({"spec": {"replicas": "3"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "apps",
            "Deployment",
            json!({"spec": {"replicas": 1.5}}),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "apps",
            "Deployment",
            json!({"spec": []}),
            "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec",
        ),
        (
            "",
            "Pod",
            json!({"metadata": {"labels": {"a": 1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            "",
            "Pod",
            json!({"metadata": {"labels": "a"}}),
            "json: cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type map[string]string",
        ),
        (
            "",
            "Pod",
            json!({"spec": {"containers": [{"env": [{"value": true}]}]}}),
            "json: cannot unmarshal bool into Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        (
            "",
            "Pod",
            json!({"spec": {"containers": {"name": "x"}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            "",
            "Pod",
            json!({"spec": {"containers": ["x"]}}),
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type v1.Container",
        ),
        (
            "",
            "Pod",
            json!({"spec": {"containers": [{"imagePullPolicy": 1}]}}),
            "json: cannot unmarshal number into Go struct field Container.spec.containers.imagePullPolicy of type v1.PullPolicy",
        ),
        (
            "",
            "Pod",
            json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "a lot"}}}]}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "",
            "Service",
            json!({"spec": {"ports": [{"targetPort": true}]}}),
            "json: cannot unmarshal bool into Go struct field ServicePort.spec.ports.targetPort of type int32",
        ),
        (
            "",
            "Secret",
            json!({"data": {"a": "not base64!"}}),
            "illegal base64 data at input byte 3",
        ),
        (
            "",
            "Secret",
            json!({"data": {"a": "abcde"}}),
            "illegal base64 data at input byte 4",
        ),
        (
            "",
            "Secret",
            json!({"data": {"a": 1}}),
            "json: cannot unmarshal number into Go struct field Secret.data of type []uint8",
        ),
        (
            "",
            "Event",
            json!({"firstTimestamp": "yesterday"}),
            r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#,
        ),
        (
            "",
            "Event",
            json!({"firstTimestamp": "2024-01-02"}),
            r#"parsing time "2024-01-02" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#,
        ),
        (
            "",
            "Event",
            json!({"firstTimestamp": "2024-13-02T00:00:00Z"}),
            r#"parsing time "2024-13-02T00:00:00Z": month out of range"#,
        ),
        (
            "",
            "Pod",
            json!([]),
            "json: cannot unmarshal array into Go value of type v1.Pod",
        ),
    ] {
        assert_eq!(type_errors(&id(group, kind), &object), [message]);
    }
}

#[test]
fn good_values_and_nulls_fit() {
    let pod = json!({
        "metadata": {"creationTimestamp": null, "deletionTimestamp": "2024-02-29T23:59:59.5+02:00", "labels": {"a": "b", "c": null}},
        "spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": 1, "memory": "1.5Gi", "x": 0.5}},
            "livenessProbe": {"httpGet": {"port": 80}}, "readinessProbe": {"httpGet": {"port": "http"}}}], "terminationGracePeriodSeconds": 0},
    });
    assert_eq!(type_errors(&id("", "Pod"), &pod), Vec::<String>::new());
    let secret =
        json!({"data": {"a": "aGk=", "b": "aGkh", "c": "aA==", "d": "", "e": "aG\nkh"}, "stringData": {"a": "!"}});
    assert_eq!(type_errors(&id("", "Secret"), &secret), Vec::<String>::new());
}

#[test]
fn pruning_leaves_what_go_would_write() {
    let mut pod = json!({
        "metadata": {"name": "p", "creationTimestamp": null, "labels": {"a": null}, "annotations": {}, "typo": 1, "deletionTimestamp": "2024-02-29T01:00:00.5+02:00"},
        "spec": {
            "hostNetwork": false, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0, "nodeName": "",
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{"name": "", "args": [], "env": [{"name": "A", "value": ""}], "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}, "requests": null}}],
            "initContainers": null,
        },
    });
    prune(&id("", "Pod"), &mut pod);
    assert_eq!(
        pod,
        json!({
            "metadata": {"name": "p", "labels": {"a": ""}, "deletionTimestamp": "2024-02-28T23:00:00Z"},
            "spec": {
                "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
                "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{"name": "", "env": [{"name": "A"}], "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}],
            },
        })
    );
    let mut custom = json!({"metadata": {"name": "c", "typo": 1}, "spec": {"anything": null}});
    prune(&Schema::OBJECT, &mut custom);
    assert_eq!(custom, json!({"metadata": {"name": "c"}, "spec": {"anything": null}}));
}

#[test]
fn duplicate_fields_of_json_are_named_and_the_last_counts() {
    let text =
        br#"{"spec": {"replicas": 1, "a": [{}, {"b": 1, "b": 2, "b": 3}], "replicas": 2}, "kind": "A", "kind": "B"}"#;
    let (value, duplicates) = parse_json(text).unwrap();
    assert_eq!(
        value,
        json!({"spec": {"replicas": 2, "a": [{}, {"b": 3}]}, "kind": "B"})
    );
    assert_eq!(
        duplicates,
        [
            r#"duplicate field "spec.a[1].b""#,
            r#"duplicate field "spec.replicas""#,
            r#"duplicate field "kind""#
        ]
    );
    let deep = "[".repeat(100_000);
    for bad in ["", "{", "{}x", "{\"a\":}", &deep] {
        assert!(parse_json(bad.as_bytes()).is_err(), "{:.10}", bad);
    }
}

fn yaml(text: &str) -> Value {
    let (value, duplicates) = parse_yaml(text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(duplicates, Vec::<String>::new());
    value
}

#[test]
fn yaml_scalars_are_those_of_version_1_1() {
    for (text, value) in [
        ("yes", json!(true)),
        ("Off", json!(false)),
        ("'yes'", json!("yes")),
        ("\"1\"", json!("1")),
        ("!!str 1", json!("1")),
        ("~", json!(null)),
        ("", json!(null)),
        ("0644", json!(420)),
        ("0x1f", json!(31)),
        ("0b11", json!(3)),
        ("1_000", json!(1000)),
        ("-7", json!(-7)),
        ("+7", json!(7)),
        ("08", json!(8)),
        ("1.5", json!(1.5)),
        ("1e3", json!(1000)),
        ("1.0", json!(1)),
        (".5", json!(0.5)),
        ("1.2.3", json!("1.2.3")),
        ("10.0.0.1", json!("10.0.0.1")),
        ("1-2", json!("1-2")),
        ("-", json!([null])),
        ("+", json!("+")),
        (".", json!(".")),
        ("0x", json!("0x")),
        ("2024-01-02", json!("2024-01-02")),
        ("100m", json!("100m")),
        ("18446744073709551615", json!(18446744073709551615u64)),
        ("a: b # c", json!({"a": "b"})),
        ("!!binary aGk=", json!("hi")),
        ("1: {true: 2}", json!({"1": {"true": 2}})),
        ("|\n  a\n  b\n", json!("a\nb\n")),
        (">-\n  a\n  b\n", json!("a b")),
    ] {
        assert_eq!(yaml(text), value, "{text}");
    }
}

#[test]
fn a_manifest_in_yaml_reads_as_its_json() {
    let text = "# a comment\n---\nkind: Pod\nspec:\n  base: &base {image: nginx, tty: on}\n  containers:\n  - <<: *base\n    name: a\n    image: kuard\n    args: [\"-c\", 'x y']\n  - *base\n---\nkind: Second\n";
    assert_eq!(
        yaml(text),
        json!({"kind": "Pod", "spec": {"base": {"image": "nginx", "tty": true}, "containers": [
            {"image": "kuard", "tty": true, "name": "a", "args": ["-c", "x y"]},
            {"image": "nginx", "tty": true},
        ]}})
    );
    assert_eq!(yaml(r#"{"a": [1, {"b": null}]}"#), json!({"a": [1, {"b": null}]}));
}

#[test]
fn duplicate_keys_of_yaml_are_told_with_their_lines() {
    let (value, duplicates) = parse_yaml(b"a: 1\nb:\n  c: 1\n  c: 2\na: 3\n").unwrap();
    assert_eq!(value, json!({"a": 3, "b": {"c": 2}}));
    assert_eq!(
        duplicates,
        ["yaml: unmarshal errors:\n  line 4: key \"c\" already set in map\n  line 5: key \"a\" already set in map"]
    );
}

#[test]
fn yaml_that_would_blow_up_is_refused() {
    let mut bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for i in 1..12 {
        bomb += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(", "));
    }
    assert_eq!(
        parse_yaml(bomb.as_bytes()).unwrap_err().0,
        "error converting YAML to JSON: yaml: document contains excessive aliasing"
    );
    // Each anchor keeps a copy of all that is inside of it.
    let open: String = (0..80).map(|i| format!("&a{i} [")).collect();
    let nested = format!("{open}{}{}", vec!["1"; 50_000].join(","), "]".repeat(80));
    assert!(
        parse_yaml(nested.as_bytes())
            .unwrap_err()
            .0
            .ends_with("excessive aliasing")
    );
    for bad in [
        "a: &x [*x]",
        &"[".repeat(10_000),
        &"- ".repeat(10_000),
        &"{a: ".repeat(10_000),
        "a: b: c",
        "a: [1",
        "a: *none",
        "? {a: 1}\n: 2",
        "a: .nan",
    ] {
        let error = parse_yaml(bad.as_bytes()).unwrap_err().0;
        assert!(error.starts_with("error converting YAML to JSON: yaml: "), "{error}");
    }
}

fn arbitrary_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "metadata",
        "spec",
        "status",
        "template",
        "containers",
        "name",
        "labels",
        "ports",
        "limits",
        "resources",
        "data",
        "x",
        "replicas",
        "items",
        "properties",
    ]);
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| json!(n)),
        "\\PC{0,8}".prop_map(|s| json!(s))
    ];
    leaf.prop_recursive(6, 48, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| json!(v)),
            prop::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|v| Value::Object(v.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_can_be_checked_and_pruned_and_pruning_twice_is_pruning_once(object in arbitrary_json()) {
        for id in [id("", "Pod"), id("apps", "Deployment"), id("apiextensions.k8s.io", "CustomResourceDefinition"), Schema::OBJECT] {
            let _ = (unknown_fields(&id, &object), type_errors(&id, &object));
            let mut once = object.clone();
            prune(&id, &mut once);
            prop_assert!(unknown_fields(&id, &once).is_empty());
            let mut twice = once.clone();
            prune(&id, &mut twice);
            prop_assert_eq!(once, twice);
        }
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in "[\\[\\]{}:,&*!#|>'\"a-c0-9 \n\t-]{0,60}") {
        let _ = (parse_yaml(text.as_bytes()), parse_json(text.as_bytes()));
    }

    #[test]
    fn no_quantity_panics(text in "[+-]?[0-9.]{0,45}([kKMGTPEmun]i?|[eE]-?[0-9]{1,9})?") {
        if let Ok(quantity) = knarr_apimachinery::Quantity::parse(&text) {
            let canonical = quantity.to_string();
            prop_assert_eq!(knarr_apimachinery::Quantity::parse(&canonical).map(|q| q.to_string()), Ok(canonical));
        }
    }
}

#[test]
fn text_that_is_no_json_is_described_in_the_words_of_go() {
    for (text, words) in [
        ("", "unexpected end of JSON input"),
        ("foo", "invalid character 'o' in literal false (expecting 'a')"),
        ("{\"a\":", "unexpected end of JSON input"),
        (
            "{a: 1}",
            "invalid character 'a' looking for beginning of object key string",
        ),
        ("{\"a\" 1}", "invalid character '1' after object key"),
        ("{\"a\": 1 \"b\"}", "invalid character '\"' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("{} x", "invalid character 'x' after top-level value"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        (
            "{\"a\": 1,}",
            "invalid character '}' looking for beginning of object key string",
        ),
        ("\"a\nb\"", "invalid character '\\n' in string literal"),
        ("\"\\x\"", "invalid character 'x' in string escape code"),
        (
            "\"\\u12g\"",
            "invalid character 'g' in \\u hexadecimal character escape",
        ),
        ("-x", "invalid character 'x' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1e+", "unexpected end of JSON input"),
        ("'a'", "invalid character '\\'' looking for beginning of value"),
    ] {
        let error = parse_json(text.as_bytes()).expect_err(text);
        assert_eq!(error.to_string(), words, "{text}");
    }
}
