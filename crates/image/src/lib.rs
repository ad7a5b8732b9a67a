//! The image store and the built-in images.
//!
//! An image here is what the OCI image specification calls one: a configuration (entrypoint, command, environment, user) and a root
//! file system. The built-in images carry no distribution: their programs are applets of the knarr binary itself, bound
//! into the container together with the shared libraries it needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The part of an OCI image configuration that running a container needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageConfig {
    /// `ENTRYPOINT`.
    pub entrypoint: Vec<String>,
    /// `CMD`.
    pub cmd: Vec<String>,
    /// `ENV`, in order, as `NAME=value`.
    pub env: Vec<(String, String)>,
    /// `WORKDIR`; empty means `/`.
    pub working_dir: String,
    /// `USER` as written; empty means root.
    pub user: String,
    /// `EXPOSE`, as `8080/tcp`.
    pub exposed_ports: Vec<String>,
    /// `STOPSIGNAL`; empty means SIGTERM.
    pub stop_signal: String,
}

/// One image in the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// Every reference that names it, normalised (`docker.io/library/busybox:1.28`).
    pub references: Vec<String>,
    /// Image ID: `sha256:` and 64 hex digits.
    pub id: String,
    /// Digest reference for `status.containerStatuses[].imageID` (`docker.io/luksa/kubia@sha256:...`).
    pub repo_digest: String,
    /// Size in bytes, as `kubectl describe node` and the "Successfully pulled" event show it.
    pub size: u64,
    /// How to run it.
    pub config: ImageConfig,
}

/// One file or directory of the host made visible inside a container, read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path inside the container.
    pub target: PathBuf,
}

/// A root file system ready to be the lower layer of a container.
#[derive(Clone, Debug)]
pub struct RootFs {
    /// Directory with the image's files; shared by all its containers, never written.
    pub lower: PathBuf,
    /// What is bound over it: the knarr binary at its applet path, its dynamic loader and shared libraries.
    pub binds: Vec<Bind>,
}

/// Why an image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The reference cannot be parsed (Kubernetes: `InvalidImageName`).
    #[error("couldn't parse image reference {0:?}: invalid reference format")]
    InvalidName(String),
    /// Not in the store, and no registry is reachable (Kubernetes: `ErrImagePull`).
    #[error("{0}")]
    NotFound(String),
    /// The file system failed.
    #[error("{context}")]
    Io {
        /// What was being done.
        context: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// The images a node can run.
#[derive(Debug)]
pub struct ImageStore {
    _dir: PathBuf,
}

impl ImageStore {
    /// Opens the store at `dir` (created if missing) with the built-in images in it.
    pub fn open(_dir: &Path) -> Result<Self, ImageError> {
        unimplemented!("contract")
    }

    /// Every image, built-ins first.
    pub fn list(&self) -> Vec<Arc<Image>> {
        unimplemented!("contract")
    }

    /// Normalises `reference` as containerd does (`busybox` -> `docker.io/library/busybox:latest`) and looks it up.
    pub fn find(&self, _reference: &str) -> Result<Option<Arc<Image>>, ImageError> {
        unimplemented!("contract")
    }

    /// Prepares the image's root file system, once; later calls are cheap.
    pub fn unpack(&self, _image: &Image) -> Result<RootFs, ImageError> {
        unimplemented!("contract")
    }
}
