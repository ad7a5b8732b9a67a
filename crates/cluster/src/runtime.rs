//! Chooses what runs the containers.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc as sync;

use knarr_clock::Clock;
use knarr_node::hollow::Hollow;
use knarr_runtime::{Helper, ProcessRuntime, Runtime};

use crate::RuntimeChoice;
use crate::error::{Doing, Error};

/// A runtime, and what it needs to stay alive.
pub(crate) struct Chosen {
    pub(crate) runtime: Arc<dyn Runtime>,
    /// Why better ones were refused.
    pub(crate) refusals: Vec<String>,
    pub(crate) anchor: Option<Anchor>,
}

/// The thread that has started the node process. The kernel ends that process with the thread that started it, and
/// threads of an async runtime come and go; so this one waits until the cluster has ended.
pub(crate) struct Anchor(#[expect(dead_code, reason = "dropping it ends the thread")] sync::Sender<()>);

/// Starts the runtime.
pub(crate) async fn choose(choice: RuntimeChoice, state_dir: &Path, clock: &Clock) -> Result<Chosen, Error> {
    let context = || "cannot start the container runtime".to_string();
    match choice {
        RuntimeChoice::Hollow => Ok(Chosen {
            runtime: Arc::new(Hollow::with_clock(clock.clone())),
            refusals: Vec::new(),
            anchor: None,
        }),
        RuntimeChoice::Processes => Ok(Chosen {
            runtime: Arc::new(ProcessRuntime::new(state_dir).doing(context)?),
            refusals: Vec::new(),
            anchor: None,
        }),
        RuntimeChoice::Auto => {
            let (helper, anchor) = match start_helper().await {
                Ok((helper, anchor)) => (Some(helper), Some(anchor)),
                Err(error) => {
                    tracing::warn!(%error, "cannot start the node process");
                    (None, None)
                }
            };
            let best = knarr_runtime::start_best(helper, state_dir).await.doing(context)?;
            Ok(Chosen {
                runtime: best.runtime,
                refusals: best.refusals,
                anchor,
            })
        }
    }
}

async fn start_helper() -> std::io::Result<(Helper, Anchor)> {
    let (anchor, end) = sync::channel::<()>();
    let (started, result) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("knarr-node".into()).spawn(move || {
        let _ = started.send(Helper::spawn());
        let _ = end.recv(); // returns when the anchor is dropped
    })?;
    let helper = result.await.map_err(std::io::Error::other)??;
    Ok((helper, Anchor(anchor)))
}
