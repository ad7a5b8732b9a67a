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

/// What is to be patched into a component's mirror; nothing when it shows as running since this process began.
pub(super) fn status(mirror: &Pod, host_ip: IpAddr, scheme: &str, now: Timestamp) -> Option<Value> {
    let status = mirror.status.as_ref();
    let uid = mirror.metadata.uid.as_deref().unwrap_or_default();
    // One ID per mirror, and mirrors do not outlive a change of their component.
    let id = format!("{scheme}://{}", hex(&Sha256::digest(uid)));
    let container = mirror.spec.as_ref()?.containers.first()?;
    let known = status.and_then(|status| status.container_statuses.as_ref()?.first().cloned());
    if status.and_then(|status| status.phase.as_deref()) == Some("Running")
        && known.is_some_and(|known| known.container_id.as_ref() == Some(&id))
    {
        return None;
    }
    let generation = mirror.metadata.generation;
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": now.to_string(), "observedGeneration": generation });
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
        "startTime": now.to_string(),
        "containerStatuses": [{
            "name": container.name,
            "image": container.image,
            "imageID": container.image,
            "containerID": id,
            "ready": true, "started": true, "restartCount": 0,
            "state": { "running": { "startedAt": now.to_string() } },
            "lastState": {},
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
        let mut options = Options::new("n1", "/tmp");
        options.components.push(component);
        let key = |name: &str| (NAMESPACE.to_owned(), name.to_owned());
        assert!(log(&options, &key("kube-scheduler-n1")).is_some());
        assert!(log(&options, &key("kube-scheduler-n2")).is_none());
    }
}
