//! Listeners: accepting connections until told to stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Peer;
use super::held::hold;
use crate::auth::authn::Certificate;
use crate::server::Server;

/// Connections at once. More wait to be accepted until others close.
const CONNECTIONS: usize = 4096;
/// How long a client may take for the header of a request, and keep a connection open without one, as in
/// `kube-apiserver` (`ReadHeaderTimeout`).
const HEADER: Duration = Duration::from_secs(32);
/// How long an HTTP/2 connection is kept without requests.
const IDLE: Duration = Duration::from_secs(90);
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 250;
/// How long open requests may take to finish after a shutdown was asked for.
const LINGER: Duration = Duration::from_secs(2);
/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

pub(crate) async fn tls(
    server: Arc<Server>,
    listener: TcpListener,
    config: Arc<rustls::ServerConfig>,
    shutdown: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(config);
    let stop = shutdown.clone();
    accept(listener, shutdown, move |stream| {
        let (server, acceptor, stop) = (server.clone(), acceptor.clone(), stop.clone());
        async move {
            let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake"),
                Err(_) => return tracing::debug!("TLS handshake timed out"),
            };
            // What was agreed on is what is spoken. Looking at the first bytes instead would mean waiting for them.
            let builder = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => builder().http2_only(),
                _ => builder().http1_only(),
            };
            let chain = stream.get_ref().1.peer_certificates();
            let certificate = chain.map(|chain| server.certificates.shown(chain, server.clock.now()).map(Arc::new));
            connection(server, builder, stream, certificate, stop).await;
        }
    })
    .await;
}

pub(crate) async fn plain(server: Arc<Server>, listener: TcpListener, shutdown: CancellationToken) {
    let stop = shutdown.clone();
    accept(listener, shutdown, move |stream| {
        let (server, stop) = (server.clone(), stop.clone());
        async move {
            // Which protocol it is shows in the first bytes.
            if let Ok(Ok(_)) = tokio::time::timeout(HEADER, stream.peek(&mut [0])).await {
                connection(server, builder(), stream, None, stop).await;
            }
        }
    })
    .await;
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
    builder
}

async fn accept<F>(listener: TcpListener, shutdown: CancellationToken, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = next(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                // Watches and exec sessions send small pieces that somebody is waiting for.
                let _ = stream.set_nodelay(true);
                let served = serve(stream);
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            // Out of file descriptors, most likely: waiting gives open connections time to close.
            Err(error) => {
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(LINGER, connections.wait()).await.is_err() {
        tracing::debug!("closing connections that are still in use");
    }
}

/// The next connection, once there is a place for it.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Option<OwnedSemaphorePermit>)> {
    // The semaphore is never closed.
    let place = places.clone().acquire_owned().await.ok();
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn connection(
    server: Arc<Server>,
    builder: auto::Builder<TokioExecutor>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    certificate: Certificate,
    shutdown: CancellationToken,
) {
    let activity = Arc::new(Activity::default());
    let requests = activity.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, requests, peer) = (server.clone(), requests.clone(), Peer::Remote(certificate.clone()));
        async move {
            let request = request.map(Body::new);
            let open = Open::new(&requests, request.version());
            let response = super::handle(server, peer, request).await;
            Ok::<_, Infallible>(match open {
                Some(open) => response.map(|body| hold(body, open)),
                None => response,
            })
        }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = &mut connection => outcome,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // Watches never end by themselves.
            match tokio::time::timeout(LINGER, connection).await {
                Ok(outcome) => outcome,
                Err(_) => return,
            }
        }
        () = activity.idle() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(error = %error, "connection");
    }
}

/// What happens on an HTTP/2 connection. Over HTTP/1.1 the wait for the next header has a limit already.
#[derive(Default)]
struct Activity {
    http1: AtomicBool,
    /// Requests so far.
    begun: AtomicUsize,
    /// Of those, the ones whose answer has not been sent to its end.
    open: AtomicUsize,
}

impl Activity {
    /// Returns when there were no requests for a while.
    async fn idle(&self) {
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            tokio::time::sleep(IDLE).await;
            if self.http1.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            if self.open.load(Ordering::Relaxed) == 0 && self.begun.load(Ordering::Relaxed) == begun {
                return;
            }
        }
    }
}

/// A request until its answer has been sent.
struct Open(Arc<Activity>);

impl Open {
    fn new(activity: &Arc<Activity>, version: Version) -> Option<Self> {
        if version != Version::HTTP_2 {
            activity.http1.store(true, Ordering::Relaxed);
            return None;
        }
        activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.open.fetch_add(1, Ordering::Relaxed);
        Some(Self(activity.clone()))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
