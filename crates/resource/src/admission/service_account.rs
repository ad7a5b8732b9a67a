//! ServiceAccount: every pod runs as somebody, and finds in itself what it needs to talk to the API.

use super::{Attributes, Lookup};
use crate::json::{absent, blank, items, items_mut, object, set, text};
use crate::kind::pod::same_account;
use crate::meta::suffix;
use crate::status::Status;
use serde_json::{Value, json};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// An hour and seven seconds: the odd seconds tell such tokens from those somebody asked for.
const TOKEN_SECONDS: i64 = 3607;
/// Pods that a kubelet made from a file, and only mirrors to the API.
const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) fn mutate(request: &Attributes<'_>, pod: &mut Value, lookup: &dyn Lookup) -> Result<(), Status> {
    let refuse = |why: &str| Status::forbidden(request.resource, request.name, why);
    if !absent(&pod["metadata"]["annotations"], MIRROR) {
        if !blank(&pod["spec"], "serviceAccountName") {
            return Err(refuse("a mirror pod may not reference service accounts"));
        }
        return Ok(());
    }
    let Some(spec) = object(pod, "spec") else {
        return Ok(());
    };
    if blank(spec, "serviceAccountName") {
        set(spec, "serviceAccountName", "default");
    }
    same_account(spec);
    let name = text(spec, "serviceAccountName").to_owned();
    let Some(account) = lookup.get("", "serviceaccounts", request.namespace, &name) else {
        let id = format!("{}/{name}", request.namespace);
        let why = format!("error looking up service account {id}: serviceaccount \"{name}\" not found");
        return Err(refuse(&why));
    };
    // The pod's word counts before the account's.
    let wanted = match &spec["automountServiceAccountToken"] {
        Value::Null => &account["automountServiceAccountToken"],
        said => said,
    };
    if wanted != &Value::Bool(false) {
        mount_token(spec);
    }
    if items(&spec["imagePullSecrets"]).is_empty() && !items(&account["imagePullSecrets"]).is_empty() {
        let secrets = account["imagePullSecrets"].clone();
        set(spec, "imagePullSecrets", secrets);
    }
    Ok(())
}

/// Refuses pods that reach for secrets they may not have, whoever put the references in.
pub(super) fn validate(request: &Attributes<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
    let refuse = |why: &str| Err(Status::forbidden(request.resource, request.name, why));
    let spec = &pod["spec"];
    let name = text(spec, "serviceAccountName");
    if !absent(&pod["metadata"]["annotations"], MIRROR) {
        if !name.is_empty() {
            return refuse("a mirror pod may not reference service accounts");
        }
        if secrets(spec).next().is_some() {
            return refuse("a mirror pod may not reference secrets");
        }
        let sources = items(&spec["volumes"])
            .iter()
            .flat_map(|v| items(&v["projected"]["sources"]));
        if sources.into_iter().any(|source| !absent(source, "serviceAccountToken")) {
            return refuse("a mirror pod may not use ServiceAccountToken volume projections");
        }
        return Ok(());
    }
    let Some(account) = lookup.get("", "serviceaccounts", request.namespace, name) else {
        let id = format!("{}/{name}", request.namespace);
        return refuse(&format!(
            "error looking up service account {id}: serviceaccount \"{name}\" not found"
        ));
    };
    let limited = text(
        &account["metadata"]["annotations"],
        "kubernetes.io/enforce-mountable-secrets",
    );
    if !matches!(limited, "true" | "True" | "TRUE" | "1" | "t" | "T") {
        return Ok(());
    }
    let mountable: Vec<&str> = items(&account["secrets"]).iter().map(|s| text(s, "name")).collect();
    match secrets(spec).find(|(_, secret)| !mountable.contains(secret)) {
        Some((place, secret)) => refuse(&format!(
            "{place} secret.secretName=\"{secret}\" is not allowed because service account {name} does not reference that secret"
        )),
        None => Ok(()),
    }
}

