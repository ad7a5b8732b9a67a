//! What has become of a hollow pod by now: a pure function of its past, its course and the time.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::course::Course;
use crate::backoff::add;
use crate::container;
use crate::pod::plan::restarts;
use crate::pod::state::{
    ContainerState, Ended, Instance, PodState, Ran, Role, Sandbox, Startup, State, declared, first_seen,
};

const CRASH_LOOP: &str = "CrashLoopBackOff";

/// What there is to do about a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// To look again at this time.
    At(Timestamp),
    /// Nothing, until its object changes.
    Nothing,
    /// Its object may go.
    Finished,
}

/// A pod as it is first seen. One that ran before goes on running.
pub(super) fn begin(pod: &Pod, now: Timestamp) -> PodState {
    let mut state = first_seen(pod, now);
    let status = pod.status.as_ref();
    let statuses = status
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default();
    for known in statuses {
        let running = known.state.as_ref().and_then(|state| state.running.as_ref());
        let own = state.containers.iter_mut().find(|own| own.name == known.name);
        if let (Some(running), Some(own)) = (running, own) {
            let id = known.container_id.as_deref().and_then(|id| id.split_once("://"));
            own.state = State::Running(Instance {
                id: id.map_or_else(String::new, |(_, id)| id.to_owned()),
                since: running.started_at.as_ref().map_or(now, |time| time.0),
                startup: Startup::Started { ready: true },
                stopping: false,
            });
            own.ran = Ran::Here;
        }
    }
    if state.sandbox == Sandbox::Lost {
        state.sandbox = Sandbox::Ready { epoch: 0 };
        state.ip = status.and_then(|status| status.pod_ip.as_deref()?.parse().ok());
    }
    state.start_time.get_or_insert(now);
    state
}

/// Brings the pod to where it is `now`. `ip` is its address once it runs.
pub(super) fn step(pod: &Pod, state: &mut PodState, course: &Course, ip: IpAddr, now: Timestamp) -> Next {
    let declared = declared(pod);
    if pod.metadata.deletion_timestamp.is_some() {
        for container in &mut state.containers {
            if container.running() {
                end(container, 0, now, now);
            }
        }
        return Next::Finished;
    }
    if state.sandbox == Sandbox::None {
        let began = state.start_time.unwrap_or(now);
        let due = add(began, course.start());
        if now < due {
            return Next::At(due);
        }
        state.sandbox = Sandbox::Ready { epoch: 0 };
        state.ip = Some(ip);
        for (container, (role, spec)) in state.containers.iter_mut().zip(&declared) {
            run(container, spec, pod, due);
            if *role == Role::Init {
                end(container, 0, due, due);
            }
        }
    }
    let mut next = Next::Nothing;
    for (container, (role, spec)) in state.containers.iter_mut().zip(&declared) {
        if *role == Role::App
            && let Some(at) = live(container, spec, pod, course, now)
        {
            next = match next {
                Next::At(other) => Next::At(other.min(at)),
                _ => Next::At(at),
            };
        }
    }
    next
}

/// Ends and starts a container as often as that was due. Returns when something is due again.
fn live(
    container: &mut ContainerState,
    spec: &Container,
    pod: &Pod,
    course: &Course,
    now: Timestamp,
) -> Option<Timestamp> {
    loop {
        match &container.state {
            State::Running(instance) => {
                let (takes, code) = course.run(&container.name, container.restarts)?;
                let due = add(instance.since, takes);
                if now < due {
                    return Some(due);
                }
                let since = instance.since;
                end(container, code, since, due);
            }
            State::Ended(ended) => {
                if !restarts(pod, spec, container.role, ended) {
                    return None;
                }
                let (ended, finished) = (ended.clone(), ended.finished_at);
                match container.crash.wait(finished) {
                    Some((wait, until)) if now < until => {
                        let (name, wait) = (&container.name, crate::backoff::go(wait));
                        let pod = pod.metadata.name.as_deref().unwrap_or_default();
                        let message = format!("back-off {wait} restarting failed container={name} pod={pod}");
                        container.wait(CRASH_LOOP, message);
                        container.retry_at = Some(until);
                        return Some(until);
                    }
                    waited => {
                        container.last = Some(ended);
                        again(container, spec, pod, waited.map_or(finished, |(_, until)| until));
                    }
                }
            }
            State::Waiting(_) => {
                let due = container.retry_at?;
                if now < due {
                    return Some(due);
                }
                again(container, spec, pod, due);
            }
        }
    }
}

fn again(container: &mut ContainerState, spec: &Container, pod: &Pod, at: Timestamp) {
    container.crash.retried(at);
    container.restarts += 1;
    container.retry_at = None;
    run(container, spec, pod, at);
}

