//! The kubelet: it makes the pods bound to one node run, and tells the API server how they are.
//!
//! ```text
//!             watch                 one task per pod
//! API server ------> pods::dispatch ------> pod::worker --> runtime: sandbox, containers
//!     ^                                       |   ^ exits, probe results, hooks, timers, changed volumes
//!     +------ status patches, events ---------+   |
//! ```
//!
//! Nothing here polls. A worker sleeps until its pod's object changes, a process ends, a probe changes its mind, or a
//! time it has itself worked out (a back-off, a deadline, a token's refresh) comes.

mod component;
mod options;

use std::sync::Arc;

use knarr_image::ImageStore;
use knarr_runtime::Runtime;
use tokio_util::sync::CancellationToken;

pub use component::{ComponentLog, ComponentPod};
pub use options::{Capacity, Options};

/// Why a kubelet could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path} for pods: {source}")]
pub struct StartError {
    path: std::path::PathBuf,
    #[source]
    source: std::io::Error,
}

/// A running kubelet; clones share it.
#[derive(Clone)]
pub struct Kubelet {}

impl Kubelet {
    /// Registers the node, adopts the pods bound to it, and serves them until `shutdown` or [`Kubelet::stop`].
    pub async fn start(
        _client: kube::Client,
        _runtime: Arc<dyn Runtime>,
        _images: Arc<ImageStore>,
        _options: Options,
        _shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        unimplemented!("contract")
    }

    /// Ends every container, gracefully for a bounded time, and then the kubelet. Pods are not deleted: the next kubelet of this node starts them anew.
    pub async fn stop(&self) {
        unimplemented!("contract")
    }
}

#[async_trait::async_trait]
impl knarr_stream::backend::Backend for Kubelet {
    async fn logs(
        &self,
        _pod: &knarr_stream::backend::PodRef,
        _options: knarr_stream::backend::LogOptions,
    ) -> Result<knarr_stream::backend::LogStream, knarr_stream::backend::BackendError> {
        unimplemented!("contract")
    }

    async fn exec(
        &self,
        _pod: &knarr_stream::backend::PodRef,
        _options: knarr_stream::backend::ExecOptions,
    ) -> Result<knarr_stream::backend::Process, knarr_stream::backend::BackendError> {
        unimplemented!("contract")
    }

    async fn attach(
        &self,
        _pod: &knarr_stream::backend::PodRef,
        _options: knarr_stream::backend::ExecOptions,
    ) -> Result<knarr_stream::backend::Process, knarr_stream::backend::BackendError> {
        unimplemented!("contract")
    }

    async fn dial(
        &self,
        _pod: &knarr_stream::backend::PodRef,
        _port: u16,
    ) -> Result<knarr_stream::backend::Duplex, knarr_stream::backend::BackendError> {
        unimplemented!("contract")
    }
}

pub mod hollow {
    //! Simulated containers: see [`Hollow`].

    /// A [`Runtime`](knarr_runtime::Runtime) without processes: containers are tasks that behave like the built-in images, so that tests and
    /// rehearsals run in virtual time.
    #[derive(Clone, Debug, Default)]
    pub struct Hollow {}

    impl Hollow {
        /// A runtime with no containers.
        pub fn new() -> Self {
            Self::default()
        }
    }
}
