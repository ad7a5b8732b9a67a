//! The shared caches: one informer per kind, however many controllers read it.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event as News, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
    ReplicationController, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use knarr_client::reflector::reflect;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::store::Store;
use crate::{job, owner, token, volume};

/// A kind that has a cache, and how its informer is set up.
pub(crate) trait Cached:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Where its store is.
    fn store(caches: &Caches) -> &Store<Self>;

    /// Narrows the watch.
    fn selection() -> watcher::Config {
        watcher::Config::default()
    }

    /// Drops what no controller reads, before the object is kept.
    fn slim(&mut self) {
        self.meta_mut().managed_fields = None;
    }
}

/// Every cache.
pub(crate) struct Caches {
    pub(crate) pods: Store<Pod>,
    pub(crate) nodes: Store<Node>,
    pub(crate) namespaces: Store<Namespace>,
    pub(crate) service_accounts: Store<ServiceAccount>,
    /// Only the `kube-root-ca.crt` of each namespace.
    pub(crate) root_certificates: Store<ConfigMap>,
    /// Only those that hold the token of a service account.
    pub(crate) token_secrets: Store<Secret>,
    pub(crate) certificate_requests: Store<CertificateSigningRequest>,
    pub(crate) services: Store<Service>,
    pub(crate) endpoints: Store<Endpoints>,
    pub(crate) endpoint_slices: Store<EndpointSlice>,
    /// Only the heartbeats of nodes.
    pub(crate) node_leases: Store<Lease>,
    pub(crate) events: Store<News>,
    pub(crate) replica_sets: Store<ReplicaSet>,
    pub(crate) deployments: Store<Deployment>,
    pub(crate) jobs: Store<Job>,
    pub(crate) cron_jobs: Store<CronJob>,
    pub(crate) daemon_sets: Store<DaemonSet>,
    pub(crate) stateful_sets: Store<StatefulSet>,
    pub(crate) replication_controllers: Store<ReplicationController>,
    pub(crate) revisions: Store<ControllerRevision>,
    pub(crate) budgets: Store<PodDisruptionBudget>,
    pub(crate) autoscalers: Store<HorizontalPodAutoscaler>,
    pub(crate) claims: Store<PersistentVolumeClaim>,
    pub(crate) volumes: Store<PersistentVolume>,
    pub(crate) storage_classes: Store<StorageClass>,
}

/// Name of the ConfigMap with the cluster's CA certificate in every namespace.
pub(crate) const ROOT_CERTIFICATE: &str = "kube-root-ca.crt";
/// Namespace of the Leases by which nodes show that they live.
pub(crate) const NODE_LEASES: &str = "kube-node-lease";

impl Caches {
    pub(crate) fn new() -> Self {
        Self {
            pods: Store::new(|pod| {
                let mut terms = owner::terms(&pod.metadata);
                terms.extend(job::tracked_term(pod));
                if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) {
                    terms.push(format!("node/{node}"));
                }
                terms.extend(volume::claims_of(pod).map(|(claim, _)| volume::term(&claim)));
                terms
            }),
            nodes: Store::new(|_| Vec::new()),
            namespaces: Store::new(|_| Vec::new()),
            service_accounts: Store::new(|_| Vec::new()),
            root_certificates: Store::new(|_| Vec::new()),
            token_secrets: Store::new(|_| Vec::new()),
            certificate_requests: Store::new(|_| Vec::new()),
            services: Store::new(|_| Vec::new()),
            endpoints: Store::new(|_| Vec::new()),
            endpoint_slices: Store::new(|slice| {
                let labels = slice.metadata.labels.as_ref();
                let service = labels.and_then(|labels| labels.get("kubernetes.io/service-name"));
                let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
                service
                    .map(|service| format!("service/{namespace}/{service}"))
                    .into_iter()
                    .collect()
            }),
            node_leases: Store::new(|_| Vec::new()),
            events: Store::new(|_| Vec::new()),
            replica_sets: Store::new(|set| owner::terms(&set.metadata)),
            deployments: Store::new(|_| Vec::new()),
            jobs: Store::new(|job| owner::terms(&job.metadata)),
            cron_jobs: Store::new(|_| Vec::new()),
            daemon_sets: Store::new(|_| Vec::new()),
            stateful_sets: Store::new(|_| Vec::new()),
            replication_controllers: Store::new(|controller| owner::terms(&controller.metadata)),
            revisions: Store::new(|revision| owner::terms(&revision.metadata)),
            budgets: Store::new(|_| Vec::new()),
            autoscalers: Store::new(|_| Vec::new()),
            volumes: Store::new(|_| Vec::new()),
            claims: Store::new(|claim| match volume::is_bound(claim) {
                true => Vec::new(),
                false => vec![volume::UNBOUND.into()],
            }),
            storage_classes: Store::new(|_| Vec::new()),
        }
    }

    /// Starts every informer. They run until `shutdown`.
    pub(crate) fn start(self: &Arc<Self>, client: &Client, tasks: &mut JoinSet<()>, shutdown: &CancellationToken) {
        macro_rules! start {
            ($($kind:ty),* $(,)?) => {$({
                let (api, caches) = (Api::<$kind>::all(client.clone()), self.clone());
                let shutdown = shutdown.clone();
                tasks.spawn(async move {
                    let informer = reflect(api, <$kind>::selection(), <$kind>::slim, <$kind>::store(&caches));
                    let _ = shutdown.run_until_cancelled(informer).await;
                });
            })*};
        }
        start!(
            Pod,
            Node,
            Namespace,
            ServiceAccount,
            CertificateSigningRequest,
            ConfigMap,
            Secret,
            Service,
            Endpoints,
            EndpointSlice,
            Lease,
            News,
            ReplicaSet,
            Deployment,
            Job,
            CronJob,
            DaemonSet,
            StatefulSet,
            ReplicationController,
            ControllerRevision,
            PodDisruptionBudget,
            HorizontalPodAutoscaler,
            PersistentVolume,
            PersistentVolumeClaim,
            StorageClass
        );
    }
}

