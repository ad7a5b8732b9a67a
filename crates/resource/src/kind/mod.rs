//! What is known of each kind, one file per kind.
//!
//! [`Kind`] has a method for each question the server asks, and an answer that suits most kinds. A new kind is a type
//! that overrides what is special about it, and one row in `served.rs`.

mod admission_registration;
mod api_service;
mod certificate_signing_request;
mod configmap;
mod controller_revision;
pub mod crd;
mod cron_job;
mod csi;
pub mod custom;
mod daemon_set;
mod deployment;
mod endpoints;
mod event;
mod horizontal_pod_autoscaler;
mod ingress;
mod job;
mod lease;
mod limit_range;
mod namespace;
mod network_policy;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
pub(crate) mod pod;
mod pod_disruption_budget;
mod priority_class;
mod rbac;
mod replicaset;
mod resource_quota;
mod runtime_class;
mod secret;
mod service;
mod service_account;
mod stateful_set;
mod storage_class;
mod volume_source;
mod workload;

use crate::check::name::NameRule;
use crate::field::Errors;
use crate::printer::{Column, Columns, Row, age_of, name_of};
use crate::resource::Fields;
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) use admission_registration::{AdmissionPolicy, AdmissionPolicyBinding, WebhookConfiguration};
pub(crate) use api_service::ApiService;
pub(crate) use certificate_signing_request::{CertificateSigningRequest, request as requested_certificate};
pub(crate) use configmap::ConfigMap;
pub(crate) use controller_revision::{ControllerRevision, PodTemplate};
pub(crate) use crd::CustomResourceDefinition;
pub(crate) use cron_job::CronJob;
pub(crate) use csi::{CsiDriver, CsiNode, CsiStorageCapacity, VolumeAttachment};
pub(crate) use daemon_set::DaemonSet;
pub(crate) use deployment::Deployment;
pub(crate) use endpoints::{EndpointSlice, Endpoints};
pub(crate) use event::{CoreEvent, NewEvent};
pub(crate) use horizontal_pod_autoscaler::{FirstHorizontalPodAutoscaler, HorizontalPodAutoscaler};
pub(crate) use ingress::{CLASS as INGRESS_CLASS, Ingress, IngressClass};
pub(crate) use job::Job;
pub(crate) use lease::Lease;
pub(crate) use limit_range::LimitRange;
pub(crate) use namespace::Namespace;
pub(crate) use network_policy::NetworkPolicy;
pub(crate) use node::Node;
pub(crate) use persistent_volume::{PersistentVolume, class as volume_class};
pub(crate) use persistent_volume_claim::PersistentVolumeClaim;
pub(crate) use pod::Pod;
pub(crate) use pod_disruption_budget::PodDisruptionBudget;
pub(crate) use priority_class::{PriorityClass, SYSTEM as SYSTEM_CLASSES};
pub(crate) use rbac::{Binding, Role};
pub(crate) use replicaset::{ReplicaSet, ReplicationController};
pub(crate) use resource_quota::ResourceQuota;
pub(crate) use runtime_class::RuntimeClass;
pub(crate) use secret::Secret;
pub(crate) use service::{Service, needs_health_check};
pub(crate) use service_account::ServiceAccount;
pub(crate) use stateful_set::StatefulSet;
pub(crate) use storage_class::{StorageClass, VolumeAttributesClass, is_default as is_default_class};

/// All that the server knows about one kind.
pub(crate) trait Kind: Send + Sync {
    /// What names its objects may have.
    fn name_rule(&self) -> NameRule {
        NameRule::Subdomain
    }

    /// From the served version to the stored one.
    fn store(&self, _object: &mut Value) {}

    /// From the stored version to the served one.
    fn show(&self, _object: &mut Value) {}

    fn default(&self, _object: &mut Value) {}

    /// After metadata is stamped and the status dropped.
    fn prepare_create(&self, _object: &mut Value) {}

    /// After name and UID are given.
    fn identify(&self, _object: &mut Value) {}

    /// A status that a client may bring along, as a kubelet does when it registers its node.
    fn keeps_status_on_create(&self) -> bool {
        false
    }

    /// After the parts that other subresources own were put back.
    fn prepare_update(&self, _new: &mut Value, _old: &Value, _subresource: Option<&str>) {}

    /// A write to the status does not change the spec.
    fn prepare_status(&self, new: &mut Value, old: &Value) {
        crate::json::keep(new, old, "spec");
    }

    /// Whether `metadata.generation` counts changes of what is desired.
    fn counts_generations(&self) -> bool {
        false
    }

    /// The part of the object that is the user's wish.
    fn desired(&self, object: &Value) -> Value {
        object["spec"].clone()
    }

    /// Mistakes outside of the metadata.
    fn validate(&self, _object: &Value, _errors: &mut Errors) {}

    /// Mistakes in a successor. The default finds the same as in a new object.
    fn validate_update(&self, new: &Value, _old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        self.validate(new, errors);
    }

    /// What a client that wrote the object should know, though nothing is wrong with it.
    fn warnings(&self, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Adds the field labels beyond name and namespace.
    fn fields(&self, _object: &Value, _fields: &mut Fields) {}

    fn columns(&self) -> Columns<'_> {
        const GENERIC: &[Column<'_>] = &[Column::NAME, Column::AGE];
        GENERIC.into()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        Row::new(vec![json!(name_of(object)), json!(age_of(object, now))])
    }

    fn grace_period(&self, _object: &Value, _requested: Option<i64>) -> Option<i64> {
        None
    }

    /// Called when the object is to be deleted but is still held.
    fn mark_terminating(&self, _object: &mut Value) {}

    /// Finalizers outside of the metadata.
    fn is_held(&self, _object: &Value) -> bool {
        false
    }

    /// Whether what it owns outlives it, unless the client that deletes it says otherwise: the way of the oldest kinds.
    fn orphans_dependents(&self) -> bool {
        false
    }

    fn creates_on_update(&self) -> bool {
        false
    }

    fn updates_unconditionally(&self) -> bool {
        true
    }
}

/// A kind about which nothing special is known.
pub(crate) struct Plain;

impl Kind for Plain {}
