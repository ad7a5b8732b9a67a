use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

fn words(words: &str) -> Vec<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

fn served(group: &str, plural: &str, kind: &str, namespaced: bool, subresources: Vec<ServedSubresource>) -> Served {
    Served {
        group: group.into(),
        version: "v1".into(),
        plural: plural.into(),
        kind: kind.into(),
        namespaced,
        verbs: words("get list watch create update patch delete deletecollection"),
        subresources,
        schema: None,
    }
}

fn sub(name: &str, group: &str, kind: &str, verbs: &str) -> ServedSubresource {
    ServedSubresource {
        name: name.into(),
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
        verbs: words(verbs),
    }
}

fn api() -> OpenApi {
    let mut thing = served("example.com", "things", "Thing", true, Vec::new());
    thing.schema = Some(
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}).into(),
    );
    OpenApi::new(
        vec![
            served(
                "",
                "pods",
                "Pod",
                true,
                vec![
                    sub("status", "", "Pod", "get update patch"),
                    sub("log", "", "", "get"),
                    sub("eviction", "policy", "Eviction", "create"),
                ],
            ),
            served("", "nodes", "Node", false, Vec::new()),
            served(
                "apps",
                "deployments",
                "Deployment",
                true,
                vec![sub("scale", "autoscaling", "Scale", "get update patch")],
            ),
            served(
                "apiextensions.k8s.io",
                "customresourcedefinitions",
                "CustomResourceDefinition",
                false,
                Vec::new(),
            ),
            thing,
        ],
        BTreeMap::new(),
    )
}

fn v3(path: &str) -> Value {
    serde_json::from_slice(&api().v3_group(path).unwrap().body).unwrap()
}

#[test]
fn the_index_names_each_group_with_the_hash_of_its_document() {
    let (one, two) = (api(), api());
    let index = one.v3_index();
    assert_eq!(
        index["paths"].as_object().unwrap().keys().collect::<Vec<_>>(),
        [
            "api/v1",
            "apis/apps/v1",
            "apis/apiextensions.k8s.io/v1",
            "apis/example.com/v1"
        ]
    );
    let document = one.v3_group("apis/apps/v1").unwrap();
    assert_eq!(
        index["paths"]["apis/apps/v1"]["serverRelativeURL"],
        format!("/openapi/v3/apis/apps/v1?hash={}", document.etag)
    );
    assert!(
        Arc::ptr_eq(&document, &one.v3_group("apis/apps/v1").unwrap()),
        "made once"
    );
    assert_eq!(two.v3_index(), index, "the same on every start");
    assert!(one.v3_group("apis/batch/v1").is_none());
    let fewer = OpenApi::new(
        vec![served("apps", "deployments", "Deployment", true, Vec::new())],
        BTreeMap::new(),
    );
    assert_ne!(fewer.v3_group("apis/apps/v1").unwrap().etag, document.etag);
}

#[test]
fn merge_keys_and_list_types_are_on_the_fields() {
    let core = v3("api/v1");
    let field = |schema: &str, field: &str| core["components"]["schemas"][schema]["properties"][field].clone();
    let containers = field("io.k8s.api.core.v1.PodSpec", "containers");
    assert_eq!(
        json!([
            containers["x-kubernetes-patch-merge-key"],
            containers["x-kubernetes-patch-strategy"],
            containers["x-kubernetes-list-type"],
            containers["x-kubernetes-list-map-keys"],
            containers["items"]
        ]),
        json!(["name", "merge", "map", ["name"], {"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"}])
    );
    let volumes = field("io.k8s.api.core.v1.PodSpec", "volumes");
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
    assert_eq!(
        field("io.k8s.api.core.v1.Container", "ports")["x-kubernetes-list-map-keys"],
        json!(["containerPort", "protocol"])
    );
    assert_eq!(
        field("io.k8s.api.core.v1.Container", "args")["x-kubernetes-list-type"],
        "atomic"
    );
    assert_eq!(
        field("io.k8s.api.core.v1.PodSpec", "nodeSelector")["x-kubernetes-map-type"],
        "atomic"
    );
    assert_eq!(
        core["components"]["schemas"]["io.k8s.api.core.v1.SecretKeySelector"]["x-kubernetes-map-type"],
        "atomic"
    );
    assert_eq!(
        field("io.k8s.api.core.v1.Pod", "spec")["allOf"],
        json!([{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}])
    );
    let strategy =
        v3("apis/apps/v1")["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"]
            .clone();
    assert_eq!(strategy["x-kubernetes-patch-strategy"], "retainKeys");
    let pod = &core["components"]["schemas"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        (&pod["x-kubernetes-group-version-kind"], pod.get("required")),
        (&json!([{"group": "", "kind": "Pod", "version": "v1"}]), None)
    );
}

#[test]
fn every_reference_is_resolved_within_its_document() {
    for path in [
        "api/v1",
        "apis/apps/v1",
        "apis/apiextensions.k8s.io/v1",
        "apis/example.com/v1",
    ] {
        let document = v3(path);
        let text = document.to_string();
        let references = text
            .split("#/components/schemas/")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap());
        for name in references {
            assert!(document["components"]["schemas"].get(name).is_some(), "{path}: {name}");
        }
    }
}

