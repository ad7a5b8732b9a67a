//! Pairs claims with volumes, and gives volumes back when their claims are gone: the persistentvolume-binder.
//!
//! Each sync writes at most once to each of the two objects; what follows from that write is done when the watch shows it.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;

use super::matching::{best, mismatch, modes_differ};
use super::{
    BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONED_BY, PROVISIONER, SELECTED_NODE, UNBOUND, annotate, annotation,
    claim_class, claim_key, claim_ref, claims_of, default_class, has_class, is_for, phase, recycler, uid, users,
    volume_name, waits_for_consumer,
};
use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::event::Note;
use crate::key::Key;
use crate::pod;
use crate::store::Change;
use crate::write::{Plan, Write};

/// Keys with a namespace are claims, those without are volumes.
pub(crate) struct VolumeBinder;

impl Controller for VolumeBinder {
    const NAME: &'static str = "persistentvolume-controller";
    const ACCOUNT: Option<&'static str> = Some("persistent-volume-binder");

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch
            .on::<PersistentVolume>(|change, caches| {
                let mut keys = unbound(caches);
                for side in change.sides() {
                    keys.push(Key::of(side.as_ref()));
                    keys.extend(claim_ref(side).map(claim_key));
                }
                keys
            })
            .on::<PersistentVolumeClaim>(|change, _| {
                let sides = change.sides();
                sides
                    .flat_map(|claim| [Key::of(claim.as_ref()), Key::new("", volume_name(claim))])
                    .filter(|key| !key.name.is_empty())
                    .collect()
            })
            .on::<StorageClass>(|_, caches| unbound(caches))
            .on::<Pod>(of_pod);
    }

    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan {
        match key.namespace.is_empty() {
            true => match caches.volumes.get(key) {
                Some(volume) => sync_volume(&volume, caches, now),
                None => Plan::nothing(),
            },
            false => match caches.claims.get(key) {
                Some(claim) => sync_claim(&claim, caches),
                None => Plan::nothing(),
            },
        }
    }
}

/// The claims that have no volume yet: a new volume or class may be what they wait for.
fn unbound(caches: &Caches) -> Vec<Key> {
    let claims = caches.claims.with_term(UNBOUND);
    claims.iter().map(|claim| Key::of(claim.as_ref())).collect()
}

/// A pod that comes or gets its node changes what is said of the claims that wait for one; one that ends lets its volumes be recycled,
/// as does the recycler's own.
fn of_pod(change: &Change<Pod>, caches: &Caches) -> Vec<Key> {
    let state = |pod: Option<&Arc<Pod>>| pod.map(|pod| (pod::node(pod).is_some(), pod::is_terminal(pod)));
    if state(change.old.as_ref()) == state(change.new.as_ref()) {
        return Vec::new();
    }
    let Some(pod) = change.sides().last() else {
        return Vec::new();
    };
    let claims: Vec<Key> = claims_of(pod).map(|(claim, _)| claim).collect();
    let volumes = claims.iter().filter_map(|claim| {
        let claim = caches.claims.get(claim)?;
        Some(Key::new("", volume_name(&claim))).filter(|key| !key.name.is_empty())
    });
    let recycled = recycler::volume_of(pod).map(|name| Key::new("", name));
    volumes.chain(recycled).chain(claims.iter().cloned()).collect()
}

fn sync_claim(claim: &PersistentVolumeClaim, caches: &Caches) -> Plan {
    match annotation(&claim.metadata, BIND_COMPLETED) {
        Some(_) => sync_bound_claim(claim, caches),
        None => sync_unbound_claim(claim, caches),
    }
}

fn sync_unbound_claim(claim: &PersistentVolumeClaim, caches: &Caches) -> Plan {
    let wanted = volume_name(claim);
    if wanted.is_empty() {
        let waits = waits_for_consumer(claim, caches);
        return match best(claim, &caches.volumes.all(), None, waits) {
            Some(volume) => bind(&volume, claim),
            None => wait_or_provision(claim, waits, caches),
        };
    }
    let Some(volume) = caches.volumes.named(wanted) else {
        return Plan::nothing();
    };
    if claim_ref(&volume).is_none() {
        return match mismatch(&volume, claim) {
            None => bind(&volume, claim),
            Some(why) => told(Note::warning(
                claim,
                "VolumeMismatch",
                format!("Cannot bind to requested volume {wanted:?}: {why}"),
            )),
        };
    }
    match is_for(&volume, claim) {
        true => bind(&volume, claim),
        false => told(Note::warning(
            claim,
            "FailedBinding",
            format!("volume {wanted:?} already bound to a different claim."),
        )),
    }
}

