//! The Node object, its lease, and the pods that are the node's own.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use knarr_node::{Capacity, ComponentLog, ComponentPod};
use knarr_stream::backend::{Backend, ExecOptions, LogOptions};
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use crate::world::{World, ready, reference};

#[tokio::test(start_paused = true)]
async fn the_node_registers_and_shows_that_it_lives() {
    let world = World::start_with(|options| {
        options.labels.insert("gpu".into(), "true".into());
        options.capacity = Some(Capacity {
            cpu_millis: 2000,
            memory_bytes: 4 << 30,
            storage_bytes: 1 << 40,
            pods: 110,
        });
    })
    .await;
    let nodes: Api<Node> = Api::all(world.client.clone());
    let node = nodes.get("n1").await.unwrap();
    let labels = node.metadata.labels.unwrap();
    for (name, value) in [
        ("gpu", "true"),
        ("kubernetes.io/hostname", "n1"),
        ("kubernetes.io/os", "linux"),
        ("knarr.dev/runtime", "hollow"),
    ] {
        assert_eq!(labels.get(name).map(String::as_str), Some(value), "{name}");
    }
    let status = node.status.unwrap();
    let capacity = serde_json::to_value(status.capacity).unwrap();
    assert_eq!(
        (&capacity["cpu"], &capacity["memory"], &capacity["pods"]),
        (&json!("2"), &json!("4Gi"), &json!("110"))
    );
    let ready = status.conditions.unwrap().pop().unwrap();
    assert_eq!((ready.type_.as_str(), ready.status.as_str()), ("Ready", "True"));
    assert_eq!(ready.message.as_deref(), Some("kubelet is posting ready status"));
    assert!(status.images.unwrap().len() > 5);
    assert!(
        status
            .node_info
            .unwrap()
            .container_runtime_version
            .starts_with("hollow://")
    );

    let leases: Api<Lease> = Api::namespaced(world.client.clone(), "kube-node-lease");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let renewed = || async { leases.get("n1").await.unwrap().spec.unwrap().renew_time.unwrap() };
    let before = renewed().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(renewed().await.0.duration_since(before.0).as_secs(), 60);
    world.kubelet.stop().await;
    let node = nodes.get("n1").await.unwrap();
    let conditions = node.status.unwrap().conditions.unwrap();
    assert!(
        conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "False")
    );
}

#[tokio::test(start_paused = true)]
async fn static_pods_run_from_their_manifests_whatever_happens_to_their_mirrors() {
    let manifests = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(manifests.path().join("web.yaml"), text).unwrap();
    write("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: 'nginx:1.25'}]}\n");
    let world = World::start_with(|options| options.manifest_dir = Some(manifests.path().to_owned())).await;
    let pod = world.until_running("web-n1").await;
    let annotations = pod.metadata.annotations.clone().unwrap();
    assert_eq!(
        annotations.get("kubernetes.io/config.mirror"),
        annotations.get("kubernetes.io/config.hash")
    );
    assert_eq!(
        annotations.get("kubernetes.io/config.source").map(String::as_str),
        Some("file")
    );
    let owner = &pod.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("Node", "n1"));
    let id = |pod: &Pod| crate::world::container(pod, "c").container_id;
    world
        .api::<Pod>()
        .delete("web-n1", &DeleteParams::default())
        .await
        .unwrap();
    let again = world
        .until("web-n1", |again| again.metadata.uid != pod.metadata.uid && ready(again))
        .await;
    assert_eq!(id(&again), id(&pod), "the container has not noticed");
    world.kubelet.dial(&reference(&again), 80).await.unwrap();

    write("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: 'nginx:1.27'}]}\n");
    world
        .until("web-n1", |pod| {
            crate::world::container(pod, "c").image.ends_with(":1.27") && ready(pod)
        })
        .await;
    std::fs::remove_file(manifests.path().join("web.yaml")).unwrap();
    world.until_gone("web-n1").await;
}

