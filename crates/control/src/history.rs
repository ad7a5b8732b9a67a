//! ControllerRevisions: the templates that a DaemonSet or a StatefulSet has had, so that it can return to one.
//!
//! A revision holds a patch that, applied to its owner, brings the template back; `kubectl rollout undo` does just that. It
//! is named after its owner and the template's hash. The newest has the highest number; one that is returned to is
//! numbered anew.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::core::Selector;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::caches::Caches;
use crate::deployment::template;
use crate::owner;
use crate::write::Write;

/// The label of pods and revisions with the revision's hash, or name.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";

/// The revisions that an owner has, oldest first.
pub(crate) struct History(Vec<Arc<ControllerRevision>>);

/// What to do about the revision of the current template.
pub(crate) enum Current {
    /// It is there, and the newest.
    Known(Arc<ControllerRevision>),
    /// It will be there after this.
    Missing(Box<Write>),
}

impl History {
    /// The revisions that the owner has or adopts. The writes must be made first.
    pub(crate) fn of<O: Resource<DynamicType = ()>>(
        owner: &O,
        selector: &Selector,
        caches: &Caches,
    ) -> (Self, Vec<Write>) {
        let claim = owner::claim(owner, selector, &caches.revisions, None, |_| true);
        let mut revisions = claim.owned;
        revisions.sort_by_key(|revision| (revision.revision, revision.name_any()));
        (Self(revisions), claim.writes)
    }

    /// The revision of that name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<ControllerRevision>> {
        self.0.iter().find(|revision| revision.name_any() == name)
    }

    /// The revision of the owner's template. `label` makes the hash label of the revision's hash and name; `collided` is what
    /// to write when its name turns out to be taken by another template.
    pub(crate) fn current<O: Resource<DynamicType = ()>>(
        &self,
        owner: &O,
        template: &PodTemplateSpec,
        collisions: Option<i32>,
        label: fn(hash: &str, name: &str) -> String,
        collided: Option<Write>,
    ) -> Current {
        let data = snapshot(template);
        let newest = self.0.last().map_or(0, |revision| revision.revision.unwrap_or(0));
        let same = |revision: &&Arc<ControllerRevision>| revision.data.0 == data;
        match self.0.iter().rev().find(same) {
            Some(known) if known.revision == Some(newest) => Current::Known(known.clone()),
            Some(known) => {
                let mut renumbered = known.as_ref().clone();
                renumbered.revision = Some(newest + 1);
                Current::Missing(Box::new(Write::replace(&renumbered).fine_when_gone()))
            }
            None => {
                let hash = template::hash(template, collisions);
                let name = format!("{}-{hash}", owner.name_any());
                let labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone());
                let mut revision = ControllerRevision {
                    metadata: ObjectMeta {
                        namespace: owner.namespace(),
                        labels,
                        annotations: owner.meta().annotations.clone(),
                        owner_references: Some(vec![owner::reference(owner)]),
                        ..ObjectMeta::default()
                    },
                    data: RawExtension(data.clone()),
                    revision: Some(newest + 1),
                };
                revision.labels_mut().insert(HASH_LABEL.into(), label(&hash, &name));
                revision.metadata.name = Some(name);
                let uid = owner.meta().uid.clone();
                Current::Missing(Box::new(Write::create(&revision).fine_when_terminating().rescue(
                    move |failure| {
                        let taken = failure.existing.as_ref().filter(|other| {
                            let mut owners = other["metadata"]["ownerReferences"].as_array().into_iter().flatten();
                            let mine = owners.any(|owner| owner["uid"].as_str() == uid.as_deref());
                            !(mine && other["data"] == data)
                        });
                        taken.and(collided).into_iter().collect()
                    },
                )))
            }
        }
    }

    /// The deletions that leave at most `limit` revisions beside those that are `live`.
    pub(crate) fn truncate(&self, live: &HashSet<String>, limit: Option<i32>) -> Vec<Write> {
        let dead: Vec<_> = self
            .0
            .iter()
            .filter(|revision| !live.contains(&revision.name_any()))
            .collect();
        let kept = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
        let surplus = dead.len().saturating_sub(kept);
        dead[..surplus]
            .iter()
            .map(|revision| Write::delete(revision.as_ref()))
            .collect()
    }
}

/// The patch that brings a template back.
pub(crate) fn snapshot(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).expect("templates have string keys and serialise");
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// The template that a revision brings back.
pub(crate) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    serde_json::from_value(revision.data.0["spec"]["template"].clone()).ok()
}

/// The hash label of a pod.
pub(crate) fn hash_of(pod: &Pod) -> Option<&str> {
    pod.labels().get(HASH_LABEL).map(String::as_str)
}
