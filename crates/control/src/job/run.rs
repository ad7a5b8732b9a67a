//! One look at a Job: what its pods have come to, and which are to be made or deleted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::create::{self, Failures};
use super::index::Indexes;
use super::policy::{self, Verdict};
use super::track::{Counts, Ending, Tracking};
use super::{COMPLETION_INDEX, backoff, is_tracked, release};
use crate::event::Note;
use crate::write::{Plan, Write};
use crate::{pod, rank};

/// Most pods created or deleted in one sync.
const BURST: usize = 500;

/// A Job with its pods.
pub(super) struct Run {
    pub(super) job: Arc<Job>,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) active: Vec<Arc<Pod>>,
    pub(super) now: Timestamp,
    /// How many have ended, counted or not.
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    pub(super) indexes: Option<IndexState>,
}

/// What has become of the indexes of an Indexed Job.
pub(super) struct IndexState {
    pub(super) completions: i32,
    /// Of the status in the cache: these are counted.
    pub(super) counted: Indexes,
    pub(super) succeeded: Indexes,
    /// Where the back-off limit is per index.
    pub(super) failed: Option<Indexes>,
    /// The last failed pod of each index that is to be tried again. It stays until its successor has taken over its count.
    pub(super) delayed: HashMap<i32, Arc<Pod>>,
}

/// What is to be done with pods, and how many there are then.
struct Management {
    writes: Vec<Write>,
    batch: Vec<Write>,
    counts: Counts,
    wait: Option<Duration>,
}

impl Run {
    pub(super) fn new(job: Arc<Job>, pods: Vec<Arc<Pod>>, now: Timestamp) -> Self {
        let active = pods.iter().filter(|pod| pod::is_active(pod)).cloned().collect();
        let mut run = Self {
            job,
            pods,
            active,
            now,
            succeeded: 0,
            failed: 0,
            indexes: None,
        };
        run.count();
        run
    }

    pub(super) fn spec(&self) -> &JobSpec {
        // The server requires a spec; the type does not.
        static NONE: std::sync::LazyLock<JobSpec> = std::sync::LazyLock::new(JobSpec::default);
        self.job.spec.as_ref().unwrap_or(&NONE)
    }

    pub(super) fn status(&self) -> JobStatus {
        self.job.status.clone().unwrap_or_default()
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.spec().suspend == Some(true)
    }

    /// Whether a pod is replaced only when it has ended, and not when it is asked to.
    fn replaces_only_ended(&self) -> bool {
        self.spec().pod_replacement_policy.as_deref() == Some("Failed") || self.spec().pod_failure_policy.is_some()
    }

    pub(super) fn has_failed(&self, pod: &Pod) -> bool {
        pod::phase(pod) == "Failed" || (!self.replaces_only_ended() && pod::is_terminating(pod))
    }

    pub(super) fn verdict(&self, pod: &Pod) -> Verdict {
        match &self.spec().pod_failure_policy {
            Some(policy) => policy::verdict(&policy.rules, pod),
            None => Verdict::Count,
        }
    }

    /// The index of a pod; none if it has none, or one that the Job no longer has.
    pub(super) fn index_of(&self, pod: &Pod) -> Option<i32> {
        let index: i32 = pod.annotations().get(COMPLETION_INDEX)?.parse().ok()?;
        let completions = self.spec().completions.unwrap_or(0);
        (0..completions).contains(&index).then_some(index)
    }

    pub(super) fn is_indexed(&self) -> bool {
        self.spec().completion_mode.as_deref() == Some("Indexed")
    }

