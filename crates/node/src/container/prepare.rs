//! From a container's specification to what the runtime starts.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};
use knarr_image::{Image, Lease, RootFs};
use knarr_runtime::{ContainerSpec, Mode, Mount, Processes};

use super::{account, etc, security};
use crate::context::Context;
use crate::env::{self, expand};
use crate::volume::{self, Volumes};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Ready to be started.
pub(crate) struct Prepared {
    pub(crate) spec: ContainerSpec,
    /// Where the container leaves its last message.
    pub(crate) termination_file: PathBuf,
    /// Keeps the image's files where they are.
    pub(crate) lease: Option<Lease>,
}

/// Why a container cannot be created: its waiting reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Refused {
    fn config(message: String) -> Self {
        Self {
            reason: "CreateContainerConfigError",
            message,
        }
    }

    fn create(message: String) -> Self {
        Self {
            reason: "CreateContainerError",
            message,
        }
    }
}

/// Works out everything that starting an instance of `container` needs. `target` is the container whose processes it is to see.
#[allow(clippy::too_many_arguments, reason = "it is about all of these")]
pub(crate) async fn prepare(
    cx: &Context,
    pod: &Pod,
    container: &Container,
    image: &Arc<Image>,
    volumes: &Volumes,
    pod_ip: Option<IpAddr>,
    id: String,
    target: Option<String>,
) -> Result<Prepared, Refused> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let config = &image.config;
    let spec = pod.spec.as_ref();
    let mut environment = env::build(cx, pod, container, &cx.place(pod_ip))
        .await
        .map_err(Refused::config)?;
    let mut pod_mounts = volume::mounts(volumes, container, &environment).map_err(Refused::config)?;

    let argv = argv(container, image, |text| expand(text, |name| environment.get(name)));
    if argv.is_empty() {
        return Err(Refused::create("no command specified".into()));
    }
    let hostname = etc::hostname(pod);
    for (name, value) in &config.env {
        environment.fallback(name, value);
    }
    environment.fallback("PATH", PATH);
    environment.fallback("HOSTNAME", &hostname);
    if container.tty.unwrap_or(false) {
        environment.fallback("TERM", "xterm");
    }

    let root = root_fs(cx, image).await?;
    // Simulated containers have no files to look names up in, and no process to be anybody.
    let image_user = if cx.runtime.mode() == Mode::Hollow {
        String::new()
    } else {
        config.user.clone()
    };
    let security = security::security(pod, container, cx.runtime.mode()).map_err(Refused::config)?;
    let dir = cx.pod_dir(uid);
    let files = Files {
        etc: etc::files(pod, pod_ip, &cx.options),
        own: dir.join("containers").join(&container.name),
        termination: id[..8].to_owned(),
    };
    // Images and pods name the files that are looked at here, so that they may be anything.
    let (pod_too, container_too, lower) = (pod.clone(), container.clone(), root.lower.clone());
    let identity = volume::blocking(move || account::identity(&pod_too, &container_too, &image_user, &lower));
    let (uid_gid, fs_group) = (identity.await.map_err(Refused::config)?, volume::fs_group(pod));
    let (user, mut group) = uid_gid;
    if cx.runtime.mode() == Mode::UserNamespace && !asks_for_group(pod, container) {
        // There is room for one group: the one that the pod's volumes belong to.
        group = fs_group.filter(|group| *group != 0).or(group);
    }
    environment.fallback("HOME", if user.is_none() { "/root" } else { "/" });

    let bind = |bind: &knarr_image::Bind| Mount {
        source: bind.source.clone(),
        target: bind.target.clone(),
        read_only: true,
        ..Mount::default()
    };
    let mut mounts: Vec<Mount> = root.binds.iter().map(bind).collect();
    let etc_dir = dir.join("etc");
    let written = volume::blocking(move || files.write(&etc_dir).map_err(|error| error.to_string()));
    let written = written
        .await
        .map_err(|error| Refused::create(format!("failed to write the pod's files: {error}")))?;
    mounts.extend(written.mounts);
    let termination_file = written.termination_file;
    let target_path = container
        .termination_message_path
        .as_deref()
        .filter(|path| !path.is_empty());
    mounts.push(Mount {
        source: termination_file.clone(),
        target: target_path.unwrap_or(TERMINATION_LOG).into(),
        ..Mount::default()
    });
    // What the pod mounts at the same place wins.
    mounts.retain(|mount| !pod_mounts.iter().any(|own| own.target == mount.target));
    mounts.append(&mut pod_mounts);

    let working_dir = container.working_dir.clone().filter(|dir| !dir.is_empty());
    let working_dir = working_dir.unwrap_or_else(|| config.working_dir.clone());
    let context = container.security_context.as_ref();
    let spec = ContainerSpec {
        id,
        sandbox: uid.to_owned(),
        name: container.name.clone(),
        root: root.lower,
        argv,
        env: environment.into_vec(),
        working_dir: if working_dir.is_empty() {
            "/".into()
        } else {
            working_dir.into()
        },
        mounts,
        tty: container.tty.unwrap_or(false),
        stdin: container.stdin.unwrap_or(false),
        uid: user,
        gid: group,
        read_only_root: context
            .and_then(|context| context.read_only_root_filesystem)
            .unwrap_or(false),
        processes: match target {
            Some(target) => Processes::Container(target),
            None if spec.and_then(|spec| spec.host_pid) == Some(true) => Processes::Node,
            None if spec.and_then(|spec| spec.share_process_namespace) == Some(true) => Processes::Sandbox,
            None => Processes::Own,
        },
        limits: security::limits(container),
        security,
    };
    Ok(Prepared {
        spec,
        termination_file,
        lease: root.lease,
    })
}

