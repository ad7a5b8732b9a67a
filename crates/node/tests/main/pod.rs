//! Lives of pods that go as they should.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::node::v1::RuntimeClass;
use knarr_stream::backend::LogOptions;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::world::{World, condition, container, object, phase, ready, state};

#[tokio::test(start_paused = true)]
async fn a_pod_runs_says_so_and_goes() {
    let world = World::start().await;
    world
        .run(
            "web",
            json!({ "containers": [{ "name": "kuard", "image": "gcr.io/kuar-demo/kuard-amd64:blue" }] }),
        )
        .await;
    let pod = world.until_running("web").await;
    assert_eq!(phase(&pod), "Running");
    let status = pod.status.clone().unwrap();
    assert_eq!(
        (status.host_ip.as_deref(), status.pod_ip.as_deref()),
        (Some("127.0.0.1"), Some("10.244.0.2"))
    );
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    assert_eq!(status.observed_generation, pod.metadata.generation);
    let kinds: Vec<String> = status
        .conditions
        .unwrap()
        .into_iter()
        .map(|condition| condition.type_)
        .collect();
    assert_eq!(
        kinds,
        [
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled"
        ]
    );
    let kuard = container(&pod, "kuard");
    assert!(kuard.container_id.unwrap().starts_with("hollow://"));
    assert_eq!(kuard.image, "gcr.io/kuar-demo/kuard-amd64:blue");
    assert!(
        kuard.image_id.starts_with("gcr.io/kuar-demo/kuard-amd64@sha256:"),
        "{}",
        kuard.image_id
    );
    world.until_event("web", "Container started").await;
    assert_eq!(
        world.events("web").await,
        [
            "Normal Pulled Container image \"gcr.io/kuar-demo/kuard-amd64:blue\" already present on machine and can be accessed by the pod",
            "Normal Created Container created",
            "Normal Started Container started",
        ]
    );
    let started = world.until_event("web", "Container started").await;
    assert_eq!(
        started.involved_object.field_path.as_deref(),
        Some("spec.containers{kuard}")
    );
    let source = started.source.unwrap();
    assert_eq!(
        (source.component.as_deref(), source.host.as_deref()),
        (Some("kubelet"), Some("n1"))
    );

    world
        .api::<Pod>()
        .delete("web", &DeleteParams::default())
        .await
        .unwrap();
    world.until_gone("web").await;
    world.until_event("web", "Stopping container kuard").await;
}

#[tokio::test(start_paused = true)]
async fn deletion_waits_for_the_grace_period_and_no_longer() {
    let world = World::start().await;
    // A shell that is a container's first process does not heed SIGTERM.
    for (name, grace, expected) in [("patient", None, 30), ("short", Some(3), 3), ("forced", Some(0), 0)] {
        world
            .run_one(name, json!({ "image": "busybox", "command": ["sleep", "100000"] }))
            .await;
        world.until_running(name).await;
        let before = world.clock.now();
        let parameters = DeleteParams {
            grace_period_seconds: grace,
            ..DeleteParams::default()
        };
        world.api::<Pod>().delete(name, &parameters).await.unwrap();
        world.until_gone(name).await;
        assert_eq!(world.clock.now().duration_since(before).as_secs(), expected, "{name}");
    }
    // A second, shorter request shortens what is left of the first.
    world
        .run_one(
            "hastened",
            json!({ "image": "busybox", "command": ["sleep", "100000"] }),
        )
        .await;
    world.until_running("hastened").await;
    let before = world.clock.now();
    world
        .api::<Pod>()
        .delete("hastened", &DeleteParams::default())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    world
        .api::<Pod>()
        .delete("hastened", &DeleteParams::default().grace_period(1))
        .await
        .unwrap();
    world.until_gone("hastened").await;
    assert_eq!(world.clock.now().duration_since(before).as_secs(), 6);
}

