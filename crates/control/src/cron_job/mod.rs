//! CronJob: makes a Job whenever its schedule says so.
//!
//! A Job is named after the minute it was due in, so that it cannot be made twice. What is running is read off the Jobs that
//! the CronJob owns.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use knarr_apimachinery::cron::{Schedule, time_zone};
use knarr_clock::Clock;
use kube::{Resource, ResourceExt};

use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::event::Note;
use crate::key::Key;
use crate::store::Change;
use crate::write::{Plan, Write};
use crate::{job, owner};

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Clocks that differ a little shall not wake the controller before it is time.
const PADDING: Duration = Duration::from_millis(100);
/// More missed runs are told.
const MANY: i64 = 100;

/// The CronJob controller.
pub(crate) struct CronJobs {
    pub(crate) clock: Clock,
}

impl Controller for CronJobs {
    const NAME: &'static str = "cronjob-controller";

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        let (queue, clock) = (watch.queue(), self.clock.clone());
        watch
            .on::<CronJob>(move |change, _| {
                let Some(cron) = &change.new else { return Vec::new() };
                let key = Key::of(cron.as_ref());
                // A new schedule shall not make up for times that only it would have had.
                match rescheduled(change).then(|| Timing::of(cron).ok()).flatten() {
                    Some(timing) => {
                        queue.add_after(key, timing.wait(cron, clock.now()));
                        Vec::new()
                    }
                    None => vec![key],
                }
            })
            .on::<Job>(|change, _| {
                let owner = |job: &Arc<Job>| owner::controller_key(&job.metadata, "CronJob");
                let mut keys: Vec<Key> = change.sides().filter_map(owner).collect();
                keys.dedup();
                keys
            });
    }

    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan {
        let Some(cron) = caches.cron_jobs.get(key) else {
            return Plan::nothing();
        };
        let uid = cron.metadata.uid.as_deref().unwrap_or_default();
        let jobs = caches.jobs.with_term(&format!("controller/{uid}"));
        let mut run = Run {
            cron: &cron,
            jobs: &jobs,
            status: cron.status.clone().unwrap_or_default(),
            now,
            plan: Plan::default(),
            told: Vec::new(),
        };
        run.look_at_jobs();
        if cron.metadata.deletion_timestamp.is_none() {
            run.schedule();
            run.clean_up();
        }
        run.into_plan()
    }
}

fn rescheduled(change: &Change<CronJob>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else {
        return false;
    };
    let what = |cron: &CronJob| (cron.spec.schedule.clone(), cron.spec.time_zone.clone());
    what(old) != what(new)
}

/// A schedule in its time zone.
struct Timing {
    schedule: Schedule,
    zone: TimeZone,
}

/// Which runs are due.
struct Due {
    /// The last one that was due and not yet made.
    at: Option<Timestamp>,
    /// From where on it was looked for.
    since: Timestamp,
    missed: i64,
}

impl Timing {
    /// The answer of a mistake is the note about it.
    fn of(cron: &CronJob) -> Result<Self, Box<Note>> {
        let spec = &cron.spec;
        let name = spec.time_zone.clone().unwrap_or_default();
        let zone = time_zone(&name)
            .map_err(|why| Note::warning(cron, "UnknownTimeZone", format!("invalid timeZone: {name:?}: {why}")))?;
        let schedule = Schedule::parse(&spec.schedule).map_err(|why| {
            let message = format!("unparseable schedule: {:?} : {why}", spec.schedule);
            Note::warning(cron, "UnparseableSchedule", message)
        })?;
        Ok(Self { schedule, zone })
    }

    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.schedule.next(after, &self.zone)
    }

    /// The run that is due. Runs before `deadline` are not made any more. `None` if the schedule never comes.
    fn due(&self, cron: &CronJob, deadline: Option<Timestamp>, now: Timestamp) -> Option<Due> {
        let last = cron
            .status
            .as_ref()
            .and_then(|status| status.last_schedule_time.as_ref());
        let since = last
            .or(cron.metadata.creation_timestamp.as_ref())
            .map_or(now, |time| time.0);
        let since = deadline.map_or(since, |deadline| deadline.max(since));
        let (first, mut due) = (
            self.next(since)?,
            Due {
                at: None,
                since,
                missed: 0,
            },
        );
        if now < first {
            return Some(due);
        }
        due.at = Some(first);
        let second = self.next(first)?;
        if now < second {
            return Some(due);
        }
        // Leap over what was missed, to shortly before now, and go on from there one by one.
        let interval = second.duration_since(first).as_secs().max(1);
        due.missed = now.duration_since(first).as_secs() / interval + 1;
        let leap = SignedDuration::from_secs((due.missed - 2) * interval);
        let mut at = self.next(first.checked_add(leap).ok()?);
        due.at = None;
        while let Some(next) = at.filter(|at| *at <= now) {
            due.at = Some(next);
            at = self.next(next);
        }
        Some(due)
    }

    /// How long until the next run.
    fn wait(&self, cron: &CronJob, now: Timestamp) -> Duration {
        let from = match self.due(cron, None, now) {
            Some(Due { at: Some(at), .. }) => at,
            Some(Due { missed: 0, since, .. }) => since,
            _ => now,
        };
        let next = self
            .next(from)
            .map_or(SignedDuration::MAX, |next| next.duration_since(now));
        Duration::try_from(next).unwrap_or_default().saturating_add(PADDING)
    }
}

