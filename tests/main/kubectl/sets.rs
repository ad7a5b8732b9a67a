//! DaemonSets, StatefulSets, ReplicationControllers and disruption budgets.

use super::cluster::text;
use super::{Cluster, kubectl};

/// A workload whose pods wait until they are told to end.
fn manifest(kind: &str, name: &str, more: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  {more}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {{name: c, image: "busybox:1.28", command: [sh, -c, "trap 'exit 0' TERM; sleep 100000 & wait"]}}
"#
    )
}

#[test]
fn a_daemon_follows_the_label_of_its_nodes_and_is_rolled_back() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("daemon", kubectl);
    cluster.ok_with(&["apply", "-f", "-"], manifest("DaemonSet", "agent", "").as_bytes());
    cluster.ok(&["rollout", "status", "daemonset/agent", "--timeout=60s"]);
    cluster.ok(&["set", "image", "daemonset/agent", "c=busybox:1.36"]);
    cluster.ok(&["rollout", "status", "daemonset/agent", "--timeout=60s"]);
    let history = cluster.ok(&["rollout", "history", "daemonset/agent"]);
    assert!(history.lines().any(|line| line.starts_with('2')), "{history}");
    cluster.ok(&["rollout", "undo", "daemonset/agent"]);
    cluster.ok(&["rollout", "status", "daemonset/agent", "--timeout=60s"]);
    let image = [
        "get",
        "pods",
        "-l",
        "app=agent",
        "-o",
        "jsonpath={.items[*].spec.containers[0].image}",
    ];
    cluster.eventually(&image, |image| image == "busybox:1.28");

    let select = r#"{"spec":{"template":{"spec":{"nodeSelector":{"disk":"ssd"}}}}}"#;
    cluster.ok(&["patch", "daemonset", "agent", "-p", select]);
    let pods = ["get", "pods", "-l", "app=agent", "-o", "name"];
    cluster.eventually(&pods, |pods| pods.trim().is_empty());
    cluster.ok(&["label", "nodes", "--all", "disk=ssd"]);
    cluster.eventually(&pods, |pods| pods.lines().count() == 1);
    cluster.ok(&["rollout", "status", "daemonset/agent", "--timeout=60s"]);
    let table = cluster.ok(&["get", "daemonset", "agent"]);
    assert!(table.contains("disk=ssd"), "{table}");
    cluster.ok(&["label", "nodes", "--all", "disk-"]);
    cluster.eventually(&pods, |pods| pods.trim().is_empty());
}

#[test]
fn stateful_pods_keep_their_names_and_come_in_order() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("stateful", kubectl);
    let set = manifest("StatefulSet", "pet", "serviceName: pet\n  replicas: 2");
    cluster.ok_with(&["apply", "-f", "-"], set.as_bytes());
    cluster.ok(&["rollout", "status", "statefulset/pet", "--timeout=60s"]);
    assert_eq!(cluster.ok(&["get", "pods", "-o", "name"]), "pod/pet-0\npod/pet-1\n");
    assert_eq!(cluster.ok(&["exec", "pet-1", "--", "hostname"]), "pet-1\n");
    let uid = cluster.value(&["pod", "pet-0"], "{.metadata.uid}");
    cluster.ok(&["delete", "pod", "pet-0", "--timeout=60s"]);
    let same = [
        "get",
        "pod",
        "pet-0",
        "--ignore-not-found",
        "-o",
        "jsonpath={.metadata.uid}",
    ];
    cluster.eventually(&same, |now| !now.is_empty() && now != uid);
    cluster.ok(&["scale", "statefulset", "pet", "--replicas=3"]);
    cluster.ok(&["rollout", "status", "statefulset/pet", "--timeout=60s"]);
    cluster.ok(&["set", "image", "statefulset/pet", "c=busybox:1.36"]);
    cluster.ok(&["rollout", "status", "statefulset/pet", "--timeout=90s"]);
    cluster.ok(&["rollout", "undo", "statefulset/pet"]);
    cluster.ok(&["rollout", "status", "statefulset/pet", "--timeout=90s"]);
    let images = ["get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}"];
    assert_eq!(cluster.ok(&images), "busybox:1.28 busybox:1.28 busybox:1.28");
    cluster.ok(&["scale", "statefulset", "pet", "--replicas=1"]);
    cluster.eventually(&["get", "pods", "-o", "name"], |pods| pods == "pod/pet-0\n");
    let described = cluster.ok(&["describe", "statefulset", "pet"]);
    assert!(
        described.contains("Delete Pod pet-2 in StatefulSet pet successful"),
        "{described}"
    );
}

