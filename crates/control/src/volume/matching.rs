//! Which volume suits a claim.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use knarr_apimachinery::Quantity as Amount;

use super::{claim_class, claim_ref, is_for, phase, volume_class};
use crate::owner;
use crate::scheduler::matches_node;

/// The storage in a list of quantities, in bytes.
pub(super) fn storage(quantities: Option<&BTreeMap<String, Quantity>>) -> i64 {
    let storage = quantities.and_then(|quantities| quantities.get("storage"));
    storage.map_or(0, |quantity| Amount::units_in(&quantity.0))
}

/// How much the claim asks for.
pub(super) fn requested(claim: &PersistentVolumeClaim) -> i64 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    storage(resources.and_then(|resources| resources.requests.as_ref()))
}

/// How much fits in the volume.
pub(super) fn capacity(volume: &PersistentVolume) -> i64 {
    storage(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()))
}

fn modes(modes: Option<&Vec<String>>) -> &[String] {
    modes.map_or(&[], Vec::as_slice)
}

fn has_access_modes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let offered = modes(volume.spec.as_ref().and_then(|spec| spec.access_modes.as_ref()));
    let wanted = modes(claim.spec.as_ref().and_then(|spec| spec.access_modes.as_ref()));
    wanted.iter().all(|mode| offered.contains(mode))
}

/// Whether one is a file system and the other a device.
pub(super) fn modes_differ(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let of = |mode: Option<&String>| mode.map_or("Filesystem", String::as_str).to_owned();
    of(volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref()))
        != of(claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref()))
}

fn attributes_differ(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let of = |class: Option<&String>| class.cloned().unwrap_or_default();
    of(volume
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_attributes_class_name.as_ref()))
        != of(claim
            .spec
            .as_ref()
            .and_then(|spec| spec.volume_attributes_class_name.as_ref()))
}

/// Why a volume that the claim names does not suit it.
pub(super) fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<String> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let why = match () {
        () if volume.metadata.deletion_timestamp.is_some() => {
            return Some(format!("the volume is marked for deletion {name:?}"));
        }
        () if capacity(volume) < requested(claim) => "requested PV is too small",
        () if volume_class(volume) != claim_class(claim) => "storageClassName does not match",
        () if attributes_differ(volume, claim) => "volumeAttributesClassName does not match",
        () if modes_differ(volume, claim) => "incompatible volumeMode",
        () if !has_access_modes(volume, claim) => "incompatible accessMode",
        () => return None,
    };
    Some(why.into())
}

/// Whether a node can reach the volume.
pub(crate) fn reaches(volume: &PersistentVolume, node: &Node) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    required.is_none_or(|selector| matches_node(selector, node))
}

/// The volume that suits the claim best: the one that waits for it, else the one with the fewest other ways to mount it, the smallest
/// of those. With a `node`, only what that can reach; without one, a claim that `waits` for a node gets only what waits for it.
pub(crate) fn best(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    node: Option<&Node>,
    waits: bool,
) -> Option<Arc<PersistentVolume>> {
    let reachable = |volume: &PersistentVolume| node.is_none_or(|node| reaches(volume, node));
    let fits = |volume: &PersistentVolume| {
        (claim_ref(volume).is_none() || is_for(volume, claim))
            && volume.metadata.deletion_timestamp.is_none()
            && capacity(volume) >= requested(claim)
            && !modes_differ(volume, claim)
            && !attributes_differ(volume, claim)
            && has_access_modes(volume, claim)
    };
    let candidates: Vec<&Arc<PersistentVolume>> = volumes.iter().filter(|volume| fits(volume)).collect();
    if let Some(promised) = candidates.iter().find(|volume| is_for(volume, claim)) {
        return reachable(promised).then(|| (*promised).clone());
    }
    if waits && node.is_none() {
        return None;
    }
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let selected = |volume: &PersistentVolume| match selector {
        Some(selector) => owner::selector(selector).is_some_and(|parsed| owner::matches(&parsed, &volume.metadata)),
        None => true,
    };
    let open = candidates.into_iter().filter(|volume| {
        phase(volume) == "Available"
            && volume_class(volume) == claim_class(claim)
            && selected(volume)
            && reachable(volume)
    });
    let ways =
        |volume: &PersistentVolume| modes(volume.spec.as_ref().and_then(|spec| spec.access_modes.as_ref())).len();
    open.min_by_key(|volume| (ways(volume), capacity(volume), volume.metadata.name.clone()))
        .cloned()
}
