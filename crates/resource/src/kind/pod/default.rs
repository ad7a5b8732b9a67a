//! What a pod is when its author does not say.

use crate::json::{absent, blank, default_to, entries, existing, items, items_mut, object, set, text};
use crate::kind::volume_source;
use serde_json::{Value, json};

/// Defaults of a pod that is not part of a template. A template leaves these open, so that each of its pods gets them
/// when it is made.
pub(super) fn pod(pod: &mut Value) {
    let Some(spec) = object(pod, "spec") else { return };
    pod_spec(spec);
    default_to(spec, "enableServiceLinks", true);
    for list in ["containers", "initContainers"] {
        for container in items_mut(spec, list) {
            request_limits(container);
        }
    }
    if spec["hostNetwork"] == true {
        for list in ["containers", "initContainers"] {
            for container in items_mut(spec, list) {
                for port in items_mut(container, "ports") {
                    if port["hostPort"].as_i64().unwrap_or(0) == 0 {
                        let number = port["containerPort"].clone();
                        set(port, "hostPort", number);
                    }
                }
            }
        }
    }
}

/// Defaults of any pod spec.
pub(crate) fn pod_spec(spec: &mut Value) {
    default_to(spec, "restartPolicy", "Always");
    default_to(spec, "dnsPolicy", "ClusterFirst");
    default_to(spec, "schedulerName", "default-scheduler");
    if absent(spec, "terminationGracePeriodSeconds") {
        set(spec, "terminationGracePeriodSeconds", 30);
    }
    if absent(spec, "securityContext") {
        set(spec, "securityContext", json!({}));
    }
    same_account(spec);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for item in items_mut(spec, list) {
            container(item);
        }
    }
    for item in items_mut(spec, "volumes") {
        volume(item);
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; both always say the same, and the new one wins.
pub(crate) fn same_account(spec: &mut Value) {
    if blank(spec, "serviceAccountName") && !blank(spec, "serviceAccount") {
        let name = spec["serviceAccount"].clone();
        set(spec, "serviceAccountName", name);
    } else if !blank(spec, "serviceAccountName") {
        let name = spec["serviceAccountName"].clone();
        set(spec, "serviceAccount", name);
    }
}

fn container(container: &mut Value) {
    if !container.is_object() {
        return;
    }
    if absent(container, "resources") {
        set(container, "resources", json!({}));
    }
    default_to(container, "terminationMessagePath", "/dev/termination-log");
    default_to(container, "terminationMessagePolicy", "File");
    if blank(container, "imagePullPolicy") {
        let policy = if follows_latest(text(container, "image")) {
            "Always"
        } else {
            "IfNotPresent"
        };
        set(container, "imagePullPolicy", policy);
    }
    for port in items_mut(container, "ports") {
        default_to(port, "protocol", "TCP");
    }
    for variable in items_mut(container, "env") {
        if let Some(source) = existing(variable, "valueFrom") {
            field_sources(source);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = existing(container, name) {
            self::probe(probe);
        }
    }
    if let Some(lifecycle) = existing(container, "lifecycle") {
        for name in ["postStart", "preStop"] {
            if let Some(hook) = existing(lifecycle, name) {
                http_get(hook);
            }
        }
    }
}

/// Whether an image reference names no fixed version: its tag is `latest`, or it has neither tag nor digest.
fn follows_latest(image: &str) -> bool {
    let (name, digest) = match image.split_once('@') {
        Some((name, _)) => (name, true),
        None => (image, false),
    };
    // A colon before the last slash separates the registry's port, not a tag.
    match name.rsplit('/').next().and_then(|last| last.split_once(':')) {
        Some((_, tag)) => tag == "latest",
        None => !digest,
    }
}

fn probe(probe: &mut Value) {
    for (key, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        if probe[key].as_i64().unwrap_or(0) == 0 {
            set(probe, key, value);
        }
    }
    http_get(probe);
    if let Some(grpc) = existing(probe, "grpc")
        && absent(grpc, "service")
    {
        set(grpc, "service", "");
    }
}

fn http_get(action: &mut Value) {
    if let Some(get) = existing(action, "httpGet") {
        default_to(get, "path", "/");
        default_to(get, "scheme", "HTTP");
    }
}

/// `fieldRef` and `resourceFieldRef`, of a variable or of a file.
fn field_sources(source: &mut Value) {
    if let Some(reference) = existing(source, "fieldRef") {
        default_to(reference, "apiVersion", "v1");
    }
    if let Some(reference) = existing(source, "resourceFieldRef") {
        default_to(reference, "divisor", "0");
    }
}

fn volume(volume: &mut Value) {
    let has_source = entries(volume).any(|(key, value)| key != "name" && !value.is_null());
    if !has_source {
        set(volume, "emptyDir", json!({}));
    }
    for kind in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = existing(volume, kind)
            && absent(source, "defaultMode")
        {
            set(source, "defaultMode", 0o644);
        }
    }
    volume_source::default(volume);
    if let Some(template) = existing(volume, "ephemeral").and_then(|source| existing(source, "volumeClaimTemplate"))
        && let Some(spec) = existing(template, "spec")
    {
        default_to(spec, "volumeMode", "Filesystem");
    }
    if let Some(api) = existing(volume, "downwardAPI") {
        items_mut(api, "items").for_each(field_sources);
    }
    if let Some(projected) = existing(volume, "projected") {
        for source in items_mut(projected, "sources") {
            if let Some(api) = existing(source, "downwardAPI") {
                items_mut(api, "items").for_each(field_sources);
            }
            if let Some(token) = existing(source, "serviceAccountToken")
                && absent(token, "expirationSeconds")
            {
                set(token, "expirationSeconds", 3600);
            }
        }
    }
}

/// A limit without a request is also the request.
fn request_limits(container: &mut Value) {
    let Some(resources) = existing(container, "resources") else {
        return;
    };
    let limits: Vec<(String, Value)> = entries(&resources["limits"])
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    if limits.is_empty() {
        return;
    }
    let Some(requests) = object(resources, "requests") else {
        return;
    };
    for (name, amount) in limits {
        if absent(requests, &name) {
            set(requests, &name, amount);
        }
    }
}

/// Whether an init container keeps running beside the main ones: a sidecar.
pub(super) fn is_sidecar(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}

/// The containers that run to completion or alongside: everything but the ephemeral ones.
pub(super) fn regular(spec: &Value) -> impl Iterator<Item = &Value> {
    items(&spec["containers"]).iter().chain(items(&spec["initContainers"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_pod_is_filled_in() {
        let mut value = json!({"spec": {"containers": [{"name": "a", "image": "kuard"}]}});
        pod(&mut value);
        let once = value.clone();
        assert_eq!(
            once,
            json!({"spec": {
                "containers": [{
                    "name": "a",
                    "image": "kuard",
                    "resources": {},
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                    "imagePullPolicy": "Always",
                }],
                "restartPolicy": "Always",
                "dnsPolicy": "ClusterFirst",
                "schedulerName": "default-scheduler",
                "terminationGracePeriodSeconds": 30,
                "securityContext": {},
                "enableServiceLinks": true,
            }})
        );
        pod(&mut value);
        assert_eq!(value, once, "defaulting twice changes nothing");
    }

    #[test]
    fn parts_of_a_container_are_filled_in() {
        let mut value = json!({"spec": {"containers": [{
            "ports": [{"containerPort": 80}],
            "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 5},
            "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
        }], "hostNetwork": true, "serviceAccount": "sa"}});
        pod(&mut value);
        let container = &value["spec"]["containers"][0];
        assert_eq!(
            container["ports"][0],
            json!({"containerPort": 80, "protocol": "TCP", "hostPort": 80})
        );
        assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
        assert_eq!(
            container["livenessProbe"],
            json!({
                "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                "periodSeconds": 5, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3,
            })
        );
        assert_eq!(container["lifecycle"]["preStop"]["httpGet"]["scheme"], "HTTP");
        assert_eq!(
            container["resources"]["requests"],
            json!({"cpu": "500m", "memory": "1Gi"})
        );
        assert_eq!(value["spec"]["serviceAccountName"], "sa");
    }

    #[test]
    fn volumes_are_filled_in_by_kind() {
        let mut spec = json!({"volumes": [
            {"name": "a"},
            {"name": "b", "configMap": {"name": "c"}},
            {"name": "c", "hostPath": {"path": "/"}},
            {"name": "d", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
        ]});
        pod_spec(&mut spec);
        assert_eq!(
            spec["volumes"],
            json!([
                {"name": "a", "emptyDir": {}},
                {"name": "b", "configMap": {"name": "c", "defaultMode": 420}},
                {"name": "c", "hostPath": {"path": "/", "type": ""}},
                {"name": "d", "projected": {
                    "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}],
                    "defaultMode": 420,
                }},
            ])
        );
    }

    #[test]
    fn only_images_without_a_fixed_version_are_always_pulled() {
        for (image, always) in [
            ("nginx", true),
            ("nginx:latest", true),
            ("nginx:1.25", false),
            ("localhost:5000/nginx", true),
            ("localhost:5000/nginx:1", false),
            ("nginx@sha256:00", false),
            ("nginx:latest@sha256:00", true),
        ] {
            assert_eq!(follows_latest(image), always, "{image}");
        }
    }

    #[test]
    fn nonsense_is_left_for_validation() {
        for mut value in [
            json!(null),
            json!({"spec": 1}),
            json!({"spec": {"containers": [1, null, "x", {"ports": {}, "env": [3], "livenessProbe": []}], "volumes": [1]}}),
        ] {
            pod(&mut value);
        }
    }
}
