use serde_json::{Value, json};

use super::*;
use crate::pod::state::{self, Ended, Instance, Ran, Reason, Startup, State};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

struct Case {
    pod: Pod,
    declared: Vec<(Role, Container)>,
    state: PodState,
    previous: PodStatus,
}

impl Case {
    fn new(spec: Value) -> Self {
        let pod: Pod = serde_json::from_value(json!({ "metadata": { "name": "p", "generation": 3 }, "spec": spec }))
            .expect("a pod");
        let declared = state::declared(&pod);
        let mut state = state::first_seen(&pod, at(0));
        state.sandbox = Sandbox::Ready { epoch: 0 };
        state.start_time = Some(at(1));
        Self {
            pod,
            declared,
            state,
            previous: PodStatus::default(),
        }
    }

    fn status(&self, now: i64) -> PodStatus {
        let node = Node {
            host_ip: "192.168.0.1".parse().expect("an address"),
            scheme: "knarr".into(),
        };
        compute(&self.pod, &self.declared, &self.state, &self.previous, &node, at(now))
    }

    fn phase(&self) -> String {
        self.status(9).phase.expect("a phase")
    }

    fn run(&mut self, index: usize) {
        let container = &mut self.state.containers[index];
        container.state = State::Running(Instance {
            id: "0123".into(),
            since: at(5),
            startup: Startup::Started { ready: true },
            stopping: false,
        });
        container.ran = Ran::Here;
    }

    fn end(&mut self, index: usize, exit_code: i32) {
        self.run(index);
        self.state.containers[index].state = State::Ended(Ended {
            id: Some("knarr://0123".into()),
            exit_code,
            reason: if exit_code == 0 { "Completed" } else { "Error" }.into(),
            message: None,
            started_at: Some(at(5)),
            finished_at: at(6),
        });
    }

    /// Type, status, reason and message of each condition.
    fn conditions(&self) -> Vec<String> {
        let conditions = self.status(9).conditions.expect("conditions");
        let text = |text: Option<String>| text.unwrap_or_default();
        conditions
            .into_iter()
            .map(|c| format!("{} {} {} {}", c.type_, c.status, text(c.reason), text(c.message)))
            .collect()
    }
}

fn simple(policy: &str) -> Case {
    Case::new(json!({ "restartPolicy": policy, "containers": [{ "name": "web", "image": "kuard" }] }))
}

#[test]
fn a_pod_that_starts_is_pending_and_says_which_containers_are_missing() {
    let case = simple("Always");
    assert_eq!(case.phase(), "Pending");
    assert_eq!(
        case.conditions(),
        [
            "PodReadyToStartContainers True  ",
            "Initialized True  ",
            "Ready False ContainersNotReady containers with unready status: [web]",
            "ContainersReady False ContainersNotReady containers with unready status: [web]",
            "PodScheduled True  ",
        ]
    );
    let status = serde_json::to_value(&case.status(9).container_statuses.expect("statuses")[0]).expect("json");
    let expected = json!({
        "name": "web", "image": "kuard", "imageID": "", "ready": false, "started": false, "restartCount": 0,
        "state": { "waiting": { "reason": "ContainerCreating" } }, "lastState": {},
    });
    assert_eq!(status, expected);
}

#[test]
fn a_running_pod_is_ready_and_keeps_the_time_since_when() {
    let mut case = simple("Always");
    case.run(0);
    case.previous = case.status(9);
    let later = case.status(50);
    assert_eq!(later, case.status(9), "nothing has changed but the time");
    assert_eq!(later.phase.as_deref(), Some("Running"));
    let status = serde_json::to_value(&later.container_statuses.expect("statuses")[0]).expect("json");
    assert_eq!(status["containerID"], "knarr://0123");
    assert_eq!(
        status["state"],
        json!({ "running": { "startedAt": "1970-01-01T00:00:05Z" } })
    );
    case.state.containers[0].instance_mut().expect("it runs").startup = Startup::Started { ready: false };
    let ready = |status: &PodStatus| status.conditions.as_ref().expect("conditions")[2].clone();
    let unready = ready(&case.status(60));
    assert_eq!(
        (unready.status.as_str(), unready.last_transition_time),
        ("False", Some(Time(at(60))))
    );
    assert_eq!(unready.observed_generation, Some(3));
}

