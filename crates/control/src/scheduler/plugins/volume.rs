//! What a pod's claims say about where it can run.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, TopologySelectorTerm};

use crate::caches::Caches;
use crate::key::Key;
use crate::scheduler::events::ClusterEvent;
use crate::scheduler::framework::{Cluster, Filter, Plugin, Unschedulable};
use crate::scheduler::types::{NodeInfo, PodInfo};
use crate::volume::binder::given;
use crate::volume::matching::{best, reaches};
use crate::volume::{
    SELECTED_NODE, annotation, claim_class, claims_of, is_bound, is_made_for, volume_name, waits_for_consumer,
};
use crate::write::{Path, Write};

const LOST: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
const OUT_OF_REACH: &str = "node(s) didn't match PersistentVolume's node affinity";
const NO_VOLUME: &str = "node(s) didn't find available persistent volumes to bind";
const IN_USE: &str =
    "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";
const OTHER_ZONE: &str = "node(s) had no available volume zone";
/// The class's volumes are made by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// Labels of volumes that only nodes with the same label reach; a value may name several, as `a__b`.
const ZONES: [&str; 4] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];

fn claims(pod: &PodInfo, caches: &Caches) -> Vec<Arc<PersistentVolumeClaim>> {
    claims_of(&pod.pod)
        .filter_map(|(key, _)| caches.claims.get(&key))
        .collect()
}

fn bound_volumes(claims: &[Arc<PersistentVolumeClaim>], caches: &Caches) -> Vec<Option<Arc<PersistentVolume>>> {
    let bound = claims.iter().filter(|claim| is_bound(claim));
    bound.map(|claim| caches.volumes.named(volume_name(claim))).collect()
}

/// Each claim has, or can get, a volume that the node reaches.
pub(super) struct VolumeBinding;

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn events(&self) -> ClusterEvent {
        ClusterEvent::NODE_ADD
            .or(ClusterEvent::NODE_LABEL)
            .or(ClusterEvent::VOLUME)
            .or(ClusterEvent::VOLUME_CLAIM)
            .or(ClusterEvent::STORAGE_CLASS)
    }

    fn admits(&self, pod: &PodInfo, cluster: Cluster<'_>) -> Result<(), Unschedulable> {
        let refuse = |why: String| Err(Unschedulable::unresolvable(&why));
        let caches = cluster.caches;
        let mut immediate = false;
        for (key, ephemeral) in claims_of(&pod.pod) {
            let name = &key.name;
            let Some(claim) = caches.claims.get(&key) else {
                return refuse(match ephemeral {
                    true => {
                        format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}")
                    }
                    false => format!("persistentvolumeclaim {name:?} not found"),
                });
            };
            let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
            if phase == Some("Lost") {
                let volume = volume_name(&claim);
                return refuse(format!(
                    "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
                ));
            }
            if claim.metadata.deletion_timestamp.is_some() {
                return refuse(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            if ephemeral && !is_made_for(&claim, &pod.pod) {
                let pod = pod.key();
                return refuse(format!("PVC {key} was not created for pod {pod} (pod is not owner)"));
            }
            let waits = volume_name(&claim).is_empty() && waits_for_consumer(&claim, caches);
            immediate |= !is_bound(&claim) && !waits;
        }
        match immediate {
            true => refuse("pod has unbound immediate PersistentVolumeClaims".into()),
            false => Ok(()),
        }
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, cluster: Cluster<'a>) -> Option<Box<dyn Filter + 'a>> {
        let claims = claims(pod, cluster.caches);
        if claims.is_empty() {
            return None;
        }
        let bound = bound_volumes(&claims, cluster.caches);
        let open = claims.into_iter().filter(|claim| !is_bound(claim)).collect();
        Some(Box::new(Reachable {
            bound,
            open,
            caches: cluster.caches,
        }))
    }
}

struct Reachable<'a> {
    /// The volumes there are; `None` is one that is missing.
    bound: Vec<Option<Arc<PersistentVolume>>>,
    /// The claims that wait for the pod's node.
    open: Vec<Arc<PersistentVolumeClaim>>,
    caches: &'a Caches,
}

impl Filter for Reachable<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Unschedulable> {
        let Some(node) = node.node.as_deref() else {
            return Ok(());
        };
        let mut reasons = Vec::new();
        if self.bound.iter().flatten().any(|volume| !reaches(volume, node)) {
            reasons.push(OUT_OF_REACH.to_owned());
        }
        if plan(&self.open, node, self.caches).is_none() {
            reasons.push(NO_VOLUME.into());
        }
        if self.bound.iter().any(Option::is_none) {
            reasons.push(LOST.into());
        }
        match reasons.is_empty() {
            true => Ok(()),
            false => Err(Unschedulable {
                reasons,
                ..Unschedulable::unresolvable("")
            }),
        }
    }
}

