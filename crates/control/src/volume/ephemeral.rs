//! Makes the claims of generic ephemeral volumes (KEP-1698): they live as long as their pod.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::{ephemeral_name, is_made_for};
use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::event::Note;
use crate::key::Key;
use crate::owner;
use crate::write::{Plan, Write};

/// The ephemeral volume controller. Keys are pods.
pub(crate) struct EphemeralVolumes;

impl Controller for EphemeralVolumes {
    const NAME: &'static str = "ephemeral_volume";
    const ACCOUNT: Option<&'static str> = Some("ephemeral-volume-controller");

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch
            .on::<Pod>(|change, _| {
                let pod = change.new.iter().filter(|pod| has_ephemeral(pod));
                pod.map(|pod| Key::of(pod.as_ref())).collect()
            })
            .on::<PersistentVolumeClaim>(|change, _| {
                // A claim that is gone is made again.
                let gone = change.old.as_ref().filter(|_| change.new.is_none());
                gone.and_then(|claim| owner::controller_key(&claim.metadata, "Pod"))
                    .into_iter()
                    .collect()
            });
    }

    fn sync(&self, key: &Key, caches: &Caches, _: Timestamp) -> Plan {
        let Some(pod) = caches.pods.get(key) else {
            return Plan::nothing();
        };
        if pod.metadata.deletion_timestamp.is_some() {
            return Plan::nothing();
        }
        let mut plan = Plan::nothing();
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        for volume in volumes {
            let Some(template) = volume
                .ephemeral
                .as_ref()
                .and_then(|source| source.volume_claim_template.as_ref())
            else {
                continue;
            };
            let name = ephemeral_name(&pod, volume);
            match caches.claims.get(&Key::new(&key.namespace, &name)) {
                Some(claim) if is_made_for(&claim, &pod) => {}
                Some(_) => {
                    let message = format!(
                        "PVC {}/{name} was not created for pod {key} (pod is not owner)",
                        key.namespace
                    );
                    plan.notes.push(Note::warning(pod.as_ref(), "FailedBinding", message));
                }
                None => {
                    let mut claim = PersistentVolumeClaim {
                        spec: Some(template.spec.clone()),
                        ..PersistentVolumeClaim::default()
                    };
                    if let Some(meta) = &template.metadata {
                        claim.metadata.labels = meta.labels.clone();
                        claim.metadata.annotations = meta.annotations.clone();
                    }
                    claim.metadata.namespace = Some(key.namespace.clone());
                    claim.metadata.name = Some(name.clone());
                    claim.metadata.owner_references = Some(vec![owner::reference(pod.as_ref())]);
                    let failed = format!("ephemeral volume {}: create PVC {name}: {{error}}", volume.name);
                    let note = Note::warning(pod.as_ref(), "FailedCreate", failed);
                    plan.writes
                        .push(Write::create(&claim).fine_when_there().on_failure(note));
                }
            }
        }
        plan
    }
}

fn has_ephemeral(pod: &Pod) -> bool {
    let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.any(|volume| volume.ephemeral.is_some())
}
