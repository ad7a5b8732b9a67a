//! The HTTP servers of the example images.

use std::convert::Infallible;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

const BUFFER: usize = 64 << 10;
/// Longest request body that is read.
const LONGEST: usize = 64 << 10;
/// Log lines that may wait to be written.
const LINES: usize = 256;

/// Which program serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Site {
    Kuard,
    /// With what it says before the pod's name.
    Kubia(&'static str),
    /// Answers five requests and then no more.
    Unhealthy,
    Nginx,
}

/// A listening program.
pub(super) struct Server {
    site: Site,
    hostname: String,
    /// How often each of kuard's two checks still fails; negative for ever.
    failing: [AtomicI64; 2],
    requests: AtomicU64,
    log: mpsc::Sender<String>,
}

impl Server {
    /// A server, and the lines that it logs.
    pub(super) fn new(site: Site, hostname: String) -> (Arc<Self>, mpsc::Receiver<String>) {
        let (log, lines) = mpsc::channel(LINES);
        let server = Self {
            site,
            hostname,
            failing: Default::default(),
            requests: AtomicU64::new(0),
            log,
        };
        (Arc::new(server), lines)
    }

    /// A new connection to it.
    pub(super) fn connect(self: &Arc<Self>) -> DuplexStream {
        let (client, server) = tokio::io::duplex(BUFFER);
        let site = self.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let site = site.clone();
                async move { Ok::<_, Infallible>(site.answer(request).await) }
            });
            // A client that breaks off is not the server's failure.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(server), service)
                .await;
        });
        client
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let (method, path) = (parts.method, parts.uri.path().to_owned());
        let body = Limited::new(body, LONGEST)
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        let count = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let (status, text) = match &self.site {
            Site::Kuard => self.kuard(&method, &path, &body),
            Site::Kubia(says) => {
                self.log("Received request from ::ffff:10.244.0.1".to_owned());
                (StatusCode::OK, format!("{says}{}\n", self.hostname))
            }
            Site::Unhealthy => {
                self.log("Received request from ::ffff:10.244.0.1".to_owned());
                if count > 5 {
                    (
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "I'm not well. Please restart me!".to_owned(),
                    )
                } else {
                    (StatusCode::OK, format!("You've hit {}\n", self.hostname))
                }
            }
            Site::Nginx => self.nginx(&method, &path),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response
    }

    fn log(&self, line: String) {
        let _ = self.log.try_send(line); // a program that is not read loses lines rather than requests
    }

    fn kuard(&self, method: &Method, path: &str, body: &Bytes) -> (StatusCode, String) {
        self.log(format!("10.244.0.1 {method} {path}"));
        let check = |name: &str| match name {
            "/healthy" => Some(&self.failing[0]),
            "/ready" => Some(&self.failing[1]),
            _ => None,
        };
        if let Some(failing) = check(path) {
            let left = failing.load(Ordering::Relaxed);
            if left > 0 {
                failing.store(left - 1, Ordering::Relaxed);
            }
            return if left == 0 {
                (StatusCode::OK, "ok".into())
            } else {
                (StatusCode::INTERNAL_SERVER_ERROR, "fail".into())
            };
        }
        if let Some(failing) = path.strip_suffix("/api").and_then(check) {
            if matches!(*method, Method::PUT | Method::POST) {
                let wanted = serde_json::from_slice::<serde_json::Value>(body).ok();
                let Some(count) = wanted.and_then(|value| value.get("failNext")?.as_i64()) else {
                    return (StatusCode::BAD_REQUEST, "cannot read failNext\n".into());
                };
                failing.store(count, Ordering::Relaxed);
            }
            let left = failing.load(Ordering::Relaxed);
            return (
                StatusCode::OK,
                serde_json::json!({ "failNext": left, "history": [] }).to_string(),
            );
        }
        match path {
            "/" => (
                StatusCode::OK,
                format!(
                    "<!doctype html>\n<title>KUAR Demo</title>\n<h1>{}</h1>\n",
                    self.hostname
                ),
            ),
            _ => (StatusCode::NOT_FOUND, "404 page not found\n".into()),
        }
    }

    fn nginx(&self, method: &Method, path: &str) -> (StatusCode, String) {
        let found = matches!(path, "/" | "/index.html");
        let status = if found { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let text = if found {
            "<!DOCTYPE html>\n<html>\n<head>\n<title>Welcome to nginx!</title>\n</head>\n<body>\n<h1>Welcome to nginx!</h1>\n</body>\n</html>\n"
        } else {
            "<html>\n<head><title>404 Not Found</title></head>\n<body>\n<center><h1>404 Not Found</h1></center>\n</body>\n</html>\n"
        };
        self.log(format!(
            "10.244.0.1 - - \"{method} {path} HTTP/1.1\" {} {}",
            status.as_u16(),
            text.len()
        ));
        (status, text.to_owned())
    }
}
