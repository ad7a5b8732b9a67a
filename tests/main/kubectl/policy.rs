//! What a namespace allows: quotas, limit ranges, pod security and policies in CEL.

use super::cluster::text;
use super::{Cluster, kubectl};

/// A pod that asks for something.
fn asking(name: &str, resources: &str) -> String {
    format!(r#"--overrides={{"spec":{{"containers":[{{"name":"{name}","image":"nginx","resources":{resources}}}]}}}}"#)
}

#[test]
fn a_quota_is_used_up_and_says_so() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("quota", kubectl);
    cluster.ok(&["create", "namespace", "shop"]);
    cluster.ok(&[
        "-n",
        "shop",
        "create",
        "quota",
        "small",
        "--hard=pods=1,requests.cpu=500m",
    ]);
    let run = |name: &'static str, more: &str| ["-n", "shop", "run", name, "--image=nginx", more].map(str::to_owned);
    let refused = |arguments: [String; 6]| cluster.fails(&arguments.each_ref().map(String::as_str), b"");
    cluster.eventually(&["-n", "shop", "describe", "quota", "small"], |said| {
        said.contains("requests.cpu  0     500m")
    });
    let said = refused(run("a", "--port=80"));
    assert!(
        said.contains("pods \"a\" is forbidden: failed quota: small: must specify requests.cpu for: a"),
        "{said}"
    );
    let asks = r#"{"requests":{"cpu":"400m"}}"#;
    cluster.ok(&run("a", &asking("a", asks)).each_ref().map(String::as_str));
    let said = refused(run("b", &asking("b", asks)));
    let why = "exceeded quota: small, requested: pods=1,requests.cpu=400m, used: pods=1,requests.cpu=400m, limited: pods=1,requests.cpu=500m";
    assert!(said.contains(why), "{said}");
    let listed = cluster.ok(&["-n", "shop", "get", "quota"]);
    assert!(listed.contains("pods: 1/1, requests.cpu: 400m/500m"), "{listed}");
    // A controller that runs into it says so where people look.
    cluster.ok(&["-n", "shop", "create", "deployment", "web", "--image=nginx"]);
    cluster.eventually(&["-n", "shop", "get", "events"], |said| {
        said.contains("FailedCreate") && said.contains("failed quota: small")
    });
    cluster.ok(&[
        "-n",
        "shop",
        "wait",
        "--for=condition=ReplicaFailure",
        "--timeout=60s",
        "deployment/web",
    ]);
}

#[test]
fn a_limit_range_fills_in_and_bounds() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("range", kubectl);
    let range = "apiVersion: v1\nkind: LimitRange\nmetadata: {name: memory}\nspec: {limits: [{type: Container, default: {memory: 64Mi}, defaultRequest: {memory: 32Mi}, max: {memory: 128Mi}}]}\n";
    cluster.ok_with(&["apply", "-f", "-"], range.as_bytes());
    let described = cluster.ok(&["describe", "limits", "memory"]);
    assert!(
        described.contains("Container   memory    -    128Mi  32Mi             64Mi"),
        "{described}"
    );
    cluster.ok(&["run", "a", "--image=nginx"]);
    let filled = cluster.value(
        &["pod", "a"],
        "{.spec.containers[0].resources.limits.memory} {.spec.containers[0].resources.requests.memory}",
    );
    assert_eq!(filled, "64Mi 32Mi");
    let said = cluster.fails(
        &[
            "run",
            "b",
            "--image=nginx",
            &asking("b", r#"{"limits":{"memory":"1Gi"}}"#),
        ],
        b"",
    );
    assert!(
        said.contains("maximum memory usage per Container is 128Mi, but limit is 1Gi"),
        "{said}"
    );
}

#[test]
fn pod_security_warns_and_refuses() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("security", kubectl);
    let host = r#"--overrides={"spec":{"hostNetwork":true}}"#;
    let said = cluster.fails(&["run", "host", "--image=nginx", host], b"");
    assert!(
        said.contains("violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"),
        "{said}"
    );
    cluster.ok(&[
        "label",
        "namespace",
        "default",
        "pod-security.kubernetes.io/warn=restricted",
    ]);
    let output = cluster.output(&["run", "web", "--image=nginx"], b"");
    let said = text(&output.stderr);
    assert!(output.status.success(), "it is a warning: {said}");
    for words in [
        "Warning: would violate PodSecurity \"restricted:latest\"",
        "allowPrivilegeEscalation != false (container \"web\"",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let output = cluster.output(
        &[
            "label",
            "namespace",
            "default",
            "pod-security.kubernetes.io/enforce=restricted",
        ],
        b"",
    );
    let said = text(&output.stderr);
    assert!(
        said.contains("existing pods in namespace \"default\" violate the new PodSecurity enforce level"),
        "{said}"
    );
}

#[test]
fn a_policy_denies_and_warns_where_it_is_bound() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("policy", kubectl);
    let policy = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: few}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]
  validations: [{expression: object.spec.replicas <= 2, messageExpression: "'at most 2 replicas, not ' + string(object.spec.replicas)"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: few}
spec: {policyName: few, validationActions: [Deny], matchResources: {namespaceSelector: {matchLabels: {replicas: few}}}}
"#;
    cluster.ok_with(&["apply", "-f", "-"], policy.as_bytes());
    let create =
        |name: &str, replicas: &str| cluster.output(&["create", "deployment", name, "--image=nginx", replicas], b"");
    assert!(
        create("before", "--replicas=5").status.success(),
        "it is bound elsewhere"
    );
    cluster.ok(&["label", "namespace", "default", "replicas=few"]);
    let denied = create("big", "--replicas=5");
    let said = text(&denied.stderr);
    let why = "deployments.apps \"big\" is forbidden: ValidatingAdmissionPolicy 'few' with binding 'few' denied request: at most 2 replicas, not 5";
    assert!(!denied.status.success() && said.contains(why), "{said}");
    assert!(create("small", "--replicas=2").status.success());
    let actions = r#"{"spec":{"validationActions":["Warn"]}}"#;
    cluster.ok(&[
        "patch",
        "validatingadmissionpolicybinding",
        "few",
        "--type=merge",
        "-p",
        actions,
    ]);
    let warned = create("big", "--replicas=5");
    let said = text(&warned.stderr);
    let why =
        "Warning: Validation failed for ValidatingAdmissionPolicy 'few' with binding 'few': at most 2 replicas, not 5";
    assert!(warned.status.success() && said.contains(why), "{said}");
}
