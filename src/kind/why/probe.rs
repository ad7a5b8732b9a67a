//! Probes.

use std::borrow::Cow;

use serde_json::Value;

use super::container::Container;
use super::event::Event;
use super::finding::Finding;
use super::pod::maker;
use super::{Cx, GRACE, brief, condition, condition_path, is};
use crate::kind::field::{int, items, scalar, text, time, yes};

/// Whether a finding is what a probe says of a port that nothing listens on.
const REFUSED: &str = "connection refused";

/// What a probe asks: `GET :8080/healthz`.
fn asks(probe: &Value) -> String {
    let port = |action: &Value| scalar(&action["port"]).into_owned();
    if let Some(get) = probe.get("httpGet") {
        let path = get["path"].as_str().unwrap_or("/");
        format!("GET :{}{path}", port(get))
    } else if let Some(socket) = probe.get("tcpSocket") {
        format!("a connection to port {}", port(socket))
    } else if let Some(grpc) = probe.get("grpc") {
        format!("the gRPC health service on port {}", port(grpc))
    } else {
        let words: Vec<Cow<'_, str>> = items(&probe["exec"]["command"]).iter().map(scalar).collect();
        format!("the command {:?}", words.join(" "))
    }
}

/// What the newest failure of this kind of probe says, without its preamble.
fn failure<'a>(cx: Cx<'a>, container: Container<'a>, kind: &str) -> Option<(&'a Event, String)> {
    let event = cx
        .world
        .events(container.pod)
        .iter()
        .filter(|event| event.reason == "Unhealthy" && event.concerns(container.name()))
        .filter(|event| event.message.starts_with(kind))
        .max_by_key(|event| event.last)?;
    let why = event
        .message
        .split_once(": ")
        .map_or(event.message.as_str(), |(_, why)| why);
    Some((event, why.to_owned()))
}

/// What an answer means: `answers 503`.
fn means(why: &str) -> String {
    let low = why.to_lowercase();
    if let Some(at) = low.find("statuscode: ") {
        let code: String = low[at + 12..].chars().take_while(char::is_ascii_digit).collect();
        format!("answers {code}")
    } else if low.contains(REFUSED) {
        "is refused: nothing listens there".to_owned()
    } else if low.contains("deadline exceeded") || low.contains("timed out") || low.contains("timeout") {
        "does not answer in time".to_owned()
    } else {
        format!("fails: {}", brief(why))
    }
}

/// Killed by its liveness or startup probe, again and again.
pub(super) fn killed(cx: Cx<'_>, container: Container<'_>) -> Option<Finding> {
    if container.restarts() == 0 {
        return None;
    }
    let kill = cx
        .world
        .events(container.pod)
        .iter()
        .filter(|event| event.reason == "Killing" && event.concerns(container.name()))
        .filter(|event| event.message.contains(&format!("ontainer {} ", container.name())))
        .filter(|event| event.message.contains("probe, will be restarted"))
        .max_by_key(|event| event.last)?;
    let (kind, field, cause) = if kill.message.contains("startup") {
        ("Startup", "startupProbe", "probe.startup")
    } else {
        ("Liveness", "livenessProbe", "probe.liveness")
    };
    let probe = &container.spec[field];
    let asked = asks(probe);
    let failure = failure(cx, container, kind);
    let answer = failure
        .as_ref()
        .map_or_else(|| "fails".to_owned(), |(_, why)| means(why));
    let sentence = if cause == "probe.startup" {
        let window = int(&probe["periodSeconds"]).max(1) * int(&probe["failureThreshold"]).max(1);
        format!(
            "{} is killed because it takes longer to start than its startup probe allows ({}): {asked} {answer}.",
            container.called(),
            super::duration(window)
        )
    } else {
        format!(
            "{} is killed by its liveness probe: {asked} {answer}.",
            container.called()
        )
    };
    let finding = Finding::critical(cause, container.pod, sentence)
        .since(kill.last)
        .read("event Killing", kill.message.as_str())
        .read(container.spec_path(field), probe.to_string())
        .read(container.path("restartCount"), container.restarts().to_string());
    let finding = match failure {
        Some((event, _)) => finding.read("event Unhealthy", event.message.as_str()),
        None => finding,
    };
    let advice = if cause == "probe.startup" {
        "raise failureThreshold of the startup probe"
    } else {
        "correct the probe, or give it more time (timeoutSeconds, failureThreshold, a startup probe)"
    };
    Some(finding.edit(&maker(cx, container.pod), advice))
}

