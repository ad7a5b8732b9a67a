use serde_json::{Value, json};

use super::*;
use crate::caches::Caches;

/// A cluster of nodes and pods given as JSON. Pods are placed on `spec.nodeName`.
fn cluster(nodes: &[Value], pods: &[Value]) -> State {
    let mut state = State::default();
    for node in nodes {
        let node: Node = serde_json::from_value(node.clone()).unwrap();
        state.cache.node_changed(None, Some(&Arc::new(node)));
    }
    for pod in pods {
        state.cache.pod_changed(None, Some(&Arc::new(pod_of(pod))));
    }
    state
}

fn info(value: &Value) -> Arc<PodInfo> {
    Arc::new(PodInfo::new(Arc::new(pod_of(value))))
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

/// The node that was chosen, who has to go for it, or the message. Changes nothing.
fn outcome(new: &Value, state: &State) -> String {
    outcome_with(new, state, &Caches::new())
}

fn outcome_with(new: &Value, state: &State, caches: &Caches) -> String {
    let pod = info(new);
    let cluster = Cluster {
        cache: &state.cache,
        caches,
    };
    let mut start = state.start;
    let diagnosis = match framework::schedule(&pod, cluster, &state.queue, &mut start) {
        Ok(node) => return node.to_owned(),
        Err(diagnosis) => diagnosis,
    };
    if diagnosis.total == 0 {
        return diagnosis.message();
    }
    match preemption::preempt(&pod, cluster, &state.queue, &diagnosis) {
        Preemption::Victims { node, victims } => {
            let mut names: Vec<_> = victims.iter().map(|victim| victim.key().name).collect();
            names.sort();
            format!("evict {} from {node}", names.join(" "))
        }
        Preemption::None(reason) => format!("{} preemption: {reason}", diagnosis.message()),
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
    let waiting = info(&pod("one", asks("2")));
    state.cache.assume(waiting.clone(), "a");
    assert!(outcome(&pod("two", asks("1")), &state).contains("Insufficient cpu"));
    assert_eq!(
        state.cache.pod_changed(Some(&waiting.pod), Some(&waiting.pod)),
        ClusterEvent::NONE,
        "still unbound in the watch: stays assumed"
    );
    assert!(state.cache.has("one"));
    let mut bound = waiting.pod.as_ref().clone();
    bound.spec.as_mut().unwrap().node_name = Some("a".into());
    let bound = Arc::new(bound);
    state.cache.pod_changed(Some(&waiting.pod), Some(&bound));
    assert_eq!(
        state.cache.pod_changed(Some(&bound), None),
        ClusterEvent::POD_DELETE,
        "its end makes room"
    );
    assert_eq!(outcome(&pod("two", asks("1")), &state), "a");
    assert_eq!(state.cache.node("a").unwrap().requested.milli_cpu, 0);
}

#[test]
fn nodes_come_and_go_with_their_pods_in_any_order() {
    let names = ["a", "b", "c", "d"];
    let nodes: Vec<Value> = names.iter().map(|name| node(name, json!({}))).collect();
    let mut state = cluster(
        &nodes,
        &[
            pod("p", json!({ "nodeName": "b" })),
            pod("q", json!({ "nodeName": "ghost" })),
        ],
    );
    let gone: Node = serde_json::from_value(nodes[1].clone()).unwrap();
    state.cache.node_changed(Some(&Arc::new(gone.clone())), None);
    let listed = |state: &State| {
        let mut names: Vec<String> = state.cache.nodes().map(|node| node.name.clone()).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(listed(&state), "a c d");
    assert!(state.cache.has("p"), "its pod is still there");
    state.cache.node_changed(None, Some(&Arc::new(gone)));
    assert_eq!(listed(&state), "a b c d");
    assert_eq!(state.cache.node("b").unwrap().pods.len(), 1);
    for uid in ["p", "q"] {
        assert!(state.cache.forget(uid));
    }
    assert_eq!(state.cache.all_nodes().len(), 4, "the ghost is gone");
    assert_eq!(state.cache.node("d").unwrap().name, "d");
}

#[test]
fn the_pods_of_a_daemon_set_look_at_their_node_only() {
    let nodes: Vec<Value> = ["a", "b", "c"].map(|name| node(name, json!({}))).into();
    let at = |name: &str| {
        json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
            { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [name] }] }] }}}})
    };
    let state = cluster(&nodes, &[]);
    assert_eq!(outcome(&pod("new", at("b")), &state), "b");
    let message = outcome(&pod("new", at("nowhere")), &state);
    let expected = "0/3 nodes are available: 3 node(s) didn't satisfy plugin(s) [NodeAffinity].";
    assert!(message.starts_with(expected), "{message}");
}

