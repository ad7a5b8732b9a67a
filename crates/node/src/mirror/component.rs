//! Component pods.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::component::{ComponentLog, ComponentPod};
use crate::container::hex;
use crate::options::Options;
use crate::pod::{HASH, Key, SOURCE};

const NAMESPACE: &str = "kube-system";

/// The pod that shows a component.
pub(super) fn pod(component: &ComponentPod, node: &str) -> Pod {
    let name = format!("{}-{node}", component.name);
    let digest = Sha256::digest(format!("{name}\n{}\n{:?}", component.image, component.command));
    let hash = hex(&digest[..16]);
    let pod = json!({
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": hash,
            "labels": { "component": component.name, "tier": "control-plane" },
            "annotations": { HASH: hash, SOURCE: "file" },
        },
        "spec": {
            "nodeName": node,
            "hostNetwork": true,
            "priorityClassName": "system-node-critical",
            "tolerations": [{ "effect": "NoExecute", "operator": "Exists" }],
            "containers": [{
                "name": component.name,
                "image": component.image,
                "command": component.command,
                "imagePullPolicy": "IfNotPresent",
            }],
        },
    });
    // The shape is ours, and a typed test holds it to the API's.
    serde_json::from_value(pod).unwrap_or_default()
}

/// What is to be patched into a component's mirror; nothing when it shows as running `since` this process began. A mirror
/// from before that tells of a restart.
pub(super) fn status(mirror: &Pod, host_ip: IpAddr, scheme: &str, since: Timestamp) -> Option<Value> {
    let uid = mirror.metadata.uid.as_deref().unwrap_or_default();
    let container = mirror.spec.as_ref()?.containers.first()?;
    let known = mirror
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref()?.first());
    let running = known.and_then(|known| known.state.as_ref()?.running.as_ref()?.started_at.clone());
    if running.as_ref().is_some_and(|started| started.0 == since) {
        return None;
    }
    let id = format!("{scheme}://{}", hex(&Sha256::digest(format!("{uid}/{since}"))));
    let last = running.map(|started| {
        json!({ "terminated": {
            "containerID": known.and_then(|known| known.container_id.clone()),
            "exitCode": 137,
            "reason": "ContainerStatusUnknown",
            "startedAt": started,
            "finishedAt": since.to_string(),
        } })
    });
    let restarts = known.map_or(0, |known| known.restart_count) + i32::from(last.is_some());
    let generation = mirror.metadata.generation;
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": since.to_string(), "observedGeneration": generation });
    let kinds = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ];
    Some(json!({
        "observedGeneration": generation,
        "phase": "Running",
        "conditions": kinds.map(condition),
        "hostIP": host_ip, "hostIPs": [{ "ip": host_ip }], "podIP": host_ip, "podIPs": [{ "ip": host_ip }],
        "startTime": since.to_string(),
        "containerStatuses": [{
            "name": container.name,
            "image": container.image,
            "imageID": container.image,
            "containerID": id,
            "ready": true, "started": true, "restartCount": restarts,
            "state": { "running": { "startedAt": since.to_string() } },
            "lastState": last.unwrap_or_else(|| json!({})),
        }],
        "qosClass": "BestEffort",
    }))
}

/// The log of the component that is shown under this name.
pub(crate) fn log(options: &Options, (namespace, name): &Key) -> Option<ComponentLog> {
    let component = name
        .strip_suffix(&options.node_name)?
        .strip_suffix('-')
        .filter(|_| namespace == NAMESPACE)?;
    let found = options.components.iter().find(|known| known.name == component)?;
    Some(found.log.clone())
}

#[cfg(test)]
mod tests {
    use knarr_clock::Clock;

    use super::*;

    #[test]
    fn a_component_is_shown_as_a_running_pod_of_the_node() {
        let component = ComponentPod {
            name: "kube-scheduler".into(),
            image: "knarr/kube-scheduler".into(),
            command: vec!["kube-scheduler".into()],
            log: ComponentLog::new(Clock::system()),
        };
        let mut mirror = pod(&component, "n1");
        assert_eq!(mirror.metadata.name.as_deref(), Some("kube-scheduler-n1"));
        assert_eq!(mirror.spec.as_ref().map(|spec| spec.containers.len()), Some(1));
        let ip = IpAddr::from([127, 0, 0, 1]);
        let shown = status(&mirror, ip, "knarr", Timestamp::UNIX_EPOCH).expect("news");
        mirror.status = Some(serde_json::from_value(shown).expect("a status"));
        assert_eq!(status(&mirror, ip, "knarr", Timestamp::UNIX_EPOCH), None);
        let later = Timestamp::from_second(60).expect("in range");
        let again = status(&mirror, ip, "knarr", later).expect("another process");
        let container = &again["containerStatuses"][0];
        assert_eq!(container["restartCount"], 1);
        assert_eq!(
            container["lastState"]["terminated"]["startedAt"],
            "1970-01-01T00:00:00Z"
        );
        let mut options = Options::new("n1", "/tmp");
        options.components.push(component);
        let key = |name: &str| (NAMESPACE.to_owned(), name.to_owned());
        assert!(log(&options, &key("kube-scheduler-n1")).is_some());
        assert!(log(&options, &key("kube-scheduler-n2")).is_none());
    }
}
