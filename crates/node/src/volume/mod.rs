//! A pod's volumes: directories on the node that its containers see.

mod atomic;
mod claim;
mod host;
mod mount;
mod ownership;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, Volume};
use knarr_runtime::{Mode, Tmpfs};
use sha2::{Digest, Sha256};

pub(crate) use mount::mounts;
pub(crate) use ownership::usage;

use crate::container::hex;
use crate::context::Context;
use crate::env::Place;
use crate::object::{Key, Kind};
use crate::quantity;
use source::{Gather, Token};

/// Why a volume is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) volume: String,
    pub(crate) reason: String,
}

impl Failure {
    /// As the `FailedMount` event words it.
    pub(crate) fn message(&self) -> String {
        format!(
            "MountVolume.SetUp failed for volume {:?} : {}",
            self.volume, self.reason
        )
    }
}

/// A volume that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Where it is on the node.
    pub(crate) path: PathBuf,
    /// Written by the kubelet alone: containers only read it, whatever they ask for, as Kubernetes has had it since 1.9.
    pub(crate) read_only: bool,
    /// A file system in memory, which the runtime makes.
    pub(crate) tmpfs: Option<Tmpfs>,
}

/// The volumes of one pod.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    ready: BTreeMap<String, Ready>,
    tokens: BTreeMap<String, Token>,
    depends: Vec<Key>,
}

impl Volumes {
    /// Makes every volume of `pod` exist and hold what it should hold now. May be called again at any time.
    pub(crate) async fn sync(&mut self, cx: &Context, pod: &Pod, place: &Place<'_>) -> Result<(), Failure> {
        self.depends.clear();
        let mut failure = None;
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            match self.set_up(cx, pod, place, volume).await {
                Ok(ready) => {
                    self.ready.insert(volume.name.clone(), ready);
                }
                // The others are still brought up to date.
                Err(reason) => {
                    failure.get_or_insert(Failure {
                        volume: volume.name.clone(),
                        reason,
                    });
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn set_up(&mut self, cx: &Context, pod: &Pod, place: &Place<'_>, volume: &Volume) -> Result<Ready, String> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let dir = |plugin: &str| {
            cx.pod_dir(uid)
                .join("volumes")
                .join(format!("kubernetes.io~{plugin}"))
                .join(&volume.name)
        };
        let group = fs_group(pod);
        if let Some(source) = &volume.empty_dir {
            let in_memory = source.medium.as_deref() == Some("Memory");
            let memory_dir = memory_dir(cx, uid).join(&volume.name);
            // Elsewhere nothing can be mounted, and a directory in memory has to do.
            if in_memory && matches!(cx.runtime.mode(), Mode::Root | Mode::UserNamespace) {
                return Ok(memory(pod, source, memory_dir, group));
            }
            let dir = if in_memory { memory_dir } else { dir("empty-dir") };
            let path = dir.clone();
            blocking(move || empty(&dir, group)).await?;
            return Ok(Ready {
                path,
                ..Ready::default()
            });
        }
        if let Some(source) = &volume.host_path {
            let (path, kind) = (source.path.clone(), source.type_.clone().unwrap_or_default());
            blocking(move || host::check(&path, &kind)).await?;
            return Ok(Ready {
                path: PathBuf::from(&source.path),
                ..Ready::default()
            });
        }
        if let Some((claim, made_for_pod)) = claim::name(pod, volume) {
            let source = volume.persistent_volume_claim.as_ref();
            return Ok(Ready {
                path: claim::set_up(cx, pod, &claim, made_for_pod).await?,
                read_only: source.and_then(|source| source.read_only).unwrap_or(false),
                ..Ready::default()
            });
        }
        let key = |kind, name: &str| Key {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let mut gather = Gather {
            cx,
            pod,
            place,
            tokens: &mut self.tokens,
            depends: &mut self.depends,
            files: BTreeMap::new(),
        };
        let dir = if let Some(source) = &volume.config_map {
            let (items, optional) = (source.items.as_deref(), source.optional.unwrap_or(false));
            gather
                .object(key(Kind::ConfigMap, &source.name), items, optional, source.default_mode)
                .await?;
            dir("configmap")
        } else if let Some(source) = &volume.secret {
            let (items, optional) = (source.items.as_deref(), source.optional.unwrap_or(false));
            let name = source.secret_name.as_deref().unwrap_or_default();
            gather
                .object(key(Kind::Secret, name), items, optional, source.default_mode)
                .await?;
            dir("secret")
        } else if let Some(source) = &volume.projected {
            gather.projected(&volume.name, source).await?;
            dir("projected")
        } else if let Some(source) = &volume.downward_api {
            gather.downward(source.items.as_deref().unwrap_or_default(), source.default_mode)?;
            dir("downward-api")
        } else {
            return Err(unsupported(volume));
        };
        let (files, now, path) = (gather.files, cx.clock.now(), dir.clone());
        blocking(move || atomic::write(&dir, &files, group, now).map_err(|error| error.to_string())).await?;
        Ok(Ready {
            path,
            read_only: true,
            ..Ready::default()
        })
    }

    /// When the content must be renewed without being told: the earliest refresh of a token.
    pub(crate) fn refresh_at(&self) -> Option<Timestamp> {
        self.tokens.values().map(|token| token.refresh_at).min()
    }

    /// Objects that the content comes from.
    pub(crate) fn depends(&self) -> &[Key] {
        &self.depends
    }

    /// A volume by its name.
    pub(crate) fn get(&self, volume: &str) -> Option<&Ready> {
        self.ready.get(volume)
    }
}

/// Removes what the node keeps for a pod: volumes, but nothing that volumes refer to, and no logs.
pub(crate) fn remove(cx: &Context, uid: &str) {
    for dir in [cx.pod_dir(uid), memory_dir(cx, uid)] {
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(dir = %dir.display(), %error, "a pod's directory stays behind");
            }
            _ => {}
        }
    }
}

/// Where the `emptyDir` volumes in memory are: on Linux a file system in memory is at /dev/shm.
fn memory_dir(cx: &Context, uid: &str) -> PathBuf {
    let shared = private_shared_memory().map(|shared| shared.join(of_node(cx)));
    shared.unwrap_or_else(|| cx.pod_dir(uid).join("memory")).join(uid)
}

/// A name that this node's state directory has to itself.
fn of_node(cx: &Context) -> String {
    let path = cx.options.state_dir.as_os_str().as_encoded_bytes();
    hex(&Sha256::digest(path)[..8])
}

/// What was in memory does not outlive the node's process, as it does not outlive a real node's reboot.
pub(crate) fn forget_memory(cx: &Context) {
    if let Some(shared) = private_shared_memory() {
        let _ = fs::remove_dir_all(shared.join(of_node(cx))); // most nodes have nothing there
    }
}

/// A directory of this user's alone in /dev/shm, where everybody may make directories: one that another user has
/// prepared is not used.
fn private_shared_memory() -> Option<PathBuf> {
    let user = nix::unistd::geteuid();
    let dir = Path::new("/dev/shm").join(format!("knarr-{user}"));
    if let Err(error) = fs::DirBuilder::new().mode(0o700).create(&dir)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return None;
    }
    let found = fs::symlink_metadata(&dir).ok()?;
    let private = found.is_dir() && found.uid() == user.as_raw() && found.permissions().mode() & 0o077 == 0;
    private.then_some(dir)
}