#[test]
fn room_that_was_made_for_a_pod_is_kept_for_it() {
    let mut low = pod("low", asks("2"));
    low["spec"]["nodeName"] = json!("a");
    let mut state = cluster(&[node("a", json!({}))], &[low.clone()]);
    let caches = Caches::new();
    let mut important = pod("important", asks("2"));
    important["spec"]["priority"] = json!(100);
    state.queue.add(info(&important));
    let popped = state.queue.pop().unwrap();
    let Outcome::Wait(report) = state.cycle(&popped, &caches) else {
        panic!("there is no room yet");
    };
    let (cleared, victims) = report.cleared.unwrap();
    assert_eq!((cleared.as_str(), victims[0].key().name.as_str()), ("a", "low"));
    let low = Arc::new(pod_of(&low));
    let event = state.cache.pod_changed(Some(&low), None);
    state.queue.move_on(event);
    let message = outcome(&pod("sly", asks("1")), &state);
    assert!(
        message.contains("Insufficient cpu"),
        "less important pods do not get it: {message}"
    );
    let mut boss = pod("boss", asks("1"));
    boss["spec"]["priority"] = json!(1000);
    assert_eq!(outcome(&boss, &state), "a", "more important ones do");
    assert!(matches!(state.cycle(&popped, &caches), Outcome::Bind(node) if node == "a"));
    assert_eq!(state.queue.nomination("important"), None, "it has moved in");
}

#[tokio::test(start_paused = true)]
async fn the_most_important_pod_is_next_and_equals_come_in_order() {
    let mut queue = SchedulingQueue::default();
    for (name, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5)] {
        queue.add(info(&pod(name, json!({ "priority": priority }))));
    }
    let order: Vec<String> = std::iter::from_fn(|| queue.pop()).map(|pod| pod.key().name).collect();
    assert_eq!(order, ["b", "d", "a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_fits_nowhere_waits_for_what_can_help_and_backs_off() {
    let mut queue = SchedulingQueue::default();
    let waiting = info(&pod("p", json!({})));
    let key = waiting.key();
    queue.add(waiting.clone());
    assert!(queue.pop().is_some());
    queue.add_unschedulable(&key, ClusterEvent::NODE_ADD);
    queue.move_on(ClusterEvent::POD_DELETE);
    queue.add(waiting.clone());
    assert!(queue.pop().is_none(), "neither that event nor its own status helps");
    assert_eq!(
        queue.next_at().map(|at| (at - tokio::time::Instant::now()).as_secs()),
        Some(300)
    );
    let mut waits = Vec::new();
    for _ in 0..6 {
        queue.move_on(ClusterEvent::NODE_ADD | ClusterEvent::NODE_LABEL);
        let at = queue.next_at().expect("it is in back-off");
        waits.push((at - tokio::time::Instant::now()).as_secs());
        assert!(queue.pop().is_none(), "not before its back-off has passed");
        tokio::time::advance(at - tokio::time::Instant::now()).await;
        assert!(queue.pop().is_some());
        queue.add_unschedulable(&key, ClusterEvent::NODE_ADD);
    }
    assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
    tokio::time::advance(std::time::Duration::from_secs(300)).await;
    assert!(queue.pop().is_some(), "after five minutes it is tried anyway");
    queue.remove(&key);
    queue.add_backoff(&key);
    assert!(
        queue.pop().is_none() && queue.next_at().is_none(),
        "what is gone stays gone"
    );
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
    assert_eq!(info(&pod("p", spec)).requests.milli_cpu, 910);
}

/// A claim `data`, a class and a volume, each with some fields.
fn stored(claim: Value, class: Value, volume: Value) -> Caches {
    let mut base = json!({
        "metadata": { "name": "data", "namespace": "default", "uid": "data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } }, "storageClassName": "c" },
        "status": { "phase": "Pending" },
    });
    merge(&mut base, claim);
    let caches = Caches::new();
    caches.claims.apply(serde_json::from_value(base).unwrap());
    let mut base =
        json!({ "metadata": { "name": "c" }, "provisioner": "p", "volumeBindingMode": "WaitForFirstConsumer" });
    merge(&mut base, class);
    caches.storage_classes.apply(serde_json::from_value(base).unwrap());
    let mut base = json!({
        "metadata": { "name": "v", "uid": "v" },
        "spec": { "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" }, "storageClassName": "c" },
        "status": { "phase": "Available" },
    });
    merge(&mut base, volume);
    caches.volumes.apply(serde_json::from_value(base).unwrap());
    caches
}

#[test]
fn pods_go_where_their_claims_are_or_can_be() {
    let claims = |name: &str| json!({ "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": name } }] });
    let none = json!({});
    let bound = json!({
        "metadata": { "annotations": { "pv.kubernetes.io/bind-completed": "yes" } },
        "spec": { "volumeName": "v" }, "status": { "phase": "Bound" },
    });
    let on = |name: &str| {
        json!({ "spec": { "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
        { "key": "kubernetes.io/hostname", "operator": "In", "values": [name] }] }] } } } })
    };
    let refused = |why: &str| {
        format!(
            "0/2 nodes are available: {why}. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        )
    };
    let by_hand = json!({ "provisioner": "kubernetes.io/no-provisioner" });
    let other_class = json!({ "spec": { "storageClassName": "other" } });
    for (claim, caches, expected) in [
        (
            "none",
            stored(none.clone(), none.clone(), none.clone()),
            refused("persistentvolumeclaim \"none\" not found"),
        ),
        (
            "data",
            stored(none.clone(), json!({ "volumeBindingMode": "Immediate" }), none.clone()),
            refused("pod has unbound immediate PersistentVolumeClaims"),
        ),
        ("data", stored(bound.clone(), none.clone(), on("b")), "b".into()),
        (
            "data",
            stored(bound.clone(), none.clone(), on("z")),
            refused("2 node(s) didn't match PersistentVolume's node affinity"),
        ),
        ("data", stored(none.clone(), by_hand.clone(), on("b")), "b".into()),
        (
            "data",
            stored(none.clone(), by_hand, other_class.clone()),
            refused("2 node(s) didn't find available persistent volumes to bind"),
        ),
        (
            "data",
            stored(
                json!({ "metadata": { "annotations": { "volume.kubernetes.io/selected-node": "b" } } }),
                none.clone(),
                other_class,
            ),
            "b".into(),
        ),
        (
            "data",
            stored(
                json!({ "status": { "phase": "Lost" }, "spec": { "volumeName": "x" } }),
                none.clone(),
                none.clone(),
            ),
            refused("persistentvolumeclaim \"data\" bound to non-existent persistentvolume \"x\""),
        ),
    ] {
        let state = cluster(&[node("a", json!({})), node("b", json!({}))], &[]);
        assert_eq!(outcome_with(&pod("new", claims(claim)), &state, &caches), expected);
    }
    // A claim for one pod has one pod.
    let caches = stored(bound, none.clone(), json!({}));
    let mut one = caches.claims.all()[0].as_ref().clone();
    one.spec.get_or_insert_default().access_modes = Some(vec!["ReadWriteOncePod".into()]);
    caches.claims.apply(one);
    let mut holder = pod("holder", claims("data"));
    holder["spec"]["nodeName"] = json!("a");
    let state = cluster(&[node("a", json!({})), node("b", json!({}))], &[holder]);
    let told = outcome_with(&pod("new", claims("data")), &state, &caches);
    let expected = "0/2 nodes are available: 2 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod.";
    assert!(told.starts_with(expected), "{told}");
}

