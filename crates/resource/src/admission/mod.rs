//! Admission: the rules that need to look at other objects, or that belong to the cluster rather than to a kind.
//!
//! Each plugin of Kubernetes that the cluster runs is a module here. Plugins that change an object run before those
//! that only refuse, so that what is refused is what would have been stored.

mod namespace;
mod priority;
mod service_account;
mod toleration;

use crate::resource::ResourceInfo;
use crate::status::Failure;
use serde_json::Value;
use std::sync::Arc;

pub use priority::system_classes;

/// What admission may look at besides the request.
pub trait Lookup {
    /// A served resource.
    fn resource(&self, group: &str, version: &str, plural: &str) -> Option<Arc<ResourceInfo>>;
    /// One object; `namespace` is empty for cluster-scoped resources.
    fn get(&self, resource: &ResourceInfo, namespace: &str, name: &str) -> Option<Value>;
    /// All objects, in one namespace or in all if `namespace` is empty.
    fn list(&self, resource: &ResourceInfo, namespace: &str) -> Vec<Value>;
}

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Store a new object, or send one to a subresource.
    Create,
    /// Replace an object.
    Update,
    /// Remove an object.
    Delete,
}

/// A request as admission sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The resource in the path.
    pub resource: &'a Arc<ResourceInfo>,
    /// The subresource in the path.
    pub subresource: Option<&'a str>,
    /// What is to be done.
    pub operation: Operation,
    /// The namespace in the path, empty for cluster-scoped resources.
    pub namespace: &'a str,
    /// The name of the object; on create that may be the prefix of a name to be generated, or empty.
    pub name: &'a str,
}

impl Request<'_> {
    /// Whether it makes a new object of the core resource `plural`.
    fn creates(&self, plural: &str) -> bool {
        self.operation == Operation::Create && self.is_about(plural)
    }

    /// Whether it writes objects of the core resource `plural` themselves.
    fn is_about(&self, plural: &str) -> bool {
        self.subresource.is_none() && self.resource.group.is_empty() && self.resource.plural == plural
    }
}

/// Changes `object` as the cluster's rules want it, or says why the request is refused.
///
/// `old` is the stored object on update and delete; on delete `object` is null.
pub fn admit(
    request: &Request<'_>,
    object: &mut Value,
    old: Option<&Value>,
    lookup: &dyn Lookup,
) -> Result<(), Failure> {
    namespace::admit(request, lookup)?;
    if request.creates("pods") {
        service_account::admit(request, object, lookup)?;
        toleration::admit(object);
        priority::admit(request, object, lookup)?;
    }
    if request.operation == Operation::Update && request.is_about("pods") {
        keep_priority(object, old);
    }
    Ok(())
}

/// A pod's priority was decided when it was made; a client that leaves it out does not take it back.
fn keep_priority(pod: &mut Value, old: Option<&Value>) {
    let (Some(old), Some(spec)) = (old, crate::json::existing(pod, "spec")) else {
        return;
    };
    for key in ["priority", "preemptionPolicy"] {
        if crate::json::absent(spec, key) {
            crate::json::keep(spec, &old["spec"], key);
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
        fn resource(&self, group: &str, version: &str, plural: &str) -> Option<Arc<ResourceInfo>> {
            BUILT_IN.find(group, version, plural).cloned()
        }

        fn get(&self, resource: &ResourceInfo, namespace: &str, name: &str) -> Option<Value> {
            self.list(resource, namespace)
                .into_iter()
                .find(|o| o["metadata"]["name"] == name)
        }

        fn list(&self, resource: &ResourceInfo, namespace: &str) -> Vec<Value> {
            let here = |o: &Value| namespace.is_empty() || o["metadata"]["namespace"] == namespace;
            self.0
                .iter()
                .filter(|(plural, o)| *plural == resource.plural && here(o))
                .map(|(_, o)| o.clone())
                .collect()
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

    pub(crate) fn request(plural: &str, operation: Operation) -> Request<'_> {
        let resource = BUILT_IN.iter().find(|r| r.plural == plural).expect("served");
        Request {
            resource,
            subresource: None,
            operation,
            namespace: if resource.namespaced { "ns" } else { "" },
            name: "x",
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
        admit(&request("pods", Operation::Create), &mut pod, None, &usual()).expect("admitted");
        pods.default(&mut pod);
        assert_eq!(pods.validate_create(&pod), Vec::new());
        // What admission added, an update without it does not take away.
        let mut update = pod.clone();
        crate::json::remove(&mut update["spec"], "priority");
        admit(&request("pods", Operation::Update), &mut update, Some(&pod), &usual()).expect("admitted");
        assert!(crate::json::equal(&update, &pod));
        assert_eq!(pods.validate_update(&update, &pod, None), Vec::new());
    }
}
