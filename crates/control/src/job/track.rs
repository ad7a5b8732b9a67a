//! The status of a Job: counts pods that have ended, exactly once, and says how the Job ended.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::policy::Verdict;
use super::run::Run;
use super::{is_tracked, release};
use crate::event::Note;
use crate::pod;
use crate::write::Write;

/// Most pods that wait in the status to be counted: their UIDs take 20 KB.
const MOST_UNCOUNTED: usize = 500;

/// How many pods of a Job there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) active: i32,
    pub(super) ready: i32,
    pub(super) terminating: i32,
}

impl Counts {
    /// When these active pods have been deleted.
    pub(super) fn without(self, deleted: &[Arc<Pod>]) -> Self {
        let count = deleted.len() as i32;
        let ready = deleted.iter().filter(|pod| pod::is_ready(pod)).count() as i32;
        Self {
            active: self.active - count,
            ready: self.ready - ready,
            terminating: self.terminating + count,
        }
    }
}

/// How a Job ends. It is first announced (`FailureTarget`, `SuccessCriteriaMet`) and becomes final when no pod is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    good: bool,
    reason: String,
    message: String,
}

impl Ending {
    pub(super) fn failed(reason: &str, message: impl Into<String>) -> Self {
        Self {
            good: false,
            reason: reason.into(),
            message: message.into(),
        }
    }

    pub(super) fn succeeded(reason: &str, message: impl Into<String>) -> Self {
        Self {
            good: true,
            ..Self::failed(reason, message)
        }
    }

    pub(super) fn complete() -> Self {
        Self::succeeded("CompletionsReached", "Reached expected number of succeeded pods")
    }

    /// The end that has been announced.
    pub(super) fn begun(status: &JobStatus) -> Option<Self> {
        let announced = |kind: &str| condition(status, kind).filter(|condition| condition.status == "True");
        let (good, condition) = match announced("SuccessCriteriaMet") {
            Some(condition) => (true, condition),
            None => (false, announced("FailureTarget")?),
        };
        Some(Self {
            good,
            reason: condition.reason.clone().unwrap_or_default(),
            message: condition.message.clone().unwrap_or_default(),
        })
    }

    fn announcement(&self) -> &'static str {
        if self.good {
            "SuccessCriteriaMet"
        } else {
            "FailureTarget"
        }
    }

    fn condition(&self, kind: &str, now: Timestamp) -> JobCondition {
        JobCondition {
            type_: kind.into(),
            status: "True".into(),
            reason: Some(self.reason.clone()),
            message: Some(self.message.clone()),
            last_probe_time: Some(Time(now)),
            last_transition_time: Some(Time(now)),
        }
    }
}

fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == kind)
}

/// The list of the status in which a pod waits to be counted.
enum Outcome {
    Succeeded,
    Failed,
    /// It does not count, or its index counts for it.
    Uncounted,
}

/// The next status of a Job, and the finalizers that may go.
pub(super) struct Tracking<'a> {
    run: &'a Run,
    ending: Option<Ending>,
    status: JobStatus,
    uncounted: UncountedTerminatedPods,
    releases: Vec<Write>,
    notes: Vec<Note>,
}

impl<'a> Tracking<'a> {
    /// `managed` says that the number of pods is as it should be, which suspends or resumes the Job.
    pub(super) fn new(run: &'a Run, ending: Option<Ending>, counts: Counts, managed: bool) -> Self {
        let mut status = run.status();
        let uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
        status.active = Some(counts.active).filter(|active| *active != 0);
        status.ready = Some(counts.ready);
        status.terminating = Some(counts.terminating);
        if status.start_time.is_none() && !run.is_suspended() {
            status.start_time = Some(Time(run.now));
        }
        let mut tracking = Self {
            run,
            ending,
            status,
            uncounted,
            releases: Vec::new(),
            notes: Vec::new(),
        };
        if managed && tracking.ending.is_none() {
            tracking.suspend_or_resume();
        }
        tracking
    }

