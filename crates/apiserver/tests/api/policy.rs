//! ValidatingAdmissionPolicy and match conditions: CEL about requests.

use serde_json::{Value, json};

use super::cluster::{CONFIGMAPS, Cluster, PODS, configmap, pod};

const REGISTRATION: &str = "/apis/admissionregistration.k8s.io/v1";

/// Stores a policy about config maps, and a binding to it.
async fn bind(cluster: &Cluster, spec: Value, binding: Value) {
    let mut policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"],
        }]},
    }});
    merge(&mut policy["spec"], spec);
    let policies = format!("{REGISTRATION}/validatingadmissionpolicies");
    cluster.post(&policies, policy).await.ok();
    let mut bound = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    merge(&mut bound["spec"], binding);
    let bindings = format!("{REGISTRATION}/validatingadmissionpolicybindings");
    cluster.post(&bindings, bound).await.ok();
}

fn merge(into: &mut Value, more: Value) {
    if let Value::Object(more) = more {
        for (key, value) in more {
            into[key] = value;
        }
    }
}

fn with(name: &str, data: Value) -> Value {
    let mut object = configmap(name, json!({}));
    object["data"] = data;
    object
}

#[tokio::test(start_paused = true)]
async fn a_policy_refuses_in_the_words_it_was_given() {
    let cluster = Cluster::start().await;
    let validations = json!([
        {"expression": "variables.count <= 2", "messageExpression": "'too many: ' + string(variables.count)"},
        {"expression": "!('forbidden' in object.data)", "message": "not that key", "reason": "Forbidden"},
        {"expression": "oldObject == null || object.data == oldObject.data"},
    ]);
    let variables = json!([{"name": "count", "expression": "has(object.data) ? size(object.data) : 0"}]);
    bind(
        &cluster,
        json!({"variables": variables, "validations": validations}),
        json!({}),
    )
    .await;
    cluster.post(CONFIGMAPS, with("a", json!({"x": "1"}))).await.ok();

    let denied = "is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request:";
    let refused = cluster
        .post(CONFIGMAPS, with("c", json!({"x": "1", "y": "2", "z": "3"})))
        .await
        .failure();
    assert_eq!(
        refused,
        (422, "Invalid".into(), format!("configmaps \"c\" {denied} too many: 3"))
    );
    let refused = cluster
        .post(CONFIGMAPS, with("c", json!({"forbidden": "1"})))
        .await
        .failure();
    assert_eq!(
        refused,
        (
            403,
            "Forbidden".into(),
            format!("configmaps \"c\" {denied} not that key")
        )
    );
    let patch = json!({"data": {"x": "2"}});
    let refused = cluster
        .patch(&format!("{CONFIGMAPS}/a"), "merge", patch)
        .await
        .failure();
    let told = "failed expression: oldObject == null || object.data == oldObject.data";
    assert_eq!(
        refused,
        (422, "Invalid".into(), format!("configmaps \"a\" {denied} {told}"))
    );
    cluster.post(PODS, pod("a", json!({}))).await.ok();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_evaluated_closes_the_door_unless_it_is_to_be_ignored() {
    let cluster = Cluster::start().await;
    let validations = json!([{"expression": "object.data.missing == 'x'"}]);
    bind(&cluster, json!({"validations": validations}), json!({})).await;
    let (code, _, message) = cluster.post(CONFIGMAPS, with("a", json!({"x": "1"}))).await.failure();
    assert_eq!(code, 422);
    let told = "expression 'object.data.missing == 'x'' resulted in error: no such key: missing";
    assert!(message.ends_with(told), "{message}");
    let ignore = json!({"spec": {"failurePolicy": "Ignore"}});
    let path = format!("{REGISTRATION}/validatingadmissionpolicies/p");
    cluster.patch(&path, "merge", ignore).await.ok();
    cluster.post(CONFIGMAPS, with("a", json!({"x": "1"}))).await.ok();
}

#[tokio::test(start_paused = true)]
async fn a_binding_brings_parameters_and_may_only_warn() {
    let cluster = Cluster::start().await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "others", "expression": "object.metadata.name != 'limits'"}],
        "validations": [{"expression": "size(object.data) <= int(params.data.most)", "message": "more than is allowed"}],
    });
    let reference = json!({"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"});
    bind(&cluster, spec, json!({"paramRef": reference})).await;
    let (_, _, message) = cluster.post(CONFIGMAPS, with("a", json!({"x": "1"}))).await.failure();
    assert!(
        message.ends_with("no params found for policy binding with `Deny` parameterNotFoundAction"),
        "{message}"
    );
    let path = format!("{REGISTRATION}/validatingadmissionpolicybindings/b");
    cluster.delete(&path, Value::Null).await.ok();
    cluster
        .post(CONFIGMAPS, with("limits", json!({"most": "1"})))
        .await
        .ok();
    let actions = json!({"metadata": {"name": "b"}, "spec": {
        "policyName": "p", "validationActions": ["Warn"],
        "paramRef": {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"},
    }});
    let bindings = format!("{REGISTRATION}/validatingadmissionpolicybindings");
    cluster.post(&bindings, actions).await.ok();
    let made = cluster.post(CONFIGMAPS, with("a", json!({"x": "1", "y": "2"}))).await;
    made.ok();
    let warning = made.headers.get("warning").and_then(|value| value.to_str().ok());
    let told = "299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': more than is allowed\"";
    assert_eq!(warning, Some(told));
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_asked_only_where_its_match_conditions_hold() {
    let cluster = Cluster::start().await;
    // Nobody answers there: what is asked about is refused.
    let hook = json!({
        "name": "check.example.com",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "matchConditions": [{"name": "large", "expression": "request.operation == 'CREATE' && size(object.data) > 1"}],
    });
    let configuration = json!({"metadata": {"name": "v"}, "webhooks": [hook]});
    let path = format!("{REGISTRATION}/validatingwebhookconfigurations");
    cluster.post(&path, configuration).await.ok();
    cluster.post(CONFIGMAPS, with("a", json!({"x": "1"}))).await.ok();
    let (code, _, message) = cluster
        .post(CONFIGMAPS, with("b", json!({"x": "1", "y": "2"})))
        .await
        .failure();
    assert_eq!(code, 500);
    assert!(message.contains("failed calling webhook"), "{message}");
    // One that cannot be evaluated refuses as the webhook would.
    let (code, _, message) = cluster.post(CONFIGMAPS, configmap("c", json!({}))).await.failure();
    assert_eq!(code, 403, "{message}");
}
