//! How long a Job waits before it replaces a failed pod: 10 s after the first failure, then twice as long each time, up to ten
//! minutes.
//!
//! Failures are counted by the pods that are there, so that a control plane that starts again still knows them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::pod;

const FIRST: Duration = Duration::from_secs(10);
const LAST: Duration = Duration::from_secs(600);

/// The wait that is left after so many failures in a row, the last of which was at `last`.
pub(crate) fn remaining(failures: i32, last: Timestamp, now: Timestamp) -> Duration {
    if failures <= 0 {
        return Duration::ZERO;
    }
    let doublings = (failures - 1).min(16).unsigned_abs();
    let wait = FIRST.saturating_mul(1 << doublings).min(LAST);
    let passed = Duration::try_from(now.duration_since(last)).unwrap_or_default();
    wait.saturating_sub(passed)
}

/// The wait after the failures since the last success among pods that have ended.
pub(crate) fn after<'a>(
    succeeded: impl Iterator<Item = &'a Pod>,
    failed: impl Iterator<Item = &'a Pod>,
    now: Timestamp,
) -> Duration {
    let success = succeeded.map(finished).max();
    let failures: Vec<Timestamp> = failed
        .map(finished)
        .filter(|at| success.is_none_or(|success| *at > success))
        .collect();
    let count = i32::try_from(failures.len()).unwrap_or(i32::MAX);
    failures
        .into_iter()
        .max()
        .map_or(Duration::ZERO, |last| remaining(count, last, now))
}

/// When a pod ended: by its containers, else by its conditions, else by its deletion.
pub(crate) fn finished(pod: &Pod) -> Timestamp {
    let by_condition = || {
        let ready = pod::condition(pod, "Ready").filter(|condition| condition.status == "False")?;
        Some(ready.last_transition_time.as_ref()?.0)
    };
    let by_deletion = || {
        let deletion = pod.metadata.deletion_timestamp.as_ref()?.0;
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        deletion.checked_sub(SignedDuration::from_secs(grace)).ok()
    };
    let created = || pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    by_containers(pod)
        .or_else(by_condition)
        .or_else(by_deletion)
        .or_else(created)
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

fn by_containers(pod: &Pod) -> Option<Timestamp> {
    let ended = |status: &ContainerStatus| Some(status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0);
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let times: Option<Vec<Timestamp>> = statuses.iter().map(ended).collect();
    times?.into_iter().max()
}
