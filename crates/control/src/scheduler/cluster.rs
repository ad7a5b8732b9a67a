//! The scheduler's own picture of the cluster: nodes, and what runs on them.
//!
//! It is kept up to date change by change, not rebuilt per pod. A pod that was just given a node is in the picture at
//! once (*assumed*), so that the next decision counts it although the watch has not shown the binding yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use super::demand::{Amounts, Demand};
use crate::pod;

/// One node and its load.
#[derive(Clone, Default)]
pub(crate) struct Host {
    /// `None` while pods name a node that does not exist.
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) allocatable: Amounts,
    /// By UID.
    pub(crate) pods: BTreeMap<String, Guest>,
    pub(crate) used: Amounts,
    pub(crate) used_usual: Amounts,
}

/// A pod on a node.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) pod: Arc<Pod>,
    pub(crate) demand: Arc<Demand>,
}

impl Host {
    pub(crate) fn add(&mut self, pod: Arc<Pod>) {
        let demand = Arc::new(Demand::of(&pod));
        self.remove(uid(&pod));
        self.used.add(&demand.exact);
        self.used_usual.add(&demand.usual);
        self.pods.insert(uid(&pod).to_string(), Guest { pod, demand });
    }

    pub(crate) fn remove(&mut self, uid: &str) {
        if let Some(guest) = self.pods.remove(uid) {
            self.used.subtract(&guest.demand.exact);
            self.used_usual.subtract(&guest.demand.usual);
        }
    }
}

/// All nodes.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) hosts: BTreeMap<String, Host>,
    /// Where each pod is, by UID.
    places: HashMap<String, String>,
    /// Counts changes that may make room for a pod.
    pub(crate) generation: u64,
}

impl Cluster {
    /// Nodes that exist.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&str, &Node, &Host)> {
        let hosts = self.hosts.iter();
        hosts.filter_map(|(name, host)| Some((name.as_str(), host.node.as_deref()?, host)))
    }

    /// Takes over a change of a node. Returns whether it may make room for somebody.
    pub(crate) fn node_changed(&mut self, old: Option<&Arc<Node>>, new: Option<&Arc<Node>>) -> bool {
        let name = |node: &Arc<Node>| node.metadata.name.clone().unwrap_or_default();
        let Some(new) = new else {
            if let Some(old) = old.map(name)
                && let Some(host) = self.hosts.get_mut(&old)
            {
                host.node = None;
                if host.pods.is_empty() {
                    self.hosts.remove(&old);
                }
            }
            return false;
        };
        let host = self.hosts.entry(name(new)).or_default();
        let allocatable = new.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let allocatable = Amounts::read(allocatable);
        // Heartbeats change a node all the time; only these changes can make a difference.
        let matters = old.is_none_or(|old| {
            old.spec != new.spec || old.metadata.labels != new.metadata.labels || host.allocatable != allocatable
        });
        host.allocatable = allocatable;
        host.node = Some(new.clone());
        self.generation += u64::from(matters);
        matters
    }

    /// Takes over a change of a pod. Returns whether it may make room for somebody.
    pub(crate) fn pod_changed(&mut self, old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>) -> bool {
        if let Some((pod, node)) = new
            .filter(|pod| !pod::is_terminal(pod))
            .and_then(|pod| Some((pod, pod::node(pod)?)))
        {
            let matters = old.is_none_or(|old| {
                pod::node(old).is_none() || old.metadata.labels != pod.metadata.labels || old.spec != pod.spec
            });
            self.put(pod.clone(), node);
            self.generation += u64::from(matters);
            return matters;
        }
        // Not placed (any more). A pod that is only assumed to be placed stays: the watch lags behind the binding.
        let Some(gone) = old.or(new) else { return false };
        if new.is_some_and(|new| pod::node(new).is_none() && !pod::is_terminal(new)) {
            return false;
        }
        let freed = self.forget(uid(gone));
        self.generation += u64::from(freed);
        freed
    }

    /// Counts a pod as placed.
    pub(crate) fn assume(&mut self, pod: Arc<Pod>, node: &str) {
        self.put(pod, node);
    }

    /// Whether a pod is counted as placed.
    pub(crate) fn has(&self, pod: &Pod) -> bool {
        self.places.contains_key(uid(pod))
    }

    /// Takes a pod out, wherever it is.
    pub(crate) fn forget(&mut self, uid: &str) -> bool {
        let Some(node) = self.places.remove(uid) else {
            return false;
        };
        if let Some(host) = self.hosts.get_mut(&node) {
            host.remove(uid);
            if host.node.is_none() && host.pods.is_empty() {
                self.hosts.remove(&node);
            }
        }
        true
    }

    fn put(&mut self, pod: Arc<Pod>, node: &str) {
        let uid = uid(&pod).to_string();
        if self.places.get(&uid).is_some_and(|place| place != node) {
            self.forget(&uid);
        }
        self.places.insert(uid, node.to_string());
        self.hosts.entry(node.to_string()).or_default().add(pod);
    }
}

pub(crate) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}
