//! The containers of a pod, a row each: what they are, how they are, and what they ask for.

use serde_json::Value;

use super::summary::how;
use crate::kind::field::{by, int, items, scalar, text, time, yes};
use crate::store::{Cell, Column, Health};

/// Columns of the table of containers.
pub static COLUMNS: &[Column] = &[
    Column::text("NAME", 12, 0),
    Column::text("TYPE", 7, 4),
    Column::text("STATE", 9, 1),
    Column::number("RESTARTS", 8, 2),
    Column::number("AGE", 5, 3),
    Column::text("LAST EXIT", 10, 4),
    Column::text("PORTS", 8, 6),
    Column::text("PROBES", 6, 7),
    Column::number("CPU", 9, 8),
    Column::number("MEMORY", 11, 9),
    Column::text("IMAGE", 12, 5),
];

/// A container of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerRow {
    /// Its name.
    pub name: String,
    /// How it is doing.
    pub health: Health,
    /// What it shows, in the order of [`COLUMNS`].
    pub cells: Vec<Cell>,
}

/// Where a pod lists its containers and their states, in the order in which they start.
const LISTS: [(&str, &str); 3] = [
    ("initContainers", "initContainerStatuses"),
    ("containers", "containerStatuses"),
    ("ephemeralContainers", "ephemeralContainerStatuses"),
];

/// The containers of a pod in the order in which they start.
pub fn containers(pod: &Value) -> Vec<ContainerRow> {
    let of = |(list, statuses): (&'static str, &str)| {
        let statuses = &pod["status"][statuses];
        items(&pod["spec"][list])
            .iter()
            .map(move |spec| row(list, spec, by(statuses, "name", text(&spec["name"])).unwrap_or(&Value::Null)))
            .collect::<Vec<_>>()
    };
    LISTS.into_iter().flat_map(of).collect()
}

fn row(list: &str, spec: &Value, status: &Value) -> ContainerRow {
    let kind = match list {
        "initContainers" if spec["restartPolicy"] == "Always" => "sidecar",
        "initContainers" => "init",
        "ephemeralContainers" => "debug",
        _ => "",
    };
    let (health, word) = state(status);
    let last = &status["lastState"]["terminated"];
    let name = text(&spec["name"]).to_owned();
    let started = time(&status["state"]["running"]["startedAt"]).or_else(|| time(&status["state"]["terminated"]["finishedAt"]));
    let cells = vec![
        Cell::text(&name),
        Cell::text(kind),
        Cell::status(health, &word),
        Cell::Counted(int(&status["restartCount"]), time(&last["finishedAt"])),
        started.map_or(Cell::Empty, Cell::Age),
        Cell::text(&if last.is_object() { how(last) } else { String::new() }),
        Cell::text(&ports(spec)),
        Cell::text(&probes(spec, status)),
        Cell::text(&share(spec, "cpu")),
        Cell::text(&share(spec, "memory")),
        Cell::text(text(&spec["image"])),
    ];
    ContainerRow { name, health, cells }
}

/// How a container is doing, and the word for it.
fn state(status: &Value) -> (Health, String) {
    let state = &status["state"];
    let ended = &state["terminated"];
    if state["running"].is_object() {
        return match (yes(&status["ready"]), &status["started"]) {
            (true, _) => (Health::Good, "Running".to_owned()),
            (false, Value::Bool(false)) => (Health::Progress, "Starting".to_owned()),
            (false, _) => (Health::Warning, "Not ready".to_owned()),
        };
    }
    if ended.is_object() {
        let word = match text(&ended["reason"]) {
            "" => how(ended),
            reason => reason.to_owned(),
        };
        let health = if int(&ended["exitCode"]) == 0 { Health::Done } else { Health::Failed };
        return (health, word);
    }
    match text(&state["waiting"]["reason"]) {
        "" => (Health::Unknown, "Waiting".to_owned()),
        reason @ ("ContainerCreating" | "PodInitializing") => (Health::Progress, reason.to_owned()),
        reason => (Health::Failed, reason.to_owned()),
    }
}

/// `8080/http,9090`: numbers, and names where there are any.
fn ports(spec: &Value) -> String {
    let port = |port: &Value| match text(&port["name"]) {
        "" => int(&port["containerPort"]).to_string(),
        name => format!("{}/{name}", int(&port["containerPort"])),
    };
    items(&spec["ports"]).iter().map(port).collect::<Vec<_>>().join(",")
}

/// Which probes it has, and which of them says no now: `start live ready!`.
fn probes(spec: &Value, status: &Value) -> String {
    let runs = status["state"]["running"].is_object();
    let fails = |probe: &str| match probe {
        "startupProbe" => runs && status["started"] == false,
        "readinessProbe" => runs && status["ready"] == false && status["started"] != false,
        _ => false,
    };
    [
        ("startupProbe", "start"),
        ("livenessProbe", "live"),
        ("readinessProbe", "ready"),
    ]
    .into_iter()
    .filter(|(probe, _)| spec[*probe].is_object())
    .map(|(probe, word)| format!("{word}{}", if fails(probe) { "!" } else { "" }))
    .collect::<Vec<_>>()
    .join(" ")
}

/// `100m/500m`: what it asks for, and what it may have at most; empty when it says neither.
fn share(spec: &Value, resource: &str) -> String {
    let amount = |list: &str| scalar(&spec["resources"][list][resource]).into_owned();
    match (amount("requests"), amount("limits")) {
        (request, limit) if request.is_empty() && limit.is_empty() => String::new(),
        (request, limit) => {
            let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
            format!("{}/{}", or_none(request), or_none(limit))
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_container_says_what_it_is_how_it_is_and_what_it_asks_for() {
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        let pod = json!({
            "spec": {
                "initContainers": [{"name": "wait", "image": "busybox"}, {"name": "proxy", "restartPolicy": "Always"}],
                "containers": [{
                    "name": "web", "image": "nginx", "ports": [{"containerPort": 80, "name": "http"}],
                    "readinessProbe": {"httpGet": {}}, "livenessProbe": {"httpGet": {}},
                    "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}},
                }],
                "ephemeralContainers": [{"name": "debugger"}],
            },
            "status": {
                "initContainerStatuses": [
                    {"name": "wait", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
                    {"name": "proxy", "ready": true, "state": running.clone()},
                ],
                "containerStatuses": [{
                    "name": "web", "ready": false, "started": true, "restartCount": 2, "state": running,
                    "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                }],
            },
        });
        let now: Timestamp = "2026-01-01T00:00:09Z".parse().expect("a time");
        let shown: Vec<String> = containers(&pod)
            .iter()
            .map(|row| row.cells.iter().map(|cell| cell.show(now)).collect::<Vec<_>>().join(" | "))
            .collect();
        assert_eq!(
            shown,
            [
                "wait | init | Completed | 0 | - | - | - | - | - | - | busybox",
                "proxy | sidecar | Running | 0 | 9s | - | - | - | - | - | -",
                "web | - | Not ready | 2 | 9s | OOMKilled, exit 137 | 80/http | live ready! | 100m/- | -/64Mi | nginx",
                "debugger | debug | Waiting | 0 | - | - | - | - | - | - | -",
            ]
        );
    }
}
