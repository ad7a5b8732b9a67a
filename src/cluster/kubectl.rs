//! What `kubectl` would be told to do the same: to be copied into a script, a ticket or another terminal.

use serde_json::{Map, Value};

use super::plan::{Change, Plan, Write};

impl Plan {
    /// The plan as kubectl's commands, one for each change.
    pub fn kubectl(&self) -> Vec<String> {
        self.changes.iter().map(kubectl).collect()
    }
}

/// Quotes a word for a POSIX shell, where that is needed.
fn quoted(word: &str) -> String {
    let plain = |ch: char| ch.is_ascii_alphanumeric() || "-_./:=,@%+".contains(ch);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn kubectl(change: &Change) -> String {
    let target = &change.target;
    let name = quoted(&target.name);
    let place = target
        .namespace
        .as_deref()
        .map_or_else(String::new, |namespace| format!(" -n {}", quoted(namespace)));
    let kind = match &*target.resource.group {
        "" => target.resource.singular.to_string(),
        "apps" | "batch" => target.resource.singular.to_string(),
        group => format!("{}.{group}", target.resource.singular),
    };
    let object = format!("{kind}/{name}");
    let piped = |body: &Value, verb: &str| {
        let body = super::masked(body.clone());
        format!("kubectl {verb}{place} -f - <<'EOF'\n{body:#}\nEOF")
    };
    match &change.request {
        Write::Create(body) => piped(body, "create"),
        Write::Apply { body, .. } => piped(body, "apply --server-side"),
        Write::Evict { grace } => {
            let path = format!("{}/eviction", target.path());
            let options = grace.map_or_else(String::new, |grace| {
                format!(",\"deleteOptions\":{{\"gracePeriodSeconds\":{grace}}}")
            });
            let metadata = format!(
                "{{\"name\":\"{}\",\"namespace\":\"{}\"}}",
                target.name,
                target.namespace.as_deref().unwrap_or_default()
            );
            let body =
                format!("{{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\",\"metadata\":{metadata}{options}}}");
            format!("echo {} | kubectl create --raw {path} -f -", quoted(&body))
        }
        Write::Delete { propagation, grace } => {
            let cascade = match *propagation {
                "Background" => String::new(),
                other => format!(" --cascade={}", other.to_lowercase()),
            };
            let grace = match grace {
                None => String::new(),
                Some(0) => " --force --grace-period=0".to_owned(),
                Some(seconds) => format!(" --grace-period={seconds}"),
            };
            format!("kubectl delete {object}{place}{cascade}{grace}")
        }
        Write::Merge { subresource, patch } => {
            let patch = without_uid(patch);
            merge(&object, &place, *subresource, &patch).unwrap_or_else(|| {
                let subresource = subresource.map_or_else(String::new, |name| format!(" --subresource={name}"));
                let patch = harmless(change, patch).to_string();
                format!(
                    "kubectl patch {object}{place}{subresource} --type=merge -p {}",
                    quoted(&patch)
                )
            })
        }
        Write::Edit { base, edited } => {
            let patch = super::merge::patch(base, edited);
            let patch = harmless(change, patch).to_string();
            format!("kubectl patch {object}{place} --type=merge -p {}", quoted(&patch))
        }
    }
}

/// A patch without the values of a Secret.
fn harmless(change: &Change, mut patch: Value) -> Value {
    if &*change.target.resource.plural != "secrets" {
        return patch;
    }
    patch["kind"] = "Secret".into();
    let mut patch = super::masked(patch);
    if let Some(map) = patch.as_object_mut() {
        map.shift_remove("kind");
    }
    patch
}

/// The patch without the UID that makes it one of this very object.
fn without_uid(patch: &Value) -> Value {
    let mut patch = patch.clone();
    if let Some(metadata) = patch.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("uid");
        if metadata.is_empty()
            && let Some(map) = patch.as_object_mut()
        {
            map.shift_remove("metadata");
        }
    }
    patch
}

