//! Pods that mean harm, applied by whoever may create pods.

use std::os::unix::fs::MetadataExt;

use super::{Cluster, kubectl};

fn pod(name: &str, context: &str, volumes: &str, script: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}"}}, "spec": {{"restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1, "volumes": [{volumes}], "containers": [{{"name": "c", "image": "busybox",
            "securityContext": {context}, "command": ["sh", "-c", "{script}"],
            "volumeMounts": [{{"name": "v", "mountPath": "/v"}}]}}]}}}}"#
    )
}

#[test]
fn a_pod_changes_nothing_of_the_host_and_what_cannot_be_had_is_refused() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("hostile", kubectl);
    let node = cluster.value(&["nodes"], "{.items[0].metadata.labels.knarr\\.dev/runtime}");
    if node == "processes" {
        let said = cluster.value(&["nodes"], "{.items[0].metadata.annotations.knarr\\.dev/weaknesses}");
        assert!(said.contains("plain processes"), "{said}");
        return;
    }
    let null = || {
        std::fs::metadata("/dev/null")
            .map(|found| (found.uid(), found.mode()))
            .expect("there")
    };
    let before = null();
    let precious = tempfile::tempdir().expect("a directory");
    std::fs::write(precious.path().join("file"), "x").expect("written");
    cluster.ok(&["create", "configmap", "conf", "--from-literal=k=1"]);
    let conf = r#"{"name": "v", "configMap": {"name": "conf"}}"#;
    let script = format!(
        "rm -f /v/..data; ln -sfn {0} /v/..data; echo x > /v/k; chmod 600 /dev/null; chmod 600 /dev/full; echo tried; \
         while test $(cat /v/k) = 1; do sleep 0.2; done; echo followed; sleep 1000",
        precious.path().display()
    );
    cluster.ok_with(&["apply", "-f", "-"], pod("links", "{}", conf, &script).as_bytes());
    cluster.ok_with(
        &["apply", "-f", "-"],
        pod("other", r#"{"runAsUser": 4711}"#, conf, "id -u; sleep 1000").as_bytes(),
    );
    cluster.ready("links");
    cluster.ready("other");
    cluster.ok(&["patch", "configmap", "conf", "-p", r#"{"data": {"k": "2"}}"#]);
    let mut log = cluster.follow(&["logs", "-f", "links"]);
    log.until(&["tried"]);
    log.until(&["followed"]);
    assert!(precious.path().join("file").exists());
    assert_eq!(null(), before);

    let unsafe_profile = r#"{"seccompProfile": {"type": "Localhost", "localhostProfile": "x.json"}}"#;
    let disk = r#"{"name": "v", "emptyDir": {}}"#;
    cluster.ok_with(
        &["apply", "-f", "-"],
        pod("profile", unsafe_profile, disk, "true").as_bytes(),
    );
    let status = [
        "get",
        "pod",
        "profile",
        "-o",
        "jsonpath={.status.containerStatuses[0].state.waiting}",
    ];
    cluster.eventually(&status, |said| {
        said.contains("CreateContainerConfigError") && said.contains("seccompProfile")
    });

    let memory = r#"{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}"#;
    let script = "head -c 4194304 /dev/zero > /v/x; wc -c < /v/x; sleep 1000";
    cluster.ok_with(&["apply", "-f", "-"], pod("bomb", "{}", memory, script).as_bytes());
    cluster.ready("bomb");
    cluster.follow(&["logs", "-f", "bomb"]).until(&["1048576"]);

    let endpoints = r#"{"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "ssrf"},
        "subsets": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 80}]}]}"#;
    let refused = cluster.fails(&["apply", "-f", "-"], endpoints.as_bytes());
    assert!(
        refused.contains("may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        "{refused}"
    );
    let own = cluster.value(&["endpoints", "kubernetes"], "{.subsets[0].addresses[0].ip}");
    assert!(!own.starts_with("127."), "{own}");
}