/// What each open claim gets on the node: a volume, or (`None`) one that is yet to be made. `None` where one can get none.
fn plan(
    open: &[Arc<PersistentVolumeClaim>],
    node: &Node,
    caches: &Caches,
) -> Option<Vec<Option<Arc<PersistentVolume>>>> {
    if open.is_empty() {
        return Some(Vec::new());
    }
    let mut volumes = caches.volumes.all();
    let name = node.metadata.name.as_deref();
    let mut planned = Vec::new();
    for claim in open {
        let selected = annotation(&claim.metadata, SELECTED_NODE);
        if selected.is_some() && selected != name {
            return None;
        }
        let found = best(claim, &volumes, Some(node), true).filter(|_| selected.is_none());
        match &found {
            Some(found) => volumes.retain(|volume| volume.metadata.name != found.metadata.name),
            None => {
                let class = caches.storage_classes.named(claim_class(claim))?;
                let topologies = class.allowed_topologies.as_deref().unwrap_or_default();
                if class.provisioner == NO_PROVISIONER || !allows(topologies, node) {
                    return None;
                }
            }
        }
        planned.push(found);
    }
    Some(planned)
}

fn allows(topologies: &[TopologySelectorTerm], node: &Node) -> bool {
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let met = |term: &TopologySelectorTerm| {
        let mut needs = term.match_label_expressions.iter().flatten();
        needs.all(|need| label(&need.key).is_some_and(|value| need.values.contains(value)))
    };
    topologies.is_empty() || topologies.iter().any(met)
}

/// `PreBind`: the writes that get the pod's open claims their volumes on the node. `None` when none is open, and the pod can be bound.
/// With the writes made, or none left to make, the pod waits until its claims are bound.
pub(crate) fn pre_bind(pod: &PodInfo, node: &Node, caches: &Caches) -> Option<Vec<Write>> {
    let mut open = claims(pod, caches);
    open.retain(|claim| !is_bound(claim));
    if open.is_empty() {
        return None;
    }
    let planned = plan(&open, node, caches).unwrap_or_default();
    let writes = open.iter().zip(planned).filter_map(|(claim, volume)| match volume {
        // Fails with a conflict if somebody else was faster.
        Some(volume) => given(&volume, claim).as_ref().map(Write::replace),
        None if annotation(&claim.metadata, SELECTED_NODE).is_some() => None,
        None => Some(Write::merge(
            Path::of(claim.as_ref()),
            serde_json::json!({ "metadata": {
                "uid": claim.metadata.uid,
                "annotations": { SELECTED_NODE: node.metadata.name },
            }}),
        )),
    });
    Some(writes.collect())
}

/// A claim for one pod only has one pod only.
pub(super) struct VolumeRestrictions;

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn events(&self) -> ClusterEvent {
        ClusterEvent::POD_DELETE
            .or(ClusterEvent::NODE_ADD)
            .or(ClusterEvent::VOLUME_CLAIM)
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, cluster: Cluster<'a>) -> Option<Box<dyn Filter + 'a>> {
        let for_one = |claim: &PersistentVolumeClaim| {
            let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_ref());
            modes.into_iter().flatten().any(|mode| mode == "ReadWriteOncePod")
        };
        let mut claims = claims(pod, cluster.caches);
        claims.retain(|claim| for_one(claim));
        if claims.is_empty() {
            return None;
        }
        let claims: Vec<Key> = claims.iter().map(|claim| Key::of(claim.as_ref())).collect();
        let others = cluster.cache.in_namespace(pod.namespace());
        let users = others.filter(|placed| uses(&placed.pod, &claims) && placed.pod.uid() != pod.uid());
        let users = users.map(|placed| placed.pod.uid().to_owned()).collect();
        Some(Box::new(ForOne { claims, users }))
    }
}

fn uses(pod: &PodInfo, claims: &[Key]) -> bool {
    claims_of(&pod.pod).any(|(claim, _)| claims.contains(&claim))
}

struct ForOne {
    claims: Vec<Key>,
    /// UIDs of the pods that have one of them.
    users: HashSet<String>,
}

impl Filter for ForOne {
    fn filter(&self, _node: &NodeInfo) -> Result<(), Unschedulable> {
        match self.users.is_empty() {
            true => Ok(()),
            false => Err(Unschedulable::resolvable(IN_USE)),
        }
    }

    fn add_pod(&mut self, pod: &PodInfo, _node: &NodeInfo) {
        if uses(pod, &self.claims) {
            self.users.insert(pod.uid().to_owned());
        }
    }

    fn remove_pod(&mut self, pod: &PodInfo, _node: &NodeInfo) {
        self.users.remove(pod.uid());
    }
}

/// A volume with a zone is reached from that zone only.
pub(super) struct VolumeZone;

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn events(&self) -> ClusterEvent {
        VolumeBinding.events()
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, cluster: Cluster<'a>) -> Option<Box<dyn Filter + 'a>> {
        let volumes = bound_volumes(&claims(pod, cluster.caches), cluster.caches);
        let labels = volumes
            .iter()
            .flatten()
            .flat_map(|volume| volume.metadata.labels.iter().flatten());
        let zones: Vec<(String, String)> = labels
            .filter(|(key, _)| ZONES.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        (!zones.is_empty()).then(|| Box::new(InZone(zones)) as Box<dyn Filter>)
    }
}

struct InZone(Vec<(String, String)>);

impl Filter for InZone {
    fn filter(&self, node: &NodeInfo) -> Result<(), Unschedulable> {
        let labels = node.node.as_ref().and_then(|node| node.metadata.labels.as_ref());
        let here = |(key, zones): &(String, String)| {
            let zone = labels.and_then(|labels| labels.get(key));
            zone.is_some_and(|zone| zones.split("__").any(|one| one == zone))
        };
        match self.0.iter().all(here) {
            true => Ok(()),
            false => Err(Unschedulable::unresolvable(OTHER_ZONE)),
        }
    }
}
