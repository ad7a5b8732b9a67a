//! The table of served resources: one row each.

use crate::kind::Kind;
use crate::kind::{
    AdmissionPolicy, AdmissionPolicyBinding, ApiService, Binding, CertificateSigningRequest, ConfigMap,
    ControllerRevision, CoreEvent, CronJob, CsiDriver, CsiNode, CsiStorageCapacity, CustomResourceDefinition,
    DaemonSet, Deployment, EndpointSlice, Endpoints, FirstHorizontalPodAutoscaler, HorizontalPodAutoscaler, Ingress,
    IngressClass, Job, Lease, LimitRange, Namespace, NetworkPolicy, NewEvent, Node, PersistentVolume,
    PersistentVolumeClaim, Plain, Pod, PodDisruptionBudget, PodTemplate, PriorityClass, ReplicaSet,
    ReplicationController, ResourceQuota, Role, RuntimeClass, Secret, Service, ServiceAccount, StatefulSet,
    StorageClass, VolumeAttachment, VolumeAttributesClass, WebhookConfiguration,
};
use crate::resource::{ResourceInfo, Subresource};
use knarr_schema::{Schema, lookup};
use std::borrow::Cow;
use std::sync::Arc;

pub(crate) const ALL: &[&str] = &[
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
pub(crate) const CHANGE: &[&str] = &["get", "patch", "update"];
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
        kind: Cow::Borrowed(kind),
        verbs,
    }
}

const SCALE: Subresource = foreign("scale", "autoscaling", "v1", "Scale", CHANGE);

/// One built-in resource; see [`ResourceInfo`].
struct Row {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    namespaced: bool,
    verbs: &'static [&'static str],
    subresources: &'static [Subresource],
    storage: &'static str,
    strategy: fn() -> Arc<dyn Kind>,
}

impl Row {
    fn info(&self, native: bool) -> ResourceInfo {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        ResourceInfo {
            group: self.group.into(),
            version: self.version.into(),
            plural: self.plural.into(),
            singular: self.singular.into(),
            kind: self.kind.into(),
            list_kind: format!("{}List", self.kind),
            short_names: owned(self.short_names),
            categories: owned(self.categories),
            namespaced: self.namespaced,
            verbs: self.verbs,
            subresources: self.subresources.to_vec(),
            storage: self.storage.into(),
            native,
            schema: lookup(self.group, self.version, self.kind).unwrap_or(Schema::OBJECT),
            definition: None,
            strategy: (self.strategy)(),
        }
    }
}

/// What rows leave unsaid: namespaced, all verbs, nothing special.
const ROW: Row = Row {
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
    strategy: || Arc::new(Plain),
};

const AUTHORIZATION: Row = Row {
    group: "authorization.k8s.io",
    namespaced: false,
    verbs: CREATE,
    ..ROW
};

const AUTHENTICATION: Row = Row {
    group: "authentication.k8s.io",
    ..AUTHORIZATION
};

/// Measured when asked for: nothing is stored.
const METRICS: Row = Row {
    group: "metrics.k8s.io",
    version: "v1beta1",
    verbs: &["get", "list"],
    ..ROW
};

const RBAC: Row = Row {
    group: "rbac.authorization.k8s.io",
    ..ROW
};

const REGISTRATION: Row = Row {
    group: "admissionregistration.k8s.io",
    namespaced: false,
    ..ROW
};

const AUTOSCALER: Row = Row {
    group: "autoscaling",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    kind: "HorizontalPodAutoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    subresources: &[sub("status", "HorizontalPodAutoscaler", CHANGE)],
    storage: "horizontalpodautoscalers",
    ..ROW
};

const NETWORKING: Row = Row {
    group: "networking.k8s.io",
    ..ROW
};

const STORAGE: Row = Row {
    group: "storage.k8s.io",
    namespaced: false,
    ..ROW
};

