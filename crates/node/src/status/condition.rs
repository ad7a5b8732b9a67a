//! A pod's conditions.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::container::Statuses;
use crate::pod::state::{PodState, Sandbox};

const OWN: [&str; 5] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

/// The kubelet's own conditions; all others belong to somebody else.
pub(super) fn own(kind: &str) -> bool {
    OWN.contains(&kind)
}

/// True, or not true and why.
#[derive(Clone, Debug, Default, PartialEq)]
struct Truth {
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Truth {
    const YES: Self = Self {
        holds: true,
        reason: None,
        message: None,
    };

    fn no(reason: &'static str, message: String) -> Self {
        Self {
            holds: false,
            reason: Some(reason),
            message: Some(message).filter(|message| !message.is_empty()),
        }
    }
}

pub(super) fn conditions(
    pod: &Pod,
    state: &PodState,
    phase: &str,
    statuses: &Statuses,
    previous: &PodStatus,
    now: Timestamp,
) -> Vec<PodCondition> {
    let known = |kind: &str| {
        previous
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == kind)
    };
    let over = matches!(phase, "Succeeded" | "Failed");
    let containers = containers_ready(pod, phase, statuses);
    let truths = [
        Truth {
            holds: matches!(state.sandbox, Sandbox::Ready { .. }) && !over,
            ..Truth::default()
        },
        initialised(pod, phase, statuses),
        ready(pod, &containers, previous),
        containers,
        Truth::YES,
    ];
    let ours = OWN.into_iter().zip(truths).map(|(kind, truth)| {
        let status = if truth.holds { "True" } else { "False" };
        let unchanged = known(kind).filter(|condition| condition.status == status);
        let since = unchanged.and_then(|condition| condition.last_transition_time.clone());
        PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: truth.reason.map(str::to_owned),
            message: truth.message,
            last_transition_time: Some(since.unwrap_or(Time(now))),
            observed_generation: pod.metadata.generation,
            last_probe_time: None,
        }
    });
    let mut conditions: Vec<PodCondition> = ours.collect();
    // Those of others, such as readiness gates and DisruptionTarget, go first where they came from; they are kept as they are.
    let others = previous
        .conditions
        .iter()
        .flatten()
        .filter(|condition| !own(&condition.type_));
    conditions.extend(others.cloned());
    conditions
}

/// `[a b]`, as Go prints a list.
fn list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn find<'a>(statuses: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|status| status.name == name)
}

/// Names with unknown status and names that do not pass the test, in words.
fn unmet<'a>(
    statuses: &[ContainerStatus],
    names: impl Iterator<Item = &'a str>,
    word: &str,
    test: impl Fn(&ContainerStatus) -> bool,
) -> String {
    let (mut unknown, mut unmet) = (Vec::new(), Vec::new());
    for name in names {
        match find(statuses, name) {
            None => unknown.push(name),
            Some(status) if !test(status) => unmet.push(name),
            Some(_) => {}
        }
    }
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("containers with unknown status: {}", list(&unknown)));
    }
    if !unmet.is_empty() {
        parts.push(format!("containers with {word} status: {}", list(&unmet)));
    }
    parts.join(", ")
}

fn sidecar(container: &k8s_openapi::api::core::v1::Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn containers_ready(pod: &Pod, phase: &str, statuses: &Statuses) -> Truth {
    match phase {
        "Succeeded" => return Truth::no("PodCompleted", String::new()),
        "Failed" => return Truth::no("PodFailed", String::new()),
        _ => {}
    }
    let Some(spec) = &pod.spec else {
        return Truth::YES;
    };
    let all = [statuses.init.as_slice(), statuses.app.as_slice()].concat();
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| sidecar(container));
    let names = sidecars
        .chain(&spec.containers)
        .map(|container| container.name.as_str());
    let message = unmet(&all, names, "unready", |status| status.ready);
    if message.is_empty() {
        Truth::YES
    } else {
        Truth::no("ContainersNotReady", message)
    }
}

fn ready(pod: &Pod, containers: &Truth, previous: &PodStatus) -> Truth {
    if !containers.holds {
        return containers.clone();
    }
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let unmet: Vec<String> = gates
        .filter_map(|gate| {
            let name = &gate.condition_type;
            let condition = previous
                .conditions
                .iter()
                .flatten()
                .find(|condition| condition.type_ == *name);
            match condition {
                None => Some(format!(
                    "corresponding condition of pod readiness gate {name:?} does not exist."
                )),
                Some(condition) if condition.status != "True" => Some(format!(
                    "the status of pod readiness gate {name:?} is not \"True\", but {}",
                    condition.status
                )),
                Some(_) => None,
            }
        })
        .collect();
    if unmet.is_empty() {
        Truth::YES
    } else {
        Truth::no("ReadinessGatesNotReady", unmet.join(", "))
    }
}

fn initialised(pod: &Pod, phase: &str, statuses: &Statuses) -> Truth {
    let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    if phase == "Succeeded" {
        return Truth {
            reason: Some("PodCompleted"),
            ..Truth::YES
        };
    }
    // An app container that has been started proves it, whatever a restarting sidecar looks like now.
    let started = |status: &ContainerStatus| {
        let state = status.state.as_ref();
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    if statuses.app.iter().any(started) {
        return Truth::YES;
    }
    let sidecars: Vec<&str> = init
        .clone()
        .filter(|container| sidecar(container))
        .map(|c| c.name.as_str())
        .collect();
    let names = init.map(|container| container.name.as_str());
    let message = unmet(&statuses.init, names, "incomplete", |status| {
        if sidecars.contains(&status.name.as_str()) {
            status.started == Some(true)
        } else {
            status.ready
        }
    });
    if message.is_empty() {
        Truth::YES
    } else {
        Truth::no("ContainersNotInitialized", message)
    }
}