/// No volume suits the claim as it is.
fn wait_or_provision(claim: &PersistentVolumeClaim, waits: bool, caches: &Caches) -> Plan {
    if !has_class(claim)
        && let Some(class) = default_class(caches)
    {
        let mut classed = claim.clone();
        classed.spec.get_or_insert_default().storage_class_name = Some(class);
        return Plan::of(vec![Write::replace(&classed)]);
    }
    if waits && annotation(&claim.metadata, SELECTED_NODE).is_none() {
        return told(waiting(claim, caches));
    }
    let class = claim_class(claim);
    if class.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        return told(Note::normal(claim, "FailedBinding", message.into()));
    }
    let Some(class) = caches.storage_classes.named(class) else {
        let message = format!("storageclass.storage.k8s.io {class:?} not found");
        return told(Note::warning(claim, "ProvisioningFailed", message));
    };
    let provisioner = class.provisioner.as_str();
    if provisioner.starts_with("kubernetes.io/") && provisioner != "kubernetes.io/no-provisioner" {
        let message = format!("no volume plugin matched name: {provisioner}");
        return told(Note::warning(claim, "ProvisioningFailed", message));
    }
    if PROVISIONER
        .iter()
        .all(|key| annotation(&claim.metadata, key) == Some(provisioner))
    {
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
             system administrator. If volume creation is delayed, please verify that the provisioner is running and \
             correctly registered."
        );
        return told(Note::normal(claim, "ExternalProvisioning", message));
    }
    let mut asked = claim.clone();
    PROVISIONER
        .iter()
        .for_each(|key| annotate(&mut asked.metadata, key, provisioner));
    Plan::of(vec![Write::replace(&asked)])
}

fn waiting(claim: &PersistentVolumeClaim, caches: &Caches) -> Note {
    let pods = users(caches, &Key::of(claim));
    let waiting: Vec<&str> = pods
        .iter()
        .filter(|pod| pod::node(pod).is_none())
        .filter_map(|pod| pod.metadata.name.as_deref())
        .collect();
    let (reason, message) = match waiting.as_slice() {
        [] => (
            "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding".to_owned(),
        ),
        [pod] => ("WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled")),
        pods => (
            "WaitForPodScheduled",
            format!("waiting for pods {} to be scheduled", pods.join(",")),
        ),
    };
    Note::normal(claim, reason, message)
}

fn sync_bound_claim(claim: &PersistentVolumeClaim, caches: &Caches) -> Plan {
    let name = volume_name(claim);
    if name.is_empty() {
        let message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lost(claim, "ClaimLost", message);
    }
    let Some(volume) = caches.volumes.named(name) else {
        let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        return lost(claim, "ClaimLost", message);
    };
    match claim_ref(&volume) {
        Some(reference) if reference.uid != claim.metadata.uid => {
            let message = "Two claims are bound to the same volume, this one is bound incorrectly";
            lost(claim, "ClaimMisbound", message)
        }
        _ => bind(&volume, claim),
    }
}

fn claim_phase(claim: &PersistentVolumeClaim) -> &str {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    phase.unwrap_or("Pending")
}

fn lost(claim: &PersistentVolumeClaim, reason: &'static str, message: &str) -> Plan {
    if claim_phase(claim) == "Lost" {
        return Plan::nothing();
    }
    let mut lost = claim.clone();
    let status = lost.status.get_or_insert_default();
    status.phase = Some("Lost".into());
    (status.access_modes, status.capacity) = (None, None);
    let note = Note::warning(claim, reason, message.into());
    Plan::of(vec![Write::replace_status(&lost).on_success(note)])
}

fn told(note: Note) -> Plan {
    Plan {
        notes: vec![note],
        ..Plan::default()
    }
}

