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
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}),
    );
    OpenApi::new(vec![
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
    ])
}

fn v3(path: &str) -> Value {
    serde_json::from_slice(&api().v3_group(path).unwrap().json).unwrap()
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
    let fewer = OpenApi::new(vec![served("apps", "deployments", "Deployment", true, Vec::new())]);
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
    let v2: Value = serde_json::from_slice(&api().v2_json().json).unwrap();
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
    assert_eq!(v2_stub().len(), 13);
}
