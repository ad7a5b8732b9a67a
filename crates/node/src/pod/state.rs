//! What a worker knows of its pod: plain data, so that what to do and what to report can be worked out by pure functions.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState as ApiState, ContainerStateTerminated, ContainerStatus, Pod,
};

use crate::backoff::Backoff;

/// Why a container whose `postStart` hook has failed waits.
pub(crate) const POST_START_ERROR: &str = "PostStartHookError";

/// What kind of container it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`: starts in its turn and stays.
    Sidecar,
    App,
    /// For debugging; started once.
    Ephemeral,
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    /// `containerID`, scheme and all.
    pub(crate) id: Option<String>,
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    pub(crate) message: Option<String>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Timestamp,
}

impl Ended {
    /// As if it were killed now.
    pub(crate) fn killed(now: Timestamp) -> Self {
        Self {
            id: None,
            exit_code: 137,
            reason: "Error".into(),
            message: None,
            started_at: None,
            finished_at: now,
        }
    }
}

/// What a container does now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    /// Not running, and why, if it is for more than not having been started yet.
    Waiting(Option<Reason>),
    Running(Instance),
    Ended(Ended),
}

/// A running instance of a container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) since: Timestamp,
    pub(crate) startup: Startup,
    /// It is being ended.
    pub(crate) stopping: bool,
}

/// How far a running instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Startup {
    /// Its `postStart` hook runs: it counts as not yet running.
    PostStart,
    /// The hook has failed, with this message.
    PostStartFailed(String),
    /// Its startup probe has not succeeded.
    Probing,
    Started {
        ready: bool,
    },
}

/// Which instances there have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    Never,
    /// In a sandbox before the present one.
    Before,
    /// In the present sandbox.
    Here,
}

/// The pod's sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sandbox {
    /// There has been none.
    #[default]
    None,
    /// There was one, and its processes are gone with it: with the kubelet's previous life, or with the runtime's.
    Lost,
    /// It is there, made in this epoch of the runtime.
    Ready { epoch: u64 },
}

/// Why a container waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// One container.
#[derive(Clone, Debug)]
pub(crate) struct ContainerState {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) state: State,
    pub(crate) last: Option<Ended>,
    pub(crate) restarts: i32,
    pub(crate) ran: Ran,
    /// It was ended in order to be started anew, whatever the restart policy says.
    pub(crate) again: bool,
    /// Image name and ID that the runtime uses.
    pub(crate) image: Option<(String, String)>,
    /// The image that the pod asked for when the present instance was started.
    pub(crate) asked_image: String,
    pub(crate) crash: Backoff,
    pub(crate) pull: Backoff,
    /// Its image is being pulled.
    pub(crate) pulling: bool,
    /// The last pull has failed: when and why.
    pub(crate) pull_failed: Option<(Timestamp, String)>,
    /// Not to be tried before this time.
    pub(crate) retry_at: Option<Timestamp>,
    /// When it is told again that it waits for its restart.
    pub(crate) remind_at: Option<Timestamp>,
}

impl ContainerState {
    pub(crate) fn new(name: &str, role: Role) -> Self {
        Self {
            name: name.to_owned(),
            role,
            state: State::Waiting(None),
            last: None,
            restarts: 0,
            ran: Ran::Never,
            again: false,
            image: None,
            asked_image: String::new(),
            crash: Backoff::kubelet(),
            pull: Backoff::kubelet(),
            pulling: false,
            pull_failed: None,
            retry_at: None,
            remind_at: None,
        }
    }

    pub(crate) fn running(&self) -> bool {
        self.instance().is_some()
    }

    pub(crate) fn instance(&self) -> Option<&Instance> {
        match &self.state {
            State::Running(instance) => Some(instance),
            _ => None,
        }
    }

    pub(crate) fn instance_mut(&mut self) -> Option<&mut Instance> {
        match &mut self.state {
            State::Running(instance) => Some(instance),
            _ => None,
        }
    }

    /// It runs, and its hook and its startup probe have succeeded.
    pub(crate) fn started(&self) -> bool {
        self.instance()
            .is_some_and(|instance| matches!(instance.startup, Startup::Started { .. }))
    }

    pub(crate) fn ready(&self) -> bool {
        self.instance()
            .is_some_and(|instance| instance.startup == Startup::Started { ready: true })
    }

    /// It runs, but its hook has not succeeded, so that it is not seen to run.
    pub(crate) fn in_hook(&self) -> bool {
        self.instance()
            .is_some_and(|instance| matches!(instance.startup, Startup::PostStart | Startup::PostStartFailed(_)))
    }

    /// What a container that is to be started again waits on: the end of the instance before.
    pub(crate) fn to_restart(&self) -> Option<&Ended> {
        match &self.state {
            State::Ended(ended) => Some(ended),
            State::Waiting(Some(why)) if why.reason == POST_START_ERROR => self.last.as_ref(),
            _ => None,
        }
    }

