//! What a kubelet is told when it starts.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use knarr_clock::Clock;
use knarr_image::Registries;

use crate::component::ComponentPod;

/// `kubeletVersion` where nothing else is said.
pub(crate) const VERSION: &str = "v1.37.0+knarr";

/// How to run a [`Kubelet`](crate::Kubelet).
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the Node object.
    pub node_name: String,
    /// Directory of pod volumes and container logs; created if missing.
    pub state_dir: PathBuf,
    /// Wall time.
    pub clock: Clock,
    /// Labels the Node gets besides those that every node has.
    pub labels: BTreeMap<String, String>,
    /// Capacity to report instead of what the host has.
    pub capacity: Option<Capacity>,
    /// The node's own address: `status.addresses`, `status.hostIP`.
    pub node_ip: IpAddr,
    /// Where its pods' addresses come from, when they have any of their own.
    pub pod_cidr: Option<String>,
    /// `kubeletVersion`.
    pub version: String,
    /// Name servers of pods with `dnsPolicy: ClusterFirst`; empty means that there is no cluster DNS.
    pub cluster_dns: Vec<IpAddr>,
    /// Domain of cluster names.
    pub cluster_domain: String,
    /// Directory of static pod manifests, read when something changes in it, and every 20 seconds.
    pub manifest_dir: Option<PathBuf>,
    /// Components of the control plane that run in this process, shown as mirror pods in `kube-system`.
    pub components: Vec<ComponentPod>,
    /// Where images come from that are not in the store; `None` where nothing outside is to be asked.
    pub registries: Option<Arc<Registries>>,
}

impl Options {
    /// Options with the usual values.
    pub fn new(node_name: impl Into<String>, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            node_name: node_name.into(),
            state_dir: state_dir.into(),
            clock: Clock::system(),
            labels: BTreeMap::new(),
            capacity: None,
            node_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            pod_cidr: None,
            version: VERSION.into(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            manifest_dir: None,
            components: Vec::new(),
            registries: None,
        }
    }
}

/// What a node has to offer to pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of disk for logs, writable layers and `emptyDir` volumes.
    pub storage_bytes: u64,
    /// Number of pods.
    pub pods: u32,
}
