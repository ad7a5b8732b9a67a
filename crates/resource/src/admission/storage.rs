//! StorageObjectInUseProtection and PersistentVolumeClaimResize.

use super::{Attributes, Lookup, Operation};
use crate::json::{items, object, set};
use crate::kind::volume_class;
use crate::status::Status;
use knarr_apimachinery::Quantity;
use serde_json::{Value, json};

const GROUP: &str = "storage.k8s.io";

/// Claims and volumes that are in use do not go.
pub(super) fn mutate(request: &Attributes<'_>, object: &mut Value) {
    let finalizer = match () {
        () if request.creates("persistentvolumes") => "kubernetes.io/pv-protection",
        () if request.creates("persistentvolumeclaims") => "kubernetes.io/pvc-protection",
        () => return,
    };
    protect(object, finalizer);
}

fn protect(protected: &mut Value, finalizer: &str) {
    let Some(meta) = object(protected, "metadata") else {
        return;
    };
    let mut finalizers = items(&meta["finalizers"]).to_vec();
    if !finalizers.iter().any(|known| known == finalizer) {
        finalizers.push(json!(finalizer));
        set(meta, "finalizers", finalizers);
    }
}

/// Only what a class made, and lets grow, grows.
pub(super) fn validate(
    request: &Attributes<'_>,
    claim: &Value,
    old: Option<&Value>,
    lookup: &dyn Lookup,
) -> Result<(), Status> {
    let Some(old) = old.filter(|_| request.operation == Operation::Update) else {
        return Ok(());
    };
    if !request.is_resource("", "persistentvolumeclaims") || !request.subresource.is_empty() {
        return Ok(());
    }
    let size = |claim: &Value| Quantity::of(&claim["spec"]["resources"]["requests"]["storage"]);
    if size(claim) <= size(old) {
        return Ok(());
    }
    let refuse = |why| Err(Status::forbidden(request.resource, request.name, why));
    if old["status"]["phase"] != "Bound" {
        return refuse("Only bound persistent volume claims can be expanded");
    }
    let class = volume_class(claim);
    let allowed = !class.is_empty()
        && class == volume_class(old)
        && lookup
            .get(GROUP, "storageclasses", "", class)
            .is_some_and(|class| class["allowVolumeExpansion"] == true);
    match allowed {
        true => Ok(()),
        false => refuse(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Objects, attributes};
    use super::*;

    fn class(name: &str, created: &str, more: Value) -> (&'static str, Value) {
        let mut class = json!({"metadata": {"name": name, "creationTimestamp": created,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
        for (key, value) in crate::json::entries(&more) {
            class[key] = value.clone();
        }
        ("storageclasses", class)
    }

    #[test]
    fn a_claim_is_protected() {
        let mut claim = json!({"metadata": {}, "spec": {}});
        mutate(&attributes("persistentvolumeclaims", Operation::Create), &mut claim);
        assert_eq!(claim["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    }

    #[test]
    fn only_classes_that_let_their_volumes_grow_do() {
        let cluster = Objects(vec![
            class("grows", "", json!({"allowVolumeExpansion": true})),
            class("stays", "", json!({})),
        ]);
        let claim = |class: &str, size: &str, phase: &str| json!({"spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}, "status": {"phase": phase}});
        let told = |class: &str, phase: &str, size: &str| {
            let request = attributes("persistentvolumeclaims", Operation::Update);
            let old = claim(class, "1Gi", phase);
            validate(&request, &claim(class, size, phase), Some(&old), &cluster).map_err(|status| status.message)
        };
        assert_eq!(told("grows", "Bound", "2Gi"), Ok(()));
        assert_eq!(told("stays", "Bound", "1Gi"), Ok(()));
        let refusal = "persistentvolumeclaims \"x\" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        assert_eq!(told("stays", "Bound", "2Gi"), Err(refusal.to_owned()));
        assert_eq!(
            told("grows", "Pending", "2Gi"),
            Err(
                "persistentvolumeclaims \"x\" is forbidden: Only bound persistent volume claims can be expanded"
                    .to_owned()
            )
        );
    }
}