/// Every resource that is built in, in the order of discovery. Of those that share a storage, the first is the native one.
pub(crate) fn built_in() -> Vec<Arc<ResourceInfo>> {
    let mut stored: Vec<&str> = Vec::new();
    ROWS.iter()
        .map(|row| {
            let native = !stored.contains(&row.storage);
            stored.push(row.storage);
            Arc::new(row.info(native))
        })
        .collect()
}

static ROWS: &[Row] = &[
    Row {
        plural: "bindings",
        singular: "binding",
        kind: "Binding",
        verbs: CREATE,
        ..ROW
    },
    Row {
        plural: "configmaps",
        singular: "configmap",
        kind: "ConfigMap",
        short_names: &["cm"],
        storage: "configmaps",
        strategy: || Arc::new(ConfigMap),
        ..ROW
    },
    Row {
        plural: "endpoints",
        singular: "endpoints",
        kind: "Endpoints",
        short_names: &["ep"],
        storage: "endpoints",
        strategy: || Arc::new(Endpoints),
        ..ROW
    },
    Row {
        plural: "events",
        singular: "event",
        kind: "Event",
        short_names: &["ev"],
        storage: "events",
        strategy: || Arc::new(CoreEvent),
        ..ROW
    },
    Row {
        plural: "limitranges",
        singular: "limitrange",
        kind: "LimitRange",
        short_names: &["limits"],
        storage: "limitranges",
        strategy: || Arc::new(LimitRange),
        ..ROW
    },
    Row {
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
        strategy: || Arc::new(Namespace),
        ..ROW
    },
    Row {
        plural: "nodes",
        singular: "node",
        kind: "Node",
        short_names: &["no"],
        namespaced: false,
        subresources: &[sub("proxy", "NodeProxyOptions", PROXY), sub("status", "Node", CHANGE)],
        storage: "nodes",
        strategy: || Arc::new(Node),
        ..ROW
    },
    Row {
        plural: "persistentvolumeclaims",
        singular: "persistentvolumeclaim",
        kind: "PersistentVolumeClaim",
        short_names: &["pvc"],
        subresources: &[sub("status", "PersistentVolumeClaim", CHANGE)],
        storage: "persistentvolumeclaims",
        strategy: || Arc::new(PersistentVolumeClaim),
        ..ROW
    },
    Row {
        plural: "persistentvolumes",
        singular: "persistentvolume",
        kind: "PersistentVolume",
        short_names: &["pv"],
        namespaced: false,
        subresources: &[sub("status", "PersistentVolume", CHANGE)],
        storage: "persistentvolumes",
        strategy: || Arc::new(PersistentVolume),
        ..ROW
    },
    Row {
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
        strategy: || Arc::new(Pod),
        ..ROW
    },
    Row {
        plural: "podtemplates",
        singular: "podtemplate",
        kind: "PodTemplate",
        storage: "podtemplates",
        strategy: || Arc::new(PodTemplate),
        ..ROW
    },
    Row {
        plural: "replicationcontrollers",
        singular: "replicationcontroller",
        kind: "ReplicationController",
        short_names: &["rc"],
        categories: &["all"],
        subresources: &[SCALE, sub("status", "ReplicationController", CHANGE)],
        storage: "replicationcontrollers",
        strategy: || Arc::new(ReplicationController),
        ..ROW
    },
    Row {
        plural: "resourcequotas",
        singular: "resourcequota",
        kind: "ResourceQuota",
        short_names: &["quota"],
        subresources: &[sub("status", "ResourceQuota", CHANGE)],
        storage: "resourcequotas",
        strategy: || Arc::new(ResourceQuota),
        ..ROW
    },
    Row {
        plural: "secrets",
        singular: "secret",
        kind: "Secret",
        storage: "secrets",
        strategy: || Arc::new(Secret),
        ..ROW
    },
    Row {
        plural: "serviceaccounts",
        singular: "serviceaccount",
        kind: "ServiceAccount",
        short_names: &["sa"],
        subresources: &[foreign("token", "authentication.k8s.io", "v1", "TokenRequest", CREATE)],
        storage: "serviceaccounts",
        strategy: || Arc::new(ServiceAccount),
        ..ROW
    },
    Row {
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
        strategy: || Arc::new(Service),
        ..ROW
    },
    Row {
        plural: "mutatingadmissionpolicies",
        singular: "mutatingadmissionpolicy",
        kind: "MutatingAdmissionPolicy",
        storage: "mutatingadmissionpolicies",
        strategy: || Arc::new(AdmissionPolicy { mutating: true }),
        ..REGISTRATION
    },
    Row {
        plural: "mutatingadmissionpolicybindings",
        singular: "mutatingadmissionpolicybinding",
        kind: "MutatingAdmissionPolicyBinding",
        storage: "mutatingadmissionpolicybindings",
        strategy: || Arc::new(AdmissionPolicyBinding { mutating: true }),
        ..REGISTRATION
    },
    Row {
        plural: "mutatingwebhookconfigurations",
        singular: "mutatingwebhookconfiguration",
        kind: "MutatingWebhookConfiguration",
        storage: "mutatingwebhookconfigurations",
        strategy: || Arc::new(WebhookConfiguration { mutating: true }),
        ..REGISTRATION
    },
    Row {
        plural: "validatingadmissionpolicies",
        singular: "validatingadmissionpolicy",
        kind: "ValidatingAdmissionPolicy",
        subresources: &[sub("status", "ValidatingAdmissionPolicy", CHANGE)],
        storage: "validatingadmissionpolicies",
        strategy: || Arc::new(AdmissionPolicy { mutating: false }),
        ..REGISTRATION
    },
    Row {
        plural: "validatingadmissionpolicybindings",
        singular: "validatingadmissionpolicybinding",
        kind: "ValidatingAdmissionPolicyBinding",
        storage: "validatingadmissionpolicybindings",
        strategy: || Arc::new(AdmissionPolicyBinding { mutating: false }),
        ..REGISTRATION
    },
    Row {
        plural: "validatingwebhookconfigurations",
        singular: "validatingwebhookconfiguration",
        kind: "ValidatingWebhookConfiguration",
        storage: "validatingwebhookconfigurations",
        strategy: || Arc::new(WebhookConfiguration { mutating: false }),
        ..REGISTRATION
    },
    Row {
        group: "apiextensions.k8s.io",
        plural: "customresourcedefinitions",
        singular: "customresourcedefinition",
        kind: "CustomResourceDefinition",
        short_names: &["crd", "crds"],
        categories: &["api-extensions"],
        namespaced: false,
        subresources: &[sub("status", "CustomResourceDefinition", CHANGE)],
        storage: "customresourcedefinitions",
        strategy: || Arc::new(CustomResourceDefinition),
        ..ROW
    },
    Row {
        group: "apiregistration.k8s.io",
        plural: "apiservices",
        singular: "apiservice",
        kind: "APIService",
        categories: &["api-extensions"],
        namespaced: false,
        subresources: &[sub("status", "APIService", CHANGE)],
        storage: "apiservices",
        strategy: || Arc::new(ApiService),
        ..ROW
    },
    Row {
        group: "apps",
        plural: "controllerrevisions",
        singular: "controllerrevision",
        kind: "ControllerRevision",
        storage: "controllerrevisions",
        strategy: || Arc::new(ControllerRevision),
        ..ROW
    },
    Row {
        group: "apps",
        plural: "daemonsets",
        singular: "daemonset",
        kind: "DaemonSet",
        short_names: &["ds"],
        categories: &["all"],
        subresources: &[sub("status", "DaemonSet", CHANGE)],
        storage: "daemonsets",
        strategy: || Arc::new(DaemonSet),
        ..ROW
    },
    Row {
        group: "apps",
        plural: "deployments",
        singular: "deployment",
        kind: "Deployment",
        short_names: &["deploy"],
        categories: &["all"],
        subresources: &[SCALE, sub("status", "Deployment", CHANGE)],
        storage: "deployments",
        strategy: || Arc::new(Deployment),
        ..ROW
    },
    Row {
        group: "apps",
        plural: "replicasets",
        singular: "replicaset",
        kind: "ReplicaSet",
        short_names: &["rs"],
        categories: &["all"],
        subresources: &[SCALE, sub("status", "ReplicaSet", CHANGE)],
        storage: "replicasets",
        strategy: || Arc::new(ReplicaSet),
        ..ROW
    },
    Row {
        group: "apps",
        plural: "statefulsets",
        singular: "statefulset",
        kind: "StatefulSet",
        short_names: &["sts"],
        categories: &["all"],
        subresources: &[SCALE, sub("status", "StatefulSet", CHANGE)],
        storage: "statefulsets",
        strategy: || Arc::new(StatefulSet),
        ..ROW
    },
    Row {
        group: "events.k8s.io",
        plural: "events",
        singular: "event",
        kind: "Event",
        short_names: &["ev"],
        storage: "events",
        strategy: || Arc::new(NewEvent),
        ..ROW
    },
    Row {
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        kind: "SelfSubjectReview",
        ..AUTHENTICATION
    },
    Row {
        plural: "tokenreviews",
        singular: "tokenreview",
        kind: "TokenReview",
        ..AUTHENTICATION
    },
    Row {
        plural: "localsubjectaccessreviews",
        singular: "localsubjectaccessreview",
        kind: "LocalSubjectAccessReview",
        namespaced: true,
        ..AUTHORIZATION
    },
    Row {
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        kind: "SelfSubjectAccessReview",
        ..AUTHORIZATION
    },
    Row {
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        kind: "SelfSubjectRulesReview",
        ..AUTHORIZATION
    },
    Row {
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        kind: "SubjectAccessReview",
        ..AUTHORIZATION
    },
    Row {
        version: "v2",
        strategy: || Arc::new(HorizontalPodAutoscaler),
        ..AUTOSCALER
    },
    Row {
        strategy: || Arc::new(FirstHorizontalPodAutoscaler),
        ..AUTOSCALER
    },
    Row {
        group: "batch",
        plural: "cronjobs",
        singular: "cronjob",
        kind: "CronJob",
        short_names: &["cj"],
        categories: &["all"],
        subresources: &[sub("status", "CronJob", CHANGE)],
        storage: "cronjobs",
        strategy: || Arc::new(CronJob),
        ..ROW
    },
    Row {
        group: "batch",
        plural: "jobs",
        singular: "job",
        kind: "Job",
        categories: &["all"],
        subresources: &[sub("status", "Job", CHANGE)],
        storage: "jobs",
        strategy: || Arc::new(Job),
        ..ROW
    },
    Row {
        group: "certificates.k8s.io",
        plural: "certificatesigningrequests",
        singular: "certificatesigningrequest",
        kind: "CertificateSigningRequest",
        short_names: &["csr"],
        namespaced: false,
        subresources: &[
            sub("approval", "CertificateSigningRequest", CHANGE),
            sub("status", "CertificateSigningRequest", CHANGE),
        ],
        storage: "certificatesigningrequests",
        strategy: || Arc::new(CertificateSigningRequest),
        ..ROW
    },
    Row {
        group: "coordination.k8s.io",
        plural: "leases",
        singular: "lease",
        kind: "Lease",
        storage: "leases",
        strategy: || Arc::new(Lease),
        ..ROW
    },
    Row {
        group: "discovery.k8s.io",
        plural: "endpointslices",
        singular: "endpointslice",
        kind: "EndpointSlice",
        storage: "endpointslices",
        strategy: || Arc::new(EndpointSlice),
        ..ROW
    },
    Row {
        plural: "ingressclasses",
        singular: "ingressclass",
        kind: "IngressClass",
        namespaced: false,
        storage: "ingressclasses",
        strategy: || Arc::new(IngressClass),
        ..NETWORKING
    },
    Row {
        plural: "ingresses",
        singular: "ingress",
        kind: "Ingress",
        short_names: &["ing"],
        subresources: &[sub("status", "Ingress", CHANGE)],
        storage: "ingresses",
        strategy: || Arc::new(Ingress),
        ..NETWORKING
    },
    Row {
        plural: "networkpolicies",
        singular: "networkpolicy",
        kind: "NetworkPolicy",
        short_names: &["netpol"],
        storage: "networkpolicies",
        strategy: || Arc::new(NetworkPolicy),
        ..NETWORKING
    },
    Row {
        group: "node.k8s.io",
        plural: "runtimeclasses",
        singular: "runtimeclass",
        kind: "RuntimeClass",
        namespaced: false,
        storage: "runtimeclasses",
        strategy: || Arc::new(RuntimeClass),
        ..ROW
    },
    Row {
        group: "policy",
        plural: "poddisruptionbudgets",
        singular: "poddisruptionbudget",
        kind: "PodDisruptionBudget",
        short_names: &["pdb"],
        subresources: &[sub("status", "PodDisruptionBudget", CHANGE)],
        storage: "poddisruptionbudgets",
        strategy: || Arc::new(PodDisruptionBudget),
        ..ROW
    },
    Row {
        plural: "clusterrolebindings",
        singular: "clusterrolebinding",
        kind: "ClusterRoleBinding",
        namespaced: false,
        storage: "clusterrolebindings",
        strategy: || Arc::new(Binding),
        ..RBAC
    },
    Row {
        plural: "clusterroles",
        singular: "clusterrole",
        kind: "ClusterRole",
        namespaced: false,
        storage: "clusterroles",
        strategy: || Arc::new(Role),
        ..RBAC
    },
    Row {
        plural: "rolebindings",
        singular: "rolebinding",
        kind: "RoleBinding",
        storage: "rolebindings",
        strategy: || Arc::new(Binding),
        ..RBAC
    },
    Row {
        plural: "roles",
        singular: "role",
        kind: "Role",
        storage: "roles",
        strategy: || Arc::new(Role),
        ..RBAC
    },
    Row {
        group: "scheduling.k8s.io",
        plural: "priorityclasses",
        singular: "priorityclass",
        kind: "PriorityClass",
        short_names: &["pc"],
        namespaced: false,
        storage: "priorityclasses",
        strategy: || Arc::new(PriorityClass),
        ..ROW
    },
    Row {
        plural: "csidrivers",
        singular: "csidriver",
        kind: "CSIDriver",
        storage: "csidrivers",
        strategy: || Arc::new(CsiDriver),
        ..STORAGE
    },
    Row {
        plural: "csinodes",
        singular: "csinode",
        kind: "CSINode",
        storage: "csinodes",
        strategy: || Arc::new(CsiNode),
        ..STORAGE
    },
    Row {
        plural: "csistoragecapacities",
        singular: "csistoragecapacity",
        kind: "CSIStorageCapacity",
        namespaced: true,
        storage: "csistoragecapacities",
        strategy: || Arc::new(CsiStorageCapacity),
        ..STORAGE
    },
    Row {
        plural: "storageclasses",
        singular: "storageclass",
        kind: "StorageClass",
        short_names: &["sc"],
        storage: "storageclasses",
        strategy: || Arc::new(StorageClass),
        ..STORAGE
    },
    Row {
        plural: "volumeattachments",
        singular: "volumeattachment",
        kind: "VolumeAttachment",
        subresources: &[sub("status", "VolumeAttachment", CHANGE)],
        storage: "volumeattachments",
        strategy: || Arc::new(VolumeAttachment),
        ..STORAGE
    },
    Row {
        plural: "volumeattributesclasses",
        singular: "volumeattributesclass",
        kind: "VolumeAttributesClass",
        short_names: &["vac"],
        storage: "volumeattributesclasses",
        strategy: || Arc::new(VolumeAttributesClass),
        ..STORAGE
    },
    Row {
        plural: "nodes",
        singular: "nodemetrics",
        kind: "NodeMetrics",
        namespaced: false,
        ..METRICS
    },
    Row {
        plural: "pods",
        singular: "podmetrics",
        kind: "PodMetrics",
        ..METRICS
    },
];

#[cfg(test)]
mod tests;
