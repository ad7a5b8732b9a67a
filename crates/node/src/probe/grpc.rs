//! `grpc.health.v1.Health/Check`, the one gRPC call that a kubelet makes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use knarr_runtime::{Connection, Runtime};
use tokio::time::Instant;

use super::Outcome;
use super::run::connect;

/// Between two tries to connect.
const RECONNECT: Duration = Duration::from_millis(100);
const LONGEST: usize = 16 << 10;
/// gRPC's code for a service that does not implement the health protocol.
const UNIMPLEMENTED: &str = "12";

/// Asks the health service about `service`.
pub(super) async fn check(runtime: &dyn Runtime, address: SocketAddr, service: &str, timeout: Duration) -> Outcome {
    let within = crate::backoff::go(timeout);
    let (deadline, service_at) = (Instant::now() + timeout, address.to_string());
    // A client of gRPC goes on trying to connect for as long as it may: a refusal is no answer.
    let connection = async {
        loop {
            if let Ok(connection) = connect(runtime, address).await {
                return connection;
            }
            tokio::time::sleep(RECONNECT).await;
        }
    };
    let Ok(connection) = tokio::time::timeout_at(deadline, connection).await else {
        return Outcome::Failure(format!(
            "timeout: failed to connect service {service_at:?} within {within}: context deadline exceeded"
        ));
    };
    match tokio::time::timeout_at(deadline, call(connection, address, service)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Failure(format!("timeout: health rpc did not complete within {within}")),
    }
}

async fn call(connection: Box<dyn Connection>, address: SocketAddr, service: &str) -> Outcome {
    let failed = |why: String| Outcome::Failure(format!("error: health rpc probe failed: {why}"));
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(connection)).await;
    let (mut sender, driver) = match handshake {
        Ok(pair) => pair,
        Err(error) => return failed(error.to_string()),
    };
    let driver = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        let _ = driver.await; // its failure is the request's failure
    }));
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, "kube-probe/1.37")
        .body(Full::new(encode(service)));
    let request = match request {
        Ok(request) => request,
        Err(error) => return failed(error.to_string()),
    };
    let response = match sender.send_request(request).await {
        Ok(response) => response,
        Err(error) => return failed(error.to_string()),
    };
    let early = response.headers().get("grpc-status").cloned();
    let body = match Limited::new(response.into_body(), LONGEST).collect().await {
        Ok(body) => body,
        Err(error) => return failed(error.to_string()),
    };
    drop(driver);
    let late = body
        .trailers()
        .and_then(|trailers| trailers.get("grpc-status"))
        .cloned();
    let status = early.or(late);
    match status.as_ref().and_then(|value| value.to_str().ok()) {
        Some("0") => match decode(&body.to_bytes()) {
            1 => Outcome::Success("service healthy".into()),
            other => Outcome::Failure(format!("service unhealthy (responded with {:?})", name(other))),
        },
        Some(UNIMPLEMENTED) => Outcome::Failure(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".into(),
        ),
        Some(code) => failed(format!("status {code}")),
        None => failed("no status in the answer".into()),
    }
}

/// A message `{ string service = 1 }` in its frame.
fn encode(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    // Names of services are short: one byte of length is what the API's limit of 253 needs at most two of.
    if !service.is_empty() {
        message.put_u8(0x0a);
        let length = service.len();
        if length < 0x80 {
            message.put_u8(length as u8);
        } else {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            message.put_u8((length >> 7) as u8);
        }
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put(message);
    frame.freeze()
}

/// The status of a message `{ ServingStatus status = 1 }` in its frame; 0 (unknown) when there is none.
fn decode(frame: &[u8]) -> u8 {
    match frame.get(5..) {
        Some([0x08, status, ..]) => *status,
        _ => 0,
    }
}

fn name(status: u8) -> &'static str {
    match status {
        1 => "SERVING",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_as_grpc_has_them() {
        assert_eq!(encode("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(encode("db").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b']);
        assert_eq!(encode(&"x".repeat(200))[6..8], [0xc8, 0x01]);
        assert_eq!(decode(&[0, 0, 0, 0, 2, 8, 2]), 2);
        assert_eq!(decode(&[0, 0, 0, 0, 0]), 0);
    }
}