fn run(container: &mut ContainerState, spec: &Container, pod: &Pod, at: Timestamp) {
    let image = spec.image.clone().unwrap_or_default();
    let attempt = u32::try_from(container.restarts).unwrap_or_default();
    container.state = State::Running(Instance {
        id: container::new_id(crate::pod::uid(pod), &container.name, attempt),
        since: at,
        startup: Startup::Started { ready: true },
        stopping: false,
    });
    container.ran = Ran::Here;
    container.image = Some((image.clone(), image));
}

fn end(container: &mut ContainerState, code: i32, since: Timestamp, at: Timestamp) {
    let id = container
        .instance()
        .map(|instance| format!("{}://{}", super::SCHEME, instance.id));
    container.state = State::Ended(Ended {
        id,
        exit_code: code,
        reason: if code == 0 { "Completed" } else { "Error" }.into(),
        message: None,
        started_at: Some(since),
        finished_at: at,
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pod(policy: &str, annotations: Value) -> Pod {
        let value = json!({
            "metadata": { "name": "p", "namespace": "n", "uid": "u", "annotations": annotations },
            "spec": { "restartPolicy": policy, "initContainers": [{ "name": "i" }], "containers": [{ "name": "c" }] },
        });
        serde_json::from_value(value).unwrap()
    }

    /// What the app container does at each second, and what is next.
    fn lives(pod: &Pod, seconds: &[i64]) -> Vec<String> {
        let course = Course::of(pod, &BTreeMap::new());
        let mut state = begin(pod, at(0));
        let mut told = Vec::new();
        for second in seconds {
            let next = step(pod, &mut state, &course, Ipv4Addr::LOCALHOST.into(), at(*second));
            let app = &state.containers[1];
            let doing = match &app.state {
                State::Running(_) => "runs".to_owned(),
                State::Ended(ended) => format!("ended {}", ended.exit_code),
                State::Waiting(Some(why)) => why.reason.clone(),
                State::Waiting(None) => "waits".to_owned(),
            };
            let next = match next {
                Next::At(at) => at.as_second().to_string(),
                other => format!("{other:?}"),
            };
            told.push(format!("{second}: {doing} x{} -> {next}", app.restarts));
        }
        told
    }

    #[test]
    fn a_hollow_pod_goes_through_the_states_of_a_real_one() {
        let forever = pod("Always", json!({ "hollow.knarr.dev/start": "2s" }));
        assert_eq!(
            lives(&forever, &[0, 1, 2, 900]),
            [
                "0: waits x0 -> 2",
                "1: waits x0 -> 2",
                "2: runs x0 -> Nothing",
                "900: runs x0 -> Nothing",
            ]
        );
        let once = pod("Never", json!({ "hollow.knarr.dev/runs": "10s" }));
        assert_eq!(
            lives(&once, &[1, 10, 11, 99]),
            [
                "1: runs x0 -> 11",
                "10: runs x0 -> 11",
                "11: ended 0 x0 -> Nothing",
                "99: ended 0 x0 -> Nothing",
            ]
        );
        let crashing = pod(
            "OnFailure",
            json!({ "hollow.knarr.dev/runs": "1s", "hollow.knarr.dev/fails": "1" }),
        );
        assert_eq!(
            lives(&crashing, &[1, 2, 3, 12, 13, 14, 34]),
            [
                "1: runs x0 -> 2",
                "2: runs x1 -> 3", // the first restart is immediate
                "3: CrashLoopBackOff x1 -> 13",
                "12: CrashLoopBackOff x1 -> 13",
                "13: runs x2 -> 14",
                "14: CrashLoopBackOff x2 -> 34",
                "34: runs x3 -> 35",
            ]
        );
    }

    #[test]
    fn a_hollow_pod_that_ran_before_goes_on_and_one_that_is_to_go_may() {
        let mut pod = pod("Always", json!({}));
        let status = json!({ "phase": "Running", "podIP": "10.0.0.9", "containerStatuses": [{
            "name": "c", "image": "i", "imageID": "i", "ready": true, "restartCount": 3,
            "containerID": "hollow://abc", "state": { "running": { "startedAt": "1970-01-01T00:00:05Z" } },
        }]});
        pod.status = Some(serde_json::from_value(status).unwrap());
        let mut state = begin(&pod, at(50));
        let course = Course::of(&pod, &BTreeMap::new());
        let here = Ipv4Addr::LOCALHOST.into();
        assert_eq!(step(&pod, &mut state, &course, here, at(60)), Next::Nothing);
        let app = &state.containers[1];
        assert_eq!((app.instance().map(|own| own.since), app.restarts), (Some(at(5)), 3));
        assert_eq!(state.ip, Some(IpAddr::from([10, 0, 0, 9])));
        pod.metadata.deletion_timestamp = serde_json::from_value(json!("1970-01-01T00:01:30Z")).unwrap();
        assert_eq!(step(&pod, &mut state, &course, here, at(61)), Next::Finished);
        assert!(state.containers[1].ended().is_some());
    }
}
