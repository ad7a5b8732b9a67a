//! Volumes: claims that are served at once, by hand, and again; data that outlives its pods and the cluster's process.

use super::{Cluster, kubectl};

const CLAIM: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 64Mi}}
";

/// A pod that has the claim at `/data` and sleeps.
fn user(name: &str, claim: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {{name: main, image: busybox, command: [sleep, '100000'], volumeMounts: [{{name: v, mountPath: /data}}]}}
  volumes:
  - {{name: v, persistentVolumeClaim: {{claimName: {claim}}}}}
"
    )
}

#[test]
fn data_outlives_its_pod_and_a_restart_and_goes_with_its_claim() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("volumes", kubectl);
    let classes = cluster.ok(&["get", "storageclass"]);
    assert!(
        classes.contains("standard (default)") && classes.contains("knarr.dev/local"),
        "{classes}"
    );

    // The pod is first, and waits.
    cluster.ok(&["apply", "-f", &cluster.file("first.yaml", &user("first", "data"))]);
    let why = ["describe", "pod", "first"];
    cluster.eventually(&why, |told| {
        told.contains("0/1 nodes are available: persistentvolumeclaim \"data\" not found.")
    });
    cluster.ok(&["apply", "-f", &cluster.file("claim.yaml", CLAIM)]);
    cluster.ok(&["wait", "pod/first", "--for=condition=Ready", "--timeout=60s"]);
    let bound = cluster.ok(&["get", "pvc", "data", "--no-headers"]);
    let cells: Vec<&str> = bound.split_whitespace().collect();
    assert_eq!(
        (cells[1], cells[3], cells[4], cells[5]),
        ("Bound", "64Mi", "RWO", "standard"),
        "{bound}"
    );
    let told = cluster.ok(&["describe", "pvc", "data"]);
    assert!(told.contains("Successfully provisioned volume pvc-"), "{told}");
    cluster.ok(&["exec", "first", "--", "sh", "-c", "echo kept > /data/file"]);

    // A claim in use waits for its pod.
    cluster.ok(&["delete", "pvc", "data", "--wait=false"]);
    cluster.eventually(&["get", "pvc", "data", "--no-headers"], |row| {
        row.contains("Terminating")
    });
    cluster.ok(&["delete", "pod", "first"]);
    cluster.ok(&["wait", "pvc/data", "--for=delete", "--timeout=60s"]);
    cluster.eventually(&["get", "pv", "-o", "name"], |left| left.trim().is_empty());
    let directory = cluster.directory().join("node/volumes");
    let left = std::fs::read_dir(&directory).map_or(0, Iterator::count);
    assert_eq!(left, 0, "the directory went with the volume");

    // Another one outlives pods and the cluster's process.
    cluster.ok(&["apply", "-f", &cluster.file("claim.yaml", CLAIM)]);
    cluster.ok(&["apply", "-f", &cluster.file("second.yaml", &user("second", "data"))]);
    cluster.ok(&["wait", "pod/second", "--for=condition=Ready", "--timeout=60s"]);
    cluster.ok(&["exec", "second", "--", "sh", "-c", "echo kept > /data/file"]);
    cluster.ok(&["delete", "pod", "second"]);
    cluster.knarr("stop");
    cluster.knarr("start");
    cluster.ok(&["apply", "-f", &cluster.file("third.yaml", &user("third", "data"))]);
    cluster.ok(&["wait", "pod/third", "--for=condition=Ready", "--timeout=60s"]);
    assert_eq!(cluster.ok(&["exec", "third", "--", "cat", "/data/file"]), "kept\n");

    // It grows, and does not shrink.
    let size = |size: &str| format!("{{\"spec\":{{\"resources\":{{\"requests\":{{\"storage\":\"{size}\"}}}}}}}}");
    cluster.ok(&["patch", "pvc", "data", "-p", &size("128Mi")]);
    let capacity = ["get", "pvc", "data", "-o", "jsonpath={.status.capacity.storage}"];
    cluster.eventually(&capacity, |found| found == "128Mi");
    let refused = cluster.output(&["patch", "pvc", "data", "-p", &size("1Mi")], b"");
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("field can not be less than status.capacity"),
        "{refused:?}"
    );
}

#[test]
fn a_volume_made_by_hand_is_bound_released_recycled_and_bound_again() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("volume-by-hand", kubectl);
    let data = tempfile::tempdir().expect("a directory");
    let volume = |name: &str, policy: &str| {
        format!(
            "
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce, ReadOnlyMany]
  persistentVolumeReclaimPolicy: {policy}
  hostPath: {{path: {}/{name}, type: DirectoryOrCreate}}
",
            data.path().display()
        )
    };
    let classless = CLAIM.replace("spec:", "spec:\n  storageClassName: ''");
    cluster.ok(&["apply", "-f", &cluster.file("claim.yaml", &classless)]);
    cluster.eventually(&["describe", "pvc", "data"], |told| {
        told.contains("no persistent volumes available for this claim and no storage class is set")
    });
    cluster.ok(&["apply", "-f", &cluster.file("keep.yaml", &volume("keep", "Retain"))]);
    let row = ["get", "pv", "keep", "--no-headers"];
    cluster.eventually(&row, |row| {
        row.contains("RWO,ROX") && row.contains("Bound") && row.contains("default/data")
    });
    cluster.ok(&["delete", "pvc", "data", "--timeout=60s"]);
    cluster.eventually(&row, |row| row.contains("Released"));
    // A released volume is nobody's until somebody clears it.
    cluster.ok(&["apply", "-f", &cluster.file("claim.yaml", &classless)]);
    assert_eq!(cluster.value(&["pvc", "data"], "{.status.phase}"), "Pending");
    cluster.ok(&[
        "patch",
        "pv",
        "keep",
        "--type=json",
        "-p",
        "[{\"op\":\"remove\",\"path\":\"/spec/claimRef\"}]",
    ]);
    cluster.eventually(&row, |row| row.contains("Bound"));
    cluster.ok(&["delete", "pvc/data", "pv/keep", "--timeout=60s"]);

    cluster.ok(&["apply", "-f", &cluster.file("again.yaml", &volume("again", "Recycle"))]);
    cluster.ok(&["apply", "-f", &cluster.file("claim.yaml", &classless)]);
    cluster.ok(&["apply", "-f", &cluster.file("user.yaml", &user("user", "data"))]);
    cluster.ok(&["wait", "pod/user", "--for=condition=Ready", "--timeout=60s"]);
    cluster.ok(&[
        "exec",
        "user",
        "--",
        "sh",
        "-c",
        "echo old > /data/file; mkdir /data/more; ls /data",
    ]);
    cluster.ok(&["delete", "pod/user", "pvc/data", "--timeout=60s"]);
    cluster.eventually(&["get", "pv", "again", "--no-headers"], |row| row.contains("Available"));
    let left = std::fs::read_dir(data.path().join("again"))
        .expect("it is there")
        .count();
    assert_eq!(left, 0, "it was emptied");
    let told = cluster.ok(&["describe", "pv", "again"]);
    assert!(told.contains("Volume recycled"), "{told}");
}
