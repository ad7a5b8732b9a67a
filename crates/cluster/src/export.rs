//! `knarr cluster export`: the objects of a cluster as manifests that another one takes.
//!
//! What a cluster adds by itself is left out: whole objects (those that belong to the system, or that a controller would
//! make again) and fields (status, identity, bookkeeping, whatever was assigned).

use std::path::Path;

use kube::api::{Api, DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Client, Config};
use serde_json::{Map, Value};

use crate::error::{Doing, Error};

/// Objects fetched at once.
const PAGE: u32 = 500;
/// Kinds that are made from others, or that tell how things are.
const DERIVED: [&str; 12] = [
    "APIService",
    "ComponentStatus",
    "ControllerRevision",
    "CSINode",
    "CSIStorageCapacity",
    "Endpoints",
    "EndpointSlice",
    "Event",
    "Lease",
    "Node",
    "NodeMetrics",
    "PodMetrics",
];
/// What others need comes before them.
const ORDER: [&str; 21] = [
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "StorageClass",
    "IngressClass",
    "RuntimeClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ResourceQuota",
    "LimitRange",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "DaemonSet",
    "Deployment",
    "StatefulSet",
];
/// Webhooks and policies come last: they would have a say in all that follows.
const LAST: [&str; 4] = [
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// The manifests of a running cluster, or of one of its namespaces, as YAML documents.
pub(crate) async fn export(kubeconfig: &Path, namespace: Option<&str>) -> Result<String, Error> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).doing(|| "cannot read the kubeconfig".into())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let client = Client::try_from(config.doing(|| "cannot read the kubeconfig".into())?);
    let client = client.doing(|| "cannot reach the cluster".into())?;
    let discovery = Discovery::new(client.clone()).run().await;
    let discovery = discovery.doing(|| "cannot ask the cluster what it serves".into())?;
    let mut objects = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let namespaced = capabilities.scope == Scope::Namespaced;
            let wanted = namespaced || namespace.is_none();
            let writable =
                capabilities.supports_operation(verbs::LIST) && capabilities.supports_operation(verbs::CREATE);
            if wanted && writable && !DERIVED.contains(&resource.kind.as_str()) {
                objects.extend(fetch(&client, &resource, namespace).await?);
            }
        }
    }
    if let Some(name) = namespace {
        // Without it the others have no place to go to.
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client);
        let found = namespaces
            .get(name)
            .await
            .doing(|| format!("cannot read the namespace {name}"))?;
        let mut value = serde_json::to_value(found).doing(|| format!("cannot read the namespace {name}"))?;
        value["apiVersion"] = "v1".into();
        value["kind"] = "Namespace".into();
        objects.extend(clean(value));
    }
    objects.sort_by_key(place);
    let mut text = String::new();
    for object in &objects {
        text.push_str("---\n");
        text.push_str(&serde_yaml::to_string(object).doing(|| "cannot write YAML".into())?);
    }
    Ok(text)
}

async fn fetch(client: &Client, resource: &ApiResource, namespace: Option<&str>) -> Result<Vec<Value>, Error> {
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    };
    let (mut found, mut options) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let list = api
            .list(&options)
            .await
            .doing(|| format!("cannot list {}", resource.plural))?;
        for object in list.items {
            let mut value = serde_json::to_value(object).doing(|| format!("cannot read {}", resource.plural))?;
            // Items of a list carry neither.
            value["apiVersion"] = resource.api_version.clone().into();
            value["kind"] = resource.kind.clone().into();
            found.extend(clean(value));
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => options.continue_token = Some(token),
            None => return Ok(found),
        }
    }
}

/// The order in which objects can be applied.
fn place(object: &Value) -> (usize, String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&object["kind"]);
    let at = |list: &[&str]| list.iter().position(|known| *known == kind);
    let rank = match (at(&ORDER), at(&LAST)) {
        (Some(place), _) => place,
        (None, Some(place)) => ORDER.len() + 1 + place,
        (None, None) => ORDER.len(),
    };
    let metadata = &object["metadata"];
    (rank, kind, text(&metadata["namespace"]), text(&metadata["name"]))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Whether a cluster has the object without anybody asking for it.