    pub(crate) fn ended(&self) -> Option<&Ended> {
        match &self.state {
            State::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    pub(crate) fn wait(&mut self, reason: &str, message: impl Into<String>) {
        let message = message.into();
        let reason = reason.to_owned();
        if let State::Ended(ended) = &self.state {
            self.last = Some(ended.clone());
        }
        self.state = State::Waiting(Some(Reason { reason, message }));
    }
}

/// The pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodState {
    /// In the order of the specification: init, app, ephemeral.
    pub(crate) containers: Vec<ContainerState>,
    pub(crate) sandbox: Sandbox,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) start_time: Option<Timestamp>,
    /// The pod has failed for a reason of its own: reason and message.
    pub(crate) failed: Option<(String, String)>,
}

impl PodState {
    /// A new sandbox is initialised from the beginning: what has ended in the one before is the last state of what is to come.
    pub(crate) fn begin_anew(&mut self) {
        let has_init = self
            .containers
            .iter()
            .any(|container| matches!(container.role, Role::Init | Role::Sidecar));
        for container in &mut self.containers {
            if container.ran == Ran::Here {
                container.ran = Ran::Before;
            }
            let again =
                matches!(container.role, Role::Init | Role::Sidecar) || (has_init && container.role == Role::App);
            if again && let State::Ended(ended) = &container.state {
                container.last = Some(ended.clone());
                container.state = State::Waiting(None);
            }
        }
    }
}

/// The containers of `pod` by role, in order. An ephemeral one is a container in everything that matters here.
pub(crate) fn declared(pod: &Pod) -> Vec<(Role, Container)> {
    let Some(spec) = &pod.spec else {
        return Vec::new();
    };
    let init = spec.init_containers.iter().flatten().map(|container| {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        (if sidecar { Role::Sidecar } else { Role::Init }, container.clone())
    });
    let app = spec.containers.iter().map(|container| (Role::App, container.clone()));
    let ephemeral = spec.ephemeral_containers.iter().flatten().filter_map(|container| {
        // All of a container's fields but those that an ephemeral one may not have.
        let value = serde_json::to_value(container).ok()?;
        Some((Role::Ephemeral, serde_json::from_value(value).ok()?))
    });
    init.chain(app).chain(ephemeral).collect()
}

/// A pod as it is first seen: new, or with the history that its status tells.
pub(crate) fn first_seen(pod: &Pod, now: Timestamp) -> PodState {
    let status = pod.status.clone().unwrap_or_default();
    let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let statuses = || {
        let init = status.init_container_statuses.iter().flatten();
        let app = status.container_statuses.iter().flatten();
        init.chain(app)
            .chain(status.ephemeral_container_statuses.iter().flatten())
    };
    let mut sandbox = Sandbox::None;
    let containers = declared(pod).into_iter().map(|(role, container)| {
        let mut state = ContainerState::new(&container.name, role);
        if let Some(known) = statuses().find(|known| known.name == container.name) {
            recall(&mut state, known, now);
            if state.ran != Ran::Never && !over {
                sandbox = Sandbox::Lost;
            }
        }
        state
    });
    let containers = containers.collect();
    let reason = status
        .reason
        .clone()
        .filter(|_| status.phase.as_deref() == Some("Failed"));
    PodState {
        containers,
        sandbox,
        ip: status.pod_ip.as_deref().filter(|_| over).and_then(|ip| ip.parse().ok()),
        start_time: status.start_time.as_ref().map(|time| time.0),
        failed: reason.map(|reason| (reason, status.message.clone().unwrap_or_default())),
    }
}

fn ended(state: &ContainerStateTerminated, now: Timestamp) -> Ended {
    Ended {
        id: state.container_id.clone(),
        exit_code: state.exit_code,
        reason: state.reason.clone().unwrap_or_else(|| "Error".into()),
        message: state.message.clone(),
        started_at: state.started_at.as_ref().map(|time| time.0),
        finished_at: state.finished_at.as_ref().map_or(now, |time| time.0),
    }
}

/// Restores what a status tells of a container whose process is gone.
fn recall(state: &mut ContainerState, known: &ContainerStatus, now: Timestamp) {
    let terminated = |state: &Option<ApiState>| state.as_ref().and_then(|state| state.terminated.clone());
    let running = known.state.as_ref().and_then(|state| state.running.as_ref());
    state.restarts = known.restart_count;
    state.last = terminated(&known.last_state).map(|last| ended(&last, now));
    if running.is_some() || state.last.is_some() || terminated(&known.state).is_some() {
        state.ran = Ran::Before;
    }
    if !known.image_id.is_empty() {
        state.image = Some((known.image.clone(), known.image_id.clone()));
    }
    if let Some(found) = terminated(&known.state) {
        state.state = State::Ended(ended(&found, now));
    } else if let Some(running) = running {
        state.state = State::Ended(Ended {
            id: known.container_id.clone(),
            exit_code: 137,
            reason: "ContainerStatusUnknown".into(),
            message: Some(
                "The container could not be located when the node was restarted.  The container used to be Running"
                    .into(),
            ),
            started_at: running.started_at.as_ref().map(|time| time.0),
            finished_at: now,
        });
    }
}
