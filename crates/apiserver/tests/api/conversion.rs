//! Custom resources of several versions that a webhook converts, asked over TLS.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::cluster::{Cluster, EPOCH};
use super::crd::{CRDS, established};
use super::watches::Watch;
use super::webhook::Hook;

const V1: &str = "/apis/example.com/v1/namespaces/default/hosts";
const V2: &str = "/apis/example.com/v2/namespaces/default/hosts";

/// In `v1` a host has an address, `HOST:PORT`; in `v2` a host and a port.
fn crd(client: &Value) -> Value {
    let version = |name: &str, properties: Value| {
        json!({
            "name": name, "served": true, "storage": name == "v1",
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": properties},
            }}},
            "selectableFields": match name {
                "v1" => json!([{"jsonPath": ".spec.address"}]),
                _ => json!([{"jsonPath": ".spec.port"}]),
            },
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "hosts.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "hosts", "kind": "Host"},
            "versions": [
                version("v1", json!({"address": {"type": "string", "pattern": "^[^:]+:[0-9]+$"}})),
                version("v2", json!({
                    "host": {"type": "string"},
                    "port": {"type": "integer", "maximum": 65535},
                    "scheme": {"type": "string", "default": "http"},
                })),
            ],
            "conversion": {"strategy": "Webhook", "webhook": {
                "conversionReviewVersions": ["v1"], "clientConfig": client,
            }},
        },
    })
}

/// What the webhook makes of an object.
fn converted(object: &Value, wanted: &str) -> Value {
    let mut out = object.clone();
    let spec = &object["spec"];
    out["apiVersion"] = json!(wanted);
    out["spec"] = match wanted {
        "example.com/v2" => {
            let address = spec["address"].as_str().unwrap_or_default();
            let (host, port) = address.split_once(':').unwrap_or((address, "0"));
            json!({"host": host, "port": port.parse::<u16>().unwrap_or_default(), "dropped": true})
        }
        _ => json!({"address": format!("{}:{}", spec["host"].as_str().unwrap_or_default(), spec["port"])}),
    };
    out["metadata"]["annotations"]["converted-to"] = json!(wanted);
    out["metadata"]["creationTimestamp"] = json!("1999-01-01T00:00:00Z");
    out
}

fn answer(request: &Value) -> Value {
    let wanted = request["desiredAPIVersion"].as_str().unwrap_or_default();
    let objects: Vec<Value> = request["objects"]
        .as_array()
        .expect("objects")
        .iter()
        .map(|object| converted(object, wanted))
        .collect();
    json!({"result": {"status": "Success"}, "convertedObjects": objects})
}

async fn with(hook: &Hook) -> Cluster {
    let cluster = Cluster::start().await;
    let client = json!({"url": hook.url, "caBundle": hook.ca});
    cluster.post(CRDS, crd(&client)).await.ok();
    established(&cluster, "hosts.example.com").await;
    cluster
}

