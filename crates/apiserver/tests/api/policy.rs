//! ValidatingAdmissionPolicy, MutatingAdmissionPolicy and match conditions: CEL about requests.

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

#[tokio::test(start_paused = true)]
async fn what_is_no_expression_is_refused_when_it_is_written() {
    let cluster = Cluster::start().await;
    let policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"],
        }]},
        "variables": [{"name": "n", "expression": "size(object.data)"}],
        "validations": [{"expression": "variables.n + 1"}],
    }});
    let policies = format!("{REGISTRATION}/validatingadmissionpolicies");
    let (code, _, message) = cluster.post(&policies, policy).await.failure();
    let told = "ValidatingAdmissionPolicy.admissionregistration.k8s.io \"p\" is invalid: spec.validations[0].expression: Invalid value: \"variables.n + 1\": must evaluate to bool but got int";
    assert_eq!((code, message.as_str()), (422, told));
}

#[tokio::test(start_paused = true)]
async fn the_first_denial_is_told_and_all_policies_are_asked() {
    let cluster = Cluster::start().await;
    bind(
        &cluster,
        json!({"validations": [{"expression": "!has(object.data)", "message": "first"}, {"expression": "false", "message": "second"}]}),
        json!({"validationActions": ["Deny"]}),
    )
    .await;
    let warning = json!({"metadata": {"name": "b2"}, "spec": {"policyName": "p", "validationActions": ["Warn"]}});
    let bindings = format!("{REGISTRATION}/validatingadmissionpolicybindings");
    cluster.post(&bindings, warning).await.ok();
    let refused = cluster.post(CONFIGMAPS, with("a", json!({"x": "1"}))).await;
    assert!(refused.failure().2.ends_with("denied request: first"), "{refused:?}");
    assert_eq!(refused.headers.get_all("warning").iter().count(), 2, "{refused:?}");
}

/// Stores a policy that changes pods and config maps, and a binding to it.
async fn change(cluster: &Cluster, name: &str, spec: Value, binding: Value) {
    let mut policy = json!({"metadata": {"name": name}, "spec": {
        "matchConstraints": {"resourceRules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods", "configmaps"],
        }]},
        "reinvocationPolicy": "Never",
    }});
    merge(&mut policy["spec"], spec);
    let policies = format!("{REGISTRATION}/mutatingadmissionpolicies");
    cluster.post(&policies, policy).await.ok();
    let mut bound = json!({"metadata": {"name": name}, "spec": {"policyName": name}});
    merge(&mut bound["spec"], binding);
    let bindings = format!("{REGISTRATION}/mutatingadmissionpolicybindings");
    cluster.post(&bindings, bound).await.ok();
}

fn applying(expression: &str) -> Value {
    json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}])
}

fn patching(expression: &str) -> Value {
    json!([{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}])
}