/// Runs work on files where it may wait: what a container has made of its volume may be slow or worse.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(error.to_string()))
}

/// The group that a pod's volumes belong to.
pub(crate) fn fs_group(pod: &Pod) -> Option<u32> {
    let context = pod.spec.as_ref()?.security_context.as_ref()?;
    u32::try_from(context.fs_group?).ok()
}

fn on_root_mismatch(pod: &Pod) -> bool {
    let context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    context.and_then(|context| context.fs_group_change_policy.as_deref()) == Some("OnRootMismatch")
}

fn empty(dir: &Path, group: Option<u32>) -> Result<(), String> {
    let make = || {
        if fs::symlink_metadata(dir).is_ok_and(|found| found.is_dir()) {
            return Ok(()); // what containers have made of it since is theirs
        }
        fs::create_dir_all(dir)?;
        // Whatever user a container runs as may write here.
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777))?;
        group.map_or(Ok(()), |group| ownership::set_group(dir, group, false))
    };
    make().map_err(|error: std::io::Error| error.to_string())
}

/// No larger than its own limit and than what all containers of the pod may use together.
fn memory(pod: &Pod, source: &EmptyDirVolumeSource, path: PathBuf, group: Option<u32>) -> Ready {
    let own = source
        .size_limit
        .as_ref()
        .map(quantity::value)
        .filter(|bytes| *bytes > 0);
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let limits = containers.map(|container| {
        let limits = container.resources.as_ref()?.limits.as_ref()?;
        limits.get("memory").map(quantity::value).filter(|bytes| *bytes > 0)
    });
    let together = limits.collect::<Option<Vec<u64>>>().map(|all| all.into_iter().sum());
    Ready {
        path,
        tmpfs: Some(Tmpfs {
            size: [own, together].into_iter().flatten().min().unwrap_or(0),
            group,
        }),
        ..Ready::default()
    }
}

/// Says what this node cannot mount.
fn unsupported(volume: &Volume) -> String {
    let value = serde_json::to_value(volume).unwrap_or_default();
    let fields = value.as_object().into_iter().flat_map(|map| map.keys());
    unsupported_kind(fields.filter(|field| *field != "name").map(String::as_str).next())
}

fn unsupported_kind(kind: Option<&str>) -> String {
    match kind {
        Some("gitRepo") => {
            "gitRepo volumes are no longer supported: clone in an init container into an emptyDir".into()
        }
        Some(kind) => format!("this node cannot mount volumes of type {kind}: no volume plugin matched"),
        None => "no volume plugin matched".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_volume_that_cannot_be_mounted_is_named_by_its_type() {
        let volume = |json| serde_json::from_value::<Volume>(json).expect("a volume");
        let nfs = unsupported(&volume(json!({ "name": "v", "nfs": { "server": "s", "path": "/" } })));
        assert_eq!(
            nfs,
            "this node cannot mount volumes of type nfs: no volume plugin matched"
        );
        assert!(
            unsupported(&volume(json!({ "name": "v", "gitRepo": { "repository": "r" } }))).contains("init container")
        );
        let failure = Failure {
            volume: "v".into(),
            reason: "configmap \"a\" not found".into(),
        };
        assert_eq!(
            failure.message(),
            "MountVolume.SetUp failed for volume \"v\" : configmap \"a\" not found"
        );
    }
}
