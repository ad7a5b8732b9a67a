//! The service network: how pods reach each other by the address and the name of a Service.
//!
//! ```text
//!   API server --watch--> View: Services, EndpointSlices
//!                          |                    |
//!                          v                    v
//!    pod --10.96.7.7:80--> proxy                DNS <--"web.shop"-- pod
//!                          |                    on 10.96.0.10:53
//!    host --127.0.0.1:30080|
//!                          +--dial--> 10.244.0.3:8080, a ready pod
//! ```
//!
//! On other clusters kube-proxy programs the kernel to rewrite packets. Here the kernel is left alone, so that no
//! privileges are needed: the proxy listens on each service's address in the node's network and copies bytes. The price
//! is that pods see the node's address as their client's.
//!
//! An Ingress controller ([`ingress`]) stands before services that are asked for by host and path.
//!
//! All parts read one [`view::View`] that two watches keep current. Nothing here polls.

mod announce;
mod dns;
mod endpoint;
mod ingress;
mod proxy;
mod view;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use futures::future::BoxFuture;
use knarr_client::event::Recorder;
use knarr_clock::Clock;
use knarr_runtime::Runtime;
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How to run the network.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time of events.
    pub clock: Clock,
    /// Where the cluster's DNS listens: a service address.
    pub dns_ip: Ipv4Addr,
    /// The domain of cluster names.
    pub domain: String,
    /// Service addresses that somebody else listens on.
    pub reserved: Vec<IpAddr>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            dns_ip: Ipv4Addr::new(10, 96, 0, 10),
            domain: "cluster.local".into(),
            reserved: vec![Ipv4Addr::new(10, 96, 0, 1).into()],
        }
    }
}

/// How the parts reach the API server, each as its own user.
#[derive(Clone)]
pub struct Clients {
    /// Of `kube-proxy`, which also tells of load balancers.
    pub proxy: Client,
    /// Of the cluster's DNS, which announces its Service.
    pub dns: Client,
    /// Of the Ingress controller.
    pub ingress: Client,
}

/// What the parts share.
#[derive(Clone)]
struct Context {
    client: Client,
    runtime: Arc<dyn Runtime>,
    recorder: Recorder,
    options: Arc<Options>,
    /// Connections that outlive the listener they came from.
    connections: TaskTracker,
    shutdown: CancellationToken,
}

impl Context {
    /// The same for a part that is a user, and a source of events, of its own.
    fn acting_as(&self, client: Client, component: &'static str) -> Self {
        Self {
            client,
            recorder: self.recorder.named(component),
            ..self.clone()
        }
    }

    /// Runs a connection until it ends or the network does.
    fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.connections.spawn(async move {
            shutdown.run_until_cancelled_owned(connection).await;
        });
    }
}

/// Runs the service proxy, the DNS server and the Ingress controller until `shutdown`.
pub fn run(
    clients: Clients,
    runtime: Arc<dyn Runtime>,
    options: Options,
    shutdown: CancellationToken,
) -> BoxFuture<'static, ()> {
    Box::pin(run_all(clients, runtime, options, shutdown))
}

async fn run_all(clients: Clients, runtime: Arc<dyn Runtime>, options: Options, shutdown: CancellationToken) {
    let (recorder, events) = Recorder::new(clients.proxy.clone(), options.clock.clone(), announce::MANAGER, "");
    let context = Context {
        client: clients.proxy,
        recorder,
        runtime,
        options: Arc::new(options),
        connections: TaskTracker::new(),
        shutdown: shutdown.clone(),
    };
    let (publish, view) = watch::channel(Arc::new(view::View::default()));
    let parts = async {
        tokio::join!(
            view::follow(context.client.clone(), publish),
            proxy::run(context.clone(), view.clone()),
            dns::serve::run(context.clone(), view.clone()),
            ingress::run(context.acting_as(clients.ingress, ingress::SERVICE), view),
            announce::dns_service(&clients.dns, &context),
            events,
        )
    };
    shutdown.run_until_cancelled(parts).await;
    context.connections.close();
    context.connections.wait().await;
}
