//! The STATUS of a pod: a word that stands nowhere in the object. `kubectl` and the server's tables tell it from the
//! containers, and users know pods by it, so it is told the same way here.

use std::borrow::Cow;

use serde::Deserialize;

use crate::kind::part::{Condition, Meta, Stamp, Str, condition, holds, nullable};
use crate::store::Health;

/// What the row of a pod needs of it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Pod<'a> {
    pub(super) metadata: Meta,
    #[serde(borrow)]
    pub(super) spec: Spec<'a>,
    #[serde(borrow)]
    pub(super) status: Status<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Spec<'a> {
    #[serde(borrow, rename = "nodeName")]
    pub(super) node: Str<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    containers: Vec<Container<'a>>,
    #[serde(borrow, rename = "initContainers")]
    inits: Vec<Container<'a>>,
    #[serde(borrow, rename = "readinessGates")]
    pub(super) gates: Vec<Gate<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Container<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow, rename = "restartPolicy")]
    restart: Str<'a>,
}

impl Container<'_> {
    /// An init container that is restarted for ever runs beside the others: a sidecar.
    fn is_sidecar(&self) -> bool {
        &*self.restart == "Always"
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Gate<'a> {
    #[serde(borrow, rename = "conditionType")]
    kind: Str<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Status<'a> {
    #[serde(borrow)]
    phase: Str<'a>,
    #[serde(borrow)]
    reason: Str<'a>,
    #[serde(borrow, rename = "podIP")]
    pub(super) ip: Str<'a>,
    #[serde(borrow, rename = "podIPs")]
    pub(super) ips: Vec<Address<'a>>,
    #[serde(borrow, rename = "nominatedNodeName")]
    pub(super) nominated: Str<'a>,
    #[serde(borrow)]
    conditions: Vec<Condition<'a>>,
    #[serde(borrow, rename = "containerStatuses")]
    containers: Vec<ContainerStatus<'a>>,
    #[serde(borrow, rename = "initContainerStatuses")]
    inits: Vec<ContainerStatus<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Address<'a> {
    #[serde(borrow)]
    pub(super) ip: Str<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ContainerStatus<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    ready: bool,
    started: Option<bool>,
    #[serde(rename = "restartCount")]
    restarts: i64,
    #[serde(borrow)]
    state: State<'a>,
    #[serde(borrow, rename = "lastState")]
    last: State<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct State<'a> {
    #[serde(borrow)]
    waiting: Option<Waiting<'a>>,
    running: Option<Running>,
    #[serde(borrow)]
    terminated: Option<Terminated<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Waiting<'a> {
    #[serde(borrow)]
    reason: Str<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Running {
    #[serde(rename = "startedAt")]
    since: Stamp,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Terminated<'a> {
    #[serde(borrow)]
    reason: Str<'a>,
    #[serde(rename = "exitCode")]
    exit: i64,
    signal: i64,
    #[serde(rename = "finishedAt")]
    finished: Stamp,
}

impl Terminated<'_> {
    fn word(&self) -> Cow<'_, str> {
        match (&*self.reason, self.signal) {
            ("", 0) => Cow::Owned(format!("ExitCode:{}", self.exit)),
            ("", signal) => Cow::Owned(format!("Signal:{signal}")),
            (reason, _) => Cow::Borrowed(reason),
        }
    }
}

/// What is told of a pod.
#[derive(Debug, PartialEq)]
pub(super) struct Told {
    pub(super) word: String,
    pub(super) health: Health,
    pub(super) ready: u32,
    pub(super) containers: u32,
    pub(super) restarts: i64,
    pub(super) restarted: Stamp,
    /// How many readiness gates are met.
    pub(super) gates: u32,
}

#[derive(Default)]
struct Restarts {
    count: i64,
    last: Stamp,
}

impl Restarts {
    fn add(&mut self, container: &ContainerStatus<'_>) {
        self.count = self.count.saturating_add(container.restarts);
        if let Some(ended) = &container.last.terminated
            && ended.finished > self.last
        {
            self.last = ended.finished;
        }
    }
}

