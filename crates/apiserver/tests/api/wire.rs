//! What clients see of the server below the API: bytes on real sockets.

use std::net::SocketAddr;

use super::cluster::{CONFIGMAPS, Cluster, configmap, options};
use bytes::Bytes;
use http::{Method, Request};
use knarr_apiserver::{Options, Token};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// A server on a socket, and somebody who may do everything.
struct Socket {
    cluster: Cluster,
    address: SocketAddr,
    _stop: tokio_util::sync::DropGuard,
}

impl Socket {
    async fn open() -> Self {
        let admin = Token {
            token: "admin".into(),
            user: "admin".into(),
            groups: vec!["system:masters".into()],
        };
        let cluster = Cluster::with(Options {
            tokens: vec![admin],
            ..options(None)
        })
        .await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let (server, stop) = (cluster.server.clone(), shutdown.clone());
        tokio::spawn(async move { server.serve_plain(listener, stop).await });
        Self {
            cluster,
            address,
            _stop: shutdown.drop_guard(),
        }
    }

    async fn connect(&self) -> Http1 {
        Http1(TcpStream::connect(self.address).await.unwrap())
    }
}

/// An HTTP/1.1 connection without any manners of its own.
struct Http1(TcpStream);

#[derive(Debug)]
struct Reply {
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn code(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Http1 {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    async fn request(&mut self, line: &str, headers: &str, body: &[u8]) -> Reply {
        let length = body.len();
        self.send(&format!(
            "{line} HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer admin\r\n{headers}Content-Length: {length}\r\n\r\n"
        ))
        .await;
        self.0.write_all(body).await.unwrap();
        self.reply().await
    }

    async fn reply(&mut self) -> Reply {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("an answer"));
        }
        let mut reply = Reply {
            head: String::from_utf8(head).unwrap(),
            body: Vec::new(),
        };
        let length = reply
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        reply.body = vec![0; length];
        self.0.read_exact(&mut reply.body).await.unwrap();
        reply
    }

    /// Reads to the end of the connection.
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest).await;
        rest
    }
}

const UNSERVED: &str = "/apis/batch/v9/namespaces/default/jobs";

#[tokio::test]
async fn a_refused_request_leaves_its_connection_usable() {
    let socket = Socket::open().await;
    let mut connection = socket.connect().await;
    let body = vec![b' '; 900_000];
    for (line, code) in [
        (format!("POST {UNSERVED}"), 404),
        ("POST /foo".to_owned(), 404),
        ("POST /version".to_owned(), 405),
        (format!("PATCH {CONFIGMAPS}"), 405),
    ] {
        let reply = connection.request(&line, "", &body).await;
        assert_eq!((reply.code(), reply.header("connection")), (code, None), "{line}");
    }
    assert_eq!(connection.request("GET /version", "", b"").await.code(), 200);
    let large = vec![b' '; (3 << 20) + 1];
    let json = "Content-Type: application/json\r\n";
    let refused = connection.request(&format!("POST {CONFIGMAPS}"), json, &large).await;
    assert_eq!(refused.code(), 413);
    assert_eq!(connection.request("GET /version", "", b"").await.code(), 200);
}

