//! Starting and stopping a kubelet.

use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use knarr_client::event::Recorder;
use knarr_image::ImageStore;
use knarr_runtime::Runtime;
use kube::Client;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::context::Context;
use crate::object::Objects;
use crate::options::{Capacity, Options};
use crate::pod::{self, Dispatcher, Registry};
use crate::sample::Samples;
use crate::service::Services;
use crate::{mirror, node, volume};

/// What stopping may take: containers get five seconds, and the last reports a little more.
const STOPPING: Duration = Duration::from_secs(8);
/// What telling the API server of the end may take.
const FAREWELL: Duration = Duration::from_secs(1);

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
pub struct Kubelet {
    pub(crate) cx: Arc<Context>,
}

impl Kubelet {
    /// Registers the node, adopts the pods bound to it, and serves them until `shutdown` or [`Kubelet::stop`].
    ///
    /// Returns when the node is registered and Ready.
    pub fn start(
        client: Client,
        runtime: Arc<dyn Runtime>,
        images: Arc<ImageStore>,
        options: Options,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, Result<Self, StartError>> {
        Box::pin(Self::begin(client, runtime, images, options, shutdown))
    }

    async fn begin(
        client: Client,
        runtime: Arc<dyn Runtime>,
        images: Arc<ImageStore>,
        options: Options,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        for dir in ["pods", "logs"] {
            let path = options.state_dir.join(dir);
            // Secrets and tokens lie below.
            let mut builder = std::fs::DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(&path);
            made.map_err(|source| StartError { path, source })?;
        }
        let shutdown = shutdown.child_token();
        let (events, writing) = Recorder::new(
            client.clone(),
            options.clock.clone(),
            "kubelet",
            options.node_name.clone(),
        );
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(writing));
        let cx = Arc::new(Context {
            runtime,
            images,
            clock: options.clock.clone(),
            capacity: options
                .capacity
                .unwrap_or_else(|| Capacity::of_host(&options.state_dir)),
            events,
            objects: Objects::new(client.clone(), shutdown.clone()),
            services: Services::start(client.clone(), shutdown.clone()),
            samples: Samples::default(),
            reached: Notify::new(),
            pods: Registry::default(),
            stopping: CancellationToken::new(),
            shutdown,
            workers: TaskTracker::new(),
            options,
            client,
        });
        volume::forget_memory(&cx);
        let seen = node::register(&cx).await;
        let (mirrors, mirrored) = mpsc::unbounded_channel();
        let kubelet = Self { cx: cx.clone() };
        kubelet.run(node::renew(cx.clone()));
        kubelet.run(node::refresh(cx.clone(), seen));
        kubelet.run(pod::dispatch(Dispatcher {
            cx: cx.clone(),
            mirrors,
        }));
        kubelet.run(mirror::keep(cx, mirrored));
        Ok(kubelet)
    }

    /// Runs a part of the kubelet until it shuts down.
    fn run(&self, part: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.cx.shutdown.clone().run_until_cancelled_owned(part));
    }

    /// Ends every container, gracefully for a bounded time, and then the kubelet.
    ///
    /// Pods are not deleted: the next kubelet of this node starts them anew.
    pub async fn stop(&self) {
        self.cx.stopping.cancel();
        self.cx.workers.close();
        if tokio::time::timeout(STOPPING, self.cx.workers.wait()).await.is_err() {
            tracing::warn!("containers have not ended in time");
        }
        let _ = tokio::time::timeout(FAREWELL, node::leave(&self.cx)).await; // nobody may be there to hear it
        self.cx.shutdown.cancel();
        volume::forget_memory(&self.cx);
    }
}
