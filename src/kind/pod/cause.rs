//! Why a pod does not run as it should, and what helps.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::status::{self, Pod};
use crate::kind::Subject;
use crate::kind::cause::Cause;
use crate::kind::field::{by, int, items, text, time, yes};
use crate::store::Health;
use crate::text::{count, human_duration, parse_duration};

/// A pod may take so long to become ready before that is worth a word.
const SLOW: SignedDuration = SignedDuration::from_secs(30);
/// From when on a pod that should be gone is stuck.
const LATE: SignedDuration = SignedDuration::from_secs(5);

pub(super) fn cause(subject: &Subject<'_>) -> Option<Cause> {
    let pod = subject.object;
    let told = Pod::deserialize(pod).map(|pod| status::tell(&pod)).ok()?;
    if matches!(told.health, Health::Good | Health::Done | Health::None) {
        return None;
    }
    leaving(subject)
        .or_else(|| unscheduled(pod))
        .or_else(|| evicted(pod))
        .or_else(|| container(subject))
        .or_else(|| unready(subject))
        .or_else(|| young(pod, &told.word))
}

fn leaving(subject: &Subject<'_>) -> Option<Cause> {
    let metadata = &subject.object["metadata"];
    let due = time(&metadata["deletionTimestamp"])?;
    let left = due.duration_since(subject.now);
    let finalizers: Vec<&str> = items(&metadata["finalizers"]).iter().map(text).collect();
    if !finalizers.is_empty() {
        let cause = Cause::new(format!("It is being deleted and waits for {}.", finalizers.join(", ")));
        return Some(
            cause
                .because("finalizers keep an object until whoever set them has taken them away")
                .helps("object.edit", "edit the finalizers"),
        );
    }
    let mut cause = if left > -LATE {
        Cause::new("It is being deleted: its containers have been asked to end.")
    } else {
        let late = Cause::new(format!(
            "It should have been gone for {}: its node has not said that its containers have ended.",
            human_duration(-left)
        ));
        late.helps("object.delete --force", "delete it without waiting")
    };
    cause.next = left.is_positive().then_some((due, due));
    Some(cause)
}

fn unscheduled(pod: &Value) -> Option<Cause> {
    let scheduled = by(&pod["status"]["conditions"], "type", "PodScheduled")?;
    if scheduled["status"] != "False" {
        return None;
    }
    if scheduled["reason"] == "SchedulingGated" {
        let gates = items(&pod["spec"]["schedulingGates"]).iter().map(|gate| text(&gate["name"]));
        let gates: Vec<&str> = gates.collect();
        return Some(Cause::new(format!("It waits behind the gate {}.", gates.join(", "))));
    }
    let cause = Cause::new("No node can take it.").because(text(&scheduled["message"]));
    Some(
        cause
            .helps("view.open nodes", "look at the nodes")
            .helps("object.edit", "edit what it asks for"),
    )
}

fn evicted(pod: &Value) -> Option<Cause> {
    let status = &pod["status"];
    let reason = text(&status["reason"]);
    let sentence = match reason {
        "" | "NodeLost" => return None,
        "Evicted" => "Its node evicted it to get resources back.".to_owned(),
        "DeadlineExceeded" => "It ran longer than its deadline allows.".to_owned(),
        reason => format!("Its node refused it: {reason}."),
    };
    Some(Cause::new(sentence).because(text(&status["message"])))
}

/// The status of the container to blame: the first that waits for no good reason, has failed, or is not ready.
fn culprit(pod: &Value) -> Option<&Value> {
    let status = &pod["status"];
    let all = || {
        items(&status["initContainerStatuses"])
            .iter()
            .chain(items(&status["containerStatuses"]))
    };
    let failed = |container: &&Value| int(&container["state"]["terminated"]["exitCode"]) != 0;
    all().find(stuck).or_else(|| all().find(failed))
}

fn stuck(container: &&Value) -> bool {
    let reason = text(&container["state"]["waiting"]["reason"]);
    !matches!(reason, "" | "ContainerCreating" | "PodInitializing")
}

/// How a container ended: now, or the last time.
pub(super) fn ending(status: &Value) -> &Value {
    match &status["state"]["terminated"] {
        Value::Null => &status["lastState"]["terminated"],
        ended => ended,
    }
}