#[test]
fn a_pod_waits_for_its_claims_to_be_bound_where_it_is_to_run() {
    let spec = json!({ "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }] });
    let decided = |caches: &Caches| {
        let mut state = cluster(&[node("a", json!({}))], &[]);
        state.queue.add(info(&pod("new", spec.clone())));
        let popped = state.queue.pop().unwrap();
        match state.cycle(&popped, caches) {
            Outcome::PreBind(writes) => writes.into_iter().map(|write| (write.path, write.body)).collect(),
            _ => Vec::new(),
        }
    };
    let writes = decided(&stored(json!({}), json!({}), json!({})));
    assert_eq!(writes[0].0.as_str(), "/api/v1/persistentvolumes/v");
    assert_eq!(
        writes[0].1["spec"]["claimRef"]["uid"], "data",
        "a volume that is there is promised"
    );
    let writes = decided(&stored(
        json!({}),
        json!({}),
        json!({ "spec": { "storageClassName": "other" } }),
    ));
    assert_eq!(
        writes[0].1["metadata"]["annotations"],
        json!({ "volume.kubernetes.io/selected-node": "a" }),
        "else one is to be made there"
    );
}

#[test]
fn preemption_would_rather_violate_no_disruption_budget() {
    let (nodes, low) = ([node("n1", json!({})), node("n2", json!({}))], |priority: i32| {
        let mut spec = asks("2");
        spec["priority"] = json!(priority);
        spec
    });
    let on = |name: &str, at: &str, priority: i32| {
        let mut pod = pod(name, low(priority));
        pod["spec"]["nodeName"] = json!(at);
        pod
    };
    let cluster = cluster(&nodes, &[on("guarded", "n1", 1), on("plain", "n2", 2)]);
    let new = pod("new", low(10));
    assert_eq!(
        outcome(&new, &cluster),
        "evict guarded from n1",
        "the less important one"
    );
    let caches = Caches::new();
    let budget = |allowed: i32, noted: Value| {
        let budget = json!({
            "metadata": { "name": "b", "namespace": "default" },
            "spec": { "selector": { "matchLabels": { "app": "guarded" } } },
            "status": { "disruptionsAllowed": allowed, "disruptedPods": noted },
        });
        caches.budgets.apply(serde_json::from_value(budget).unwrap());
        outcome_with(&new, &cluster, &caches)
    };
    assert_eq!(budget(0, json!({})), "evict plain from n2");
    assert_eq!(budget(1, json!({})), "evict guarded from n1");
    // It was let go already: nothing more is asked of the budget.
    assert_eq!(
        budget(0, json!({ "guarded": "2024-01-01T00:00:00Z" })),
        "evict guarded from n1"
    );
}
