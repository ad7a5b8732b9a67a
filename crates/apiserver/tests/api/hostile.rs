//! Good requests, broken in every way: each is answered, none with "internal error", and the store stays whole.
//!
//! What is broken: JSON, YAML and protobuf bodies, merge, strategic, JSON and apply patches, label and field selectors, and
//! every other option of a query. The breaks come from a generator with a fixed seed, so that a failure can be repeated.

use http::Method;
use knarr_schema::proto;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::cluster::{Answer, CONFIGMAPS, Cluster, DEPLOYMENTS, PODS, pod};

const ROUNDS: u64 = 4000;
const THINGS: &str = "/apis/example.com/v1/namespaces/default/things";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

#[derive(Clone, Debug)]
struct Seed {
    method: Method,
    path: String,
    query: Vec<u8>,
    media: &'static str,
    body: Vec<u8>,
}

fn seed(method: Method, path: &str, query: &str, media: &'static str, body: impl Into<Vec<u8>>) -> Seed {
    Seed {
        method,
        path: path.into(),
        query: query.into(),
        media,
        body: body.into(),
    }
}

fn seeds() -> Vec<Seed> {
    let pod = pod("web", json!({"app": "web"}));
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "annotations": {"a/b": "c"}},
        "spec": {
            "replicas": 2, "selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]},
            "strategy": {"rollingUpdate": {"maxSurge": "25%"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod["spec"]},
        },
    });
    let schema = json!({"type": "object", "properties": {"spec": {
        "type": "object", "x-kubernetes-validations": [{"rule": "self.size < 9"}],
        "properties": {"size": {"type": "integer", "default": 1}, "list": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string", "pattern": "^a+$"}}},
        }},
    }}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.list[0].k"}]}],
        },
    });
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"},
        "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}]},
            "validations": [{"expression": "object.metadata.name.startsWith('a') && size(object.data) < 3"}],
        },
    });
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"list": [{"k": "a"}]}});
    let kept = format!("{CONFIGMAPS}/kept");
    let web = format!("{DEPLOYMENTS}/web");
    let yaml = |value: &Value| serde_yaml::to_string(value).expect("YAML");
    let bytes = |value: &Value| proto::encode(value).expect("a kind that protobuf has");
    let patch = json!([
        {"op": "test", "path": "/data/a~1b", "value": "1"}, {"op": "add", "path": "/data/x", "value": "2"},
        {"op": "copy", "from": "/data/x", "path": "/data/y"}, {"op": "move", "from": "/data/y", "path": "/data/z"},
        {"op": "remove", "path": "/data/z"}, {"op": "replace", "path": "/metadata/labels/app", "value": "b"},
    ]);
    let containers = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "main"}, {"name": "more"}],
        "containers": [{"name": "more", "image": "i"}, {"$patch": "delete", "name": "main"}],
        "$retainKeys": ["containers"], "tolerations": null,
    }}}});
    let strict = "fieldValidation=Strict&fieldManager=me&dryRun=All";
    let selectors = "labelSelector=app in (web,x),!gone,n>3&fieldSelector=metadata.name!=a,spec.nodeName=&limit=2";
    let watch = "watch=true&timeoutSeconds=1&resourceVersion=1&allowWatchBookmarks=true&sendInitialEvents=false";
    let options = json!({"propagationPolicy": "Foreground", "preconditions": {"uid": "x"}, "gracePeriodSeconds": 3});
    let post = Method::POST;
    let change = Method::PATCH;
    vec![
        seed(post.clone(), PODS, strict, JSON, pod.to_string()),
        seed(post.clone(), PODS, "", YAML, yaml(&pod)),
        seed(post.clone(), PODS, "fieldValidation=Warn", PROTOBUF, bytes(&pod)),
        seed(post.clone(), DEPLOYMENTS, "", JSON, deployment.to_string()),
        seed(post.clone(), DEPLOYMENTS, strict, YAML, yaml(&deployment)),
        seed(post.clone(), DEPLOYMENTS, "dryRun=All", PROTOBUF, bytes(&deployment)),
        seed(
            post.clone(),
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            "dryRun=All",
            JSON,
            definition.to_string(),
        ),
        seed(
            post.clone(),
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            "",
            YAML,
            yaml(&definition),
        ),
        seed(
            post.clone(),
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
            "dryRun=All",
            JSON,
            policy.to_string(),
        ),
        seed(post.clone(), THINGS, strict, JSON, thing.to_string()),
        seed(post, THINGS, "", YAML, yaml(&thing)),
        seed(
            change.clone(),
            &kept,
            "",
            MERGE,
            json!({"data": {"a/b": null, "c": "d"}}).to_string(),
        ),
        seed(change.clone(), &kept, "fieldManager=me", JSON_PATCH, patch.to_string()),
        seed(change.clone(), &web, strict, STRATEGIC, containers.to_string()),
        seed(
            change.clone(),
            &web,
            "fieldManager=me&force=true",
            APPLY,
            yaml(&deployment),
        ),
        seed(change, &format!("{THINGS}/t"), "fieldManager=me", APPLY, yaml(&thing)),
        seed(
            Method::PUT,
            &kept,
            "",
            JSON,
            json!({"metadata": {"name": "kept"}, "data": {"a/b": "1"}}).to_string(),
        ),
        seed(Method::GET, PODS, selectors, JSON, ""),
        seed(
            Method::GET,
            CONFIGMAPS,
            "limit=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ&resourceVersionMatch=Exact&resourceVersion=5",
            JSON,
            "",
        ),
        seed(Method::GET, CONFIGMAPS, watch, JSON, ""),
        seed(
            Method::DELETE,
            &format!("{PODS}/web"),
            "dryRun=All",
            JSON,
            options.to_string(),
        ),
        seed(
            Method::DELETE,
            CONFIGMAPS,
            "labelSelector=app=none",
            YAML,
            yaml(&options),
        ),
    ]
}

