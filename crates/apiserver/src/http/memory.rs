//! Connections inside the process: HTTP/1.1 over a pair of byte pipes.
//!
//! Calling the handlers directly would be simpler, but then exec and port-forward could not upgrade their connection, and the
//! client in the same process would see another server than everybody else.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use futures::future::BoxFuture;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::DuplexStream;
use tower::Service;

use super::Peer;
use crate::auth::UserInfo;
use crate::server::Server;

/// Bytes in flight in one direction.
const BUFFER: usize = 256 << 10;

/// Opens connections to the server that act as one user.
#[derive(Clone)]
struct Connector {
    server: Arc<Server>,
    user: UserInfo,
}

impl Service<Uri> for Connector {
    type Response = Pipe;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Pipe, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (near, far) = tokio::io::duplex(BUFFER);
        let (server, user) = (self.server.clone(), self.user.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (server, user) = (server.clone(), user.clone());
            async move { Ok::<_, Infallible>(super::handle(server, Peer::Local(user), request.map(Body::new)).await) }
        });
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(far), service);
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "in-memory connection");
            }
        });
        std::future::ready(Ok(Pipe(TokioIo::new(near))))
    }
}

/// The client's end of a connection.
struct Pipe(TokioIo<DuplexStream>);

impl Connection for Pipe {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A client whose requests need no scheme and no host.
#[derive(Clone)]
pub(crate) struct Local {
    client: Client<Connector, kube::client::Body>,
    /// What its requests say they come from, unless they know better: field ownership shows it.
    agent: HeaderValue,
}

/// A transport for `kube::Client`.
pub(crate) fn connect(server: Arc<Server>, user: UserInfo) -> Local {
    Local {
        agent: HeaderValue::from_static(agent(&user.name)),
        client: Client::builder(TokioExecutor::new()).build(Connector { server, user }),
    }
}

/// The program that runs as a user, by the name under which everybody knows it.
fn agent(user: &str) -> &'static str {
    match user {
        "system:kube-controller-manager" => "kube-controller-manager",
        "system:kube-scheduler" => "kube-scheduler",
        node if node.starts_with("system:node:") => "kubelet",
        _ => "knarr",
    }
}

impl Service<Request<kube::client::Body>> for Local {
    type Response = Response<Incoming>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<Incoming>, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<kube::client::Body>) -> Self::Future {
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        if let Ok(uri) = Uri::builder()
            .scheme("http")
            .authority("knarr")
            .path_and_query(path)
            .build()
        {
            *request.uri_mut() = uri;
        }
        let agent = self.agent.clone();
        request.headers_mut().entry(USER_AGENT).or_insert(agent);
        let client = self.client.clone();
        Box::pin(async move { client.request(request).await })
    }
}
