use serde_json::{Value, json};

use super::*;
use crate::store::Store;

/// A cluster of nodes and pods given as JSON. Pods are placed on `spec.nodeName`.
fn cluster(nodes: &[Value], pods: &[Value]) -> Cluster {
    let mut cluster = Cluster::default();
    for node in nodes {
        let node: Node = serde_json::from_value(node.clone()).unwrap();
        cluster.node_changed(None, Some(&Arc::new(node)));
    }
    for pod in pods {
        cluster.pod_changed(None, Some(&Arc::new(pod_of(pod))));
    }
    cluster
}

fn pod_of(value: &Value) -> Pod {
    serde_json::from_value(value.clone()).unwrap()
}

fn node(name: &str, more: Value) -> Value {
    let mut node = json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "spec": {},
        "status": { "allocatable": { "cpu": "2", "memory": "4Gi", "pods": "10" } },
    });
    merge(&mut node, more);
    node
}

fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({
        "metadata": { "name": name, "uid": name, "namespace": "default", "labels": { "app": name } },
        "spec": { "containers": [{ "name": "main" }] },
    });
    merge(&mut pod["spec"], spec);
    pod
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

fn asks(cpu: &str) -> Value {
    json!({ "containers": [{ "name": "main", "resources": { "requests": { "cpu": cpu } } }] })
}

/// The node that was chosen, or the message.
fn outcome(new: &Value, cluster: &Cluster) -> String {
    let namespaces = Store::new(|_| Vec::new());
    match decide::decide(&pod_of(new), cluster, &namespaces) {
        Decision::Bind(node) => node,
        Decision::Preempt { node, victims, .. } => {
            let mut names: Vec<_> = victims
                .iter()
                .filter_map(|victim| victim.metadata.name.clone())
                .collect();
            names.sort();
            format!("evict {} from {node}", names.join(" "))
        }
        Decision::Wait(message) => message,
    }
}

const NOT_HELPFUL: &str = " preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
const NO_VICTIMS: &str = " preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";

#[test]
fn every_rule_says_why_in_the_words_users_know() {
    let gpu = json!({ "metadata": { "labels": { "gpu": "true" } } });
    let tainted = json!({ "spec": { "taints": [{ "key": "team", "value": "red", "effect": "NoSchedule" }] } });
    let tolerant = |toleration: Value| json!({ "tolerations": [toleration] });
    let term = |key: &str, operator: &str, values: Value| {
        json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }] }}}})
    };
    let port = json!({ "containers": [{ "name": "main", "ports": [{ "containerPort": 80, "hostPort": 8080 }] }] });
    let affinity = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
    let untolerated = "0/1 nodes are available: 1 node(s) had untolerated taint(s).";
    let cases = [
        (json!({}), json!({}), "n".to_string()),
        (
            json!({}),
            json!({ "nodeSelector": { "gpu": "true" } }),
            format!("{affinity}{NOT_HELPFUL}"),
        ),
        (gpu.clone(), json!({ "nodeSelector": { "gpu": "true" } }), "n".into()),
        (
            gpu.clone(),
            term("gpu", "NotIn", json!(["true"])),
            format!("{affinity}{NOT_HELPFUL}"),
        ),
        (gpu.clone(), term("gpu", "Exists", json!([])), "n".into()),
        (
            json!({ "metadata": { "labels": { "cores": "8" } } }),
            term("cores", "Gt", json!(["4"])),
            "n".into(),
        ),
        (tainted.clone(), json!({}), format!("{untolerated}{NOT_HELPFUL}")),
        (
            tainted.clone(),
            tolerant(json!({ "key": "team", "value": "red" })),
            "n".into(),
        ),
        (
            tainted.clone(),
            tolerant(json!({ "key": "team", "value": "blue" })),
            format!("{untolerated}{NOT_HELPFUL}"),
        ),
        (tainted.clone(), tolerant(json!({ "operator": "Exists" })), "n".into()),
        (
            json!({ "spec": { "unschedulable": true } }),
            json!({}),
            format!("0/1 nodes are available: 1 node(s) were unschedulable.{NOT_HELPFUL}"),
        ),
        (
            json!({}),
            asks("1900m"),
            format!("0/1 nodes are available: 1 Insufficient cpu.{NO_VICTIMS}"),
        ),
        (
            json!({}),
            asks("3"),
            format!("0/1 nodes are available: 1 Insufficient cpu.{NOT_HELPFUL}"),
        ),
        (
            json!({ "status": { "allocatable": { "pods": "1" } } }),
            json!({}),
            format!("0/1 nodes are available: 1 Too many pods.{NO_VICTIMS}"),
        ),
        (
            json!({}),
            port,
            format!(
                "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.{NO_VICTIMS}"
            ),
        ),
    ];
    let mut there = pod("there", asks("500m"));
    there["spec"]["nodeName"] = json!("n");
    there["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 80, "hostPort": 8080 }]);
    for (more, spec, expected) in cases {
        let cluster = cluster(&[node("n", more)], std::slice::from_ref(&there));
        assert_eq!(outcome(&pod("new", spec.clone()), &cluster), expected, "{spec}");
    }
    assert_eq!(
        outcome(&pod("new", json!({})), &cluster(&[], &[])),
        "no nodes available to schedule pods"
    );
}