fn container(subject: &Subject<'_>) -> Option<Cause> {
    let pod = subject.object;
    let status = culprit(pod)?;
    let name = text(&status["name"]);
    let spec = ["initContainers", "containers"]
        .iter()
        .find_map(|list| by(&pod["spec"][*list], "name", name))
        .unwrap_or(&Value::Null);
    let waiting = &status["state"]["waiting"];
    let message = text(&waiting["message"]);
    let cause = match text(&waiting["reason"]) {
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => {
            let image = text(&spec["image"]);
            let told = events(subject, "Failed").unwrap_or(message);
            Cause::new(format!("The image {image} of container {name} cannot be had."))
                .because(told)
                .helps("object.edit", "edit the image")
        }
        "CreateContainerConfigError" => {
            Cause::new(format!("Container {name} needs something that is not there: {message}."))
                .helps("object.edit", "edit what it refers to")
        }
        "CrashLoopBackOff" | "" => ended(status, spec, name),
        reason => Cause::new(format!("Container {name} cannot be started: {reason}."))
            .because(message)
            .helps("object.edit", "edit it"),
    };
    let restarts = int(&status["restartCount"]);
    let restarted = match usize::try_from(restarts).unwrap_or(0) {
        0 => String::new(),
        restarts => format!("{} so far", count(restarts, "restart")),
    };
    let mut cause = cause.because(&restarted);
    cause.next = next_try(status);
    Some(cause)
}

/// A container that has run and ended.
fn ended(status: &Value, spec: &Value, name: &str) -> Cause {
    let ended = ending(status);
    let ran = time(&ended["startedAt"])
        .zip(time(&ended["finishedAt"]))
        .map(|(start, end)| end.duration_since(start))
        .filter(|ran| *ran < SignedDuration::from_hours(1) && !ran.is_negative())
        .map_or_else(String::new, |ran| match ran.as_secs() {
            0 => " as soon as it starts".to_owned(),
            _ => format!(" {} after it starts", human_duration(ran)),
        });
    let (exit, signal) = (int(&ended["exitCode"]), int(&ended["signal"]));
    let again = status["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    let cause = match (text(&ended["reason"]), signal) {
        ("OOMKilled", _) => {
            let limit = text(&spec["resources"]["limits"]["memory"]);
            let limit = if limit.is_empty() {
                "its node had".to_owned()
            } else {
                format!("its limit of {limit}")
            };
            Cause::new(format!("Container {name} was killed{ran}: it used more memory than {limit}."))
                .helps("object.edit", "raise the limit")
        }
        (_, 0) if again => Cause::new(format!("Container {name} exits with {exit}{ran}, again and again.")),
        (_, 0) => Cause::new(format!("Container {name} has exited with {exit}{ran}.")),
        (_, signal) => Cause::new(format!("Container {name} was ended by signal {signal}{ran}.")),
    };
    let cause = if exit == 127 || exit == 126 {
        cause.because("127 and 126 mean that the command was not found, or cannot be run")
    } else {
        cause
    };
    let cause = cause.because(text(&ended["message"])).log(name);
    if int(&status["restartCount"]) > 0 {
        cause.helps("pod.logs --previous", "the log before it ended")
    } else {
        cause.helps("pod.logs", "its whole log")
    }
}

/// When the kubelet restarts a container in back-off, and since when it waits: it says for how long, and from when is known.
fn next_try(status: &Value) -> Option<(Timestamp, Timestamp)> {
    let waiting = &status["state"]["waiting"];
    let message = text(&waiting["message"]).strip_prefix("back-off ")?;
    let wait = parse_duration(message.split_whitespace().next()?)?;
    let wait = wait.min(SignedDuration::from_hours(24));
    let since = time(&ending(status)["finishedAt"])?;
    Some((since.checked_add(wait).ok()?, since))
}

/// The message of the newest warning with this reason.
fn events<'s>(subject: &Subject<'s>, reason: &str) -> Option<&'s str> {
    let said = subject.events.iter().rev().find(|event| event["reason"] == reason)?;
    Some(text(&said["message"]))
}