/// Tells the status.
pub(super) fn tell(pod: &Pod<'_>) -> Told {
    let (spec, status) = (&pod.spec, &pod.status);
    let sidecars = spec.inits.iter().filter(|container| container.is_sidecar()).count();
    let mut ready = 0;
    let mut word = Cow::Borrowed(first_word(status));

    // Restarts of init containers count until initialisation is over; those of sidecars always.
    let (mut of_inits, mut restarts) = (Restarts::default(), Restarts::default());
    let mut initializing = false;
    for (at, container) in status.inits.iter().enumerate() {
        of_inits.add(container);
        let sidecar = spec
            .inits
            .iter()
            .any(|init| *init.name == *container.name && init.is_sidecar());
        if sidecar {
            restarts.add(container);
        }
        match &container.state {
            State {
                terminated: Some(ended),
                ..
            } if ended.exit == 0 => continue,
            _ if sidecar && container.started == Some(true) => {
                ready += u32::from(container.ready);
                continue;
            }
            State {
                terminated: Some(ended),
                ..
            } => word = Cow::Owned(format!("Init:{}", ended.word())),
            State {
                waiting: Some(waiting), ..
            } if !matches!(&*waiting.reason, "" | "PodInitializing") => {
                word = Cow::Owned(format!("Init:{}", &*waiting.reason));
            }
            _ => word = Cow::Owned(format!("Init:{at}/{}", spec.inits.len())),
        }
        initializing = true;
        break;
    }

    if initializing && !holds(&status.conditions, "Initialized") {
        restarts = of_inits;
    } else {
        let mut running = false;
        // Backwards, so that the first container that waits or has ended speaks for the pod.
        for container in status.containers.iter().rev() {
            restarts.add(container);
            match &container.state {
                State {
                    waiting: Some(waiting), ..
                } if !waiting.reason.is_empty() => {
                    word = Cow::Borrowed(&*waiting.reason);
                }
                State {
                    terminated: Some(ended),
                    ..
                } => word = ended.word(),
                State { running: Some(_), .. } if container.ready => {
                    running = true;
                    ready += 1;
                }
                _ => {}
            }
        }
        if word == "Completed" && running {
            word = Cow::Borrowed(if holds(&status.conditions, "Ready") {
                "Running"
            } else {
                "NotReady"
            });
        }
    }

    let over = matches!(&*status.phase, "Failed" | "Succeeded");
    if pod.metadata.deleted.0.is_some() {
        if &*status.reason == "NodeLost" {
            word = Cow::Borrowed("Unknown");
        } else if !over {
            word = Cow::Borrowed("Terminating");
        }
    }
    let containers = u32::try_from(spec.containers.len() + sidecars).unwrap_or(u32::MAX);
    let done =
        |container: &&ContainerStatus<'_>| container.state.terminated.as_ref().is_some_and(|ended| ended.exit == 0);
    let done = status.containers.iter().filter(done).count();
    let ready_or_done = ready as usize + done >= containers as usize && word != "NotReady";
    let health = health(pod, &word, ready_or_done, restarts.count);
    let met = spec
        .gates
        .iter()
        .filter(|gate| holds(&status.conditions, &gate.kind))
        .count();
    Told {
        word: word.into_owned(),
        health,
        ready,
        containers,
        restarts: restarts.count,
        restarted: restarts.last,
        gates: u32::try_from(met).unwrap_or(u32::MAX),
    }
}

fn first_word<'s>(status: &'s Status<'_>) -> &'s str {
    if condition(&status.conditions, "PodScheduled").is_some_and(|scheduled| &*scheduled.reason == "SchedulingGated") {
        "SchedulingGated"
    } else if status.reason.is_empty() {
        &status.phase
    } else {
        &status.reason
    }
}

/// Restarts from which on a pod that runs is worth a look.
const MANY_RESTARTS: i64 = 5;

fn health(pod: &Pod<'_>, word: &str, ready: bool, restarts: i64) -> Health {
    let status = &pod.status;
    match word {
        "Unknown" | "NodeLost" => return Health::Unknown,
        "Terminating" => return Health::Progress,
        "Completed" | "Succeeded" => return Health::Done,
        _ => {}
    }
    match &*status.phase {
        "Succeeded" => return Health::Done,
        "Failed" => return Health::Failed,
        "Unknown" => return Health::Unknown,
        _ => {}
    }
    let all = || status.inits.iter().chain(&status.containers);
    let waits_in_vain = |container: &ContainerStatus<'_>| {
        let waiting = container.state.waiting.as_ref();
        waiting.is_some_and(|waiting| !matches!(&*waiting.reason, "" | "ContainerCreating" | "PodInitializing"))
    };
    let broke = |container: &ContainerStatus<'_>| {
        container
            .state
            .terminated
            .as_ref()
            .is_some_and(|ended| ended.exit != 0 || ended.signal != 0)
    };
    if all().any(|container| waits_in_vain(container) || broke(container)) {
        return Health::Failed;
    }
    let scheduled = condition(&status.conditions, "PodScheduled");
    if scheduled.is_some_and(|scheduled| &*scheduled.status == "False" && &*scheduled.reason == "Unschedulable") {
        return Health::Warning;
    }
    if &*status.phase != "Running" {
        return Health::Progress;
    }
    if !ready {
        return if lost_readiness(status) {
            Health::Warning
        } else {
            Health::Progress
        };
    }
    let killed = |container: &ContainerStatus<'_>| {
        container
            .last
            .terminated
            .as_ref()
            .is_some_and(|ended| &*ended.reason == "OOMKilled")
    };
    if restarts >= MANY_RESTARTS || all().any(killed) {
        Health::Warning
    } else {
        Health::Good
    }
}

