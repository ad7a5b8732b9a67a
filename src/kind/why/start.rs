//! From a node to running containers.

use serde_json::Value;

use super::container::Container;
use super::finding::Finding;
use super::pod::{maker, standing};
use super::{Cx, GRACE_SLOW, brief, condition, condition_path};
use crate::kind::field::{int, items, scalar, text, time};

/// The runtime could not make or start the container.
pub(super) fn uncreated(cx: Cx<'_>, container: Container<'_>) -> Option<Finding> {
    let pod = container.pod;
    let (reason, message) = container.waiting();
    let ending = container.ending();
    let failed_to_start = matches!(text(&ending["reason"]), "StartError" | "ContainerCannotRun");
    let (path, message) = if matches!(reason, "RunContainerError" | "CreateContainerError") {
        (container.path("state.waiting.message"), message)
    } else if failed_to_start {
        (container.path("lastState.terminated.message"), text(&ending["message"]))
    } else {
        return hook(cx, container);
    };
    let low = message.to_lowercase();
    let maker = maker(cx, pod);
    let command = command(container.spec);
    let program = if command.is_empty() {
        "the image's command".to_owned()
    } else {
        format!("{command:?}")
    };
    let finding = if low.contains("not a directory") || low.contains("are you trying to mount a directory") {
        let sentence = format!(
            "{} mounts a file where the other side is a directory, or the reverse.",
            container.called()
        );
        Finding::critical("start.subpath", pod, sentence).edit(&maker, "correct subPath or mountPath")
    } else if [
        "executable file not found",
        "no such file or directory",
        "permission denied",
        "is a directory",
    ]
    .iter()
    .any(|words| low.contains(words))
    {
        let why = if low.contains("permission denied") {
            "may not be executed"
        } else {
            "does not exist in the image"
        };
        let sentence = format!("{} cannot start: {program} {why}.", container.called());
        Finding::critical("start.command", pod, sentence)
            .read(container.spec_path("command"), command)
            .edit(&maker, "correct command or args")
            .advise(
                "look into the image with a debug container",
                format!(
                    "kubectl debug -it {} -n {} --image=busybox --target={}",
                    super::name(pod),
                    super::namespace(pod),
                    container.name()
                ),
            )
    } else {
        let node = text(&pod["spec"]["nodeName"]);
        let sentence = format!(
            "Node {node} cannot create the container {}: {}",
            container.name(),
            brief(message)
        );
        Finding::critical("start.create", pod, sentence).edit(&maker, "correct the template")
    };
    Some(finding.since(time(&pod["status"]["startTime"])).read(path, message))
}

/// Its postStart hook failed, which kills it.
fn hook(cx: Cx<'_>, container: Container<'_>) -> Option<Finding> {
    let event = standing(cx, container.pod, &["FailedPostStartHook"])?;
    if !event.concerns(container.name()) || container.spec["lifecycle"]["postStart"].is_null() {
        return None;
    }
    let sentence = format!(
        "The postStart hook of {} fails, so the container is killed.",
        container.name()
    );
    Some(
        Finding::critical("start.hook", container.pod, sentence)
            .since(event.last)
            .read("event FailedPostStartHook", event.message.as_str())
            .read(
                container.spec_path("lifecycle.postStart"),
                container.spec["lifecycle"]["postStart"].to_string(),
            )
            .edit(&maker(cx, container.pod), "correct the hook"),
    )
}

/// The program a container runs, as its spec says it.
pub(super) fn command(spec: &Value) -> String {
    let words = [&spec["command"], &spec["args"]];
    let words: Vec<_> = words.into_iter().flat_map(items).map(scalar).collect();
    words.join(" ")
}

/// The node could not give the pod its network or its sandbox.
pub(super) fn sandbox(cx: Cx<'_>, pod: &Value) -> Option<Finding> {
    let node = text(&pod["spec"]["nodeName"]);
    if let Some(event) = standing(cx, pod, &["NetworkNotReady"]) {
        let causes = cx.world.get("", "Node", "", node).there();
        let causes = causes.map(|node| super::node::node(cx, node)).unwrap_or_default();
        return Some(
            Finding::critical(
                "start.network",
                pod,
                format!("The pod network of node {node} is not ready."),
            )
            .since(event.last)
            .read("event NetworkNotReady", event.message.as_str())
            .because(causes),
        );
    }
    let event = standing(cx, pod, &["FailedCreatePodSandBox"])?;
    // One or two in the first minute of a node are usual.
    if event.count < 3 && !cx.aged(pod, 120) {
        return None;
    }
    let message = event.message.trim_start_matches("Failed to create pod sandbox: ");
    let sentence = if message.contains("no IP addresses available") {
        format!("Node {node} has no address left for the pod.")
    } else if message.contains("no runtime for") {
        format!("Node {node} does not know the pod's runtime class.")
    } else {
        format!("Node {node} cannot set the pod up: {}", brief(message))
    };
    Some(
        Finding::critical("start.sandbox", pod, sentence)
            .since(event.last)
            .read("event FailedCreatePodSandBox", event.message.as_str())
            .advise(
                "look at the node's network pods",
                format!("kubectl get pods -n kube-system --field-selector spec.nodeName={node}"),
            ),
    )
}

/// An init container that has been running for long.
pub(super) fn init_waits(cx: Cx<'_>, container: Container<'_>) -> Option<Finding> {
    let started = time(&container.status["state"]["running"]["startedAt"]);
    if !container.is_init || !cx.older(started, GRACE_SLOW) {
        return None;
    }
    let initialized = condition(container.pod, "Initialized");
    let sentence = format!(
        "{} has been running for {}; the others wait for it to end.",
        container.called(),
        cx.age(started)
    );
    Some(
        Finding::warning("start.initwait", container.pod, sentence)
            .since(started)
            .read(condition_path("Initialized"), text(&initialized["message"]))
            .advise(
                "see what it waits for",
                format!(
                    "kubectl logs {} -n {} -c {}",
                    super::name(container.pod),
                    super::namespace(container.pod),
                    container.name()
                ),
            ),
    )
}

/// The exit code of the run before, when it has ended.
pub(super) fn exit(ending: &Value) -> i64 {
    int(&ending["exitCode"])
}
