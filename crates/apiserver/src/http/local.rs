//! The client of this process: requests go to [`super::handle`] as they are, and answers come back as they are made.
//!
//! There is no connection: bodies are passed as frames, and a watch is the stream that the server makes of it. Only a request
//! that asks for a connection of its own (exec, attach, port-forward) gets one.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use futures::future::BoxFuture;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::TokioIo;
use tower::Service;

use super::Peer;
use crate::auth::UserInfo;
use crate::server::Server;

/// Bytes in flight in one direction of an upgraded connection.
const BUFFER: usize = 256 << 10;

/// What is under a `kube::Client` in this process: the server, as one user sees it.
#[derive(Clone)]
pub(crate) struct Local {
    server: Arc<Server>,
    user: UserInfo,
    /// What its requests say they come from, unless they know better: field ownership shows it.
    agent: HeaderValue,
}

impl Local {
    pub(crate) fn new(server: Arc<Server>, user: UserInfo) -> Self {
        Self {
            agent: HeaderValue::from_static(agent(&user.name)),
            server,
            user,
        }
    }
}

/// The program that runs as a user, by the name under which everybody knows it.
fn agent(user: &str) -> &'static str {
    match user {
        "system:kube-controller-manager" => "kube-controller-manager",
        "system:kube-scheduler" => "kube-scheduler",
        account if account.starts_with("system:serviceaccount:kube-system:") => "kube-controller-manager",
        node if node.starts_with("system:node:") => "kubelet",
        _ => "knarr",
    }
}

impl Service<Request<kube::client::Body>> for Local {
    type Response = Response<Body>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, hyper::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<kube::client::Body>) -> Self::Future {
        let agent = self.agent.clone();
        request.headers_mut().entry(USER_AGENT).or_insert(agent);
        let (server, peer) = (self.server.clone(), Peer::Local(self.user.clone()));
        if request.headers().contains_key(header::UPGRADE) {
            return Box::pin(upgrade(server, self.user.clone(), request));
        }
        Box::pin(async move { Ok(super::handle(server, peer, request.map(Body::new)).await) })
    }
}

/// Answers a request that turns its connection into a stream of bytes. There has to be one for that, and it has to be
/// hyper's, whose type clients expect to find in the answer.
async fn upgrade(
    server: Arc<Server>,
    user: UserInfo,
    request: Request<kube::client::Body>,
) -> Result<Response<Body>, hyper::Error> {
    let (near, far) = tokio::io::duplex(BUFFER);
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, peer) = (server.clone(), Peer::Local(user.clone()));
        async move { Ok::<_, Infallible>(super::handle(server, peer, request.map(Body::new)).await) }
    });
    let serving = server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
    tokio::spawn(serving.with_upgrades());
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(near)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?.map(Body::new))
}