    fn count(&mut self) {
        let status = self.status();
        let uncounted = status.uncounted_terminated_pods.unwrap_or_default();
        let (succeeded, failed) = (
            uncounted.succeeded.unwrap_or_default(),
            uncounted.failed.unwrap_or_default(),
        );
        let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
        let new = |pod: &&Arc<Pod>, known: &[String]| {
            is_tracked(pod) && !known.contains(&uid(pod)) && (!self.is_indexed() || self.index_of(pod).is_some())
        };
        let tracked = self.pods.iter();
        let now_succeeded = tracked
            .clone()
            .filter(|pod| new(pod, &succeeded) && pod::phase(pod) == "Succeeded")
            .count();
        let now_failed = tracked
            .filter(|pod| new(pod, &failed) && self.has_failed(pod) && self.verdict(pod) != Verdict::Ignore)
            .count();
        self.succeeded = status.succeeded.unwrap_or(0) + (now_succeeded + succeeded.len()) as i32;
        self.failed = status.failed.unwrap_or(0) + (now_failed + failed.len()) as i32;
        if self.is_indexed() {
            let indexes = self.look_at_indexes();
            self.succeeded = indexes.succeeded.total();
            self.indexes = Some(indexes);
        }
    }

    fn look_at_indexes(&self) -> IndexState {
        let completions = self.spec().completions.unwrap_or(0);
        let status = self.status();
        let known = |text: Option<String>| Indexes::parse(text.as_deref().unwrap_or_default(), completions);
        let tracked = || self.pods.iter().filter(|pod| is_tracked(pod));
        let counted = known(status.completed_indexes);
        let ended_well = tracked().filter(|pod| pod::phase(pod) == "Succeeded");
        let succeeded = counted.with(ended_well.filter_map(|pod| self.index_of(pod)));
        let mut state = IndexState {
            completions,
            counted,
            succeeded,
            failed: None,
            delayed: HashMap::new(),
        };
        let Some(limit) = self.spec().backoff_limit_per_index else {
            return state;
        };
        let lost = |pod: &&Arc<Pod>| {
            self.has_failed(pod)
                && match self.verdict(pod) {
                    Verdict::FailIndex => true,
                    Verdict::Ignore => false,
                    _ => Failures::before(pod).counted >= limit,
                }
        };
        let failed = known(status.failed_indexes).with(tracked().filter(lost).filter_map(|pod| self.index_of(pod)));
        let busy = Indexes::default().with(self.active.iter().filter_map(|pod| self.index_of(pod)));
        for pod in tracked().filter(|pod| self.has_failed(pod)) {
            let Some(index) = self.index_of(pod) else { continue };
            if state.succeeded.has(index) || failed.has(index) || busy.has(index) {
                continue;
            }
            let age = |pod: &Pod| (Failures::before(pod).total(), backoff::finished(pod));
            if state.delayed.get(&index).is_none_or(|last| age(last) <= age(pod)) {
                state.delayed.insert(index, pod.clone());
            }
        }
        state.failed = Some(failed);
        state
    }

    fn counts(&self) -> Counts {
        let terminating = self.pods.iter().filter(|pod| pod::is_terminating(pod)).count();
        Counts {
            active: self.active.len() as i32,
            ready: self.active.iter().filter(|pod| pod::is_ready(pod)).count() as i32,
            terminating: terminating as i32,
        }
    }

    pub(super) fn plan(self) -> Plan {
        let now = self.counts();
        let (management, ending, managed) = match self.ending() {
            Some(ending) => (self.delete_active(now), Some(ending), false),
            None => {
                let management = self.manage(now);
                let done = self.is_complete(management.counts.active).then(Ending::complete);
                (management, done, true)
            }
        };
        let again = management.wait.into_iter().chain(self.deadline_in()).min();
        Plan {
            writes: management.writes,
            batch: management.batch,
            then: Some(Box::new(move |failure| match failure {
                None => Tracking::new(&self, ending, management.counts, managed).writes(),
                // Some pods were not made or deleted: nothing ends now.
                Some(_) => Tracking::new(&self, None, now, false).writes(),
            })),
            again,
            ..Plan::default()
        }
    }