/// Runs, but is not ready.
pub(super) fn unready(cx: Cx<'_>, container: Container<'_>) -> Option<Finding> {
    let started = time(&container.status["state"]["running"]["startedAt"])?;
    if yes(&container.status["ready"]) {
        return None;
    }
    let starting = container.status["started"] == false && container.spec["startupProbe"].is_object();
    let (kind, field) = if starting {
        ("Startup", "startupProbe")
    } else {
        ("Readiness", "readinessProbe")
    };
    let probe = &container.spec[field];
    if probe.is_null() || starting {
        // A slow start under a startup probe is what the probe is for.
        return None;
    }
    let (event, why) = failure(cx, container, kind)?;
    let patience = int(&probe["initialDelaySeconds"])
        + int(&probe["periodSeconds"]).max(1) * int(&probe["failureThreshold"]).max(1);
    if !event.after(Some(started)) || !cx.older(Some(started), patience) {
        return None;
    }
    let answer = means(&why);
    let sentence = format!(
        "{} is not ready, so the pod gets no traffic: {} {answer}.",
        container.called(),
        asks(probe)
    );
    let since = time(&condition(container.pod, "Ready")["lastTransitionTime"]);
    let mut finding = Finding::critical("probe.readiness", container.pod, sentence)
        .since(since)
        .read("event Unhealthy", event.message.as_str())
        .read(container.spec_path(field), probe.to_string());
    if let Some(wrong) = wrong_port(container, probe).filter(|_| why.to_lowercase().contains(REFUSED)) {
        finding.cause = "probe.port";
        finding.sentence = wrong;
    }
    Some(
        finding
            .edit(&maker(cx, container.pod), "correct the probe's port or path")
            .advise(
                "read what the program says",
                format!(
                    "kubectl logs {} -n {} -c {}",
                    super::name(container.pod),
                    super::namespace(container.pod),
                    container.name()
                ),
            ),
    )
}

/// The probe asks a port that the container does not declare, although it declares some.
fn wrong_port(container: Container<'_>, probe: &Value) -> Option<String> {
    let action = [&probe["httpGet"], &probe["tcpSocket"], &probe["grpc"]]
        .into_iter()
        .find(|action| action.is_object())?;
    let ports = items(&container.spec["ports"]);
    let known = ports
        .iter()
        .any(|port| port["containerPort"] == action["port"] || port["name"] == action["port"]);
    if known || ports.is_empty() {
        return None;
    }
    let declared: Vec<_> = ports.iter().map(|port| scalar(&port["containerPort"])).collect();
    Some(format!(
        "The probe of {} asks port {}, where nothing listens; the container declares {}.",
        container.name(),
        scalar(&action["port"]),
        declared.join(", ")
    ))
}

/// All containers are ready, and a readiness gate is not.
pub(super) fn gates(cx: Cx<'_>, pod: &Value) -> Option<Finding> {
    let ready = condition(pod, "Ready");
    let since = time(&ready["lastTransitionTime"]);
    if ready["status"] != "False" || !is(pod, "ContainersReady", "True") || !cx.older(since, GRACE) {
        return None;
    }
    let gate = items(&pod["spec"]["readinessGates"])
        .iter()
        .map(|gate| text(&gate["conditionType"]))
        .find(|gate| !is(pod, gate, "True"))?;
    let sentence = format!("All containers are ready, but the readiness gate {gate} is not.");
    Some(
        Finding::warning("probe.gate", pod, sentence)
            .since(since)
            .read(condition_path("Ready"), text(&ready["message"]))
            .advise("look at the controller that sets this condition", ""),
    )
}
