//! Volumes of persistent volume claims, where they are directories of this node.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;

use super::host;
use crate::context::Context;

/// The directory that the claim's volume is, and whether `fsGroup` may change the owners of its files: not those of a `hostPath`, as
/// Kubernetes has it.
pub(crate) async fn path(cx: &Context, namespace: &str, claim: &str) -> Result<(PathBuf, bool), String> {
    let text = |error: kube::Error| match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    };
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cx.client.clone(), namespace);
    let found = claims.get_opt(claim).await.map_err(text)?;
    let found = found.ok_or_else(|| format!("persistentvolumeclaim {claim:?} not found"))?;
    let bound = found.status.and_then(|status| status.phase).as_deref() == Some("Bound");
    let name = found.spec.and_then(|spec| spec.volume_name).filter(|_| bound);
    let name = name.ok_or_else(|| format!("persistentvolumeclaim {claim:?} is not bound to a volume"))?;
    let volumes: Api<PersistentVolume> = Api::all(cx.client.clone());
    let volume = volumes.get_opt(&name).await.map_err(text)?;
    let spec = volume.and_then(|volume| volume.spec);
    let spec = spec.ok_or_else(|| format!("persistentvolume {name:?} not found"))?;
    if let Some(source) = spec.host_path {
        // Provisioned volumes are made when they are first used.
        let kind = source.type_.filter(|kind| !kind.is_empty());
        return check(source.path, kind.unwrap_or_else(|| "DirectoryOrCreate".into()), false).await;
    }
    if let Some(source) = spec.local {
        return check(source.path, "Directory".into(), true).await;
    }
    Err(format!(
        "this node cannot mount persistentvolume {name:?}: no volume plugin matched"
    ))
}

async fn check(path: String, kind: String, owned: bool) -> Result<(PathBuf, bool), String> {
    super::blocking(move || host::check(&path, &kind).map(|()| (path.into(), owned))).await
}
