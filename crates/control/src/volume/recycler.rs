//! Empties a volume by a pod, for another claim to have: reclaim policy `Recycle`, deprecated but still there.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use serde_json::json;

use crate::caches::Caches;
use crate::event::Note;
use crate::key::Key;
use crate::pod;
use crate::write::Write;

/// Where pods may mount directories of the host.
const NAMESPACE: &str = "kube-system";
const PREFIX: &str = "recycler-for-";
/// Empties the directory and looks whether it is.
const SCRUB: &str = "test -e /scrub && find /scrub -mindepth 1 -delete && test -z \"$(ls -A /scrub)\" || exit 1";
/// How long it may take.
const DEADLINE_SECONDS: i64 = 60;

/// What is to be done next.
pub(super) enum Step {
    /// The pod is at it.
    Wait,
    Write(Write),
    /// The volume is empty; the pod can go.
    Done(Write),
    /// It cannot be emptied.
    Failed(Option<Write>, String),
}

/// The volume that a pod is to empty.
pub(super) fn volume_of(pod: &Pod) -> Option<&str> {
    let namespace = pod.metadata.namespace.as_deref()?;
    pod.metadata
        .name
        .as_deref()?
        .strip_prefix(PREFIX)
        .filter(|_| namespace == NAMESPACE)
}

pub(super) fn step(volume: &PersistentVolume, caches: &Caches) -> Step {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    match caches.pods.get(&Key::new(NAMESPACE, format!("{PREFIX}{name}"))) {
        Some(pod) => look_at(&pod),
        None => match scrubber(volume, name) {
            Some(pod) => {
                let note = Note::normal(
                    volume,
                    "RecyclerPod",
                    "Recycler pod: Created container pv-recycler".into(),
                );
                Step::Write(Write::create(&pod).fine_when_there().on_success(note))
            }
            None => Step::Failed(None, "No recycler plugin found for the volume!".into()),
        },
    }
}

fn look_at(pod: &Arc<Pod>) -> Step {
    // That of the last time is no answer for this one.
    if pod.metadata.deletion_timestamp.is_some() {
        return Step::Wait;
    }
    let delete = Write::delete(pod.as_ref()).at_once();
    match pod::phase(pod) {
        "Succeeded" => Step::Done(delete),
        "Failed" => {
            let message = pod.status.as_ref().and_then(|status| status.message.clone());
            let why = message.unwrap_or_else(|| "pod failed, pod.Status.Message unknown".into());
            Step::Failed(Some(delete), format!("Recycle failed: failed to recycle volume: {why}"))
        }
        _ => Step::Wait,
    }
}

/// Only directories of the node and shares of the network can be emptied.
fn scrubber(volume: &PersistentVolume, name: &str) -> Option<Pod> {
    let spec = volume.spec.as_ref()?;
    let source = match (&spec.host_path, &spec.nfs) {
        (Some(path), _) => json!({ "name": "vol", "hostPath": path }),
        (_, Some(share)) => json!({ "name": "vol", "nfs": share }),
        _ => return None,
    };
    let pod = json!({
        "metadata": { "name": format!("{PREFIX}{name}"), "namespace": NAMESPACE },
        "spec": {
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "restartPolicy": "Never",
            "volumes": [source],
            "containers": [{
                "name": "pv-recycler",
                "image": "busybox:1.36",
                "command": ["/bin/sh"],
                "args": ["-c", SCRUB],
                "volumeMounts": [{ "name": "vol", "mountPath": "/scrub" }],
            }],
        },
    });
    serde_json::from_value(pod).ok()
}