/// What parsers stumble over.
const TOKENS: [&[u8]; 26] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\0",
    b",",
    b"!",
    b"(",
    b"null",
    b"~1",
    b"~",
    b"/-",
    b"-1",
    b"\xff\xfe",
    b"\\ud800",
    b"&a [*a]",
    b"9999999999999999999999",
    b"1e999",
    b" in (",
    b"=",
    b"$patch",
    b"\n",
    b"\t",
    b"\xe2\x80\xae",
    b"---\n",
];

fn break_up(bytes: &mut Vec<u8>, others: &[Seed], random: &mut StdRng) {
    let at = random.random_range(0..=bytes.len());
    let end = (at + random.random_range(0..16)).min(bytes.len());
    match random.random_range(0..7) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let again = bytes[at..end].to_vec();
            for _ in 0..random.random_range(1..40) {
                bytes.splice(at..at, again.iter().copied());
            }
        }
        3 => bytes.truncate(at),
        4 => {
            let other = &others[random.random_range(0..others.len())].body;
            let from = random.random_range(0..=other.len());
            let to = (from + random.random_range(0..60)).min(other.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        _ => drop(bytes.splice(at..end, TOKENS[random.random_range(0..TOKENS.len())].iter().copied())),
    }
}

/// Bytes that a URI does not take are escaped; the rest is left as it is, whatever it may mean.
fn escape(query: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(byte);
    let text = |byte: &u8| {
        if plain(byte) {
            char::from(*byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    query.iter().map(text).collect()
}

/// What is wrong with an answer to whatever request.
fn fault(answer: &Answer) -> Option<&'static str> {
    // A version that is yet to come takes too long: 504.
    if answer.code >= 500 && answer.code != 504 {
        return Some("the server fails");
    }
    // As Kubernetes answers where nothing is served at all.
    if answer.code < 400 || answer.text == "404 page not found\n" {
        return None;
    }
    let status: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    (status["kind"] != "Status").then_some("a refusal is no Status")
}

#[tokio::test(start_paused = true)]
async fn no_broken_request_breaks_the_server() {
    let cluster = Cluster::start().await;
    let seeds = seeds();
    let labels = json!({"name": "kept", "labels": {"app": "a"}});
    cluster
        .post(CONFIGMAPS, json!({"metadata": labels, "data": {"a/b": "1"}}))
        .await;
    let definition = seeds
        .iter()
        .find(|seed| seed.path.ends_with("customresourcedefinitions") && seed.query.is_empty());
    let definition = definition.expect("a seed").body.clone();
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    cluster
        .send(Method::POST, definitions, &[("content-type", YAML)], definition)
        .await
        .ok();
    while cluster.get(THINGS).await.code != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let (mut refused, mut faults) = (0, Vec::new());
    for round in 0..ROUNDS {
        let mut random = StdRng::seed_from_u64(round);
        let mut broken = seeds[random.random_range(0..seeds.len())].clone();
        for _ in 0..random.random_range(0..4) {
            if random.random_ratio(1, 3) {
                break_up(&mut broken.query, &seeds, &mut random);
            } else {
                break_up(&mut broken.body, &seeds, &mut random);
            }
        }
        let path = format!("{}?{}", broken.path, escape(&broken.query));
        let headers = [("content-type", broken.media), ("accept", JSON)];
        let answer = cluster
            .send(broken.method.clone(), &path, &headers, broken.body.clone())
            .await;
        refused += usize::from(answer.code >= 400);
        if let Some(fault) = fault(&answer) {
            let body = String::from_utf8_lossy(&broken.body);
            faults.push(format!(
                "round {round}: {fault}: {} {path}\n{body}\n{answer:?}",
                broken.method
            ));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    let share = refused * 10 / ROUNDS as usize;
    assert!(
        (1..9).contains(&share),
        "{refused} are refused: some are still good, and many are not"
    );
    cluster.check().await;
    for path in [PODS, CONFIGMAPS, DEPLOYMENTS, THINGS] {
        cluster.get(path).await.ok();
    }
}
