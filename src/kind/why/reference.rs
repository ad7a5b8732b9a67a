//! What a pod's template names: ConfigMaps, Secrets, keys.

use serde_json::Value;

use super::container::Container;
use super::finding::{Finding, Thing};
use super::pod::{maker, standing};
use super::world::Known;
use super::{Cx, brief, few, namespace};
use crate::kind::field::{items, text, yes};

/// One ConfigMap or Secret that a template names.
struct Reference<'a> {
    kind: &'static str,
    name: &'a str,
    key: Option<&'a str>,
    optional: bool,
    path: String,
}

impl Reference<'_> {
    fn thing(&self, namespace: &str) -> Thing {
        Thing::new("", self.kind, namespace, self.name)
    }
}

/// What a container takes from ConfigMaps and Secrets into its environment.
fn environment<'a>(container: Container<'a>) -> Vec<Reference<'a>> {
    let mut found = Vec::new();
    for (field, kind) in [("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")] {
        for variable in items(&container.spec["env"]) {
            let source = &variable["valueFrom"][field];
            if source.is_object() {
                found.push(Reference {
                    kind,
                    name: text(&source["name"]),
                    key: source["key"].as_str(),
                    optional: yes(&source["optional"]),
                    path: container.spec_path(&format!("env[{}]", text(&variable["name"]))),
                });
            }
        }
    }
    for (field, kind) in [("configMapRef", "ConfigMap"), ("secretRef", "Secret")] {
        for source in items(&container.spec["envFrom"]) {
            let source = &source[field];
            if source.is_object() {
                found.push(Reference {
                    kind,
                    name: text(&source["name"]),
                    key: None,
                    optional: yes(&source["optional"]),
                    path: container.spec_path("envFrom"),
                });
            }
        }
    }
    found
}

/// What a pod mounts from ConfigMaps and Secrets.
fn mounted(pod: &Value) -> Vec<Reference<'_>> {
    let mut found = Vec::new();
    for volume in items(&pod["spec"]["volumes"]) {
        let label = text(&volume["name"]);
        let projected = items(&volume["projected"]["sources"]).iter();
        for source in std::iter::once(volume).chain(projected) {
            for (field, kind, key) in [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")] {
                let source = &source[field];
                let name = source[key].as_str().or_else(|| source["name"].as_str());
                let Some(name) = name else { continue };
                let base = Reference {
                    kind,
                    name,
                    key: None,
                    optional: yes(&source["optional"]),
                    path: format!("spec.volumes[{label}]"),
                };
                let keys = items(&source["items"]).iter().filter_map(|item| item["key"].as_str());
                let keys = keys.map(|key| Reference {
                    kind,
                    name,
                    key: Some(key),
                    optional: base.optional,
                    path: base.path.clone(),
                });
                let keys: Vec<_> = keys.collect();
                found.push(base);
                found.extend(keys);
            }
        }
    }
    found
}

/// Every ConfigMap and Secret that a pod names.
pub(super) fn named(pod: &Value) -> Vec<Thing> {
    let namespace = namespace(pod);
    let secrets = items(&pod["spec"]["imagePullSecrets"])
        .iter()
        .map(|secret| Thing::new("", "Secret", namespace, text(&secret["name"])));
    super::container::all(pod)
        .flat_map(environment)
        .chain(mounted(pod))
        .map(|reference| reference.thing(namespace))
        .chain(secrets)
        .collect()
}

/// What is wrong with a reference, in a sentence; nothing while that is not certain.
fn broken(cx: Cx<'_>, reference: &Reference<'_>, namespace: &str, who: &str) -> Option<(&'static str, String)> {
    if reference.optional {
        return None;
    }
    let (kind, name) = (reference.kind, reference.name);
    match (cx.world.get("", kind, namespace, name), reference.key) {
        (Known::Absent, _) => {
            let elsewhere = cx
                .world
                .all("", kind)
                .iter()
                .find(|other| super::name(other) == name)
                .map_or_else(String::new, |other| {
                    format!(" (there is one in namespace {})", super::namespace(other))
                });
            Some((
                "cfg.missing",
                format!("{who} needs {kind} {name}, which does not exist in namespace {namespace}{elsewhere}."),
            ))
        }
        (Known::There(object), Some(key)) => {
            let keys: Vec<&str> = ["data", "binaryData"]
                .iter()
                .filter_map(|data| object[data].as_object())
                .flat_map(|data| data.keys().map(String::as_str))
                .collect();
            if keys.contains(&key) {
                return None;
            }
            let has = if keys.is_empty() {
                "it is empty".to_owned()
            } else {
                format!("it has {}", few(keys))
            };
            Some((
                "cfg.key",
                format!("{who} needs key {key} of {kind} {name}, which it does not have; {has}."),
            ))
        }
        _ => None,
    }
}

