//! The image store and the built-in images.
//!
//! A store is a directory in the form of an OCI layout: blobs by digest, and an index of the names; beside them the unpacked layers. The
//! built-in images carry no distribution: they are ordinary images, but with a label that asks for the running program to be bound into
//! the container, together with the shared libraries it needs.

mod archive;
mod blob;
pub mod build;
mod builtin;
mod chain;
mod definition;
mod digest;
mod elf;
mod layer;
mod name;
mod oci;
mod reference;
mod registry;
mod store;

use std::path::PathBuf;

pub use chain::Lease;
pub use digest::Digest;
pub use oci::ImageConfig;
pub use reference::Reference;
pub use registry::{Credentials, Keyring, Registries};
pub use store::{Adding, ImageStore, Pruned};

/// One image in the store.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Every reference that names it, normalised (`docker.io/library/busybox:1.28`).
    pub references: Vec<String>,
    /// Image ID, the digest of its configuration: `sha256:` and 64 hex digits.
    pub id: String,
    /// Digest reference for `status.containerStatuses[].imageID` (`docker.io/luksa/kubia@sha256:...`).
    pub repo_digest: String,
    /// Size in bytes of what a registry would send, as `kubectl describe node` and the "Successfully pulled" event show it.
    pub size: u64,
    /// When it was made, as its configuration says.
    pub created: Option<String>,
    /// How to run it.
    pub config: ImageConfig,
    /// It comes with the program.
    pub built_in: bool,
    /// The name it was found by is from a registry, which is to be asked for a newer one.
    pub from_registry: bool,
    target: Option<oci::Descriptor>,
    manifest: Option<oci::Descriptor>,
    layers: Vec<chain::Layer>,
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
    /// Keeps it from being removed; `None` where there are no files.
    pub lease: Option<Lease>,
}

/// Why an image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The reference cannot be parsed (Kubernetes: `InvalidImageName`).
    #[error("couldn't parse image reference {0:?}: invalid reference format")]
    InvalidName(String),
    /// Not in the store.
    #[error("{0}")]
    NotFound(String),
    /// An image, an archive or a registry's answer is not what it should be.
    #[error("{0}")]
    Invalid(String),
    /// The file system failed.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Says what was being done.
trait Doing<T> {
    fn doing(self, context: impl FnOnce() -> String) -> Result<T, ImageError>;
}

impl<T, E: Into<std::io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, context: impl FnOnce() -> String) -> Result<T, ImageError> {
        self.map_err(|error| {
            let (context, source) = (context(), error.into());
            // A reader may have had more to say than that reading failed.
            ImageError::Io { context, source }
        })
    }
}
