//! Ownership: which controller an object belongs to, and how controllers come to own objects.
//!
//! A controller owns the objects whose `ownerReferences` name it with `controller: true`. It adopts orphans that its
//! selector matches, and releases what it owns once the selector matches no more; the reference's UID, not its name,
//! is what counts, so that a successor of the same name inherits nothing by accident.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use kube::core::{Selector, SelectorExt};
use serde_json::json;

use crate::key::Key;
use crate::store::Store;
use crate::write::{Path, Write};

/// The reference to the managing controller, if there is one.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .as_ref()?
        .iter()
        .find(|owner| owner.controller == Some(true))
}

/// UID of the managing controller.
pub(crate) fn controller_uid(meta: &ObjectMeta) -> Option<&str> {
    controller_of(meta).map(|owner| owner.uid.as_str())
}

/// The key of the managing controller, when that is of the given kind.
pub(crate) fn controller_key(meta: &ObjectMeta, kind: &str) -> Option<Key> {
    let owner = controller_of(meta).filter(|owner| owner.kind == kind)?;
    Some(Key::new(meta.namespace.clone().unwrap_or_default(), &owner.name))
}

/// Index terms of an object that can have a controller: its owner, or the namespace it is an orphan in.
pub(crate) fn terms(meta: &ObjectMeta) -> Vec<String> {
    vec![match controller_uid(meta) {
        Some(uid) => format!("controller/{uid}"),
        None => format!("orphan/{}", meta.namespace.as_deref().unwrap_or_default()),
    }]
}

/// A reference that makes `owner` the managing controller.
pub(crate) fn reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Parses a label selector. `None` when it is invalid, which matches nothing.
pub(crate) fn selector(selector: &LabelSelector) -> Option<Selector> {
    Selector::try_from(selector.clone()).ok()
}

/// Whether the selector matches the object's labels.
pub(crate) fn matches(selector: &Selector, meta: &ObjectMeta) -> bool {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    selector.matches(meta.labels.as_ref().unwrap_or(&NONE))
}

/// What a controller owns after claiming, and the patches that make it so.
pub(crate) struct Claim<K> {
    pub(crate) owned: Vec<Arc<K>>,
    pub(crate) writes: Vec<Write>,
}

/// Sorts out what `owner` owns among the objects of `store` that it owns already or that are orphans.
///
/// An owner that is being deleted neither adopts nor releases. What is adopted gets `finalizer`, if there is one.
pub(crate) fn claim<O, K>(
    owner: &O,
    wanted: &Selector,
    store: &Store<K>,
    finalizer: Option<&str>,
    may_claim: impl Fn(&K) -> bool,
) -> Claim<K>
where
    O: Resource<DynamicType = ()>,
    K: Resource<DynamicType = ()>,
{
    let uid = owner.meta().uid.as_deref().unwrap_or_default();
    let namespace = owner.meta().namespace.as_deref().unwrap_or_default();
    let deleting = owner.meta().deletion_timestamp.is_some();
    let mut claim = Claim {
        owned: Vec::new(),
        writes: Vec::new(),
    };
    for object in store.with_term(&format!("controller/{uid}")) {
        if !may_claim(&object) {
            continue;
        }
        if matches(wanted, object.meta()) {
            claim.owned.push(object);
        } else if !deleting {
            // The UID in a patch is a precondition: never touch a successor of the same name.
            let patch = json!({ "metadata": {
                "uid": object.meta().uid,
                "ownerReferences": [{ "$patch": "delete", "uid": uid }],
            }});
            claim
                .writes
                .push(Write::strategic(Path::of(object.as_ref()), patch).fine_when_gone());
        }
    }
    if deleting {
        return claim;
    }
    for object in store.with_term(&format!("orphan/{namespace}")) {
        if object.meta().deletion_timestamp.is_some() || !matches(wanted, object.meta()) || !may_claim(&object) {
            continue;
        }
        let mut patch = json!({ "metadata": {
            "uid": object.meta().uid,
            "ownerReferences": [reference(owner)],
        }});
        if let Some(finalizer) = finalizer {
            patch["metadata"]["finalizers"] = json!([finalizer]);
        }
        claim
            .writes
            .push(Write::strategic(Path::of(object.as_ref()), patch).fine_when_gone());
        claim.owned.push(object);
    }
    claim
}
