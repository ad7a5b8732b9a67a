//! Containers that end, and pods that have.

use jiff::Timestamp;
use serde_json::Value;

use super::container::{self, Container};
use super::finding::{Finding, Fix, Severity, Thing};
use super::pod::maker;
use super::start::{command, exit};
use super::world::Known;
use super::{Cx, RECENT, brief, condition, controller, duration, namespace};
use crate::kind::field::{int, items, scalar, text, time, yes};

/// Words in a program's last lines that tell more than its exit code: cause, words, sentence.
const LAST_WORDS: &[(&str, &[&str], &str)] = &[
    (
        "crash.address",
        &["address already in use", "eaddrinuse"],
        "it cannot listen, because its port is taken",
    ),
    (
        "crash.readonly",
        &["read-only file system"],
        "it writes where the file system is read-only",
    ),
    (
        "rbac.pod403",
        &["is forbidden: user \"system:serviceaccount:"],
        "its service account lacks a right",
    ),
    (
        "crash.dependency",
        &[
            "connection refused",
            "econnrefused",
            "no such host",
            "enotfound",
            "getaddrinfo",
            "i/o timeout",
            "could not translate host name",
        ],
        "it cannot reach something it needs",
    ),
    (
        "crash.permission",
        &["permission denied", "eacces"],
        "it lacks a permission",
    ),
];

/// Killed for its memory.
pub(super) fn out_of_memory(cx: Cx<'_>, container: Container<'_>) -> Option<Finding> {
    let ending = container.ending();
    if ending["reason"] != "OOMKilled" {
        return None;
    }
    let limit = match &container.status["resources"]["limits"]["memory"] {
        Value::Null => scalar(&container.spec["resources"]["limits"]["memory"]),
        limit => scalar(limit),
    };
    let sentence = if limit.is_empty() {
        format!(
            "{} was killed because its node ran out of memory; it has no limit of its own.",
            container.called()
        )
    } else {
        format!(
            "{} was killed for using more than its {limit} of memory.",
            container.called()
        )
    };
    let maker = maker(cx, container.pod);
    let more = format!(
        "kubectl set resources {} -c {} --limits=memory=AMOUNT{}",
        maker.argument(),
        container.name(),
        maker.flag()
    );
    Some(
        Finding::critical("crash.oom", container.pod, sentence)
            .since(time(&ending["finishedAt"]))
            .read(container.path("lastState.terminated.reason"), "OOMKilled")
            .read(container.spec_path("resources.limits.memory"), limit)
            .read(container.path("restartCount"), container.restarts().to_string())
            .advise("allow it more memory, or find out what it keeps", more)
            .by(Fix::Edit(maker)),
    )
}

/// It ended, by itself or by a signal.
pub(super) fn ended(cx: Cx<'_>, container: Container<'_>) -> Option<Finding> {
    let pod = container.pod;
    let (reason, message) = container.waiting();
    let ending = container.ending();
    let waits = reason == "CrashLoopBackOff";
    let now_ended = container.status["state"]["terminated"].is_object();
    if !ending.is_object() || !(waits || now_ended || is_restarted(cx, container)) {
        return None;
    }
    let code = exit(ending);
    let (started, finished) = (time(&ending["startedAt"]), time(&ending["finishedAt"]));
    let lived = started
        .zip(finished)
        .map(|(from, to)| to.duration_since(from).as_secs());
    let maker = maker(cx, pod);
    let logs = format!(
        "kubectl logs {} -n {} -c {}{}",
        super::name(pod),
        namespace(pod),
        container.name(),
        if now_ended { "" } else { " --previous" }
    );
    let finding = match code {
        0 if pod["spec"]["restartPolicy"] == "Always" && !container.is_init => {
            let sentence = format!(
                "{} ends successfully, but the pod is to run for ever, so it is started again and again.",
                container.called()
            );
            Finding::critical("crash.clean", pod, sentence)
                .read(container.spec_path("command"), command(container.spec))
                .advise("use a Job for what ends, or keep the program in the foreground", "")
                .by(Fix::Edit(maker.clone()))
        }
        0 => return None,
        126 | 127 => {
            let sentence = format!(
                "{} ends with exit code {code}: a command in its script {}.",
                container.called(),
                if code == 127 {
                    "does not exist in the image"
                } else {
                    "cannot be executed"
                }
            );
            Finding::critical("crash.cmd", pod, sentence)
                .read(container.spec_path("command"), command(container.spec))
                .edit(&maker, "correct command or args")
        }
        132 | 134 | 135 | 136 | 139 => {
            let what = match code {
                132 => "an illegal instruction: it may be built for another processor",
                134 => "an abort",
                135 => "a bus error",
                136 => "an arithmetic error",
                _ => "a segmentation fault",
            };
            Finding::critical(
                "crash.signal",
                pod,
                format!("{} crashed with {what}.", container.called()),
            )
        }
        137 => {
            let grace = int(&pod["spec"]["terminationGracePeriodSeconds"]);
            let sentence = format!(
                "{} was killed from outside (exit code 137), not for its memory.",
                container.called()
            );
            Finding::warning("crash.killed", pod, sentence)
                .read("spec.terminationGracePeriodSeconds", grace.to_string())
        }
        255 if ending["reason"] == "Unknown" || ending["reason"] == "ContainerStatusUnknown" => {
            let sentence = format!("{} was lost when its node went away.", container.called());
            Finding::warning("crash.nodegone", pod, sentence)
        }
        _ => exited(cx, container, code, lived),
    };
    let finding = finding
        .since(finished)
        .read(
            container.path(if now_ended {
                "state.terminated"
            } else {
                "lastState.terminated"
            }),
            format!("exit code {code}, {}", text(&ending["reason"])),
        )
        .read(
            container.path("state.waiting.message"),
            if waits { message } else { "" },
        )
        .advise("read what it wrote last", logs);
    let finding = match cx.world.last_lines(pod, container.name()).last() {
        Some(line) => finding.read(format!("log of {}", container.name()), line.as_str()),
        None => finding,
    };
    let mut finding = if maker.kind == "Deployment" && code != 0 {
        let undo = format!("kubectl rollout undo {}{}", maker.argument(), maker.flag());
        finding.advise("if it came with a new revision, go back", undo)
    } else {
        finding
    };
    // The first failures of something young may be those of a start in the wrong order.
    if container.restarts() < 3 && !cx.aged(pod, 120) {
        finding.severity = finding.severity.min(Severity::Warning);
    }
    Some(finding)
}

