//! Volumes of persistent volume claims, where they are directories of this node.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, Pod, Volume};
use kube::{Api, ResourceExt};

use super::{blocking, empty, fs_group, host, on_root_mismatch, ownership};
use crate::context::Context;

/// The provisioner whose volumes are directories that the kubelet makes.
const LOCAL_PROVISIONER: &str = "knarr.dev/local";
/// The fields of a PersistentVolume's spec that do not say where the data is.
const NOT_SOURCES: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

/// The claim that a volume is, and whether it is made for the pod (KEP-1698).
pub(super) fn name(pod: &Pod, volume: &Volume) -> Option<(String, bool)> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some((source.claim_name.clone(), false));
    }
    let made = volume
        .ephemeral
        .as_ref()
        .map(|_| format!("{}-{}", pod.name_any(), volume.name));
    made.map(|name| (name, true))
}

/// Makes the claim's volume ready for the pod: the directory that it is.
pub(super) async fn set_up(cx: &Context, pod: &Pod, claim: &str, made_for_pod: bool) -> Result<PathBuf, String> {
    let text = |error: kube::Error| match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    };
    let namespace = pod.namespace().unwrap_or_default();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cx.client.clone(), &namespace);
    let found = claims.get_opt(claim).await.map_err(text)?;
    let found = found.ok_or_else(|| format!("persistentvolumeclaim {claim:?} not found"))?;
    let owners = found.metadata.owner_references.iter().flatten();
    if made_for_pod
        && !owners
            .into_iter()
            .any(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref())
    {
        let pod = pod.name_any();
        return Err(format!(
            "PVC {namespace}/{claim} was not created for pod {namespace}/{pod} (pod is not owner)"
        ));
    }
    let bound = found.status.and_then(|status| status.phase).as_deref() == Some("Bound");
    let name = found.spec.and_then(|spec| spec.volume_name).filter(|_| bound);
    let name = name.ok_or_else(|| format!("persistentvolumeclaim {claim:?} is not bound to a volume"))?;
    let volumes: Api<PersistentVolume> = Api::all(cx.client.clone());
    let volume = volumes.get_opt(&name).await.map_err(text)?;
    let volume = volume.ok_or_else(|| format!("persistentvolume {name:?} not found"))?;
    let ours = volume
        .annotations()
        .get("pv.kubernetes.io/provisioned-by")
        .is_some_and(|by| by == LOCAL_PROVISIONER);
    let spec = volume
        .spec
        .ok_or_else(|| format!("persistentvolume {name:?} not found"))?;
    let (group, policy) = (fs_group(pod), on_root_mismatch(pod));
    match (spec.host_path, spec.local) {
        (Some(source), _) if ours => {
            let path = PathBuf::from(source.path);
            let directory = path.clone();
            // Whoever uses it first finds a directory that anybody may write to.
            blocking(move || empty(&directory, None).and_then(|()| own(&directory, group, policy))).await?;
            Ok(path)
        }
        // The files of a `hostPath` stay whose they are, as in Kubernetes.
        (Some(source), _) => check(source.path, source.type_.unwrap_or_default(), None, policy).await,
        (_, Some(source)) => check(source.path, "Directory".into(), group, policy).await,
        (None, None) => Err(unsupported(&PersistentVolumeSpec {
            host_path: None,
            local: None,
            ..spec
        })),
    }
}

async fn check(path: String, kind: String, group: Option<u32>, on_root_mismatch: bool) -> Result<PathBuf, String> {
    blocking(move || {
        host::check(&path, &kind)?;
        own(Path::new(&path), group, on_root_mismatch)?;
        Ok(path.into())
    })
    .await
}

fn own(path: &Path, group: Option<u32>, on_root_mismatch: bool) -> Result<(), String> {
    let Some(group) = group else { return Ok(()) };
    ownership::set_group(path, group, on_root_mismatch)
        .map_err(|error| format!("applyFSGroup failed for vol {}: {error}", path.display()))
}

fn unsupported(spec: &PersistentVolumeSpec) -> String {
    let value = serde_json::to_value(spec).unwrap_or_default();
    let fields = value.as_object().into_iter().flat_map(|map| map.keys());
    let source = fields.map(String::as_str).find(|field| !NOT_SOURCES.contains(field));
    super::unsupported_kind(source)
}