/// What runs and is not ready.
fn unready(subject: &Subject<'_>) -> Option<Cause> {
    let pod = subject.object;
    let status = &pod["status"];
    let container = items(&status["containerStatuses"])
        .iter()
        .find(|container| !yes(&container["ready"]) && container["state"]["running"].is_object())?;
    let name = text(&container["name"]);
    let since = time(&by(&status["conditions"], "type", "Ready")?["lastTransitionTime"])?;
    let age = subject.now.duration_since(since);
    if age < SLOW {
        return Some(Cause::new(format!("Container {name} has started and is not ready yet.")));
    }
    let cause = Cause::new(format!(
        "Container {name} runs and has not been ready for {}.",
        human_duration(age)
    ));
    Some(
        cause
            .because(events(subject, "Unhealthy").unwrap_or_default())
            .log(name)
            .helps("pod.logs", "its whole log"),
    )
}

/// What is on its way.
fn young(pod: &Value, word: &str) -> Option<Cause> {
    let status = &pod["status"];
    let init = items(&status["initContainerStatuses"])
        .iter()
        .find(|container| container["state"]["running"].is_object() && !yes(&container["started"]));
    if let Some(init) = init {
        let name = text(&init["name"]);
        return Some(Cause::new(format!("Its init container {name} runs before the others start.")).log(name));
    }
    match word {
        "ContainerCreating" | "PodInitializing" => Some(Cause::new("Its node prepares volumes, network and images.")),
        "Pending" | "" if status["conditions"].is_null() => Some(Cause::new("It waits for the scheduler.")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use serde_json::json;

    use super::*;

    fn told(spec: &Value, status: &Value) -> Option<Cause> {
        let object = json!({"metadata": {"name": "web"}, "spec": spec, "status": status});
        cause(&Subject {
            object: &object,
            events: &[json!({"reason": "Failed", "message": "manifest unknown"})],
            now: "2026-01-01T00:01:00Z".parse().unwrap(),
            zone: TimeZone::UTC,
            related: None,
        })
    }

    fn of(state: &Value, last: &Value) -> Value {
        let restarts = i64::from(last.is_object());
        let main = json!({"name": "main", "restartCount": restarts, "state": state, "lastState": {"terminated": last}});
        json!({"phase": "Running", "containerStatuses": [main]})
    }

    #[test]
    fn each_state_has_a_sentence_of_its_own() {
        let spec = json!({"containers": [{"name": "main", "image": "redis:nope", "resources": {"limits": {"memory": "32Mi"}}}]});
        let ended = |extra: &Value| {
            let mut ended = json!({"exitCode": 3, "startedAt": "2026-01-01T00:00:28Z", "finishedAt": "2026-01-01T00:00:30Z"});
            ended.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            ended
        };
        let waits = |reason: &str| json!({"waiting": {"reason": reason, "message": "back-off 40s restarting"}});
        let running = json!({"running": {}});
        for (status, sentence) in [
            (
                of(&waits("CrashLoopBackOff"), &ended(&json!({}))),
                "Container main exits with 3 2s after it starts, again and again.",
            ),
            (
                of(&json!({"terminated": ended(&json!({"reason": "OOMKilled", "exitCode": 137}))}), &Value::Null),
                "Container main was killed 2s after it starts: it used more memory than its limit of 32Mi.",
            ),
            (
                of(&waits("ImagePullBackOff"), &Value::Null),
                "The image redis:nope of container main cannot be had.",
            ),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
                    "reason": "Unschedulable", "message": "0/1 nodes are available"}]}),
                "No node can take it.",
            ),
            (
                json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}),
                "Its node evicted it to get resources back.",
            ),
        ] {
            let cause = told(&spec, &status).unwrap_or_else(|| panic!("{status}"));
            assert_eq!(cause.sentence, sentence);
        }
        assert_eq!(told(&spec, &json!({"phase": "Running", "containerStatuses": [
            {"name": "main", "ready": true, "state": running}]})), None);
    }

    #[test]
    fn a_crash_says_when_it_is_tried_again_and_whose_log_tells_more() {
        let last = json!({"exitCode": 1, "finishedAt": "2026-01-01T00:00:30Z"});
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting"}});
        let cause = told(&json!({"containers": [{"name": "main"}]}), &of(&waiting, &last)).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(cause.next, Some((at("2026-01-01T00:01:10Z"), at("2026-01-01T00:00:30Z"))));
        assert_eq!(cause.log.as_deref(), Some("main"));
        assert_eq!(cause.remedies, [("pod.logs --previous", "the log before it ended")]);
    }
}