/// The kubelet could not put the container's configuration together.
pub(super) fn unconfigured(cx: Cx<'_>, container: Container<'_>) -> Option<Finding> {
    let (reason, message) = container.waiting();
    if reason != "CreateContainerConfigError" {
        return None;
    }
    let pod = container.pod;
    let maker = maker(cx, pod);
    let path = container.path("state.waiting.message");
    let namespace = namespace(pod);
    for reference in environment(container) {
        if let Some((_, sentence)) = broken(cx, &reference, namespace, &container.called()) {
            return Some(
                remedy(
                    Finding::critical("start.configref", pod, sentence)
                        .read(path, message)
                        .read(reference.path.clone(), reference.name),
                    &reference,
                    namespace,
                )
                .edit(&maker, "name another one in the template"),
            );
        }
    }
    let (cause, sentence) = if message.contains("runAsNonRoot") || message.contains("cannot verify user is non-root") {
        (
            "start.nonroot",
            format!("{} must not run as root, but its image does.", container.called()),
        )
    } else if message.contains("subPath") {
        (
            "start.subpath",
            format!(
                "A subPath that {} mounts cannot be prepared.",
                container.called().to_lowercase()
            ),
        )
    } else {
        (
            "start.configref",
            format!("{} cannot be configured: {}", container.called(), brief(message)),
        )
    };
    let finding = Finding::critical(cause, pod, sentence).read(path, message);
    Some(if cause == "start.nonroot" {
        finding
            .read(container.spec_path("securityContext.runAsNonRoot"), "true")
            .edit(&maker, "set securityContext.runAsUser to a number other than 0")
    } else {
        finding.edit(&maker, "correct the template")
    })
}

/// A volume of a ConfigMap or Secret that cannot be filled, behind a mount that failed.
pub(super) fn unmounted(cx: Cx<'_>, pod: &Value) -> Option<Finding> {
    let event = standing(cx, pod, &["FailedMount"])?;
    let namespace = namespace(pod);
    for reference in mounted(pod) {
        let who = format!("Volume {}", volume_of(&reference.path));
        if let Some((_, sentence)) = broken(cx, &reference, namespace, &who) {
            return Some(
                remedy(
                    Finding::critical("start.mountref", pod, sentence)
                        .since(event.last)
                        .read("event FailedMount", event.message.as_str())
                        .read(reference.path.clone(), reference.name),
                    &reference,
                    namespace,
                )
                .edit(&maker(cx, pod), "name another one in the template"),
            );
        }
    }
    None
}

/// What a running pod will miss when it starts the next time.
pub(super) fn next_start(cx: Cx<'_>, pod: &Value) -> Option<Finding> {
    let namespace = namespace(pod);
    let environment = super::container::all(pod).flat_map(|container| {
        let who = container.called();
        environment(container)
            .into_iter()
            .map(move |reference| (who.clone(), reference))
    });
    let mounted = mounted(pod)
        .into_iter()
        .map(|reference| (format!("Volume {}", volume_of(&reference.path)), reference));
    for (who, reference) in environment.chain(mounted) {
        if let Some((cause, sentence)) = broken(cx, &reference, namespace, &who) {
            let sentence = format!("{sentence} The pod runs, but its next start will fail.");
            let finding = Finding::warning(cause, pod, sentence).read(reference.path.clone(), reference.name);
            return Some(remedy(finding, &reference, namespace));
        }
    }
    None
}

fn volume_of(path: &str) -> &str {
    path.trim_start_matches("spec.volumes[").trim_end_matches(']')
}

fn remedy(finding: Finding, reference: &Reference<'_>, namespace: &str) -> Finding {
    let absent = finding.sentence.contains("does not exist");
    let name = reference.name;
    match (reference.kind, absent) {
        ("ConfigMap", true) => finding.advise(
            format!("make ConfigMap {name}"),
            format!("kubectl create configmap {name} -n {namespace} --from-literal=KEY=VALUE"),
        ),
        ("Secret", true) => finding.advise(
            format!("make Secret {name}"),
            format!("kubectl create secret generic {name} -n {namespace} --from-literal=KEY=VALUE"),
        ),
        _ => finding.edit(
            &reference.thing(namespace),
            format!("add the key to {} {name}", reference.kind),
        ),
    }
}
