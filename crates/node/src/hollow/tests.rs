use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

async fn sandboxed() -> Hollow {
    let hollow = Hollow::new();
    let spec = SandboxSpec {
        id: "s".into(),
        hostname: "web".into(),
        ..SandboxSpec::default()
    };
    hollow.create_sandbox(spec).await.expect("a sandbox");
    hollow
}

fn container(image: &str, argv: &[&str]) -> ContainerSpec {
    ContainerSpec {
        id: argv.join(" "),
        sandbox: "s".into(),
        root: image.into(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: vec![("WHO".into(), "world".into())],
        working_dir: "/".into(),
        ..ContainerSpec::default()
    }
}

/// What it wrote, and its exit code.
async fn run(argv: &[&str]) -> (String, i32) {
    let hollow = sandboxed().await;
    let started = hollow
        .start(container("docker.io/library/busybox:1.28", argv))
        .await
        .expect("started");
    let mut text = String::new();
    let (mut out, exit) = (started.stdout, started.exit);
    let (_, status) = tokio::join!(out.read_to_string(&mut text), exit);
    (text, status.code)
}

#[tokio::test(start_paused = true)]
async fn small_scripts_do_what_they_say() {
    for (script, text, code) in [
        ("echo hello $WHO; exit 3", "hello world\n", 3),
        ("echo \"$(hostname) is '${WHO}'\"", "web is 'world'\n", 0),
        ("false || echo no; false && echo yes; true", "no\n", 0),
        (
            "touch /tmp/a; test -f /tmp/a && rm /tmp/a; [ -e /tmp/a ] || echo gone",
            "gone\n",
            0,
        ),
        ("echo 1 > /f; echo 2 >> /f; cat /f", "1\n2\n", 0),
        (
            "until test -f /x; do echo wait; touch /x; done; sleep 3600; echo late",
            "wait\nlate\n",
            0,
        ),
        ("nonsense", "", 127),
    ] {
        assert_eq!(run(&["sh", "-c", script]).await, (text.to_owned(), code), "{script}");
    }
    assert_eq!(run(&["sh"]).await, (String::new(), 0), "a shell without input ends");
}

#[tokio::test(start_paused = true)]
async fn a_first_process_ignores_what_it_does_not_handle() {
    let hollow = sandboxed().await;
    let started = hollow
        .start(container("busybox", &["sleep", "1000"]))
        .await
        .expect("started");
    let mut exit = started.exit;
    hollow.signal("sleep 1000", 15).await.expect("signalled");
    tokio::select! {
        biased;
        status = &mut exit => panic!("ended by SIGTERM: {status:?}"),
        () = tokio::time::sleep(Duration::from_secs(30)) => {}
    }
    hollow.signal("sleep 1000", 9).await.expect("signalled");
    assert_eq!(exit.await.code, 137);
    let kuard = hollow
        .start(container("gcr.io/kuar-demo/kuard-amd64:blue", &["/kuard"]))
        .await
        .expect("started");
    hollow.signal("/kuard", 15).await.expect("signalled");
    assert_eq!(kuard.exit.await.code, 143);
}

async fn get(hollow: &Hollow, request: &str) -> String {
    let mut connection = hollow.dial("s", 8080).await.expect("a connection");
    connection
        .write_all(format!("{request} HTTP/1.0\r\n\r\n").as_bytes())
        .await
        .expect("sent");
    let mut text = String::new();
    connection.read_to_string(&mut text).await.expect("answered");
    text
}

#[tokio::test(start_paused = true)]
async fn servers_can_be_dialled_and_two_cannot_share_a_port() {
    let hollow = sandboxed().await;
    assert!(hollow.dial("s", 8080).await.is_err(), "nothing listens yet");
    let kuard = hollow
        .start(container("gcr.io/kuar-demo/kuard-amd64:blue", &["/kuard"]))
        .await
        .expect("started");
    let mut banner = [0; 60];
    let mut out = kuard.stdout;
    out.read_exact(&mut banner).await.expect("a banner");
    assert!(String::from_utf8_lossy(&banner).contains("Starting kuard version: v0.10.0-blue"));
    assert!(get(&hollow, "GET /healthy").await.ends_with("ok"));
    let mut connection = hollow
        .dial_node("10.244.0.2:8080".parse().expect("an address"))
        .await
        .expect("a connection");
    let body = "{\"failNext\": 1}";
    let request = format!(
        "PUT /healthy/api HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).await.expect("sent");
    let mut text = String::new();
    connection.read_to_string(&mut text).await.expect("answered");
    assert!(get(&hollow, "GET /healthy").await.starts_with("HTTP/1.0 500"));
    assert!(get(&hollow, "GET /healthy").await.ends_with("ok"));
    let second = hollow
        .start(container("luksa/kubia", &["node", "app.js"]))
        .await
        .expect("started");
    assert_eq!(second.exit.await.code, 1, "the port is taken");
}

#[tokio::test(start_paused = true)]
async fn a_shell_on_a_terminal_echoes_and_answers() {
    let hollow = sandboxed().await;
    hollow
        .start(container("busybox", &["sleep", "9999"]))
        .await
        .expect("started");
    let exec = |argv: &str| ExecSpec {
        argv: vec![argv.into()],
        tty: true,
        stdin: true,
    };
    let started = hollow.exec("sleep 9999", exec("sh")).await.expect("a shell");
    (started.resize.expect("a terminal"))(132, 50);
    let mut stdin = started.stdin.expect("input");
    stdin
        .write_all(b"stty sizx\x7fe\recho hi\rexit 7\r")
        .await
        .expect("typed");
    let mut text = String::new();
    let mut out = started.stdout;
    out.read_to_string(&mut text).await.expect("output");
    assert_eq!(
        text,
        "/ # stty sizx\x08 \x08e\r\n50 132\r\n/ # echo hi\r\nhi\r\n/ # exit 7\r\n"
    );
    assert_eq!(started.exit.await.code, 7);
    let error = hollow
        .exec("sleep 9999", exec("bash"))
        .await
        .err()
        .expect("busybox has no bash");
    assert_eq!(error.to_string(), "exec: \"bash\": executable file not found in $PATH");
}
