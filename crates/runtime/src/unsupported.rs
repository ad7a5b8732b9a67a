//! Stands in for the namespaces runtime on systems without namespaces.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::{Mode, Probe, Runtime, RuntimeError};

/// Never started as a node process here.
pub fn is_node() -> bool {
    false
}

/// Fails: there is no node process here.
pub fn node_main() -> i32 {
    1
}

/// Plain processes, always.
pub fn probe() -> io::Result<Probe> {
    Ok(Probe {
        mode: Mode::Processes,
        refusals: vec!["this system has no namespaces".to_owned()],
    })
}

/// A node process; there is none here.
#[derive(Debug)]
pub struct Helper(Infallible);

impl Helper {
    /// Fails.
    pub fn spawn() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Fails.
    pub fn spawn_program(_program: &Path) -> io::Result<Self> {
        Self::spawn()
    }
}

pub(crate) type Tried = Result<(Arc<dyn Runtime>, Vec<String>), Vec<String>>;

pub(crate) async fn start(helper: Helper, _state_dir: &Path) -> Result<Tried, RuntimeError> {
    match helper.0 {}
}
