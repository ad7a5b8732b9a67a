//! The control plane's loops: the scheduler and the controllers.
//!
//! They all work the same way. An informer per kind keeps a cache of what there is (`caches`). A change queues the
//! keys of the objects it concerns. For each key a *pure* function compares what is with what should be and returns the
//! writes that bring the two closer (`write`). Nothing depends on having seen every single change: a controller that
//! was away for an hour does the right thing from what it finds.
//!
//! The only way to the API server is a [`kube::Client`], the same that any other client uses.
//!
//! To add a controller: one file with a type that implements `controller::Controller`, and its name in the
//! `controllers!` list below.

mod caches;
mod controller;
mod deployment;
mod discovery;
mod endpoint;
mod event_expiry;
mod expect;
mod garbage;
mod namespace;
mod node;
mod owner;
mod pod;
mod queue;
mod replica_set;
mod root_certificate;
mod scheduler;
mod service_account;
mod token;
mod write;

use std::sync::Arc;
use std::time::Duration;

use knarr_client::{event, key, store};
use knarr_clock::Clock;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where wall time comes from.
    pub clock: Clock,
    /// Certificate of the cluster's CA, published to every namespace. Not published when empty.
    pub ca_pem: String,
    /// Names of controllers that are left out, as `kube-controller-manager --controllers=*,-NAME` has them.
    pub without: Vec<String>,
    /// How long a node may be silent before it is given up.
    pub node_grace: Duration,
    /// Most finished pods that are kept.
    pub finished_pods: usize,
    /// How long events are kept after they were last true.
    pub event_ttl: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            ca_pem: String::new(),
            without: Vec::new(),
            node_grace: Duration::from_secs(50),
            finished_pods: 12_500,
            event_ttl: Duration::from_secs(3600),
        }
    }
}

/// Runs the scheduler and the controllers until `shutdown`.
pub async fn run(client: Client, options: Options, shutdown: CancellationToken) {
    let caches = Arc::new(caches::Caches::new());
    let mut tasks = JoinSet::new();
    let (recorder, events) = event::Recorder::new(client.clone(), options.clock.clone(), "controller-manager", "");
    let performer = |component: &'static str, manager: &'static str| write::Performer {
        client: client.clone(),
        recorder: recorder.named(component),
        manager,
    };
    let wanted = |name: &str| !options.without.iter().any(|without| without == name);
    // Every controller registers its watches before the informers start, so that none misses a change.
    macro_rules! controllers {
        ($($controller:expr),* $(,)?) => {$({
            let controller = Arc::new($controller);
            let name = name_of(&controller);
            if wanted(name) {
                let cx = Arc::new(controller::Context {
                    caches: caches.clone(),
                    performer: performer(name, "kube-controller-manager"),
                    clock: options.clock.clone(),
                });
                tasks.spawn(controller::prepare(controller, cx, shutdown.clone()));
            }
        })*};
    }
    controllers! {
        deployment::Deployments,
        endpoint::legacy::LegacyEndpoints,
        endpoint::mirror::Mirror::default(),
        endpoint::slice::EndpointSlices::default(),
        event_expiry::EventExpiry::new(options.event_ttl),
        namespace::Namespaces::default(),
        node::collect::PodCollector::new(options.finished_pods),
        node::evict::TaintEviction,
        node::health::NodeHealth::new(options.node_grace),
        replica_set::ReplicaSets::default(),
        service_account::ServiceAccounts,
        token::Tokens { pem: options.ca_pem.clone() },
    }
    if !options.ca_pem.is_empty() {
        controllers! { root_certificate::RootCertificates { pem: options.ca_pem.clone() } }
    }
    if wanted(scheduler::NAME) {
        let scheduler = scheduler::Scheduler::new(&caches);
        let performer = performer(scheduler::NAME, "kube-scheduler");
        tasks.spawn(scheduler.run(caches.clone(), performer, options.clock.clone(), shutdown.clone()));
    }
    if wanted(garbage::NAME) {
        let performer = performer(garbage::NAME, "kube-controller-manager");
        tasks.spawn(garbage::Garbage::new().run(performer, shutdown.clone()));
    }
    caches.start(&client, &mut tasks, &shutdown);
    let writer = tokio::spawn(events);
    while tasks.join_next().await.is_some() {}
    writer.abort();
}

fn name_of<C: controller::Controller>(_: &Arc<C>) -> &'static str {
    C::NAME
}