#[test]
fn what_a_stateful_pod_wrote_outlives_the_pod() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("claims", kubectl);
    let set = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec:
  serviceName: store
  selector: {matchLabels: {app: store}}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
  template:
    metadata: {labels: {app: store}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: c
        image: busybox
        command: [sh, -c, "hostname >> /data/names; trap 'exit 0' TERM; sleep 100000 & wait"]
        volumeMounts: [{name: data, mountPath: /data}]
"#;
    cluster.ok_with(&["apply", "-f", "-"], set.as_bytes());
    cluster.ok(&["rollout", "status", "statefulset/store", "--timeout=60s"]);
    let uid = cluster.value(&["pod", "store-0"], "{.metadata.uid}");
    cluster.ok(&["delete", "pod", "store-0", "--timeout=60s"]);
    let same = [
        "get",
        "pod",
        "store-0",
        "--ignore-not-found",
        "-o",
        "jsonpath={.metadata.uid}",
    ];
    cluster.eventually(&same, |now| !now.is_empty() && now != uid);
    cluster.ok(&["rollout", "status", "statefulset/store", "--timeout=60s"]);
    assert_eq!(
        cluster.ok(&["exec", "store-0", "--", "cat", "/data/names"]),
        "store-0\nstore-0\n"
    );
    cluster.ok(&["delete", "statefulset", "store", "--timeout=60s"]);
    assert_eq!(cluster.value(&["pvc", "data-store-0"], "{.status.phase}"), "Bound");
}

#[test]
fn a_replication_controller_replaces_its_pods_and_leaves_them_behind_when_asked() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("replication", kubectl);
    let controller = manifest("ReplicationController", "old", "replicas: 2")
        .replace("apps/v1", "v1")
        .replace("{matchLabels: {app: old}}", "{app: old}");
    cluster.ok_with(&["apply", "-f", "-"], controller.as_bytes());
    cluster.ok(&[
        "wait",
        "--for=jsonpath={.status.readyReplicas}=2",
        "rc/old",
        "--timeout=60s",
    ]);
    let pods = ["get", "pods", "-l", "app=old", "-o", "name"];
    let names = cluster.ok(&pods);
    let victim = names.lines().next().expect("a pod");
    cluster.ok(&["label", victim, "app=free", "--overwrite"]);
    cluster.eventually(&pods, |pods| pods.lines().count() == 2 && !pods.contains(victim));
    cluster.ok(&["scale", "rc", "old", "--replicas=1"]);
    cluster.eventually(&pods, |pods| pods.lines().count() == 1);
    cluster.ok(&["delete", "rc", "old", "--cascade=orphan"]);
    assert_eq!(cluster.ok(&pods).lines().count(), 1);
}

#[test]
fn a_disruption_budget_holds_an_eviction_back() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("budget", kubectl);
    cluster.ok_with(
        &["apply", "-f", "-"],
        manifest("Deployment", "web", "replicas: 1").as_bytes(),
    );
    cluster.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let budget = r#"
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
"#;
    cluster.ok_with(&["apply", "-f", "-"], budget.as_bytes());
    cluster.eventually(
        &["get", "pdb", "web", "-o", "jsonpath={.status.currentHealthy}"],
        |healthy| healthy == "1",
    );
    let pod = cluster.value(&["pods", "-l", "app=web"], "{.items[0].metadata.name}");
    let eviction = format!(
        r#"{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"{pod}","namespace":"default"}}}}"#
    );
    let file = cluster.file("eviction.json", &eviction);
    let path = format!("/api/v1/namespaces/default/pods/{pod}/eviction");
    let evict = ["create", "--raw", &path, "-f", &file];
    let refused = cluster.output(&evict, b"");
    assert!(!refused.status.success());
    let message = text(&refused.stderr);
    assert!(
        message.contains("Cannot evict pod as it would violate the pod's disruption budget."),
        "{message}"
    );
    cluster.ok(&["scale", "deployment", "web", "--replicas=2"]);
    cluster.eventually(
        &["get", "pdb", "web", "-o", "jsonpath={.status.disruptionsAllowed}"],
        |allowed| allowed == "1",
    );
    cluster.ok(&evict);
    cluster.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
}

#[test]
fn an_autoscaler_keeps_its_bounds_and_says_what_it_cannot_measure() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("autoscale", kubectl);
    cluster.ok_with(
        &["apply", "-f", "-"],
        manifest("Deployment", "web", "replicas: 1").as_bytes(),
    );
    cluster.ok(&["autoscale", "deployment", "web", "--min=2", "--max=4"]);
    cluster.eventually(
        &["get", "deployment", "web", "-o", "jsonpath={.spec.replicas}"],
        |replicas| replicas == "2",
    );
    let table = cluster.ok(&["get", "hpa"]);
    assert!(table.contains("Deployment/web"), "{table}");
    let described = cluster.ok(&["describe", "hpa", "web"]);
    let reason = "New size: 2; reason: Current number of replicas below Spec.MinReplicas";
    assert!(described.contains(reason), "{described}");
    // Its pods ask for no CPU, or nobody measures it: either way nothing can be computed.
    cluster.eventually(
        &["get", "hpa", "web", "-o", "jsonpath={.status.conditions[*].reason}"],
        |reasons| reasons.contains("FailedGetResourceMetric"),
    );
}
