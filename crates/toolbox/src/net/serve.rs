//! What the example servers have in common: listening, HTTP/1.1, signals.
//!
//! Each request is answered by a plain function on a thread of its own; such a server is written as one writes a script.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

/// Longest request body.
const MAX_BODY: usize = 64 << 20;

/// A request with its body.
pub(crate) struct Call {
    pub peer: SocketAddr,
    /// Where it came in.
    pub local: SocketAddr,
    /// It came encrypted.
    pub tls: bool,
    pub method: http::Method,
    pub uri: http::Uri,
    pub version: http::Version,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Call {
    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// Path and query as in the request line.
    pub(crate) fn target(&self) -> String {
        self.uri
            .path_and_query()
            .map_or_else(|| self.path().to_owned(), ToString::to_string)
    }

    /// A query parameter.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        self.uri.query()?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then(|| super::url::decode(&value.replace('+', " ")))
        })
    }
}

pub(crate) type Reply = http::Response<Full<Bytes>>;

/// An answer with a status, headers and a body.
pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
    let mut response = http::Response::new(Full::new(body.into()));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(*name), http::HeaderValue::try_from(*value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Listens on a port of every address: both kinds where the host has both.
pub(crate) fn listen_all(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(("::", port)).or_else(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse | std::io::ErrorKind::PermissionDenied => Err(error),
        // No IPv6 here.
        _ => TcpListener::bind(("0.0.0.0", port)),
    })
}

/// Where a server listens, and what it shows to clients that speak TLS there.
pub(crate) struct Door {
    pub listener: TcpListener,
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl From<TcpListener> for Door {
    fn from(listener: TcpListener) -> Self {
        Self { listener, tls: None }
    }
}

/// A connection, plain or not.
trait Channel: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Channel for T {}

/// Longest time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// What ends a server, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At once, with this status.
    Now(i32),
    /// After the requests in progress.
    Graceful(i32),
    /// Not at all: the program has no handler, so as first process of a container it does not even notice.
    Never,
}

/// How a server behaves.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    pub terminate: Stop,
    pub interrupt: Stop,
    pub quit: Stop,
    /// `Content-Type` as Go and nginx write it, rather than as Node's old servers leave it.
    pub title_case: bool,
    /// Say `Connection: keep-alive`, as servers older than HTTP/1.1 had to.
    pub say_keep_alive: bool,
    /// Idle connections are closed after this time.
    pub keep_alive: Duration,
}

/// Serves until a signal ends it; the result is the exit status.
pub(crate) fn run(doors: Vec<Door>, style: Style, answer: impl Fn(Call) -> Reply + Send + Sync + 'static) -> i32 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return crate::say::fail("server", crate::say::reason(&error)),
    };
    let status = runtime.block_on(serve(doors, style, Arc::new(answer)));
    // Handlers that still run on their threads are not waited for.
    runtime.shutdown_background();
    status
}

async fn serve(doors: Vec<Door>, style: Style, answer: Arc<impl Fn(Call) -> Reply + Send + Sync + 'static>) -> i32 {
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    let (sender, mut accepted) = tokio::sync::mpsc::channel(64);
    for Door { listener, tls } in doors {
        let sender = sender.clone();
        let listener = listener
            .set_nonblocking(true)
            .and_then(|()| tokio::net::TcpListener::from_std(listener));
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => return crate::say::fail("listen", crate::say::reason(&error)),
        };
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        if sender.send((stream, peer, tls.clone())).await.is_err() {
                            return;
                        }
                    }
                    // Out of descriptors, or the peer has gone already: go on, but not in a hot loop.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
    }
    let stop = signals(style);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            stop = &mut stop => match stop {
                Stop::Now(status) => return status,
                Stop::Graceful(status) => {
                    drop(accepted);
                    graceful.shutdown().await;
                    return status;
                }
                Stop::Never => return 0,
            },
            Some((stream, peer, tls)) = accepted.recv() => {
                let _ = stream.set_nodelay(true);
                let local = stream.local_addr().unwrap_or(peer);
                let secure = tls.is_some();
                let answer = Arc::clone(&answer);
                let service = service_fn(move |request| {
                    let answer = Arc::clone(&answer);
                    async move {
                        let close = request.headers().get("connection").is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"close"));
                        let say = style.say_keep_alive && !close && request.version() == http::Version::HTTP_11;
                        let mut reply = handle(request, Ends { peer, local, tls: secure }, answer).await;
                        if say {
                            reply.headers_mut().insert("connection", http::HeaderValue::from_static("keep-alive"));
                        }
                        Ok::<_, Infallible>(reply)
                    }
                });
                let watcher = graceful.watcher();
                tokio::spawn(async move {
                    let Some(channel) = secured(stream, tls).await else { return };
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(style.keep_alive)
                        .title_case_headers(style.title_case)
                        .serve_connection(TokioIo::new(channel), service);
                    // A peer that breaks off is its own business.
                    let _ = watcher.watch(connection).await;
                });
            }
        }
    }
}

/// Between whom a request goes.
#[derive(Clone, Copy)]
struct Ends {
    peer: SocketAddr,
    local: SocketAddr,
    tls: bool,
}

/// The connection, after its handshake where there is one. `None`: it failed, or took too long.
async fn secured(stream: tokio::net::TcpStream, tls: Option<Arc<rustls::ServerConfig>>) -> Option<Box<dyn Channel>> {
    let Some(config) = tls else {
        return Some(Box::new(stream));
    };
    let handshake = tokio_rustls::TlsAcceptor::from(config).accept(stream);
    match tokio::time::timeout(HANDSHAKE, handshake).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        _ => None,
    }
}

async fn handle(
    request: http::Request<Incoming>,
    ends: Ends,
    answer: Arc<impl Fn(Call) -> Reply + Send + Sync + 'static>,
) -> Reply {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return reply(413, &[], "request body too large\n"),
    };
    let call = Call {
        peer: ends.peer,
        local: ends.local,
        tls: ends.tls,
        method: parts.method,
        uri: parts.uri,
        version: parts.version,
        headers: parts.headers,
        body,
    };
    tokio::task::spawn_blocking(move || answer(call))
        .await
        .unwrap_or_else(|_| reply(500, &[], ""))
}

async fn signals(style: Style) -> Stop {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = |kind: SignalKind, stop: Stop| async move {
        if stop == Stop::Never {
            std::future::pending::<()>().await;
        }
        if let Ok(mut stream) = signal(kind) {
            stream.recv().await;
            return stop;
        }
        std::future::pending().await
    };
    tokio::select! {
        stop = wait(SignalKind::terminate(), style.terminate) => stop,
        stop = wait(SignalKind::interrupt(), style.interrupt) => stop,
        stop = wait(SignalKind::quit(), style.quit) => stop,
    }
}