#[tokio::test(start_paused = true)]
async fn components_are_pods_with_logs_and_nothing_to_run_commands_in() {
    let world = World::start_with(|options| {
        let log = ComponentLog::new(options.clock.clone());
        log.push("serving");
        options.components.push(ComponentPod {
            name: "kube-apiserver".into(),
            image: "knarr/kube-apiserver:v1.37.0".into(),
            command: vec!["kube-apiserver".into()],
            log,
        });
    })
    .await;
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), "kube-system");
    let pod = loop {
        match pods.get_opt("kube-apiserver-n1").await.unwrap() {
            Some(pod) if ready(&pod) => break pod,
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    assert_eq!(world.logs(&pod, LogOptions::default()).await.unwrap(), "serving\n");
    let options = ExecOptions {
        container: "kube-apiserver".into(),
        command: vec!["sh".into()],
        ..ExecOptions::default()
    };
    let error = world.kubelet.exec(&reference(&pod), options).await.err().unwrap();
    assert!(
        error.to_string().contains("part of the control plane's own process"),
        "{error}"
    );
    pods.delete("kube-apiserver-n1", &DeleteParams::default())
        .await
        .unwrap();
    loop {
        match pods.get_opt("kube-apiserver-n1").await.unwrap() {
            Some(again) if again.metadata.uid != pod.metadata.uid && ready(&again) => break,
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cordoning_is_told() {
    let world = World::start().await;
    let nodes: Api<Node> = Api::all(world.client.clone());
    nodes.cordon("n1").await.unwrap();
    world
        .until_event("n1", "Node n1 status is now: NodeNotSchedulable")
        .await;
    nodes.uncordon("n1").await.unwrap();
    world.until_event("n1", "Node n1 status is now: NodeSchedulable").await;
}

#[tokio::test(start_paused = true)]
async fn the_node_serves_what_it_knows_of_itself() {
    let world = World::start().await;
    world
        .run_one("busy", json!({ "image": "busybox", "command": ["sleep", "100000"] }))
        .await;
    world.until_running("busy").await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    let get = |path: &'static str| {
        let kubelet = world.kubelet.clone();
        async move {
            kubelet
                .node(path)
                .await
                .map(|answer| String::from_utf8(answer.body.to_vec()).unwrap())
        }
    };
    assert_eq!(get("/healthz").await.unwrap(), "ok");
    let json = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let summary = json(get("/stats/summary").await.unwrap());
    assert_eq!(summary["node"]["nodeName"], "n1");
    let pod = &summary["pods"][0];
    assert_eq!(pod["podRef"]["name"], "busy");
    assert_eq!(pod["containers"][0]["memory"]["workingSetBytes"], 8 << 20);
    let nanos = pod["containers"][0]["cpu"]["usageCoreNanoSeconds"].as_u64().unwrap();
    assert!(
        (100_000_000..110_000_000).contains(&nanos),
        "a thousandth of a core for 100 s: {nanos}"
    );
    let rate = pod["cpu"]["usageNanoCores"].as_u64().unwrap();
    assert!((900_000..1_100_000).contains(&rate), "{rate}");
    assert_eq!(
        json(get("/pods").await.unwrap())["items"][0]["metadata"]["name"],
        "busy"
    );
    assert_eq!(
        json(get("/runningpods/").await.unwrap())["items"][0]["spec"]["containers"][0]["name"],
        "c"
    );
    assert_eq!(
        json(get("/configz").await.unwrap())["kubeletconfig"]["clusterDomain"],
        "cluster.local"
    );
    assert!(get("/metrics").await.unwrap().contains("kubelet_running_pods 1\n"));
    let metrics = get("/metrics/resource").await.unwrap();
    let line = "container_memory_working_set_bytes{container=\"c\",namespace=\"default\",pod=\"busy\"} 8388608 ";
    assert!(metrics.contains(line), "{metrics}");
    assert!(get("/nothing").await.is_err());
    world.runtime.go_down("gone");
    assert!(
        get("/healthz")
            .await
            .unwrap_err()
            .to_string()
            .contains("container runtime is down")
    );
}
