//! ServiceAccount: every pod runs as somebody, and finds in itself what it needs to talk to the API.

use super::{Lookup, Request};
use crate::json::{absent, blank, items, items_mut, object, set, text};
use crate::kind::pod::same_account;
use crate::meta::suffix;
use crate::status::Failure;
use serde_json::{Value, json};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// An hour and seven seconds: the odd seconds tell such tokens from those somebody asked for.
const TOKEN_SECONDS: i64 = 3607;
/// Pods that a kubelet made from a file, and only mirrors to the API.
const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) fn admit(request: &Request<'_>, pod: &mut Value, lookup: &dyn Lookup) -> Result<(), Failure> {
    let refuse = |why: &str| Failure::forbidden(request.resource, request.name, why);
    if !absent(&pod["metadata"]["annotations"], MIRROR) {
        if !blank(&pod["spec"], "serviceAccountName") {
            return Err(refuse("a mirror pod may not reference service accounts"));
        }
        return Ok(());
    }
    let (Some(accounts), Some(spec)) = (lookup.resource("", "v1", "serviceaccounts"), object(pod, "spec")) else {
        return Ok(());
    };
    if blank(spec, "serviceAccountName") {
        set(spec, "serviceAccountName", "default");
    }
    same_account(spec);
    let name = text(spec, "serviceAccountName").to_owned();
    let Some(account) = lookup.get(&accounts, request.namespace, &name) else {
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
    use super::super::tests::{Objects, request, usual};
    use super::*;

    fn admitted(mut pod: Value, cluster: &Objects) -> Result<Value, String> {
        admit(&request("pods", Operation::Create), &mut pod, cluster).map_err(|f| f.message)?;
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