#[tokio::test(start_paused = true)]
async fn an_apply_configuration_is_merged_as_an_apply_would_be() {
    let cluster = Cluster::start().await;
    let sidecar = "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'mesh', image: params.data.image}]}, \
                   metadata: Object.metadata{labels: {'mesh': variables.on}}}";
    change(
        &cluster,
        "mesh",
        json!({
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConditions": [{"name": "pods", "expression": "request.kind.kind == 'Pod' && !object.spec.containers.exists(c, c.name == 'mesh')"}],
            "variables": [{"name": "on", "expression": "'true'"}],
            "mutations": applying(sidecar),
        }),
        json!({"paramRef": {"name": "mesh", "namespace": "default", "parameterNotFoundAction": "Deny"}}),
    )
    .await;
    let (code, reason, message) = cluster.post(PODS, pod("a", json!({}))).await.failure();
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    let told = "policy 'mesh' with binding 'mesh' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert_eq!(message, told);
    // A config map is none of its pods, but the params have to be there all the same: the admin takes the binding away.
    let binding = format!("{REGISTRATION}/mutatingadmissionpolicybindings/mesh");
    let bound = cluster.get(&binding).await.ok();
    cluster.delete(&binding, Value::Null).await.ok();
    cluster
        .post(CONFIGMAPS, with("mesh", json!({"image": "envoy"})))
        .await
        .ok();
    let bindings = format!("{REGISTRATION}/mutatingadmissionpolicybindings");
    let again = json!({"metadata": {"name": "mesh"}, "spec": bound["spec"]});
    cluster.post(&bindings, again).await.ok();
    let made = cluster.post(PODS, pod("a", json!({"app": "web"}))).await.ok();
    let containers = made["spec"]["containers"].as_array().expect("containers");
    let names: Vec<&Value> = containers.iter().map(|container| &container["name"]).collect();
    assert_eq!(names.len(), 2, "{made}");
    assert_eq!(containers[1]["image"], "envoy");
    assert_eq!(
        containers[1]["imagePullPolicy"], "Always",
        "what is put in is defaulted"
    );
    assert_eq!(made["metadata"]["labels"], json!({"app": "web", "mesh": "true"}));
    assert!(
        !made["metadata"]["managedFields"].to_string().contains("mesh"),
        "nobody owns it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_json_patch_changes_what_its_test_finds() {
    let cluster = Cluster::start().await;
    let expression = "[JSONPatch{op: 'test', path: '/data/size', value: 'small'}, \
                      JSONPatch{op: 'replace', path: '/data/size', value: 'large'}, \
                      JSONPatch{op: 'add', path: '/metadata/annotations', value: {'by': 'policy'}}, \
                      JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('example.com/x'), value: 'y'}]";
    change(&cluster, "grow", json!({"mutations": patching(expression)}), json!({})).await;
    let grown = cluster.post(CONFIGMAPS, with("a", json!({"size": "small"}))).await.ok();
    assert_eq!(grown["data"], json!({"size": "large"}));
    assert_eq!(
        grown["metadata"]["annotations"],
        json!({"by": "policy", "example.com/x": "y"})
    );
    let kept = cluster.post(CONFIGMAPS, with("b", json!({"size": "large"}))).await.ok();
    assert_eq!(kept["data"], json!({"size": "large"}));
}

#[tokio::test(start_paused = true)]
async fn a_mutation_that_fails_closes_the_door_unless_it_is_to_be_ignored() {
    let cluster = Cluster::start().await;
    for (name, expression, why) in [
        (
            "atomic",
            "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'c', args: ['x']}]}}",
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.containers[0].args",
        ),
        (
            "names",
            "Object{spec: Object.wrong{}}",
            "expression 'Object{spec: Object.wrong{}}' resulted in error: unexpected type name \"Object.wrong\", expected \"Object.spec\", which matches field name path from root Object type",
        ),
        (
            "field",
            "Object{spec: Object.spec{colour: 'red'}}",
            "error applying patch: failed to convert patch object to typed object: .spec.colour: field not declared in schema",
        ),
    ] {
        change(&cluster, name, json!({"mutations": applying(expression)}), json!({})).await;
        let (code, reason, message) = cluster.post(PODS, pod("a", json!({}))).await.failure();
        assert_eq!((code, reason.as_str()), (403, "Invalid"), "{message}");
        assert_eq!(
            message,
            format!("policy '{name}' with binding '{name}' denied request: {why}")
        );
        let path = format!("{REGISTRATION}/mutatingadmissionpolicies/{name}");
        cluster
            .patch(&path, "merge", json!({"spec": {"failurePolicy": "Ignore"}}))
            .await
            .ok();
    }
    cluster.post(PODS, pod("a", json!({}))).await.ok();
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_asks_for_it_sees_what_later_ones_have_changed() {
    let cluster = Cluster::start().await;
    let count = "Object{metadata: Object.metadata{annotations: {'seen': string(size(object.data))}}}";
    for (name, again) in [("a-count", "IfNeeded"), ("a-once", "Never")] {
        let expression = count.replace("seen", name);
        let spec = json!({"mutations": applying(&expression), "reinvocationPolicy": again});
        change(&cluster, name, spec, json!({})).await;
    }
    let more = patching("'y' in object.data ? [] : [JSONPatch{op: 'add', path: '/data/y', value: '2'}]");
    change(&cluster, "b-more", json!({"mutations": more}), json!({})).await;
    let made = cluster.post(CONFIGMAPS, with("a", json!({"x": "1"}))).await.ok();
    assert_eq!(made["metadata"]["annotations"], json!({"a-count": "2", "a-once": "1"}));
    // What a policy may not do is refused when it is written.
    let deleting = json!({"metadata": {"name": "d"}, "spec": {
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["pods"]}]},
        "reinvocationPolicy": "Never", "mutations": applying("object.metadata"),
    }});
    let policies = format!("{REGISTRATION}/mutatingadmissionpolicies");
    let (_, _, message) = cluster.post(&policies, deleting).await.failure();
    assert!(
        message.contains("spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\""),
        "{message}"
    );
    assert!(
        message.contains("spec.mutations[0].applyConfiguration.expression: Invalid value: \"object.metadata\": must evaluate to Object but got dyn"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_no_request_has_shown_yet_stands_in_the_status() {
    let cluster = Cluster::start().await;
    let spec = json!({
        "matchConstraints": {"resourceRules": [
            {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments", "statefulsets", "deployments/scale"]},
            {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]},
        ]},
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "new", "expression": "oldObject == null || object.spec != oldObject.spec"}],
        "variables": [{"name": "most", "expression": "params.data['most']"}],
        "validations": [
            {"expression": "object.spec.replicas <= int(variables.most)", "messageExpression": "'at most ' + string(object.spec.replicas)"},
            {"expression": "object.replicas > 1"},
            {"expression": "object.spec.strategy.type == 1"},
            {"expression": "object.spec.template.spec.containers.all(c, c.resources.limits['cpu'] != '' && c.image.startsWith('a'))"},
        ],
    });
    let path = format!("{REGISTRATION}/validatingadmissionpolicies");
    let policy = json!({"metadata": {"name": "p"}, "spec": spec});
    cluster.post(&path, policy).await.ok();
    let status = loop {
        let policy = cluster.get(&format!("{path}/p")).await.ok();
        if policy["status"]["observedGeneration"] == policy["metadata"]["generation"] {
            break policy["status"].clone();
        }
        tokio::task::yield_now().await;
    };
    let undefined = "ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^";
    let warnings = status["typeChecking"]["expressionWarnings"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let fields: Vec<&str> = warnings
        .iter()
        .filter_map(|warning| warning["fieldRef"].as_str())
        .collect();
    assert_eq!(
        fields,
        ["spec.validations[1].expression", "spec.validations[2].expression"]
    );
    assert_eq!(
        warnings[0]["warning"],
        format!("apps/v1, Kind=Deployment: {undefined}\n\napps/v1, Kind=StatefulSet: {undefined}\n")
    );
    let other = warnings[1]["warning"].as_str().unwrap_or_default();
    assert!(
        other.contains("found no matching overload for '_==_' applied to '(string, int)'"),
        "{other}"
    );
    assert!(
        other.contains("Kind=StatefulSet") && other.contains("undefined field 'strategy'"),
        "{other}"
    );
}
