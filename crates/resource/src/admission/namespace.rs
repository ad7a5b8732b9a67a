//! NamespaceLifecycle: objects are made only in namespaces that are there to stay.

use super::{Attributes, Lookup, Operation};
use crate::json::{absent, text};
use crate::status::Status;

/// Namespaces the cluster itself lives in.
const PROTECTED: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) fn admit(request: &Attributes<'_>, lookup: &dyn Lookup) -> Result<(), Status> {
    let resource = request.resource;
    if request.operation == Operation::Delete && request.is_about("namespaces") && PROTECTED.contains(&request.name) {
        return Err(Status::forbidden(
            resource,
            request.name,
            "this namespace may not be deleted",
        ));
    }
    // Reviews of access ask about namespaces, which need not exist.
    if !resource.namespaced || request.operation != Operation::Create || !needs_namespace(request) {
        return Ok(());
    }
    let Some(namespace) = lookup.get("", "namespaces", "", request.namespace) else {
        return Err(Status::missing("", "namespaces", request.namespace));
    };
    let going = !absent(&namespace["metadata"], "deletionTimestamp");
    if going || text(&namespace["status"], "phase") == "Terminating" {
        let name = request.namespace;
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        let cause = format!("namespace {name} is being terminated");
        return Err(Status::forbidden(resource, request.name, &why).with_cause(
            "NamespaceTerminating",
            &cause,
            "metadata.namespace",
        ));
    }
    Ok(())
}

/// Creating below an object, as exec does, needs the object rather than the namespace.
fn needs_namespace(request: &Attributes<'_>) -> bool {
    request.subresource.is_empty() && request.resource.stored()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Objects, attributes, usual};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_namespace_must_be_there() {
        let create = attributes("configmaps", Operation::Create);
        assert_eq!(admit(&create, &usual()), Ok(()));
        let failure = admit(&create, &Objects(Vec::new())).expect_err("no namespace");
        assert_eq!(
            (failure.code, failure.message.as_str()),
            (404, "namespaces \"ns\" not found")
        );
        let update = attributes("configmaps", Operation::Update);
        assert_eq!(admit(&update, &Objects(Vec::new())), Ok(()));
    }

    #[test]
    fn nothing_is_made_in_a_namespace_that_goes() {
        let going = Objects(vec![(
            "namespaces",
            json!({"metadata": {"name": "ns"}, "status": {"phase": "Terminating"}}),
        )]);
        let failure = admit(&attributes("configmaps", Operation::Create), &going).expect_err("refused");
        assert_eq!(
            failure.message,
            "configmaps \"x\" is forbidden: unable to create new content in namespace ns because it is being terminated"
        );
        assert_eq!(
            failure.details["causes"],
            json!([{
                "reason": "NamespaceTerminating",
                "message": "namespace ns is being terminated",
                "field": "metadata.namespace",
            }])
        );
    }

    #[test]
    fn the_clusters_own_namespaces_stay() {
        for (name, stays) in [
            ("default", true),
            ("kube-system", true),
            ("kube-public", true),
            ("ns", false),
        ] {
            let request = Attributes {
                name,
                ..attributes("namespaces", Operation::Delete)
            };
            let answer = admit(&request, &usual());
            assert_eq!(answer.is_err(), stays, "{name}");
            if let Err(failure) = answer {
                assert_eq!(
                    failure.message,
                    format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted")
                );
            }
        }
    }
}
