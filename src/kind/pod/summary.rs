//! A pod in a few lines: what is wrong first, and when it will be tried again.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::status::{self, Pod};
use crate::document::Document;
use crate::kind::Subject;
use crate::kind::brief::Brief;
use crate::kind::field::{by, controller, int, items, present, text, time, yes};
use crate::store::Health;
use crate::text::{human_duration, parse_duration};
use crate::theme::Role;

pub(super) fn summary(subject: &Subject<'_>) -> Document {
    let pod = subject.object;
    let told = Pod::deserialize(pod).map(|pod| status::tell(&pod)).ok();
    let mut brief = Brief::new(subject.now);
    let culprit = culprit(pod);
    if let Some(told) = &told {
        brief.headline(told.health, &headline(told, culprit));
    }
    reasons(&mut brief, pod, culprit);
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

/// The status of the container to blame: the first that waits for no good reason or has failed.
fn culprit(pod: &Value) -> &Value {
    let status = &pod["status"];
    let all = || {
        items(&status["initContainerStatuses"])
            .iter()
            .chain(items(&status["containerStatuses"]))
    };
    let stuck = |container: &&Value| {
        let reason = text(&container["state"]["waiting"]["reason"]);
        !matches!(reason, "" | "ContainerCreating" | "PodInitializing")
    };
    let failed = |container: &&Value| int(&container["state"]["terminated"]["exitCode"]) != 0;
    let unready = |container: &&Value| !yes(&container["ready"]) && container["state"]["running"].is_object();
    all()
        .find(stuck)
        .or_else(|| all().find(failed))
        .or_else(|| all().find(unready))
        .unwrap_or(&Value::Null)
}

/// How a container ended: now, or the last time.
fn ending(status: &Value) -> &Value {
    match &status["state"]["terminated"] {
        Value::Null => &status["lastState"]["terminated"],
        ended => ended,
    }
}

fn headline(told: &status::Told, culprit: &Value) -> String {
    let mut parts = Vec::new();
    let ended = ending(culprit);
    if ended.is_object() {
        parts.push(how(ended));
    }
    if told.ready < told.containers && told.health != Health::Done {
        parts.push(format!("{} of {} ready", told.ready, told.containers));
    }
    if told.restarts > 0 {
        parts.push(crate::text::count(
            usize::try_from(told.restarts).unwrap_or_default(),
            "restart",
        ));
    }
    let word = if told.word.is_empty() { "Pending" } else { &told.word };
    if parts.is_empty() {
        word.to_owned()
    } else {
        format!("{word}: {}", parts.join(", "))
    }
}

/// `exit 1`, `OOMKilled, exit 137`, `signal 9`.
fn how(ended: &Value) -> String {
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

fn reasons(brief: &mut Brief, pod: &Value, culprit: &Value) {
    let status = &pod["status"];
    brief.say(Role::Text, text(&status["message"]));
    let waiting = &culprit["state"]["waiting"];
    let ended = ending(culprit);
    if waiting["reason"] != "CrashLoopBackOff" {
        brief.say(Role::Text, text(&waiting["message"]));
    }
    brief.say(Role::Text, text(&ended["message"]));
    if let Some(at) = next_try(culprit) {
        let left = at.duration_since(brief.now());
        let line = if left.is_positive() {
            format!("next try in {}", human_duration(left))
        } else {
            "next try is due".into()
        };
        brief.say(Role::Dim, &line);
    }
    let scheduled = by(&status["conditions"], "type", "PodScheduled").unwrap_or(&Value::Null);
    if scheduled["status"] == "False" {
        brief.say(Role::Warning, text(&scheduled["message"]));
    }
    let ready = by(&status["conditions"], "type", "Ready").unwrap_or(&Value::Null);
    if status["phase"] == "Running"
        && ready["status"] == "False"
        && let Some(since) = time(&ready["lastTransitionTime"])
    {
        let line = format!("not ready for {}: {}", brief.age(since), text(&ready["message"]));
        brief.say(Role::Warning, &line);
    }
    if let Some(deleted) = time(&pod["metadata"]["deletionTimestamp"]) {
        let line = match deleted.duration_since(brief.now()) {
            left if left.is_positive() => format!("will be killed in {}", human_duration(left)),
            late => format!("should be gone for {}", human_duration(-late)),
        };
        brief.say(Role::Text, &line);
    }
}

/// When the kubelet restarts a container in back-off: it says for how long it waits, and from when is known.
fn next_try(status: &Value) -> Option<Timestamp> {
    let waiting = &status["state"]["waiting"];
    let message = text(&waiting["message"]).strip_prefix("back-off ")?;
    let wait = parse_duration(message.split_whitespace().next()?)?;
    let wait = wait.min(SignedDuration::from_hours(24));
    time(&ending(status)["finishedAt"])?.checked_add(wait).ok()
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