    /// How the Job ends, if it does for another reason than that all is done.
    fn ending(&self) -> Option<Ending> {
        let spec = self.spec();
        if let Some(begun) = Ending::begun(&self.status()) {
            return Some(begun);
        }
        let fatal = self.pods.iter().filter(|pod| self.has_failed(pod));
        let fatal = fatal.map(|pod| self.verdict(pod)).find_map(|verdict| match verdict {
            Verdict::FailJob(why) => Some(why),
            _ => None,
        });
        if let Some(why) = fatal {
            return Some(Ending::failed("PodFailurePolicy", why));
        }
        if self.failed > spec.backoff_limit.unwrap_or(6) || self.restarted_too_often() {
            return Some(Ending::failed(
                "BackoffLimitExceeded",
                "Job has reached the specified backoff limit",
            ));
        }
        if self.deadline_in() == Some(Duration::ZERO) {
            return Some(Ending::failed(
                "DeadlineExceeded",
                "Job was active longer than specified deadline",
            ));
        }
        let indexes = self.indexes.as_ref()?;
        if let Some(failed) = indexes.failed.as_ref().map(Indexes::total) {
            if spec.max_failed_indexes.is_some_and(|most| failed > most) {
                let why = "Job has exceeded the specified maximal number of failed indexes";
                return Some(Ending::failed("MaxFailedIndexesExceeded", why));
            }
            if failed > 0 && failed + self.succeeded >= indexes.completions {
                return Some(Ending::failed("FailedIndexes", "Job has failed indexes"));
            }
        }
        let rules = &spec.success_policy.as_ref()?.rules;
        let why = policy::success(rules, &indexes.succeeded, indexes.completions)?;
        Some(Ending::succeeded("SuccessPolicy", why))
    }

    /// Where containers restart in their pod, their restarts count.
    fn restarted_too_often(&self) -> bool {
        let pod = self.spec().template.spec.as_ref();
        if pod.and_then(|pod| pod.restart_policy.as_deref()) != Some("OnFailure") {
            return false;
        }
        let running = self
            .pods
            .iter()
            .filter(|pod| !pod::is_terminal(pod))
            .filter_map(|pod| pod.status.as_ref());
        let restarts: i32 = running
            .flat_map(|status| {
                status
                    .container_statuses
                    .iter()
                    .chain(&status.init_container_statuses)
                    .flatten()
            })
            .map(|container| container.restart_count)
            .sum();
        restarts >= self.spec().backoff_limit.unwrap_or(6).max(1)
    }

    /// How long the Job may still be active.
    fn deadline_in(&self) -> Option<Duration> {
        let allowed = SignedDuration::from_secs(self.spec().active_deadline_seconds?);
        if self.is_suspended() {
            return None;
        }
        let start = self.status().start_time.map_or(self.now, |time| time.0);
        Some(Duration::try_from(allowed - self.now.duration_since(start)).unwrap_or(Duration::ZERO))
    }

    fn is_complete(&self, active: i32) -> bool {
        active == 0
            && match self.spec().completions {
                Some(completions) => self.succeeded >= completions,
                None => self.succeeded > 0,
            }
    }

    fn delete_active(&self, now: Counts) -> Management {
        Management {
            writes: Vec::new(),
            batch: self.active.iter().map(|pod| self.delete(pod)).collect(),
            counts: now.without(&self.active),
            wait: None,
        }
    }

    fn delete(&self, pod: &Pod) -> Write {
        let job = self.job.as_ref();
        Write::delete(pod)
            .on_success(Note::normal(
                job,
                "SuccessfulDelete",
                format!("Deleted pod: {}", pod.name_any()),
            ))
            .on_failure(Note::warning(job, "FailedDelete", "Error deleting: {error}".into()))
    }

    /// Brings the number of active pods closer to what it should be.
    fn manage(&self, now: Counts) -> Management {
        let spec = self.spec();
        let parallelism = spec.parallelism.unwrap_or(1);
        let wanted = match spec.completions {
            _ if self.is_suspended() => 0,
            // The pods of a work queue know when all is done: after the first success no more are started.
            None if self.succeeded > 0 => now.active,
            None => parallelism,
            Some(completions) => (completions - self.succeeded).clamp(0, parallelism),
        };
        let surplus = self.surplus((now.active - wanted).max(0) as usize);
        if !surplus.is_empty() {
            return Management {
                // Without the finalizer first: nobody shall count them.
                writes: surplus
                    .iter()
                    .filter(|pod| is_tracked(pod))
                    .map(|pod| release(pod))
                    .collect(),
                batch: surplus.iter().map(|pod| self.delete(pod)).collect(),
                counts: now.without(&surplus),
                wait: None,
            };
        }
        let leaving = if self.replaces_only_ended() { now.terminating } else { 0 };
        let missing = (wanted - leaving - now.active).max(0) as usize;
        let (created, wait) = match missing {
            0 => (Vec::new(), None),
            _ => self.create(missing.min(BURST)),
        };
        Management {
            writes: Vec::new(),
            counts: Counts {
                active: now.active + created.len() as i32,
                ..now
            },
            batch: created,
            wait,
        }
    }