#[test]
fn reasons_of_many_nodes_are_counted_and_sorted() {
    let nodes = [
        node("a", json!({ "spec": { "unschedulable": true } })),
        node(
            "b",
            json!({ "status": { "allocatable": { "cpu": "1", "memory": "1Mi" } } }),
        ),
        node("c", json!({ "status": { "allocatable": { "cpu": "1" } } })),
    ];
    let big =
        json!({ "containers": [{ "name": "main", "resources": { "requests": { "cpu": "2", "memory": "1Gi" } } }] });
    let message = outcome(&pod("new", big), &cluster(&nodes, &[]));
    let expected = "0/3 nodes are available: 1 Insufficient memory, 1 node(s) were unschedulable, 2 Insufficient cpu. \
                    preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.";
    assert_eq!(message, expected);
}

#[test]
fn the_emptier_node_wins_and_replicas_spread() {
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let mut busy = pod("busy", asks("1"));
    busy["spec"]["nodeName"] = json!("a");
    assert_eq!(outcome(&pod("new", json!({})), &cluster(&nodes, &[busy])), "b");
    let owner = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "s", "uid": "s", "controller": true }]);
    let mut sibling = pod("sibling", json!({}));
    sibling["spec"]["nodeName"] = json!("b");
    sibling["metadata"]["ownerReferences"] = owner.clone();
    let mut heavy = pod("heavy", asks("300m"));
    heavy["spec"]["nodeName"] = json!("a");
    let mut new = pod("new", json!({}));
    new["metadata"]["ownerReferences"] = owner;
    assert_eq!(
        outcome(&new, &cluster(&nodes, &[sibling, heavy])),
        "a",
        "away from its sibling, though fuller"
    );
}

#[test]
fn wishes_outweigh_load() {
    let nodes = [
        node(
            "a",
            json!({ "spec": { "taints": [{ "key": "old", "effect": "PreferNoSchedule" }] } }),
        ),
        node("b", json!({ "metadata": { "labels": { "disk": "ssd" } } })),
        node("c", json!({})),
    ];
    let wish = json!({ "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
        { "weight": 10, "preference": { "matchExpressions": [{ "key": "disk", "operator": "In", "values": ["ssd"] }] } }
    ]}}});
    let mut busy = pod("busy", asks("500m"));
    busy["spec"]["nodeName"] = json!("b");
    let cluster = cluster(&nodes, &[busy]);
    assert_eq!(outcome(&pod("new", wish), &cluster), "b");
    assert_eq!(
        outcome(&pod("new", json!({})), &cluster),
        "c",
        "not the tainted, not the busy one"
    );
}

