//! A whole cluster in one value.
//!
//! ```text
//! Cluster::start(Options) -> Cluster
//!
//!   kubectl --TLS--+
//!                  v
//!   Cluster::client --> API server <-- scheduler, controllers
//!                           ^   |
//!                           |   v logs, exec, port-forward
//!                         kubelet --> runtime: containers
//! ```
//!
//! All of it runs in this process, except for the containers and, where the host allows namespaces, the small node
//! process that owns them. Components talk to the API server through clients in this process.
//!
//! [`Options::memory`] is made for tests, of controllers for example: neither database nor network nor processes, ready in
//! milliseconds, and on tokio's paused clock minutes of back-off pass in none.
//!
//! ```
//! use k8s_openapi::api::core::v1::{Namespace, Pod};
//! use knarr_cluster::{Cluster, Options};
//! use kube::Api;
//! use kube::api::{ListParams, PostParams};
//! use kube::runtime::{conditions::is_pod_running, wait::await_condition};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = Cluster::start(Options::memory()).await?;
//! let namespaces: Api<Namespace> = Api::all(cluster.client());
//! assert!(namespaces.list(&ListParams::default()).await?.items.len() >= 4);
//!
//! // Here the controller under test would run with a client of its own.
//! let pods: Api<Pod> = Api::default_namespaced(cluster.client());
//! let web = serde_json::from_value(json!({
//!     "metadata": { "name": "web" },
//!     "spec": { "containers": [{ "name": "web", "image": "nginx" }] },
//! }))?;
//! pods.create(&PostParams::default(), &web).await?;
//! let web = await_condition(pods, "web", is_pod_running()).await?;
//! assert_eq!(web.and_then(|web| web.spec?.node_name).as_deref(), Some("knarr"));
//!
//! cluster.stop().await;
//! # Ok(())
//! # }
//! ```

mod component;
pub mod daemon;
mod directory;
mod error;
mod export;
pub mod image;
mod kubeconfig;
mod line;
pub mod node;
mod pki;
mod plane;
mod runtime;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use knarr_clock::Clock;

pub use component::Logs;
pub use error::Error;
pub use knarr_runtime::Mode;
pub use plane::Cluster;

/// Where a cluster keeps what it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In a directory, which outlives it.
    Directory(PathBuf),
    /// Nowhere: what needs files gets a temporary directory.
    Memory,
}

/// What runs the containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// The best that the host allows: namespaces, else plain processes.
    #[default]
    Auto,
    /// Plain processes.
    Processes,
    /// Nothing: containers are simulated.
    Hollow,
}

/// How to run a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name.
    pub name: String,
    /// Where it keeps what it knows.
    pub storage: Storage,
    /// Where wall time comes from.
    pub clock: Clock,
    /// What runs the containers.
    pub runtime: RuntimeChoice,
    /// Where to serve TLS. Port 0 means the one that was used last, or a free one. `None`: clients of this process only.
    pub listen: Option<SocketAddr>,
    /// Names of nodes that it has, besides those that were added before: see [`node`]. Without any it runs no pods.
    pub nodes: Vec<String>,
    /// How many nodes whose pods are no processes it has at least.
    pub hollow: usize,
    /// Shown as the logs of the components' pods.
    pub logs: Option<Logs>,
    /// How long a node may be silent before it is given up.
    pub node_grace: std::time::Duration,
}

impl Options {
    /// A cluster that is kept in the platform's data directory and serves on a loopback port.
    pub fn named(name: &str) -> Result<Self, Error> {
        Ok(Self {
            name: name.to_owned(),
            storage: Storage::Directory(directory::Directory::of(name)?.path().to_path_buf()),
            runtime: RuntimeChoice::Auto,
            listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)),
            ..Self::memory()
        })
    }

    /// A cluster in memory with simulated containers: no database, no sockets, no processes.
    pub fn memory() -> Self {
        Self {
            name: "memory".into(),
            storage: Storage::Memory,
            clock: Clock::system(),
            runtime: RuntimeChoice::Hollow,
            listen: None,
            nodes: node::names(1),
            hollow: 0,
            logs: None,
            node_grace: std::time::Duration::from_secs(50),
        }
    }
}

/// Runs one of the programs hidden in this executable, when it was started as one: a program of a built-in image, the
/// node process, or a cluster in the background. Returns its exit code.
///
/// Call it first thing in `main`: the node process must not have threads.
pub fn reexec() -> Option<i32> {
    if knarr_runtime::is_node() {
        return Some(knarr_runtime::node_main());
    }
    knarr_toolbox::dispatch().or_else(daemon::reexec)
}
