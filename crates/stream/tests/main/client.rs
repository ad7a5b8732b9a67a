//! kube-rs: WebSocket channels, version 5.

use futures::{AsyncBufReadExt as _, SinkExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, LogParams, TerminalSize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::node::{no_such_program, pattern};
use crate::server::Server;

fn pods(server: &Server) -> Api<Pod> {
    Api::namespaced(server.client(), "default")
}

fn all() -> AttachParams {
    AttachParams::default().stdin(true).stdout(true).stderr(true)
}

#[tokio::test]
async fn a_command_gets_its_input_and_reports_output_and_exit_code() {
    let server = Server::start().await;
    let mut process = pods(&server)
        .exec("web", ["sh", "-c", "cat; echo failing >&2; exit 3"], &all())
        .await
        .unwrap();
    let mut stdin = process.stdin().unwrap();
    let input = pattern(3_000_000, 1);
    let sent = input.clone();
    let feed = async move {
        stdin.write_all(&sent).await.unwrap();
        stdin.shutdown().await.unwrap();
    };
    let (mut out, mut err) = (Vec::new(), String::new());
    let (mut stdout, mut stderr) = (process.stdout().unwrap(), process.stderr().unwrap());
    let status = process.take_status().unwrap();
    let (_, read_out, read_err, status) = tokio::join!(
        feed,
        stdout.read_to_end(&mut out),
        stderr.read_to_string(&mut err),
        status
    );
    read_out.unwrap();
    read_err.unwrap();
    assert!(out == input, "output is the input");
    assert_eq!(err, "failing\n");
    let status = status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
    assert_eq!(
        status.message.as_deref(),
        Some(
            "command terminated with non-zero exit code: error executing command [sh -c cat; echo failing >&2; exit 3], \
             exit code 3"
        )
    );
    let cause = &status.details.unwrap().causes.unwrap()[0];
    assert_eq!(
        (cause.reason.as_deref(), cause.message.as_deref()),
        (Some("ExitCode"), Some("3"))
    );
    process.join().await.unwrap();
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_internal_error_of_the_conversation() {
    let server = Server::start().await;
    let mut process = pods(&server).exec("web", ["no-such-program"], &all()).await.unwrap();
    let status = process.take_status().unwrap().await.unwrap();
    let expected = format!("Internal error occurred: {}", no_such_program("no-such-program"));
    assert_eq!(status.message, Some(expected));
    assert_eq!(
        (status.reason.as_deref(), status.code),
        (Some("InternalError"), Some(500))
    );
}

#[tokio::test]
async fn a_container_that_is_not_there_is_refused_before_the_upgrade() {
    let server = Server::start().await;
    let refused = pods(&server).exec("web", ["true"], &all().container("absent")).await;
    let refused = format!("{:?}", refused.err().unwrap());
    assert!(refused.contains("404"), "{refused}");
}

#[tokio::test]
async fn a_terminal_follows_the_clients_size() {
    let server = Server::start().await;
    let params = AttachParams::interactive_tty();
    let mut process = pods(&server).exec("web", ["sh"], &params).await.unwrap();
    let mut lines = BufReader::new(process.stdout().unwrap()).lines();
    let mut size = process.terminal_size().unwrap();
    for (width, height) in [(100, 30), (80, 24)] {
        size.send(TerminalSize { width, height }).await.unwrap();
        assert_eq!(
            lines.next_line().await.unwrap().unwrap().trim(),
            format!("{width}x{height}")
        );
    }
    process.stdin().unwrap().write_all(b"exit 7\n").await.unwrap();
    assert_eq!(lines.next_line().await.unwrap().unwrap().trim(), "you said exit 7");
    let status = process.take_status().unwrap().await.unwrap();
    assert_eq!(status.details.unwrap().causes.unwrap()[0].message.as_deref(), Some("7"));
}

#[tokio::test]
async fn attaching_succeeds_whatever_the_main_process_exits_with() {
    let server = Server::start().await;
    let mut process = pods(&server).attach("web", &all()).await.unwrap();
    let mut stdin = process.stdin().unwrap();
    stdin.write_all(b"hello\n").await.unwrap();
    stdin.shutdown().await.unwrap();
    let mut out = String::new();
    process.stdout().unwrap().read_to_string(&mut out).await.unwrap();
    assert_eq!(out, "attached\nhello\n");
    assert_eq!(
        process.take_status().unwrap().await.unwrap().status.as_deref(),
        Some("Success")
    );
}

#[tokio::test]
async fn a_client_that_leaves_lets_go_of_the_process() {
    let server = Server::start().await;
    let mut process = pods(&server).exec("web", ["hold"], &all().stderr(false)).await.unwrap();
    process.stdin().unwrap().write_all(b"few").await.unwrap();
    drop(process);
    server.node.dropped.cancelled().await;
}

#[tokio::test]
async fn forwarded_ports_carry_data_both_ways_and_tell_of_ports_nobody_listens_on() {
    let server = Server::start().await;
    let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = echo.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = echo.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await
    });
    let closed = tcp_port_nobody_listens_on().await;
    let mut forward = pods(&server).portforward("web", &[port, closed]).await.unwrap();
    let error = forward.take_error(closed).unwrap().await.unwrap();
    assert!(
        error.starts_with(&format!("error forwarding port {closed} to pod web, uid 7d3c: ")),
        "{error}"
    );

    let (mut read, mut write) = tokio::io::split(forward.take_stream(port).unwrap());
    let sent = pattern(2_000_000, 2);
    let mut got = vec![0; sent.len()];
    let (wrote, read) = tokio::join!(write.write_all(&sent), read.read_exact(&mut got));
    wrote.unwrap();
    read.unwrap();
    assert!(got == sent, "the echo is what was sent");
}

async fn tcp_port_nobody_listens_on() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn what_the_pod_says_last_arrives_before_the_forwarded_connection_closes() {
    let server = Server::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let talker = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&pattern(1_500_000, 3)).await.unwrap();
    });
    let mut forward = pods(&server).portforward("web", &[talker]).await.unwrap();
    let mut got = Vec::new();
    forward
        .take_stream(talker)
        .unwrap()
        .read_to_end(&mut got)
        .await
        .unwrap();
    assert!(got == pattern(1_500_000, 3), "got {} bytes", got.len());
}

#[tokio::test]
async fn logs_are_plain_text_and_arrive_while_they_are_written() {
    let server = Server::start().await;
    let log = pods(&server).logs("web", &LogParams::default()).await.unwrap();
    assert_eq!(log, "line 0\nline 1\nline 2\n");
    // This one never ends.
    let log = pods(&server)
        .log_stream(
            "web",
            &LogParams {
                follow: true,
                ..LogParams::default()
            },
        )
        .await
        .unwrap();
    let mut lines = log.lines();
    for n in 0..3 {
        assert_eq!(lines.next().await.unwrap().unwrap(), format!("line {n}"));
    }
}
