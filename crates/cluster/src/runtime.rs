//! Chooses what runs the containers.

use std::path::Path;
use std::sync::Arc;

use knarr_clock::Clock;
use knarr_node::hollow::Hollow;
use knarr_runtime::{Best, ProcessRuntime};

use crate::RuntimeChoice;
use crate::error::{Doing, Error};

/// Starts the runtime.
pub(crate) async fn choose(choice: RuntimeChoice, state_dir: &Path, clock: &Clock) -> Result<Best, Error> {
    let context = || "cannot start the container runtime".to_string();
    match choice {
        RuntimeChoice::Hollow => Ok(Best {
            runtime: Arc::new(Hollow::with_clock(clock.clone())),
            refusals: Vec::new(),
        }),
        RuntimeChoice::Processes => Ok(Best {
            runtime: Arc::new(ProcessRuntime::new(state_dir).doing(context)?),
            refusals: Vec::new(),
        }),
        RuntimeChoice::Auto => knarr_runtime::start_best(state_dir).await.doing(context),
    }
}