#[test]
fn pods_attract_repel_and_spread_over_domains() {
    let zone = |name: &str, zone: &str| node(name, json!({ "metadata": { "labels": { "zone": zone } } }));
    let nodes = [zone("a", "1"), zone("b", "1"), zone("c", "2")];
    let at = |name: &str, node: &str| pod(name, json!({ "nodeName": node }));
    let term = |app: &str| json!([{ "topologyKey": "zone", "labelSelector": { "matchLabels": { "app": app } } }]);
    let rule = |kind: &str, app: &str| json!({ "affinity": { kind: { "requiredDuringSchedulingIgnoredDuringExecution": term(app) } } });
    let world = cluster(&nodes, &[at("db", "c"), at("web", "a")]);
    assert_eq!(outcome(&pod("new", rule("podAffinity", "db")), &world), "c");
    assert_eq!(outcome(&pod("new", rule("podAntiAffinity", "db")), &world), "b");
    assert_eq!(
        outcome(&pod("self", rule("podAffinity", "self")), &world),
        "b",
        "the first of its group"
    );
    let none = outcome(&pod("new", rule("podAffinity", "cache")), &world);
    assert!(
        none.starts_with("0/3 nodes are available: 3 node(s) didn't match pod affinity rules."),
        "{none}"
    );
    let mut hermit = at("hermit", "c");
    hermit["spec"]["affinity"] = rule("podAntiAffinity", "new")["affinity"].clone();
    let shunned = cluster(&nodes[2..], &[hermit]);
    let message = outcome(&pod("new", json!({})), &shunned);
    assert!(
        message.contains("1 node(s) didn't satisfy existing pods anti-affinity rules."),
        "{message}"
    );
    let spread = json!({ "topologySpreadConstraints": [{ "maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": { "matchLabels": { "app": "new" } } }] });
    let mut first = at("first", "c");
    first["metadata"]["labels"]["app"] = json!("new");
    let uneven = cluster(&nodes, &[first, at("x", "a"), at("y", "a"), at("z", "b")]);
    assert_eq!(outcome(&pod("new", spread), &uneven), "b", "zone 2 has one already");
}

#[test]
fn the_important_evict_the_fewest_and_least_important() {
    let at = |name: &str, node: &str, cpu: &str, priority: i32| {
        let mut pod = pod(name, asks(cpu));
        pod["spec"]["nodeName"] = json!(node);
        pod["spec"]["priority"] = json!(priority);
        pod
    };
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let pods = [
        at("a1", "a", "1", 5),
        at("a2", "a", "1", 5),
        at("b1", "b", "1", 1),
        at("b2", "b", "1", 50),
    ];
    let cluster = cluster(&nodes, &pods);
    let mut new = pod("new", asks("1"));
    new["spec"]["priority"] = json!(100);
    assert_eq!(outcome(&new, &cluster), "evict b1 from b");
    new["spec"]["preemptionPolicy"] = json!("Never");
    assert!(outcome(&new, &cluster).ends_with("preemption: not eligible due to preemptionPolicy=Never."));
    new["spec"]["preemptionPolicy"] = json!(null);
    new["spec"]["priority"] = json!(0);
    assert!(outcome(&new, &cluster).ends_with("2 No preemption victims found for incoming pod."));
}

#[test]
fn a_placed_pod_counts_before_the_watch_shows_it_and_leaves_no_trace() {
    let mut state = cluster(&[node("a", json!({}))], &[]);
    let waiting = Arc::new(pod_of(&pod("one", asks("2"))));
    state.assume(waiting.clone(), "a");
    assert!(outcome(&pod("two", asks("1")), &state).contains("Insufficient cpu"));
    assert!(
        !state.pod_changed(Some(&waiting), Some(&waiting)),
        "still unbound in the watch: stays assumed"
    );
    assert!(state.has(&waiting));
    let mut bound = waiting.as_ref().clone();
    bound.spec.as_mut().unwrap().node_name = Some("a".into());
    let bound = Arc::new(bound);
    state.pod_changed(Some(&waiting), Some(&bound));
    assert!(state.pod_changed(Some(&bound), None), "its end makes room");
    assert_eq!(outcome(&pod("two", asks("1")), &state), "a");
    assert_eq!(state.hosts["a"].used.get("cpu"), 0);
}

#[test]
fn init_containers_count_by_their_peak_and_sidecars_stay() {
    let ask = |cpu: &str| json!({ "requests": { "cpu": cpu } });
    let spec = json!({
        "containers": [{ "name": "main", "resources": ask("300m") }],
        "initContainers": [
            { "name": "setup", "resources": ask("900m") },
            { "name": "proxy", "restartPolicy": "Always", "resources": ask("100m") },
            { "name": "late", "resources": ask("500m") },
        ],
        "overhead": { "cpu": "10m" },
    });
    assert_eq!(demand::Demand::of(&pod_of(&pod("p", spec))).exact.get("cpu"), 910);
}
