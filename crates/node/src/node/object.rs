//! What the Node object says.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use knarr_runtime::{Mode, RuntimeStatus};

use super::host;
use crate::context::Context;
use crate::options::Capacity;

/// Images that the status lists at most.
const IMAGES: usize = 50;
/// Where a kubelet listens; here the API server reaches it without a socket.
const PORT: i32 = 10250;

/// Go's name of the processor architecture.
pub(crate) fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Containers see Linux, simulated or not; without isolation they see the host.
fn os(of: Mode) -> &'static str {
    if of == Mode::Processes && cfg!(target_os = "macos") {
        "darwin"
    } else {
        "linux"
    }
}

pub(super) fn metadata(cx: &Context) -> ObjectMeta {
    let name = &cx.options.node_name;
    let (os, arch) = (os(cx.runtime.mode()), arch());
    let mut labels: BTreeMap<String, String> = [
        ("beta.kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", os),
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/os", os),
        ("kubernetes.io/hostname", name.as_str()),
        ("knarr.dev/runtime", cx.runtime.mode().name()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    labels.extend(cx.options.labels.clone());
    ObjectMeta {
        name: Some(name.clone()),
        labels: Some(labels),
        annotations: Some(BTreeMap::from([
            // What pods' specifications say and this host does not let the node enforce.
            ("knarr.dev/weaknesses".to_owned(), cx.runtime.weaknesses().join("; ")),
            ("node.alpha.kubernetes.io/ttl".to_owned(), "0".to_owned()),
            (
                "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
                "true".to_owned(),
            ),
        ])),
        ..ObjectMeta::default()
    }
}

/// What there is of each resource, as a Node says it.
pub(crate) fn resources(capacity: Capacity) -> BTreeMap<String, Quantity> {
    let cpu = if capacity.cpu_millis.is_multiple_of(1000) {
        (capacity.cpu_millis / 1000).to_string()
    } else {
        format!("{}m", capacity.cpu_millis)
    };
    [
        ("cpu", cpu),
        ("memory", format!("{}Ki", capacity.memory_bytes / 1024)),
        ("ephemeral-storage", format!("{}Ki", capacity.storage_bytes / 1024)),
        ("pods", capacity.pods.to_string()),
        ("hugepages-1Gi", "0".to_owned()),
        ("hugepages-2Mi", "0".to_owned()),
    ]
    .into_iter()
    .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
    .collect()
}

fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    previous: &NodeStatus,
    now: Timestamp,
) -> NodeCondition {
    let mut known = previous.conditions.iter().flatten();
    let same = known.find(|known| known.type_ == kind && known.status == status);
    let since = same.and_then(|known| known.last_transition_time.clone());
    NodeCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: Some(since.unwrap_or(Time(now))),
    }
}

/// Whether the node takes pods: status, reason and message of the condition `Ready`.
fn readiness(runtime: &RuntimeStatus) -> (&'static str, &'static str, String) {
    match &runtime.down {
        None => ("True", "KubeletReady", "kubelet is posting ready status".into()),
        Some(why) => ("False", "KubeletNotReady", format!("container runtime is down: {why}")),
    }
}

/// How the node is. Times of what has not changed are `previous`'s.
pub(crate) fn conditions(previous: &NodeStatus, runtime: &RuntimeStatus, now: Timestamp) -> Vec<NodeCondition> {
    let (ready, reason, message) = readiness(runtime);
    [
        (
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        (
            "DiskPressure",
            "False",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        ),
        (
            "PIDPressure",
            "False",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ),
        ("Ready", ready, reason, message.as_str()),
    ]
    .into_iter()
    .map(|(kind, status, reason, message)| condition(kind, status, reason, message, previous, now))
    .collect()
}

/// Whether somebody has written that nobody knows how the node is.
pub(super) fn is_given_up(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|known| known.type_ == "Ready" && known.status == "Unknown")
}

/// The condition that a kubelet leaves behind.
pub(super) fn stopped(cx: &Context) -> NodeCondition {
    let now = cx.clock.now_seconds();
    condition(
        "Ready",
        "False",
        "KubeletNotReady",
        "kubelet has stopped",
        &NodeStatus::default(),
        now,
    )
}

/// The whole status. Times of what has not changed are `previous`'s.
pub(super) fn status(cx: &Context, previous: &NodeStatus, runtime: &RuntimeStatus) -> NodeStatus {
    let identity = host::identity();
    let address = |kind: &str, address: String| NodeAddress {
        type_: kind.to_owned(),
        address,
    };
    let mut images = cx.images.list().unwrap_or_else(|error| {
        tracing::warn!(%error, "the images cannot be listed");
        Vec::new()
    });
    images.truncate(IMAGES);
    let images = images.iter().map(|image| ContainerImage {
        names: Some([vec![image.repo_digest.clone()], image.references.clone()].concat()),
        size_bytes: i64::try_from(image.size).ok(),
    });
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", cx.options.node_ip.to_string()),
            address("Hostname", cx.options.node_name.clone()),
        ]),
        capacity: Some(resources(cx.capacity)),
        allocatable: Some(resources(cx.capacity)),
        conditions: Some(conditions(previous, runtime, cx.clock.now_seconds())),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: PORT }),
        }),
        images: Some(images.collect()),
        node_info: Some(NodeSystemInfo {
            architecture: arch().to_owned(),
            boot_id: identity.boot_id,
            container_runtime_version: cx.runtime.version(),
            kernel_version: identity.kernel,
            kube_proxy_version: String::new(),
            kubelet_version: cx.options.version.clone(),
            machine_id: identity.machine_id.clone(),
            operating_system: os(cx.runtime.mode()).to_owned(),
            os_image: identity.os_image,
            system_uuid: identity.machine_id,
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_come_in_order_and_keep_the_time_since_when() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let well = RuntimeStatus::default();
        let first = NodeStatus {
            conditions: Some(conditions(&NodeStatus::default(), &well, at(1))),
            ..NodeStatus::default()
        };
        let later = conditions(&first, &well, at(300));
        let kinds: Vec<&str> = later.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(kinds, ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"]);
        assert!(
            later
                .iter()
                .all(|c| c.last_transition_time == Some(Time(at(1))) && c.last_heartbeat_time == Some(Time(at(300))))
        );
    }

    #[test]
    fn resources_are_written_as_kubelets_do() {
        let resources = resources(Capacity {
            cpu_millis: 1500,
            memory_bytes: 2 << 30,
            storage_bytes: 0,
            pods: 110,
        });
        assert_eq!(resources["cpu"].0, "1500m");
        assert_eq!(resources["memory"].0, "2097152Ki");
        assert_eq!(resources["pods"].0, "110");
    }
}
