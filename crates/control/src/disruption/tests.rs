use k8s_openapi::api::apps::v1::ReplicaSetSpec;
use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

fn set(replicas: i32) -> ReplicaSet {
    let mut set = ReplicaSet {
        spec: ReplicaSetSpec {
            replicas: Some(replicas),
            ..ReplicaSetSpec::default()
        },
        ..ReplicaSet::default()
    };
    set.metadata.name = Some("web".into());
    set.metadata.namespace = Some("default".into());
    set.metadata.uid = Some("set-uid".into());
    set
}

fn pod(name: &str, ready: bool, owner: Option<&ReplicaSet>) -> Pod {
    let mut pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    }))
    .unwrap();
    pod.metadata.owner_references = owner.map(|owner| vec![owner::reference(owner)]);
    pod
}

/// The status that a budget gets, and the reasons of what is told.
fn run(spec: Value, status: Value, pods: Vec<Pod>) -> (Value, Vec<&'static str>, Option<Duration>) {
    let mut budget = json!({
        "metadata": {"name": "b", "namespace": "default", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "web"}}}, "status": status,
    });
    for (key, value) in spec.as_object().unwrap() {
        budget["spec"][key] = value.clone();
    }
    let caches = Caches::new();
    caches.budgets.apply(serde_json::from_value(budget).unwrap());
    caches.replica_sets.apply(set(4));
    pods.into_iter().for_each(|pod| caches.pods.apply(pod));
    let plan = Disruptions.sync(&Key::new("default", "b"), &caches, NOW);
    let notes = plan.notes.iter().map(|note| note.reason).collect();
    (plan.writes[0].body["status"].clone(), notes, plan.again)
}

#[test]
fn what_may_go_is_what_is_healthy_beyond_what_must_be() {
    let owner = set(4);
    let pods = |ready: usize| {
        (0..4)
            .map(|i| pod(&format!("p{i}"), i < ready, Some(&owner)))
            .collect::<Vec<_>>()
    };
    for (spec, ready, expected) in [
        (json!({"minAvailable": 2}), 4, (4, 2, 2)),
        (json!({"minAvailable": "60%"}), 4, (4, 3, 1)),
        (json!({"maxUnavailable": 1}), 4, (4, 3, 1)),
        (json!({"maxUnavailable": "30%"}), 4, (4, 2, 2)),
        (json!({"maxUnavailable": 1}), 3, (4, 3, 0)),
        (json!({"maxUnavailable": 0}), 4, (4, 4, 0)),
    ] {
        let (status, notes, _) = run(spec.clone(), Value::Null, pods(ready));
        let number = |key: &str| status[key].as_i64().unwrap();
        let found = (
            number("expectedPods"),
            number("desiredHealthy"),
            number("disruptionsAllowed"),
        );
        assert_eq!(found, expected, "{spec}");
        let reason = if expected.2 > 0 {
            "SufficientPods"
        } else {
            "InsufficientPods"
        };
        assert_eq!(status["conditions"][0]["reason"], reason);
        assert!(notes.is_empty());
    }
}

#[test]
fn a_pod_that_was_let_go_counts_as_gone_until_patience_ends() {
    let owner = set(4);
    let pods: Vec<_> = (0..4).map(|i| pod(&format!("p{i}"), true, Some(&owner))).collect();
    let since = |seconds: i64| (NOW - SignedDuration::from_secs(seconds)).to_string();
    let noted = json!({"disruptedPods": {"p0": since(20), "p1": since(121), "gone": since(5)}});
    let (status, notes, again) = run(json!({"maxUnavailable": 1}), noted, pods);
    assert_eq!(status["disruptedPods"], json!({"p0": since(20)}));
    assert_eq!(
        (&status["currentHealthy"], &status["disruptionsAllowed"]),
        (&json!(3), &json!(0))
    );
    assert_eq!(notes, ["NotDeleted"]);
    assert_eq!(again, Some(Duration::from_secs(100)));
}

#[test]
fn a_share_of_pods_that_nobody_counts_allows_nothing() {
    let (status, notes, _) = run(json!({"maxUnavailable": 1}), Value::Null, vec![pod("bare", true, None)]);
    assert_eq!(status["disruptionsAllowed"], 0);
    assert_eq!(notes, ["UnmanagedPods"]);
    let mut daemon = pod("daemon", true, Some(&set(1)));
    let owner = &mut daemon.metadata.owner_references.as_mut().unwrap()[0];
    owner.kind = "DaemonSet".into();
    let (status, notes, _) = run(json!({"maxUnavailable": 1}), Value::Null, vec![daemon]);
    assert_eq!(notes, ["CalculateExpectedPodCountFailed"]);
    assert_eq!(status["conditions"][0]["reason"], "SyncFailed");
    assert_eq!(
        status["conditions"][0]["message"],
        "daemonsets.apps does not implement the scale subresource"
    );
    assert_eq!(run(json!({"minAvailable": 1}), Value::Null, vec![]).1, ["NoPods"]);
}
