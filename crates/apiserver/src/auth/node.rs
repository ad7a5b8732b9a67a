//! The Node authorizer: a kubelet reads what the pods of its node need, and nothing else.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/node/>. What a kubelet may write NodeRestriction
//! judges, which sees the objects.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::defaults;
use super::rbac::{Attributes, Rule, own_rules};
use crate::store::{self, Change, Lane, Object, Slot, Store};

const LEASES: &str = "kube-node-lease";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Events of pods that are looked at in one go.
const BATCH: usize = 512;

/// Judges requests of kubelets.
pub(crate) struct NodeAuthorizer {
    store: Store,
    pods: Slot,
    volumes: Option<Slot>,
    attachments: Option<Slot>,
    /// What every node may do.
    rules: Vec<Rule>,
    graph: Mutex<Graph>,
}

/// An object that a pod needs: the plural of its resource and its key.
type Need = (&'static str, Box<str>);

/// Which nodes have pods that need an object. It reads on in the history of the pods whenever it is asked, so that it is
/// never behind what a kubelet has seen.
#[derive(Default)]
struct Graph {
    /// Up to which version it is complete; none before it was first asked.
    version: Option<u64>,
    /// By key: the node of a pod and what it needs.
    pods: HashMap<Box<str>, (Box<str>, Vec<Need>)>,
    /// How many pods of each node need it.
    nodes: HashMap<Need, HashMap<Box<str>, usize>>,
}

impl Graph {
    fn forget(&mut self, key: &str) {
        let Some((node, needs)) = self.pods.remove(key) else {
            return;
        };
        for need in needs {
            let Some(nodes) = self.nodes.get_mut(&need) else {
                continue;
            };
            if let Some(count) = nodes.get_mut(&node) {
                *count -= 1;
                if *count == 0 {
                    nodes.remove(&node);
                }
            }
            if nodes.is_empty() {
                self.nodes.remove(&need);
            }
        }
    }

    fn learn(&mut self, pod: &Object) {
        self.forget(&pod.key);
        let Some(node) = pod.index.fields.get("spec.nodeName").filter(|node| !node.is_empty()) else {
            return;
        };
        let mut needs = vec![("pods", pod.key.clone())];
        needs.extend(needs_of(&pod.value()).into_iter().map(|(plural, name)| {
            let key = store::key(pod.namespace(), &name);
            (plural, key.into())
        }));
        needs.sort();
        needs.dedup();
        for need in &needs {
            let nodes = self.nodes.entry(need.clone()).or_default();
            *nodes.entry(node.into()).or_default() += 1;
        }
        self.pods.insert(pod.key.clone(), (node.into(), needs));
    }

    fn catch_up(&mut self, store: &Store, pods: Slot) {
        while let Some(version) = self.version {
            let Ok((events, complete)) = store.events(pods, &Lane::All, version, BATCH) else {
                break;
            };
            for event in &events {
                match event.change {
                    Change::Deleted => self.forget(&event.object.key),
                    Change::Added | Change::Modified => self.learn(&event.object),
                }
            }
            self.version = Some(complete);
            if events.len() < BATCH {
                return;
            }
        }
        // Too much has happened for the history to tell.
        let all = store.list(pods, None);
        *self = Self::default();
        all.objects.iter().for_each(|pod| self.learn(pod));
        self.version = Some(all.version);
    }
}

impl NodeAuthorizer {
    /// For the pods of this store. `slot` finds the tables of core and storage resources.
    pub(crate) fn new(store: Store, slot: impl Fn(&'static str, &'static str) -> Option<Slot>) -> Option<Self> {
        let role = defaults::policy()
            .into_iter()
            .find(|own| own.plural == "clusterroles" && own.object["metadata"]["name"] == "system:node")?;
        Some(Self {
            store,
            pods: slot("", "pods")?,
            volumes: slot("", "persistentvolumes"),
            attachments: slot("storage.k8s.io", "volumeattachments"),
            rules: own_rules(&role.object),
            graph: Mutex::default(),
        })
    }

    /// Whether the kubelet of `node` may.
    ///
    /// # Errors
    /// Why not, which may be empty.
    pub(crate) fn authorize(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        if asked.path.is_none() {
            match (asked.group, asked.resource) {
                ("", "secrets") => return self.read(node, "secrets", asked),
                ("", "configmaps") => return self.read(node, "configmaps", asked),
                ("", "persistentvolumeclaims") if asked.subresource == "status" => {
                    only(asked, &["update", "patch"], "can only get/update/patch this type")?;
                    return self.related(node, "persistentvolumeclaims", asked);
                }
                ("", "persistentvolumeclaims") => return self.get(node, "persistentvolumeclaims", asked),
                ("", "persistentvolumes") => return self.get(node, "persistentvolumes", asked),
                ("storage.k8s.io", "volumeattachments") => return self.get(node, "volumeattachments", asked),
                ("", "serviceaccounts") if asked.verb == "get" && asked.subresource.is_empty() => {
                    return self.read(node, "serviceaccounts", asked);
                }
                ("", "serviceaccounts") => return self.token(node, asked),
                ("coordination.k8s.io", "leases") => {
                    if asked.namespace != LEASES {
                        return Err(format!("can only access leases in the \"{LEASES}\" system namespace"));
                    }
                    return own_object(node, asked, "node lease", "a node lease");
                }
                ("storage.k8s.io", "csinodes") => return own_object(node, asked, "CSINode", "a CSINode"),
                ("", "nodes") => return own_node(node, asked),
                ("", "pods") => return self.pod(node, asked),
                _ => {}
            }
        }
        match self.rules.iter().any(|rule| rule.allows(asked)) {
            true => Ok(()),
            false => Err(String::new()),
        }
    }

    /// Reads of a single object.
    fn read(&self, node: &str, plural: &'static str, asked: &Attributes<'_>) -> Result<(), String> {
        only(asked, &["get", "list", "watch"], "can only read resources of this type")?;
        no_subresource(asked, "cannot read subresource")?;
        if asked.namespace.is_empty() {
            return Err("can only read namespaced object of this type".into());
        }
        self.related(node, plural, asked)
    }

    fn get(&self, node: &str, plural: &'static str, asked: &Attributes<'_>) -> Result<(), String> {
        only(asked, &["get"], "can only get individual resources of this type")?;
        no_subresource(asked, "cannot get subresource")?;
        self.related(node, plural, asked)
    }

    fn token(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        if asked.verb != "create" || asked.name.is_empty() {
            return Err("can only create tokens for individual service accounts".into());
        }
        if asked.subresource != "token" {
            return Err("can only create token subresource of serviceaccount".into());
        }
        self.related(node, "serviceaccounts", asked)
    }

    fn pod(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        match (asked.subresource, asked.verb) {
            ("", "get") => self.get(node, "pods", asked),
            ("", "list" | "watch") => {
                if asked.selects_field("spec.nodeName", node) {
                    return Ok(());
                }
                match asked.name {
                    "" => Err("can only list/watch pods with spec.nodeName field selector".into()),
                    _ => self.related(node, "pods", asked),
                }
            }
            // NodeRestriction sees to it that they are mirror pods, and this node's.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => Err(String::new()),
        }
    }

    /// Whether the object has to do with the pods of the node.
    fn related(&self, node: &str, plural: &'static str, asked: &Attributes<'_>) -> Result<(), String> {
        if asked.name.is_empty() {
            return Err("No Object name found".into());
        }
        let key = store::key(asked.namespace, asked.name);
        let related = match plural {
            "persistentvolumes" => self.stored(self.volumes, &key).is_some_and(|volume| {
                let claim = &volume["spec"]["claimRef"];
                let text = |key: &str| claim[key].as_str().unwrap_or_default();
                let key = store::key(text("namespace"), text("name"));
                self.needs(node, ("persistentvolumeclaims", key.into()))
            }),
            "volumeattachments" => self
                .stored(self.attachments, &key)
                .is_some_and(|attachment| attachment["spec"]["nodeName"] == node),
            _ => self.needs(node, (plural, key.into())),
        };
        match related {
            true => Ok(()),
            false => Err(format!("no relationship found between node '{node}' and this object")),
        }
    }

    fn stored(&self, slot: Option<Slot>, key: &str) -> Option<Value> {
        Some(self.store.get(slot?, key)?.value())
    }

    fn needs(&self, node: &str, need: Need) -> bool {
        let mut graph = self.graph.lock().unwrap_or_else(PoisonError::into_inner);
        graph.catch_up(&self.store, self.pods);
        graph.nodes.get(&need).is_some_and(|nodes| nodes.contains_key(node))
    }
}

fn only(asked: &Attributes<'_>, verbs: &[&str], why: &str) -> Result<(), String> {
    match verbs.contains(&asked.verb) {
        true => Ok(()),
        false => Err(why.to_owned()),
    }
}

fn no_subresource(asked: &Attributes<'_>, why: &str) -> Result<(), String> {
    match asked.subresource {
        "" => Ok(()),
        _ => Err(why.to_owned()),
    }
}

/// Its own object, of the same name. What a new one is called NodeRestriction sees.
fn own_object(node: &str, asked: &Attributes<'_>, what: &str, one: &str) -> Result<(), String> {
    const VERBS: [&str; 5] = ["get", "create", "update", "patch", "delete"];
    let why = format!("can only get, create, update, patch, or delete {one}");
    only(asked, &VERBS, &why)?;
    no_subresource(asked, &format!("cannot authorize {what} subresources"))?;
    match asked.verb == "create" || asked.name == node {
        true => Ok(()),
        false => Err(format!(
            "can only access {what} with the same name as the requesting node"
        )),
    }
}

fn own_node(node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    match (asked.subresource, asked.verb) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") => match asked.name {
            name if name == node => Ok(()),
            "" => Err(format!("node '{node}' cannot read all nodes, only its own Node object")),
            name => Err(format!("node '{node}' cannot read '{name}', only its own Node object")),
        },
        _ => Err(String::new()),
    }
}