#[tokio::test(start_paused = true)]
async fn init_containers_run_first_sidecars_stay_and_the_pod_succeeds() {
    let world = World::start().await;
    let spec = json!({
        "restartPolicy": "Never",
        "volumes": [{ "name": "work", "emptyDir": {} }],
        "initContainers": [
            {
                "name": "setup", "image": "busybox", "command": ["sh", "-c", "sleep 3; echo done > /job/setup"],
                "volumeMounts": [{ "name": "work", "mountPath": "/job" }],
            },
            { "name": "side", "image": "busybox", "command": ["sleep", "100000"], "restartPolicy": "Always" },
        ],
        "containers": [{
            "name": "main", "image": "busybox", "command": ["sh", "-c", "cat /job/setup; sleep 60"],
            "volumeMounts": [{ "name": "work", "mountPath": "/job" }],
        }],
    });
    world.run("job", spec).await;
    let starting = world.until("job", |pod| state(pod, "setup") == "Running").await;
    assert_eq!(
        (phase(&starting), state(&starting, "main").as_str()),
        ("Pending", "PodInitializing")
    );
    assert_eq!(
        condition(&starting, "Initialized"),
        "False ContainersNotInitialized containers with incomplete status: [setup side]"
    );
    let running = world.until_running("job").await;
    assert_eq!(state(&running, "setup"), "Completed");
    assert_eq!(world.logs(&running, LogOptions::default()).await.unwrap(), "done\n");
    let over = world.until("job", |pod| phase(pod) == "Succeeded").await;
    assert_eq!(condition(&over, "Ready"), "False PodCompleted");
    assert_eq!(
        container(&over, "side").state.unwrap().terminated.unwrap().exit_code,
        137
    );
    assert_eq!(
        world.logs(&over, LogOptions::default()).await.unwrap(),
        "done\n",
        "logs outlive the containers"
    );
}

#[tokio::test(start_paused = true)]
async fn probes_decide_when_a_container_has_started_is_ready_and_must_go() {
    let world = World::start().await;
    let http = |path: &str| json!({ "path": path, "port": 8080 });
    let pod = json!({
        "image": "gcr.io/kuar-demo/kuard-amd64:blue",
        "startupProbe": { "exec": { "command": ["test", "-f", "/up"] }, "periodSeconds": 2, "failureThreshold": 100 },
        "readinessProbe": { "httpGet": http("/ready"), "periodSeconds": 1, "failureThreshold": 1 },
        "livenessProbe": { "httpGet": http("/healthy"), "periodSeconds": 1, "initialDelaySeconds": 5, "failureThreshold": 3 },
    });
    world.run_one("probed", pod).await;
    let up = world.until("probed", |pod| state(pod, "c") == "Running").await;
    assert_eq!(container(&up, "c").started, Some(false));
    world.until_event("probed", "Startup probe failed").await;
    world.sh(&up, "touch /up").await;
    let pod = world.until("probed", ready).await;
    assert_eq!(container(&pod, "c").started, Some(true));

    switch(&world, &pod, "/ready/api", -1).await;
    world.until("probed", |pod| !ready(pod)).await;
    world
        .until_event(
            "probed",
            "Readiness probe failed: HTTP probe failed with statuscode: 500",
        )
        .await;
    switch(&world, &pod, "/ready/api", 0).await;
    world.until("probed", ready).await;

    switch(&world, &pod, "/healthy/api", -1).await;
    let again = world
        .until("probed", |pod| container(pod, "c").restart_count == 1)
        .await;
    let last = container(&again, "c").last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (143, Some("Error")));
    let unhealthy = world
        .until_event(
            "probed",
            "Liveness probe failed: HTTP probe failed with statuscode: 500",
        )
        .await;
    assert_eq!(
        (unhealthy.reason.as_deref(), unhealthy.count),
        (Some("Unhealthy"), Some(3))
    );
    let killing = world
        .until_event("probed", "Container c failed liveness probe, will be restarted")
        .await;
    assert_eq!(killing.reason.as_deref(), Some("Killing"));
}

