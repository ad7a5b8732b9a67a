//! Job: runs pods until enough of them have ended well.
//!
//! How many have ended must be known for good although the pods themselves may go. So each carries a finalizer until it
//! is counted, in three steps, each of which sees the one before in the cache: its UID (or index) is written to the status,
//! its finalizer is taken away, it moves from the UIDs to the counters. However often one of them is repeated, no pod
//! counts twice, and none is forgotten.
//!
//! KEP-2307 (tracking), KEP-3850 (back-off per index), KEP-3329 (pod failure policy), KEP-3998 (success policy).

mod backoff;
mod create;
mod index;
mod policy;
mod run;
mod track;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;

use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::expect::Expectations;
use crate::key::Key;
use crate::owner;
use crate::store::Change;
use crate::write::{Path, Plan, Write};

use run::Run;

/// The finalizer of pods that are not counted yet.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURE_COUNT: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED_COUNT: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
/// Jobs that name another controller are left to it.
const CONTROLLER: &str = "kubernetes.io/job-controller";

/// The Job controller.
#[derive(Default)]
pub(crate) struct Jobs {
    expectations: Arc<Expectations>,
}

impl Controller for Jobs {
    const NAME: &'static str = "job-controller";

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        let expectations = self.expectations.clone();
        watch
            .own::<Job>()
            .on::<Pod>(move |change, caches| pod_changed(change, caches, &expectations));
    }

    fn expectations(&self) -> Option<&Expectations> {
        Some(&self.expectations)
    }

    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan {
        let job = caches.jobs.get(key);
        let strays = caches.pods.with_term(&term(key));
        let strays = strays.iter().filter(|pod| is_stray(pod, job.as_deref()));
        let released = strays.map(|pod| release(pod)).collect();
        let Some(job) = job else {
            self.expectations.forget(key);
            return Plan::of(released);
        };
        let manager = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
        if manager.is_some_and(|manager| manager != CONTROLLER) || finish(&job).is_some() {
            return Plan::of(released);
        }
        if job.metadata.deletion_timestamp.is_some() {
            return Plan::of(released);
        }
        // What the cache does not show yet must not be decided about.
        if !self.expectations.satisfied(key) {
            return Plan::of(released);
        }
        let selector = job
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref())
            .and_then(owner::selector);
        let Some(selector) = selector else {
            return Plan::of(released);
        };
        let claim = owner::claim(job.as_ref(), &selector, &caches.pods, Some(TRACKING), |_| true);
        if !claim.writes.is_empty() {
            return Plan::of(claim.writes);
        }
        let mut plan = Run::new(job, claim.owned, now).plan();
        plan.writes.splice(..0, released);
        plan
    }
}

/// The condition with which a Job has ended.
pub(crate) fn finish(job: &Job) -> Option<&JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let ends = |condition: &&JobCondition| matches!(condition.type_.as_str(), "Complete" | "Failed");
    conditions
        .iter()
        .filter(ends)
        .find(|condition| condition.status == "True")
}

/// The index term of a pod that is not counted yet: whose it is, or was.
pub(crate) fn tracked_term(pod: &Pod) -> Option<String> {
    is_tracked(pod).then(|| term(&job_of(pod).unwrap_or_default()))
}

fn term(job: &Key) -> String {
    format!("tracked/{job}")
}

fn is_tracked(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|finalizer| finalizer == TRACKING)
}

/// The Job that owns the pod; of an orphan, the one that made it.
fn job_of(pod: &Pod) -> Option<Key> {
    if owner::controller_of(&pod.metadata).is_some() {
        return owner::controller_key(&pod.metadata, "Job");
    }
    let name = pod.labels().get(NAME_LABEL)?;
    Some(Key::new(pod.namespace().unwrap_or_default(), name))
}

/// Whether nobody will count this pod: its Job is gone, going or finished, or it was taken from it.
fn is_stray(pod: &Pod, job: Option<&Job>) -> bool {
    let counting = job.filter(|job| finish(job).is_none() && job.metadata.deletion_timestamp.is_none());
    counting.is_none_or(|job| owner::controller_uid(&pod.metadata) != job.metadata.uid.as_deref())
}

/// Takes the tracking finalizer away.
fn release(pod: &Pod) -> Write {
    let patch = json!({ "metadata": {
        "uid": pod.metadata.uid,
        "$deleteFromPrimitiveList/finalizers": [TRACKING],
    }});
    Write::strategic(Path::of(pod), patch).fine_when_gone()
}

/// Which Jobs a change of a pod concerns, after noting what it fulfils.
fn pod_changed(change: &Change<Pod>, caches: &Caches, expectations: &Expectations) -> Vec<Key> {
    let mut keys = expectations.observe(change, "Job");
    keys.extend(
        change
            .new
            .iter()
            .filter(|pod| is_tracked(pod))
            .filter_map(|pod| job_of(pod)),
    );
    keys.dedup();
    if let Some(orphan) = change
        .new
        .as_ref()
        .filter(|pod| owner::controller_of(&pod.metadata).is_none())
    {
        let namespace = orphan.metadata.namespace.as_deref().unwrap_or_default();
        let adopts = |job: &Arc<Job>| {
            let selector = job
                .spec
                .as_ref()
                .and_then(|spec| spec.selector.as_ref())
                .and_then(owner::selector);
            selector.is_some_and(|selector| owner::matches(&selector, &orphan.metadata))
        };
        let jobs = caches.jobs.in_namespace(namespace).into_iter();
        keys.extend(jobs.filter(adopts).map(|job| Key::of(job.as_ref())));
    }
    keys
}

#[cfg(test)]
mod tests;
