//! Lives of pods that do not.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod};
use knarr_stream::backend::LogOptions;
use kube::api::PostParams;
use serde_json::json;

use crate::world::{World, container, object, phase, state};

#[tokio::test(start_paused = true)]
async fn a_crashing_container_is_restarted_at_growing_intervals() {
    let world = World::start().await;
    let begin = world.clock.now();
    let created = world
        .run_one(
            "crash",
            json!({ "image": "busybox", "command": ["sh", "-c", "echo life; exit 3"] }),
        )
        .await;
    let waiting = world.until("crash", |pod| state(pod, "c") == "CrashLoopBackOff").await;
    let status = container(&waiting, "c");
    assert_eq!(status.restart_count, 1, "the first restart is immediate");
    let uid = created.metadata.uid.clone().unwrap();
    assert_eq!(
        status.state.unwrap().waiting.unwrap().message.unwrap(),
        format!("back-off 10s restarting failed container=c pod=crash_default({uid})")
    );
    assert_eq!(status.last_state.unwrap().terminated.unwrap().exit_code, 3);
    assert_eq!(phase(&waiting), "Running");
    let event = world
        .until_event("crash", "Back-off restarting failed container c in pod crash_default")
        .await;
    assert_eq!(
        (event.type_.as_deref(), event.reason.as_deref()),
        (Some("Warning"), Some("BackOff"))
    );
    world.until("crash", |pod| container(pod, "c").restart_count == 7).await;
    let passed = world.clock.now().duration_since(begin).as_secs();
    assert!(
        (10 + 20 + 40 + 80 + 160 + 300..630).contains(&passed),
        "{passed} seconds"
    );
    let pod = world.until("crash", |pod| state(pod, "c") == "CrashLoopBackOff").await;
    for previous in [false, true] {
        let options = LogOptions {
            previous,
            ..LogOptions::default()
        };
        assert_eq!(world.logs(&pod, options).await.unwrap(), "life\n");
    }
}

#[tokio::test(start_paused = true)]
async fn images_that_are_not_there_are_told_in_familiar_words() {
    let world = World::start().await;
    world.run_one("absent", json!({ "image": "example.com/a:1" })).await;
    let pod = world.until("absent", |pod| state(pod, "c") == "ErrImagePull").await;
    let refused = world.logs(&pod, LogOptions::default()).await.unwrap_err();
    assert_eq!(
        refused,
        "container \"c\" in pod \"absent\" is waiting to start: trying and failing to pull image"
    );
    let pod = world.until("absent", |pod| state(pod, "c") == "ImagePullBackOff").await;
    let message = container(&pod, "c").state.unwrap().waiting.unwrap().message.unwrap();
    assert!(
        message.starts_with("Back-off pulling image \"example.com/a:1\": ErrImagePull: failed to pull and unpack"),
        "{message}"
    );
    world.until("absent", |pod| state(pod, "c") == "ErrImagePull").await;
    let events = world.events("absent").await;
    for expected in [
        "Normal Pulling Pulling image \"example.com/a:1\"",
        "Warning Failed Error: ErrImagePull",
        "Normal BackOff Back-off pulling image \"example.com/a:1\"",
        "Warning Failed Error: ImagePullBackOff",
    ] {
        assert!(
            events.iter().any(|event| event == expected),
            "{expected} in {events:#?}"
        );
    }
    world
        .run_one(
            "never",
            json!({ "image": "example.com/a:1", "imagePullPolicy": "Never" }),
        )
        .await;
    world.until("never", |pod| state(pod, "c") == "ErrImageNeverPull").await;
    world.run_one("invalid", json!({ "image": "Not An Image" })).await;
    world
        .until("invalid", |pod| state(pod, "c") == "InvalidImageName")
        .await;
    world
        .run_one("always", json!({ "image": "busybox", "command": ["sleep", "9"] }))
        .await;
    world
        .until_event("always", "Successfully pulled image \"busybox\" in ")
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_started_says_why_and_starts_when_it_can() {
    let world = World::start().await;
    let env =
        json!([{ "name": "GREETING", "valueFrom": { "configMapKeyRef": { "name": "words", "key": "greeting" } } }]);
    world
        .run_one(
            "needy",
            json!({ "image": "busybox", "command": ["sh", "-c", "echo $GREETING; sleep 1000"], "env": env }),
        )
        .await;
    let pod = world
        .until("needy", |pod| state(pod, "c") == "CreateContainerConfigError")
        .await;
    let message = |pod: &Pod| container(pod, "c").state.unwrap().waiting.unwrap().message.unwrap();
    assert_eq!(message(&pod), "configmap \"words\" not found");
    world.until_event("needy", "Error: configmap \"words\" not found").await;
    let words: ConfigMap = object(json!({ "metadata": { "name": "words" }, "data": { "other": "x" } }));
    world
        .api::<ConfigMap>()
        .create(&PostParams::default(), &words)
        .await
        .unwrap();
    world
        .until("needy", |pod| {
            state(pod, "c") == "CreateContainerConfigError"
                && message(pod) == "couldn't find key greeting in ConfigMap default/words"
        })
        .await;
    world
        .patch::<ConfigMap>("words", json!({ "data": { "greeting": "hello" } }))
        .await;
    let pod = world.until_running("needy").await;
    assert_eq!(world.logs(&pod, LogOptions::default()).await.unwrap(), "hello\n");

    world
        .run_one("typo", json!({ "image": "busybox", "command": ["slepe", "9"] }))
        .await;
    let pod = world.until("typo", |pod| state(pod, "c") == "CrashLoopBackOff").await;
    let last = container(&pod, "c").last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (128, Some("StartError")));
    assert!(
        last.message
            .unwrap()
            .contains("exec: \"slepe\": executable file not found in $PATH")
    );
}

