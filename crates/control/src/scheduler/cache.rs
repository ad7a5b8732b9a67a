//! The scheduler's own picture of the cluster: nodes, and what runs on them.
//!
//! It is kept up to date change by change, not rebuilt per pod, and indexed by what plugins ask for: a decision about a
//! pod without affinity looks at no other pod. A pod that was just given a node is in the picture at once (*assumed*),
//! so that the next decision counts it although the watch has not shown the binding yet.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use super::events::ClusterEvent;
use super::types::{NodeInfo, PodInfo, Resources};
use crate::owner;
use crate::pod;

/// A pod on a node.
#[derive(Clone)]
pub(crate) struct Placed {
    pub(crate) pod: Arc<PodInfo>,
    pub(crate) node: String,
}

/// All nodes, and all pods that have one.
#[derive(Default)]
pub(crate) struct Cache {
    nodes: Vec<NodeInfo>,
    /// Place of each node in `nodes`.
    index: HashMap<String, usize>,
    /// By UID.
    placed: HashMap<String, Placed>,
    /// UIDs of the placed pods of each namespace.
    by_namespace: HashMap<String, HashMap<String, Placed>>,
    /// Placed pods that say something about where other pods are, by UID.
    with_affinity: HashMap<String, Placed>,
    /// How many pods of each controller, by its UID, are on each node.
    by_owner: HashMap<String, HashMap<String, i64>>,
}