/// Presses one of kuard's buttons.
async fn switch(world: &World, pod: &Pod, path: &str, count: i32) {
    use knarr_stream::backend::Backend;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut connection = world.kubelet.dial(&crate::world::reference(pod), 8080).await.unwrap();
    let body = json!({ "failNext": count }).to_string();
    let request = format!("PUT {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn hooks_run_after_the_start_and_before_the_stop() {
    let world = World::start().await;
    let pod = json!({
        "image": "busybox", "command": ["sleep", "100000"],
        "lifecycle": {
            "postStart": { "exec": { "command": ["sh", "-c", "sleep 7; touch /greeted"] } },
            "preStop": { "sleep": { "seconds": 4 } },
        },
    });
    let created = world.run_one("polite", pod).await;
    let before = world.clock.now();
    let pod = world.until_running("polite").await;
    assert!(world.clock.now().duration_since(before).as_secs() >= 7);
    assert_eq!(world.sh(&pod, "test -f /greeted && echo yes").await, "yes\n");
    let before = world.clock.now();
    world
        .api::<Pod>()
        .delete("polite", &DeleteParams::default().grace_period(10))
        .await
        .unwrap();
    world.until_gone("polite").await;
    assert_eq!(
        world.clock.now().duration_since(before).as_secs(),
        10,
        "the hook's time is part of the grace period"
    );

    let failing = json!({
        "image": "busybox", "command": ["sleep", "100000"], "terminationGracePeriodSeconds": 1,
        "lifecycle": { "postStart": { "exec": { "command": ["false"] } } },
    });
    world.run("rude", json!({ "terminationGracePeriodSeconds": 1, "containers": [{ "name": "c", "image": failing["image"], "command": failing["command"], "lifecycle": failing["lifecycle"] }] })).await;
    world.until_event("rude", "FailedPostStartHook").await;
    world.until("rude", |pod| container(pod, "c").restart_count > 0).await;
    drop(created);
}

#[tokio::test(start_paused = true)]
async fn a_changed_image_replaces_the_container_and_debug_containers_join() {
    let world = World::start().await;
    world
        .run(
            "kubia",
            json!({ "terminationGracePeriodSeconds": 1, "containers": [{ "name": "c", "image": "luksa/kubia:v1" }] }),
        )
        .await;
    let pod = world.until_running("kubia").await;
    world
        .patch::<Pod>(
            "kubia",
            json!({ "spec": { "containers": [{ "name": "c", "image": "luksa/kubia:v2" }] } }),
        )
        .await;
    let pod_v2 = world
        .until("kubia", |pod| container(pod, "c").image.ends_with(":v2") && ready(pod))
        .await;
    assert_eq!(container(&pod_v2, "c").restart_count, 1);
    world
        .until_event("kubia", "Container c definition changed, will be restarted")
        .await;

    let debug = json!({ "spec": { "ephemeralContainers": [{ "name": "debug", "image": "busybox", "command": ["sh", "-c", "echo here"] }] } });
    let pods = world.api::<Pod>();
    pods.patch_ephemeral_containers("kubia", &PatchParams::default(), &Patch::Strategic(debug))
        .await
        .unwrap();
    let pod = world
        .until(&pod.name_any(), |pod| state(pod, "debug") == "Completed")
        .await;
    let options = LogOptions {
        container: "debug".into(),
        ..LogOptions::default()
    };
    assert_eq!(world.logs(&pod, options).await.unwrap(), "here\n");
    assert!(ready(&pod));
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_class_asks_for_another_runtime_is_not_run_by_this_one() {
    let world = World::start().await;
    for (name, handler) in [("own", "knarr"), ("other", "gvisor")] {
        let class: RuntimeClass = object(json!({ "metadata": { "name": name }, "handler": handler }));
        let classes: Api<RuntimeClass> = Api::all(world.client.clone());
        classes.create(&PostParams::default(), &class).await.unwrap();
        let container = json!({ "name": "c", "image": "nginx" });
        let spec = json!({ "runtimeClassName": name, "containers": [container] });
        world.run(name, spec).await;
    }
    world.until_running("own").await;
    let told = "Failed to create pod sandbox: failed to get sandbox runtime: no runtime for \"gvisor\" is configured";
    let event = world.until_event("other", told).await;
    assert_eq!(event.reason.as_deref(), Some("FailedCreatePodSandBox"));
}
