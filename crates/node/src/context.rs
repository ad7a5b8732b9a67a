//! What all parts of a kubelet share.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::PodStatus;
use knarr_client::event::Recorder;
use knarr_clock::Clock;
use knarr_image::ImageStore;
use knarr_runtime::Runtime;
use kube::Client;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::env::Place;
use crate::object::Objects;
use crate::options::{Capacity, Options};
use crate::pod::Registry;
use crate::sample::Samples;
use crate::service::Services;
use crate::status::Reporter;

/// Shared by the kubelet's tasks.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) images: Arc<ImageStore>,
    pub(crate) clock: Clock,
    pub(crate) options: Options,
    pub(crate) capacity: Capacity,
    pub(crate) events: Recorder,
    pub(crate) objects: Objects,
    pub(crate) services: Services,
    /// What containers used when somebody asked last.
    pub(crate) samples: Samples,
    /// Told when the API server can be reached again.
    pub(crate) reached: Notify,
    /// The pods of this node.
    pub(crate) pods: Registry,
    /// Makes the pod workers end their containers and then themselves.
    pub(crate) stopping: CancellationToken,
    /// Ends everything.
    pub(crate) shutdown: CancellationToken,
    /// The pod workers, so that stopping can wait for them.
    pub(crate) workers: TaskTracker,
}

impl Context {
    /// The scheme of container IDs: `knarr` in `knarr://0123...`.
    pub(crate) fn scheme(&self) -> String {
        let version = self.runtime.version();
        version
            .split_once("://")
            .map_or("knarr", |(scheme, _)| scheme)
            .to_owned()
    }

    /// The way of a pod's status to the API server, which has `reported`.
    pub(crate) fn reporter(&self, reported: PodStatus) -> Reporter {
        let (workers, shutdown) = (self.workers.clone(), self.shutdown.clone());
        Reporter::new(reported, self.client.clone(), workers, shutdown)
    }

    /// Where everything of one pod but its logs is kept.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.options.state_dir.join("pods").join(uid)
    }

    /// Where the logs of one pod are kept.
    pub(crate) fn log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.options
            .state_dir
            .join("logs")
            .join(format!("{namespace}_{name}_{uid}"))
    }

    /// What the downward API tells of this node.
    pub(crate) fn place(&self, pod_ip: Option<IpAddr>) -> Place<'_> {
        Place {
            node: &self.options.node_name,
            host_ip: self.options.node_ip,
            pod_ip,
            allocatable: self.capacity,
        }
    }
}