fn is_its_own(object: &Value) -> bool {
    let metadata = &object["metadata"];
    let (kind, name, namespace) = (
        text(object, "kind"),
        text(metadata, "name"),
        text(metadata, "namespace"),
    );
    let owners = metadata["ownerReferences"].as_array();
    let is_owned = owners.is_some_and(|owners| owners.iter().any(|owner| owner["controller"] == true));
    let is_system = |name: &str| name.starts_with("kube-");
    let is_default = match kind {
        "Namespace" => name == "default" || is_system(name),
        "Service" => namespace == "default" && name == "kubernetes",
        "ConfigMap" => name == "kube-root-ca.crt",
        "ServiceAccount" => name == "default",
        "Secret" => matches!(
            text(object, "type"),
            "kubernetes.io/service-account-token" | "bootstrap.kubernetes.io/token"
        ),
        "PriorityClass" | "FlowSchema" | "PriorityLevelConfiguration" => {
            name.starts_with("system-")
                || is_system(name)
                || ["exempt", "catch-all", "global-default", "probes"].contains(&name)
        }
        "PersistentVolume" => metadata["annotations"]["pv.kubernetes.io/provisioned-by"].is_string(),
        _ => false,
    };
    is_owned
        || is_default
        || is_system(namespace)
        || name.starts_with("system:")
        || metadata["deletionTimestamp"].is_string()
        || metadata["labels"]["kubernetes.io/bootstrapping"].is_string()
        || metadata["annotations"]["kubernetes.io/config.mirror"].is_string()
}

fn drop_keys(value: &mut Value, keys: &[&str]) {
    if let Some(map) = value.as_object_mut() {
        map.retain(|key, _| !keys.contains(&key.as_str()));
    }
}

/// Drops keys of what a JSON pointer names, if it is there.
fn drop_at(object: &mut Value, pointer: &str, keys: &[&str]) {
    if let Some(value) = object.pointer_mut(pointer) {
        drop_keys(value, keys);
    }
}

/// Removes a map or a list that is empty.
fn drop_empty(value: &mut Value, key: &str) {
    let is_empty = match value.get(key).unwrap_or(&Value::Null) {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    if is_empty {
        drop_keys(value, &[key]);
    }
}

/// The object as somebody would write it; `None` if nobody would.
fn clean(mut object: Value) -> Option<Value> {
    if is_its_own(&object) {
        return None;
    }
    let kind = text(&object, "kind").to_owned();
    drop_keys(&mut object, &["status"]);
    clean_metadata(&mut object["metadata"]);
    match kind.as_str() {
        "Namespace" => {
            drop_at(&mut object, "/metadata/labels", &["kubernetes.io/metadata.name"]);
            drop_empty(&mut object["metadata"], "labels");
            drop_keys(&mut object, &["spec"]);
        }
        "Service" => object.get_mut("spec").map_or((), clean_service),
        "ServiceAccount" => drop_keys(&mut object, &["secrets"]),
        "Pod" => object.get_mut("spec").map_or((), clean_pod),
        "PersistentVolumeClaim" => drop_at(&mut object, "/spec", &["volumeName"]),
        "PersistentVolume" => drop_at(&mut object, "/spec/claimRef", &["uid", "resourceVersion"]),
        "Job" if object["spec"]["manualSelector"] != true => {
            drop_at(&mut object, "/spec", &["selector"]);
            let own = [
                "controller-uid",
                "job-name",
                "batch.kubernetes.io/controller-uid",
                "batch.kubernetes.io/job-name",
            ];
            drop_at(&mut object, "/metadata/labels", &own);
            drop_at(&mut object, "/spec/template/metadata/labels", &own);
        }
        _ => {}
    }
    drop_at(&mut object, "/spec/template/metadata", &["creationTimestamp"]);
    // As people write it: what it is first, then whose.
    let mut ordered = Map::new();
    let mut rest = object.as_object().cloned().unwrap_or_default();
    for key in ["apiVersion", "kind", "metadata"] {
        ordered.extend(rest.shift_remove(key).map(|value| (key.to_owned(), value)));
    }
    ordered.extend(rest.into_iter().filter(|(_, value)| !value.is_null()));
    Some(Value::Object(ordered))
}

fn clean_metadata(metadata: &mut Value) {
    drop_keys(
        metadata,
        &[
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "managedFields",
            "ownerReferences",
            "selfLink",
            "finalizers",
            "generateName",
        ],
    );
    drop_at(
        metadata,
        "/annotations",
        &[
            "kubectl.kubernetes.io/last-applied-configuration",
            "deployment.kubernetes.io/revision",
            "deprecated.daemonset.template.generation",
            "pv.kubernetes.io/bind-completed",
            "pv.kubernetes.io/bound-by-controller",
            "volume.kubernetes.io/selected-node",
            "volume.kubernetes.io/storage-provisioner",
            "volume.beta.kubernetes.io/storage-provisioner",
        ],
    );
    drop_empty(metadata, "annotations");
    drop_empty(metadata, "labels");
}

fn clean_service(spec: &mut Value) {
    if spec["clusterIP"] != "None" {
        drop_keys(spec, &["clusterIP", "clusterIPs"]);
    }
    drop_keys(spec, &["healthCheckNodePort"]);
    // Of a NodePort Service the port is what people use; of a load balancer it is a by-product.
    if spec["type"] == "LoadBalancer" {
        for port in spec
            .get_mut("ports")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            drop_keys(port, &["nodePort"]);
        }
    }
}

