//! What a hollow node says of itself, and what it answers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeStatus, Pod};
use knarr_clock::Clock;
use knarr_runtime::RuntimeStatus;
use knarr_stream::backend::{
    Backend, BackendError, Duplex, ExecOptions, LogOptions, LogStream, NodeAnswer, NodeUsage, PodRef, PodUsage,
    Process, Used,
};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::course::Course;
use crate::node;
use crate::options::Capacity;

/// What a hollow node has when nothing is said.
pub const CAPACITY: Capacity = Capacity {
    cpu_millis: 32_000,
    memory_bytes: 256 << 30,
    storage_bytes: 1 << 40,
    pods: 110,
};
/// Over how long usage is said to have been measured.
const WINDOW: Duration = Duration::from_secs(15);

/// The address of the node of a number; its pods' begin with another.
pub(super) fn node_ip(number: u32) -> IpAddr {
    let [_, b, c, d] = number.to_be_bytes();
    Ipv4Addr::new(10, 64 | (b & 0x3f), c, d).into()
}

/// The address of the pod of a number.
pub(super) fn pod_ip(number: u32) -> IpAddr {
    let [_, b, c, d] = number.to_be_bytes();
    Ipv4Addr::new(10, 128 | (b & 0x3f), c, d).into()
}

/// Tells the API server that the node is ready, and what it has.
pub(super) async fn announce(
    client: &Client,
    name: &str,
    ip: IpAddr,
    has: Capacity,
    now: Timestamp,
) -> kube::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let labels = json!({
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": node::arch(),
    });
    let patch = json!({ "metadata": { "labels": labels } });
    let known = nodes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    let previous = known.status.unwrap_or_default();
    let status = NodeStatus {
        capacity: Some(node::resources(has)),
        allocatable: Some(node::resources(has)),
        conditions: Some(node::conditions(&previous, &RuntimeStatus::default(), now)),
        ..NodeStatus::default()
    };
    let mut status = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
    status["addresses"] = json!([
        { "type": "InternalIP", "address": ip },
        { "type": "Hostname", "address": name },
    ]);
    status["nodeInfo"] = json!({
        "architecture": node::arch(), "operatingSystem": "linux", "bootID": "", "machineID": "", "systemUUID": "",
        "kernelVersion": "", "osImage": "hollow", "kubeProxyVersion": "",
        "containerRuntimeVersion": format!("{}://{}", super::SCHEME, env!("CARGO_PKG_VERSION")),
        "kubeletVersion": crate::options::VERSION,
    });
    let body = json!({ "status": status });
    nodes
        .patch_status(name, &PatchParams::default(), &Patch::Strategic(body))
        .await
        .map(drop)
}

/// The pods that run on one hollow node, by UID, for who asks what they use.
#[derive(Default)]
pub(super) struct Running(Mutex<BTreeMap<String, (Arc<Pod>, Course)>>);

impl Running {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Arc<Pod>, Course)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, pod: Arc<Pod>, course: Course) {
        self.lock().insert(crate::pod::uid(&pod).to_owned(), (pod, course));
    }

    pub(super) fn remove(&self, uid: &str) {
        self.lock().remove(uid);
    }
}

/// A hollow node as the API server reaches it.
pub(super) struct Door {
    pub(super) running: Arc<Running>,
    pub(super) clock: Clock,
    pub(super) has: Capacity,
}

/// Nothing runs that could be looked into.
fn hollow<T>(pod: &PodRef) -> Result<T, BackendError> {
    Err(BackendError::BadRequest(format!(
        "pod {:?} is on a hollow node: it goes through its states without any process",
        pod.name
    )))
}

#[async_trait]
impl Backend for Door {
    async fn logs(&self, pod: &PodRef, _: LogOptions) -> Result<LogStream, BackendError> {
        hollow(pod)
    }

    async fn exec(&self, pod: &PodRef, _: ExecOptions) -> Result<Process, BackendError> {
        hollow(pod)
    }

    async fn attach(&self, pod: &PodRef, _: ExecOptions) -> Result<Process, BackendError> {
        hollow(pod)
    }

    async fn dial(&self, pod: &PodRef, _: u16) -> Result<Duplex, BackendError> {
        hollow(pod)
    }

    async fn node(&self, path: &str) -> Result<NodeAnswer, BackendError> {
        match path.trim_end_matches('/') {
            "/healthz" => Ok(NodeAnswer {
                content_type: "text/plain; charset=utf-8",
                body: "ok".into(),
            }),
            _ => Err(BackendError::NotFound("404 page not found\n".into())),
        }
    }

    async fn usage(&self) -> Result<NodeUsage, BackendError> {
        let now = self.clock.now();
        let mut all = Used::default();
        let mut pods = Vec::new();
        for (uid, (pod, course)) in self.running.lock().iter() {
            let (namespace, name) = crate::pod::key(pod);
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let containers: Vec<(String, Used)> = containers
                .map(|container| (container.name.clone(), course.used(container, now)))
                .collect();
            for (_, used) in &containers {
                all.nano_cores += used.nano_cores;
                all.memory_bytes += used.memory_bytes;
            }
            pods.push(PodUsage {
                pod: PodRef {
                    namespace,
                    name,
                    uid: uid.clone(),
                },
                window: WINDOW,
                containers,
            });
        }
        all.memory_bytes = all.memory_bytes.min(self.has.memory_bytes);
        Ok(NodeUsage {
            at: now,
            window: WINDOW,
            node: all,
            pods,
        })
    }
}
