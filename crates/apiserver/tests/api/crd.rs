//! Custom resources, from the definition to the last object.

use super::cluster::{Cluster, EPOCH, JSON, options};
use http::Method;
use serde_json::{Value, json};

pub const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const FOOS: &str = "/apis/example.com/v1/namespaces/default/foos";

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 9},
            "color": {"type": "string", "default": "red", "enum": ["red", "green"]},
            "replicas": {"type": "integer"},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {
                "type": "object", "required": ["name"],
                "properties": {"name": {"type": "string"}, "port": {"x-kubernetes-int-or-string": true}}}},
        }},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}},
    }})
}

fn crd() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "foos", "kind": "Foo", "shortNames": ["fo"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema()},
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector",
                }},
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "First", "type": "string", "jsonPath": ".spec.ports[0]", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "selectableFields": [{"jsonPath": ".spec.color"}],
            }],
        },
    })
}

fn foo(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": name}, "spec": spec})
}

/// Waits until the definition says so of itself.
pub async fn established(cluster: &Cluster, name: &str) -> Value {
    loop {
        let crd = cluster.get(&format!("{CRDS}/{name}")).await.ok();
        let conditions = crd["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions
            .iter()
            .any(|c| c["type"] == "Established" && c["status"] == "True")
        {
            return crd;
        }
        tokio::task::yield_now().await;
    }
}

async fn with_foos() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.post(CRDS, crd()).await.ok();
    established(&cluster, "foos.example.com").await;
    cluster
}

