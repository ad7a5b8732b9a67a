//! Admission: the rules that need to look at other objects, or that belong to the cluster rather than to a kind.
//!
//! Each plugin of Kubernetes that is compiled into the server is a module here, as pure functions. They run in two
//! phases, as in Kubernetes: [`mutate`] before an object is prepared and validated, and [`validate`] after that, so that
//! what is judged is what would be stored. Webhooks and policies, which somebody else writes, run between them in
//! `knarr-apiserver`.

mod attributes;
mod certificates;
mod default_class;
mod limit_ranger;
mod namespace;
mod node_restriction;
mod pod_security;
mod priority;
pub mod resource_quota;
mod runtime_class;
mod service_account;
mod storage;
mod toleration;

use crate::json::{absent, existing, keep};
use crate::status::Status;
pub use attributes::{Attributes, Notes, Operation, UserInfo};
pub use pod_security::{Level, PodSecurity};
pub use priority::system_classes;
use serde_json::Value;
use std::sync::Arc;

/// What admission may look at besides the request.
pub trait Lookup {
    /// One object of the built-in resource `plural`; `namespace` is empty for cluster-scoped resources.
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// All objects of the resource, in one namespace or in all if `namespace` is empty.
    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Value>>;
    /// Whether a user may do something with a cluster-scoped resource.
    fn allowed(&self, user: &UserInfo, verb: &str, group: &str, plural: &str, name: &str) -> bool;
}

/// The first phase: makes of `object` what the cluster's rules want it to be, or says why the request is refused.
///
/// `old` is the stored object on update and delete; on delete `object` is null.
pub fn mutate(
    request: &Attributes<'_>,
    object: &mut Value,
    old: Option<&Value>,
    lookup: &dyn Lookup,
) -> Result<(), Status> {
    namespace::admit(request, lookup)?;
    certificates::mutate(request, object);
    limit_ranger::mutate(request, object, old, lookup);
    if request.creates("pods") {
        service_account::mutate(request, object, lookup)?;
    }
    node_restriction::admit(request, object, old, lookup)?;
    if request.creates("nodes") {
        taint_not_ready(object);
    }
    storage::mutate(request, object);
    default_class::mutate(request, object, lookup);
    if request.creates("pods") {
        priority::mutate(request, object, lookup)?;
        toleration::mutate(object);
        runtime_class::mutate(request, object, lookup)?;
    }
    if request.operation == Operation::Update && request.is_about("pods") {
        keep_priority(object, old);
    }
    Ok(())
}

/// The second phase: says why an object, complete and valid, is refused all the same.
pub fn validate(
    request: &Attributes<'_>,
    object: &Value,
    old: Option<&Value>,
    lookup: &dyn Lookup,
    security: &PodSecurity,
    notes: &mut Notes,
) -> Result<(), Status> {
    limit_ranger::validate(request, object, old, lookup)?;
    certificates::validate(request, object, old, lookup)?;
    if request.creates("pods") {
        service_account::validate(request, object, lookup)?;
        runtime_class::validate(request, object, lookup)?;
    }
    security.validate(request, object, old, lookup, notes)?;
    storage::validate(request, object, old, lookup)?;
    priority::validate(request, object, lookup)
}

/// TaintNodesByCondition: nothing is scheduled to a node before it said that it is ready.
fn taint_not_ready(node: &mut Value) {
    const NOT_READY: &str = "node.kubernetes.io/not-ready";
    let Some(spec) = crate::json::object(node, "spec") else {
        return;
    };
    let mut taints = crate::json::items(&spec["taints"]).to_vec();
    let has = taints
        .iter()
        .any(|taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule");
    if !has {
        taints.push(serde_json::json!({"key": NOT_READY, "effect": "NoSchedule"}));
        crate::json::set(spec, "taints", taints);
    }
}

/// A pod's priority was decided when it was made; a client that leaves it out does not take it back.
fn keep_priority(pod: &mut Value, old: Option<&Value>) {
    let (Some(old), Some(spec)) = (old, existing(pod, "spec")) else {
        return;
    };
    for key in ["priority", "preemptionPolicy"] {
        if absent(spec, key) {
            keep(spec, &old["spec"], key);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::resource::tests::BUILT_IN;
    use serde_json::json;

    /// A cluster of a few objects.
    pub(crate) struct Objects(pub Vec<(&'static str, Value)>);

    impl Lookup for Objects {
        fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
            self.list(group, plural, namespace)
                .into_iter()
                .find(|o| o["metadata"]["name"] == name)
        }

        fn list(&self, _group: &str, plural: &str, namespace: &str) -> Vec<Arc<Value>> {
            let here = |o: &Value| namespace.is_empty() || o["metadata"]["namespace"] == namespace;
            self.0
                .iter()
                .filter(|(own, o)| *own == plural && here(o))
                .map(|(_, o)| Arc::new(o.clone()))
                .collect()
        }

        fn allowed(&self, _user: &UserInfo, _verb: &str, _group: &str, _plural: &str, _name: &str) -> bool {
            false
        }
    }

    /// A namespace `ns` with its default service account.
    pub(crate) fn usual() -> Objects {
        Objects(vec![
            (
                "namespaces",
                json!({"metadata": {"name": "ns"}, "status": {"phase": "Active"}}),
            ),
            (
                "serviceaccounts",
                json!({"metadata": {"name": "default", "namespace": "ns"}}),
            ),
        ])
    }

    static NOBODY: UserInfo = UserInfo {
        name: String::new(),
        uid: String::new(),
        groups: Vec::new(),
        extra: std::collections::BTreeMap::new(),
    };

    pub(crate) fn attributes(plural: &str, operation: Operation) -> Attributes<'_> {
        let resource = BUILT_IN.iter().find(|r| r.plural == plural).expect("served");
        Attributes {
            resource,
            subresource: "",
            operation,
            namespace: if resource.namespaced { "ns" } else { "" },
            name: "x",
            user: &NOBODY,
            dry_run: false,
            options: &Value::Null,
        }
    }

    #[test]
    fn an_admitted_pod_still_validates() {
        let pods = BUILT_IN.find("", "v1", "pods").expect("served");
        let mut pod = json!({
            "metadata": {"name": "x", "namespace": "ns"},
            "spec": {"containers": [{"name": "c", "image": "i"}], "initContainers": [{"name": "d", "image": "i"}]},
        });
        pods.default(&mut pod);
        mutate(&attributes("pods", Operation::Create), &mut pod, None, &usual()).expect("admitted");
        pods.default(&mut pod);
        assert_eq!(pods.validate_create(&pod), Vec::new());
        // What admission added, an update without it does not take away.
        let mut update = pod.clone();
        crate::json::remove(&mut update["spec"], "priority");
        mutate(
            &attributes("pods", Operation::Update),
            &mut update,
            Some(&pod),
            &usual(),
        )
        .expect("admitted");
        assert!(crate::json::equal(&update, &pod));
        assert_eq!(pods.validate_update(&update, &pod, None), Vec::new());
    }
}
