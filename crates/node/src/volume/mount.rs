//! A container's mounts: its image's binds, the files the kubelet writes for every pod, and volumes.

use std::fs;
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
    let volume = volumes.path(&mount.name);
    let volume = volume.ok_or_else(|| format!("cannot find volume {:?} to mount into container", mount.name))?;
    let sub_path = match (mount.sub_path_expr.as_deref(), mount.sub_path.as_deref()) {
        (Some(expression), _) if !expression.is_empty() => expand(expression, |name| environment.get(name)),
        (_, Some(path)) => path.to_owned(),
        _ => String::new(),
    };
    let source = if sub_path.is_empty() {
        volume.to_owned()
    } else {
        below(volume, &sub_path)?
    };
    let target = Path::new(&mount.mount_path);
    Ok(Mount {
        source,
        target: if target.is_absolute() {
            target.to_owned()
        } else {
            Path::new("/").join(target)
        },
        read_only: mount.read_only.unwrap_or(false),
        tmpfs: None,
    })
}

/// A path inside a volume, made if it is missing. Never one outside of it, whatever links the volume holds.
fn below(volume: &Path, sub_path: &str) -> Result<PathBuf, String> {
    let plain = Path::new(sub_path)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain {
        return Err(format!("subPath {sub_path:?} must be a relative path without '..'"));
    }
    let failed = |error: std::io::Error| format!("failed to prepare subPath {sub_path:?}: {error}");
    let path = volume.join(sub_path);
    let root = volume.canonicalize().map_err(failed)?;
    // What exists of the path must not lead out of the volume, before anything is made below it.
    let existing = path.ancestors().find(|part| part.exists()).unwrap_or(volume);
    let outside = || format!("subPath {sub_path:?} leads out of the volume");
    if !existing.canonicalize().map_err(failed)?.starts_with(&root) {
        return Err(outside());
    }
    if !path.exists() {
        fs::create_dir_all(&path).map_err(failed)?;
    }
    let found = path.canonicalize().map_err(failed)?;
    if found.starts_with(&root) {
        Ok(found)
    } else {
        Err(outside())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn sub_paths_are_made_and_never_leave_the_volume() {
        let dir = tempfile::tempdir().expect("a directory");
        let volume = dir.path().join("v");
        fs::create_dir_all(&volume).expect("made");
        symlink("/", volume.join("root")).expect("linked");
        fs::write(volume.join("file"), "x").expect("written");
        symlink("file", volume.join("link")).expect("linked");
        assert!(below(&volume, "a/b").expect("made").is_dir());
        assert!(below(&volume, "link").expect("found").is_file());
        for path in ["../x", "a/../../x", "root/etc", "root", "/etc"] {
            assert!(below(&volume, path).is_err(), "{path}");
        }
    }
}
