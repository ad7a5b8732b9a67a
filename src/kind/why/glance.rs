//! What can be told of an object at a glance: from itself, its events and the end of one log, without reading anything else.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::container::{self, Container};
use super::finding::{Finding, Severity};
use super::world::World;
use super::{diagnose, is_going};
use crate::kind::field::{int, text, time};
use crate::text::parse_duration;

/// The longest wait that is believed: what is said in a message may be anything.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// The end of a container's log.
#[derive(Clone, Copy, Debug)]
pub struct LastLines<'a> {
    /// The container.
    pub container: &'a str,
    /// Its lines, oldest first.
    pub lines: &'a [&'a str],
}

/// What is wrong with one object, worst first, as far as it, the events about it and the end of one of its logs tell.
pub fn glance(
    (group, kind): (&str, &str),
    object: &Value,
    events: &[Value],
    log: Option<LastLines<'_>>,
    now: Timestamp,
) -> Vec<Finding> {
    let mut world = World::default();
    world.some("", "Event", events.to_vec());
    world.some(group, kind, vec![object.clone()]);
    if let Some(log) = log {
        let lines = log.lines.iter().map(|line| (*line).to_owned()).collect();
        world.tail(text(&object["metadata"]["uid"]), log.container, lines);
    }
    let mut findings = match world.all(group, kind) {
        [object] => diagnose(&world, object, now),
        _ => Vec::new(),
    };
    findings.retain(|finding| finding.severity > Severity::Note);
    findings
}

/// Something that happens to a pod by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// What: `next try`.
    pub what: &'static str,
    /// When.
    pub at: Timestamp,
    /// Since when that is waited for.
    pub since: Timestamp,
}

/// What happens next to a pod: one that is being deleted is killed, a container in back-off is restarted. The kubelet says for how long it
/// holds back, and from when is known.
pub fn next(pod: &Value) -> Option<Next> {
    let metadata = &pod["metadata"];
    if is_going(pod) {
        let at = time(&metadata["deletionTimestamp"])?;
        let grace = SignedDuration::from_secs(int(&metadata["deletionGracePeriodSeconds"]).clamp(0, 86_400));
        let since = at.checked_sub(grace).ok()?;
        return Some(Next {
            what: "killed",
            at,
            since,
        });
    }
    let held_back = |container: Container<'_>| {
        let (_, message) = container.waiting();
        let wait = parse_duration(message.strip_prefix("back-off ")?.split_whitespace().next()?)?;
        let since = time(&container.ending()["finishedAt"])?;
        let at = since.checked_add(wait.min(LONGEST)).ok()?;
        Some(Next {
            what: "next try",
            at,
            since,
        })
    };
    container::all(pod).filter_map(held_back).min_by_key(|next| next.at)
}

/// The container of a pod whose log tells why it is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Teller {
    /// Its name.
    pub container: String,
    /// Whether it has been started before: there is a log of an earlier instance.
    pub restarted: bool,
    /// Changes with the instance whose log is meant.
    pub edition: String,
}

/// The first container that has run and does not do what it is for.
pub fn teller(pod: &Value) -> Option<Teller> {
    let has_run =
        |container: &Container<'_>| container.status["state"]["running"].is_object() || container.ending().is_object();
    let container = container::all(pod).find(|container| !container.is_well() && has_run(container))?;
    let restarts = container.restarts();
    Some(Teller {
        container: container.name().to_owned(),
        restarted: restarts > 0,
        edition: format!("{} {restarts}", text(&container.status["containerID"])),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn crashed() -> Value {
        let ended = json!({"exitCode": 3, "startedAt": "2026-01-01T00:00:28Z", "finishedAt": "2026-01-01T00:00:30Z"});
        let waiting = json!({"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"});
        json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "1"},
            "spec": {"nodeName": "n", "containers": [{"name": "main"}]},
            "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "containerStatuses": [{
                "name": "main", "restartCount": 2, "containerID": "x", "state": {"waiting": waiting},
                "lastState": {"terminated": ended},
            }]},
        })
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_crash_says_when_it_is_tried_again_and_whose_log_tells_more() {
        let pod = crashed();
        let expected = Next {
            what: "next try",
            at: at("2026-01-01T00:01:10Z"),
            since: at("2026-01-01T00:00:30Z"),
        };
        assert_eq!(next(&pod), Some(expected));
        let teller = teller(&pod).expect("a container");
        assert_eq!((&*teller.container, teller.restarted), ("main", true));
    }

    #[test]
    fn the_last_lines_of_the_log_are_in_the_finding() {
        let log = LastLines {
            container: "main",
            lines: &["starting", "config: no such file"],
        };
        let pod = crashed();
        let findings = glance(("", "Pod"), &pod, &[], Some(log), at("2026-01-01T00:00:40Z"));
        let sentence = &findings[0].sentence;
        assert!(sentence.contains("exits with code 3"), "{sentence}");
        assert!(sentence.contains("config: no such file"), "{sentence}");
    }

    #[test]
    fn a_pod_that_is_deleted_says_when_it_is_killed() {
        let pod = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:01:00Z", "deletionGracePeriodSeconds": 30}});
        let next = next(&pod).expect("something");
        assert_eq!((next.what, next.since), ("killed", at("2026-01-01T00:00:30Z")));
    }
}