#[test]
fn patch_says_what_kubectl_looks_for() {
    let apps = v3("apis/apps/v1");
    let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "kind": "Deployment", "version": "v1"})
    );
    let names: Vec<_> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert!(
        patch["requestBody"]["content"]
            .get("application/strategic-merge-patch+json")
            .is_some()
    );
    let scale = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"];
    assert_eq!(
        scale["x-kubernetes-group-version-kind"],
        json!({"group": "autoscaling", "kind": "Scale", "version": "v1"})
    );
    let custom = v3("apis/example.com/v1");
    let patch = &custom["paths"]["/apis/example.com/v1/namespaces/{namespace}/things/{name}"]["patch"];
    assert!(
        patch["requestBody"]["content"]
            .get("application/strategic-merge-patch+json")
            .is_none(),
        "a custom resource has no merge keys"
    );
    let thing = &custom["components"]["schemas"]["com.example.v1.Thing"];
    assert_eq!(
        thing["properties"]["spec"]["properties"]["size"],
        json!({"type": "integer"})
    );
    assert_eq!(
        thing["x-kubernetes-group-version-kind"],
        json!([{"group": "example.com", "kind": "Thing", "version": "v1"}])
    );
}

#[test]
fn paths_are_those_of_the_served_verbs() {
    let core = v3("api/v1");
    let verbs = |path: &str| -> Vec<String> {
        core["paths"][path]
            .as_object()
            .map(|p| p.keys().cloned().collect())
            .unwrap_or_default()
    };
    assert_eq!(
        verbs("/api/v1/namespaces/{namespace}/pods"),
        ["get", "post", "delete", "parameters"]
    );
    assert_eq!(
        verbs("/api/v1/namespaces/{namespace}/pods/{name}"),
        ["get", "put", "patch", "delete", "parameters"]
    );
    assert_eq!(verbs("/api/v1/pods"), ["get", "parameters"]);
    assert_eq!(
        verbs("/api/v1/namespaces/{namespace}/pods/{name}/log"),
        ["get", "parameters"]
    );
    assert_eq!(
        verbs("/api/v1/namespaces/{namespace}/pods/{name}/eviction"),
        ["post", "parameters"]
    );
    assert_eq!(
        verbs("/api/v1/nodes/{name}"),
        ["get", "put", "patch", "delete", "parameters"]
    );
    assert_eq!(verbs("/api/v1/namespaces/{namespace}/nodes"), Vec::<String>::new());
}

#[test]
fn v2_has_everything_in_one_document() {
    let v2: Value = serde_json::from_slice(&api().v2_json().body).unwrap();
    assert_eq!(v2["swagger"], "2.0");
    assert_eq!(
        v2["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]["items"],
        json!({"$ref": "#/definitions/io.k8s.api.core.v1.Container"})
    );
    assert_eq!(
        v2["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"]["$ref"],
        "#/definitions/io.k8s.api.core.v1.PodSpec"
    );
    assert_eq!(
        v2["definitions"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["type"],
        "string"
    );
    let patch = &v2["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["parameters"].as_array().unwrap().last().unwrap()["schema"],
        json!({"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.Patch"})
    );
    assert!(!v2.to_string().contains("#/components"));
}

/// The bytes of the field under these numbers, of messages in messages.
fn at<'a>(mut bytes: &'a [u8], path: &[(u32, &str)]) -> Vec<&'a [u8]> {
    use crate::proto::wire::{Payload, Reader};
    let fields = |bytes: &'a [u8]| {
        let mut reader = Reader::new(bytes);
        let mut found = Vec::new();
        while let Some((number, payload)) = reader.next().unwrap() {
            if let Payload::Bytes(bytes) = payload {
                found.push((number, bytes));
            }
        }
        found
    };
    let (last, way) = path.split_last().unwrap();
    for (number, name) in way {
        let (_, next) = fields(bytes)
            .into_iter()
            .find(|(own, value)| own == number && (name.is_empty() || fields(value)[0].1 == name.as_bytes()))
            .unwrap_or_else(|| panic!("{number} {name}"));
        bytes = next;
    }
    fields(bytes)
        .into_iter()
        .filter(|(own, _)| *own == last.0)
        .map(|(_, value)| value)
        .collect()
}

#[test]
fn v2_says_the_same_in_protobuf() {
    let document = api().v2_protobuf();
    let bytes = &document.body;
    let text = |path: &[(u32, &str)]| -> Vec<String> {
        at(bytes, path)
            .into_iter()
            .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
            .collect()
    };
    assert_eq!(text(&[(1, "")]), ["2.0"]);
    let v2: Value = serde_json::from_slice(&api().v2_json().body).unwrap();
    let definitions = v2["definitions"].as_object().unwrap();
    assert_eq!(at(bytes, &[(9, ""), (1, "")]).len(), definitions.len());
    let spec = (1, "io.k8s.api.core.v1.PodSpec");
    let containers = [(9, ""), spec, (2, ""), (25, ""), (1, "containers"), (2, "")];
    let with = |more: &[(u32, &'static str)]| [&containers, more].concat();
    assert_eq!(text(&with(&[(22, ""), (1, "")])), ["array"]);
    assert_eq!(
        text(&with(&[(23, ""), (1, ""), (1, "")])),
        ["#/definitions/io.k8s.api.core.v1.Container"]
    );
    assert_eq!(
        text(&with(&[(31, "x-kubernetes-patch-merge-key"), (2, ""), (2, "")])),
        ["\"name\""]
    );
    let deployment = (2, "/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
    let patch = [(8, ""), deployment, (2, ""), (8, "")];
    let queries = [&patch[..], &[(8, ""), (1, ""), (2, ""), (3, ""), (4, "")]].concat();
    assert_eq!(text(&queries).len(), 1);
    let gvk = [&patch[..], &[(13, "x-kubernetes-group-version-kind"), (2, ""), (2, "")]].concat();
    assert_eq!(text(&gvk), [r#"{"group":"apps","kind":"Deployment","version":"v1"}"#]);
}