impl Cache {
    /// Nodes that exist, in no particular but a stable order.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.iter().filter(|info| info.node.is_some())
    }

    /// The nodes, with those that do not exist (any more), to start in the middle of.
    pub(crate) fn all_nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// A node that exists.
    pub(crate) fn node(&self, name: &str) -> Option<&NodeInfo> {
        let info = &self.nodes[*self.index.get(name)?];
        info.node.is_some().then_some(info)
    }

    /// The pods with affinity or anti-affinity of their own.
    pub(crate) fn with_affinity(&self) -> impl Iterator<Item = &Placed> {
        self.with_affinity.values()
    }

    /// The placed pods of a namespace.
    pub(crate) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Placed> {
        self.by_namespace.get(namespace).into_iter().flat_map(HashMap::values)
    }

    /// All placed pods.
    pub(crate) fn placed(&self) -> impl Iterator<Item = &Placed> {
        self.placed.values()
    }

    /// How many pods of a controller are on each node.
    pub(crate) fn siblings(&self, owner: &str) -> Option<&HashMap<String, i64>> {
        self.by_owner.get(owner)
    }

    /// Takes over a change of a node. Returns what it may mean to pods that wait.
    pub(crate) fn node_changed(&mut self, old: Option<&Arc<Node>>, new: Option<&Arc<Node>>) -> ClusterEvent {
        let name = |node: &Arc<Node>| node.metadata.name.clone().unwrap_or_default();
        let Some(new) = new else {
            if let Some(at) = old.and_then(|old| self.index.get(&name(old)).copied()) {
                self.nodes[at].node = None;
                self.drop_ghost(at);
            }
            return ClusterEvent::NODE_DELETE;
        };
        let allocatable = Resources::read(new.status.as_ref().and_then(|status| status.allocatable.as_ref()));
        let at = self.entry(&name(new));
        let info = &mut self.nodes[at];
        let event = match info.node.as_ref().filter(|_| old.is_some()) {
            None => ClusterEvent::NODE_ADD,
            // Heartbeats change a node all the time; only these changes can make a difference.
            Some(before) => {
                let mut event = ClusterEvent::NONE;
                if info.allocatable != allocatable {
                    event = event | ClusterEvent::NODE_ALLOCATABLE;
                }
                if before.metadata.labels != new.metadata.labels {
                    event = event | ClusterEvent::NODE_LABEL;
                }
                if before.spec != new.spec {
                    event = event | ClusterEvent::NODE_TAINT;
                }
                event
            }
        };
        info.allocatable = allocatable;
        info.node = Some(new.clone());
        event
    }

    /// Takes over a change of a pod. Returns what it may mean to pods that wait.
    pub(crate) fn pod_changed(&mut self, old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>) -> ClusterEvent {
        if let Some((pod, node)) = new
            .filter(|pod| !pod::is_terminal(pod))
            .and_then(|pod| Some((pod, pod::node(pod)?)))
        {
            let event = match old.filter(|old| pod::node(old).is_some()) {
                None => ClusterEvent::POD_ADD,
                Some(old) => {
                    let mut event = ClusterEvent::NONE;
                    if old.metadata.labels != pod.metadata.labels {
                        event = event | ClusterEvent::POD_LABEL;
                    }
                    if old.spec != pod.spec {
                        event = event | ClusterEvent::POD_SCALE_DOWN;
                    }
                    if old.metadata.deletion_timestamp != pod.metadata.deletion_timestamp {
                        event = event | ClusterEvent::POD_LABEL;
                    }
                    event
                }
            };
            // Status updates are most of what is seen of a pod, and change nothing here.
            let known = self.placed.get(uid(pod)).is_some_and(|placed| placed.node == node);
            if event != ClusterEvent::NONE || !known {
                self.put(Arc::new(PodInfo::new(pod.clone())), node);
            }
            return event;
        }
        // Not placed (any more). A pod that is only assumed to be placed stays: the watch lags behind the binding.
        let Some(gone) = old.or(new) else {
            return ClusterEvent::NONE;
        };
        if new.is_some_and(|new| pod::node(new).is_none() && !pod::is_terminal(new)) {
            return ClusterEvent::NONE;
        }
        match self.forget(uid(gone)) {
            true => ClusterEvent::POD_DELETE,
            false => ClusterEvent::NONE,
        }
    }

    /// Counts a pod as placed.
    pub(crate) fn assume(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.put(pod, node);
    }

    /// Whether a pod is counted as placed.
    pub(crate) fn has(&self, uid: &str) -> bool {
        self.placed.contains_key(uid)
    }

    /// Takes a pod out, wherever it is.
    pub(crate) fn forget(&mut self, uid: &str) -> bool {
        let Some(Placed { pod, node }) = self.placed.remove(uid) else {
            return false;
        };
        self.with_affinity.remove(uid);
        if let Some(pods) = self.by_namespace.get_mut(pod.namespace()) {
            pods.remove(uid);
            if pods.is_empty() {
                self.by_namespace.remove(pod.namespace());
            }
        }
        if let Some(owner) = owner::controller_uid(&pod.pod.metadata)
            && let Some(nodes) = self.by_owner.get_mut(owner)
        {
            if let Some(count) = nodes.get_mut(&node) {
                *count -= 1;
            }
            nodes.retain(|_, count| *count > 0);
            if nodes.is_empty() {
                self.by_owner.remove(owner);
            }
        }
        if let Some(at) = self.index.get(&node).copied() {
            self.nodes[at].remove(uid);
            self.drop_ghost(at);
        }
        true
    }

    fn put(&mut self, pod: Arc<PodInfo>, node: &str) {
        let uid = pod.uid().to_owned();
        self.forget(&uid);
        let at = self.entry(node);
        self.nodes[at].add(pod.clone());
        if let Some(owner) = owner::controller_uid(&pod.pod.metadata) {
            let nodes = self.by_owner.entry(owner.to_owned()).or_default();
            *nodes.entry(node.to_owned()).or_default() += 1;
        }
        let namespace = pod.namespace().to_owned();
        let placed = Placed {
            pod,
            node: node.to_owned(),
        };
        if placed.pod.has_affinity() {
            self.with_affinity.insert(uid.clone(), placed.clone());
        }
        self.by_namespace
            .entry(namespace)
            .or_default()
            .insert(uid.clone(), placed.clone());
        self.placed.insert(uid, placed);
    }

    fn entry(&mut self, name: &str) -> usize {
        if let Some(at) = self.index.get(name) {
            return *at;
        }
        let at = self.nodes.len();
        self.nodes.push(NodeInfo {
            name: name.to_owned(),
            ..NodeInfo::default()
        });
        self.index.insert(name.to_owned(), at);
        at
    }

    /// Forgets a node that neither exists nor is named by any pod.
    fn drop_ghost(&mut self, at: usize) {
        if self.nodes[at].node.is_some() || !self.nodes[at].pods.is_empty() {
            return;
        }
        let gone = self.nodes.swap_remove(at);
        self.index.remove(&gone.name);
        if let Some(moved) = self.nodes.get(at) {
            self.index.insert(moved.name.clone(), at);
        }
    }
}

pub(crate) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}
