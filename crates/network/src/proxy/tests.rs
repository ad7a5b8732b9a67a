//! The proxy on the host's own loopback, where every 127.x.y.z is an address to listen on.

use std::net::SocketAddr;
use std::sync::Arc;

use knarr_runtime::ProcessRuntime;
use kube::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::view::View;
use crate::{Context, Options};
use knarr_client::event::Recorder;

const NAMES: [&str; 2] = ["one", "two"];

fn context(directory: &std::path::Path) -> Context {
    let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        http::Response::builder().status(503).body(kube::client::Body::empty())
    });
    let client = Client::new(nobody, "default");
    Context {
        // Nobody reads what it is told.
        recorder: Recorder::new(client.clone(), knarr_clock::Clock::system(), "test", "").0,
        client,
        runtime: Arc::new(ProcessRuntime::new(directory).unwrap()),
        options: Arc::new(Options::default()),
        connections: TaskTracker::new(),
        shutdown: CancellationToken::new(),
    }
}

/// A view of one service, at the given address, with backends.
fn view(front: SocketAddr, backends: &[SocketAddr], spec: Value) -> Arc<View> {
    let protocol = spec["protocol"].clone();
    let service = json!({ "metadata": { "name": "web", "namespace": "shop" }, "spec": {
        "clusterIP": front.ip(), "sessionAffinity": spec["affinity"],
        "ports": [{ "port": front.port(), "protocol": protocol }],
    } });
    let slices = backends.iter().enumerate().map(|(index, backend)| {
        json!({
            "metadata": { "name": index.to_string(), "namespace": "shop", "labels": { "kubernetes.io/service-name": "web" } },
            "addressType": "IPv4", "endpoints": [{ "addresses": [backend.ip()] }],
            "ports": [{ "port": backend.port(), "protocol": protocol }],
        })
    });
    let slices = slices.map(|slice| Arc::new(serde_json::from_value(slice).unwrap()));
    Arc::new(View::new(
        vec![Arc::new(serde_json::from_value(service).unwrap())],
        slices.collect(),
        1,
    ))
}

/// An address that nobody has. The kernel does not give it to others soon.
fn free(ip: [u8; 4]) -> SocketAddr {
    let listener = std::net::TcpListener::bind(SocketAddr::from((ip, 0))).unwrap();
    listener.local_addr().unwrap()
}

/// Says its name, then repeats what it hears until the client has said all.
async fn backend(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(name.as_bytes()).await.unwrap();
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

/// Connects once the listener is there, or once it is gone when `refused`.
async fn connect(address: SocketAddr, refused: bool) -> Option<TcpStream> {
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) if !refused => return Some(stream),
            Err(error) if refused && error.kind() == std::io::ErrorKind::ConnectionRefused => return None,
            _ => tokio::task::yield_now().await,
        }
    }
}

/// What the service answers to "!".
async fn talk(address: SocketAddr) -> String {
    let mut stream = connect(address, false).await.unwrap();
    stream.write_all(b"!").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn connections_spread_over_backends_and_are_refused_when_there_are_none() {
    let directory = tempfile::tempdir().unwrap();
    let context = context(directory.path());
    let front = free([127, 96, 0, 7]);
    let backends = [backend(NAMES[0]).await, backend(NAMES[1]).await];
    let spec = |affinity: &str| json!({ "protocol": "TCP", "affinity": affinity });
    let (publish, receiver) = watch::channel(Arc::new(View::default()));
    let proxy = tokio::spawn(super::run(context.clone(), receiver));

    publish.send_replace(view(front, &backends, spec("None")));
    let mut answers = vec![talk(front).await, talk(front).await];
    answers.sort();
    assert_eq!(answers, ["one!", "two!"], "both ends reach the other side whole");

    // One that does not answer is passed over.
    publish.send_replace(view(front, &[backends[0], free([127, 96, 0, 9])], spec("None")));
    while talk(front).await != "one!" {}
    assert_eq!([talk(front).await, talk(front).await], ["one!", "one!"]);

    publish.send_replace(view(front, &backends, spec("ClientIP")));
    let home = talk(front).await;
    let before = connect(front, false).await.unwrap();
    publish.send_replace(view(front, &[], spec("ClientIP")));
    assert!(connect(front, true).await.is_none());

    // What was there before goes on; and the port can be opened again beside it.
    let mut before = before;
    before.write_all(b"?").await.unwrap();
    before.shutdown().await.unwrap();
    let mut text = String::new();
    before.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, home.replace('!', "?"));
    publish.send_replace(view(front, &backends, spec("None")));
    talk(front).await;

    proxy.abort();
    assert!(connect(front, true).await.is_none(), "the listeners end with the proxy");
}

#[tokio::test]
async fn datagrams_find_a_backend_and_their_answers_the_way_back() {
    let directory = tempfile::tempdir().unwrap();
    let context = context(directory.path());
    let mut backends = Vec::new();
    for name in NAMES {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        backends.push(socket.local_addr().unwrap());
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                let answer = [name.as_bytes(), &buffer[..length]].concat();
                socket.send_to(&answer, client).await.unwrap();
            }
        });
    }
    let front = free([127, 96, 0, 8]);
    let spec = json!({ "protocol": "UDP", "affinity": "None" });
    let (publish, receiver) = watch::channel(Arc::new(View::default()));
    publish.send_replace(view(front, &backends, spec));
    let _proxy = tokio::spawn(super::run(context, receiver));

    let mut answers = Vec::new();
    for _ in NAMES {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(front).await.unwrap();
        let mut buffer = [0; 64];
        // Until the port is open, datagrams are rejected.
        let first = loop {
            client.send(b"!").await.unwrap();
            if let Ok(length) = client.recv(&mut buffer).await {
                break buffer[..length].to_vec();
            }
            tokio::task::yield_now().await;
        };
        client.send(b"!").await.unwrap();
        let length = client.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], first, "one client stays with one backend");
        answers.push(String::from_utf8(first).unwrap());
    }
    answers.sort();
    assert_eq!(answers, ["one!", "two!"]);
}

#[test]
fn only_what_is_elsewhere_is_reached_from_the_host() {
    let unreachable = std::io::Error::from(std::io::ErrorKind::NetworkUnreachable);
    let outside = |text: &str| super::is_outside(text.parse().unwrap(), &unreachable);
    assert!(outside("192.0.2.1:80") && outside("[2001:db8::1]:80"));
    for own in [
        "127.0.0.1:80",
        "127.244.0.1:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]:80",
        "0.0.0.0:80",
        "169.254.169.254:80",
        "[fe80::1]:80",
    ] {
        assert!(!outside(own), "{own}");
    }
    assert!(!super::is_outside(
        "192.0.2.1:80".parse().unwrap(),
        &std::io::ErrorKind::ConnectionRefused.into()
    ));
}
