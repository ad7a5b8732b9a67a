//! A pod in a table. The STATUS column is a summary that exists nowhere in the object: it is told from the containers.

use super::default::is_sidecar;
use crate::json::{absent, items, text};
use crate::printer::{Column, Row, age, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::text("Ready", "How many of the pod's containers are ready."),
    Column::text("Status", "What the containers of the pod are doing."),
    Column::text("Restarts", "How often containers were restarted, and when last."),
    Column::AGE,
    Column::text("IP", "Address of the pod.").wide(),
    Column::text("Node", "Node the pod runs on.").wide(),
    Column::text("Nominated Node", "Node on which room is being made for the pod.").wide(),
    Column::text("Readiness Gates", "How many extra conditions for readiness are met.").wide(),
];

/// What is told from the containers so far.
struct Summary {
    status: String,
    ready: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn count_restarts(&mut self, container: &Value) {
        self.restarts = self
            .restarts
            .saturating_add(container["restartCount"].as_i64().unwrap_or(0));
        let ended = &container["lastState"]["terminated"]["finishedAt"];
        let ended = ended.as_str().and_then(|t| t.parse::<Timestamp>().ok());
        self.last_restart = self.last_restart.max(ended);
    }
}

pub(super) fn row(pod: &Value, now: Timestamp) -> Row {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let inits = items(&spec["initContainers"]);
    let sidecars = inits.iter().filter(|c| is_sidecar(c)).count();
    let total = items(&spec["containers"]).len() + sidecars;

    let mut summary = Summary {
        status: base_status(status),
        ready: 0,
        restarts: 0,
        last_restart: None,
    };
    // Restarts of init containers count until initialisation is over; those of sidecars always.
    let mut sidecar_restarts = Summary {
        status: String::new(),
        ready: 0,
        restarts: 0,
        last_restart: None,
    };
    let initializing = tell_inits(pod, &mut summary, &mut sidecar_restarts);
    if !initializing || has_condition(status, "Initialized") {
        summary.restarts = sidecar_restarts.restarts;
        summary.last_restart = sidecar_restarts.last_restart;
        tell_containers(status, &mut summary);
    }
    if !absent(&pod["metadata"], "deletionTimestamp") {
        let phase = text(status, "phase");
        if text(status, "reason") == "NodeLost" {
            summary.status = "Unknown".to_owned();
        } else if phase != "Failed" && phase != "Succeeded" {
            summary.status = "Terminating".to_owned();
        }
    }

    let restarts = match summary.last_restart {
        Some(at) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, age(&json!(at.to_string()), now))
        }
        _ => summary.restarts.to_string(),
    };
    Row {
        cells: vec![
            json!(name_of(pod)),
            json!(format!("{}/{total}", summary.ready)),
            json!(summary.status),
            json!(restarts),
            json!(age_of(pod, now)),
            json!(or_none(text(&status["podIPs"][0], "ip"), text(status, "podIP"))),
            json!(or_none(text(spec, "nodeName"), "")),
            json!(or_none(text(status, "nominatedNodeName"), "")),
            json!(gates(spec, status)),
        ],
        conditions: conditions(text(status, "phase")),
    }
}

fn base_status(status: &Value) -> String {
    let gated = items(&status["conditions"])
        .iter()
        .any(|c| text(c, "type") == "PodScheduled" && text(c, "reason") == "SchedulingGated");
    if gated {
        return "SchedulingGated".to_owned();
    }
    match text(status, "reason") {
        "" => text(status, "phase").to_owned(),
        reason => reason.to_owned(),
    }
}

