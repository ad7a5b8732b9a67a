//! Container statuses.

use k8s_openapi::api::core::v1::{
    Container, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Node;
use crate::pod::state::{ContainerState, Ended, Instance, PodState, Role, State};

/// The three lists.
pub(super) struct Statuses {
    pub(super) init: Vec<ContainerStatus>,
    pub(super) app: Vec<ContainerStatus>,
    pub(super) ephemeral: Vec<ContainerStatus>,
}

pub(super) fn statuses(declared: &[(Role, Container)], state: &PodState, phase: &str, node: &Node) -> Statuses {
    let mut statuses = Statuses {
        init: Vec::new(),
        app: Vec::new(),
        ephemeral: Vec::new(),
    };
    let has_init = declared
        .iter()
        .any(|(role, _)| matches!(role, Role::Init | Role::Sidecar));
    let default = if has_init {
        "PodInitializing"
    } else {
        "ContainerCreating"
    };
    for (container, (_, spec)) in state.containers.iter().zip(declared) {
        let status = status(container, spec, default, phase, node);
        match container.role {
            Role::Init | Role::Sidecar => statuses.init.push(status),
            Role::App => statuses.app.push(status),
            Role::Ephemeral => statuses.ephemeral.push(status),
        }
    }
    statuses
}

fn status(container: &ContainerState, spec: &Container, default: &str, phase: &str, node: &Node) -> ContainerStatus {
    let full = |id: &String| format!("{}://{id}", node.scheme);
    let over = matches!(phase, "Succeeded" | "Failed");
    let (state, id) = match &container.state {
        State::Running(_) if container.in_hook() => (waiting(default, None), None),
        State::Running(Instance { id, since, .. }) => {
            let running = ContainerStateRunning {
                started_at: Some(Time(*since)),
            };
            let state = ApiState {
                running: Some(running),
                ..ApiState::default()
            };
            (state, Some(full(id)))
        }
        State::Ended(ended) => (terminated(ended), ended.id.clone()),
        State::Waiting(reason) => {
            let state = match reason {
                Some(why) => waiting(&why.reason, Some(why.message.clone()).filter(|text| !text.is_empty())),
                None => waiting(default, None),
            };
            (state, container.last.as_ref().and_then(|last| last.id.clone()))
        }
    };
    let (image, image_id) = container
        .image
        .clone()
        .unwrap_or_else(|| (spec.image.clone().unwrap_or_default(), String::new()));
    let shown = container.running() && !container.in_hook();
    let resources = spec.resources.clone().unwrap_or_default();
    // A regular init container that has succeeded is ready for ever.
    let done = container.role == Role::Init && container.ended().is_some_and(|ended| ended.exit_code == 0);
    ContainerStatus {
        name: container.name.clone(),
        state: Some(state),
        last_state: Some(container.last.as_ref().map(terminated).unwrap_or_default()),
        ready: done || (!over && container.role != Role::Init && container.ready()),
        restart_count: container.restarts,
        image,
        image_id,
        container_id: id,
        started: Some(container.started()),
        allocated_resources: resources.requests.clone().filter(|_| shown),
        resources: spec.resources.clone().filter(|_| shown),
        volume_mounts: Some(mounts(spec)).filter(|mounts| !mounts.is_empty()),
        ..ContainerStatus::default()
    }
}

fn waiting(reason: &str, message: Option<String>) -> ApiState {
    ApiState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message,
        }),
        ..ApiState::default()
    }
}

fn terminated(ended: &Ended) -> ApiState {
    ApiState {
        terminated: Some(ContainerStateTerminated {
            container_id: ended.id.clone(),
            exit_code: ended.exit_code,
            reason: Some(ended.reason.clone()),
            message: ended.message.clone(),
            started_at: ended.started_at.map(Time),
            finished_at: Some(Time(ended.finished_at)),
            signal: None,
        }),
        ..ApiState::default()
    }
}

fn mounts(spec: &Container) -> Vec<VolumeMountStatus> {
    let mounts = spec.volume_mounts.iter().flatten();
    let status = mounts.map(|mount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only.filter(|read_only| *read_only),
        recursive_read_only: mount
            .read_only
            .filter(|read_only| *read_only)
            .map(|_| "Disabled".to_owned()),
        ..VolumeMountStatus::default()
    });
    status.collect()
}
