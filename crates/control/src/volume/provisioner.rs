//! The provisioner `knarr.dev/local`: a volume is a directory beside the cluster's data, which every node can reach.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{HostPathVolumeSource, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Resource;
use serde_json::json;

use super::binder::is_to_delete;
use super::matching::{capacity, requested, storage};
use super::protection::let_go;
use super::{
    BOUND_BY_CONTROLLER, PROVISIONED_BY, PROVISIONER, SELECTED_NODE, annotate, annotation, claim_class, is_bound,
    phase, uid, volume_name, waits_for_consumer,
};
use crate::caches::Caches;
use crate::controller::{Context, Controller, Watches};
use crate::event::Note;
use crate::key::Key;
use crate::write::{Failure, Path, Plan, Write};

/// Its name, in classes and on volumes.
pub(crate) const NAME: &str = "knarr.dev/local";
/// Keeps a volume's object until its directory is gone, whichever way it is deleted.
const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
/// Where the directories would be if there were any.
const NOWHERE: &str = "/var/lib/knarr/volumes";

/// Keys with a namespace are claims, those without are volumes.
pub(crate) struct LocalProvisioner {
    /// Parent of the volumes' directories; without it (where everything is simulated) there are none.
    pub(crate) directory: Option<PathBuf>,
}

impl Controller for LocalProvisioner {
    const NAME: &'static str = NAME;
    const ACCOUNT: Option<&'static str> = Some("local-provisioner");

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch
            .own::<PersistentVolumeClaim>()
            .on::<PersistentVolume>(|change, _| {
                let ours = change.new.iter().filter(|volume| is_ours(volume));
                ours.map(|volume| Key::of(volume.as_ref())).collect()
            })
            .read::<StorageClass>();
    }

    fn sync(&self, key: &Key, caches: &Caches, _: Timestamp) -> Plan {
        match caches.claims.get(key) {
            Some(claim) if is_bound(&claim) => grow(&claim, caches),
            Some(claim) => self.provision(&claim, caches),
            None => Plan::nothing(),
        }
    }

    async fn reconcile(&self, key: &Key, cx: &Context) -> Result<Option<Duration>, Failure> {
        let plan = match cx.caches.volumes.get(key).filter(|_| key.namespace.is_empty()) {
            Some(volume) => self.clean_up(&volume).await,
            None => self.sync(key, &cx.caches, cx.clock.now()),
        };
        let again = plan.again;
        cx.performer.perform(key, plan, None).await?;
        Ok(again)
    }
}

fn is_ours(volume: &PersistentVolume) -> bool {
    annotation(&volume.metadata, PROVISIONED_BY) == Some(NAME)
}

impl LocalProvisioner {
    fn path(&self, volume: &str) -> PathBuf {
        self.directory.clone().unwrap_or_else(|| NOWHERE.into()).join(volume)
    }

    /// Makes a volume for a claim that asks this provisioner for one. The directory is made by the kubelet that mounts it first.
    fn provision(&self, claim: &PersistentVolumeClaim, caches: &Caches) -> Plan {
        let name = format!("pvc-{}", uid(claim));
        let waits = waits_for_consumer(claim, caches) && annotation(&claim.metadata, SELECTED_NODE).is_none();
        if annotation(&claim.metadata, PROVISIONER[0]) != Some(NAME)
            || !volume_name(claim).is_empty()
            || claim.metadata.deletion_timestamp.is_some()
            || waits
            || caches.volumes.named(&name).is_some()
        {
            return Plan::nothing();
        }
        let Some(class) = caches
            .storage_classes
            .named(claim_class(claim))
            .filter(|class| class.provisioner == NAME)
        else {
            return Plan::nothing();
        };
        let key = Key::of(claim);
        let started = format!("External provisioner is provisioning volume for claim \"{key}\"");
        let mut notes = vec![Note::normal(claim, "Provisioning", started)];
        if let Some(why) = refusal(claim) {
            let class = class.metadata.name.as_deref().unwrap_or_default();
            let message = format!("failed to provision volume with StorageClass {class:?}: {why}");
            notes.push(Note::warning(claim, "ProvisioningFailed", message));
            return Plan {
                notes,
                ..Plan::default()
            };
        }
        let volume = self.volume(claim, &class, &name);
        let done = Note::normal(
            claim,
            "ProvisioningSucceeded",
            format!("Successfully provisioned volume {name}"),
        );
        Plan {
            notes,
            writes: vec![Write::create(&volume).fine_when_there().on_success(done)],
            ..Plan::default()
        }
    }