#[tokio::test(start_paused = true)]
async fn a_definition_is_completed_and_served() {
    let cluster = with_foos().await;
    let crd = cluster.get(&format!("{CRDS}/foos.example.com")).await.ok();
    assert_eq!(crd["spec"]["names"]["singular"], "foo");
    assert_eq!(crd["spec"]["names"]["listKind"], "FooList");
    assert_eq!(crd["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(crd["status"]["acceptedNames"], crd["spec"]["names"]);
    assert_eq!(crd["metadata"]["generation"], 1);
    let list = cluster.get(FOOS).await.ok();
    assert_eq!((&list["kind"], &list["items"]), (&json!("FooList"), &json!([])));
    let discovery = cluster.get("/apis/example.com/v1").await.ok();
    let names: Vec<&Value> = discovery["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["name"])
        .collect();
    assert_eq!(names, ["foos", "foos/status", "foos/scale"]);
    assert_eq!(discovery["resources"][0]["shortNames"], json!(["fo"]));
    let groups = cluster.get("/apis").await.ok();
    assert!(
        groups["groups"]
            .as_array()
            .unwrap()
            .iter()
            .any(|group| group["name"] == "example.com")
    );
    let openapi = cluster.get("/openapi/v3/apis/example.com/v1").await.ok();
    let own = &openapi["components"]["schemas"]["com.example.v1.Foo"];
    assert_eq!(own["properties"]["spec"]["properties"]["size"]["maximum"], 9);
}

#[tokio::test(start_paused = true)]
async fn objects_are_pruned_defaulted_and_validated() {
    let cluster = with_foos().await;
    let lenient = format!("{FOOS}?fieldValidation=Warn");
    let answer = cluster.post(&lenient, foo("a", json!({"size": 1, "junk": true}))).await;
    assert_eq!(answer.headers["warning"], r#"299 - "unknown field \"spec.junk\"""#);
    let made = answer.ok();
    assert_eq!(made["spec"], json!({"size": 1, "color": "red"}));
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["metadata"]["creationTimestamp"], EPOCH);
    let strict = cluster
        .post(
            &format!("{FOOS}?fieldValidation=Strict"),
            foo("b", json!({"size": 1, "junk": true})),
        )
        .await
        .failure();
    assert_eq!(strict.0, 400);
    assert!(
        strict
            .2
            .ends_with(r#"strict decoding error: unknown field "spec.junk""#),
        "{}",
        strict.2
    );
    for (spec, message) in [
        (json!({}), r#"spec.size: Required value"#),
        (
            json!({"size": 10}),
            "spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9",
        ),
        (
            json!({"size": "x"}),
            r#"spec.size: Invalid value: "string": spec.size in body must be of type integer: "string""#,
        ),
        (
            json!({"size": 1, "color": "blue"}),
            r#"spec.color: Unsupported value: "blue": supported values: "red", "green""#,
        ),
        (
            json!({"size": 1, "ports": [{"name": "a"}, {"name": "a"}]}),
            r#"spec.ports[1]: Duplicate value: {"name":"a"}"#,
        ),
    ] {
        let (code, reason, text) = cluster.post(FOOS, foo("c", spec)).await.failure();
        assert_eq!((code, reason.as_str()), (422, "Invalid"));
        assert_eq!(text, format!(r#"Foo.example.com "c" is invalid: {message}"#));
    }
    cluster.check().await;
}

#[tokio::test(start_paused = true)]
async fn patches_and_applies_merge_by_the_schema() {
    let cluster = with_foos().await;
    let path = format!("{FOOS}/a");
    let apply = |manager: &str, spec: Value| {
        let path = format!("{path}?fieldManager={manager}");
        let cluster = &cluster;
        async move { cluster.patch(&path, "apply", foo("a", spec)).await }
    };
    apply("one", json!({"size": 1, "ports": [{"name": "x", "port": 80}]}))
        .await
        .ok();
    let both = apply("two", json!({"size": 1, "ports": [{"name": "y", "port": "http"}]}))
        .await
        .ok();
    assert_eq!(
        both["spec"]["ports"],
        json!([{"name": "x", "port": 80}, {"name": "y", "port": "http"}])
    );
    let (code, _, message) = apply("two", json!({"size": 2})).await.failure();
    assert_eq!(code, 409);
    assert_eq!(
        message,
        r#"Apply failed with 1 conflict: conflict with "one": .spec.size"#
    );
    let merged = cluster
        .patch(&path, "merge", json!({"spec": {"color": "green", "size": 3}}))
        .await
        .ok();
    assert_eq!(
        (&merged["spec"]["color"], &merged["metadata"]["generation"]),
        (&json!("green"), &json!(3))
    );
    let patched = cluster
        .patch(
            &path,
            "json",
            json!([{"op": "replace", "path": "/spec/size", "value": 4}]),
        )
        .await
        .ok();
    assert_eq!(patched["spec"]["size"], 4);
    let (code, _, message) = cluster.patch(&path, "strategic-merge", json!({})).await.failure();
    assert_eq!(code, 415);
    assert!(
        message.ends_with("application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml")
    );
}

#[tokio::test(start_paused = true)]
async fn status_and_scale_are_apart() {
    let cluster = with_foos().await;
    let mut made = foo("a", json!({"size": 1, "replicas": 2}));
    made["status"] = json!({"replicas": 9});
    let made = cluster.post(FOOS, made).await.ok();
    assert_eq!(made.get("status"), None);
    let path = format!("{FOOS}/a");
    let mut status = made.clone();
    status["status"] = json!({"replicas": 1, "selector": "a=b"});
    status["spec"]["size"] = json!(7);
    let after = cluster.put(&format!("{path}/status"), status).await.ok();
    assert_eq!(
        (&after["spec"]["size"], &after["status"]["replicas"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(after["metadata"]["generation"], 1);
    let scale = cluster.get(&format!("{path}/scale")).await.ok();
    assert_eq!(scale["spec"], json!({"replicas": 2}));
    assert_eq!(scale["status"], json!({"replicas": 1, "selector": "a=b"}));
    cluster
        .patch(&format!("{path}/scale"), "merge", json!({"spec": {"replicas": 5}}))
        .await
        .ok();
    let scaled = cluster.get(&path).await.ok();
    assert_eq!(
        (&scaled["spec"]["replicas"], &scaled["metadata"]["generation"]),
        (&json!(5), &json!(2))
    );
}

#[tokio::test(start_paused = true)]
async fn columns_and_fields_are_as_defined() {
    let cluster = with_foos().await;
    cluster
        .post(FOOS, foo("a", json!({"size": 1, "ports": [{"name": "x"}]})))
        .await
        .ok();
    cluster
        .post(FOOS, foo("b", json!({"size": 2, "color": "green"})))
        .await
        .ok();
    let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let table = cluster.send(Method::GET, FOOS, &[("accept", table)], "").await.ok();
    let names: Vec<&Value> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(names, ["Name", "Size", "First", "Age"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", 1, r#"{"name":"x"}"#, "0s"]));
    assert_eq!(table["rows"][1]["cells"], json!(["b", 2, null, "0s"]));
    let green = cluster
        .get(&format!("{FOOS}?fieldSelector=spec.color%3Dgreen"))
        .await
        .ok();
    assert_eq!(green["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(green["items"][0]["metadata"]["name"], "b");
    let unknown = cluster
        .get(&format!("{FOOS}?fieldSelector=spec.size%3D1"))
        .await
        .failure();
    assert_eq!(
        (unknown.0, unknown.2.as_str()),
        (400, "field label not supported: spec.size")
    );
}

#[tokio::test(start_paused = true)]
async fn versions_share_their_objects() {
    let cluster = with_foos().await;
    cluster.post(FOOS, foo("a", json!({"size": 1}))).await.ok();
    let mut crd = cluster.get(&format!("{CRDS}/foos.example.com")).await.ok();
    let mut second = crd["spec"]["versions"][0].clone();
    second["name"] = json!("v2");
    second["storage"] = json!(false);
    second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["extra"] =
        json!({"type": "string", "default": "new"});
    crd["spec"]["versions"][0]["deprecated"] = json!(true);
    crd["spec"]["versions"].as_array_mut().unwrap().push(second);
    cluster.put(&format!("{CRDS}/foos.example.com"), crd).await.ok();
    let path = "/apis/example.com/v2/namespaces/default/foos/a";
    let seen = loop {
        let answer = cluster.get(path).await;
        if answer.code == 200 {
            break answer.ok();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(seen["apiVersion"], "example.com/v2");
    assert_eq!(seen["spec"], json!({"size": 1, "color": "red", "extra": "new"}));
    let old = cluster.get(&format!("{FOOS}/a")).await;
    assert_eq!(
        old.headers["warning"],
        r#"299 - "example.com/v1 Foo is deprecated; use example.com/v2 Foo""#
    );
    assert_eq!(old.ok()["spec"].get("extra"), None);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_definition_takes_its_objects_along() {
    let cluster = with_foos().await;
    cluster.post(FOOS, foo("a", json!({"size": 1}))).await.ok();
    let mut held = foo("b", json!({"size": 1}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.post(FOOS, held).await.ok();
    let path = format!("{CRDS}/foos.example.com");
    cluster.delete(&path, json!(null)).await.ok();
    // The one that nothing holds goes, the other is marked.
    loop {
        let list = cluster.get(FOOS).await.ok();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        if items.len() == 1 && items[0]["metadata"]["deletionTimestamp"].is_string() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let (code, _, message) = cluster.post(FOOS, foo("c", json!({"size": 1}))).await.failure();
    assert_eq!(code, 403);
    assert!(
        message.ends_with("create not allowed while custom resource definition is terminating"),
        "{message}"
    );
    cluster
        .patch(&format!("{FOOS}/b"), "merge", json!({"metadata": {"finalizers": null}}))
        .await
        .ok();
    while cluster.get(&path).await.code != 404 {
        tokio::task::yield_now().await;
    }
    while cluster.get(FOOS).await.code != 404 {
        tokio::task::yield_now().await;
    }
    // Made anew, it is empty.
    cluster.post(CRDS, crd()).await.ok();
    established(&cluster, "foos.example.com").await;
    assert_eq!(cluster.get(FOOS).await.ok()["items"], json!([]));
    cluster.check().await;
}

#[tokio::test]
async fn a_restart_brings_definitions_and_objects_back() {
    let directory = std::env::temp_dir().join(format!("knarr-crd-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("data");
    let cluster = Cluster::with(options(Some(file.clone()))).await;
    cluster.post(CRDS, crd()).await.ok();
    established(&cluster, "foos.example.com").await;
    let made = cluster.post(FOOS, foo("a", json!({"size": 1}))).await.ok();
    cluster.server.shutdown().await;
    drop(cluster);
    let cluster = Cluster::with(options(Some(file))).await;
    let again = cluster.get(&format!("{FOOS}/a")).await.ok();
    assert_eq!(again["metadata"]["uid"], made["metadata"]["uid"]);
    let next = cluster.post(FOOS, foo("b", json!({"size": 1}))).await.ok();
    let version = |object: &Value| {
        object["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    assert!(version(&next) > version(&made) + 900);
    cluster.server.shutdown().await;
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_bad_definition_is_refused() {
    let cluster = Cluster::start().await;
    let mut bad = crd();
    bad["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["x"] = json!({});
    let (code, _, message) = cluster.post(CRDS, bad).await.failure();
    assert_eq!(code, 422);
    assert_eq!(
        message,
        r#"CustomResourceDefinition.apiextensions.k8s.io "foos.example.com" is invalid: spec.validation.openAPIV3Schema.properties[spec].properties[x].type: Required value: must not be empty for specified object fields"#
    );
    let unused = cluster.send(Method::POST, CRDS, JSON, "{}").await;
    assert_eq!(unused.code, 422);
}

#[tokio::test(start_paused = true)]
async fn rules_are_compiled_with_the_definition_and_run_on_objects() {
    let cluster = Cluster::start().await;
    let rules = |rules: Value| {
        let mut crd = crd();
        let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        spec["x-kubernetes-validations"] = rules;
        crd
    };
    let (code, _, message) = cluster
        .post(CRDS, rules(json!([{"rule": "self.nope > 1"}])))
        .await
        .failure();
    assert_eq!(code, 422);
    assert!(
        message.contains(
            "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: "
        ) && message.contains("compilation failed: ERROR: <input>:1:5: undefined field 'nope'"),
        "{message}"
    );
    let good = rules(json!([
        {"rule": "self.size != 5", "message": "five is right out"},
        {"rule": "self.size >= oldSelf.size", "messageExpression": "'must not fall'", "fieldPath": ".size"},
    ]));
    cluster.post(CRDS, good).await.ok();
    established(&cluster, "foos.example.com").await;
    let (code, _, message) = cluster.post(FOOS, foo("a", json!({"size": 5}))).await.failure();
    assert_eq!(code, 422);
    assert_eq!(
        message,
        r#"Foo.example.com "a" is invalid: spec: Invalid value: five is right out"#
    );
    cluster.post(FOOS, foo("a", json!({"size": 3}))).await.ok();
    let path = format!("{FOOS}/a");
    let (_, _, message) = cluster
        .patch(&path, "merge", json!({"spec": {"size": 2}}))
        .await
        .failure();
    assert_eq!(
        message,
        r#"Foo.example.com "a" is invalid: spec.size: Invalid value: must not fall"#
    );
}

#[tokio::test(start_paused = true)]
async fn every_group_version_is_registered_while_it_is_served() {
    let cluster = with_foos().await;
    let path = |name: &str| format!("/apis/apiregistration.k8s.io/v1/apiservices/{name}");
    let core = cluster.get(&path("v1.")).await.ok();
    assert_eq!(core["spec"]["groupPriorityMinimum"], 18000);
    while cluster.get(&path("v1.example.com")).await.code == 404 {
        tokio::task::yield_now().await;
    }
    let own = cluster.get(&path("v1.example.com")).await.ok();
    assert_eq!(
        own["status"]["conditions"][0]["message"],
        "Local APIServices are always available"
    );
    cluster.delete(&path("v1.apps"), json!(null)).await.ok();
    while cluster.get(&path("v1.apps")).await.code == 404 {
        tokio::task::yield_now().await;
    }
    cluster
        .delete(&format!("{CRDS}/foos.example.com"), json!(null))
        .await
        .ok();
    while cluster.get(&path("v1.example.com")).await.code == 200 {
        tokio::task::yield_now().await;
    }
}
