use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use super::*;

/// Noon: the objects of the tests were made at ten.
const NOW: &str = "2026-01-02T12:00:00Z";

/// Kinds that the tests' clusters are known to have no more of than they are given.
const READ: &[(&str, &str)] = &[
    ("", "Pod"),
    ("", "Node"),
    ("", "Service"),
    ("", "ConfigMap"),
    ("", "Secret"),
    ("", "ServiceAccount"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("apps", "Deployment"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("networking.k8s.io", "IngressClass"),
    ("storage.k8s.io", "StorageClass"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
];

/// Shorthand of the tests: what an object leaves out.
fn complete(mut object: Value) -> Value {
    let version = match object["kind"].as_str().unwrap_or_default() {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => "apps/v1",
        "Job" | "CronJob" => "batch/v1",
        "Ingress" | "IngressClass" => "networking.k8s.io/v1",
        "StorageClass" => "storage.k8s.io/v1",
        "EndpointSlice" => "discovery.k8s.io/v1",
        "Lease" => "coordination.k8s.io/v1",
        "HorizontalPodAutoscaler" => "autoscaling/v2",
        "PodDisruptionBudget" => "policy/v1",
        "APIService" => "apiregistration.k8s.io/v1",
        "CustomResourceDefinition" => "apiextensions.k8s.io/v1",
        "ValidatingWebhookConfiguration" => "admissionregistration.k8s.io/v1",
        "RoleBinding" | "Role" => "rbac.authorization.k8s.io/v1",
        "CertificateSigningRequest" => "certificates.k8s.io/v1",
        "Certificate" => "cert-manager.io/v1",
        _ => "v1",
    };
    if object["apiVersion"].is_null() {
        object["apiVersion"] = version.into();
    }
    let cluster = [
        "Node",
        "PersistentVolume",
        "StorageClass",
        "IngressClass",
        "Namespace",
        "APIService",
        "CustomResourceDefinition",
        "CertificateSigningRequest",
        "ValidatingWebhookConfiguration",
    ];
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    let metadata = &mut object["metadata"];
    if metadata["namespace"].is_null() && !cluster.contains(&kind.as_str()) {
        metadata["namespace"] = "shop".into();
    }
    if metadata["uid"].is_null() {
        metadata["uid"] = format!("{kind}/{name}").into();
    }
    if metadata["creationTimestamp"].is_null() {
        metadata["creationTimestamp"] = "2026-01-02T10:00:00Z".into();
    }
    // `owner: Kind/name`
    if let Some(owner) = metadata.get("owner").and_then(Value::as_str).map(str::to_owned) {
        let (kind, name) = owner.split_once('/').expect("an owner is a kind and a name");
        let version = match kind {
            "Job" | "CronJob" => "batch/v1",
            "Node" => "v1",
            _ => "apps/v1",
        };
        metadata["ownerReferences"] = serde_json::json!([
            {"apiVersion": version, "kind": kind, "name": name, "uid": owner, "controller": true}
        ]);
    }
    // `about: Kind/name` of an event
    if let Some(about) = object.get("about").and_then(Value::as_str).map(str::to_owned) {
        let field = object["field"].clone();
        object["involvedObject"] = serde_json::json!({"uid": about, "fieldPath": field});
        if object["lastTimestamp"].is_null() {
            object["lastTimestamp"] = "2026-01-02T11:59:30Z".into();
        }
    }
    object
}

fn world(yaml: &str) -> (World, Value) {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(yaml) {
        let value = Value::deserialize(document).unwrap_or_else(|error| panic!("{error} in\n{yaml}"));
        if !value.is_null() {
            objects.push(complete(value));
        }
    }
    let mut world = World::default();
    for (group, kind) in READ {
        world.list(group, kind, "", Vec::new());
    }
    for object in &objects {
        world.object(object.clone());
        // `said: {container: line}`: what its containers wrote last.
        for (container, line) in object.get("said").and_then(Value::as_object).into_iter().flatten() {
            let uid = object["metadata"]["uid"].as_str().expect("every object has one");
            world.tail(uid, container, vec![line.as_str().unwrap_or_default().to_owned()]);
        }
    }
    // The first object is the one in question.
    (world, objects.remove(0))
}

/// Findings as lines: severity, cause and sentence, causes indented.
fn told(yaml: &str) -> String {
    fn tell(out: &mut String, finding: &Finding, depth: usize) {
        let indent = "  ".repeat(depth);
        let _ = writeln!(
            out,
            "{indent}{} {}: {}",
            finding.severity.word(),
            finding.cause,
            finding.sentence
        );
        assert!(
            !finding.evidence.is_empty() || !finding.because.is_empty() || finding.severity == Severity::Note,
            "no evidence for {finding:?}"
        );
        for cause in &finding.because {
            tell(out, cause, depth + 1);
        }
    }
    let (world, object) = world(yaml);
    let mut out = String::new();
    for finding in diagnose(&world, &object, NOW.parse().expect("a time")) {
        tell(&mut out, &finding, 0);
    }
    out
}

/// Checks a book of cases: `### title`, objects in YAML, `>>>`, and what is told.
fn book(cases: &str) {
    let mut wrong = String::new();
    for case in cases.split("\n### ").filter(|case| !case.trim().is_empty()) {
        let (title, rest) = case.split_once('\n').expect("a case has a title");
        let (yaml, expected) = rest
            .split_once("\n>>>")
            .unwrap_or_else(|| panic!("{title}: a case says what is told"));
        let told = told(yaml);
        if told.trim() != expected.trim() {
            let _ = writeln!(
                wrong,
                "=== {title}\n--- told\n{}\n--- expected\n{}\n",
                told.trim(),
                expected.trim()
            );
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn pods_without_a_node_say_what_keeps_them_from_one() {
    book(include_str!("tests/scheduling.txt"));
}

#[test]
fn containers_say_why_they_do_not_run() {
    book(include_str!("tests/container.txt"));
}

#[test]
fn services_and_ingresses_say_where_a_connection_ends() {
    book(include_str!("tests/network.txt"));
}

#[test]
fn claims_and_volumes_say_what_they_wait_for() {
    book(include_str!("tests/volume.txt"));
}

#[test]
fn owners_say_what_their_pods_suffer_from() {
    book(include_str!("tests/workload.txt"));
}

#[test]
fn the_cluster_says_what_is_wrong_with_itself() {
    book(include_str!("tests/cluster.txt"));
}

#[test]
fn what_is_healthy_but_unusual_gives_no_alarm() {
    let cases = include_str!("tests/healthy.txt");
    for case in cases.split("\n### ").filter(|case| !case.trim().is_empty()) {
        let (title, yaml) = case.split_once('\n').expect("a case has a title");
        let (world, object) = world(yaml);
        let alarms: Vec<Finding> = diagnose(&world, &object, NOW.parse().expect("a time"))
            .into_iter()
            .filter(|finding| finding.severity > Severity::Note)
            .collect();
        assert!(alarms.is_empty(), "{title}: {alarms:#?}");
    }
}

#[test]
fn what_could_not_be_read_is_not_missing() {
    let pod = complete(serde_json::json!({
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {
            "nodeName": "a",
            "containers": [{"name": "app", "envFrom": [{"secretRef": {"name": "keys"}}]}],
        },
        "status": {
            "phase": "Running",
            "containerStatuses": [{"name": "app", "ready": true, "state": {"running": {}}}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }));
    let mut world = World::default();
    world.object(pod.clone());
    world.skip("secrets", "forbidden");
    let now = NOW.parse().expect("a time");
    let findings = diagnose(&world, &pod, now);
    assert!(findings.is_empty(), "{findings:#?}");
    let page = Diagnosis { world, findings, now }.document("pod web");
    assert!(
        page.lines
            .iter()
            .any(|line| line.plain() == "not checked: secrets (forbidden)")
    );
    let mut world = World::default();
    world.absent(Thing::new("", "Secret", "shop", "keys"));
    assert_eq!(diagnose(&world, &pod, now)[0].cause, "cfg.missing");
}

#[test]
fn objects_of_an_odd_shape_are_examined_all_the_same() {
    let odd = [
        Value::Null,
        serde_json::json!("ok"),
        serde_json::json!([1, 2]),
        serde_json::json!({"conditions": "ok", "phase": 3, "containerStatuses": {"a": 1}, "replicas": "x"}),
    ];
    let kinds = [
        "Pod",
        "Node",
        "Service",
        "PersistentVolumeClaim",
        "Namespace",
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "Job",
        "CronJob",
        "Ingress",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "APIService",
        "Certificate",
        "ValidatingWebhookConfiguration",
        "RoleBinding",
        "CertificateSigningRequest",
    ];
    for kind in kinds {
        for status in &odd {
            for spec in &odd {
                let object = complete(serde_json::json!({
                    "kind": kind, "metadata": {"name": "x", "labels": status}, "spec": spec, "status": status,
                }));
                let mut world = World::default();
                world.object(object.clone());
                diagnose(&world, &object, NOW.parse().expect("a time"));
            }
        }
    }
}

#[test]
fn a_remedy_names_the_object_whose_template_makes_the_pod() {
    let (world, pod) = world(
        r"
{kind: Pod, metadata: {name: web-5d-x, owner: ReplicaSet/web-5d}, spec: {nodeName: a, containers: [{name: app, image: 'shop:1.9'}]},
 status: {phase: Pending, startTime: '2026-01-02T11:58:00Z', containerStatuses: [{name: app, state: {waiting: {reason: ErrImagePull, message: 'shop:1.9: not found'}}}]}}
---
{kind: ReplicaSet, metadata: {name: web-5d, owner: Deployment/web}}
---
{kind: Deployment, metadata: {name: web}}
",
    );
    let findings = diagnose(&world, &pod, NOW.parse().expect("a time"));
    let commands: Vec<&str> = findings[0]
        .remedies
        .iter()
        .map(|remedy| remedy.kubectl.as_str())
        .collect();
    assert_eq!(
        commands,
        [
            "kubectl set image deployment/web app=IMAGE:TAG -n shop",
            "kubectl rollout undo deployment/web -n shop"
        ]
    );
}