fn host(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Host", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn objects_are_stored_in_one_version_and_read_and_written_in_all() {
    let hook = Hook::serve(answer).await;
    let cluster = with(&hook).await;
    cluster
        .post(V1, host("v1", "a", json!({"address": "one:80"})))
        .await
        .ok();
    assert_eq!(hook.seen(), Vec::<Value>::new(), "nothing to convert");

    let got = cluster.get(&format!("{V2}/a")).await.ok();
    assert_eq!(got["apiVersion"], "example.com/v2");
    // Pruned and defaulted as this version wants it.
    assert_eq!(got["spec"], json!({"host": "one", "port": 80, "scheme": "http"}));
    assert_eq!(
        got["metadata"]["annotations"],
        json!({"converted-to": "example.com/v2"})
    );
    assert_eq!(got["metadata"]["creationTimestamp"], EPOCH, "not the webhook's to say");

    let made = cluster
        .post(V2, host("v2", "b", json!({"host": "two", "port": 81})))
        .await
        .ok();
    assert_eq!(made["spec"], json!({"host": "two", "port": 81, "scheme": "http"}));
    assert_eq!(made["metadata"]["managedFields"][0]["apiVersion"], "example.com/v2");
    let seen = hook.seen().len();
    let stored = cluster.get(&format!("{V1}/b")).await.ok();
    assert_eq!(stored["spec"], json!({"address": "two:81"}));
    assert_eq!(hook.seen().len(), seen, "it is stored in this version");

    // Each version has rules of its own.
    let patch = json!({"spec": {"port": 70000}});
    let (code, _, message) = cluster.patch(&format!("{V2}/b"), "merge", patch).await.failure();
    assert_eq!(code, 422, "{message}");
    let patch = json!({"spec": {"port": 82}});
    let patched = cluster.patch(&format!("{V2}/b"), "merge", patch).await.ok();
    assert_eq!(
        (&patched["spec"]["port"], &patched["metadata"]["generation"]),
        (&json!(82), &json!(2))
    );
    let applied = host("v2", "c", json!({"host": "three", "port": 83}));
    let applied = cluster
        .patch(&format!("{V2}/c?fieldManager=me"), "apply", applied)
        .await
        .ok();
    assert_eq!(applied["spec"]["scheme"], "http");
    assert_eq!(
        cluster.get(&format!("{V1}/c")).await.ok()["spec"]["address"],
        "three:83"
    );
    let gone = cluster.delete(&format!("{V2}/c"), Value::Null).await.ok();
    assert_eq!(gone["status"], "Success");
    cluster.check().await;
}

