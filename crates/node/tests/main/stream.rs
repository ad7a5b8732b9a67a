//! Logs, commands, attachments and connections, as the API server asks for them.

use futures::StreamExt;
use knarr_stream::backend::{Backend, ExecOptions, Exit, LogOptions, TerminalSize};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{World, reference};

#[tokio::test(start_paused = true)]
async fn logs_are_followed_until_the_container_ends() {
    let world = World::start().await;
    world
        .run_one(
            "talk",
            json!({ "image": "busybox", "command": ["sh", "-c", "echo a; sleep 10; echo b; sleep 10; echo c"] }),
        )
        .await;
    let pod = world.until_running("talk").await;
    let options = LogOptions {
        container: "c".into(),
        follow: true,
        tail_lines: Some(0),
        ..LogOptions::default()
    };
    let begin = world.clock.now();
    let lines: Vec<_> = world
        .kubelet
        .logs(&reference(&pod), options)
        .await
        .unwrap()
        .map(Result::unwrap)
        .collect()
        .await;
    assert_eq!(lines.concat(), b"b\nc\n");
    assert_eq!(world.clock.now().duration_since(begin).as_secs(), 20);
    let missing = LogOptions {
        container: "c".into(),
        previous: true,
        ..LogOptions::default()
    };
    world
        .run_one("first", json!({ "image": "busybox", "command": ["sleep", "1000"] }))
        .await;
    let pod = world.until_running("first").await;
    let error = world.kubelet.logs(&reference(&pod), missing).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "previous terminated container \"c\" in pod \"first\" not found"
    );
}

#[tokio::test(start_paused = true)]
async fn commands_run_on_a_terminal_and_missing_ones_are_named() {
    let world = World::start().await;
    world
        .run_one("box", json!({ "image": "busybox", "command": ["sleep", "100000"] }))
        .await;
    let pod = world.until_running("box").await;
    let options = |command: &str| ExecOptions {
        container: "c".into(),
        command: vec![command.into()],
        stdin: true,
        stdout: true,
        tty: true,
        ..ExecOptions::default()
    };
    let process = world.kubelet.exec(&reference(&pod), options("sh")).await.unwrap();
    let resize = process.resize.unwrap();
    resize.send(TerminalSize { width: 100, height: 40 }).await.unwrap();
    resize.closed_after_use().await;
    let mut stdin = process.stdin.unwrap();
    stdin.write_all(b"stty size\rexit 5\r").await.unwrap();
    let mut text = String::new();
    process.stdout.unwrap().read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("/ # stty size\r\n40 100\r\n/ # "), "{text:?}");
    assert_eq!(process.exit.await, Exit::Code(5));
    let process = world.kubelet.exec(&reference(&pod), options("bash")).await.unwrap();
    let Exit::Failed(why) = process.exit.await else {
        panic!("there is no bash");
    };
    assert!(
        why.contains("exec: \"bash\": executable file not found in $PATH"),
        "{why}"
    );
}

/// Lets the task that resizes the terminal run.
trait Settled {
    async fn closed_after_use(&self);
}

impl<T> Settled for tokio::sync::mpsc::Sender<T> {
    async fn closed_after_use(&self) {
        while self.capacity() < self.max_capacity() {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn several_clients_attach_to_one_container() {
    let world = World::start().await;
    world
        .run_one("shell", json!({ "image": "busybox", "stdin": true, "tty": true }))
        .await;
    let pod = world.until_running("shell").await;
    let options = |stdin| ExecOptions {
        container: "c".into(),
        stdin,
        stdout: true,
        tty: true,
        ..ExecOptions::default()
    };
    let driver = world.kubelet.attach(&reference(&pod), options(true)).await.unwrap();
    let watcher = world.kubelet.attach(&reference(&pod), options(false)).await.unwrap();
    let mut stdin = driver.stdin.unwrap();
    stdin.write_all(b"echo hi\r").await.unwrap();
    // The first one to come sees the prompt that was there before.
    for (stdout, expected) in [
        (driver.stdout, "/ # echo hi\r\nhi\r\n"),
        (watcher.stdout, "echo hi\r\nhi\r\n"),
    ] {
        let mut text = vec![0; expected.len()];
        stdout.unwrap().read_exact(&mut text).await.unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
    // Who leaves gives the keyboard to the next.
    drop(stdin);
    let next = world.kubelet.attach(&reference(&pod), options(true)).await.unwrap();
    next.stdin.unwrap().write_all(b"exit 0\r").await.unwrap();
    assert_eq!(next.exit.await, Exit::Code(0));
}

#[tokio::test(start_paused = true)]
async fn ports_of_a_pod_can_be_reached_and_closed_ones_refuse() {
    let world = World::start().await;
    world.run_one("kubia", json!({ "image": "luksa/kubia" })).await;
    let pod = world.until_running("kubia").await;
    let mut connection = world.kubelet.dial(&reference(&pod), 8080).await.unwrap();
    connection.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("You've hit kubia\n"), "{answer}");
    let refused = world.kubelet.dial(&reference(&pod), 81).await.err().unwrap();
    assert!(refused.to_string().contains("connection refused"), "{refused}");
    let mut other = reference(&pod);
    other.uid = "another".into();
    assert!(
        world.kubelet.dial(&other, 8080).await.is_err(),
        "a pod of the same name is not the same pod"
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_client_of_a_container_that_waits_for_one_sees_all_of_its_output() {
    let world = World::start().await;
    let attach = |pod: &k8s_openapi::api::core::v1::Pod| {
        let options = ExecOptions {
            container: "c".into(),
            stdin: true,
            stdout: true,
            ..ExecOptions::default()
        };
        let (kubelet, pod) = (world.kubelet.clone(), reference(pod));
        async move { kubelet.attach(&pod, options).await }
    };
    let script = json!(["sh", "-c", "echo early; sleep 60; echo late"]);
    world
        .run(
            "short",
            json!({ "restartPolicy": "Never", "containers": [
                { "name": "c", "image": "busybox", "stdin": true, "stdinOnce": true, "command": script },
            ] }),
        )
        .await;
    let pod = world.until_running("short").await;
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    let mut process = attach(&pod).await.unwrap();
    let mut seen = String::new();
    process
        .stdout
        .as_mut()
        .unwrap()
        .read_to_string(&mut seen)
        .await
        .unwrap();
    assert_eq!(seen, "early\nlate\n");
    world
        .until("short", |pod| crate::world::phase(pod) == "Succeeded")
        .await;
    assert!(attach(&pod).await.is_err(), "so that kubectl shows the log instead");
}
