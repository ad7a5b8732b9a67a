//! Several nodes, and what they use.

use super::{Cluster, kubectl};

/// A server and a client on each node.
const AGENTS: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations: [{key: gpu, operator: Exists}]
      containers:
      - name: c
        image: nginx
        command: [sh, -c, "hostname > /usr/share/nginx/html/index.html; exec nginx -g 'daemon off;'"]
---
apiVersion: v1
kind: Service
metadata: {name: agent}
spec:
  selector: {app: agent}
  ports: [{port: 80, targetPort: 80}]
"#;

#[test]
fn a_node_is_added_used_cut_off_healed_kept_and_removed() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("nodes", kubectl);
    cluster.node(&[
        "add",
        "worker",
        "--cpu",
        "1500m",
        "--memory",
        "512Mi",
        "--pods",
        "20",
        "--label",
        "disk=ssd",
        "--taint",
        "gpu=true:NoSchedule",
    ]);
    let worker = |path: &str| cluster.value(&["node", "worker"], path);
    assert_eq!(
        worker("{.status.allocatable.cpu} {.status.allocatable.memory} {.status.allocatable.pods}"),
        "1500m 512Mi 20"
    );
    assert_eq!(worker("{.metadata.labels.disk} {.spec.taints[*].key}"), "ssd gpu");
    assert!(cluster.node(&["list"]).contains("worker"));

    cluster.ok_with(&["apply", "-f", "-"], AGENTS.as_bytes());
    cluster.ok(&["rollout", "status", "daemonset/agent", "--timeout=80s"]);
    let on = |node: &str, path: &str| {
        let selector = format!("spec.nodeName={node}");
        cluster.value(&["pods", "-l", "app=agent", "--field-selector", &selector], path)
    };
    let (name, ip) = ("{.items[0].metadata.name}", "{.items[0].status.podIP}");
    let (here, there) = (on("knarr", name), on("worker", name));
    assert_eq!(cluster.ok(&["exec", &there, "--", "hostname"]).trim(), there);
    let networked = matches!(
        worker("{.metadata.labels.knarr\\.dev/runtime}").as_str(),
        "root" | "userns"
    );
    if networked {
        assert_ne!(
            worker("{.spec.podCIDR}"),
            cluster.value(&["node", "knarr"], "{.spec.podCIDR}")
        );
        let get = |from: &str, host: &str, port: &str| {
            let url = format!("http://{host}:{port}/");
            cluster
                .ok(&["exec", from, "--", "wget", "-qO-", &url])
                .trim()
                .to_owned()
        };
        assert_eq!(
            get(&here, &on("worker", ip), "80"),
            there,
            "pods of two nodes reach each other"
        );
        assert_eq!(get(&there, &on("knarr", ip), "80"), here);
        let answer = get(&there, "agent", "80");
        assert!(answer == here || answer == there, "and services, by name: {answer}");
    }
    let top = cluster.ok(&["top", "node"]);
    assert!(top.contains("knarr") && top.contains("worker"), "{top}");
    let top = cluster.ok(&["top", "pod", "--containers", "-l", "app=agent"]);
    assert_eq!(top.lines().count(), 3, "{top}");
    let summary = cluster.ok(&["get", "--raw", "/api/v1/nodes/worker/proxy/stats/summary"]);
    assert!(summary.contains(&there) && !summary.contains(&here), "{summary}");

    cluster.node(&["cut", "worker"]);
    let exec = ["exec", there.as_str(), "--", "true"];
    let answers = |wanted: bool| {
        let output = cluster.output(&exec, b"");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() == wanted {
            Ok(())
        } else {
            Err(told)
        }
    };
    cluster.until("nobody reaches the worker", || answers(false));
    if networked {
        let url = format!("http://{}:80/", on("worker", ip));
        cluster.fails(&["exec", &here, "--", "wget", "-T", "2", "-qO-", &url], b"");
    }
    cluster.node(&["heal", "worker"]);
    cluster.until("the worker is back", || answers(true));

    cluster.knarr("stop");
    cluster.knarr("start");
    cluster.eventually(&["get", "node", "worker"], |said| said.contains(" Ready"));
    cluster.node(&["remove", "worker"]);
    cluster.eventually(&["get", "pods", "-o", "name"], |pods| pods.lines().count() == 1);
    assert!(!cluster.node(&["list"]).contains("worker"));
}
