//! Keeps claims that pods use, and volumes that claims have, from going away before those do.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Serialize;

use super::{claims_of, phase, term};
use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::key::Key;
use crate::pod;
use crate::write::{Plan, Write};

/// Claims that a pod on a node uses. A pod without a node does not count: no kubelet starts one whose claim is going.
pub(crate) struct ClaimProtection;

impl Controller for ClaimProtection {
    const NAME: &'static str = "persistentvolumeclaim-protection-controller";
    const ACCOUNT: Option<&'static str> = Some("pvc-protection-controller");

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch.own::<PersistentVolumeClaim>().on::<Pod>(|change, _| {
            // Only a pod that goes, or becomes another, lets go of its claims.
            let gone = change.old.as_ref().filter(|old| {
                change
                    .new
                    .as_ref()
                    .is_none_or(|new| new.metadata.uid != old.metadata.uid)
            });
            gone.iter()
                .flat_map(|pod| claims_of(pod).map(|(claim, _)| claim))
                .collect()
        });
    }

    fn sync(&self, key: &Key, caches: &Caches, _: Timestamp) -> Plan {
        let Some(claim) = caches.claims.get(key) else {
            return Plan::nothing();
        };
        let in_use = || {
            let users = caches.pods.with_term(&term(key));
            users.iter().any(|pod| pod::node(pod).is_some())
        };
        protect(claim.as_ref(), "kubernetes.io/pvc-protection", in_use)
    }
}

/// Volumes that are bound.
pub(crate) struct VolumeProtection;

impl Controller for VolumeProtection {
    const NAME: &'static str = "persistentvolume-protection-controller";
    const ACCOUNT: Option<&'static str> = Some("pv-protection-controller");

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch.own::<PersistentVolume>();
    }

    fn sync(&self, key: &Key, caches: &Caches, _: Timestamp) -> Plan {
        let Some(volume) = caches.volumes.get(key) else {
            return Plan::nothing();
        };
        protect(volume.as_ref(), "kubernetes.io/pv-protection", || {
            phase(&volume) == "Bound"
        })
    }
}

/// Holds what is there, and lets go what is to go once it is no longer used.
fn protect<K>(object: &K, finalizer: &str, in_use: impl Fn() -> bool) -> Plan
where
    K: Resource<DynamicType = ()> + Clone + Serialize,
{
    let held = object.meta().finalizers.iter().flatten().any(|name| name == finalizer);
    let going = object.meta().deletion_timestamp.is_some();
    if held != going || (going && in_use()) {
        return Plan::nothing();
    }
    let mut changed = object.clone();
    match going {
        true => let_go(changed.meta_mut(), finalizer),
        false => {
            let finalizers = changed.meta_mut().finalizers.get_or_insert_default();
            finalizers.push(finalizer.into());
        }
    }
    Plan::of(vec![Write::replace(&changed).fine_when_gone()])
}

/// Takes a finalizer away.
pub(super) fn let_go(meta: &mut ObjectMeta, finalizer: &str) {
    if let Some(finalizers) = &mut meta.finalizers {
        finalizers.retain(|name| name != finalizer);
    }
}