/// Tells the status from the first init container that is not done. Whether there is one is the answer.
fn tell_inits(pod: &Value, summary: &mut Summary, sidecars: &mut Summary) -> bool {
    let inits = items(&pod["spec"]["initContainers"]);
    for (i, container) in items(&pod["status"]["initContainerStatuses"]).iter().enumerate() {
        summary.count_restarts(container);
        let sidecar = inits.iter().any(|c| c["name"] == container["name"] && is_sidecar(c));
        if sidecar {
            sidecars.count_restarts(container);
        }
        let state = &container["state"];
        let terminated = state["terminated"].is_object();
        if terminated && state["terminated"]["exitCode"].as_i64().unwrap_or(0) == 0 {
            continue;
        }
        if sidecar && container["started"] == true {
            summary.ready += usize::from(container["ready"] == true);
            continue;
        }
        let waiting = text(&state["waiting"], "reason");
        summary.status = if terminated {
            format!("Init:{}", ending(&state["terminated"]))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{i}/{}", inits.len())
        };
        return true;
    }
    false
}

/// Tells the status from the main containers: the first that waits or has ended speaks for the pod.
fn tell_containers(status: &Value, summary: &mut Summary) {
    let mut running = false;
    for container in items(&status["containerStatuses"]).iter().rev() {
        summary.count_restarts(container);
        let state = &container["state"];
        let waiting = text(&state["waiting"], "reason");
        if !waiting.is_empty() {
            summary.status = waiting.to_owned();
        } else if state["terminated"].is_object() {
            summary.status = ending(&state["terminated"]);
        } else if container["ready"] == true && state["running"].is_object() {
            running = true;
            summary.ready += 1;
        }
    }
    // One container is done, but another still runs.
    if summary.status == "Completed" && running {
        summary.status = if has_condition(status, "Ready") {
            "Running"
        } else {
            "NotReady"
        }
        .to_owned();
    }
}

