//! NodeRestriction: a kubelet writes only what is its node's.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>.

use std::collections::BTreeSet;

use super::{Attributes, Lookup, Operation};
use crate::field::quote;
use crate::json::{absent, entries, equal, items, text};
use crate::status::Status;
use serde_json::Value;

const MIRROR: &str = "kubernetes.io/config.mirror";
/// Where kubelets say that they are alive.
const LEASES: &str = "kube-node-lease";
/// Labels of Kubernetes' own that a kubelet may set, besides those below `kubelet.` and `node.`.
const KUBELET_LABELS: [&str; 14] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "node.kubernetes.io/windows-build",
    "node.kubernetes.io/os-build",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "node.kubernetes.io/exclude-from-external-load-balancers",
];

pub(super) fn admit(
    request: &Attributes<'_>,
    object: &Value,
    old: Option<&Value>,
    lookup: &dyn Lookup,
) -> Result<(), Status> {
    let Some(node) = request.user.node() else {
        return Ok(());
    };
    let plugin = Plugin {
        request,
        object,
        old,
        lookup,
        node,
    };
    match (request.resource.group.as_str(), request.resource.plural.as_str()) {
        ("", "pods") => plugin.pod(),
        ("", "nodes") => plugin.node(),
        ("", "persistentvolumeclaims") => plugin.claim(),
        ("", "serviceaccounts") => plugin.token(),
        ("coordination.k8s.io", "leases") => plugin.lease(),
        ("storage.k8s.io", "csinodes") => plugin.csi_node(),
        _ => Ok(()),
    }
}

struct Plugin<'a> {
    request: &'a Attributes<'a>,
    object: &'a Value,
    old: Option<&'a Value>,
    lookup: &'a dyn Lookup,
    node: &'a str,
}

