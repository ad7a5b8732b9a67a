//! Containers: logs, exec, copy, port-forward.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{Cluster, kubectl};

#[test]
fn logs_are_printed_followed_and_kept_of_the_instance_before() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("logs", kubectl);
    cluster.ok(&[
        "run",
        "talk",
        "--image=busybox",
        "--restart=Always",
        "--command",
        "--",
        "sh",
        "-c",
        "i=0; while [ $i -lt 5 ]; do i=$((i+1)); echo line $i; sleep 0.2; done; exit 3",
    ]);
    cluster.ready("talk");
    let mut follow = cluster.follow(&["logs", "-f", "talk"]);
    for line in ["line 1", "line 5"] {
        follow.until(&[line]);
    }
    let (_, _) = follow.end();
    let mut watch = cluster.follow(&["get", "pods", "-w", "-o", "custom-columns=R:.status.containerStatuses[0].restartCount,L:.status.containerStatuses[0].lastState.terminated.exitCode"]);
    watch.until(&["1", "3"]);
    let previous = cluster.ok(&["logs", "-p", "talk"]);
    assert!(previous.contains("line 1") && previous.contains("line 5"), "{previous}");
    assert_eq!(cluster.ok(&["logs", "-p", "talk", "--tail=1"]).trim(), "line 5");
    assert!(
        cluster
            .ok(&["logs", "-p", "talk", "--timestamps", "--tail=1"])
            .contains('T')
    );
}

#[test]
fn exec_gives_output_input_and_exit_codes() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("exec", kubectl);
    cluster.ok(&["run", "box", "--image=busybox", "--command", "--", "sleep", "1000"]);
    cluster.ready("box");
    assert_eq!(cluster.ok(&["exec", "box", "--", "echo", "hello"]).trim(), "hello");
    assert_eq!(
        cluster
            .ok_with(&["exec", "-i", "box", "--", "cat"], b"from here\n")
            .trim(),
        "from here"
    );
    let output = cluster.output(
        &["exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7"],
        b"",
    );
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(super::cluster::text(&output.stdout).trim(), "out");
    assert!(super::cluster::text(&output.stderr).contains("err"));
    let missing = cluster.fails(&["exec", "box", "--", "bash"], b"");
    assert!(missing.contains("bash") && missing.contains("not found"), "{missing}");
    let big = cluster.ok(&[
        "exec",
        "box",
        "--",
        "sh",
        "-c",
        "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo 0123456789012345678901234567890123456789; done",
    ]);
    assert_eq!(big.len(), 20_000 * 41, "nothing is lost of much output");
    assert!(
        cluster
            .fails(&["exec", "nobody", "--", "true"], b"")
            .contains("not found")
    );
}

#[test]
fn files_are_copied_both_ways() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("copy", kubectl);
    cluster.ok(&["run", "box", "--image=busybox", "--command", "--", "sleep", "1000"]);
    cluster.ready("box");
    let content = "some text\n".repeat(20_000);
    let there = cluster.file("there.txt", &content);
    cluster.ok(&["cp", &there, "box:/tmp/there.txt"]);
    assert_eq!(
        cluster
            .ok(&["exec", "box", "--", "wc", "-c", "/tmp/there.txt"])
            .split_whitespace()
            .next(),
        Some("200000")
    );
    let back = cluster.file("back.txt", "");
    cluster.ok(&["cp", "box:/tmp/there.txt", &back]);
    assert!(
        std::fs::read_to_string(&back).expect("copied") == content,
        "what comes back is what went"
    );
}

fn ask(port: u16, path: &str) -> std::io::Result<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_forwarded_port_is_answered_by_the_pod_and_by_a_service() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("forward", kubectl);
    cluster.ok(&[
        "run",
        "kuard",
        "--image=gcr.io/kuar-demo/kuard-amd64:blue",
        "--port=8080",
    ]);
    cluster.ok(&["expose", "pod", "kuard", "--port=80", "--target-port=8080"]);
    cluster.ready("kuard");
    for target in [["pod/kuard", ":8080"], ["service/kuard", ":80"]] {
        let mut forward = cluster.follow(&["port-forward", target[0], target[1]]);
        let line = forward.until(&["Forwarding from 127.0.0.1:"]);
        let port = line
            .split("127.0.0.1:")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("a port: {line}"));
        for path in ["/healthy", "/"] {
            let answer = ask(port, path).expect("answered");
            assert!(answer.starts_with("HTTP/1.1 200"), "{target:?} {path}: {answer}");
        }
    }
}