fn ending(terminated: &Value) -> String {
    match (text(terminated, "reason"), terminated["signal"].as_i64().unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn has_condition(status: &Value, kind: &str) -> bool {
    items(&status["conditions"])
        .iter()
        .any(|c| text(c, "type") == kind && text(c, "status") == "True")
}

fn gates(spec: &Value, status: &Value) -> String {
    let gates = items(&spec["readinessGates"]);
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let met = gates
        .iter()
        .filter(|g| has_condition(status, text(g, "conditionType")))
        .count();
    format!("{met}/{}", gates.len())
}

fn or_none<'a>(first: &'a str, second: &'a str) -> &'a str {
    match (first, second) {
        ("", "") => "<none>",
        ("", second) => second,
        (first, _) => first,
    }
}

/// Marks the rows of pods that are done, so that a client can leave them out or grey them.
fn conditions(phase: &str) -> Vec<Value> {
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return Vec::new(),
    };
    vec![json!({"type": "Completed", "status": "True", "reason": phase, "message": message})]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(spec: Value, status: Value) -> Vec<String> {
        let pod = json!({
            "metadata": {"name": "p", "creationTimestamp": "2024-01-01T00:00:00Z"},
            "spec": spec,
            "status": status,
        });
        let now = "2024-01-01T00:02:05Z".parse().expect("a time");
        row(&pod, now)
            .cells
            .iter()
            .map(|c| c.as_str().expect("text").to_owned())
            .collect()
    }

    #[test]
    fn status_is_told_from_the_containers() {
        let spec = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let running = json!({"ready": true, "state": {"running": {}}});
        let done = json!({"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
        let ended = |terminated: Value| json!({"state": {"terminated": terminated}});
        let waits = |reason: &str| json!({"state": {"waiting": {"reason": reason}}});
        let ready = json!([{"type": "Ready", "status": "True"}]);
        for (status, expected) in [
            (json!({"phase": "Pending"}), ["0/2", "Pending"]),
            (json!({"phase": "Pending", "reason": "Evicted"}), ["0/2", "Evicted"]),
            (
                json!({"phase": "Running", "containerStatuses": [running, running]}),
                ["2/2", "Running"],
            ),
            (
                json!({"phase": "Running", "containerStatuses": [waits("CrashLoopBackOff"), running]}),
                ["1/2", "CrashLoopBackOff"],
            ),
            (
                json!({"phase": "Pending", "containerStatuses": [waits("ContainerCreating")]}),
                ["0/2", "ContainerCreating"],
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [ended(json!({"exitCode": 3}))]}),
                ["0/2", "ExitCode:3"],
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [ended(json!({"exitCode": 137, "signal": 9}))]}),
                ["0/2", "Signal:9"],
            ),
            (
                json!({"phase": "Running", "containerStatuses": [done, running], "conditions": ready}),
                ["1/2", "Running"],
            ),
            (
                json!({"phase": "Running", "containerStatuses": [done, running]}),
                ["1/2", "NotReady"],
            ),
            (
                json!({"phase": "Succeeded", "containerStatuses": [done, done]}),
                ["0/2", "Completed"],
            ),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
                ["0/2", "SchedulingGated"],
            ),
        ] {
            assert_eq!(cells(spec.clone(), status.clone())[1..3], expected, "{status}");
        }
    }

    #[test]
    fn initialisation_is_told_until_it_is_over() {
        let spec = json!({
            "containers": [{"name": "m"}],
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
        });
        let init = |i: Value, s: Value| json!({"phase": "Pending", "initContainerStatuses": [i, s]});
        let done = json!({"name": "i", "state": {"terminated": {"exitCode": 0}}});
        let waiting = json!({"name": "s", "state": {"waiting": {"reason": "PodInitializing"}}});
        let up = json!({"name": "s", "started": true, "ready": true, "state": {"running": {}}});
        for (i, s, expected) in [
            (
                json!({"name": "i", "state": {"running": {}}}),
                &waiting,
                ["0/2", "Init:0/2"],
            ),
            (
                json!({"name": "i", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}),
                &waiting,
                ["0/2", "Init:Error"],
            ),
            (
                json!({"name": "i", "state": {"terminated": {"exitCode": 1}}}),
                &waiting,
                ["0/2", "Init:ExitCode:1"],
            ),
            (
                json!({"name": "i", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}),
                &waiting,
                ["0/2", "Init:CrashLoopBackOff"],
            ),
            (done.clone(), &waiting, ["0/2", "Init:1/2"]),
            (done, &up, ["1/2", "Pending"]),
        ] {
            assert_eq!(cells(spec.clone(), init(i, s.clone()))[1..3], expected);
        }
    }

    #[test]
    fn restarts_show_when_the_last_one_was() {
        let status = |count: i64| {
            json!({"phase": "Running", "containerStatuses": [{
                "restartCount": count,
                "ready": true,
                "state": {"running": {}},
                "lastState": {"terminated": {"finishedAt": "2024-01-01T00:01:57Z"}},
            }]})
        };
        let spec = json!({"containers": [{}]});
        assert_eq!(cells(spec.clone(), status(4))[3..5], ["4 (8s ago)", "2m5s"]);
        assert_eq!(cells(spec, status(0))[3], "0");
    }

    #[test]
    fn a_deleted_pod_is_terminating_unless_it_is_done() {
        let now = Timestamp::UNIX_EPOCH;
        for (status, expected) in [
            (json!({"phase": "Running"}), "Terminating"),
            (json!({"phase": "Running", "reason": "NodeLost"}), "Unknown"),
            (json!({"phase": "Failed"}), "Failed"),
        ] {
            let pod = json!({"metadata": {"deletionTimestamp": "2024-01-01T00:00:00Z"}, "status": status});
            assert_eq!(row(&pod, now).cells[2], expected);
        }
    }

    #[test]
    fn wide_columns_say_where_the_pod_is() {
        let spec = json!({"nodeName": "n", "readinessGates": [{"conditionType": "a"}, {"conditionType": "b"}]});
        let status = json!({
            "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [{"type": "a", "status": "True"}, {"type": "b", "status": "False"}],
        });
        assert_eq!(cells(spec, status)[5..], ["10.0.0.1", "n", "<none>", "1/2"]);
        assert_eq!(cells(json!({}), json!({}))[5..], ["<none>"; 4]);
        let done = row(&json!({"status": {"phase": "Succeeded"}}), Timestamp::UNIX_EPOCH);
        assert_eq!(done.conditions[0]["reason"], "Succeeded");
    }
}