/// The image's files. Simulated containers have none: their root names the image.
async fn root_fs(cx: &Context, image: &Arc<Image>) -> Result<RootFs, Refused> {
    if cx.runtime.mode() == Mode::Hollow {
        return Ok(RootFs {
            lower: image.references.first().map(PathBuf::from).unwrap_or_default(),
            binds: Vec::new(),
            lease: None,
        });
    }
    let (images, image) = (cx.images.clone(), image.clone());
    let unpacked = tokio::task::spawn_blocking(move || images.unpack(&image)).await;
    match unpacked {
        Ok(Ok(root)) => Ok(root),
        Ok(Err(error)) => Err(Refused::create(format!("failed to unpack image: {error}"))),
        Err(error) => Err(Refused::create(format!("failed to unpack image: {error}"))),
    }
}

/// `command` stands for the image's ENTRYPOINT and `args` for its CMD; a `command` alone drops both.
fn argv(container: &Container, image: &Image, expand: impl Fn(&str) -> String) -> Vec<String> {
    let given = |list: &Option<Vec<String>>| {
        let list = list.as_deref().unwrap_or_default();
        (!list.is_empty()).then(|| list.iter().map(|text| expand(text)).collect::<Vec<_>>())
    };
    let command = given(&container.command);
    let args = given(&container.args);
    match (command, args) {
        (Some(command), args) => [command, args.unwrap_or_default()].concat(),
        (None, Some(args)) => [image.config.entrypoint.clone(), args].concat(),
        (None, None) => [image.config.entrypoint.clone(), image.config.cmd.clone()].concat(),
    }
}

/// Whether a container's group is said, and not left to its image.
fn asks_for_group(pod: &Pod, container: &Container) -> bool {
    let shared = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let own = container
        .security_context
        .as_ref()
        .and_then(|context| context.run_as_group);
    own.or(shared.and_then(|context| context.run_as_group)).is_some()
}

/// The files that the kubelet writes for a container.
struct Files {
    etc: Vec<(&'static str, String)>,
    /// What is the container's alone.
    own: PathBuf,
    termination: String,
}

struct Written {
    mounts: Vec<Mount>,
    termination_file: PathBuf,
}

impl Files {
    fn write(&self, etc_dir: &Path) -> std::io::Result<Written> {
        let mounts = etc::write(etc_dir, &self.etc)?;
        std::fs::create_dir_all(&self.own)?;
        let termination_file = self.own.join(&self.termination);
        std::fs::write(&termination_file, "")?;
        let writable = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(&termination_file, writable)?;
        Ok(Written {
            mounts,
            termination_file,
        })
    }
}

#[cfg(test)]
mod tests {
    use knarr_image::ImageConfig;

    use super::*;

    #[test]
    fn command_and_args_stand_for_entrypoint_and_cmd() {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let mut image = Image::default();
        image.config = ImageConfig {
            entrypoint: list(&["/entry"]),
            cmd: list(&["cmd"]),
            ..ImageConfig::default()
        };
        let argv = |command: &[&str], args: &[&str]| {
            let container = Container {
                command: Some(list(command)),
                args: Some(list(args)),
                ..Container::default()
            };
            super::argv(&container, &image, |text| text.replace("$(X)", "y")).join(" ")
        };
        assert_eq!(argv(&[], &[]), "/entry cmd");
        assert_eq!(argv(&[], &["a", "$(X)"]), "/entry a y");
        assert_eq!(argv(&["sh"], &[]), "sh");
        assert_eq!(argv(&["sh"], &["-c"]), "sh -c");
    }
}
