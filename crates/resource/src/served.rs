//! The table of served resources: one row each.

use crate::kind::{
    Binding, ConfigMap, CoreEvent, Deployment, EndpointSlice, Endpoints, Lease, Namespace, NewEvent, Node, Plain, Pod,
    PriorityClass, ReplicaSet, Role, Secret, Service, ServiceAccount,
};
use crate::resource::{Resource, Subresource};

const ALL: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
/// Namespaces cannot be deleted by the dozen.
const ONE_BY_ONE: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const CREATE: &[&str] = &["create"];
const CHANGE: &[&str] = &["get", "patch", "update"];
const CONNECT: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

const fn sub(name: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Subresource {
    foreign(name, "", "", kind, verbs)
}

/// A subresource whose kind is of another group than the resource.
const fn foreign(
    name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource {
        name,
        group,
        version,
        kind,
        verbs,
    }
}

const SCALE: Subresource = foreign("scale", "autoscaling", "v1", "Scale", CHANGE);

/// What rows leave unsaid: namespaced, all verbs, nothing special.
const ROW: Resource = Resource {
    group: "",
    version: "v1",
    plural: "",
    singular: "",
    kind: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    verbs: ALL,
    subresources: &[],
    storage: "",
    logic: &Plain,
};

const AUTHORIZATION: Resource = Resource {
    group: "authorization.k8s.io",
    namespaced: false,
    verbs: CREATE,
    ..ROW
};

const AUTHENTICATION: Resource = Resource {
    group: "authentication.k8s.io",
    ..AUTHORIZATION
};

const RBAC: Resource = Resource {
    group: "rbac.authorization.k8s.io",
    ..ROW
};

/// Every resource the API server serves, in the order of discovery.
pub static RESOURCES: &[Resource] = &[
    Resource {
        plural: "bindings",
        singular: "binding",
        kind: "Binding",
        verbs: CREATE,
        ..ROW
    },
    Resource {
        plural: "configmaps",
        singular: "configmap",
        kind: "ConfigMap",
        short_names: &["cm"],
        storage: "configmaps",
        logic: &ConfigMap,
        ..ROW
    },
    Resource {
        plural: "endpoints",
        singular: "endpoints",
        kind: "Endpoints",
        short_names: &["ep"],
        storage: "endpoints",
        logic: &Endpoints,
        ..ROW
    },
    Resource {
        plural: "events",
        singular: "event",
        kind: "Event",
        short_names: &["ev"],
        storage: "events",
        logic: &CoreEvent,
        ..ROW
    },
    Resource {
        plural: "namespaces",
        singular: "namespace",
        kind: "Namespace",
        short_names: &["ns"],
        namespaced: false,
        verbs: ONE_BY_ONE,
        subresources: &[
            sub("finalize", "Namespace", &["update"]),
            sub("status", "Namespace", CHANGE),
        ],
        storage: "namespaces",
        logic: &Namespace,
        ..ROW
    },
    Resource {
        plural: "nodes",
        singular: "node",
        kind: "Node",
        short_names: &["no"],
        namespaced: false,
        subresources: &[sub("proxy", "NodeProxyOptions", PROXY), sub("status", "Node", CHANGE)],
        storage: "nodes",
        logic: &Node,
        ..ROW
    },
    Resource {
        plural: "pods",
        singular: "pod",
        kind: "Pod",
        short_names: &["po"],
        categories: &["all"],
        subresources: &[
            sub("attach", "PodAttachOptions", CONNECT),
            sub("binding", "Binding", CREATE),
            sub("ephemeralcontainers", "Pod", CHANGE),
            foreign("eviction", "policy", "v1", "Eviction", CREATE),
            sub("exec", "PodExecOptions", CONNECT),
            sub("log", "Pod", &["get"]),
            sub("portforward", "PodPortForwardOptions", CONNECT),
            sub("proxy", "PodProxyOptions", PROXY),
            sub("resize", "Pod", CHANGE),
            sub("status", "Pod", CHANGE),
        ],
        storage: "pods",
        logic: &Pod,
        ..ROW
    },
    Resource {
        plural: "secrets",
        singular: "secret",
        kind: "Secret",
        storage: "secrets",
        logic: &Secret,
        ..ROW
    },
    Resource {
        plural: "serviceaccounts",
        singular: "serviceaccount",
        kind: "ServiceAccount",
        short_names: &["sa"],
        subresources: &[foreign("token", "authentication.k8s.io", "v1", "TokenRequest", CREATE)],
        storage: "serviceaccounts",
        logic: &ServiceAccount,
        ..ROW
    },
    Resource {
        plural: "services",
        singular: "service",
        kind: "Service",
        short_names: &["svc"],
        categories: &["all"],
        subresources: &[
            sub("proxy", "ServiceProxyOptions", PROXY),
            sub("status", "Service", CHANGE),
        ],
        storage: "services",
        logic: &Service,
        ..ROW
    },
    Resource {
        group: "apps",
        plural: "deployments",
        singular: "deployment",
        kind: "Deployment",
        short_names: &["deploy"],
        categories: &["all"],
        subresources: &[SCALE, sub("status", "Deployment", CHANGE)],
        storage: "deployments",
        logic: &Deployment,
        ..ROW
    },
    Resource {
        group: "apps",
        plural: "replicasets",
        singular: "replicaset",
        kind: "ReplicaSet",
        short_names: &["rs"],
        categories: &["all"],
        subresources: &[SCALE, sub("status", "ReplicaSet", CHANGE)],
        storage: "replicasets",
        logic: &ReplicaSet,
        ..ROW
    },
    Resource {
        group: "events.k8s.io",
        plural: "events",
        singular: "event",
        kind: "Event",
        short_names: &["ev"],
        storage: "events",
        logic: &NewEvent,
        ..ROW
    },
    Resource {
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        kind: "SelfSubjectReview",
        ..AUTHENTICATION
    },
    Resource {
        plural: "tokenreviews",
        singular: "tokenreview",
        kind: "TokenReview",
        ..AUTHENTICATION
    },
    Resource {
        plural: "localsubjectaccessreviews",
        singular: "localsubjectaccessreview",
        kind: "LocalSubjectAccessReview",
        namespaced: true,
        ..AUTHORIZATION
    },
    Resource {
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        kind: "SelfSubjectAccessReview",
        ..AUTHORIZATION
    },
    Resource {
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        kind: "SelfSubjectRulesReview",
        ..AUTHORIZATION
    },
    Resource {
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        kind: "SubjectAccessReview",
        ..AUTHORIZATION
    },
    Resource {
        group: "coordination.k8s.io",
        plural: "leases",
        singular: "lease",
        kind: "Lease",
        storage: "leases",
        logic: &Lease,
        ..ROW
    },
    Resource {
        group: "discovery.k8s.io",
        plural: "endpointslices",
        singular: "endpointslice",
        kind: "EndpointSlice",
        storage: "endpointslices",
        logic: &EndpointSlice,
        ..ROW
    },
    Resource {
        plural: "clusterrolebindings",
        singular: "clusterrolebinding",
        kind: "ClusterRoleBinding",
        namespaced: false,
        storage: "clusterrolebindings",
        logic: &Binding,
        ..RBAC
    },
    Resource {
        plural: "clusterroles",
        singular: "clusterrole",
        kind: "ClusterRole",
        namespaced: false,
        storage: "clusterroles",
        logic: &Role,
        ..RBAC
    },
    Resource {
        plural: "rolebindings",
        singular: "rolebinding",
        kind: "RoleBinding",
        storage: "rolebindings",
        logic: &Binding,
        ..RBAC
    },
    Resource {
        plural: "roles",
        singular: "role",
        kind: "Role",
        storage: "roles",
        logic: &Role,
        ..RBAC
    },
    Resource {
        group: "scheduling.k8s.io",
        plural: "priorityclasses",
        singular: "priorityclass",
        kind: "PriorityClass",
        short_names: &["pc"],
        namespaced: false,
        storage: "priorityclasses",
        logic: &PriorityClass,
        ..ROW
    },
];

#[cfg(test)]
mod tests;