#[tokio::test]
async fn a_client_that_was_not_asked_for_its_body_is_told_that_the_connection_ends() {
    let socket = Socket::open().await;
    let mut connection = socket.connect().await;
    connection
        .send("POST /foo HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer admin\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
        .await;
    let reply = connection.reply().await;
    assert_eq!((reply.code(), reply.header("connection")), (404, Some("close")));
    assert!(connection.rest().await.is_empty());
}

#[tokio::test]
async fn over_http2_a_refusal_does_not_reset_the_stream() {
    let socket = Socket::open().await;
    let stream = TcpStream::connect(socket.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for (path, code, size) in [(UNSERVED, 404, 2), ("/foo", 404, 900_000), ("/version", 405, 900_000)] {
        client = client.ready().await.unwrap();
        let request = Request::post(format!("http://k{path}"))
            .header("authorization", "Bearer admin")
            .body(())
            .unwrap();
        let (response, mut send) = client.send_request(request, false).unwrap();
        let mut left = size;
        while left > 0 {
            send.reserve_capacity(left);
            let ready = std::future::poll_fn(|cx| send.poll_capacity(cx))
                .await
                .unwrap()
                .unwrap();
            send.send_data(Bytes::from(vec![b' '; ready]), ready == left).unwrap();
            left -= ready;
        }
        let mut response = response.await.unwrap();
        assert_eq!(response.status(), code, "{path}");
        while let Some(data) = response.body_mut().data().await {
            let data = data.expect("no reset before the end of the body");
            response.body_mut().flow_control().release_capacity(data.len()).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_never_ends_is_waited_for_32_seconds() {
    let socket = Socket::open().await;
    let began = Instant::now();
    for start in ["", "GET /version HTTP/1.1\r\nX"] {
        let mut connection = socket.connect().await;
        connection.send(start).await;
        connection.rest().await;
    }
    assert!(began.elapsed() < Duration::from_secs(80), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_waited_for_a_minute() {
    let socket = Socket::open().await;
    let mut connection = socket.connect().await;
    connection
        .send(&format!("POST {CONFIGMAPS} HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer admin\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{{"))
        .await;
    let reply = connection.reply().await;
    assert_eq!((reply.code(), reply.header("connection")), (504, Some("close")));
    assert!(
        reply
            .text()
            .contains("request did not complete within the allotted timeout")
    );
}

#[tokio::test]
async fn a_request_without_a_host_is_bad() {
    let socket = Socket::open().await;
    let mut connection = socket.connect().await;
    connection.send("GET /version HTTP/1.1\r\n\r\n").await;
    let reply = connection.reply().await;
    assert_eq!((reply.code(), reply.header("connection")), (400, Some("close")));
    assert_eq!(reply.text(), "400 Bad Request: missing required Host header\n");
}

#[tokio::test]
async fn a_timeout_that_is_none_is_a_mistake() {
    let socket = Socket::open().await;
    let mut connection = socket.connect().await;
    let reply = connection
        .request(&format!("GET {CONFIGMAPS}?timeout=soon"), "", b"")
        .await;
    assert_eq!(reply.code(), 400);
    assert!(reply.text().contains("invalid timeout specified in the request URL"));
    assert_eq!(
        connection
            .request(&format!("GET {CONFIGMAPS}?timeout=5s"), "", b"")
            .await
            .code(),
        200
    );
}

#[tokio::test]
async fn people_can_read_a_refusal() {
    let socket = Socket::open().await;
    let mut connection = socket.connect().await;
    let get = format!("GET {CONFIGMAPS}/none");
    let reply = connection.request(&get, "User-Agent: curl/8.5\r\n", b"").await;
    assert!(
        reply.text().starts_with("{\n  \"kind\": \"Status\",\n"),
        "{}",
        reply.text()
    );
    let reply = connection.request(&get, "Accept: application/yaml\r\n", b"").await;
    assert_eq!(reply.header("content-type"), Some("application/yaml"));
    assert!(reply.text().starts_with("kind: Status\n"), "{}", reply.text());
    let reply = connection.request(&get, "Accept: text/html\r\n", b"").await;
    assert_eq!(reply.code(), 406, "what cannot be accepted is said in JSON");
    assert!(reply.text().starts_with("{\"kind\":\"Status\""));
}

#[tokio::test]
async fn resources_have_no_head() {
    let socket = Socket::open().await;
    for (path, code) in [
        (CONFIGMAPS, 405),
        ("/version", 405),
        ("/healthz", 200),
        ("/openapi/v3", 200),
    ] {
        let answer = socket.cluster.send(Method::HEAD, path, &[], "").await;
        assert_eq!((answer.code, answer.text.as_str()), (code, ""), "{path}");
    }
}

#[tokio::test]
async fn large_answers_are_packed_for_those_who_can_unpack_them() {
    let socket = Socket::open().await;
    let mut connection = socket.connect().await;
    let gzip = "Accept-Encoding: gzip\r\n";
    let list = format!("GET {CONFIGMAPS}");
    assert_eq!(
        connection.request(&list, gzip, b"").await.header("content-encoding"),
        None,
        "small"
    );
    let large = configmap("large", json!({"k": "v".repeat(200_000)}));
    socket.cluster.post(CONFIGMAPS, large).await.ok();
    assert_eq!(
        connection.request(&list, "", b"").await.header("content-encoding"),
        None,
        "unasked"
    );
    let packed = connection.request(&list, gzip, b"").await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.header("vary"), Some("Accept-Encoding"));
    let mut unpacked = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*packed.body), &mut unpacked).unwrap();
    assert_eq!(unpacked, connection.request(&list, "", b"").await.text());
    let v3 = connection.request("GET /openapi/v3/api/v1", gzip, b"").await;
    assert_eq!(v3.header("content-encoding"), Some("gzip"));
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A message of an answer in protobuf, as JSON.
fn decoded(reply: &Reply) -> serde_json::Value {
    assert_eq!(reply.header("content-type"), Some(PROTOBUF));
    knarr_schema::proto::decode_request(&reply.body).unwrap()
}

#[tokio::test]
async fn a_client_that_reads_only_protobuf_gets_it() {
    let socket = Socket::open().await;
    let mut connection = socket.connect().await;
    let accept = format!("Accept: {PROTOBUF}\r\n");
    socket
        .cluster
        .post(CONFIGMAPS, configmap("a", json!({"k": "v"})))
        .await
        .ok();
    let stored = socket.cluster.get(&format!("{CONFIGMAPS}/a")).await.ok();
    let got = connection.request(&format!("GET {CONFIGMAPS}/a"), &accept, b"").await;
    assert_eq!(decoded(&got), stored);
    let refused = connection.request(&format!("GET {CONFIGMAPS}/b"), &accept, b"").await;
    assert_eq!(refused.code(), 404);
    assert_eq!(decoded(&refused)["message"], "configmaps \"b\" not found");
    let list = connection.request(&format!("GET {CONFIGMAPS}"), &accept, b"").await;
    assert!(list.body.starts_with(b"k8s\0") && list.body.windows(13).any(|text| text == b"ConfigMapList"));
    let media = format!("{accept}Content-Type: {PROTOBUF}\r\n");
    let body = knarr_schema::proto::encode(&configmap("c", json!({"k": "w"}))).unwrap();
    let created = connection.request(&format!("POST {CONFIGMAPS}"), &media, &body).await;
    assert_eq!((created.code(), &decoded(&created)["data"]["k"]), (201, &json!("w")));
    let table = format!("Accept: {PROTOBUF};as=Table;g=meta.k8s.io;v=v1\r\n");
    assert_eq!(
        connection
            .request(&format!("GET {CONFIGMAPS}"), &table, b"")
            .await
            .code(),
        406
    );
    let partial = format!("Accept: {PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1\r\n");
    let partial = connection.request(&format!("GET {CONFIGMAPS}/a"), &partial, b"").await;
    assert!(partial.body.windows(21).any(|text| text == b"PartialObjectMetadata"));
}

#[tokio::test]
async fn a_watch_in_protobuf_is_made_of_frames() {
    let socket = Socket::open().await;
    socket
        .cluster
        .post(CONFIGMAPS, configmap("a", json!({"k": "v"})))
        .await
        .ok();
    let mut connection = socket.connect().await;
    connection
        .send(&format!(
            "GET {CONFIGMAPS}?watch=1&fieldSelector=metadata.name%3Da HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer admin\r\nAccept: {PROTOBUF};stream=watch\r\n\r\n"
        ))
        .await;
    let head = connection.reply().await;
    assert_eq!(
        head.header("content-type"),
        Some("application/vnd.kubernetes.protobuf;stream=watch")
    );
    // One chunk: its size in hexadecimal, the frame.
    let mut size = Vec::new();
    while !size.ends_with(b"\r\n") {
        size.push(connection.0.read_u8().await.unwrap());
    }
    let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim(), 16).unwrap();
    let mut frame = vec![0; size];
    connection.0.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[..4], (size as u32 - 4).to_be_bytes());
    assert_eq!(frame[4..11], *b"\x0a\x05ADDED");
    let object = frame.windows(4).position(|text| text == b"k8s\0").unwrap();
    let stored = socket.cluster.get(&format!("{CONFIGMAPS}/a")).await.ok();
    assert_eq!(knarr_schema::proto::decode_request(&frame[object..]), Ok(stored));
}
