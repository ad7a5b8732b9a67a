//! What a container may make of its volumes, and what comes of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::json;

use crate::world::{World, object, phase};

fn volume(world: &World, pod: &Pod, plugin: &str, name: &str) -> PathBuf {
    let pods = world.dir.path().join("node/pods");
    let uid = pod.uid().unwrap();
    pods.join(uid)
        .join("volumes")
        .join(format!("kubernetes.io~{plugin}"))
        .join(name)
}

#[tokio::test(start_paused = true)]
async fn a_tampered_volume_costs_nobody_anything_and_is_put_right() {
    let world = World::start().await;
    let conf: ConfigMap = object(json!({ "metadata": { "name": "conf" }, "data": { "k": "1" } }));
    world
        .api::<ConfigMap>()
        .create(&PostParams::default(), &conf)
        .await
        .unwrap();
    let spec = json!({
        "volumes": [{ "name": "v", "configMap": { "name": "conf" } }],
        "containers": [{ "name": "c", "image": "busybox", "command": ["sleep", "100000"],
            "volumeMounts": [{ "name": "v", "mountPath": "/conf" }] }],
    });
    world.run("victim", spec).await;
    let pod = world.until_running("victim").await;
    let refused = world.sh(&pod, "echo x > /conf/k").await;
    assert!(refused.contains("Read-only file system"), "{refused}");
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "x").unwrap();
    let dir = volume(&world, &pod, "configmap", "v");
    for (value, attack) in [("2", "link"), ("3", "pipe")] {
        fs::remove_file(dir.join("..data")).unwrap();
        if attack == "link" {
            symlink(outside.path(), dir.join("..data")).unwrap();
        } else {
            fs::create_dir(dir.join("e")).unwrap();
            nix::unistd::mkfifo(&dir.join("e/k"), nix::sys::stat::Mode::S_IRWXU).unwrap();
            symlink("e", dir.join("..data")).unwrap();
        }
        world
            .patch::<ConfigMap>("conf", json!({ "data": { "k": value } }))
            .await;
        while world.sh(&pod, "cat /conf/k").await != value {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        assert!(outside.path().join("precious").exists());
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_takes_more_of_the_disk_than_it_may_is_evicted() {
    let world = World::start().await;
    let limit = json!({ "limits": { "ephemeral-storage": "1Mi" } });
    for (name, volume_of, resources, message) in [
        (
            "volume",
            json!({ "sizeLimit": "1Mi" }),
            json!({}),
            "Usage of EmptyDir volume \"m\" exceeds the limit \"1Mi\". ",
        ),
        (
            "pod",
            json!({}),
            limit,
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
        ),
    ] {
        let spec = json!({
            "volumes": [{ "name": "m", "emptyDir": volume_of }],
            "containers": [{ "name": "c", "image": "busybox", "command": ["sleep", "100000"], "resources": resources,
                "volumeMounts": [{ "name": "m", "mountPath": "/m" }] }],
        });
        world.run(name, spec).await;
        let pod = world.until_running(name).await;
        let dir = volume(&world, &pod, "empty-dir", "m");
        fs::write(dir.join("half"), vec![1; 512 << 10]).unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert_eq!(world.until_running(name).await.uid(), pod.uid(), "within its limit");
        fs::write(dir.join("more"), vec![1; 1 << 20]).unwrap();
        let event = world.until_event(name, message).await;
        assert_eq!(
            (event.reason.as_deref(), event.type_.as_deref()),
            (Some("Evicted"), Some("Warning"))
        );
        let pod = world.until(name, |pod| phase(pod) == "Failed").await;
        let status = pod.status.unwrap();
        assert_eq!(
            (status.reason.as_deref(), status.message.as_deref()),
            (Some("Evicted"), Some(message))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_a_forbidden_sysctl_fails_and_says_so() {
    let world = World::start().await;
    let spec = json!({
        "securityContext": { "sysctls": [{ "name": "kernel.msgmax", "value": "1" }] },
        "containers": [{ "name": "c", "image": "busybox", "command": ["sleep", "100000"] }],
    });
    world.run("tuner", spec).await;
    let pod = world.until("tuner", |pod| phase(pod) == "Failed").await;
    let status = pod.status.unwrap();
    assert_eq!(
        (status.reason.as_deref(), status.container_statuses),
        (Some("SysctlForbidden"), None)
    );
    assert_eq!(
        status.message.as_deref(),
        Some("forbidden sysctl: \"kernel.msgmax\" not allowlisted")
    );
}
