//! Deployments: scale, roll out, roll back, clean up.

use super::{Cluster, kubectl};

#[test]
fn a_deployment_is_scaled_rolled_out_undone_and_deleted_with_its_pods() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("deploy", kubectl);
    // No server: where pods share the host's network, two could not listen on one port.
    let wait = "trap 'exit 0' TERM; sleep 100000 & wait";
    cluster.ok(&[
        "create",
        "deployment",
        "web",
        "--image=busybox:1.28",
        "--",
        "sh",
        "-c",
        wait,
    ]);
    cluster.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    cluster.ok(&["scale", "deployment", "web", "--replicas=3"]);
    cluster.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    assert_eq!(cluster.value(&["deployment", "web"], "{.status.readyReplicas}"), "3");
    assert_eq!(
        cluster
            .ok(&["get", "pods", "-l", "app=web", "-o", "name"])
            .lines()
            .count(),
        3
    );

    cluster.ok(&["set", "image", "deployment/web", "busybox=busybox:1.36"]);
    cluster.ok(&["rollout", "status", "deployment/web", "--timeout=80s"]);
    let images = [
        "get",
        "pods",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[*].spec.containers[0].image}",
    ];
    cluster.eventually(&images, |images| images == "busybox:1.36 busybox:1.36 busybox:1.36");
    let history = cluster.ok(&["rollout", "history", "deployment/web"]);
    assert!(history.lines().any(|line| line.starts_with('2')), "{history}");
    cluster.ok(&["rollout", "undo", "deployment/web"]);
    cluster.ok(&["rollout", "status", "deployment/web", "--timeout=80s"]);
    assert_eq!(
        cluster.value(&["deployment", "web"], "{.spec.template.spec.containers[0].image}"),
        "busybox:1.28"
    );
    cluster.ok(&["rollout", "restart", "deployment/web"]);
    cluster.ok(&["rollout", "status", "deployment/web", "--timeout=80s"]);

    // A pod that is deleted is replaced.
    let names = ["get", "pods", "-l", "app=web", "-o", "name"];
    cluster.eventually(&names, |names| names.lines().count() == 3);
    let pods = cluster.ok(&names);
    let victim = pods.lines().next().expect("a pod").to_owned();
    let mut watch = cluster.follow(&["get", "pods", "-l", "app=web", "-w"]);
    cluster.ok(&["delete", &victim, "--timeout=60s"]);
    watch.until(&["web-", "0/1", "ContainerCreating"]);
    watch.until(&["web-", "1/1", "Running"]);
    let mut table = cluster.follow(&["get", "deployments", "-w"]);
    table.until(&["web", "3/3"]);
    let sets = cluster.ok(&["get", "replicasets"]);
    assert_eq!(
        sets.lines().filter(|line| line.starts_with("web-")).count(),
        3,
        "{sets}"
    );
    cluster.ok(&["delete", "deployment", "web", "--cascade=foreground", "--timeout=60s"]);
    assert_eq!(cluster.ok(&["get", "replicasets,pods", "-o", "name"]).trim(), "");
}

#[test]
fn a_pod_that_cannot_run_says_why() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("faults", kubectl);
    cluster.ok(&["run", "nowhere", "--image=example.com/no/such:image"]);
    cluster.ok(&["run", "huge", "--image=nginx", "--overrides={\"spec\":{\"containers\":[{\"name\":\"huge\",\"image\":\"nginx\",\"resources\":{\"requests\":{\"cpu\":\"10000\"}}}]}}"]);
    cluster.ok(&[
        "run",
        "crash",
        "--image=busybox",
        "--command",
        "--",
        "sh",
        "-c",
        "echo no config; exit 1",
    ]);
    for word in ["ErrImagePull", "CrashLoopBackOff"] {
        cluster.follow(&["get", "pods", "-w"]).until(&[word]);
    }
    let described = cluster.ok(&["describe", "pod", "huge"]);
    assert!(
        described.contains("FailedScheduling") && described.contains("Insufficient cpu"),
        "{described}"
    );
    let described = cluster.ok(&["describe", "pod", "crash"]);
    assert!(
        described.contains("Exit Code:    1") && described.contains("Back-off restarting failed container"),
        "{described}"
    );
}