    fn volume(&self, claim: &PersistentVolumeClaim, class: &StorageClass, name: &str) -> PersistentVolume {
        let wanted = claim.spec.clone().unwrap_or_default();
        let mut volume = PersistentVolume::default();
        volume.metadata.name = Some(name.into());
        annotate(&mut volume.metadata, PROVISIONED_BY, NAME);
        annotate(&mut volume.metadata, BOUND_BY_CONTROLLER, "yes");
        if class.reclaim_policy.as_deref() != Some("Retain") {
            volume.metadata.finalizers = Some(vec![FINALIZER.into()]);
        }
        volume.spec = Some(PersistentVolumeSpec {
            access_modes: wanted.access_modes,
            capacity: wanted.resources.and_then(|resources| resources.requests),
            claim_ref: Some(claim.object_ref(&())),
            host_path: Some(HostPathVolumeSource {
                path: self.path(name).display().to_string(),
                type_: Some("DirectoryOrCreate".into()),
            }),
            persistent_volume_reclaim_policy: class.reclaim_policy.clone(),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: wanted.volume_mode,
            ..PersistentVolumeSpec::default()
        });
        volume
    }

    /// Deletes the directory of a volume whose claim is gone, or that is itself deleted, and then the volume.
    async fn clean_up(&self, volume: &PersistentVolume) -> Plan {
        let going = volume.metadata.deletion_timestamp.is_some() && phase(volume) != "Bound";
        let delete = is_to_delete(volume);
        let held = volume
            .metadata
            .finalizers
            .iter()
            .flatten()
            .any(|name| name == FINALIZER);
        if !is_ours(volume) || !(delete || (going && held)) {
            return Plan::nothing();
        }
        if delete && let Err(error) = self.remove(volume).await {
            let message = format!("the directory cannot be removed: {error}");
            return Plan {
                notes: vec![Note::warning(volume, "VolumeFailedDelete", message)],
                again: Some(Duration::from_secs(60)),
                ..Plan::default()
            };
        }
        let mut writes = Vec::new();
        if delete && volume.metadata.deletion_timestamp.is_none() {
            writes.push(Write::delete(volume));
        }
        if held {
            let mut free = volume.clone();
            let_go(&mut free.metadata, FINALIZER);
            // Not a precondition here: the deletion just before has made a new version.
            free.metadata.resource_version = None;
            writes.push(Write::replace(&free).fine_when_gone());
        }
        Plan::of(writes)
    }

    /// Only what this provisioner has made where it makes such things is removed, whatever the object says by now.
    async fn remove(&self, volume: &PersistentVolume) -> io::Result<()> {
        let Some(name) = volume.metadata.name.as_deref().filter(|_| self.directory.is_some()) else {
            return Ok(());
        };
        let path = self.path(name);
        let remove = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(path));
        match remove.await.map_err(io::Error::other)? {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }
}

/// What a directory cannot be.
fn refusal(claim: &PersistentVolumeClaim) -> Option<&'static str> {
    let spec = claim.spec.as_ref()?;
    match () {
        () if spec.volume_mode.as_deref() == Some("Block") => Some("a directory is not a block device"),
        () if spec.selector.is_some() => Some("claim Selector is not supported"),
        () if spec.data_source.is_some() || spec.data_source_ref.is_some() => {
            Some("a directory cannot be made from a data source")
        }
        () => None,
    }
}

/// Lets a volume grow with its claim: a directory needs nothing else.
fn grow(claim: &PersistentVolumeClaim, caches: &Caches) -> Plan {
    let Some(volume) = caches
        .volumes
        .named(volume_name(claim))
        .filter(|volume| is_ours(volume))
    else {
        return Plan::nothing();
    };
    let wanted = requested(claim);
    let status = claim.status.as_ref();
    let bound = status.and_then(|status| status.phase.as_deref()) == Some("Bound");
    if !bound || storage(status.and_then(|status| status.capacity.as_ref())) >= wanted {
        return Plan::nothing();
    }
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let size = json!(
        resources
            .and_then(|resources| resources.requests.as_ref())
            .map(|all| &all["storage"])
    );
    let mut plan = Plan::nothing();
    if capacity(&volume) < wanted {
        let name = volume_name(claim);
        let message = format!("External resizer is resizing volume {name}");
        plan.notes.push(Note::normal(claim, "Resizing", message));
        let patch = json!({ "metadata": { "uid": volume.metadata.uid }, "spec": { "capacity": { "storage": size } } });
        plan.writes.push(Write::merge(Path::of(volume.as_ref()), patch));
    }
    let patch = json!({
        "metadata": { "uid": claim.metadata.uid },
        "status": { "capacity": { "storage": size }, "conditions": null },
    });
    let done = Note::normal(claim, "VolumeResizeSuccessful", "Resize volume succeeded".into());
    plan.writes
        .push(Write::merge(Path::of(claim).sub("status"), patch).on_success(done));
    plan
}