    /// The write of the status, if it changes, and what may follow it.
    pub(super) fn writes(mut self) -> Vec<Write> {
        self.settle();
        let all_recorded = self.record();
        self.index_fields();
        self.end(all_recorded);
        let old = self.run.status();
        self.status.uncounted_terminated_pods = Some(self.uncounted);
        let mut writes = Vec::new();
        if self.status != old {
            let mut job = Job::clone(&self.run.job);
            job.status = Some(self.status);
            let write = Write::replace_status(&job).fine_when_gone();
            writes.push(self.notes.into_iter().fold(write, Write::on_success));
        }
        writes.extend(self.releases);
        writes
    }

    /// Moves pods whose finalizer is gone to the counters.
    fn settle(&mut self) {
        let tracked: HashSet<&str> = self
            .run
            .pods
            .iter()
            .filter(|pod| is_tracked(pod))
            .filter_map(|pod| pod.metadata.uid.as_deref())
            .collect();
        for (list, counter) in [
            (&mut self.uncounted.succeeded, &mut self.status.succeeded),
            (&mut self.uncounted.failed, &mut self.status.failed),
        ] {
            let Some(uids) = list else { continue };
            let before = uids.len();
            uids.retain(|uid| tracked.contains(uid.as_str()));
            let counted = before - uids.len();
            if counted > 0 {
                *counter = Some(counter.unwrap_or(0) + counted as i32);
            }
            if uids.is_empty() {
                *list = None;
            }
        }
    }

    /// Notes pods that have ended, and lets those go that the status in the cache has noted. The answer is whether all were
    /// looked at.
    fn record(&mut self) -> bool {
        let mut new = 0;
        for pod in self.run.pods.iter().filter(|pod| is_tracked(pod)) {
            let failed = self.run.has_failed(pod);
            if !self.may_go(pod, failed) {
                continue;
            }
            let new_index = self.is_new_index(pod);
            let list = match self.outcome(pod, failed) {
                Outcome::Succeeded => Some(&mut self.uncounted.succeeded),
                Outcome::Failed => Some(&mut self.uncounted.failed),
                Outcome::Uncounted => None,
            };
            match list {
                Some(list) => {
                    let uids = list.get_or_insert_default();
                    let uid = pod.metadata.uid.clone().unwrap_or_default();
                    if uids.contains(&uid) {
                        self.releases.push(release(pod));
                    } else {
                        uids.push(uid);
                        new += 1;
                    }
                }
                // Its index is noted in the status, or will be by this sync.
                None if new_index => new += 1,
                None => self.releases.push(release(pod)),
            }
            let waiting = self
                .uncounted
                .succeeded
                .iter()
                .chain(&self.uncounted.failed)
                .map(Vec::len);
            if new > 0 && waiting.sum::<usize>() >= MOST_UNCOUNTED {
                return false;
            }
        }
        new == 0
    }

    fn may_go(&self, pod: &Pod, failed: bool) -> bool {
        if self.ending.is_some() || pod::phase(pod) == "Succeeded" {
            return true;
        }
        let delayed = || {
            let state = self.run.indexes.as_ref()?;
            state.delayed.get(&self.run.index_of(pod)?)
        };
        failed && delayed().is_none_or(|last| last.metadata.uid != pod.metadata.uid)
    }

    /// As what a pod is counted that is over, or was given up. When a Job fails, all of its pods have failed.
    fn outcome(&self, pod: &Pod, failed: bool) -> Outcome {
        let indexed = self.run.is_indexed();
        let noted = self
            .uncounted
            .failed
            .iter()
            .flatten()
            .any(|uid| Some(uid) == pod.metadata.uid.as_ref());
        if pod::phase(pod) == "Succeeded" && !noted {
            return if indexed {
                Outcome::Uncounted
            } else {
                Outcome::Succeeded
            };
        }
        let lost = failed || self.ending.as_ref().is_some_and(|ending| !ending.good);
        let counts = lost
            && (!indexed || self.run.index_of(pod).is_some())
            && (noted || self.run.verdict(pod) != Verdict::Ignore);
        if counts { Outcome::Failed } else { Outcome::Uncounted }
    }

