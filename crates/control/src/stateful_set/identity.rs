//! What makes a pod the one of its ordinal: name, hostname, labels, claims.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, Volume};
use kube::ResourceExt;
use serde_json::json;

use super::{Revision, claim};
use crate::history::HASH_LABEL;
use crate::pod;
use crate::write::{Path, Write};

const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The ordinal in the name of a pod of the set.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let name = pod.name_any();
    let digits = name.strip_prefix(&set.name_any())?.strip_prefix('-')?;
    let ordinal = digits.parse().ok()?;
    (digits == format!("{ordinal}")).then_some(ordinal)
}

pub(super) fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.name_any())
}

/// The pod of an ordinal.
pub(super) fn pod(set: &StatefulSet, revision: &Revision, ordinal: i32) -> Pod {
    let mut pod = pod::from_template(&revision.template, set);
    let name = pod_name(set, ordinal);
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    let labels = pod.labels_mut();
    labels.insert(NAME_LABEL.into(), name.clone());
    labels.insert(INDEX_LABEL.into(), ordinal.to_string());
    labels.insert(HASH_LABEL.into(), revision.name.clone());
    if let Some(spec) = &mut pod.spec {
        spec.hostname = Some(name);
        spec.subdomain = set.spec.service_name.clone().filter(|name| !name.is_empty());
        let claims = set.spec.volume_claim_templates.iter().flatten();
        let claimed: Vec<Volume> = claims
            .map(|template| Volume {
                name: template.name_any(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: claim::name(set, template, ordinal),
                    ..PersistentVolumeClaimVolumeSource::default()
                }),
                ..Volume::default()
            })
            .collect();
        let volumes = spec.volumes.get_or_insert_default();
        volumes.retain(|volume| claimed.iter().all(|claimed| claimed.name != volume.name));
        volumes.splice(0..0, claimed);
    }
    pod
}

/// Gives an adopted pod the label with its name.
pub(super) fn correct(pod: &Pod) -> Option<Write> {
    let name = pod.name_any();
    if pod.labels().get(NAME_LABEL) == Some(&name) {
        return None;
    }
    let patch = json!({ "metadata": { "uid": pod.metadata.uid, "labels": { NAME_LABEL: name } } });
    Some(Write::merge(Path::of(pod), patch).fine_when_gone())
}