/// The objects of its namespace that a pod leans on, as plural and name.
fn needs_of(pod: &Value) -> Vec<(&'static str, String)> {
    let mut needs = Vec::new();
    // Nobody approved the pod of a file, so it opens no doors.
    if !pod["metadata"]["annotations"][MIRROR].is_null() {
        return needs;
    }
    let mut need = |plural: &'static str, name: &Value| {
        if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
            needs.push((plural, name.to_owned()));
        }
    };
    let spec = &pod["spec"];
    let list = |owner: &'_ Value, key: &str| owner[key].as_array().cloned().unwrap_or_default();
    need("serviceaccounts", &spec["serviceAccountName"]);
    for secret in list(spec, "imagePullSecrets") {
        need("secrets", &secret["name"]);
    }
    for container in ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|key| list(spec, key))
    {
        for source in list(&container, "envFrom") {
            need("secrets", &source["secretRef"]["name"]);
            need("configmaps", &source["configMapRef"]["name"]);
        }
        for variable in list(&container, "env") {
            need("secrets", &variable["valueFrom"]["secretKeyRef"]["name"]);
            need("configmaps", &variable["valueFrom"]["configMapKeyRef"]["name"]);
        }
    }
    for volume in list(spec, "volumes") {
        need("secrets", &volume["secret"]["secretName"]);
        need("configmaps", &volume["configMap"]["name"]);
        for source in list(&volume["projected"], "sources") {
            need("secrets", &source["secret"]["name"]);
            need("configmaps", &source["configMap"]["name"]);
        }
        need("persistentvolumeclaims", &volume["persistentVolumeClaim"]["claimName"]);
        if let (true, Some(volume), Some(pod)) = (
            volume["ephemeral"].is_object(),
            volume["name"].as_str(),
            pod["metadata"]["name"].as_str(),
        ) {
            need("persistentvolumeclaims", &Value::from(format!("{pod}-{volume}")));
        }
        need("secrets", &volume["azureFile"]["secretName"]);
        need("secrets", &volume["csi"]["nodePublishSecretRef"]["name"]);
        for plugin in ["cephfs", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"] {
            need("secrets", &volume[plugin]["secretRef"]["name"]);
        }
    }
    needs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_pod_needs_is_found_wherever_it_is_named() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "serviceAccountName": "robot",
            "imagePullSecrets": [{"name": "pull"}],
            "initContainers": [{"envFrom": [{"configMapRef": {"name": "all"}}]}],
            "containers": [{"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "a"}}}]}],
            "volumes": [
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
                {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "both", "projected": {"sources": [{"secret": {"name": "s"}}, {"configMap": {"name": "c"}}]}},
            ],
        }});
        let named = |plural: &str| -> Vec<String> {
            let needs = needs_of(&pod).into_iter();
            needs.filter(|(own, _)| *own == plural).map(|(_, name)| name).collect()
        };
        assert_eq!(named("secrets"), ["pull", "key", "s"]);
        assert_eq!(named("configmaps"), ["all", "c"]);
        assert_eq!(named("persistentvolumeclaims"), ["p-scratch", "data"]);
        assert_eq!(named("serviceaccounts"), ["robot"]);
    }
}
