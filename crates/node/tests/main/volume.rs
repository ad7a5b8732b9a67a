//! Environment and volumes.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use knarr_stream::backend::LogOptions;
use kube::api::PostParams;
use serde_json::json;

use crate::world::{World, object};

#[tokio::test(start_paused = true)]
async fn containers_get_their_environment_from_everywhere() {
    let world = World::start().await;
    let words: ConfigMap = object(json!({ "metadata": { "name": "words" }, "data": { "a": "1", "b": "2" } }));
    world
        .api::<ConfigMap>()
        .create(&PostParams::default(), &words)
        .await
        .unwrap();
    let secret: Secret = object(json!({ "metadata": { "name": "keys" }, "stringData": { "password": "hush" } }));
    world
        .api::<Secret>()
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    let service: Service = object(json!({ "metadata": { "name": "my-db" }, "spec": { "ports": [{ "port": 5432 }] } }));
    let service = world
        .api::<Service>()
        .create(&PostParams::default(), &service)
        .await
        .unwrap();
    let ip = service.spec.unwrap().cluster_ip.unwrap();
    // Services are news to the kubelet that come when they come.
    world
        .run_one("first", json!({ "image": "busybox", "command": ["sleep", "1"] }))
        .await;
    world.until_running("first").await;
    let container = json!({
        "image": "busybox", "command": ["sh", "-c", "env; echo $0 $1"],
        "args": ["$(TEXT)", "$$(TEXT)"],
        "resources": { "limits": { "memory": "64Mi" } },
        "envFrom": [{ "prefix": "W_", "configMapRef": { "name": "words" } }, { "secretRef": { "name": "none", "optional": true } }],
        "env": [
            { "name": "PASSWORD", "valueFrom": { "secretKeyRef": { "name": "keys", "key": "password" } } },
            { "name": "TEXT", "value": "pw=$(PASSWORD) $(NONE)" },
            { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
            { "name": "LIMIT", "valueFrom": { "resourceFieldRef": { "resource": "limits.memory", "divisor": "1Mi" } } },
            { "name": "MAYBE", "valueFrom": { "configMapKeyRef": { "name": "words", "key": "none", "optional": true } } },
        ],
    });
    world.run("env", json!({ "restartPolicy": "Never", "containers": [{ "name": "c", "image": container["image"], "command": container["command"], "args": container["args"], "resources": container["resources"], "envFrom": container["envFrom"], "env": container["env"] }] })).await;
    let pod = world.until("env", |pod| crate::world::phase(pod) == "Succeeded").await;
    let text = world.logs(&pod, LogOptions::default()).await.unwrap();
    let pod_ip = pod.status.unwrap().pod_ip.unwrap();
    for line in [
        "W_a=1".to_owned(),
        "W_b=2".into(),
        "PASSWORD=hush".into(),
        "TEXT=pw=hush $(NONE)".into(),
        format!("IP={pod_ip}"),
        "LIMIT=64".into(),
        "HOSTNAME=env".into(),
        format!("MY_DB_SERVICE_HOST={ip}"),
        "MY_DB_PORT_5432_TCP_PROTO=tcp".into(),
        "KUBERNETES_SERVICE_PORT_HTTPS=443".into(),
        "pw=hush $(NONE) $(TEXT)".into(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    assert!(!text.contains("MAYBE"));
}

#[tokio::test(start_paused = true)]
async fn mounted_objects_are_waited_for_and_follow_their_changes() {
    let world = World::start().await;
    let spec = json!({
        "volumes": [
            { "name": "config", "configMap": { "name": "site", "items": [{ "key": "page", "path": "html/index" }] } },
            { "name": "info", "downwardAPI": { "items": [{ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } }] } },
            { "name": "disk", "emptyDir": { "medium": "Memory" } },
        ],
        "containers": [{
            "name": "c", "image": "busybox", "command": ["sleep", "100000"],
            "volumeMounts": [
                { "name": "config", "mountPath": "/config" },
                { "name": "info", "mountPath": "/info" },
                { "name": "disk", "mountPath": "/scratch", "subPath": "a/b" },
                { "name": "config", "mountPath": "/page", "subPath": "html/index", "readOnly": true },
            ],
        }],
    });
    world.run("mounts", spec).await;
    let event = world
        .until_event(
            "mounts",
            "MountVolume.SetUp failed for volume \"config\" : configmap \"site\" not found",
        )
        .await;
    assert_eq!(event.reason.as_deref(), Some("FailedMount"));
    let site: ConfigMap = object(json!({ "metadata": { "name": "site" }, "data": { "page": "one" } }));
    world
        .api::<ConfigMap>()
        .create(&PostParams::default(), &site)
        .await
        .unwrap();
    let pod = world.until_running("mounts").await;
    assert_eq!(
        world.sh(&pod, "cat /config/html/index /page /info/labels").await,
        "oneoneapp=\"mounts\""
    );
    assert_eq!(
        world
            .sh(&pod, "echo 1 > /scratch/x; cat /scratch/x; echo 2 > /page; cat /page")
            .await,
        "1\nonesh: can't create /page: Read-only file system\n"
    );
    assert_eq!(
        world
            .sh(
                &pod,
                "cat /var/run/secrets/kubernetes.io/serviceaccount/namespace /etc/hostname"
            )
            .await,
        "defaultmounts\n"
    );
    let token = world
        .sh(&pod, "cat /var/run/secrets/kubernetes.io/serviceaccount/token")
        .await;
    assert_eq!(token.split('.').count(), 3, "a token: {token}");

    world
        .patch::<ConfigMap>("site", json!({ "data": { "page": "two" } }))
        .await;
    world
        .patch::<Pod>("mounts", json!({ "metadata": { "labels": { "tier": "x" } } }))
        .await;
    while world.sh(&pod, "cat /config/html/index /info/labels").await != "twoapp=\"mounts\"\ntier=\"x\"" {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }

    // Before its hour is over the token is replaced.
    tokio::time::sleep(std::time::Duration::from_secs(3500)).await;
    let later = world
        .sh(&pod, "cat /var/run/secrets/kubernetes.io/serviceaccount/token")
        .await;
    assert_ne!(later, token);
    world.kubelet.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_this_node_cannot_mount_is_said() {
    let world = World::start().await;
    let spec = |volume| {
        json!({
            "volumes": [volume],
            "containers": [{ "name": "c", "image": "busybox", "volumeMounts": [{ "name": "v", "mountPath": "/v" }] }],
        })
    };
    world
        .run(
            "nfs",
            spec(json!({ "name": "v", "nfs": { "server": "s", "path": "/" } })),
        )
        .await;
    world
        .until_event("nfs", "this node cannot mount volumes of type nfs")
        .await;
    world
        .run(
            "host",
            spec(json!({ "name": "v", "hostPath": { "path": "/nowhere/at/all", "type": "Directory" } })),
        )
        .await;
    world
        .until_event("host", "hostPath type check failed: /nowhere/at/all is not a directory")
        .await;
}