/// One sync of one CronJob.
struct Run<'a> {
    cron: &'a CronJob,
    jobs: &'a [Arc<Job>],
    status: CronJobStatus,
    now: Timestamp,
    plan: Plan,
    /// What is told when the status has been written.
    told: Vec<Note>,
}

impl Run<'_> {
    /// Brings the list of active Jobs up to date with the Jobs that there are.
    fn look_at_jobs(&mut self) {
        for job in self.jobs {
            let listed = self.is_active(job);
            match job::finish(job) {
                Some(end) => {
                    if listed {
                        let message = format!("Saw completed job: {}, condition: {}", job.name_any(), end.type_);
                        self.told.push(Note::normal(self.cron, "SawCompletedJob", message));
                        self.forget(job);
                    }
                    let completed = job.status.as_ref().and_then(|status| status.completion_time.clone());
                    let last = self.status.last_successful_time.as_ref().map(|time| time.0);
                    if completed.as_ref().map(|time| time.0) > last {
                        self.status.last_successful_time = completed;
                    }
                }
                None if listed => {}
                None => match self.scheduled_minute(job) {
                    Some(at) => {
                        self.status.active.get_or_insert_default().push(reference(job));
                        let last = self.status.last_schedule_time.as_ref().map(|time| time.0);
                        self.status.last_schedule_time = last.max(Some(at)).map(Time);
                    }
                    None => {
                        let name = job.name_any();
                        let message = format!("Saw a job that the controller did not create or forgot: {name}");
                        self.plan.notes.push(Note::warning(self.cron, "UnexpectedJob", message));
                    }
                },
            }
        }
        let gone = |listed: &ObjectReference| self.jobs.iter().all(|job| job.metadata.uid != listed.uid);
        for listed in self.status.active.iter().flatten().filter(|listed| gone(listed)) {
            let message = format!(
                "Active job went missing: {}",
                listed.name.as_deref().unwrap_or_default()
            );
            self.told.push(Note::normal(self.cron, "MissingJob", message));
        }
        if let Some(active) = &mut self.status.active {
            active.retain(|listed| self.jobs.iter().any(|job| job.metadata.uid == listed.uid));
        }
    }

    fn is_active(&self, job: &Job) -> bool {
        self.status
            .active
            .iter()
            .flatten()
            .any(|listed| listed.uid == job.metadata.uid)
    }

    fn forget(&mut self, job: &Job) {
        if let Some(active) = &mut self.status.active {
            active.retain(|listed| listed.uid != job.metadata.uid);
        }
    }

    /// The time a Job of this controller was made for; its name tells.
    fn scheduled_minute(&self, job: &Job) -> Option<Timestamp> {
        let name = job.name_any();
        let minutes: i64 = name
            .strip_prefix(&self.cron.name_any())?
            .strip_prefix('-')?
            .parse()
            .ok()?;
        Timestamp::from_second(minutes.checked_mul(60)?).ok()
    }

    fn schedule(&mut self) {
        let spec = &self.cron.spec;
        let timing = match Timing::of(self.cron) {
            Ok(_) if spec.suspend == Some(true) => return,
            Ok(timing) => timing,
            Err(note) => return self.plan.notes.push(*note),
        };
        let deadline = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
        let earliest = deadline.and_then(|deadline| self.now.checked_sub(deadline).ok());
        let Some(due) = timing.due(self.cron, earliest, self.now) else {
            let message = format!(
                "invalid schedule: {} : time difference between two schedules is less than 1 second",
                spec.schedule
            );
            return self
                .plan
                .notes
                .push(Note::warning(self.cron, "InvalidSchedule", message));
        };
        self.plan.again = Some(timing.wait(self.cron, self.now));
        let Some(at) = due.at else { return };
        if due.missed > MANY {
            let message =
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.plan
                .notes
                .push(Note::warning(self.cron, "TooManyMissedTimes", message.into()));
        }
        if earliest.is_some_and(|earliest| at < earliest) {
            let when = at.strftime("%a, %d %b %Y %H:%M:%S +0000");
            let message = format!("Missed scheduled time to start a job: {when}");
            return self.plan.notes.push(Note::warning(self.cron, "MissSchedule", message));
        }
        let name = format!("{}-{}", self.cron.name_any(), at.as_second() / 60);
        let mut active = self.status.active.iter().flatten();
        let made = active.any(|listed| listed.name.as_ref() == Some(&name));
        if made || self.status.last_schedule_time.as_ref().is_some_and(|last| last.0 == at) {
            return;
        }
        let busy = self.status.active.as_ref().is_some_and(|active| !active.is_empty());
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if busy => {
                let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
                return self
                    .plan
                    .notes
                    .push(Note::normal(self.cron, "JobAlreadyActive", message.into()));
            }
            Some("Replace") => {
                let running: Vec<_> = self.jobs.iter().filter(|job| self.is_active(job)).cloned().collect();
                for job in running {
                    self.delete(&job);
                }
            }
            _ => {}
        }
        let create = Write::create(&self.job(name, at, &timing.zone))
            .on_success(Note::normal(self.cron, "SuccessfulCreate", "Created job {name}".into()))
            .on_failure(Note::warning(
                self.cron,
                "FailedCreate",
                "Error creating job: {error}".into(),
            ))
            .fine_when_there();
        self.plan.writes.push(create);
        self.status.last_schedule_time = Some(Time(at));
    }

    fn job(&self, name: String, at: Timestamp, zone: &TimeZone) -> Job {
        let template = self.cron.spec.job_template.clone();
        let meta = template.metadata.unwrap_or_default();
        let mut annotations = meta.annotations.unwrap_or_default();
        let local = at.to_zoned(zone.clone());
        let format = if local.offset().is_zero() { "%FT%TZ" } else { "%FT%T%:z" };
        annotations.insert(SCHEDULED_AT.into(), local.strftime(format).to_string());
        Job {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: self.cron.metadata.namespace.clone(),
                labels: meta.labels,
                annotations: Some(annotations),
                owner_references: Some(vec![owner::reference(self.cron)]),
                ..ObjectMeta::default()
            },
            spec: template.spec,
            status: None,
        }
    }

    /// Deletes the oldest of the Jobs that have ended, but for as many as are to be kept of each sort.
    fn clean_up(&mut self) {
        let spec = &self.cron.spec;
        for (end, kept) in [
            ("Complete", spec.successful_jobs_history_limit),
            ("Failed", spec.failed_jobs_history_limit),
        ] {
            let Some(kept) = kept else { continue };
            let ended = |job: &&Arc<Job>| job::finish(job).is_some_and(|condition| condition.type_ == end);
            let mut jobs: Vec<Arc<Job>> = self.jobs.iter().filter(ended).cloned().collect();
            let start = |job: &Job| {
                job.status
                    .as_ref()
                    .and_then(|status| Some(status.start_time.as_ref()?.0))
            };
            // One that never started is the youngest.
            jobs.sort_by_key(|job| (start(job).is_none(), start(job), job.name_any()));
            let surplus = jobs.len().saturating_sub(usize::try_from(kept).unwrap_or(0));
            for job in &jobs[..surplus] {
                self.delete(job);
            }
        }
    }

    fn delete(&mut self, job: &Job) {
        self.forget(job);
        if job.metadata.deletion_timestamp.is_some() {
            return;
        }
        let message = format!("Deleted job {}", job.name_any());
        let delete = Write::delete(job)
            .on_success(Note::normal(self.cron, "SuccessfulDelete", message))
            .on_failure(Note::warning(self.cron, "FailedDelete", "Deleted job: {error}".into()));
        self.plan.writes.push(delete);
    }

    fn into_plan(mut self) -> Plan {
        self.status.active = self.status.active.filter(|active| !active.is_empty());
        if self.cron.status.clone().unwrap_or_default() != self.status {
            let mut cron = self.cron.clone();
            cron.status = Some(self.status);
            let write = Write::replace_status(&cron).fine_when_gone();
            self.plan
                .writes
                .push(self.told.into_iter().fold(write, Write::on_success));
        }
        self.plan
    }
}

fn reference(job: &Job) -> ObjectReference {
    ObjectReference {
        resource_version: job.metadata.resource_version.clone(),
        ..job.object_ref(&())
    }
}

#[cfg(test)]
mod tests;