/// The secrets that a pod reads, each with what reads it.
fn secrets(spec: &Value) -> impl Iterator<Item = (String, &str)> {
    let volumes = items(&spec["volumes"])
        .iter()
        .filter(|volume| !absent(volume, "secret"))
        .map(|volume| ("volume with".to_owned(), text(&volume["secret"], "secretName")));
    let containers = [("initContainers", "init container"), ("containers", "container")]
        .into_iter()
        .flat_map(|(list, word)| items(&spec[list]).iter().map(move |container| (word, container)));
    volumes.chain(containers.flat_map(|(word, container)| {
        let name = text(container, "name");
        let variables = items(&container["env"])
            .iter()
            .filter(|variable| !absent(&variable["valueFrom"], "secretKeyRef"))
            .map(move |variable| {
                let place = format!("{word} {name} with envVar {} referencing", text(variable, "name"));
                (place, text(&variable["valueFrom"]["secretKeyRef"], "name"))
            });
        let sources = items(&container["envFrom"])
            .iter()
            .filter(|source| !absent(source, "secretRef"))
            .map(move |source| {
                let place = format!("{word} {name} with envFrom referencing");
                (place, text(&source["secretRef"], "name"))
            });
        variables.chain(sources)
    }))
}

/// Mounts the token, the CA's certificate and the namespace into every container that has nothing there yet.
fn mount_token(spec: &mut Value) {
    let existing = items(&spec["volumes"]).iter().map(|v| text(v, "name"));
    let existing = existing.into_iter().find(|name| name.starts_with(VOLUME_PREFIX));
    let (volume, present) = match existing {
        Some(name) => (name.to_owned(), true),
        None => (format!("{VOLUME_PREFIX}{}", suffix()), false),
    };
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in items_mut(spec, list) {
            let taken = items(&container["volumeMounts"])
                .iter()
                .any(|m| text(m, "mountPath") == MOUNT_PATH);
            if !taken && container.is_object() {
                let mount = json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH});
                push(container, "volumeMounts", mount);
                used = true;
            }
        }
    }
    if used && !present {
        push(spec, "volumes", token_volume(&volume));
    }
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
            "defaultMode": 0o644,
        },
    })
}

/// Appends to the list at `key`, which is made if it is missing.
fn push(parent: &mut Value, key: &str, item: Value) {
    if absent(parent, key) {
        set(parent, key, json!([item]));
    } else if let Some(list) = parent.get_mut(key).and_then(Value::as_array_mut) {
        list.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Operation;
    use super::super::tests::{Objects, attributes, usual};
    use super::*;

    fn admitted(mut pod: Value, cluster: &Objects) -> Result<Value, String> {
        mutate(&attributes("pods", Operation::Create), &mut pod, cluster).map_err(|f| f.message)?;
        Ok(pod)
    }

    #[test]
    fn a_pod_runs_as_the_default_account_and_gets_its_token() {
        let mounted = json!({"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]});
        let pod = admitted(json!({"spec": {"containers": [{"name": "a"}, mounted]}}), &usual()).expect("admitted");
        let spec = &pod["spec"];
        assert_eq!(
            (&spec["serviceAccountName"], &spec["serviceAccount"]),
            (&json!("default"), &json!("default"))
        );
        let volume = text(&spec["volumes"][0], "name").to_owned();
        assert!(volume.starts_with("kube-api-access-") && volume.len() == 21);
        assert_eq!(spec["volumes"][0], token_volume(&volume));
        assert_eq!(
            spec["containers"][0]["volumeMounts"],
            json!([{"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}])
        );
        assert_eq!(spec["containers"][1], mounted);
    }

    #[test]
    fn the_account_must_be_there() {
        let missing = Objects(Vec::new());
        assert_eq!(
            admitted(json!({"spec": {}}), &missing),
            Err("pods \"x\" is forbidden: error looking up service account ns/default: serviceaccount \"default\" not found".to_owned())
        );
    }

    #[test]
    fn the_token_can_be_declined_by_pod_or_account() {
        let cluster = |mount: Value| {
            Objects(vec![(
                "serviceaccounts",
                json!({
                    "metadata": {"name": "default", "namespace": "ns"},
                    "automountServiceAccountToken": mount,
                    "imagePullSecrets": [{"name": "pull"}],
                }),
            )])
        };
        for (account, pod, mounted) in [
            (json!(null), json!(null), true),
            (json!(false), json!(null), false),
            (json!(false), json!(true), true),
            (json!(true), json!(false), false),
        ] {
            let pod = json!({"spec": {"automountServiceAccountToken": pod, "containers": [{}]}});
            let pod = admitted(pod, &cluster(account)).expect("admitted");
            assert_eq!(!items(&pod["spec"]["volumes"]).is_empty(), mounted);
            assert_eq!(pod["spec"]["imagePullSecrets"], json!([{"name": "pull"}]));
        }
    }

    #[test]
    fn a_mirror_pod_is_nobody() {
        let mirror = json!({"metadata": {"annotations": {MIRROR: "h"}}, "spec": {"containers": [{}]}});
        assert_eq!(admitted(mirror.clone(), &usual()), Ok(mirror));
    }
}
