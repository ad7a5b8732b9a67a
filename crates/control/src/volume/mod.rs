//! PersistentVolumes and their claims: who gets which, who is in use, what becomes of what is left.
//!
//! The binder pairs claims and volumes, the provisioner makes volumes for claims, and two finalizers keep what is in use.
//! None of them knows the others but by what is written in the objects, as in Kubernetes.

pub(crate) mod binder;
pub(crate) mod ephemeral;
pub(crate) mod matching;
pub(crate) mod protection;
pub(crate) mod provisioner;
mod recycler;
#[cfg(test)]
mod tests;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use crate::caches::Caches;
use crate::key::Key;
use crate::owner;
use crate::pod;

/// The claim has been bound once: if its volume is missing now, it is lost.
pub(crate) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Bound by the controller, not by whoever wrote the object.
pub(crate) const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Who made the volume.
pub(crate) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Who is to make a volume for the claim, by its new and its old name.
pub(crate) const PROVISIONER: [&str; 2] = [
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
];
/// The node that the first pod of the claim is to run on.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// How classes began.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// Whether a class is for claims that name none, by its new and its old name.
const DEFAULT_CLASS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

/// An annotation's value.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

fn annotate(meta: &mut ObjectMeta, key: &str, value: &str) {
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(key.into(), value.into());
}

/// The class of a claim; empty where it has none.
pub(crate) fn claim_class(claim: &PersistentVolumeClaim) -> &str {
    let spec = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(&claim.metadata, CLASS).or(spec).unwrap_or_default()
}

/// Whether the claim says anything about its class, if only that it wants none.
fn has_class(claim: &PersistentVolumeClaim) -> bool {
    let spec = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    annotation(&claim.metadata, CLASS).is_some() || spec.is_some()
}

/// The class of a volume; empty where it has none.
pub(crate) fn volume_class(volume: &PersistentVolume) -> &str {
    let spec = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(&volume.metadata, CLASS).or(spec).unwrap_or_default()
}

/// The volume that the claim has or asks for; empty where it leaves that open.
pub(crate) fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    let spec = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    spec.unwrap_or_default()
}

/// Has its volume, for good.
pub(crate) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    annotation(&claim.metadata, BIND_COMPLETED).is_some() && !volume_name(claim).is_empty()
}

/// Whether the class waits with binding and provisioning for a pod that has a node.
pub(crate) fn waits_for_consumer(claim: &PersistentVolumeClaim, caches: &Caches) -> bool {
    let class = caches.storage_classes.named(claim_class(claim));
    class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
}

/// Of several default classes the newest, and of those the first by name.
fn default_class(caches: &Caches) -> Option<String> {
    let is_default = |class: &StorageClass| {
        DEFAULT_CLASS
            .iter()
            .any(|key| annotation(&class.metadata, key) == Some("true"))
    };
    let created = |class: &StorageClass| class.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let mut classes: Vec<_> = caches.storage_classes.all();
    classes.retain(|class| is_default(class));
    // They come ordered by name.
    classes.sort_by_key(|class| std::cmp::Reverse(created(class)));
    classes.first().and_then(|class| class.metadata.name.clone())
}

/// The claim that a volume is promised or given to.
pub(crate) fn claim_ref(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// The key of the claim that is referred to.
fn claim_key(reference: &ObjectReference) -> Key {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Key::new(text(&reference.namespace), text(&reference.name))
}

/// Whether the volume is this claim's, by name and, where the volume says so, by UID.
pub(crate) fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    claim_ref(volume).is_some_and(|reference| {
        claim_key(reference) == Key::of(claim)
            && reference
                .uid
                .as_ref()
                .is_none_or(|uid| uid.is_empty() || Some(uid) == claim.metadata.uid.as_ref())
    })
}

/// `status.phase` of a volume.
fn phase(volume: &PersistentVolume) -> &str {
    let status = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    status.unwrap_or("Pending")
}

/// The claims that a pod's volumes are, with whether each is made for the pod.
pub(crate) fn claims_of(pod: &Pod) -> impl Iterator<Item = (Key, bool)> + '_ {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(
        move |volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => Some((Key::new(namespace, &source.claim_name), false)),
            (_, Some(_)) => Some((Key::new(namespace, ephemeral_name(pod, volume)), true)),
            _ => None,
        },
    )
}

/// The name of the claim that is made for a pod's volume.
pub(crate) fn ephemeral_name(pod: &Pod, volume: &Volume) -> String {
    format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name)
}

/// Whether the claim was made for the pod: one of the same name that was not must not be mistaken for it.
pub(crate) fn is_made_for(claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    let owner = owner::controller_of(&claim.metadata);
    owner.is_some_and(|owner| owner.kind == "Pod" && Some(&owner.uid) == pod.metadata.uid.as_ref())
}

/// Index term of the pods that use a claim.
pub(crate) fn term(claim: &Key) -> String {
    format!("claim/{claim}")
}

/// Index term of the claims that have no volume yet.
pub(crate) const UNBOUND: &str = "unbound";

/// The pods that use a claim and have not ended.
fn users(caches: &Caches, claim: &Key) -> Vec<std::sync::Arc<Pod>> {
    let mut pods = caches.pods.with_term(&term(claim));
    pods.retain(|pod| !pod::is_terminal(pod));
    pods
}

/// The UID as text.
fn uid<K: Resource>(object: &K) -> &str {
    object.meta().uid.as_deref().unwrap_or_default()
}
