//! A pod in a few lines: its containers, and where it is.

use serde_json::Value;

use crate::document::Document;
use crate::kind::Subject;
use crate::kind::brief::Brief;
use crate::kind::field::{by, controller, int, items, present, text, time, yes};
use crate::theme::Role;

pub(super) fn summary(subject: &Subject<'_>) -> Document {
    let pod = subject.object;
    let mut brief = Brief::new(subject.now);
    for (list, statuses) in [
        ("initContainers", "initContainerStatuses"),
        ("containers", "containerStatuses"),
    ] {
        for spec in items(&pod["spec"][list]) {
            let status = by(&pod["status"][statuses], "name", text(&spec["name"])).unwrap_or(&Value::Null);
            let init = list == "initContainers" && spec["restartPolicy"] != "Always";
            // What has done its part is no news.
            if !(init && status["state"]["terminated"]["exitCode"] == 0) {
                container(&mut brief, spec, status);
            }
        }
    }
    brief.gap();
    let node = text(&pod["spec"]["nodeName"]);
    brief.pair(
        "node",
        [node, text(&pod["status"]["podIP"])].join("  ").trim(),
    );
    brief.pair("owner", &controller(pod));
    brief.pair(
        "created",
        &time(&pod["metadata"]["creationTimestamp"]).map_or_else(String::new, |at| format!("{} ago", brief.age(at))),
    );
    brief.labels(pod);
    brief.finish()
}

/// `exit 1`, `OOMKilled, exit 137`, `signal 9`.
pub(super) fn how(ended: &Value) -> String {
    let (exit, signal) = (int(&ended["exitCode"]), int(&ended["signal"]));
    let how = if signal > 0 {
        format!("signal {signal}")
    } else {
        format!("exit {exit}")
    };
    match text(&ended["reason"]) {
        "" | "Error" | "Completed" => how,
        reason => format!("{reason}, {how}"),
    }
}

fn container(brief: &mut Brief, spec: &Value, status: &Value) {
    brief.block(text(&spec["name"]), text(&spec["image"]));
    let state = &status["state"];
    let since = |at: &Value| time(at).map_or_else(String::new, |at| format!(" for {}", brief.age(at)));
    let (role, words) = if state["running"].is_object() {
        let ready = if yes(&status["ready"]) { "ready" } else { "not ready" };
        let role = if yes(&status["ready"]) {
            Role::Value
        } else {
            Role::Warning
        };
        (
            role,
            format!("running{}, {ready}", since(&state["running"]["startedAt"])),
        )
    } else if state["terminated"].is_object() {
        let role = if state["terminated"]["exitCode"] == 0 {
            Role::Done
        } else {
            Role::Failed
        };
        (role, format!("ended, {}", how(&state["terminated"])))
    } else {
        let reason = text(&state["waiting"]["reason"]);
        let role = if matches!(reason, "" | "ContainerCreating" | "PodInitializing") {
            Role::Progress
        } else {
            Role::Failed
        };
        (role, format!("waiting {reason}").trim_end().to_owned())
    };
    brief.pair_as("  state", role, &words);
    let last = &status["lastState"]["terminated"];
    if last.is_object() {
        let ago = time(&last["finishedAt"]).map_or_else(String::new, |at| format!(", {} ago", brief.age(at)));
        brief.pair("  last", &format!("{}{ago}", how(last)));
    }
    if int(&status["restartCount"]) > 0 {
        brief.pair_as("  restarts", Role::Warning, &int(&status["restartCount"]).to_string());
    }
    let ports: Vec<_> = items(&spec["ports"])
        .iter()
        .map(|port| {
            let protocol = if present(&port["protocol"]) {
                text(&port["protocol"])
            } else {
                "TCP"
            };
            let name = text(&port["name"]);
            let number = int(&port["containerPort"]);
            if name.is_empty() {
                format!("{number}/{protocol}")
            } else {
                format!("{number}/{protocol} {name}")
            }
        })
        .collect();
    brief.pair("  ports", &ports.join(", "));
}
