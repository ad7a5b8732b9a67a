//! What a deployment reports, and whether its rollout makes progress.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};

use super::condition::{self, AVAILABLE, PROGRESSING, REPLICA_FAILURE};
use super::scale::{self, Strategy, available, size};

/// Sums up the sets. `new` is the one that runs the current template.
pub(crate) fn sum_up(
    deployment: &Deployment,
    sets: &[&ReplicaSet],
    new: Option<&ReplicaSet>,
    now: Timestamp,
) -> DeploymentStatus {
    let old = deployment.status.clone().unwrap_or_default();
    let total: i32 = sets.iter().map(|set| size(set)).sum();
    let in_status = |set: &ReplicaSet| set.status.as_ref().map_or(0, |status| status.replicas);
    let ready: i32 = sets.iter().filter_map(|set| set.status.as_ref()?.ready_replicas).sum();
    let terminating: i32 = sets
        .iter()
        .filter_map(|set| set.status.as_ref()?.terminating_replicas)
        .sum();
    let up: i32 = sets.iter().map(|set| available(set)).sum();
    let nonzero = |count: i32| (count != 0).then_some(count);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: nonzero(sets.iter().map(|set| in_status(set)).sum()),
        updated_replicas: nonzero(new.map_or(0, in_status)),
        ready_replicas: nonzero(ready),
        available_replicas: nonzero(up),
        unavailable_replicas: nonzero((total - up).max(0)),
        terminating_replicas: Some(terminating),
        collision_count: old.collision_count,
        conditions: old.conditions,
    };
    let wanted = scale::replicas(deployment);
    let least = wanted - Strategy::of(deployment).unavailable(wanted);
    let (is, reason, message) = if up >= least {
        (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
    } else {
        (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    };
    condition::set(&mut status, condition::new(AVAILABLE, is, reason, message.into(), now));
    status
}

/// The deadline for progress, if there is one.
pub(crate) fn deadline(deployment: &Deployment) -> Option<SignedDuration> {
    let seconds = deployment
        .spec
        .progress_deadline_seconds
        .filter(|seconds| *seconds != i32::MAX)?;
    Some(SignedDuration::from_secs(seconds.into()))
}

/// All replicas are of the new template and available, and no old one is left.
pub(crate) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = scale::replicas(deployment);
    let all = |count: Option<i32>| count.unwrap_or(0) == wanted;
    all(status.updated_replicas)
        && all(status.replicas)
        && all(status.available_replicas)
        && status.observed_generation >= deployment.metadata.generation
}

/// More new, fewer old, more ready or more available replicas than before.
fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let value = |count: Option<i32>| count.unwrap_or(0);
    let outdated = |status: &DeploymentStatus| value(status.replicas) - value(status.updated_replicas);
    value(new.updated_replicas) > value(old.updated_replicas)
        || outdated(new) < outdated(old)
        || value(new.ready_replicas) > value(old.ready_replicas)
        || value(new.available_replicas) > value(old.available_replicas)
}

fn has_timed_out(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    let Some(condition) = condition::get(status, PROGRESSING) else {
        return false;
    };
    match condition.reason.as_deref() {
        Some("NewReplicaSetAvailable") => return false,
        Some("ProgressDeadlineExceeded") => return true,
        _ => {}
    }
    let Some(deadline) = deadline(deployment) else {
        return false;
    };
    let since = condition.last_update_time.as_ref().map_or(now, |time| time.0);
    since.saturating_add(deadline).is_ok_and(|limit| limit < now)
}

/// Adds the `Progressing` and `ReplicaFailure` conditions during a rollout.
pub(crate) fn judge(
    deployment: &Deployment,
    status: &mut DeploymentStatus,
    sets: &[&ReplicaSet],
    new: Option<&ReplicaSet>,
    now: Timestamp,
) {
    let old = deployment.status.clone().unwrap_or_default();
    let settled = status.replicas == status.updated_replicas
        && condition::progress_reason(&old) == Some("NewReplicaSetAvailable");
    if deadline(deployment).is_none() {
        condition::remove(status, PROGRESSING);
    } else if !settled {
        progress(deployment, &old, status, new, now);
    }
    let failure = new.into_iter().chain(sets.iter().copied()).find_map(failure_of);
    match failure {
        Some(failure) => condition::set(status, failure),
        None => condition::remove(status, REPLICA_FAILURE),
    }
}

fn progress(
    deployment: &Deployment,
    old: &DeploymentStatus,
    status: &mut DeploymentStatus,
    new: Option<&ReplicaSet>,
    now: Timestamp,
) {
    let subject = match new {
        Some(set) => format!("ReplicaSet {:?}", set.metadata.name.as_deref().unwrap_or_default()),
        None => format!(
            "Deployment {:?}",
            deployment.metadata.name.as_deref().unwrap_or_default()
        ),
    };
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        condition::set(
            status,
            condition::new(PROGRESSING, "True", "NewReplicaSetAvailable", message, now),
        );
    } else if has_progressed(old, status) {
        let message = format!("{subject} is progressing.");
        let mut fresh = condition::new(PROGRESSING, "True", "ReplicaSetUpdated", message, now);
        // Unlike other conditions this one is renewed although nothing but its time differs: the time is what the
        // deadline counts from.
        if let Some(current) = condition::get(status, PROGRESSING) {
            if current.status.as_deref() == Some("True") {
                fresh.last_transition_time = current.last_transition_time.clone();
            }
            condition::remove(status, PROGRESSING);
        }
        condition::set(status, fresh);
    } else if has_timed_out(deployment, status, now) {
        let message = format!("{subject} has timed out progressing.");
        condition::set(
            status,
            condition::new(PROGRESSING, "False", "ProgressDeadlineExceeded", message, now),
        );
    }
}

fn failure_of(set: &ReplicaSet) -> Option<DeploymentCondition> {
    let mut conditions = set.status.as_ref()?.conditions.iter().flatten();
    let failure = conditions.find(|condition| condition.type_.as_deref() == Some(REPLICA_FAILURE))?;
    Some(DeploymentCondition {
        type_: failure.type_.clone(),
        status: failure.status.clone(),
        reason: failure.reason.clone(),
        message: failure.message.clone(),
        last_update_time: failure.last_transition_time.clone(),
        last_transition_time: failure.last_transition_time.clone(),
    })
}