    /// Whether the pod succeeded for an index that the status in the cache does not have yet.
    fn is_new_index(&self, pod: &Pod) -> bool {
        let Some(state) = &self.run.indexes else { return false };
        let index = self.run.index_of(pod);
        pod::phase(pod) == "Succeeded" && index.is_some_and(|index| !state.counted.has(index))
    }

    fn index_fields(&mut self) {
        let Some(state) = &self.run.indexes else { return };
        let text = state.succeeded.to_string();
        self.status.succeeded = Some(state.succeeded.total())
            .filter(|total| *total > 0)
            .or(self.status.succeeded.map(|_| 0));
        self.status.completed_indexes = Some(text).filter(|text| !text.is_empty());
        self.status.failed_indexes = state.failed.as_ref().map(ToString::to_string);
    }

    fn end(&mut self, all_recorded: bool) {
        let Some(ending) = self.ending.take() else { return };
        let now = self.run.now;
        if condition(&self.status, ending.announcement()).is_none() {
            let announced = ending.condition(ending.announcement(), now);
            self.status.conditions.get_or_insert_default().push(announced);
        }
        let waiting = self.uncounted.succeeded.is_some() || self.uncounted.failed.is_some();
        let running = self.status.terminating.is_some_and(|count| count > 0) || self.status.active.is_some();
        if !all_recorded || waiting || running {
            return;
        }
        let job = self.run.job.as_ref();
        let kind = if ending.good { "Complete" } else { "Failed" };
        self.status
            .conditions
            .get_or_insert_default()
            .push(ending.condition(kind, now));
        if !ending.good {
            let reason = reason(&ending.reason);
            self.notes.push(Note::warning(job, reason, ending.message));
            return;
        }
        self.status.completion_time = Some(Time(now));
        if self
            .run
            .spec()
            .completions
            .is_some_and(|wanted| self.run.succeeded > wanted)
        {
            let message = "Too many succeeded pods running after completion count reached";
            self.notes
                .push(Note::warning(job, "TooManySucceededPods", message.into()));
        }
        self.notes.push(Note::normal(job, "Completed", "Job completed".into()));
    }

    fn suspend_or_resume(&mut self) {
        let (status, reason, message, event) = match self.run.is_suspended() {
            true => ("True", "JobSuspended", "Job suspended", "Suspended"),
            false => ("False", "JobResumed", "Job resumed", "Resumed"),
        };
        let now = Time(self.run.now);
        let conditions = self.status.conditions.get_or_insert_default();
        let known = conditions.iter_mut().find(|condition| condition.type_ == "Suspended");
        let fresh = JobCondition {
            type_: "Suspended".into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_probe_time: Some(now.clone()),
            last_transition_time: Some(now.clone()),
        };
        match known {
            Some(known) if known.status == status => return,
            Some(known) => *known = fresh,
            // From nothing to "not suspended" is no news.
            None if status == "False" => {
                self.status.conditions = self.status.conditions.take().filter(|all| !all.is_empty());
                return;
            }
            None => conditions.push(fresh),
        }
        // The time a Job may be active begins anew when it is resumed.
        self.status.start_time = (status == "False").then_some(now);
        self.notes
            .push(Note::normal(self.run.job.as_ref(), event, message.into()));
    }
}

/// The reasons with which Jobs fail, as events want them.
fn reason(text: &str) -> &'static str {
    const REASONS: [&str; 5] = [
        "PodFailurePolicy",
        "BackoffLimitExceeded",
        "DeadlineExceeded",
        "MaxFailedIndexesExceeded",
        "FailedIndexes",
    ];
    REASONS.into_iter().find(|reason| *reason == text).unwrap_or("Failed")
}