impl Plugin<'_> {
    fn refuse(&self, why: &str) -> Result<(), Status> {
        let name = self.request.name_of(self.object);
        Err(Status::forbidden(self.request.resource, name, why))
    }

    /// Refuses unless it holds.
    fn require(&self, holds: bool, why: impl FnOnce(&str) -> String) -> Result<(), Status> {
        if holds {
            return Ok(());
        }
        self.refuse(&why(&quote(self.node)))
    }

    fn pod(&self) -> Result<(), Status> {
        let operation = self.request.operation;
        let on_node = |pod: &Value| text(&pod["spec"], "nodeName") == self.node;
        match (self.request.subresource, operation) {
            ("", Operation::Create) => self.mirror_pod(),
            ("", Operation::Delete) => self.require(self.old.is_some_and(on_node), |node| {
                format!("node {node} can only delete pods with spec.nodeName set to itself")
            }),
            ("", _) => self.require(false, |node| {
                let operation = operation.as_str();
                format!("unexpected operation \"{operation}\", node {node} can only create and delete mirror pods")
            }),
            ("status", Operation::Update) => {
                let old = self.old.unwrap_or(&Value::Null);
                self.require(on_node(old), |node| {
                    format!("node {node} can only update pod status for pods with spec.nodeName set to itself")
                })?;
                let same = |key: &str| equal(&old["metadata"][key], &self.object["metadata"][key]);
                self.require(same("labels"), |node| {
                    format!("node {node} cannot update labels through pod status")
                })?;
                let claims = |pod: &Value| pod["status"]["resourceClaimStatuses"].clone();
                self.require(equal(&claims(old), &claims(self.object)), |node| {
                    format!("node {node} cannot update resource claim statues")
                })
            }
            ("eviction", Operation::Create) => {
                let pod = self.lookup.get("", "pods", self.request.namespace, self.request.name);
                let Some(pod) = pod else {
                    return Err(Status::not_found(self.request.resource, self.request.name));
                };
                let node = self.node;
                self.require(on_node(&pod), |_| {
                    format!("node {node} can only evict pods with spec.nodeName set to itself")
                })
            }
            (subresource, _) => self.refuse(&format!(
                "unexpected pod subresource {}, only 'status' and 'eviction' are allowed",
                quote(subresource)
            )),
        }
    }

    fn mirror_pod(&self) -> Result<(), Status> {
        let pod = self.object;
        self.require(!absent(&pod["metadata"]["annotations"], MIRROR), |node| {
            format!("pod does not have \"{MIRROR}\" annotation, node {node} can only create mirror pods")
        })?;
        self.require(text(&pod["spec"], "nodeName") == self.node, |node| {
            format!("node {node} can only create pods with spec.nodeName set to itself")
        })?;
        let owners = items(&pod["metadata"]["ownerReferences"]);
        self.require(owners.len() < 2, |node| {
            format!("node {node} can only create pods with a single owner reference set to itself")
        })?;
        let own = |owner: &&Value| owner["apiVersion"] == "v1" && owner["kind"] == "Node" && owner["name"] == self.node;
        let Some(owner) = owners.first().filter(own) else {
            return self.require(false, |node| {
                format!("node {node} can only create pods with an owner reference set to itself")
            });
        };
        self.require(owner["controller"] == true, |node| {
            format!("node {node} can only create pods with a controller owner reference set to itself")
        })?;
        self.require(owner["blockOwnerDeletion"] != true, |node| {
            format!("node {node} must not set blockOwnerDeletion on an owner reference")
        })?;
        let Some(live) = self.lookup.get("", "nodes", "", self.node) else {
            let why = format!("nodes {} not found", quote(self.node));
            return self.refuse(&why);
        };
        let (given, real) = (text(owner, "uid"), text(&live["metadata"], "uid"));
        self.require(given == real, |_| {
            format!("node {} UID mismatch: expected {given} got {real}", self.node)
        })?;
        match reference(&pod["spec"]) {
            Some(what) => self.require(false, |node| {
                format!("node {node} can not create pods that reference {what}")
            }),
            None => Ok(()),
        }
    }

    fn node(&self) -> Result<(), Status> {
        let name = match self.request.name {
            "" => text(&self.object["metadata"], "name"),
            name => name,
        };
        self.require(name == self.node, |node| {
            format!("node {node} is not allowed to modify node {}", quote(name))
        })?;
        let nothing = Value::Null;
        match self.request.operation {
            Operation::Create => {
                let labels = forbidden_labels(&self.object["metadata"]["labels"], &nothing);
                self.require(labels.is_empty(), |node| {
                    format!(
                        "node {node} is not allowed to set the following labels: {}",
                        labels.join(", ")
                    )
                })
            }
            Operation::Update => {
                let old = self.old.unwrap_or(&nothing);
                self.require(equal(&self.object["spec"]["taints"], &old["spec"]["taints"]), |node| {
                    format!("node {node} is not allowed to modify taints")
                })?;
                let owners = |object: &Value| object["metadata"]["ownerReferences"].clone();
                self.require(equal(&owners(self.object), &owners(old)), |node| {
                    format!("node {node} is not allowed to modify ownerReferences")
                })?;
                let labels = forbidden_labels(&self.object["metadata"]["labels"], &old["metadata"]["labels"]);
                self.require(labels.is_empty(), |_| {
                    format!("is not allowed to modify labels: {}", labels.join(", "))
                })
            }
            Operation::Delete | Operation::Connect => Ok(()),
        }
    }

    fn claim(&self) -> Result<(), Status> {
        if self.request.subresource != "status" {
            return self.refuse("may only update PVC status");
        }
        let rest = |claim: &Value| {
            let mut claim = claim.clone();
            for key in [
                "capacity",
                "conditions",
                "allocatedResourceStatuses",
                "allocatedResources",
            ] {
                crate::json::remove(&mut claim["status"], key);
            }
            for key in ["resourceVersion", "managedFields"] {
                crate::json::remove(&mut claim["metadata"], key);
            }
            claim
        };
        let old = self.old.unwrap_or(&Value::Null);
        self.require(equal(&rest(old), &rest(self.object)), |node| {
            format!("node {node} is not allowed to update fields other than status.quantity and status.conditions")
        })
    }

    fn token(&self) -> Result<(), Status> {
        if self.request.operation != Operation::Create || self.request.subresource != "token" {
            return Ok(());
        }
        let bound = &self.object["spec"]["boundObjectRef"];
        if bound["apiVersion"] != "v1" || bound["kind"] != "Pod" || text(bound, "name").is_empty() {
            return self.refuse("node requested token not bound to a pod");
        }
        let uid = text(bound, "uid");
        if uid.is_empty() {
            return self.refuse("node requested token with a pod binding without a uid");
        }
        let name = text(bound, "name");
        let Some(pod) = self.lookup.get("", "pods", self.request.namespace, name) else {
            return self.refuse(&format!("pod {} not found", quote(name)));
        };
        if text(&pod["metadata"], "uid") != uid {
            return self.refuse(&format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            ));
        }
        if text(&pod["spec"], "nodeName") != self.node {
            return self.refuse("node requested token bound to a pod scheduled on a different node");
        }
        let audiences = items(&self.object["spec"]["audiences"]);
        if audiences.len() > 1 {
            return self.refuse("node may only request 0 or 1 audiences");
        }
        let asked = audiences.first().and_then(Value::as_str).unwrap_or_default();
        let projected = items(&pod["spec"]["volumes"])
            .iter()
            .flat_map(|volume| items(&volume["projected"]["sources"]))
            .filter_map(|source| source.get("serviceAccountToken"))
            .any(|token| text(token, "audience") == asked);
        self.require(projected, |_| {
            format!(
                "audience {} not found in pod spec volume, {} is not authorized to request tokens for this audience",
                quote(asked),
                self.request.user.name
            )
        })
    }

    fn lease(&self) -> Result<(), Status> {
        if self.request.namespace != LEASES {
            return self.refuse(&format!("can only access leases in the \"{LEASES}\" system namespace"));
        }
        self.own_name("can only access node lease with the same name as the requesting node")
    }

    fn csi_node(&self) -> Result<(), Status> {
        self.own_name("can only access CSINode with the same name as the requesting node")
    }

    fn own_name(&self, why: &str) -> Result<(), Status> {
        let name = match self.request.operation {
            Operation::Create => text(&self.object["metadata"], "name"),
            _ => self.request.name,
        };
        if name == self.node { Ok(()) } else { self.refuse(why) }
    }
}

