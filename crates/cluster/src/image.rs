//! The images of a cluster's node, whether or not the cluster runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use knarr_runtime::{ContainerSpec, Mode, Mount, Runtime, SandboxSpec};

pub use knarr_image::build::{self, Recipe};
pub use knarr_image::{Credentials, Digest, Image, ImageError, ImageStore, Keyring, Pruned, Registries};

use crate::directory::Directory;
use crate::error::{Doing, Error};

/// The store's place below the node's directory.
pub(crate) const STORE: &str = "images";
/// Says how to reach registries.
const REGISTRIES: &str = "registries.toml";

/// Opens the store of the cluster of that name.
pub fn store(cluster: &str) -> Result<ImageStore, Error> {
    let directory = Directory::of(cluster)?;
    directory.create()?;
    let node = directory.create_sub("node")?;
    ImageStore::open(&node.join(STORE)).doing(|| "cannot open the image store".into())
}

/// How the cluster of that name reaches registries.
pub fn registries_of(cluster: &str) -> Result<Registries, Error> {
    registries(&Directory::of(cluster)?)
}

/// `registries.toml` in the cluster's directory, else beside Knarr's configuration.
pub(crate) fn registries(directory: &Directory) -> Result<Registries, Error> {
    let own = directory.file(REGISTRIES);
    let shared = directories::ProjectDirs::from("", "", "knarr").map(|dirs| dirs.config_dir().join(REGISTRIES));
    let paths: Vec<PathBuf> = [own].into_iter().chain(shared).collect();
    Registries::load(&paths).doing(|| "cannot read how registries are reached".into())
}

/// Who this user is to registries, as `docker login` has noted it.
pub fn keyring() -> Result<Keyring, Error> {
    let place = match std::env::var_os("DOCKER_CONFIG") {
        Some(place) if !place.is_empty() => Some(PathBuf::from(place)),
        _ => directories::BaseDirs::new().map(|dirs| dirs.home_dir().join(".docker")),
    };
    let mut keyring = Keyring::default();
    let path = place.unwrap_or_default().join("config.json");
    if let Ok(json) = std::fs::read(&path) {
        keyring
            .add_docker_config(&json)
            .doing(|| format!("cannot use {}", path.display()))?;
    }
    Ok(keyring)
}

/// What builds an image: pulls what is missing, and runs commands as containers of their own.
pub struct Builder {
    store: Arc<ImageStore>,
    registries: Registries,
    keyring: Keyring,
    state: PathBuf,
    runtime: tokio::sync::OnceCell<Arc<dyn Runtime>>,
}

impl Builder {
    /// One that works on the store of the cluster of that name; what containers need goes below `state`, which is the caller's to remove.
    pub fn new(store: Arc<ImageStore>, cluster: &str, state: &Path) -> Result<Self, Error> {
        Ok(Self {
            store,
            registries: registries_of(cluster)?,
            keyring: keyring()?,
            state: state.to_owned(),
            runtime: tokio::sync::OnceCell::new(),
        })
    }

    async fn runtime(&self) -> Result<&Arc<dyn Runtime>, String> {
        let start = || async {
            let best = knarr_runtime::start_best(&self.state)
                .await
                .map_err(|error| error.to_string())?;
            match best.runtime.mode() {
                Mode::Root | Mode::UserNamespace => Ok(best.runtime),
                _ => Err(format!(
                    "this host does not allow containers with files of their own: {}",
                    best.refusals.join("; ")
                )),
            }
        };
        self.runtime.get_or_try_init(start).await
    }
}

#[async_trait]
impl build::Worker for Builder {
    async fn pull(&self, reference: &str) -> Result<Arc<Image>, ImageError> {
        self.registries.pull(&self.store, reference, &self.keyring).await
    }

    fn user(&self, user: &str, root: &Path) -> Result<(Option<u32>, Option<u32>), String> {
        knarr_node::image_user(user, root)
    }

    async fn run(&self, command: build::Command) -> Result<PathBuf, String> {
        const SANDBOX: &str = "build";
        let runtime = self.runtime().await?;
        let sandbox = SandboxSpec {
            id: SANDBOX.into(),
            name: SANDBOX.into(),
            hostname: "buildkitsandbox".into(),
            host_network: true,
            ..SandboxSpec::default()
        };
        runtime
            .create_sandbox(sandbox)
            .await
            .map_err(|error| error.to_string())?;
        let id = command.id.clone();
        let mount = |(source, target): &(PathBuf, PathBuf)| Mount {
            source: source.clone(),
            target: target.clone(),
            read_only: true,
            ..Mount::default()
        };
        let spec = ContainerSpec {
            id: id.clone(),
            sandbox: SANDBOX.into(),
            name: SANDBOX.into(),
            root: command.root,
            argv: command.argv.clone(),
            env: command.env,
            working_dir: command.working_dir,
            mounts: command.mounts.iter().map(mount).collect(),
            uid: command.user.0,
            gid: command.user.1,
            ..ContainerSpec::default()
        };
        let mut started = runtime.start(spec).await.map_err(|error| error.to_string())?;
        // What is built is what standard output is for.
        let (mut out, mut err) = (tokio::io::stderr(), tokio::io::stderr());
        let said = async { tokio::io::copy(&mut started.stdout, &mut out).await };
        let complained = async {
            match started.stderr.as_mut() {
                Some(stderr) => tokio::io::copy(stderr, &mut err).await,
                None => Ok(0),
            }
        };
        let _ = tokio::join!(said, complained);
        let status = started.exit.await;
        if status.code != 0 {
            let command = command.argv.join(" ");
            return Err(format!(
                "the command {command:?} returned a non-zero code: {}",
                status.code
            ));
        }
        let upper = runtime.layer(&id).ok_or("the runtime keeps no layers")?;
        // An overlay has made its own directory beside it.
        if !upper.with_file_name("work").join("work").exists() {
            return Err("this host has no overlay file systems, which tell what a command has changed".into());
        }
        Ok(upper)
    }

    async fn forget(&self, id: &str) {
        if let Ok(runtime) = self.runtime().await
            && let Err(error) = runtime.remove(id).await
        {
            tracing::debug!(%error, "not removed");
        }
    }
}
