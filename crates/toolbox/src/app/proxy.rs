//! `kubectl-proxy`: the ambassador beside an application. Takes plain requests on 127.0.0.1:8001 and passes them to the API server over
//! TLS, with the pod's own token.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::net::resolve;
use crate::net::tls::{self, TlsError, Trust};
use crate::say::{fail, out, reason};

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Longest head of a request, and longest body.
const MAX_HEAD: u64 = 64 << 10;
const MAX_BODY: u64 = 64 << 20;

pub(crate) fn main(_: &[String]) -> i32 {
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let host = variable("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc");
    let port = variable("KUBERNETES_SERVICE_PORT", "443").parse().unwrap_or(443);
    let listener = match TcpListener::bind(("127.0.0.1", 8001)) {
        Ok(listener) => listener,
        Err(error) => {
            return fail(
                "error",
                format!("listen tcp 127.0.0.1:8001: bind: {}", reason(&error).to_lowercase()),
            );
        }
    };
    out("Starting to serve on 127.0.0.1:8001\n");
    for client in listener.incoming().flatten() {
        let host = host.clone();
        std::thread::spawn(move || {
            let mut client = client;
            if let Err(message) = pass(&mut client, &host, port) {
                let body = format!("{message}\n");
                let head = format!(
                    "HTTP/1.1 502 Bad Gateway\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = client.write_all((head + &body).as_bytes());
                fail("proxy error", message);
            }
        });
    }
    0
}

/// One request and its answer, which is copied as it comes: a watch never ends.
fn pass(client: &mut TcpStream, host: &str, port: u16) -> Result<(), String> {
    let text = |error: std::io::Error| reason(&error);
    client.set_read_timeout(Some(Duration::from_secs(60))).map_err(text)?;
    let mut reader = BufReader::new(client.try_clone().map_err(text)?);
    let (head, length) = head(&mut reader, host, port)?;
    let mut body = vec![0; usize::try_from(length).unwrap_or(0)];
    reader.read_exact(&mut body).map_err(text)?;
    let trust = Trust {
        authorities: Some(format!("{ACCOUNT}/ca.crt")),
        ..Trust::default()
    };
    let stream = resolve::connect(host, port, Some(Duration::from_secs(10))).map_err(|failed| match failed {
        resolve::Failed::Name => format!("dial tcp: lookup {host}: no such host"),
        resolve::Failed::Connect(address, error) => format!("dial tcp {address}: {}", reason(&error).to_lowercase()),
    })?;
    let mut server = tls::connect(stream, host, &trust).map_err(|error| match error {
        TlsError::Untrusted(why) | TlsError::File(why) => format!("tls: {why}"),
        TlsError::Io(error) => reason(&error),
    })?;
    server
        .write_all(head.as_bytes())
        .and_then(|()| server.write_all(&body))
        .map_err(text)?;
    let mut buffer = [0; 16 * 1024];
    loop {
        match server.read(&mut buffer) {
            Ok(0) | Err(_) => return Ok(()),
            Ok(n) => {
                if client.write_all(&buffer[..n]).is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// The request's head as the API server is to see it, and the length of its body.
fn head(reader: &mut impl BufRead, host: &str, port: u16) -> Result<(String, u64), String> {
    let mut head = String::new();
    let mut length = 0;
    let mut left = reader.take(MAX_HEAD);
    loop {
        let mut line = String::new();
        left.read_line(&mut line).map_err(|error| reason(&error))?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let name = line.split(':').next().unwrap_or("").to_ascii_lowercase();
        match name.as_str() {
            "content-length" => length = line[15..].trim().parse().map_err(|_| "bad Content-Length".to_owned())?,
            "transfer-encoding" => return Err("chunked requests are not supported".to_owned()),
            "host" | "authorization" | "connection" | "upgrade" => continue,
            _ => {}
        }
        head.push_str(line);
        head.push_str("\r\n");
    }
    if head.is_empty() || length > MAX_BODY {
        return Err("bad request".to_owned());
    }
    // Read for each request: the kubelet renews the token.
    let token =
        std::fs::read_to_string(format!("{ACCOUNT}/token")).map_err(|e| format!("{ACCOUNT}/token: {}", reason(&e)))?;
    head.push_str(&format!(
        "Host: {host}:{port}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        token.trim()
    ));
    Ok((head, length))
}
