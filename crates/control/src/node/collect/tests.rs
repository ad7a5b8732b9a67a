//! The life of a node and its pods, told controller by controller.

use serde_json::Value;

use super::super::evict::TaintEviction;
use super::super::health::NodeHealth;
use super::*;

const EPOCH: Timestamp = Timestamp::constant(1_700_000_000, 0);
const GRACE: Duration = Duration::from_secs(50);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(EPOCH.as_second() + seconds).unwrap()
}

fn node(ready: &str) -> Node {
    serde_json::from_value(json!({
        "metadata": { "name": "n", "uid": "n" },
        "spec": { "taints": [{ "key": "mine", "effect": "NoSchedule" }] },
        "status": { "conditions": [{ "type": "Ready", "status": ready }] },
    }))
    .unwrap()
}

fn pod(name: &str, tolerations: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "namespace": "default", "name": name, "uid": name },
        "spec": { "nodeName": "n", "containers": [], "tolerations": tolerations },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
    }))
    .unwrap()
}

fn renew(caches: &Caches, second: i64) {
    let lease = json!({ "metadata": { "namespace": "kube-node-lease", "name": "n" },
        "spec": { "renewTime": format!("{}", at(second)) } });
    caches.node_leases.apply(serde_json::from_value(lease).unwrap());
}

fn node_key() -> Key {
    Key::new("", "n")
}

#[test]
fn a_silent_node_becomes_unknown_is_tainted_and_its_pods_leave_service() {
    let (caches, health) = (Caches::new(), NodeHealth::new(GRACE));
    caches.nodes.apply(node("True"));
    caches.pods.apply(pod("web", json!([])));
    renew(&caches, 0);
    let plan = health.sync(&node_key(), &caches, at(0));
    assert_eq!((plan.writes.len(), plan.again), (0, Some(GRACE)));
    renew(&caches, 10);
    assert_eq!(health.sync(&node_key(), &caches, at(10)).again, Some(GRACE));
    let plan = health.sync(&node_key(), &caches, at(59));
    assert_eq!((plan.writes.len(), plan.again), (0, Some(Duration::from_secs(1))));
    let plan = health.sync(&node_key(), &caches, at(60));
    let conditions = &plan.writes[0].body["status"]["conditions"];
    assert_eq!(conditions[0]["status"], "Unknown");
    assert_eq!(conditions[0]["message"], "Kubelet stopped posting node status.");
    assert_eq!(conditions[1]["reason"], "NodeStatusNeverUpdated");
    let taints: Vec<_> = plan.writes[1].body["spec"]["taints"].as_array().unwrap().clone();
    let brief: Vec<_> = taints
        .iter()
        .map(|t| format!("{}:{}", t["key"], t["effect"]).replace('"', ""))
        .collect();
    let unreachable = "node.kubernetes.io/unreachable";
    assert_eq!(
        brief,
        [
            "mine:NoSchedule".to_string(),
            format!("{unreachable}:NoSchedule"),
            format!("{unreachable}:NoExecute")
        ]
    );
    assert_eq!(plan.batch[0].body["status"]["conditions"][0]["status"], "False");
    assert_eq!(plan.notes[0].message, "Node n status is now: NodeNotReady");
}

#[test]
fn taints_follow_conditions_and_cordons_both_ways() {
    let (caches, health) = (Caches::new(), NodeHealth::new(GRACE));
    let mut sick = node("False");
    sick.spec.as_mut().unwrap().unschedulable = Some(true);
    caches.nodes.apply(sick.clone());
    let taints = health.sync(&node_key(), &caches, at(0)).writes[0].body["spec"]["taints"].clone();
    let keys: Vec<_> = taints
        .as_array()
        .unwrap()
        .iter()
        .map(|taint| taint["key"].as_str().unwrap())
        .collect();
    let not_ready = "node.kubernetes.io/not-ready";
    assert_eq!(keys, ["mine", "node.kubernetes.io/unschedulable", not_ready, not_ready]);
    let mut well = node("True");
    well.spec.as_mut().unwrap().taints = serde_json::from_value(taints).unwrap();
    caches.nodes.apply(well);
    let taints = health.sync(&node_key(), &caches, at(0)).writes[0].body["spec"]["taints"].clone();
    assert_eq!(
        taints.as_array().map(Vec::len),
        Some(1),
        "only the one that somebody else set is left"
    );
}

#[test]
fn tolerations_buy_time() {
    let caches = Caches::new();
    let mut tainted = node("Unknown");
    let taint = json!([{ "key": "gone", "effect": "NoExecute", "timeAdded": at(0).to_string() }]);
    tainted.spec.as_mut().unwrap().taints = serde_json::from_value(taint).unwrap();
    caches.nodes.apply(tainted);
    let toleration = |seconds: Value| json!([{ "key": "gone", "operator": "Exists", "tolerationSeconds": seconds }]);
    let cases = [
        (json!([]), 0, None),
        (toleration(json!(300)), 0, Some(300)),
        (toleration(json!(300)), 299, Some(1)),
        (toleration(json!(300)), 300, None),
        (toleration(json!(null)), 9000, Some(0)),
    ];
    for (tolerations, second, waits) in cases {
        caches.pods.apply(pod("web", tolerations.clone()));
        let plan = TaintEviction.sync(&Key::new("default", "web"), &caches, at(second));
        assert_eq!(plan.writes.is_empty(), waits.is_some(), "{tolerations} at {second}");
        assert_eq!(
            plan.again.map_or(0, |again| again.as_secs()),
            waits.unwrap_or(0),
            "{tolerations} at {second}"
        );
    }
}

#[test]
fn pods_of_a_vanished_node_are_buried_after_the_quarantine() {
    let (caches, collector) = (Caches::new(), PodCollector::new(100));
    let key = Key::new("default", "web");
    caches.pods.apply(pod("web", json!([])));
    assert_eq!(collector.sync(&key, &caches, at(0)).again, Some(QUARANTINE));
    let plan = collector.sync(&key, &caches, at(40));
    assert_eq!(plan.writes[0].body["status"]["phase"], "Failed");
    assert_eq!(plan.writes[1].body["gracePeriodSeconds"], 0);
    caches.nodes.apply(node("True"));
    assert!(collector.sync(&key, &caches, at(80)).writes.is_empty(), "it came back");
}

#[test]
fn the_oldest_finished_pods_go_when_there_are_too_many() {
    let (caches, collector) = (Caches::new(), PodCollector::new(2));
    for (name, age) in [("new", 30), ("old", 10), ("older", 5), ("running", 1)] {
        let mut done = pod(name, json!([]));
        done.metadata.creation_timestamp = serde_json::from_value(json!(at(age).to_string())).unwrap();
        let phase = if name == "running" { "Running" } else { "Succeeded" };
        done.status.as_mut().unwrap().phase = Some(phase.into());
        caches.pods.apply(done);
    }
    let plan = collector.sync(&Key::default(), &caches, at(60));
    let paths: Vec<_> = plan.batch.iter().map(|write| write.path.as_str()).collect();
    assert_eq!(paths, ["/api/v1/namespaces/default/pods/older"]);
}
