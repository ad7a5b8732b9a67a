//! DefaultStorageClass and DefaultIngressClass: what names no class gets the one that is marked as the default.

use super::{Attributes, Lookup, Operation};
use crate::json::{absent, existing, set, text};
use crate::kind::{INGRESS_CLASS, is_default_class};
use serde_json::Value;

/// A resource whose objects have classes.
struct Classed {
    resource: (&'static str, &'static str),
    classes: (&'static str, &'static str),
    field: &'static str,
    /// How the class was named before it was a field.
    annotation: &'static str,
}

const CLASSED: [Classed; 2] = [
    Classed {
        resource: ("", "persistentvolumeclaims"),
        classes: ("storage.k8s.io", "storageclasses"),
        field: "storageClassName",
        annotation: "volume.beta.kubernetes.io/storage-class",
    },
    Classed {
        resource: ("networking.k8s.io", "ingresses"),
        classes: ("networking.k8s.io", "ingressclasses"),
        field: "ingressClassName",
        annotation: INGRESS_CLASS,
    },
];

pub(super) fn mutate(request: &Attributes<'_>, object: &mut Value, lookup: &dyn Lookup) {
    let creates = request.operation == Operation::Create && request.subresource.is_empty();
    let classed = CLASSED
        .iter()
        .find(|classed| request.is_resource(classed.resource.0, classed.resource.1));
    let Some(classed) = classed.filter(|_| creates) else {
        return;
    };
    let open = absent(&object["spec"], classed.field) && absent(&object["metadata"]["annotations"], classed.annotation);
    if open
        && let Some(class) = default_class(lookup, classed.classes)
        && let Some(spec) = existing(object, "spec")
    {
        set(spec, classed.field, class);
    }
}

/// Of several defaults the newest, and of those the first by name.
fn default_class(lookup: &dyn Lookup, (group, plural): (&str, &str)) -> Option<String> {
    let classes = lookup.list(group, plural, "");
    let mut defaults: Vec<&Value> = classes
        .iter()
        .map(AsRef::as_ref)
        .filter(|class| is_default_class(class))
        .collect();
    let created = |class: &Value| text(&class["metadata"], "creationTimestamp").to_owned();
    let name = |class: &Value| text(&class["metadata"], "name").to_owned();
    defaults.sort_by(|a, b| created(b).cmp(&created(a)).then_with(|| name(a).cmp(&name(b))));
    defaults.first().map(|class| name(class))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Objects, attributes};
    use super::*;
    use serde_json::json;

    #[test]
    fn what_names_no_class_gets_the_newest_default_one() {
        let class = |plural, key: &str, name: &str, created: &str| {
            let annotations = json!({format!("{key}/is-default-class"): "true"});
            (
                plural,
                json!({"metadata": {"name": name, "creationTimestamp": created, "annotations": annotations}}),
            )
        };
        let cluster = Objects(vec![
            class(
                "storageclasses",
                "storageclass.kubernetes.io",
                "old",
                "2024-01-01T00:00:00Z",
            ),
            class(
                "storageclasses",
                "storageclass.kubernetes.io",
                "new",
                "2024-02-01T00:00:00Z",
            ),
            class(
                "ingressclasses",
                "ingressclass.kubernetes.io",
                "web",
                "2024-02-01T00:00:00Z",
            ),
        ]);
        let admitted = |plural, object: Value| {
            let mut object = object;
            mutate(&attributes(plural, Operation::Create), &mut object, &cluster);
            object["spec"].clone()
        };
        let (claims, ingresses) = ("persistentvolumeclaims", "ingresses");
        assert_eq!(admitted(claims, json!({"spec": {}}))["storageClassName"], "new");
        assert_eq!(
            admitted(claims, json!({"spec": {"storageClassName": ""}}))["storageClassName"],
            ""
        );
        assert_eq!(admitted(ingresses, json!({"spec": {}}))["ingressClassName"], "web");
        let annotated = json!({"metadata": {"annotations": {INGRESS_CLASS: "nginx"}}, "spec": {}});
        assert_eq!(admitted(ingresses, annotated), json!({}));
    }
}
