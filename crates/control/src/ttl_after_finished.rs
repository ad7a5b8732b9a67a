//! Deletes Jobs that have ended `ttlSecondsAfterFinished` ago, with their pods.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use serde_json::json;

use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::job;
use crate::key::Key;
use crate::write::{Plan, Write};

/// The TTL-after-finished controller.
pub(crate) struct TtlAfterFinished;

impl Controller for TtlAfterFinished {
    const NAME: &'static str = "ttl-after-finished-controller";

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch.on::<Job>(|change, _| {
            let job = change.new.iter().filter(|job| expiry(job).is_some());
            job.map(|job| Key::of(job.as_ref())).collect()
        });
    }

    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan {
        let Some((job, expiry)) = caches.jobs.get(key).and_then(|job| expiry(&job).map(|at| (job, at))) else {
            return Plan::nothing();
        };
        let left = Duration::try_from(expiry.duration_since(now)).unwrap_or_default();
        if !left.is_zero() {
            return Plan {
                again: Some(left),
                ..Plan::default()
            };
        }
        let mut delete = Write::delete(job.as_ref());
        delete.body["propagationPolicy"] = json!("Foreground");
        Plan::of(vec![delete])
    }
}

/// When the Job is to go, if ever.
fn expiry(job: &Job) -> Option<Timestamp> {
    if job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let end = job::finish(job)?.last_transition_time.as_ref()?.0;
    end.checked_add(SignedDuration::from_secs(ttl.into())).ok()
}
