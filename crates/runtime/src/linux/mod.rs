//! Containers by Linux namespaces, as root or as an unprivileged user.

mod link;
mod node;
mod runtime;
mod wire;

use std::path::Path;
use std::sync::Arc;

pub use link::{is_node, node_main, probe};
pub(crate) use node::Tree;
pub use runtime::LinuxRuntime;

use crate::{Runtime, RuntimeError};

/// The runtime and why it could not be a better one, or why there is none.
pub(crate) type Tried = Result<(Arc<dyn Runtime>, Vec<String>), Vec<String>>;

pub(crate) async fn start(state_dir: &Path) -> Result<Tried, RuntimeError> {
    Ok(LinuxRuntime::new(state_dir).await?.map(|runtime| {
        let refusals = runtime.refusals().to_vec();
        (Arc::new(runtime) as Arc<dyn Runtime>, refusals)
    }))
}
