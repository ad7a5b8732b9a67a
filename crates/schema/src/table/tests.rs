use super::*;

fn field_of(name: &str, json: &str) -> &'static Field {
    by_name(name)
        .and_then(|id| id.get().field(json))
        .unwrap_or_else(|| panic!("{name}.{json}"))
}

#[test]
fn every_kind_of_the_stable_groups_is_found() {
    for (group, version, kind) in [
        ("", "v1", "Pod"),
        ("", "v1", "Binding"),
        ("apps", "v1", "Deployment"),
        ("batch", "v1", "CronJob"),
        ("autoscaling", "v1", "Scale"),
        ("autoscaling", "v2", "HorizontalPodAutoscaler"),
        ("policy", "v1", "Eviction"),
        ("policy", "v1", "PodDisruptionBudget"),
        ("rbac.authorization.k8s.io", "v1", "ClusterRole"),
        ("networking.k8s.io", "v1", "Ingress"),
        ("storage.k8s.io", "v1", "StorageClass"),
        ("coordination.k8s.io", "v1", "Lease"),
        ("discovery.k8s.io", "v1", "EndpointSlice"),
        ("events.k8s.io", "v1", "Event"),
        ("authentication.k8s.io", "v1", "TokenReview"),
        ("authorization.k8s.io", "v1", "SelfSubjectAccessReview"),
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration"),
        ("scheduling.k8s.io", "v1", "PriorityClass"),
        ("apps", "v1", "DeleteOptions"),
        ("", "v1", "Status"),
    ] {
        let id = lookup(group, version, kind).unwrap_or_else(|| panic!("{group}/{version} {kind}"));
        assert_eq!(id.get().short_name(), kind);
    }
    assert_eq!(lookup("apps", "v1beta1", "Deployment"), None);
}

#[test]
fn lists_have_the_keys_that_kubernetes_merges_them_by() {
    use Strategy::{Default, MergeBy, MergeScalars};
    let map = |keys: &[&'static str]| {
        ListType::Map(
            keys.iter()
                .map(|key| Key {
                    name: (*key).into(),
                    default: (*key == "protocol").then(|| "TCP".into()),
                })
                .collect(),
        )
    };
    for (name, json, patch, list) in [
        ("api.core.v1.PodSpec", "containers", MergeBy("name"), map(&["name"])),
        (
            "api.core.v1.PodSpec",
            "topologySpreadConstraints",
            MergeBy("topologyKey"),
            map(&["topologyKey", "whenUnsatisfiable"]),
        ),
        ("api.core.v1.PodSpec", "tolerations", Default, ListType::Atomic),
        (
            "api.core.v1.Container",
            "ports",
            MergeBy("containerPort"),
            map(&["containerPort", "protocol"]),
        ),
        (
            "api.core.v1.EphemeralContainer",
            "ports",
            MergeBy("containerPort"),
            map(&["containerPort", "protocol"]),
        ),
        (
            "api.core.v1.ServiceSpec",
            "ports",
            MergeBy("port"),
            map(&["port", "protocol"]),
        ),
        ("api.core.v1.Container", "args", Default, ListType::Atomic),
        (
            "apimachinery.pkg.apis.meta.v1.ObjectMeta",
            "finalizers",
            MergeScalars,
            ListType::Set,
        ),
        (
            "apimachinery.pkg.apis.meta.v1.ObjectMeta",
            "ownerReferences",
            MergeBy("uid"),
            map(&["uid"]),
        ),
    ] {
        let field = field_of(name, json);
        assert_eq!((field.patch, &field.list), (patch, &list), "{name}.{json}");
    }
    assert!(field_of("api.core.v1.PodSpec", "volumes").retain_keys);
    assert!(field_of("api.apps.v1.DeploymentSpec", "strategy").retain_keys);
    assert!(field_of("api.core.v1.PodSpec", "nodeSelector").atomic);
    assert!(by_name("apimachinery.pkg.apis.meta.v1.LabelSelector").is_some_and(|id| id.get().atomic));
}

#[test]
fn every_field_of_a_served_kind_but_the_newest_has_a_protobuf_number() {
    fn count(wire: &Wire) -> usize {
        wire.0
            .values()
            .map(|slot| {
                if let Slot::Embedded(inner) = slot {
                    count(inner)
                } else {
                    1
                }
            })
            .sum()
    }
    let (mut fields, mut numbered) = (0, 0);
    for type_ in all() {
        // apiVersion and kind travel in the envelope.
        fields += type_
            .fields
            .iter()
            .filter(|f| type_.kind.is_none() || !["apiVersion", "kind"].contains(&&*f.json))
            .count();
        numbered += count(&type_.wire);
    }
    assert!(fields > 2000 && numbered * 100 >= fields * 92, "{numbered} of {fields}");
}
