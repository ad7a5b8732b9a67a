//! The spec of a pod, in a pod or in a template.

use super::container::{self, Role, Surroundings};
use super::{affinity, security, toleration, volume};
use crate::check::label::validate_labels;
use crate::check::name::{label, qualified_name, subdomain};
use crate::field::{Errors, Path};
use crate::json::{absent, items, text};
use serde_json::Value;
use std::collections::HashSet;

/// Where a pod spec stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a pod.
    Pod,
    /// In the template of a workload.
    Template,
}

pub(crate) fn validate(spec: &Value, path: &Path, place: Place, errors: &mut Errors) {
    let mut around = Surroundings {
        volumes: volume::validate(&spec["volumes"], &path.child("volumes"), errors),
        names: HashSet::new(),
        host_ports: HashSet::new(),
        host_network: spec["hostNetwork"] == true,
    };
    if items(&spec["containers"]).is_empty() {
        errors.required(&path.child("containers"), "");
    }
    for (list, role) in [
        ("containers", Role::Main),
        ("initContainers", Role::Init),
        ("ephemeralContainers", Role::Ephemeral),
    ] {
        for (i, item) in items(&spec[list]).iter().enumerate() {
            if role == Role::Init {
                // Init containers run one after the other: they may share ports.
                around.host_ports.clear();
            }
            container::validate(item, &path.child(list).index(i), role, &mut around, errors);
        }
    }
    if place == Place::Template && !items(&spec["ephemeralContainers"]).is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.forbidden(&path.child("ephemeralContainers"), detail);
    }
    validate_policies(spec, path, errors);
    validate_labels(&spec["nodeSelector"], &path.child("nodeSelector"), errors);
    security::validate_pod(spec, path, errors);
    for (key, rule) in [
        ("serviceAccountName", subdomain as fn(&str) -> Vec<String>),
        ("nodeName", subdomain),
        ("hostname", label),
        ("subdomain", label),
        ("priorityClassName", subdomain),
    ] {
        let value = text(spec, key);
        if !value.is_empty() {
            for problem in rule(value) {
                errors.invalid(&path.child(key), value, problem);
            }
        }
    }
    validate_numbers(spec, path, errors);
    toleration::validate(&spec["tolerations"], &path.child("tolerations"), errors);
    affinity::validate(&spec["affinity"], &path.child("affinity"), errors);
    validate_gates(spec, path, errors);
    affinity::validate_spread(
        &spec["topologySpreadConstraints"],
        &path.child("topologySpreadConstraints"),
        errors,
    );
}

fn validate_policies(spec: &Value, path: &Path, errors: &mut Errors) {
    let restart = ["Always", "OnFailure", "Never"];
    errors.one_of(&path.child("restartPolicy"), &spec["restartPolicy"], &restart);
    let dns = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    errors.one_of(&path.child("dnsPolicy"), &spec["dnsPolicy"], &dns);
    if spec["dnsPolicy"] == "None" {
        let at = path.child("dnsConfig");
        if absent(spec, "dnsConfig") {
            errors.required(&at, "must provide `dnsConfig` when `dnsPolicy` is None");
        } else if items(&spec["dnsConfig"]["nameservers"]).is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.required(&at.child("nameservers"), detail);
        }
    }
    let preemption = text(spec, "preemptionPolicy");
    if !preemption.is_empty() && !["Never", "PreemptLowerPriority"].contains(&preemption) {
        let policies = ["PreemptLowerPriority", "Never"];
        errors.not_supported(&path.child("preemptionPolicy"), preemption, &policies);
    }
}

fn validate_numbers(spec: &Value, path: &Path, errors: &mut Errors) {
    if !absent(spec, "activeDeadlineSeconds") {
        let seconds = &spec["activeDeadlineSeconds"];
        if !seconds.as_i64().is_some_and(|n| (1..=i64::from(i32::MAX)).contains(&n)) {
            let detail = "must be between 1 and 2147483647, inclusive";
            errors.invalid(&path.child("activeDeadlineSeconds"), seconds.clone(), detail);
        }
    }
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|n| n < 0) {
        let at = path.child("terminationGracePeriodSeconds");
        let seconds = spec["terminationGracePeriodSeconds"].clone();
        errors.invalid(&at, seconds, "must be greater than or equal to 0");
    }
}