macro_rules! cached {
    ($($kind:ty => $field:ident),* $(,)?) => {$(
        impl Cached for $kind {
            fn store(caches: &Caches) -> &Store<Self> {
                &caches.$field
            }
        }
    )*};
}

cached! {
    Namespace => namespaces,
    ServiceAccount => service_accounts,
    CertificateSigningRequest => certificate_requests,
    Service => services,
    Endpoints => endpoints,
    EndpointSlice => endpoint_slices,
    ReplicaSet => replica_sets,
    Deployment => deployments,
    Job => jobs,
    CronJob => cron_jobs,
    DaemonSet => daemon_sets,
    StatefulSet => stateful_sets,
    ReplicationController => replication_controllers,
    ControllerRevision => revisions,
    PodDisruptionBudget => budgets,
    HorizontalPodAutoscaler => autoscalers,
    PersistentVolumeClaim => claims,
    PersistentVolume => volumes,
    StorageClass => storage_classes,
}

impl Cached for Node {
    fn store(caches: &Caches) -> &Store<Self> {
        &caches.nodes
    }

    fn slim(&mut self) {
        self.metadata.managed_fields = None;
        if let Some(status) = &mut self.status {
            status.images = None;
        }
    }
}

impl Cached for Pod {
    fn store(caches: &Caches) -> &Store<Self> {
        &caches.pods
    }

    /// Pods are by far the most numerous; they are only ever patched, so what is dropped here is never written back.
    fn slim(&mut self) {
        self.metadata.managed_fields = None;
        if let Some(spec) = &mut self.spec {
            let init = spec.init_containers.iter_mut().flatten();
            for container in spec.containers.iter_mut().chain(init) {
                container.command = None;
                container.args = None;
                container.env = None;
                container.env_from = None;
                container.volume_mounts = None;
                container.liveness_probe = None;
                container.readiness_probe = None;
                container.startup_probe = None;
                container.lifecycle = None;
                container.security_context = None;
            }
            if let Some(volumes) = &mut spec.volumes {
                volumes.retain(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some());
            }
            spec.ephemeral_containers = None;
            spec.containers.shrink_to_fit();
        }
        if let Some(status) = &mut self.status {
            status.ephemeral_container_statuses = None;
        }
    }
}

/// Only their times matter.
impl Cached for News {
    fn store(caches: &Caches) -> &Store<Self> {
        &caches.events
    }

    fn slim(&mut self) {
        self.metadata.managed_fields = None;
        self.message = None;
        self.involved_object = Default::default();
        self.source = None;
    }
}

impl Cached for ConfigMap {
    fn store(caches: &Caches) -> &Store<Self> {
        &caches.root_certificates
    }

    fn selection() -> watcher::Config {
        watcher::Config::default().fields(&format!("metadata.name={ROOT_CERTIFICATE}"))
    }
}

impl Cached for Secret {
    fn store(caches: &Caches) -> &Store<Self> {
        &caches.token_secrets
    }

    fn selection() -> watcher::Config {
        watcher::Config::default().fields(&format!("type={}", token::TYPE))
    }
}

impl Cached for Lease {
    fn store(caches: &Caches) -> &Store<Self> {
        &caches.node_leases
    }

    fn selection() -> watcher::Config {
        watcher::Config::default().fields(&format!("metadata.namespace={NODE_LEASES}"))
    }
}
