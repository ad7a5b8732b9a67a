//! Stands in for the namespaces runtime on systems without namespaces.

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

pub(crate) type Tried = Result<(Arc<dyn Runtime>, Vec<String>), Vec<String>>;

pub(crate) async fn start(_state_dir: &Path) -> Result<Tried, RuntimeError> {
    Ok(Err(vec!["this system has no namespaces".to_owned()]))
}
