//! A container's mounts of its pod's volumes.

use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, VolumeMount};
use knarr_runtime::Mount;

use super::Volumes;
use crate::env::{Environment, expand};

/// The mounts of `container` that the pod asks for. Errors are for its status.
pub(crate) fn mounts(
    volumes: &Volumes,
    container: &Container,
    environment: &Environment,
) -> Result<Vec<Mount>, String> {
    let mounts = container.volume_mounts.iter().flatten();
    mounts.map(|mount| resolve(volumes, mount, environment)).collect()
}

fn resolve(volumes: &Volumes, mount: &VolumeMount, environment: &Environment) -> Result<Mount, String> {
    let volume = volumes.get(&mount.name);
    let volume = volume.ok_or_else(|| format!("cannot find volume {:?} to mount into container", mount.name))?;
    let sub_path = match (mount.sub_path_expr.as_deref(), mount.sub_path.as_deref()) {
        (Some(expression), _) if !expression.is_empty() => expand(expression, |name| environment.get(name)),
        (_, Some(path)) => path.to_owned(),
        _ => String::new(),
    };
    // Where links in the volume lead is the runtime's to see, when it opens the path: they may change at any time.
    let plain = Path::new(&sub_path)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain {
        return Err(format!("subPath {sub_path:?} must be a relative path without '..'"));
    }
    let propagated = mount
        .mount_propagation
        .as_deref()
        .filter(|kind| *kind == "Bidirectional");
    if propagated.is_some() {
        return Err(format!(
            "mountPropagation: Bidirectional of volume {:?} is not supported: what a container mounts stays in it",
            mount.name
        ));
    }
    let target = Path::new(&mount.mount_path);
    Ok(Mount {
        source: volume.path.clone(),
        sub_path: PathBuf::from(sub_path),
        target: if target.is_absolute() {
            target.to_owned()
        } else {
            Path::new("/").join(target)
        },
        read_only: volume.read_only || mount.read_only.unwrap_or(false),
        tmpfs: volume.tmpfs,
        follows_host: mount.mount_propagation.as_deref() == Some("HostToContainer"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Ready;
    use super::*;

    #[test]
    fn volumes_of_the_kubelet_s_own_files_are_read_only_and_sub_paths_stay_below() {
        let mut volumes = Volumes::default();
        let ready = |path: &str, read_only| Ready {
            path: path.into(),
            read_only,
            ..Ready::default()
        };
        volumes.ready.insert("conf".into(), ready("/v/conf", true));
        volumes.ready.insert("data".into(), ready("/v/data", false));
        let mounts = |mount: serde_json::Value| {
            let container =
                serde_json::from_value(json!({ "name": "c", "volumeMounts": [mount] })).expect("a container");
            super::mounts(&volumes, &container, &Environment::default())
        };
        let mounted = mounts(json!({ "name": "conf", "mountPath": "/c", "readOnly": false })).expect("mounted");
        assert!(mounted[0].read_only);
        let mounted = mounts(json!({ "name": "data", "mountPath": "d", "subPath": "a/./b" })).expect("mounted");
        assert_eq!((mounted[0].read_only, mounted[0].target.to_str()), (false, Some("/d")));
        for path in ["../x", "a/../../x", "/etc"] {
            assert!(
                mounts(json!({ "name": "data", "mountPath": "/d", "subPath": path })).is_err(),
                "{path}"
            );
        }
        assert!(mounts(json!({ "name": "data", "mountPath": "/d", "mountPropagation": "Bidirectional" })).is_err());
    }
}