/// What admission and the scheduler put into a pod.
fn clean_pod(spec: &mut Value) {
    drop_keys(spec, &["nodeName", "priority", "preemptionPolicy", "serviceAccount"]);
    let is_token = |volume: &Value| text(volume, "name").starts_with("kube-api-access-");
    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        volumes.retain(|volume| !is_token(volume));
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(mounts) = container.get_mut("volumeMounts").and_then(Value::as_array_mut) {
                mounts.retain(|mount| !is_token(mount));
            }
            drop_empty(container, "volumeMounts");
        }
    }
    if let Some(tolerations) = spec.get_mut("tolerations").and_then(Value::as_array_mut) {
        let added = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
        tolerations
            .retain(|toleration| toleration["tolerationSeconds"] != 300 || !added.contains(&text(toleration, "key")));
    }
    drop_empty(spec, "volumes");
    drop_empty(spec, "tolerations");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, metadata: Value) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "status": {"a": 1}})
    }

    #[test]
    fn what_a_cluster_has_by_itself_is_left_out() {
        let owned = json!([{"kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true}]);
        for (kind, metadata) in [
            ("Namespace", json!({"name": "kube-system"})),
            ("Namespace", json!({"name": "default"})),
            ("ConfigMap", json!({"name": "kube-root-ca.crt", "namespace": "shop"})),
            ("ConfigMap", json!({"name": "x", "namespace": "kube-public"})),
            ("ServiceAccount", json!({"name": "default", "namespace": "shop"})),
            ("Service", json!({"name": "kubernetes", "namespace": "default"})),
            (
                "ClusterRole",
                json!({"name": "view", "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}),
            ),
            ("ClusterRole", json!({"name": "system:node"})),
            ("PriorityClass", json!({"name": "system-node-critical"})),
            (
                "Pod",
                json!({"name": "p", "namespace": "shop", "ownerReferences": owned}),
            ),
            (
                "ConfigMap",
                json!({"name": "x", "namespace": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z"}),
            ),
        ] {
            assert_eq!(clean(object(kind, metadata.clone())), None, "{kind} {metadata}");
        }
    }

    #[test]
    fn what_is_left_is_what_somebody_would_write() {
        let metadata = json!({
            "name": "a", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 2,
            "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{}], "labels": {"app": "a"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
        });
        let map = clean(object("ConfigMap", metadata.clone())).unwrap();
        let expected = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "shop", "labels": {"app": "a"}}});
        assert_eq!(map, expected);

        let mut service = object("Service", json!({"name": "a", "namespace": "shop"}));
        service["spec"] = json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ports": [{"port": 80}]});
        assert_eq!(
            clean(service.clone()).unwrap()["spec"],
            json!({"ports": [{"port": 80}]})
        );
        service["spec"] = json!({"clusterIP": "None", "clusterIPs": ["None"]});
        assert_eq!(clean(service).unwrap()["spec"]["clusterIP"], "None");

        let mut pod = object("Pod", json!({"name": "p", "namespace": "shop"}));
        pod["spec"] = json!({
            "nodeName": "n", "priority": 0, "serviceAccountName": "default", "serviceAccount": "default",
            "volumes": [{"name": "kube-api-access-x"}],
            "containers": [{"name": "c", "volumeMounts": [{"name": "kube-api-access-x"}]}],
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "tolerationSeconds": 300},
                {"key": "mine", "operator": "Exists"},
            ],
        });
        let expected = json!({
            "serviceAccountName": "default", "containers": [{"name": "c"}],
            "tolerations": [{"key": "mine", "operator": "Exists"}],
        });
        assert_eq!(clean(pod).unwrap()["spec"], expected);

        let namespace = json!({"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}});
        assert_eq!(
            clean(object("Namespace", namespace)).unwrap()["metadata"],
            json!({"name": "shop"})
        );
    }

    #[test]
    fn manifests_come_in_an_order_in_which_they_can_be_applied() {
        let kinds = [
            "ValidatingWebhookConfiguration",
            "Pod",
            "Widget",
            "Service",
            "Namespace",
            "ConfigMap",
        ];
        let mut objects: Vec<Value> = kinds.map(|kind| object(kind, json!({"name": "a"}))).into();
        objects.sort_by_key(place);
        let sorted: Vec<&str> = objects.iter().map(|object| text(object, "kind")).collect();
        let expected = [
            "Namespace",
            "ConfigMap",
            "Service",
            "Pod",
            "Widget",
            "ValidatingWebhookConfiguration",
        ];
        assert_eq!(sorted, expected);
    }
}