    /// At least `count` pods that have to go: those first whose index is another's, or none.
    fn surplus(&self, count: usize) -> Vec<Arc<Pod>> {
        let mut surplus = Vec::new();
        let mut left = self.active.clone();
        if self.is_indexed() {
            let ranked = rank::first_to_go(&self.active, &[], self.active.len(), self.now);
            let mut keepers: HashMap<i32, Arc<Pod>> = HashMap::new();
            for pod in ranked {
                let beaten = match self.index_of(&pod) {
                    Some(index) => keepers.insert(index, pod),
                    None => Some(pod),
                };
                surplus.extend(beaten);
            }
            left = keepers.into_values().collect();
        }
        if surplus.len() < count {
            surplus.extend(rank::first_to_go(&left, &[], count - surplus.len(), self.now));
        }
        surplus.truncate(BURST);
        surplus
    }

    /// The creations that are due, or how long to wait for them.
    fn create(&self, count: usize) -> (Vec<Write>, Option<Duration>) {
        let job = self.job.as_ref();
        let write = |pod: &Pod| {
            Write::create(pod)
                .on_success(Note::normal(job, "SuccessfulCreate", "Created pod: {name}".into()))
                .on_failure(Note::warning(job, "FailedCreate", "Error creating: {error}".into()))
                .fine_when_terminating()
        };
        let per_index = self.spec().backoff_limit_per_index.is_some();
        if !per_index {
            let wait = self.wait();
            if !wait.is_zero() {
                return (Vec::new(), Some(wait));
            }
        }
        let Some(state) = &self.indexes else {
            return ((0..count).map(|_| write(&create::plain(job))).collect(), None);
        };
        let mut waits = Vec::new();
        let mut created = Vec::new();
        for index in self.open_indexes(state, count) {
            let before = state.delayed.get(&index);
            let wait = before.map_or(Duration::ZERO, |pod| {
                backoff::remaining(Failures::before(pod).total() + 1, backoff::finished(pod), self.now)
            });
            if !wait.is_zero() {
                waits.push(wait);
                continue;
            }
            let failures = before.map_or_else(Failures::default, |pod| self.failures_with(pod));
            created.push(write(&create::indexed(job, index, per_index.then_some(failures))));
        }
        (created, waits.into_iter().min())
    }

    fn failures_with(&self, pod: &Pod) -> Failures {
        let mut failures = Failures::before(pod);
        match self.verdict(pod) {
            Verdict::Ignore => failures.ignored += 1,
            _ => failures.counted += 1,
        }
        failures
    }

    /// The first indexes for which no pod has succeeded, failed for good, or is there.
    fn open_indexes(&self, state: &IndexState, count: usize) -> Vec<i32> {
        let only_ended = self.replaces_only_ended();
        let present = self
            .pods
            .iter()
            .filter(|pod| pod::is_active(pod) || (only_ended && pod::is_terminating(pod)));
        let mut taken = state.succeeded.with(present.filter_map(|pod| self.index_of(pod)));
        if let Some(failed) = &state.failed {
            taken = taken.union(failed);
        }
        taken.missing(count, state.completions)
    }

    /// The back-off after failures, for the Job as a whole.
    fn wait(&self) -> Duration {
        let pods = || self.pods.iter().map(Arc::as_ref);
        let failed = pods().filter(|pod| self.has_failed(pod) && self.verdict(pod) != Verdict::Ignore);
        backoff::after(pods().filter(|pod| pod::phase(pod) == "Succeeded"), failed, self.now)
    }
}