/// Whether a container runs again, not yet ready, after an end that is still news.
fn is_restarted(cx: Cx<'_>, container: Container<'_>) -> bool {
    let finished = time(&container.status["lastState"]["terminated"]["finishedAt"]);
    !yes(&container.status["ready"]) && finished.is_some() && !cx.older(finished, RECENT)
}

/// An exit code that is the program's own.
fn exited(cx: Cx<'_>, container: Container<'_>, code: i64, lived: Option<i64>) -> Finding {
    let pod = container.pod;
    let lines = cx.world.last_lines(pod, container.name());
    let told = text(&container.ending()["message"]);
    let low: Vec<String> = lines
        .iter()
        .map(|line| line.to_lowercase())
        .chain([told.to_lowercase()])
        .collect();
    let after = match lived {
        Some(seconds) if seconds < 10 => " at once".to_owned(),
        Some(seconds) => format!(" after {}", duration(seconds)),
        None => String::new(),
    };
    for (cause, words, meaning) in LAST_WORDS {
        let Some(at) = low
            .iter()
            .rposition(|line| words.iter().any(|word| line.contains(word)))
        else {
            continue;
        };
        let line = lines.get(at).map_or(told, String::as_str);
        let sentence = format!("{} exits with code {code}{after}: {meaning}.", container.called());
        let finding = Finding::critical(cause, pod, sentence).read(format!("log of {}", container.name()), line);
        return if *cause == "crash.dependency" {
            needs(cx, pod, line, finding)
        } else {
            finding
        };
    }
    let last = lines
        .last()
        .map(String::as_str)
        .or(Some(told))
        .filter(|line| !line.is_empty());
    let sentence = match last {
        Some(line) => format!(
            "{} exits with code {code}{after}: {:?}.",
            container.called(),
            brief(line)
        ),
        None => format!("{} exits with code {code}{after}.", container.called()),
    };
    Finding::critical("crash.exit", pod, sentence)
}

/// The Service that a line about a failed connection names, and what is wrong with it.
fn needs(cx: Cx<'_>, pod: &Value, line: &str, mut finding: Finding) -> Finding {
    let namespace = namespace(pod);
    let words = line.split(|ch: char| !ch.is_ascii_alphanumeric() && ch != '-' && ch != '.');
    for word in words {
        let mut parts = word.split('.');
        let name = parts.next().unwrap_or_default();
        if name.is_empty() || !name.starts_with(|ch: char| ch.is_ascii_lowercase()) {
            continue;
        }
        let within = parts.next().filter(|_| word.contains(".svc")).unwrap_or(namespace);
        if let Known::There(service) = cx.world.get("", "Service", within, name) {
            finding.sentence = finding
                .sentence
                .replace("something it needs", &format!("Service {name}"));
            return finding.because(super::network::service(cx, service));
        }
    }
    finding
}