/// The command that kubectl has of its own for a patch.
fn merge(object: &str, place: &str, subresource: Option<&str>, patch: &Value) -> Option<String> {
    let (first, path) = only_path(patch)?;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    Some(match (subresource, path.as_slice(), first) {
        (Some("scale"), ["spec", "replicas"], value) => format!("kubectl scale {object}{place} --replicas={value}"),
        (None, ["spec", "unschedulable"], value) => {
            let verb = if value == true { "cordon" } else { "uncordon" };
            format!("kubectl {verb} {}", object.strip_prefix("node/")?)
        }
        (None, ["spec", "paused"], value) => {
            let verb = if value == true { "pause" } else { "resume" };
            format!("kubectl rollout {verb} {object}{place}")
        }
        (
            None,
            [
                "spec",
                "template",
                "metadata",
                "annotations",
                "kubectl.kubernetes.io/restartedAt",
            ],
            _,
        ) => {
            format!("kubectl rollout restart {object}{place}")
        }
        (None, ["metadata", field @ ("labels" | "annotations")], Value::Object(entries)) => {
            let verb = if *field == "labels" { "label" } else { "annotate" };
            format!("kubectl {verb} {object}{place} --overwrite {}", words(entries))
        }
        _ => return None,
    })
}

/// `key=value key-`
fn words(entries: &Map<String, Value>) -> String {
    let word = |(key, value): (&String, &Value)| match value {
        Value::Null => format!("{}-", quoted(key)),
        value => quoted(&format!("{key}={}", value.as_str().unwrap_or_default())),
    };
    entries.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// The one path that a patch changes, and the value there; the entries of labels and annotations are one value.
fn only_path(patch: &Value) -> Option<(&Value, Vec<String>)> {
    let mut path = Vec::new();
    let mut at = patch;
    loop {
        let is_entries = matches!(path.last().map(String::as_str), Some("labels" | "annotations")) && path.len() == 2;
        match at.as_object() {
            Some(map) if !is_entries => {
                let mut entries = map.iter();
                let (key, value) = entries.next()?;
                if entries.next().is_some() {
                    return None;
                }
                path.push(key.clone());
                at = value;
            }
            _ => return Some((at, path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::{ClusterId, Discovery, ObjectRef};

    fn told(plural: &str, request: Write) -> String {
        let resource = Discovery::built_in().find(plural).expect("known").clone();
        let namespace = resource.namespaced.then(|| "shop".into());
        kubectl(&Change {
            target: ObjectRef {
                cluster: ClusterId(1),
                resource,
                namespace,
                name: "web".into(),
                uid: Some("u".into()),
            },
            before: None,
            request,
        })
    }

    #[test]
    fn what_kubectl_has_a_command_for_is_told_with_it() {
        let merge = |subresource, patch| Write::Merge { subresource, patch };
        let cases = [
            (
                "pods",
                merge(
                    None,
                    json!({"metadata": {"uid": "u", "labels": {"a": "x y", "b": null}}}),
                ),
                "kubectl label pod/web -n shop --overwrite 'a=x y' b-",
            ),
            (
                "deployments",
                merge(
                    Some("scale"),
                    json!({"metadata": {"uid": "u"}, "spec": {"replicas": 3}}),
                ),
                "kubectl scale deployment/web -n shop --replicas=3",
            ),
            (
                "nodes",
                merge(None, json!({"metadata": {"uid": "u"}, "spec": {"unschedulable": true}})),
                "kubectl cordon web",
            ),
            (
                "deployments",
                merge(
                    None,
                    json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}}),
                ),
                "kubectl rollout restart deployment/web -n shop",
            ),
            (
                "pods",
                Write::Delete {
                    propagation: "Orphan",
                    grace: Some(0),
                },
                "kubectl delete pod/web -n shop --cascade=orphan --force --grace-period=0",
            ),
            (
                "pods",
                merge(None, json!({"spec": {"a": 1, "b": "it's"}})),
                "kubectl patch pod/web -n shop --type=merge -p '{\"spec\":{\"a\":1,\"b\":\"it'\\''s\"}}'",
            ),
        ];
        for (plural, request, expected) in cases {
            assert_eq!(told(plural, request), expected);
        }
    }

    #[test]
    fn the_values_of_a_secret_are_never_told() {
        let secret = |value: &str| json!({"kind": "Secret", "data": {"key": value}});
        let edit = Write::Edit {
            base: secret("b2xk"),
            edited: secret("bmV3"),
        };
        let create = Write::Create(secret("bmV3"));
        for request in [edit, create] {
            let told = told("secrets", request);
            assert!(!told.contains("bmV3"), "{told}");
        }
    }
}
