//! The claims of a set: made before their pod, kept when it goes, unless the retention policy gives them an owner that takes
//! them along.
//!
//! KEP-1847.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

use super::{Run, identity};
use crate::event::Note;
use crate::key::Key;
use crate::owner;
use crate::write::Write;

/// The name of the claim that a template makes for an ordinal.
pub(super) fn name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", template.name_any(), set.name_any())
}

/// What of a set's claims goes when.
struct Retention {
    goes_when_deleted: bool,
    goes_when_scaled: bool,
}

impl Run<'_> {
    fn retention(&self) -> Retention {
        let policy = self.set.spec.persistent_volume_claim_retention_policy.as_ref();
        let goes = |when: Option<&String>| when.is_some_and(|when| when == "Delete");
        Retention {
            goes_when_deleted: goes(policy.and_then(|policy| policy.when_deleted.as_ref())),
            goes_when_scaled: goes(policy.and_then(|policy| policy.when_scaled.as_ref())),
        }
    }

    fn templates(&self) -> impl Iterator<Item = &PersistentVolumeClaim> {
        self.set.spec.volume_claim_templates.iter().flatten()
    }

    fn claim(&self, template: &PersistentVolumeClaim, ordinal: i32) -> Option<std::sync::Arc<PersistentVolumeClaim>> {
        let namespace = self.set.namespace().unwrap_or_default();
        self.caches
            .claims
            .get(&Key::new(namespace, name(self.set, template, ordinal)))
    }

    /// Creates the claims of an ordinal that are not there.
    pub(super) fn missing_claims(&self, ordinal: i32) -> Vec<Write> {
        let missing = self
            .templates()
            .filter(|template| self.claim(template, ordinal).is_none());
        missing.map(|template| self.create_claim(template, ordinal)).collect()
    }

    fn create_claim(&self, template: &PersistentVolumeClaim, ordinal: i32) -> Write {
        let name = name(self.set, template, ordinal);
        let mut labels = template.metadata.labels.clone().unwrap_or_default();
        labels.extend(self.set.spec.selector.match_labels.clone().unwrap_or_default());
        let retention = self.retention();
        let owned = retention.goes_when_deleted && self.ordinals().contains(&ordinal);
        let claim = PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: self.set.namespace(),
                labels: Some(labels),
                annotations: template.metadata.annotations.clone(),
                finalizers: template.metadata.finalizers.clone(),
                owner_references: owned.then(|| vec![owner::reference(self.set)]),
                ..ObjectMeta::default()
            },
            spec: template.spec.clone(),
            status: None,
        };
        let (pod, set) = (identity::pod_name(self.set, ordinal), self.set.name_any());
        Write::create(&claim)
            .on_success(Note::normal(
                self.set,
                "SuccessfulCreate",
                format!("Create Claim {name} Pod {pod} in StatefulSet {set} success"),
            ))
            .on_failure(Note::warning(
                self.set,
                "FailedCreate",
                format!("Create Claim {name} for Pod {pod} in StatefulSet {set} failed error: {{error}}"),
            ))
            .fine_when_there()
            .fine_when_terminating()
    }

    /// Whether a claim of the ordinal still belongs to a pod of it that is gone: it is about to go, too, and must not be used.
    pub(super) fn has_stale_claim(&self, ordinal: i32) -> bool {
        let pod = identity::pod_name(self.set, ordinal);
        self.retention().goes_when_scaled
            && self
                .templates()
                .filter_map(|template| self.claim(template, ordinal))
                .any(|claim| {
                    let mut owners = claim.metadata.owner_references.iter().flatten();
                    owners.any(|owner| owner.kind == "Pod" && owner.name == pod)
                })
    }

    /// Gives the claims of an ordinal the owners that the policy wants: the set, if they go with it; the pod, once it is
    /// condemned and they go with that.
    pub(super) fn claim_owners(&self, ordinal: i32, pod: &Pod) -> Vec<Write> {
        let retention = self.retention();
        let condemned = !self.ordinals().contains(&ordinal);
        let with_pod = retention.goes_when_scaled && condemned;
        let with_set = retention.goes_when_deleted && !with_pod;
        let claims = self.templates().filter_map(|template| self.claim(template, ordinal));
        claims
            .filter_map(|claim| {
                let old = claim.metadata.owner_references.clone().unwrap_or_default();
                let ours = |owner: &OwnerReference| {
                    Some(&owner.uid) == self.set.metadata.uid.as_ref() || Some(&owner.uid) == pod.metadata.uid.as_ref()
                };
                let foreign = old.iter().any(|owner| !ours(owner) && owner.controller == Some(true));
                let mut wanted: Vec<OwnerReference> = old.iter().filter(|owner| !ours(owner)).cloned().collect();
                if with_set && !foreign {
                    wanted.push(owner::reference(self.set));
                }
                if with_pod && !foreign {
                    wanted.push(pod_reference(pod));
                }
                (wanted != old).then(|| {
                    let mut claim = claim.as_ref().clone();
                    claim.metadata.owner_references = Some(wanted);
                    Write::replace(&claim).fine_when_gone()
                })
            })
            .collect()
    }

    /// The same for pods that are too many.
    pub(super) fn surplus_claims(&self) -> Vec<Write> {
        let condemned = self.condemned();
        condemned
            .into_iter()
            .flat_map(|(ordinal, pod)| self.claim_owners(ordinal, pod))
            .collect()
    }
}

fn pod_reference(pod: &Pod) -> OwnerReference {
    OwnerReference {
        controller: Some(true),
        block_owner_deletion: Some(true),
        ..pod.owner_ref(&()).unwrap_or_default()
    }
}