/// A container that works now and has restarted often of late.
pub(super) fn flapping(cx: Cx<'_>, container: Container<'_>) -> Option<Finding> {
    let last = &container.status["lastState"]["terminated"];
    let finished = time(&last["finishedAt"]);
    if container.restarts() < 3 || finished.is_none() || cx.older(finished, RECENT) {
        return None;
    }
    let how = match text(&last["reason"]) {
        "OOMKilled" => "for using too much memory".to_owned(),
        _ => format!("with exit code {}", exit(last)),
    };
    let sentence = format!(
        "{} works now, but has restarted {} times, the last time {} ago, {how}.",
        container.called(),
        container.restarts(),
        cx.age(finished)
    );
    Some(
        Finding::warning("crash.flap", container.pod, sentence)
            .since(finished)
            .read(container.path("restartCount"), container.restarts().to_string())
            .read(
                container.path("lastState.terminated"),
                format!("exit code {}", exit(last)),
            ),
    )
}

/// The main container of a Job's pod has ended, and another goes on.
pub(super) fn unfinished(cx: Cx<'_>, pod: &Value) -> Option<Finding> {
    if controller(pod).is_none_or(|owner| owner["kind"] != "Job") {
        return None;
    }
    let plain =
        || container::all(pod).filter(|container| !container.is_init && container.spec["restartPolicy"] != "Always");
    let done: Option<Timestamp> = plain()
        .filter(|container| container.status["state"]["terminated"]["exitCode"] == 0)
        .find_map(|container| time(&container.status["state"]["terminated"]["finishedAt"]));
    let runs = plain().find(|container| container.status["state"]["running"].is_object())?;
    if !cx.older(done, super::GRACE) {
        return None;
    }
    let sentence = format!(
        "The work was done {} ago, but the container {} goes on, so the job never ends.",
        cx.age(done),
        runs.name()
    );
    Some(
        Finding::warning("job.sidecar", pod, sentence)
            .since(done)
            .read(runs.path("state.running"), runs.status["state"]["running"].to_string())
            .edit(&maker(cx, pod), "make it an init container with restartPolicy Always"),
    )
}

/// A pod that has failed for good.
pub(super) fn failed(cx: Cx<'_>, pod: &Value) -> Vec<Finding> {
    let (reason, message) = (text(&pod["status"]["reason"]), text(&pod["status"]["message"]));
    let me = Thing::of(pod);
    let delete = format!("kubectl delete {}{}", me.argument(), me.flag());
    let node = text(&pod["spec"]["nodeName"]);
    let replaced = controller(pod).is_some_and(|owner| owner["kind"] != "Job");
    let terminated = condition(pod, "DisruptionTarget");
    let finding = match reason {
        "Evicted" => {
            let sentence = if message.contains("exceed") {
                format!(
                    "The pod was evicted for exceeding a limit of its own: {}",
                    brief(message)
                )
            } else {
                format!("The pod was evicted because node {node} ran short: {}", brief(message))
            };
            Finding::warning("crash.evicted", pod, sentence).edit(&maker(cx, pod), "set requests and limits that fit")
        }
        "DeadlineExceeded" => {
            let limit = int(&pod["spec"]["activeDeadlineSeconds"]);
            let sentence = format!(
                "The pod ran longer than its {} allow.",
                super::count(limit as usize, "second")
            );
            Finding::warning("crash.deadline", pod, sentence)
                .read("spec.activeDeadlineSeconds", limit.to_string())
                .edit(&maker(cx, pod), "allow it more time")
        }
        "NodeShutdown" | "Terminated" | "NodeLost" | "Shutdown" => Finding::warning(
            "crash.nodegone",
            pod,
            format!("The pod ended because node {node} shut down."),
        ),
        _ if reason.starts_with("OutOf")
            || matches!(
                reason,
                "NodeAffinity"
                    | "NodePorts"
                    | "UnexpectedAdmissionError"
                    | "TopologyAffinityError"
                    | "PodOSNotSupported"
                    | "AppArmor"
                    | "SysctlForbidden"
                    | "Preempting"
            ) =>
        {
            let sentence = format!("Node {node} refused the pod at its start: {}", brief(message));
            Finding::warning("sched.rejected", pod, sentence)
        }
        _ if terminated["status"] == "True" && terminated["reason"] == "DeletionByPodGC" => Finding::warning(
            "crash.nodegone",
            pod,
            format!("The pod was ended because its node {node} is gone."),
        ),
        _ => {
            return container::all(pod)
                .filter(|container| int(&container.status["state"]["terminated"]["exitCode"]) != 0)
                .find_map(|container| out_of_memory(cx, container).or_else(|| ended(cx, container)))
                .into_iter()
                .collect();
        }
    };
    let mut finding = finding
        .since(
            items(&pod["status"]["conditions"])
                .iter()
                .filter_map(|c| time(&c["lastTransitionTime"]))
                .max(),
        )
        .read("status.reason", reason)
        .read("status.message", message)
        .advise("delete what is left of it", delete)
        .by(Fix::Delete(me));
    // What has been replaced is a remainder, not a fault.
    if replaced {
        finding.severity = Severity::Note;
    }
    vec![finding]
}