fn validate_gates(spec: &Value, path: &Path, errors: &mut Errors) {
    for (list, key) in [("schedulingGates", "name"), ("readinessGates", "conditionType")] {
        let mut seen = HashSet::new();
        for (i, gate) in items(&spec[list]).iter().enumerate() {
            let at = path.child(list).index(i);
            let name = text(gate, key);
            for problem in qualified_name(name) {
                errors.invalid(&at.child(key), name, problem);
            }
            if list == "schedulingGates" && !seen.insert(name) {
                errors.duplicate(&at, name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::default;
    use super::*;
    use serde_json::json;

    /// The mistakes in a spec that differs from a good one by `change`.
    fn mistakes(change: impl Fn(&mut Value)) -> Vec<String> {
        let mut pod = json!({"spec": {
            "containers": [{"name": "a", "image": "i"}],
            "volumes": [{"name": "v"}],
        }});
        change(&mut pod["spec"]);
        default::pod(&mut pod);
        let mut errors = Errors::new();
        validate(&pod["spec"], &Path::new("spec"), Place::Pod, &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    fn container(change: Value) -> Vec<String> {
        mistakes(|spec| {
            let target = spec["containers"][0].as_object_mut().expect("a container");
            target.extend(change.as_object().expect("fields").clone());
        })
    }

    #[test]
    fn a_good_pod_has_no_mistakes() {
        assert_eq!(mistakes(|_| ()), Vec::<String>::new());
        assert_eq!(
            container(json!({
                "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 53, "protocol": "UDP"}],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['x']"}}}],
                "envFrom": [{"configMapRef": {"name": "c"}}],
                "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a/b"}],
                "livenessProbe": {"httpGet": {"port": "http"}},
                "readinessProbe": {"tcpSocket": {"port": 80}, "successThreshold": 2},
                "lifecycle": {"preStop": {"sleep": {"seconds": 1}}, "postStart": {"exec": {"command": ["x"]}}},
                "resources": {"limits": {"cpu": "1", "example.com/gpu": 1}, "requests": {"cpu": "100m"}},
            })),
            Vec::<String>::new()
        );
    }

    #[test]
    fn mistakes_in_the_spec_are_named() {
        type Case = (fn(&mut Value), &'static [&'static str]);
        let cases: &[Case] = &[
            (|s| s["containers"] = json!([]), &["spec.containers: Required value"]),
            (
                |s| s["containers"] = json!([{"name": "a"}]),
                &["spec.containers[0].image: Required value"],
            ),
            (
                |s| s["containers"] = json!([{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]),
                &["spec.containers[1].name: Duplicate value: \"a\""],
            ),
            (
                |s| s["initContainers"] = json!([{"image": "i"}]),
                &["spec.initContainers[0].name: Required value"],
            ),
            (
                |s| {
                    s["initContainers"] =
                        json!([{"name": "x", "image": "i", "readinessProbe": {"exec": {"command": ["a"]}}}])
                },
                &[
                    "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
                ],
            ),
            (
                |s| s["restartPolicy"] = json!("X"),
                &[
                    "spec.restartPolicy: Unsupported value: \"X\": supported values: \"Always\", \"OnFailure\", \"Never\"",
                ],
            ),
            (
                |s| s["dnsPolicy"] = json!("X"),
                &[
                    "spec.dnsPolicy: Unsupported value: \"X\": supported values: \"ClusterFirst\", \"ClusterFirstWithHostNet\", \"Default\", \"None\"",
                ],
            ),
            (
                |s| s["dnsPolicy"] = json!("None"),
                &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
            ),
            (
                |s| s["volumes"] = json!([{"name": "v"}, {"name": "v"}, {"emptyDir": {}}]),
                &[
                    "spec.volumes[1].name: Duplicate value: \"v\"",
                    "spec.volumes[2].name: Required value",
                ],
            ),
            (
                |s| {
                    s["volumes"] =
                        json!([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/a"}}, {"name": "w", "secret": {}}])
                },
                &[
                    "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
                    "spec.volumes[1].secret.secretName: Required value",
                ],
            ),
            (
                |s| s["volumes"] = json!([{"name": "v", "hostPath": {"path": "/a/../b", "type": "X"}}, {"name": "w", "configMap": {"name": "c", "defaultMode": 512, "items": [{"path": "/x"}]}}]),
                &[
                    "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
                    "spec.volumes[0].hostPath.type: Unsupported value: \"X\": supported values: \"\", \"BlockDevice\", \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
                    "spec.volumes[1].configMap.items[0].key: Required value",
                    "spec.volumes[1].configMap.items[0].path: Invalid value: \"/x\": must be a relative path",
                    "spec.volumes[1].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
                ],
            ),
            (
                |s| s["tolerations"] = json!([{"operator": "Exists", "value": "v"}, {"key": "k", "tolerationSeconds": 1}, {"effect": "X", "key": "k"}]),
                &[
                    "spec.tolerations[0].operator: Invalid value: {\"operator\":\"Exists\",\"value\":\"v\"}: value must be empty when `operator` is 'Exists'",
                    "spec.tolerations[1].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
                    "spec.tolerations[2].effect: Unsupported value: \"X\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
                ],
            ),
            (
                |s| s["activeDeadlineSeconds"] = json!(0),
                &["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
            ),
            (
                |s| s["schedulingGates"] = json!([{"name": "g"}, {"name": "g"}]),
                &["spec.schedulingGates[1]: Duplicate value: \"g\""],
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(mistakes(change), *expected);
        }
    }

    #[test]
    fn mistakes_in_a_container_are_named() {
        let at = "spec.containers[0]";
        for (change, expected) in [
            (
                json!({"image": " i"}),
                vec!["image: Invalid value: \" i\": must not have leading or trailing whitespace"],
            ),
            (
                json!({"imagePullPolicy": "X"}),
                vec![
                    "imagePullPolicy: Unsupported value: \"X\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
                ],
            ),
            (
                json!({"ports": [{"containerPort": 70000}, {}, {"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a", "protocol": "X"}]}),
                vec![
                    "ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                    "ports[1].containerPort: Required value",
                    "ports[3].name: Duplicate value: \"a\"",
                    "ports[3].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                ],
            ),
            (
                json!({"ports": [{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 80}]}),
                vec!["ports[1].hostPort: Duplicate value: \"TCP//80\""],
            ),
            (
                json!({"env": [{}, {"name": "a=b"}, {"name": "A", "valueFrom": {}}, {"name": "B", "value": "x", "valueFrom": {"secretKeyRef": {"key": "k"}}}]}),
                vec![
                    "env[0].name: Required value",
                    "env[1].name: Invalid value: \"a=b\": a valid environment variable name must consist only of printable ASCII characters other than '='",
                    "env[2].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
                    "env[3].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
                ],
            ),
            (
                json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]}),
                vec![
                    "env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.x\": error converting fieldPath: field label not supported: spec.x",
                ],
            ),
            (
                json!({"envFrom": [{}, {"secretRef": {}}]}),
                vec![
                    "envFrom[0]: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
                    "envFrom[1].secretRef.name: Required value",
                ],
            ),
            (
                json!({"volumeMounts": [{"name": "x", "mountPath": "/a"}, {"name": "v", "mountPath": "/a", "subPath": "../x"}, {"name": "v"}]}),
                vec![
                    "volumeMounts[0].name: Not found: \"x\"",
                    "volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
                    "volumeMounts[1].subPath: Invalid value: \"../x\": must not contain '..'",
                    "volumeMounts[2].mountPath: Required value",
                ],
            ),
            (
                json!({"livenessProbe": {"periodSeconds": -1, "successThreshold": 2}}),
                vec![
                    "livenessProbe: Required value: must specify a handler type",
                    "livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
                    "livenessProbe.successThreshold: Invalid value: 2: must be 1",
                ],
            ),
            (
                json!({"readinessProbe": {"exec": {}, "httpGet": {"port": 80}}}),
                vec![
                    "readinessProbe.exec.command: Required value",
                    "readinessProbe.httpGet: Forbidden: may not specify more than 1 handler type",
                ],
            ),
            (
                json!({"readinessProbe": {"httpGet": {"port": 0, "scheme": "X"}}}),
                vec![
                    "readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive",
                    "readinessProbe.httpGet.scheme: Unsupported value: \"X\": supported values: \"HTTP\", \"HTTPS\"",
                ],
            ),
            (
                json!({"resources": {"limits": {"cpu": "250m", "gpu": "1", "a/b": "0.5"}, "requests": {"cpu": "500m", "memory": "x"}}}),
                vec![
                    "resources.limits: Invalid value: \"gpu\": must be a standard resource for containers",
                    "resources.limits[a/b]: Invalid value: \"0.5\": must be an integer",
                    "resources.requests[memory]: Invalid value: \"x\": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
                    "resources.requests: Invalid value: \"500m\": must be less than or equal to cpu limit of 250m",
                ],
            ),
        ] {
            let expected: Vec<String> = expected.iter().map(|line| format!("{at}.{line}")).collect();
            // Limits are also requests, so extended resources show up twice; the first mention is enough here.
            let mut found = container(change);
            found.retain(|line| !line.contains("requests: Invalid value: \"gpu\"") && !line.contains("requests[a/b]"));
            assert_eq!(found, expected);
        }
    }
}
