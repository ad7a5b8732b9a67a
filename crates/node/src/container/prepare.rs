//! From a container's specification to what the runtime starts.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};
use knarr_image::{Image, RootFs};
use knarr_runtime::{ContainerSpec, Limits, Mode, Mount};

use super::{account, etc};
use crate::context::Context;
use crate::env::{self, expand};
use crate::quantity;
use crate::volume::{self, Volumes};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Ready to be started.
pub(crate) struct Prepared {
    pub(crate) spec: ContainerSpec,
    /// Where the container leaves its last message.
    pub(crate) termination_file: PathBuf,
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

/// Works out everything that starting an instance of `container` needs.
pub(crate) async fn prepare(
    cx: &Context,
    pod: &Pod,
    container: &Container,
    image: &Arc<Image>,
    volumes: &Volumes,
    pod_ip: Option<IpAddr>,
    id: String,
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
        ""
    } else {
        &config.user
    };
    let identity = account::identity(pod, container, image_user, &root.lower).map_err(Refused::config)?;
    environment.fallback("HOME", if identity.0.is_none() { "/root" } else { "/" });

    let bind = |bind: &knarr_image::Bind| Mount {
        source: bind.source.clone(),
        target: bind.target.clone(),
        read_only: true,
        tmpfs: None,
    };
    let mut mounts: Vec<Mount> = root.binds.iter().map(bind).collect();
    let dir = cx.pod_dir(uid);
    let io = |error: std::io::Error| Refused::create(format!("failed to write the pod's files: {error}"));
    mounts.extend(etc::write(&dir.join("etc"), pod, pod_ip, &cx.options).map_err(io)?);
    let own_dir = dir.join("containers").join(&container.name);
    std::fs::create_dir_all(&own_dir).map_err(io)?;
    let termination_file = own_dir.join(&id[..8]);
    std::fs::write(&termination_file, "").map_err(io)?;
    let writable = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(&termination_file, writable).map_err(io)?;
    let target = container
        .termination_message_path
        .as_deref()
        .filter(|path| !path.is_empty());
    mounts.push(Mount {
        source: termination_file.clone(),
        target: target.unwrap_or(TERMINATION_LOG).into(),
        read_only: false,
        tmpfs: None,
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
        uid: identity.0,
        gid: identity.1,
        read_only_root: context
            .and_then(|context| context.read_only_root_filesystem)
            .unwrap_or(false),
        share_pid: spec.and_then(|spec| spec.share_process_namespace).unwrap_or(false),
        limits: limits(container),
    };
    Ok(Prepared { spec, termination_file })
}

/// The image's files. Simulated containers have none: their root names the image.
async fn root_fs(cx: &Context, image: &Arc<Image>) -> Result<RootFs, Refused> {
    if cx.runtime.mode() == Mode::Hollow {
        return Ok(RootFs {
            lower: image.references.first().map(PathBuf::from).unwrap_or_default(),
            binds: Vec::new(),
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

fn limits(container: &Container) -> Limits {
    let limits = container
        .resources
        .as_ref()
        .and_then(|resources| resources.limits.as_ref());
    let limit = |name: &str| limits.and_then(|map| map.get(name));
    Limits {
        memory_bytes: limit("memory").map(quantity::value).filter(|bytes| *bytes > 0),
        cpu_millis: limit("cpu").map(quantity::milli_value).filter(|millis| *millis > 0),
    }
}

#[cfg(test)]
mod tests {
    use knarr_image::ImageConfig;

    use super::*;

    #[test]
    fn command_and_args_stand_for_entrypoint_and_cmd() {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let image = Image {
            references: Vec::new(),
            id: String::new(),
            repo_digest: String::new(),
            size: 0,
            config: ImageConfig {
                entrypoint: list(&["/entry"]),
                cmd: list(&["cmd"]),
                ..ImageConfig::default()
            },
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
