//! Reporting statuses: beside the pod workers, which never wait for the API server.
//!
//! Each pod has one report under way at most. What is computed meanwhile takes the place of what was computed before it and has not been
//! sent: the API server sees the latest, in order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::patch;

/// How long the API server may take for a status.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a failure it is tried again after this time.
const RETRY: Duration = Duration::from_secs(2);

/// What is to be reported next.
struct Report {
    pod: Arc<Pod>,
    status: PodStatus,
    /// Nothing of the pod is left here: its object may go.
    finished: bool,
}

struct Slot {
    /// What the API server is known to have.
    reported: PodStatus,
    next: Option<Report>,
    sending: bool,
    /// The object has gone: there is nothing to report to.
    gone: bool,
}

/// The way of one pod's status to the API server.
pub(crate) struct Reporter {
    slot: Arc<Mutex<Slot>>,
    client: Client,
    workers: TaskTracker,
    shutdown: CancellationToken,
}

enum Sent {
    Done,
    /// There is no such pod any more, or another one has its name.
    Gone,
}

impl Reporter {
    /// `reported` is what the API server has. Reports are sent by `workers` until `shutdown`.
    pub(crate) fn new(reported: PodStatus, client: Client, workers: TaskTracker, shutdown: CancellationToken) -> Self {
        let slot = Slot {
            reported,
            next: None,
            sending: false,
            gone: false,
        };
        Self {
            slot: Arc::new(Mutex::new(slot)),
            client,
            workers,
            shutdown,
        }
    }

    /// Reports the status, if it differs from what the API server has. A pod that is `finished` is then deleted for good.
    pub(crate) fn set(&self, pod: Arc<Pod>, status: PodStatus, finished: bool) {
        let mut slot = lock(&self.slot);
        if slot.gone {
            return;
        }
        slot.next = Some(Report { pod, status, finished });
        if !std::mem::replace(&mut slot.sending, true) {
            let sending = send_all(self.client.clone(), self.slot.clone());
            self.workers
                .spawn(self.shutdown.clone().run_until_cancelled_owned(sending));
        }
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends until there is nothing newer.
async fn send_all(client: Client, slot: Arc<Mutex<Slot>>) {
    loop {
        let (report, reported) = {
            let mut slot = lock(&slot);
            let Some(report) = slot.next.take() else {
                slot.sending = false;
                return;
            };
            (report, slot.reported.clone())
        };
        let sending = async {
            let sent = send(&client, &report, &reported).await?;
            lock(&slot).reported = report.status.clone();
            match sent {
                Sent::Done if report.finished => delete(&client, &report.pod).await,
                sent => Ok(sent),
            }
        };
        let error = match tokio::time::timeout(PATIENCE, sending).await {
            Ok(Ok(Sent::Done)) if !report.finished => continue,
            Ok(Ok(_)) => {
                let mut slot = lock(&slot);
                (slot.gone, slot.next) = (true, None);
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the API server does not answer".to_owned(),
        };
        let name = report.pod.metadata.name.as_deref().unwrap_or_default();
        let namespace = report.pod.metadata.namespace.as_deref().unwrap_or_default();
        tracing::warn!(%namespace, %name, %error, "status not reported");
        tokio::time::sleep(RETRY).await;
        lock(&slot).next.get_or_insert(report);
    }
}

fn api(client: &Client, pod: &Pod) -> Api<Pod> {
    Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default())
}

fn answered(answer: kube::Result<()>) -> kube::Result<Sent> {
    match answer {
        Ok(()) => Ok(Sent::Done),
        Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => Ok(Sent::Gone),
        Err(error) => Err(error),
    }
}

async fn send(client: &Client, report: &Report, reported: &PodStatus) -> kube::Result<Sent> {
    let Some(patch) = patch::diff(reported, &report.status) else {
        return Ok(Sent::Done);
    };
    let metadata = &report.pod.metadata;
    let body = json!({ "metadata": { "uid": metadata.uid }, "status": patch });
    let name = metadata.name.as_deref().unwrap_or_default();
    let sent = api(client, &report.pod)
        .patch_status(name, &PatchParams::default(), &Patch::Strategic(body))
        .await;
    answered(sent.map(drop))
}

async fn delete(client: &Client, pod: &Pod) -> kube::Result<Sent> {
    let parameters = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    answered(api(client, pod).delete(name, &parameters).await.map(drop))
}
