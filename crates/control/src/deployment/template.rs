//! Pod templates: when two are the same, and the hash that names a template's ReplicaSet.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;

/// Label that sets the pods of one template apart from those of the next.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";

/// Letters and digits that cannot form words by chance, nor be confused with each other.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a template. `collisions` counts how often its name was found taken by a different template.
///
/// 32 bits of FNV-1a over the template's canonical JSON (fields in the order of the type, maps sorted), spelled in
/// letters that are safe in names.
pub(crate) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let json = serde_json::to_vec(template).expect("templates have string keys and serialise");
    let salt = collisions.map(|count| count.to_le_bytes());
    let bytes = json.iter().chain(salt.iter().flatten());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    let digits = hash.to_string();
    digits
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}

/// Whether a set runs the deployment's template. The hash label does not count: it is what the controller added.
pub(crate) fn runs(set: &ReplicaSet, deployment: &Deployment) -> bool {
    let Some(template) = &set.spec.template else {
        return false;
    };
    without_hash(template) == without_hash(&deployment.spec.template)
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(meta) = &mut template.metadata {
        meta.creation_timestamp = None;
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH_LABEL);
        }
        meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
        meta.annotations = meta.annotations.take().filter(|annotations| !annotations.is_empty());
    }
    template
}