/// Whether the pod has been ready since its containers started: a row knows no clock, but losing readiness is later than every
/// start, and a pod that has yet to become ready turned unready before.
fn lost_readiness(status: &Status<'_>) -> bool {
    let started = status
        .containers
        .iter()
        .filter_map(|container| container.state.running.as_ref()?.since.0)
        .max();
    let unready = condition(&status.conditions, "Ready").and_then(|ready| ready.since.0);
    let restarted = status
        .containers
        .iter()
        .any(|container| !container.ready && container.restarts > 0);
    restarted || matches!((started, unready), (Some(started), Some(unready)) if unready > started)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(pod: &Value) -> Told {
        let raw = pod.to_string();
        tell(&serde_json::from_str(&raw).unwrap_or_else(|error| panic!("{error}: {raw}")))
    }

    fn pod(spec: &Value, status: &Value) -> Value {
        json!({"metadata": {"name": "p", "creationTimestamp": null}, "spec": spec, "status": status})
    }

    #[test]
    fn status_is_told_from_the_containers_as_kubectl_does() {
        let spec = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let running = json!({"ready": true, "state": {"running": {"startedAt": "2024-01-01T00:00:00Z"}}});
        let unready = json!({"ready": false, "state": {"running": {"startedAt": "2024-01-01T00:00:00Z"}}});
        let done = json!({"state": {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": null}}});
        let ended = |terminated: Value| json!({"state": {"terminated": terminated}});
        let waits = |reason: &str| json!({"state": {"waiting": {"reason": reason}}});
        let ready =
            |status: &str| json!([{"type": "Ready", "status": status, "lastTransitionTime": "2024-01-01T01:00:00Z"}]);
        let scheduled = |reason: &str| json!([{"type": "PodScheduled", "status": "False", "reason": reason}]);
        let young = json!([{"type": "Ready", "status": "False", "lastTransitionTime": "2024-01-01T00:00:00Z"}]);
        let often = json!({"ready": true, "restartCount": 5, "state": {"running": {}}});
        let killed = json!({"ready": true, "restartCount": 1, "state": {"running": {}},
            "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}});
        for (status, ready, word, health) in [
            (json!({"phase": "Pending"}), 0, "Pending", Health::Progress),
            (
                json!({"phase": "Pending", "conditions": scheduled("Unschedulable")}),
                0,
                "Pending",
                Health::Warning,
            ),
            (
                json!({"phase": "Pending", "conditions": scheduled("SchedulingGated")}),
                0,
                "SchedulingGated",
                Health::Progress,
            ),
            (
                json!({"phase": "Failed", "reason": "Evicted"}),
                0,
                "Evicted",
                Health::Failed,
            ),
            (
                json!({"phase": "Running", "containerStatuses": [running, running]}),
                2,
                "Running",
                Health::Good,
            ),
            (
                json!({"phase": "Running", "containerStatuses": [running, often]}),
                2,
                "Running",
                Health::Warning,
            ),
            (
                json!({"phase": "Running", "containerStatuses": [running, killed]}),
                2,
                "Running",
                Health::Warning,
            ),
            (
                json!({"phase": "Running", "containerStatuses": [running, unready], "conditions": young}),
                1,
                "Running",
                Health::Progress,
            ),
            (
                json!({"phase": "Running", "containerStatuses": [running, unready], "conditions": ready("False")}),
                1,
                "Running",
                Health::Warning,
            ),
            (
                json!({"phase": "Running", "containerStatuses": [waits("CrashLoopBackOff"), running]}),
                1,
                "CrashLoopBackOff",
                Health::Failed,
            ),
            (
                json!({"phase": "Pending", "containerStatuses": [waits("ImagePullBackOff")]}),
                0,
                "ImagePullBackOff",
                Health::Failed,
            ),
            (
                json!({"phase": "Pending", "containerStatuses": [waits("ContainerCreating")]}),
                0,
                "ContainerCreating",
                Health::Progress,
            ),
            (
                json!({"phase": "Running", "containerStatuses": [ended(json!({"exitCode": 1, "reason": "Error"})), running]}),
                1,
                "Error",
                Health::Failed,
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [ended(json!({"exitCode": 3}))]}),
                0,
                "ExitCode:3",
                Health::Failed,
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [ended(json!({"exitCode": 137, "signal": 9}))]}),
                0,
                "Signal:9",
                Health::Failed,
            ),
            (
                json!({"phase": "Running", "containerStatuses": [done, running], "conditions": ready("True")}),
                1,
                "Running",
                Health::Good,
            ),
            (
                json!({"phase": "Running", "containerStatuses": [done, running]}),
                1,
                "NotReady",
                Health::Progress,
            ),
            (
                json!({"phase": "Succeeded", "containerStatuses": [done, done]}),
                0,
                "Completed",
                Health::Done,
            ),
        ] {
            let told = told(&pod(&spec, &status));
            assert_eq!(
                (told.ready, &*told.word, told.health),
                (ready, word, health),
                "{status}"
            );
            assert_eq!(told.containers, 2);
        }
    }

    #[test]
    fn initialisation_is_told_until_it_is_over() {
        let spec = json!({
            "containers": [{"name": "m"}],
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
        });
        let init = |i: &Value, s: &Value| json!({"phase": "Pending", "initContainerStatuses": [i, s]});
        let done = json!({"name": "i", "restartCount": 2, "state": {"terminated": {"exitCode": 0}}});
        let waiting = json!({"name": "s", "state": {"waiting": {"reason": "PodInitializing"}}});
        let up = json!({"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}});
        let state = |state: Value| json!({"name": "i", "restartCount": 2, "state": state});
        for (i, s, ready, word, restarts) in [
            (state(json!({"running": {}})), &waiting, 0, "Init:0/2", 2),
            (
                state(json!({"terminated": {"exitCode": 1, "reason": "Error"}})),
                &waiting,
                0,
                "Init:Error",
                2,
            ),
            (
                state(json!({"terminated": {"exitCode": 1}})),
                &waiting,
                0,
                "Init:ExitCode:1",
                2,
            ),
            (
                state(json!({"terminated": {"exitCode": 1, "signal": 9}})),
                &waiting,
                0,
                "Init:Signal:9",
                2,
            ),
            (
                state(json!({"waiting": {"reason": "CrashLoopBackOff"}})),
                &waiting,
                0,
                "Init:CrashLoopBackOff",
                2,
            ),
            (done.clone(), &waiting, 0, "Init:1/2", 2),
            (done, &up, 1, "Pending", 1),
        ] {
            let told = told(&pod(&spec, &init(&i, s)));
            assert_eq!(
                (told.ready, &*told.word, told.restarts),
                (ready, word, restarts),
                "{i} {s}"
            );
            assert_eq!(told.containers, 2);
        }
    }

    #[test]
    fn a_deleted_pod_is_terminating_unless_it_is_over() {
        for (status, word) in [
            (json!({"phase": "Running"}), "Terminating"),
            (json!({"phase": "Running", "reason": "NodeLost"}), "Unknown"),
            (json!({"phase": "Failed"}), "Failed"),
            (json!({"phase": "Succeeded"}), "Succeeded"),
        ] {
            let pod = json!({"metadata": {"deletionTimestamp": "2024-01-01T00:00:00Z"}, "spec": {"containers": null}, "status": status});
            assert_eq!(told(&pod).word, word);
        }
    }

    #[test]
    fn the_last_restart_is_the_latest_of_all_containers() {
        let ended = |at: &str| json!({"restartCount": 2, "lastState": {"terminated": {"finishedAt": at}}});
        let status = json!({"containerStatuses": [ended("2024-01-01T00:01:57Z"), ended("2024-01-01T00:00:01Z")]});
        let told = told(&pod(&json!({}), &status));
        assert_eq!(
            (told.restarts, told.restarted.0),
            (4, "2024-01-01T00:01:57Z".parse().ok())
        );
    }
}