#[test]
fn phases_follow_exit_codes_and_the_restart_policy() {
    for (policy, code, expected) in [
        ("Always", 0, "Running"),
        ("Always", 1, "Running"),
        ("OnFailure", 1, "Running"),
        ("OnFailure", 0, "Succeeded"),
        ("Never", 0, "Succeeded"),
        ("Never", 1, "Failed"),
    ] {
        let mut case = simple(policy);
        case.end(0, code);
        assert_eq!(case.phase(), expected, "{policy} {code}");
        case.previous.phase = Some("Failed".into());
        assert_eq!(case.phase(), "Failed", "a pod that has failed stays so");
    }
    let mut crashing = simple("Always");
    crashing.end(0, 1);
    let container = &mut crashing.state.containers[0];
    container.last = container.ended().cloned();
    container.state = State::Waiting(Some(Reason {
        reason: "CrashLoopBackOff".into(),
        message: "back-off".into(),
    }));
    assert_eq!(crashing.phase(), "Running");
    let mut deleted = simple("Always");
    deleted.pod.metadata.deletion_timestamp = Some(Time(at(4)));
    deleted.end(0, 143);
    assert_eq!(deleted.phase(), "Failed");
    deleted.end(0, 0);
    assert_eq!(deleted.phase(), "Succeeded");
}

#[test]
fn completed_and_failed_pods_say_so_in_their_conditions() {
    let mut case = simple("Never");
    case.end(0, 0);
    assert_eq!(
        case.conditions(),
        [
            "PodReadyToStartContainers False  ",
            "Initialized True PodCompleted ",
            "Ready False PodCompleted ",
            "ContainersReady False PodCompleted ",
            "PodScheduled True  ",
        ]
    );
    case.end(0, 2);
    assert_eq!(case.conditions()[2], "Ready False PodFailed ");
    case.state.failed = Some(("DeadlineExceeded".into(), "too long".into()));
    let status = case.status(9);
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Failed"), Some("DeadlineExceeded"))
    );
}

#[test]
fn init_containers_hold_the_pod_back() {
    let mut case = Case::new(json!({
        "initContainers": [{ "name": "setup" }, { "name": "proxy", "restartPolicy": "Always" }],
        "containers": [{ "name": "web" }],
    }));
    assert_eq!(
        case.conditions()[1],
        "Initialized False ContainersNotInitialized containers with incomplete status: [setup proxy]"
    );
    let reason = |case: &Case| {
        let status = case.status(9).container_statuses.expect("statuses").remove(0);
        status
            .state
            .and_then(|state| state.waiting)
            .and_then(|waiting| waiting.reason)
    };
    assert_eq!(reason(&case).as_deref(), Some("PodInitializing"));
    case.end(0, 0);
    assert_eq!(
        case.conditions()[1],
        "Initialized False ContainersNotInitialized containers with incomplete status: [proxy]"
    );
    assert_eq!(case.phase(), "Pending");
    case.run(1);
    assert_eq!(case.conditions()[1], "Initialized True  ");
    case.run(2);
    assert_eq!(case.phase(), "Running");
    let init = case.status(9).init_container_statuses.expect("statuses");
    assert_eq!(
        init.iter()
            .map(|status| (status.ready, status.started))
            .collect::<Vec<_>>(),
        [(true, Some(false)), (true, Some(true))]
    );
    case.end(1, 1);
    assert_eq!(
        case.conditions()[1],
        "Initialized True  ",
        "a restarting sidecar does not undo it"
    );
    assert_eq!(
        case.conditions()[3],
        "ContainersReady False ContainersNotReady containers with unready status: [proxy]"
    );
}

#[test]
fn readiness_gates_of_others_are_waited_for_and_kept() {
    let mut case =
        Case::new(json!({ "containers": [{ "name": "web" }], "readinessGates": [{ "conditionType": "lb" }] }));
    case.run(0);
    assert_eq!(
        case.conditions()[2],
        "Ready False ReadinessGatesNotReady corresponding condition of pod readiness gate \"lb\" does not exist."
    );
    let gate = serde_json::from_value(json!({ "type": "lb", "status": "True" })).expect("a condition");
    case.previous.conditions = Some(vec![gate]);
    assert_eq!(case.conditions()[2], "Ready True  ");
    assert_eq!(case.conditions()[5], "lb True  ");
}

#[test]
fn quality_of_service_follows_requests_and_limits() {
    for (resources, expected) in [
        (json!({}), "BestEffort"),
        (json!({ "requests": { "cpu": "1" } }), "Burstable"),
        (json!({ "limits": { "cpu": "1", "memory": "1Gi" } }), "Guaranteed"),
        (
            json!({ "limits": { "cpu": "1", "memory": "1Gi" }, "requests": { "cpu": "500m" } }),
            "Burstable",
        ),
    ] {
        let case = Case::new(json!({ "containers": [{ "name": "web", "resources": resources }] }));
        assert_eq!(case.status(9).qos_class.as_deref(), Some(expected));
    }
}
