//! What in a pod, or in the template of pods, is accepted but not wise.

use crate::field::{Path, quote};
use crate::json::{absent, entries, items, text};
use knarr_apimachinery::Quantity;
use serde_json::Value;

const LABELS: [(&str, &str); 8] = [
    (
        "beta.kubernetes.io/arch",
        "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
    ),
    (
        "beta.kubernetes.io/os",
        "deprecated since v1.14; use \"kubernetes.io/os\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    (
        "node-role.kubernetes.io/master",
        "use \"node-role.kubernetes.io/control-plane\" instead",
    ),
];

const ANNOTATIONS: [(&str, &str); 6] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "scheduler.alpha.kubernetes.io/tolerations",
        "non-functional in v1.16+; use the \"tolerations\" field instead",
    ),
    (
        "scheduler.alpha.kubernetes.io/affinity",
        "non-functional in v1.16+; use the \"affinity\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "seccomp.security.alpha.kubernetes.io/pod",
        "non-functional in v1.27+; use the \"seccompProfile\" field instead",
    ),
];
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

const VOLUMES: [(&str, &str, &str); 8] = [
    (
        "photonPersistentDisk",
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    (
        "gitRepo",
        "gitRepo",
        "deprecated in v1.11, and disabled by default in v1.33+",
    ),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    (
        "storageos",
        "storageOS",
        "deprecated in v1.22, non-functional in v1.25+",
    ),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

fn label(key: &str) -> Option<&'static str> {
    LABELS.iter().find(|(own, _)| *own == key).map(|(_, why)| *why)
}

/// Warnings for a pod below `path`, which is empty for a pod itself and `spec.template` for a template.
pub(crate) fn of_pod(pod: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Warnings(Vec::new());
    let (spec, at) = (&pod["spec"], path.child("spec"));
    for (key, _) in entries(&spec["nodeSelector"]) {
        if let Some(why) = label(key) {
            warnings.add(&at.child("nodeSelector").key(key), why);
        }
    }
    for (index, constraint) in items(&spec["topologySpreadConstraints"]).iter().enumerate() {
        let at = at.child("topologySpreadConstraints").index(index);
        let key = text(constraint, "topologyKey");
        if let Some(why) = label(key) {
            warnings.add(&at.child("topologyKey"), &format!("{key} is {why}"));
        }
        if absent(constraint, "labelSelector") {
            let why = "a null labelSelector results in matching no pod";
            warnings.add(&at.child("labelSelector"), why);
        }
    }
    annotations(pod, path, &mut warnings);
    for (index, volume) in items(&spec["volumes"]).iter().enumerate() {
        for (_, shown, why) in VOLUMES.iter().filter(|(key, ..)| !absent(volume, key)) {
            warnings.add(&at.child("volumes").index(index).child(shown), why);
        }
    }
    let mut secrets = Vec::new();
    for (index, secret) in items(&spec["imagePullSecrets"]).iter().enumerate() {
        let (name, at) = (
            text(secret, "name"),
            at.child("imagePullSecrets").index(index).child("name"),
        );
        if name.is_empty() {
            warnings.add(&at, "invalid empty name \"\"");
        } else if secrets.contains(&name) {
            warnings.add(&at, &format!("duplicate name {}", quote(name)));
        }
        secrets.push(name);
    }
    for name in ["memory", "ephemeral-storage"] {
        fractional(&spec["overhead"][name], &at.child("overhead").key(name), &mut warnings);
    }
    containers(spec, &at, &mut warnings);
    if spec["terminationGracePeriodSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds < 0)
    {
        let why = "must be >= 0; negative values are invalid and will be treated as 1";
        warnings.add(&at.child("terminationGracePeriodSeconds"), why);
    }
    warnings.0
}

struct Warnings(Vec<String>);

impl Warnings {
    fn add(&mut self, path: &Path, why: &str) {
        self.0.push(format!("{path}: {why}"));
    }
}

fn annotations(pod: &Value, path: &Path, warnings: &mut Warnings) {
    let own = &pod["metadata"]["annotations"];
    let at = path.child("metadata").child("annotations");
    let security = &pod["spec"]["securityContext"];
    for (key, why) in ANNOTATIONS {
        let replaced = key.starts_with("seccomp") && !absent(security, "seccompProfile");
        if !absent(own, key) && !replaced {
            warnings.add(&at.key(key), why);
        }
    }
    for container in ["initContainers", "containers"]
        .into_iter()
        .flat_map(|list| items(&pod["spec"][list]))
    {
        let (name, security) = (text(container, "name"), &container["securityContext"]);
        for (prefix, field, since) in [
            (SECCOMP, "seccompProfile", "non-functional in v1.27+"),
            (APPARMOR, "appArmorProfile", "deprecated since v1.30"),
        ] {
            let key = format!("{prefix}{name}");
            if !absent(own, &key) && absent(security, field) {
                warnings.add(&at.key(&key), &format!("{since}; use the \"{field}\" field instead"));
            }
        }
    }
}

fn fractional(amount: &Value, path: &Path, warnings: &mut Warnings) {
    if let Some(quantity) = Quantity::of(amount).filter(|quantity| !quantity.is_whole()) {
        warnings.add(
            path,
            &format!("fractional byte value \"{quantity}\" is invalid, must be an integer"),
        );
    }
}

/// A port as far as it can clash with others.
struct Port {
    at: Path,
    number: (i64, String),
    host: (String, i64),
}

fn containers(spec: &Value, path: &Path, warnings: &mut Warnings) {
    let mut ports: Vec<Port> = Vec::new();
    let mut names: Vec<(String, Path)> = Vec::new();
    let all = ["initContainers", "containers"].into_iter().flat_map(|list| {
        let containers = items(&spec[list]).iter().enumerate();
        containers.map(move |(index, container)| (path.child(list).index(index), container))
    });
    let (mut later, mut named) = (Warnings(Vec::new()), Warnings(Vec::new()));
    for (at, container) in all {
        for list in ["limits", "requests"] {
            for name in ["memory", "ephemeral-storage"] {
                let path = at.child("resources").child(list).key(name);
                fractional(&container["resources"][list][name], &path, warnings);
            }
        }
        environment(container, &at, warnings);
        for (index, port) in items(&container["ports"]).iter().enumerate() {
            let at = at.child("ports").index(index);
            let own = Port {
                number: (
                    port["containerPort"].as_i64().unwrap_or(0),
                    port["protocol"].as_str().unwrap_or("TCP").to_owned(),
                ),
                host: (text(port, "hostIP").to_owned(), port["hostPort"].as_i64().unwrap_or(0)),
                at: at.clone(),
            };
            for other in ports.iter().filter(|other| other.number == own.number) {
                let what = if own.host == other.host {
                    "duplicate"
                } else if own.host.1 == 0 || other.host.1 == 0 {
                    "overlapping"
                } else if own.host.1 == other.host.1 && own.host.0.is_empty() != other.host.0.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                later.add(&at, &format!("{what} port definition with {}", other.at));
            }
            ports.push(own);
            let name = text(port, "name");
            if name.is_empty() {
                continue;
            }
            match names.iter().find(|(own, _)| own == name) {
                Some((_, other)) => named.add(
                    &at,
                    &format!(
                        "duplicate port name {} with {other}, services and probes that select ports by name will use {other}",
                        quote(name)
                    ),
                ),
                None => names.push((name.to_owned(), at)),
            }
        }
    }
    warnings.0.append(&mut later.0);
    warnings.0.append(&mut named.0);
}

fn environment(container: &Value, path: &Path, warnings: &mut Warnings) {
    let mut seen = Vec::new();
    for (index, variable) in items(&container["env"]).iter().enumerate() {
        let name = text(variable, "name");
        let reference = format!("$({name})");
        let value = text(variable, "value");
        // `PATH=$(PATH):/more` builds on the value before.
        let builds = absent(variable, "valueFrom") && value != reference && value.contains(&reference);
        if seen.contains(&name) && !builds {
            let why = format!(
                "hides previous definition of {}, which may be dropped when using apply",
                quote(name)
            );
            warnings.add(&path.child("env").index(index), &why);
        }
        seen.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unwise_pods_are_told_so() {
        let told = |spec: Value| of_pod(&json!({"spec": spec}), &Path::default());
        for (spec, warnings) in [
            (
                json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
                vec![
                    "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                ],
            ),
            (
                json!({"volumes": [{"gitRepo": {}}]}),
                vec!["spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"],
            ),
            (
                json!({"containers": [{"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "3"}]}]}),
                vec![
                    "spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
                ],
            ),
            (
                json!({"containers": [{"resources": {"requests": {"memory": "100m"}, "limits": {"memory": "1Gi"}}}]}),
                vec![
                    "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
                ],
            ),
            (
                json!({"containers": [
                    {"ports": [{"containerPort": 80, "name": "web"}, {"containerPort": 80, "hostPort": 80}]},
                    {"ports": [{"containerPort": 81, "name": "web"}]},
                ]}),
                vec![
                    "spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
                    "spec.containers[1].ports[0]: duplicate port name \"web\" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]",
                ],
            ),
            (
                json!({"topologySpreadConstraints": [{"topologyKey": "x"}]}),
                vec![
                    "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
                ],
            ),
        ] {
            assert_eq!(told(spec), warnings);
        }
        let annotated = json!({
            "metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "x", "container.apparmor.security.beta.kubernetes.io/c": "y"}},
            "spec": {"containers": [{"name": "c"}]},
        });
        assert_eq!(
            of_pod(&annotated, &Path::new("spec").child("template")),
            [
                "spec.template.metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the \"seccompProfile\" field instead",
                "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the \"appArmorProfile\" field instead",
            ]
        );
    }
}
