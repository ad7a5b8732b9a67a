//! The API server: the one component of a control plane that stores anything, and the only one the others talk to.
//!
//! A request passes through these layers, outermost first:
//!
//! 1. [`http`]: connections, paths, query strings, content negotiation, bodies
//! 2. [`auth`]: who asks, and whether they may
//! 3. [`verb`] and [`subresource`]: what is asked for, as a request without HTTP
//! 4. [`registry`]: create, update and delete over the rules of each kind (`knarr-resource`), with admission, and with the
//!    mechanics of patches and field ownership from `knarr-schema`
//! 5. [`store`]: the objects, their versions and their recent history
//!
//! Controllers, schedulers and kubelets are ordinary clients of it. In one process they use [`ApiServer::client`], whose
//! requests go straight to the server: no socket, no TLS, no framing, and the same authorization as for everybody.

mod aggregator;
mod auth;
mod bootstrap;
mod crd;
pub mod database;
mod dial;
mod discovery;
mod error;
mod http;
mod lookup;
mod memo;
mod object;
mod policy;
mod refusal;
mod registry;
mod server;
mod store;
mod subresource;
mod usage;
mod verb;
mod webhook;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use knarr_clock::Clock;
use knarr_stream::backend::Backend;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use error::Error;
pub use knarr_resource::admission::{Level, PodSecurity, UserInfo};

/// The Kubernetes version whose API is served.
pub const KUBERNETES_VERSION: &str = "v1.37.0";

/// A static bearer token.
#[derive(Clone, Debug)]
pub struct Token {
    /// What the client sends.
    pub token: String,
    /// Who that is.
    pub user: String,
    /// The groups of that user.
    pub groups: Vec<String>,
}

/// How to run an [`ApiServer`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Where timestamps come from.
    pub clock: Clock,
    /// The database file; without one nothing outlives the process.
    pub data: Option<PathBuf>,
    /// Users that come with a token.
    pub tokens: Vec<Token>,
    /// Addresses of Services, such as `10.96.0.0/16`.
    pub service_cidr: String,
    /// The address under which the `kubernetes` Service reaches this server.
    pub advertise: Option<SocketAddr>,
    /// The certificate of the authority that signed the server's certificate, in PEM; `kube-public/cluster-info` shows it.
    pub ca_pem: String,
    /// `gitVersion` of `/version`.
    pub version: String,
    /// What pods may do in namespaces that do not say.
    pub pod_security: PodSecurity,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            data: None,
            tokens: Vec::new(),
            service_cidr: "10.96.0.0/16".into(),
            advertise: None,
            ca_pem: String::new(),
            version: format!("{KUBERNETES_VERSION}+knarr"),
            pod_security: PodSecurity::default(),
        }
    }
}

/// A running API server; clones share it.
///
/// Its futures are boxed: an `async fn` is compiled by whoever awaits it, with all that it awaits.
#[derive(Clone)]
pub struct ApiServer {
    server: Arc<server::Server>,
}

impl ApiServer {
    /// Opens the store, puts the objects into it that every cluster starts with, and is ready for clients.
    pub fn start(options: Options) -> BoxFuture<'static, Result<Self, Error>> {
        Box::pin(Self::begin(options))
    }

    async fn begin(options: Options) -> Result<Self, Error> {
        let server = server::Server::start(options).await?;
        crd::serve(&server)?;
        bootstrap::run(&server).await?;
        crd::reconcile(&server).await?;
        tokio::spawn(crd::Controller::new(&server).run());
        tokio::spawn(aggregator::Controller::new(&server).run());
        tokio::spawn(bootstrap::Controller::new(&server).run());
        tokio::spawn(policy::Controller::new(&server).run());
        tokio::spawn(registry::QuotaController::new(&server).run());
        tokio::spawn(auth::aggregation::Controller::new(&server).run());
        server.ready();
        Ok(Self { server })
    }

    /// A client in this process that acts as `user`. Members of the group `system:masters` may do everything.
    ///
    /// Must be called on a tokio runtime. It opens no sockets and sets no timers, so it works under paused time.
    pub fn client(&self, user: UserInfo) -> kube::Client {
        kube::Client::new(http::local::Local::new(self.server.clone(), user), "default")
    }

    /// Serves HTTP/1.1 and HTTP/2 over TLS until `shutdown`, and then lets open requests finish for a moment.
    ///
    /// Watches do not finish by themselves: [`ApiServer::shutdown`], called first, ends them at once.
    pub fn serve(
        &self,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        Box::pin(http::listen::tls(self.server.clone(), listener, tls, shutdown))
    }

    /// Serves plain HTTP. Whoever can reach the listener can read the tokens sent to it: for tests and for sockets that are
    /// private by other means.
    pub fn serve_plain(&self, listener: TcpListener, shutdown: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(http::listen::plain(self.server.clone(), listener, shutdown))
    }

    /// Says where pods reach the server besides its Service's address: what the `kubernetes` Endpoints hold. No loopback
    /// address, which would be a pod's own.
    ///
    /// # Errors
    /// The Endpoints could not be stored.
    pub fn advertise_to_pods(&self, address: SocketAddr) -> BoxFuture<'_, Result<(), Error>> {
        self.server.advertise_to_pods(address);
        Box::pin(bootstrap::restore(&self.server))
    }

    /// Registers what serves logs, exec, attach, port-forward and proxy requests for the pods of a node.
    pub fn set_backend(&self, node: &str, backend: Arc<dyn Backend>) {
        self.server.set_backend(node, backend);
    }

    /// Takes it back: the node cannot be reached.
    pub fn remove_backend(&self, node: &str) {
        self.server.remove_backend(node);
    }

    /// Forgets the watch history, as an etcd compaction does: older watches get 410 Gone and list again.
    pub fn compact(&self) {
        self.server.store.compact();
    }

    /// Everything that is wrong with the store, in words; empty if all is well. Slow: it reads every object.
    pub fn check(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(self.server.store.check())
    }

    /// Ends watches, makes every write durable and lets go of the database. Later reads are still answered, later writes are
    /// refused.
    pub fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.server.stopping.cancel();
            if let Err(error) = self.server.store.close().await {
                tracing::error!(%error, "the last writes may not be on disk");
            }
        })
    }
}