#[tokio::test]
async fn lists_and_watches_convert_in_batches_and_select_by_the_fields_of_their_version() {
    let hook = Hook::serve(answer).await;
    let cluster = with(&hook).await;
    for port in 1..=5 {
        let object = host("v1", &format!("h{port}"), json!({"address": format!("x:{port}")}));
        cluster.post(V1, object).await.ok();
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().expect("items").iter();
        items
            .map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let list = cluster.get(V2).await.ok();
    assert_eq!(names(&list), ["h1", "h2", "h3", "h4", "h5"]);
    assert_eq!(
        (&list["items"][4]["apiVersion"], &list["items"][4]["spec"]["port"]),
        (&json!("example.com/v2"), &json!(5))
    );
    let [asked] = &hook.seen()[..] else {
        panic!("one question, not {:?}", hook.seen())
    };
    assert_eq!(asked["objects"].as_array().map(Vec::len), Some(5));
    assert_eq!(asked["desiredAPIVersion"], "example.com/v2");

    let selected = cluster
        .get(&format!("{V2}?fieldSelector=spec.port%3D4&limit=1"))
        .await
        .ok();
    assert_eq!(names(&selected), ["h4"]);
    let page = cluster.get(&format!("{V2}?limit=2")).await.ok();
    assert_eq!(names(&page), ["h1", "h2"]);
    let next = format!(
        "{V2}?limit=2&continue={}",
        page["metadata"]["continue"].as_str().expect("more")
    );
    assert_eq!(names(&cluster.get(&next).await.ok()), ["h3", "h4"]);

    let path = format!(
        "{V2}?watch=1&fieldSelector=spec.port%3D9&resourceVersion={}",
        list["metadata"]["resourceVersion"].as_str().expect("a version")
    );
    let mut watch = Watch::open(&cluster, &path, "application/json").await;
    cluster
        .patch(&format!("{V1}/h2"), "merge", json!({"spec": {"address": "x:9"}}))
        .await
        .ok();
    let (kind, object) = watch.event().await;
    assert_eq!((kind.as_str(), &object["spec"]["port"]), ("ADDED", &json!(9)));
    cluster
        .patch(&format!("{V1}/h2"), "merge", json!({"spec": {"address": "x:2"}}))
        .await
        .ok();
    let (kind, object) = watch.event().await;
    assert_eq!((kind.as_str(), &object["spec"]["port"]), ("DELETED", &json!(9)));

    let deleted = cluster
        .delete(&format!("{V2}?fieldSelector=spec.port%3D5"), Value::Null)
        .await
        .ok();
    assert_eq!(names(&deleted), ["h5"]);
    assert_eq!(names(&cluster.get(V1).await.ok()), ["h1", "h2", "h3", "h4"]);
}

#[tokio::test]
async fn objects_keep_the_version_they_were_stored_in_until_they_are_written_again() {
    let hook = Hook::serve(answer).await;
    let cluster = with(&hook).await;
    cluster
        .post(V1, host("v1", "a", json!({"address": "one:80"})))
        .await
        .ok();
    let name = format!("{CRDS}/hosts.example.com");
    let mut crd = cluster.get(&name).await.ok();
    for version in crd["spec"]["versions"].as_array_mut().expect("versions") {
        version["storage"] = json!(version["name"] == "v2");
    }
    let hash = || async { cluster.get("/apis/example.com/v1").await.ok()["resources"][0]["storageVersionHash"].take() };
    let old = hash().await;
    let stored = cluster.put(&name, crd).await.ok();
    assert_eq!(stored["status"]["storedVersions"], json!(["v1", "v2"]));
    // Clients notice by this hash that objects are stored in another version.
    while hash().await == old {
        tokio::task::yield_now().await;
    }
    let before = hook.seen().len();
    let got = cluster.get(&format!("{V1}/a")).await.ok();
    assert_eq!(got["spec"]["address"], "one:80");
    assert_eq!(hook.seen().len(), before, "stored in v1 still");
    let written = cluster.put(&format!("{V1}/a"), got).await.ok();
    assert_eq!(written["spec"]["address"], "one:80");
    let before = hook.seen().len();
    assert_eq!(cluster.get(&format!("{V2}/a")).await.ok()["spec"]["host"], "one");
    assert_eq!(hook.seen().len(), before, "stored in v2 now");
}

#[tokio::test]
async fn a_conversion_that_fails_is_refused_in_the_words_of_kubernetes() {
    let hook = Hook::serve(|request| match request["objects"][0]["metadata"]["name"].as_str() {
        Some("said") => json!({"result": {"status": "Failure", "message": "not today"}}),
        Some("other") => {
            let mut answer = answer(request);
            answer["convertedObjects"][0]["metadata"]["uid"] = json!("other");
            answer
        }
        _ => json!({"result": {"status": "Success"}, "convertedObjects": []}),
    })
    .await;
    let cluster = with(&hook).await;
    for name in ["said", "other", "none"] {
        cluster
            .post(V1, host("v1", name, json!({"address": "one:80"})))
            .await
            .ok();
    }
    let refused = |name: &'static str| {
        let cluster = &cluster;
        async move { cluster.get(&format!("{V2}/{name}")).await.failure() }
    };
    let (code, reason, message) = refused("said").await;
    assert_eq!((code, reason.as_str()), (500, ""));
    assert_eq!(
        message,
        "conversion webhook for example.com/v1, Kind=Host failed: not today"
    );
    let (_, _, message) = refused("none").await;
    assert_eq!(
        message,
        "conversion webhook for example.com/v1, Kind=Host returned 0 objects, expected 1"
    );
    let (_, _, message) = refused("other").await;
    assert!(
        message.starts_with(
            "conversion webhook for example.com/v1, Kind=Host returned invalid object: must have the same UID: "
        ),
        "{message}"
    );
    let mut watch = Watch::open(&cluster, &format!("{V2}?watch=1"), "application/json").await;
    let (kind, status) = watch.event().await;
    assert_eq!((kind.as_str(), &status["code"]), ("ERROR", &json!(500)));
    // What is not to be converted is not in need of the webhook.
    cluster.delete(&format!("{V1}/said"), Value::Null).await.ok();
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_cannot_be_reached_is_named() {
    let cluster = Cluster::start().await;
    let client = json!({"service": {"namespace": "default", "name": "w", "path": "/convert"}});
    cluster.post(CRDS, crd(&client)).await.ok();
    let made = established(&cluster, "hosts.example.com").await;
    let client = &made["spec"]["conversion"]["webhook"]["clientConfig"];
    assert_eq!(client["service"]["port"], 443);
    cluster
        .post(V1, host("v1", "a", json!({"address": "one:80"})))
        .await
        .ok();
    let (code, _, message) = cluster.get(&format!("{V2}/a")).await.failure();
    assert_eq!(code, 500);
    assert_eq!(
        message,
        "conversion webhook for example.com/v1, Kind=Host failed: Post \"https://w.default.svc:443/convert?timeout=30s\": service \"w\" not found"
    );
}

#[tokio::test(start_paused = true)]
async fn a_definition_whose_webhook_nobody_can_trust_is_not_served_until_that_is_mended() {
    let cluster = Cluster::start().await;
    let own = rcgen::generate_simple_self_signed(vec!["w.default.svc".to_owned()]).expect("a certificate");
    let whole = STANDARD.encode(own.cert.pem());
    let client = |bundle: &str| json!({"service": {"namespace": "default", "name": "w"}, "caBundle": bundle});
    let (name, bad) = (format!("{CRDS}/hosts.example.com"), STANDARD.encode("placeholder"));
    let mut wrong = crd(&client(&whole));
    wrong["spec"]["conversion"]["webhook"]["conversionReviewVersions"] = json!(["v7", "v7", "Seven"]);
    let (code, _, message) = cluster.post(CRDS, wrong).await.failure();
    assert_eq!(code, 422);
    for part in [
        "spec.conversion.conversionReviewVersions[1]: Invalid value: \"v7\": duplicate version",
        "spec.conversion.conversionReviewVersions[2]: Invalid value: \"Seven\"",
        "must include at least one of v1, v1beta1",
    ] {
        assert!(message.contains(part), "{message}");
    }

    cluster.post(CRDS, crd(&client(&bad))).await.ok();
    let reason = loop {
        let crd = cluster.get(&name).await.ok();
        let conditions = crd["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if let Some(found) = conditions.iter().find(|condition| condition["type"] == "Established") {
            break (
                found["status"].clone(),
                found["reason"].clone(),
                found["message"].clone(),
            );
        }
        tokio::task::yield_now().await;
    };
    let message = "The conversion webhook CABundle is invalid";
    assert_eq!(reason, (json!("False"), json!("InvalidCABundle"), json!(message)));
    let mend = |bundle: &str| json!({"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": bundle}}}}});
    cluster.patch(&name, "merge", mend(&whole)).await.ok();
    established(&cluster, "hosts.example.com").await;
    let (code, _, message) = cluster.patch(&name, "merge", mend(&bad)).await.failure();
    assert_eq!(code, 422);
    assert!(message.contains("unable to load root certificates"), "{message}");
}

#[tokio::test]
async fn an_admission_webhook_is_asked_about_the_version_it_knows() {
    let conversion = Hook::serve(answer).await;
    let cluster = with(&conversion).await;
    let admission = Hook::serve(|_| {
        let patch = json!([{"op": "replace", "path": "/spec/address", "value": "patched:99"}]);
        json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())})
    })
    .await;
    let configuration = json!({"metadata": {"name": "w"}, "webhooks": [{
        "name": "w.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": admission.url, "caBundle": admission.ca},
        "rules": [{"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["hosts"]}],
    }]});
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    cluster.post(path, configuration).await.ok();
    let made = cluster
        .post(V2, host("v2", "a", json!({"host": "one", "port": 80})))
        .await
        .ok();
    let asked = &admission.seen()[0];
    assert_eq!(asked["kind"]["version"], "v1");
    assert_eq!(asked["requestKind"]["version"], "v2");
    assert_eq!(asked["object"]["spec"], json!({"address": "one:80"}));
    assert_eq!(made["spec"], json!({"host": "patched", "port": 99, "scheme": "http"}));
}