/// Brings both objects closer to each other: first the volume says whose it is, then the claim, then both say that it is done.
fn bind(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Plan {
    let mut writes: Vec<Write> = given(volume, claim).as_ref().map(Write::replace).into_iter().collect();
    match taken(claim, volume) {
        Some(claim) => writes.push(Write::replace(&claim)),
        None => writes.extend(bound_status(claim, volume)),
    }
    Plan::of(writes)
}

/// The volume with the claim in it, unless it is there.
pub(crate) fn given(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<PersistentVolume> {
    let known = claim_ref(volume);
    if known.is_some_and(|known| known.uid == claim.metadata.uid) {
        return None;
    }
    let mut given = volume.clone();
    // Whoever named the claim in the volume meant it; what the controller has written, it may take back.
    if known.is_none() {
        annotate(&mut given.metadata, BOUND_BY_CONTROLLER, "yes");
    }
    given.spec.get_or_insert_default().claim_ref = Some(claim.object_ref(&()));
    Some(given)
}

/// The claim with the volume in it, unless it is there.
fn taken(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<PersistentVolumeClaim> {
    let name = volume.metadata.name.clone().unwrap_or_default();
    let mut taken = claim.clone();
    if volume_name(claim) != name {
        taken.spec.get_or_insert_default().volume_name = Some(name);
        annotate(&mut taken.metadata, BOUND_BY_CONTROLLER, "yes");
    }
    annotate(&mut taken.metadata, BIND_COMPLETED, "yes");
    (taken != *claim).then_some(taken)
}

fn bound_status(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<Write> {
    let spec = volume.spec.as_ref()?;
    let status = claim.status.as_ref();
    let modes = status.and_then(|status| status.access_modes.as_ref());
    let newly = claim_phase(claim) != "Bound";
    if !newly && modes == spec.access_modes.as_ref() {
        return None;
    }
    let mut bound = claim.clone();
    let status = bound.status.get_or_insert_default();
    status.phase = Some("Bound".into());
    status.access_modes = spec.access_modes.clone();
    // What has grown since is said by who lets it grow.
    if newly {
        status.capacity = spec.capacity.clone();
    }
    Some(Write::replace_status(&bound))
}

fn sync_volume(volume: &PersistentVolume, caches: &Caches, now: Timestamp) -> Plan {
    let Some(reference) =
        claim_ref(volume).filter(|reference| reference.uid.as_ref().is_some_and(|uid| !uid.is_empty()))
    else {
        return set_phase(volume, "Available", now);
    };
    let claim = caches
        .claims
        .get(&claim_key(reference))
        .filter(|claim| claim.metadata.uid == reference.uid);
    let Some(claim) = claim else {
        return reclaim(volume, caches, now);
    };
    match volume_name(&claim) {
        "" if modes_differ(volume, &claim) => Plan {
            notes: mode_notes(volume, &claim),
            ..Plan::default()
        },
        // The claim's own sync finishes it.
        "" => Plan::nothing(),
        name if Some(name) == volume.metadata.name.as_deref() => set_phase(volume, "Bound", now),
        // The claim took another. What was made for it has no other use.
        _ if annotation(&volume.metadata, PROVISIONED_BY).is_some() && policy(volume) == "Delete" => {
            reclaim(volume, caches, now)
        }
        _ => Plan::of(vec![Write::replace(&released(volume))]),
    }
}

fn mode_notes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Vec<Note> {
    let name = |meta: &Option<String>| meta.clone().unwrap_or_default();
    let (ours, theirs) = (name(&volume.metadata.name), name(&claim.metadata.name));
    vec![
        Note::warning(
            volume,
            "VolumeMismatch",
            format!(
                "Cannot bind PersistentVolume to requested PersistentVolumeClaim {theirs:?} due to incompatible volumeMode."
            ),
        ),
        Note::warning(
            claim,
            "VolumeMismatch",
            format!(
                "Cannot bind PersistentVolume {ours:?} to requested PersistentVolumeClaim due to incompatible volumeMode."
            ),
        ),
    ]
}

fn policy(volume: &PersistentVolume) -> &str {
    let spec = volume.spec.as_ref();
    spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref())
        .unwrap_or("Retain")
}

/// The volume without the claim that the controller put in; of one that a user put in, only the UID goes.
fn released(volume: &PersistentVolume) -> PersistentVolume {
    let mut free = volume.clone();
    let ours = annotation(&volume.metadata, BOUND_BY_CONTROLLER).is_some();
    if let Some(annotations) = &mut free.metadata.annotations {
        annotations.remove(BOUND_BY_CONTROLLER);
    }
    if let Some(spec) = &mut free.spec {
        match &mut spec.claim_ref {
            Some(reference) if !ours => (reference.uid, reference.resource_version) = (None, None),
            reference => *reference = None,
        }
    }
    free
}

/// What becomes of a volume whose claim is gone: first it is released, then the policy decides.
fn reclaim(volume: &PersistentVolume, caches: &Caches, now: Timestamp) -> Plan {
    if !matches!(phase(volume), "Released" | "Failed") {
        return set_phase(volume, "Released", now);
    }
    match policy(volume) {
        "Recycle" => recycle(volume, caches, now),
        "Delete" => delete(volume, now),
        _ => Plan::nothing(),
    }
}

fn recycle(volume: &PersistentVolume, caches: &Caches, now: Timestamp) -> Plan {
    let users: Vec<String> = claim_ref(volume)
        .map(|reference| users(caches, &claim_key(reference)))
        .unwrap_or_default()
        .iter()
        .map(|pod| Key::of(pod.as_ref()).to_string())
        .collect();
    if !users.is_empty() {
        let message = format!("Volume is used by pods: {}", users.join(","));
        return told(Note::normal(volume, "VolumeFailedRecycle", message));
    }
    match recycler::step(volume, caches) {
        recycler::Step::Wait => Plan::nothing(),
        recycler::Step::Write(write) => Plan::of(vec![write]),
        recycler::Step::Done(delete) => {
            let free = Write::replace(&released(volume));
            let note = Note::normal(volume, "VolumeRecycled", "Volume recycled".into());
            Plan::of(vec![delete, free.on_success(note)])
        }
        recycler::Step::Failed(delete, why) => {
            let mut plan = fail(volume, "VolumeFailedRecycle", &why, now);
            plan.writes.extend(delete);
            plan
        }
    }
}

/// Volumes that a provisioner made are the provisioner's to delete. Of others nothing here knows how, but for the directories under
/// `/tmp` that the `hostPath` plugin deletes on the controller's own disk: there is nothing of that name in a controller's container, and
/// the node's directory is left alone.
fn delete(volume: &PersistentVolume, now: Timestamp) -> Plan {
    let provisioned = annotation(&volume.metadata, PROVISIONED_BY).is_some();
    let Some(spec) = volume.spec.as_ref().filter(|spec| !provisioned && spec.csi.is_none()) else {
        return Plan::nothing();
    };
    let why = match &spec.host_path {
        Some(source) if source.path.starts_with("/tmp/") && source.path.len() > "/tmp/".len() => {
            return Plan::of(vec![Write::delete(volume)]);
        }
        Some(source) => format!(
            "host_path deleter only supports /tmp/.+ but received provided {}",
            source.path
        ),
        None => {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            format!("error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched")
        }
    };
    fail(volume, "VolumeFailedDelete", &why, now)
}

fn fail(volume: &PersistentVolume, reason: &'static str, why: &str, now: Timestamp) -> Plan {
    if phase(volume) == "Failed" {
        return Plan::nothing();
    }
    let note = Note::warning(volume, reason, why.into());
    Plan::of(vec![in_phase(volume, "Failed", Some(why), now).on_success(note)])
}

fn set_phase(volume: &PersistentVolume, wanted: &str, now: Timestamp) -> Plan {
    match phase(volume) == wanted {
        true => Plan::nothing(),
        false => Plan::of(vec![in_phase(volume, wanted, None, now)]),
    }
}

fn in_phase(volume: &PersistentVolume, phase: &str, why: Option<&str>, now: Timestamp) -> Write {
    let mut changed = volume.clone();
    let status = changed.status.get_or_insert_default();
    status.phase = Some(phase.into());
    status.message = why.map(str::to_owned);
    status.last_phase_transition_time = Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now)));
    Write::replace_status(&changed)
}

/// Whether the volume is to be cleaned up after by who made it.
pub(super) fn is_to_delete(volume: &PersistentVolume) -> bool {
    policy(volume) == "Delete" && matches!(phase(volume), "Released" | "Failed") && !uid(volume).is_empty()
}
