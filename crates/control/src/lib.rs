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

mod amount;
mod autoscale;
mod caches;
mod certificate;
mod controller;
mod cron_job;
mod daemon_set;
mod deployment;
mod discovery;
mod disruption;
mod endpoint;
mod event_expiry;
mod expect;
mod garbage;
mod history;
mod job;
mod namespace;
mod node;
mod owner;
mod pod;
mod queue;
mod rank;
mod replica_set;
mod root_certificate;
mod scheduler;
mod service_account;
mod stateful_set;
mod token;
mod ttl_after_finished;
mod volume;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use knarr_client::{event, key, store};
use knarr_clock::Clock;
use knarr_pki::Authority;
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
    /// What signs the certificates that are asked for. Without it nobody here does.
    pub authority: Option<Arc<Authority>>,
    /// Names of controllers that are left out, as `kube-controller-manager --controllers=*,-NAME` has them.
    pub without: Vec<String>,
    /// How long a node may be silent before it is given up.
    pub node_grace: Duration,
    /// Most finished pods that are kept.
    pub finished_pods: usize,
    /// How long events are kept after they were last true.
    pub event_ttl: Duration,
    /// Parent of the directories of volumes that the cluster makes itself. Without it, volumes are made but no directories removed.
    pub volumes: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            ca_pem: String::new(),
            authority: None,
            without: Vec::new(),
            node_grace: Duration::from_secs(50),
            finished_pods: 12_500,
            event_ttl: Duration::from_secs(3600),
            volumes: None,
        }
    }
}

/// The user that watches, records events, and lends the controllers their accounts.
const MANAGER: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

/// Runs the scheduler and the controllers until `shutdown`. `connect` gives a client that acts as a user: the scheduler and
/// the manager have one each, every controller is a service account, as with `--use-service-account-credentials`.
///
/// The future is boxed, so that the controllers are compiled here and not by whoever awaits it.
pub fn run(connect: Connect, options: Options, shutdown: CancellationToken) -> BoxFuture<'static, ()> {
    Box::pin(run_all(connect, options, shutdown))
}

/// Gives a client that acts as a user.
pub type Connect = Box<dyn Fn(&str) -> Client + Send + Sync>;

async fn run_all(connect: Connect, options: Options, shutdown: CancellationToken) {
    let caches = Arc::new(caches::Caches::new());
    let mut tasks = JoinSet::new();
    let manager = connect(MANAGER);
    let (recorder, events) = event::Recorder::new(manager.clone(), options.clock.clone(), "controller-manager", "");
    let performer = |component: &'static str, account: Option<&str>| write::Performer {
        client: account.map_or_else(|| manager.clone(), |account| connect(&user_of(account))),
        recorder: recorder.named(component),
        manager: "kube-controller-manager",
    };
    // Ends, with what was not written, when all else has ended.
    let mut writers = JoinSet::new();
    let wanted = |name: &str| !options.without.iter().any(|without| without == name);
    // Every controller registers its watches before the informers start, so that none misses a change.
    macro_rules! controllers {
        ($($controller:expr),* $(,)?) => {$({
            let controller = Arc::new($controller);
            let (name, account) = names_of(&controller);
            if wanted(name) {
                let cx = Arc::new(controller::Context {
                    caches: caches.clone(),
                    performer: performer(name, account),
                    clock: options.clock.clone(),
                });
                tasks.spawn(controller::prepare(controller, cx, shutdown.clone()));
            }
        })*};
    }
    controllers! {
        autoscale::Autoscalers::default(),
        certificate::approve::Approver,
        certificate::clean::Cleaner,
        cron_job::CronJobs { clock: options.clock.clone() },
        daemon_set::DaemonSets::default(),
        deployment::Deployments,
        disruption::Disruptions,
        endpoint::legacy::LegacyEndpoints,
        endpoint::mirror::Mirror::default(),
        endpoint::slice::EndpointSlices::default(),
        event_expiry::EventExpiry::new(options.event_ttl),
        job::Jobs::default(),
        namespace::Namespaces::default(),
        node::collect::PodCollector::new(options.finished_pods),
        node::evict::TaintEviction,
        node::health::NodeHealth::new(options.node_grace),
        replica_set::Replicas::<ReplicaSet>::default(),
        replica_set::Replicas::<ReplicationController>::default(),
        service_account::ServiceAccounts,
        stateful_set::StatefulSets,
        token::Tokens { pem: options.ca_pem.clone() },
        ttl_after_finished::TtlAfterFinished,
        volume::binder::VolumeBinder,
        volume::ephemeral::EphemeralVolumes,
        volume::protection::ClaimProtection,
        volume::protection::VolumeProtection,
        volume::provisioner::LocalProvisioner { directory: options.volumes.clone() },
    }
    if let Some(authority) = options.authority.clone() {
        controllers! { certificate::sign::Signer { authority } }
    }
    if !options.ca_pem.is_empty() {
        controllers! { root_certificate::RootCertificates { pem: options.ca_pem.clone() } }
    }
    if wanted(scheduler::NAME) {
        let scheduler = scheduler::Scheduler::new(&caches);
        let client = connect(SCHEDULER);
        let (recorder, events) = event::Recorder::new(client.clone(), options.clock.clone(), scheduler::NAME, "");
        let performer = write::Performer {
            client,
            recorder,
            manager: "kube-scheduler",
        };
        writers.spawn(events);
        tasks.spawn(scheduler.run(caches.clone(), performer, options.clock.clone(), shutdown.clone()));
    }
    if wanted(garbage::NAME) {
        let performer = performer(garbage::NAME, Some(garbage::ACCOUNT));
        tasks.spawn(garbage::Garbage::new().run(performer, shutdown.clone()));
    }
    caches.start(&manager, &mut tasks, &shutdown);
    writers.spawn(events);
    while tasks.join_next().await.is_some() {}
}

fn names_of<C: controller::Controller>(_: &Arc<C>) -> (&'static str, Option<&'static str>) {
    (C::NAME, C::ACCOUNT)
}

/// The user that a service account of the controllers is.
fn user_of(account: &str) -> String {
    format!("system:serviceaccount:kube-system:{account}")
}