/// What of the API a pod leans on, which the pod of a file cannot.
fn reference(spec: &Value) -> Option<&'static str> {
    if !text(spec, "serviceAccountName").is_empty() {
        return Some("serviceaccounts");
    }
    let containers = ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| items(&spec[list]));
    for container in containers {
        let sources = items(&container["envFrom"])
            .iter()
            .chain(items(&container["env"]).iter().map(|variable| &variable["valueFrom"]));
        for source in sources {
            for (key, what) in [
                ("secretRef", "secrets"),
                ("secretKeyRef", "secrets"),
                ("configMapRef", "configmaps"),
                ("configMapKeyRef", "configmaps"),
            ] {
                if !absent(source, key) {
                    return Some(what);
                }
            }
        }
    }
    if !items(&spec["imagePullSecrets"]).is_empty() {
        return Some("secrets");
    }
    if !items(&spec["resourceClaims"]).is_empty() {
        return Some("resourceclaims");
    }
    for volume in items(&spec["volumes"]) {
        for (key, what) in [
            ("configMap", "configmaps"),
            ("secret", "secrets"),
            ("persistentVolumeClaim", "persistentvolumeclaims"),
            ("ephemeral", "persistentvolumeclaims"),
            ("csi", "csidrivers (via CSI volume)"),
        ] {
            if !absent(volume, key) {
                return Some(what);
            }
        }
        for source in items(&volume["projected"]["sources"]) {
            for (key, what) in [
                ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
                ("configMap", "configmaps (via projected volumes)"),
                ("secret", "secrets (via projected volumes)"),
                ("clusterTrustBundle", "clustertrustbundles"),
            ] {
                if !absent(source, key) {
                    return Some(what);
                }
            }
        }
    }
    None
}

