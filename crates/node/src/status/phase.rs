//! A pod's phase: the one word for all its containers.

use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};

use crate::pod::plan::restarts;
use crate::pod::state::{PodState, Ran, Role, State};

/// The phase. Once a pod has succeeded or failed, it stays so.
pub(super) fn phase(pod: &Pod, declared: &[(Role, Container)], state: &PodState, previous: &PodStatus) -> &'static str {
    match previous.phase.as_deref() {
        Some("Succeeded") => return "Succeeded",
        Some("Failed") => return "Failed",
        _ => {}
    }
    let containers = || {
        state
            .containers
            .iter()
            .zip(declared)
            .map(|(container, (_, spec))| (container, spec))
    };
    let any_running = state.containers.iter().any(|container| container.running());
    if state.failed.is_some() && !any_running {
        return "Failed";
    }
    let apps = || containers().filter(|(container, _)| container.role == Role::App);
    let all_over = apps().all(|(container, _)| container.ended().is_some());
    if pod.metadata.deletion_timestamp.is_some() && !any_running {
        // What never ran to its end has not succeeded.
        let well = all_over && apps().all(|(container, _)| container.ended().is_some_and(|ended| ended.exit_code == 0));
        return if well { "Succeeded" } else { "Failed" };
    }
    let initialised = apps().any(|(container, _)| container.ran != Ran::Never);
    for (container, spec) in containers().filter(|(container, _)| container.role == Role::Init) {
        match container.ended() {
            Some(ended) if ended.exit_code == 0 => {}
            Some(ended) if !restarts(pod, spec, Role::Init, ended) && !any_running => return "Failed",
            _ if initialised => {}
            _ => return "Pending",
        }
    }
    let mut sidecars = containers().filter(|(container, _)| container.role == Role::Sidecar);
    if !initialised && sidecars.any(|(container, _)| !container.started()) {
        return "Pending";
    }
    let unstarted = apps().any(|(container, _)| match &container.state {
        State::Waiting(_) => container.last.is_none(),
        // As long as its hook runs, it is not seen to run.
        State::Running(_) => container.in_hook() && container.last.is_none(),
        State::Ended(_) => false,
    });
    if unstarted {
        return "Pending";
    }
    if !all_over || any_running {
        return "Running";
    }
    let followed = |(container, spec): (&crate::pod::state::ContainerState, &Container)| {
        container.again
            || container
                .ended()
                .is_some_and(|ended| restarts(pod, spec, Role::App, ended))
    };
    if apps().any(followed) {
        "Running"
    } else if apps().all(|(container, _)| container.ended().is_some_and(|ended| ended.exit_code == 0)) {
        "Succeeded"
    } else {
        "Failed"
    }
}