#[tokio::test(start_paused = true)]
async fn deadlines_and_termination_messages_are_told() {
    let world = World::start().await;
    let mut spec = json!({
        "activeDeadlineSeconds": 60, "terminationGracePeriodSeconds": 5,
        "containers": [{ "name": "c", "image": "busybox", "command": ["sleep", "100000"] }],
    });
    world.run("late", spec.clone()).await;
    let begin = world.clock.now();
    let pod = world.until("late", |pod| phase(pod) == "Failed").await;
    assert_eq!(world.clock.now().duration_since(begin).as_secs(), 65);
    let status = pod.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
    assert_eq!(
        status.message.as_deref(),
        Some("Pod was active on the node longer than the specified deadline")
    );

    spec["restartPolicy"] = "Never".into();
    spec["containers"][0]["command"] = json!(["sh", "-c", "echo sorry > /dev/termination-log; exit 4"]);
    world.run("sorry", spec).await;
    let pod = world.until("sorry", |pod| phase(pod) == "Failed").await;
    let ended = container(&pod, "c").state.unwrap().terminated.unwrap();
    assert_eq!((ended.exit_code, ended.message.as_deref()), (4, Some("sorry\n")));
}

#[tokio::test(start_paused = true)]
async fn pods_survive_the_loss_of_the_nodes_process() {
    let mut world = World::start().await;
    world
        .run_one(
            "stays",
            json!({ "image": "busybox", "command": ["sh", "-c", "echo hello; sleep 100000"] }),
        )
        .await;
    let once = json!({
        "restartPolicy": "Never", "containers": [{ "name": "c", "image": "busybox", "command": ["sleep", "100000"] }],
    });
    world.run("once", once.clone()).await;
    world.until_running("stays").await;
    world.until_running("once").await;
    world.lose_process().await;
    let pod = world.until("stays", |pod| container(pod, "c").restart_count == 1).await;
    let last = container(&pod, "c").last_state.unwrap().terminated.unwrap();
    assert_eq!(
        (last.exit_code, last.reason.as_deref()),
        (137, Some("ContainerStatusUnknown"))
    );
    world
        .until_event("stays", "Pod sandbox changed, it will be killed and re-created.")
        .await;
    let pod = world.until_running("stays").await;
    let previous = LogOptions {
        previous: true,
        ..LogOptions::default()
    };
    assert_eq!(
        world.logs(&pod, previous).await.unwrap(),
        "hello\n",
        "the log of the lost instance is there"
    );
    world.until("once", |pod| phase(pod) == "Failed").await;

    // An orderly stop ends containers and says so.
    world.run("orderly", once).await;
    world.until_running("orderly").await;
    let begin = world.clock.now();
    world.kubelet.stop().await;
    assert!(world.clock.now().duration_since(begin).as_secs() <= 8);
    let pod = world.until("orderly", |pod| phase(pod) == "Failed").await;
    assert_eq!(container(&pod, "c").state.unwrap().terminated.unwrap().exit_code, 137);
    world.begin_again().await;
    let pod = world
        .until("stays", |pod| {
            container(pod, "c").restart_count == 2 && crate::world::ready(pod)
        })
        .await;
    assert_eq!(
        container(&pod, "c")
            .last_state
            .unwrap()
            .terminated
            .unwrap()
            .reason
            .as_deref(),
        Some("Error")
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.logs(&pod, LogOptions::default()).await.unwrap(), "hello\n");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_container_runtime_is_told_and_pods_come_back_with_it() {
    let world = World::start().await;
    world
        .run(
            "web",
            json!({
                "initContainers": [{ "name": "setup", "image": "busybox", "command": ["sh", "-c", "echo ready"] }],
                "containers": [{ "name": "c", "image": "busybox", "command": ["sleep", "100000"] }],
            }),
        )
        .await;
    let once = json!({
        "restartPolicy": "Never", "containers": [{ "name": "c", "image": "busybox", "command": ["sleep", "100000"] }],
    });
    world.run("once", once).await;
    let before = world.until_running("web").await;
    world.until_running("once").await;

    world.runtime.go_down("the node process was killed");
    let node = world.until_node(|node| readiness(node).0 == "False").await;
    assert_eq!(
        readiness(&node),
        (
            "False".into(),
            "KubeletNotReady".into(),
            "container runtime is down: the node process was killed".into()
        )
    );
    let ended = world.until("once", |pod| phase(pod) == "Failed").await;
    assert_eq!(container(&ended, "c").state.unwrap().terminated.unwrap().exit_code, 137);
    world.until("web", |pod| !crate::world::ready(pod)).await;
    let down = world.clock.now();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let waiting = world.until("web", |_| true).await;
    assert_eq!(
        container(&waiting, "c").restart_count,
        0,
        "nothing runs without a runtime"
    );

    world.runtime.come_back();
    world.until_node(|node| readiness(node).0 == "True").await;
    let pod = world.until_running("web").await;
    assert!(world.clock.now().duration_since(down).as_secs() < 65);
    assert_eq!(container(&pod, "c").restart_count, 1);
    assert_eq!(
        container(&pod, "setup").restart_count,
        1,
        "a new sandbox is initialised"
    );
    assert_eq!(
        container(&pod, "c").last_state.unwrap().terminated.unwrap().exit_code,
        137
    );
    assert_ne!(pod.status.unwrap().pod_ip, before.status.unwrap().pod_ip);
    let events = world.events("web").await;
    assert!(
        events.iter().any(|event| event.contains("SandboxChanged")),
        "{events:#?}"
    );
    assert!(
        !events.iter().any(|event| event.contains("FailedCreatePodSandBox")),
        "{events:#?}"
    );
    let node = world.events("n1").await;
    let told = |what: &str| node.iter().position(|event| event.ends_with(what));
    assert!(
        told("now: NodeNotReady").is_some() && told("now: NodeNotReady") < told("now: NodeReady"),
        "{node:#?}"
    );
}

/// Status, reason and message of the condition `Ready`.
fn readiness(node: &Node) -> (String, String, String) {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    let found = ready.next().cloned().unwrap();
    (found.status, found.reason.unwrap(), found.message.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_failed_hook_is_told_without_what_it_said() {
    let world = World::start().await;
    let hook = json!({ "postStart": { "exec": { "command": ["sh", "-c", "echo secret; exit 3"] } } });
    world
        .run_one(
            "hooked",
            json!({ "image": "busybox", "command": ["sleep", "100000"], "lifecycle": hook }),
        )
        .await;
    let pod = world
        .until("hooked", |pod| state(pod, "c") == "PostStartHookError")
        .await;
    let message = container(&pod, "c").state.unwrap().waiting.unwrap().message.unwrap();
    assert!(
        message.starts_with(
            "Exec lifecycle hook ([sh -c echo secret; exit 3]) for Container \"c\" in Pod \"hooked_default("
        ),
        "{message}"
    );
    let pod = world.until("hooked", |pod| state(pod, "c") == "CrashLoopBackOff").await;
    assert_eq!(container(&pod, "c").restart_count, 1);
    let events = world.events("hooked").await;
    assert!(
        events
            .iter()
            .any(|event| event == "Warning FailedPostStartHook PostStartHook failed"),
        "{events:#?}"
    );
    assert!(!events.iter().any(|event| event.contains("secret")), "{events:#?}");
}

#[tokio::test(start_paused = true)]
async fn errors_are_tried_again_and_told_again_at_the_pace_of_a_kubelet() {
    let world = World::start().await;
    let env = json!([{ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "words", "key": "a" } } }]);
    let mut spec = json!({ "containers": [{ "name": "c", "image": "busybox", "env": env }] });
    spec["imagePullSecrets"] = json!([{ "name": "registry" }]);
    world.run("needy", spec).await;
    world.run_one("absent", json!({ "image": "example.com/a:1" })).await;
    world
        .until("needy", |pod| state(pod, "c") == "CreateContainerConfigError")
        .await;
    // Not so long that the recorder mutes the pods, as an API server's clients do.
    tokio::time::sleep(Duration::from_secs(45)).await;
    let count = |event: Event| event.count.unwrap();
    let failed = count(world.until_event("needy", "Error: configmap \"words\" not found").await);
    assert!((3..=6).contains(&failed), "{failed} times in 45 s");
    world
        .until_event(
            "needy",
            "Unable to retrieve some image pull secrets (registry); attempting to pull the image may not succeed.",
        )
        .await;
    // Pulls after 0, 10 and 30 s at the earliest; that it waits is told every 10 to 15 s.
    let pulls = count(world.until_event("absent", "Pulling image").await);
    let waits = count(world.until_event("absent", "Back-off pulling image").await);
    assert!(
        (2..=3).contains(&pulls) && (2..=5).contains(&waits),
        "{pulls} pulls, {waits} waits"
    );
}

#[tokio::test(start_paused = true)]
async fn sidecars_end_within_the_grace_period_of_the_pod() {
    let world = World::start().await;
    let stubborn = json!(["sh", "-c", "trap '' TERM; while true; do sleep 1; done"]);
    let sidecar =
        |name: &str| json!({ "name": name, "image": "busybox", "restartPolicy": "Always", "command": stubborn });
    world
        .run(
            "crew",
            json!({
                "terminationGracePeriodSeconds": 20,
                "initContainers": [sidecar("one"), sidecar("two")],
                "containers": [{ "name": "c", "image": "busybox", "command": stubborn }],
            }),
        )
        .await;
    world.until_running("crew").await;
    let begin = world.clock.now();
    world.api::<Pod>().delete("crew", &Default::default()).await.unwrap();
    world.until_gone("crew").await;
    let passed = world.clock.now().duration_since(begin).as_secs();
    assert!(
        (20..=25).contains(&passed),
        "{passed} seconds: twenty, and two for each sidecar"
    );
}
