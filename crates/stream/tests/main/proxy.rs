//! The reverse proxy between a plain HTTP client and a small web server.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::node::pattern;
use crate::server::Server;

/// What is behind the proxy.
async fn web_server() -> u16 {
    let router = Router::new()
        .route("/", get(async || "the root"))
        .route("/seen", get(seen))
        .route("/login", get(async || Redirect::to("/welcome")))
        .route(
            "/echo",
            post(async |request: Request| Response::new(request.into_body())),
        )
        .route("/upgrade", any(upgrade));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

async fn seen(request: Request) -> String {
    let mut lines = vec![request.uri().to_string()];
    let shown = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    lines.extend(shown);
    lines.sort();
    lines.join("\n")
}

/// Switches to a protocol that says everything twice.
async fn upgrade(mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrade.await.unwrap());
        let mut said = [0; 5];
        io.read_exact(&mut said).await.unwrap();
        io.write_all(&[said, said].concat()).await.unwrap();
        io.shutdown().await.unwrap();
    });
    (
        StatusCode::SWITCHING_PROTOCOLS,
        [(header::CONNECTION, "Upgrade"), (header::UPGRADE, "twice")],
    )
        .into_response()
}

async fn send(address: SocketAddr, request: http::Request<Body>) -> http::Response<hyper::body::Incoming> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(driver.with_upgrades());
    sender.send_request(request).await.unwrap()
}

fn request(server: &Server, port: u16, rest: &str) -> http::request::Builder {
    http::Request::builder()
        .uri(format!("/api/v1/namespaces/default/pods/{port}/proxy{rest}"))
        .header(header::HOST, server.address.to_string())
}

async fn get_text(server: &Server, port: u16, rest: &str) -> (StatusCode, HeaderMap, String) {
    let response = send(server.address, request(server, port, rest).body(Body::empty()).unwrap()).await;
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (parts.status, parts.headers, text)
}

#[tokio::test]
async fn pages_redirects_and_failures_come_through() {
    let server = Server::start().await;
    let port = web_server().await;
    let prefix = format!("/api/v1/namespaces/default/pods/{port}/proxy");
    assert_eq!(get_text(&server, port, "/").await.2, "the root");
    let (status, headers, _) = get_text(&server, port, "?x=1").await;
    assert_eq!(status, StatusCode::MOVED_PERMANENTLY);
    assert_eq!(headers[header::LOCATION], format!("{prefix}/?x=1"));
    let (status, headers, _) = get_text(&server, port, "/login").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(headers[header::LOCATION], format!("{prefix}/welcome"));
    let (status, _, _) = get_text(&server, port, "/nothing").await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (status, _, text) = get_text(&server, nobody, "/").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let failure: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(failure["reason"], "ServiceUnavailable");
    assert!(
        failure["message"]
            .as_str()
            .unwrap()
            .starts_with("error trying to reach service: "),
        "{text}"
    );
}

#[tokio::test]
async fn the_server_sees_who_asks_for_what_and_no_secrets() {
    let server = Server::start().await;
    let port = web_server().await;
    let asking = request(&server, port, "/seen?a=b%20c")
        .header("x-forwarded-for", "10.0.0.9")
        .header("authorization", "Bearer secret")
        .header("connection", "close, x-hop")
        .header("x-hop", "1")
        .header("x-end", "1");
    let response = send(server.address, asking.body(Body::empty()).unwrap()).await;
    let seen = response.into_body().collect().await.unwrap().to_bytes();
    let address = server.address;
    let expected = format!(
        "/seen?a=b%20c\nhost: {address}\nx-end: 1\nx-forwarded-for: 10.0.0.9, 127.0.0.1\nx-forwarded-host: {address}\n\
         x-forwarded-uri: /api/v1/namespaces/default/pods/{port}/proxy/seen"
    );
    assert_eq!(String::from_utf8_lossy(&seen), expected);
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    let server = Server::start().await;
    let port = web_server().await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver));
    let asking = request(&server, port, "/echo").method("POST").body(body).unwrap();
    let mut answer = send(server.address, asking).await.into_body().into_data_stream();
    // Each piece is back before the next is sent, so nothing along the way waits for the whole.
    for round in 0..20 {
        let piece = Bytes::from(pattern(10_000, round));
        sender.send(Ok(piece.clone())).await.unwrap();
        let mut back = Vec::new();
        while back.len() < piece.len() {
            back.extend_from_slice(&answer.next().await.unwrap().unwrap());
        }
        assert!(back == piece);
    }
    drop(sender);
    assert!(answer.next().await.is_none());
}

#[tokio::test]
async fn an_upgraded_connection_passes_through() {
    let server = Server::start().await;
    let port = web_server().await;
    let asking = request(&server, port, "/upgrade")
        .header("connection", "Upgrade")
        .header("upgrade", "twice");
    let mut response = send(server.address, asking.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()[header::UPGRADE], "twice");
    let mut io = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    io.write_all(b"hello").await.unwrap();
    let mut said = String::new();
    io.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "hellohello");
}