/// Labels that differ and that only an administrator may change.
fn forbidden_labels(new: &Value, old: &Value) -> Vec<String> {
    let changed: BTreeSet<&String> = entries(new)
        .chain(entries(old))
        .map(|(key, _)| key)
        .filter(|key| new.get(key.as_str()) != old.get(key.as_str()))
        .collect();
    let below = |domain: &str, parent: &str| {
        domain == parent || domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
    };
    changed
        .into_iter()
        .filter(|key| {
            let domain = key.split_once('/').map_or("", |(domain, _)| domain);
            let ours = below(domain, "kubernetes.io") || below(domain, "k8s.io");
            let kubelets = KUBELET_LABELS.contains(&key.as_str())
                || below(domain, "kubelet.kubernetes.io")
                || below(domain, "node.kubernetes.io");
            below(domain, "node-restriction.kubernetes.io") || (ours && !kubelets)
        })
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::UserInfo;
    use super::super::tests::{Objects, attributes};
    use super::*;
    use serde_json::json;

    fn kubelet() -> UserInfo {
        UserInfo {
            name: "system:node:n".into(),
            groups: vec!["system:nodes".into()],
            ..UserInfo::default()
        }
    }

    fn cluster() -> Objects {
        Objects(vec![
            ("nodes", json!({"metadata": {"name": "n", "uid": "u"}})),
            (
                "pods",
                json!({"metadata": {"name": "here", "namespace": "ns", "uid": "p"}, "spec": {
                    "nodeName": "n",
                    "volumes": [{"projected": {"sources": [{"serviceAccountToken": {"audience": "vault"}}]}}],
                }}),
            ),
            (
                "pods",
                json!({"metadata": {"name": "there", "namespace": "ns", "uid": "q"}, "spec": {"nodeName": "m"}}),
            ),
        ])
    }

    /// What the kubelet of node `n` is told.
    fn told(
        plural: &str,
        subresource: &str,
        operation: Operation,
        name: &str,
        object: &Value,
        old: Option<&Value>,
    ) -> Option<String> {
        let user = kubelet();
        let request = Attributes {
            user: &user,
            subresource,
            name,
            ..attributes(plural, operation)
        };
        let failure = admit(&request, object, old, &cluster()).err()?;
        let why = failure
            .message
            .split_once(" is forbidden: ")
            .map(|(_, why)| why.to_owned());
        Some(why.unwrap_or(failure.message))
    }

    #[test]
    fn a_kubelet_makes_only_mirror_pods_of_its_own() {
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true});
        let good = json!({
            "metadata": {"name": "x", "annotations": {MIRROR: "h"}, "ownerReferences": [owner]},
            "spec": {"nodeName": "n"},
        });
        let with = |change: &dyn Fn(&mut Value)| {
            let mut pod = good.clone();
            change(&mut pod);
            told("pods", "", Operation::Create, "x", &pod, None)
        };
        assert_eq!(with(&|_| ()), None);
        type Change<'a> = &'a dyn Fn(&mut Value);
        let table: [(Change<'_>, &str); 7] = [
            (
                &|pod| pod["metadata"]["annotations"] = json!({}),
                "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n\" can only create mirror pods",
            ),
            (
                &|pod| pod["spec"]["nodeName"] = json!("m"),
                "node \"n\" can only create pods with spec.nodeName set to itself",
            ),
            (
                &|pod| pod["metadata"]["ownerReferences"] = json!([]),
                "node \"n\" can only create pods with an owner reference set to itself",
            ),
            (
                &|pod| pod["metadata"]["ownerReferences"][0]["controller"] = json!(false),
                "node \"n\" can only create pods with a controller owner reference set to itself",
            ),
            (
                &|pod| pod["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = json!(true),
                "node \"n\" must not set blockOwnerDeletion on an owner reference",
            ),
            (
                &|pod| pod["metadata"]["ownerReferences"][0]["uid"] = json!("v"),
                "node n UID mismatch: expected v got u",
            ),
            (
                &|pod| pod["spec"]["volumes"] = json!([{"secret": {}}]),
                "node \"n\" can not create pods that reference secrets",
            ),
        ];
        for (change, why) in table {
            assert_eq!(with(change).as_deref(), Some(why));
        }
    }

    #[test]
    fn a_kubelet_reports_and_evicts_only_its_own_pods() {
        let pod = |node: &str, labels: Value| json!({"metadata": {"labels": labels}, "spec": {"nodeName": node}});
        let own = pod("n", json!({}));
        assert_eq!(told("pods", "status", Operation::Update, "x", &own, Some(&own)), None);
        assert_eq!(
            told(
                "pods",
                "status",
                Operation::Update,
                "x",
                &own,
                Some(&pod("m", json!({})))
            )
            .as_deref(),
            Some("node \"n\" can only update pod status for pods with spec.nodeName set to itself")
        );
        assert_eq!(
            told(
                "pods",
                "status",
                Operation::Update,
                "x",
                &own,
                Some(&pod("n", json!({"a": "b"})))
            )
            .as_deref(),
            Some("node \"n\" cannot update labels through pod status")
        );
        assert_eq!(
            told("pods", "eviction", Operation::Create, "here", &json!({}), None),
            None
        );
        assert_eq!(
            told("pods", "eviction", Operation::Create, "there", &json!({}), None).as_deref(),
            Some("node n can only evict pods with spec.nodeName set to itself")
        );
        assert_eq!(
            told("pods", "", Operation::Update, "x", &own, Some(&own)).as_deref(),
            Some("unexpected operation \"UPDATE\", node \"n\" can only create and delete mirror pods")
        );
        assert_eq!(
            told("pods", "exec", Operation::Connect, "x", &own, None).as_deref(),
            Some("unexpected pod subresource \"exec\", only 'status' and 'eviction' are allowed")
        );
    }

    #[test]
    fn a_kubelet_changes_only_its_own_node_and_not_all_of_it() {
        let node = |meta: Value, spec: Value| json!({"metadata": meta, "spec": spec});
        let plain = node(json!({"name": "n"}), json!({}));
        let update = |new: &Value| told("nodes", "", Operation::Update, "n", new, Some(&plain));
        assert_eq!(
            update(&node(
                json!({"labels": {"kubernetes.io/os": "linux", "a": "b"}}),
                json!({})
            )),
            None
        );
        for (new, why) in [
            (
                node(json!({}), json!({"taints": [{}]})),
                "node \"n\" is not allowed to modify taints",
            ),
            (
                node(json!({"ownerReferences": [{}]}), json!({})),
                "node \"n\" is not allowed to modify ownerReferences",
            ),
            (
                node(
                    json!({"labels": {"node-restriction.kubernetes.io/x": "", "x.k8s.io/y": ""}}),
                    json!({}),
                ),
                "is not allowed to modify labels: node-restriction.kubernetes.io/x, x.k8s.io/y",
            ),
        ] {
            assert_eq!(update(&new).as_deref(), Some(why));
        }
        assert_eq!(
            told("nodes", "", Operation::Update, "m", &plain, Some(&plain)).as_deref(),
            Some("node \"n\" is not allowed to modify node \"m\"")
        );
        let labelled = node(
            json!({"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}}),
            json!({}),
        );
        assert_eq!(
            told("nodes", "", Operation::Create, "n", &labelled, None).as_deref(),
            Some("node \"n\" is not allowed to set the following labels: node-role.kubernetes.io/control-plane")
        );
    }

    #[test]
    fn a_kubelet_gets_tokens_only_for_pods_it_runs() {
        let token = |spec: Value| {
            told(
                "serviceaccounts",
                "token",
                Operation::Create,
                "default",
                &json!({"spec": spec}),
                None,
            )
        };
        let bound = |name: &str, uid: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
        assert_eq!(
            token(json!({"boundObjectRef": bound("here", "p"), "audiences": ["vault"]})),
            None
        );
        for (spec, why) in [
            (json!({}), "node requested token not bound to a pod"),
            (
                json!({"boundObjectRef": bound("here", "")}),
                "node requested token with a pod binding without a uid",
            ),
            (
                json!({"boundObjectRef": bound("there", "q")}),
                "node requested token bound to a pod scheduled on a different node",
            ),
            (
                json!({"boundObjectRef": bound("here", "p"), "audiences": ["bank"]}),
                "audience \"bank\" not found in pod spec volume, system:node:n is not authorized to request tokens for this audience",
            ),
        ] {
            assert_eq!(token(spec).as_deref(), Some(why));
        }
    }

    #[test]
    fn a_kubelet_has_one_lease() {
        let lease = json!({"metadata": {"name": "n"}});
        assert_eq!(
            told("leases", "", Operation::Create, "n", &lease, None).as_deref(),
            Some("can only access leases in the \"kube-node-lease\" system namespace")
        );
        let user = kubelet();
        let request = Attributes {
            user: &user,
            namespace: LEASES,
            name: "m",
            ..attributes("leases", Operation::Update)
        };
        assert!(admit(&request, &lease, Some(&lease), &cluster()).is_err());
        assert_eq!(
            admit(&Attributes { name: "n", ..request }, &lease, Some(&lease), &cluster()),
            Ok(())
        );
    }
}
