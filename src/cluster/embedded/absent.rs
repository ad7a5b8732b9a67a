//! What stands for the clusters inside this program where it was built without them.

use std::path::PathBuf;
use std::sync::Arc;

use knarr_clock::Clock;
use tracing_subscriber::layer::Identity;

use super::source::Reached;
use super::{ConnectOptions, Size};
use crate::error::{Error, ErrorKind, Result};

/// There is no control plane whose logs could be collected.
#[derive(Clone, Debug)]
pub struct ComponentLogs(());

impl ComponentLogs {
    /// Collects nothing.
    pub fn new(_: Clock) -> Self {
        Self(())
    }

    /// A layer that does nothing.
    pub fn layer(&self) -> Identity {
        Identity::new()
    }
}

/// There is none.
pub enum Running {}

impl Running {
    /// Cannot be called.
    pub async fn stop(&self) {
        match *self {}
    }
}

/// This program is never started as one of the mini-cluster's.
pub fn reexec() -> Option<i32> {
    None
}

/// Nowhere.
pub fn clusters_dir() -> Option<PathBuf> {
    None
}

/// Says that there is none.
pub(super) async fn connect(
    name: &str,
    _: bool,
    _: Size,
    _: ConnectOptions,
    _: Option<Arc<Running>>,
) -> Result<Reached> {
    let absent = format!("there is no embedded cluster {name:?}: this knarr was built without the mini-cluster");
    Err(Error::new(ErrorKind::Usage, absent).hint(
        "`cargo install --path .` builds one with it; without --embedded this one opens on a kubeconfig's cluster",
    ))
}
