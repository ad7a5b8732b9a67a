//! Nodes.

use serde_json::{Value, json};

use super::finding::{Finding, Fix, Thing};
use super::{Cx, GRACE, brief, condition_path, count, name, scheduling};
use crate::kind::field::{items, text, time, yes};

/// Conditions that are bad when they are true, and what they mean. Others of unknown meaning are left alone.
const PRESSURES: &[(&str, &str, &str)] = &[
    ("MemoryPressure", "node.pressure", "is short of memory"),
    ("DiskPressure", "node.pressure", "is short of disk space"),
    ("PIDPressure", "node.pressure", "is short of process numbers"),
    ("NetworkUnavailable", "node.cni", "has no route for its pods"),
    ("KernelDeadlock", "node.extra", "reports a deadlock of its kernel"),
    (
        "ReadonlyFilesystem",
        "node.extra",
        "reports that its file system became read-only",
    ),
    (
        "FrequentKubeletRestart",
        "node.extra",
        "reports that its kubelet restarts often",
    ),
    (
        "FrequentContainerdRestart",
        "node.extra",
        "reports that its container runtime restarts often",
    ),
];

/// What is wrong with a node.
pub(super) fn node(cx: Cx<'_>, node: &Value) -> Vec<Finding> {
    if let Some(finding) = unready(cx, node) {
        return vec![finding];
    }
    let mut findings: Vec<Finding> = items(&node["status"]["conditions"])
        .iter()
        .filter(|condition| condition["status"] == "True")
        .filter_map(|condition| {
            let kind = text(&condition["type"]);
            let (_, cause, what) = PRESSURES.iter().find(|(known, ..)| *known == kind)?;
            let consequence = match *cause {
                "node.pressure" => ": it takes no new pods, and may evict some",
                _ => "",
            };
            Some(
                Finding::critical(cause, node, format!("Node {} {what}{consequence}.", name(node)))
                    .since(time(&condition["lastTransitionTime"]))
                    .read(condition_path(kind), text(&condition["message"])),
            )
        })
        .collect();
    findings.extend(out_of_memory(cx, node));
    findings.extend(skew(cx, node));
    if findings.is_empty() {
        findings.extend(cordoned(node));
    }
    findings
}

fn unready(cx: Cx<'_>, node: &Value) -> Option<Finding> {
    let ready = super::condition(node, "Ready");
    let since = time(&ready["lastTransitionTime"]);
    let message = text(&ready["message"]);
    let name = name(node);
    let pods = cx
        .world
        .all("", "Pod")
        .iter()
        .filter(|pod| pod["spec"]["nodeName"] == *name)
        .count();
    let affected = match pods {
        0 => String::new(),
        1 => " The pod on it is affected.".to_owned(),
        _ => format!(" {} on it are affected.", count(pods, "pod")),
    };
    let finding = match text(&ready["status"]) {
        "True" => return None,
        "Unknown" => {
            let sentence = format!("Node {name} stopped reporting {} ago.{affected}", cx.age(since));
            Finding::critical("node.down", node, sentence)
                .read(condition_path("Ready"), format!("Unknown {message}"))
                .advise("start the machine or its kubelet again", "")
                .advise(
                    "if the machine is surely off, say so: its pods and volumes are then given up",
                    format!("kubectl taint node {name} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"),
                )
                .dangerous()
        }
        "False" if message.contains("NetworkPluginNotReady") || message.contains("cni plugin not initialized") => {
            Finding::critical("node.cni", node, format!("Node {name} waits for its network plugin."))
                .read(condition_path("Ready"), message)
                .advise(
                    "look at the network plugin's pod there",
                    format!("kubectl get pods -n kube-system --field-selector spec.nodeName={name}"),
                )
        }
        "False" => {
            let why = if message.contains("container runtime is down") || message.contains("PLEG is not healthy") {
                "its container runtime does not answer".to_owned()
            } else {
                brief(message)
            };
            Finding::critical(
                "node.notready",
                node,
                format!("Node {name} is not ready: {why}.{affected}").replace("..", "."),
            )
            .read(condition_path("Ready"), message)
            .advise("look at the kubelet's log on the machine", "journalctl -u kubelet")
        }
        // It has joined, and nothing has been reported yet.
        _ if !cx.aged(node, 3 * GRACE) => return None,
        _ => Finding::critical("node.down", node, format!("Node {name} has never reported."))
            .read(condition_path("Ready"), "not set"),
    };
    // A node that joins or restarts is not ready for a while.
    (cx.aged(node, 3 * GRACE) || cx.older(since, GRACE)).then(|| finding.since(since))
}

fn out_of_memory(cx: Cx<'_>, node: &Value) -> Option<Finding> {
    let event = cx.world.newest(node, &["SystemOOM"])?;
    if cx.older(event.last, super::RECENT) {
        return None;
    }
    let victim = event
        .message
        .split_once("victim process: ")
        .map_or("a process", |(_, rest)| rest.split(',').next().unwrap_or(rest));
    let sentence = format!(
        "Node {} ran out of memory {} ago and killed {victim}.",
        name(node),
        cx.age(event.last)
    );
    Some(
        Finding::warning("node.oom", node, sentence)
            .since(event.last)
            .read("event SystemOOM", event.message.as_str())
            .advise(
                "see what uses memory there",
                format!("kubectl top pods -A --field-selector spec.nodeName={}", name(node)),
            ),
    )
}

/// The minor version in `v1.36.2`.
fn minor(version: &str) -> Option<i64> {
    version.trim_start_matches('v').split('.').nth(1)?.parse().ok()
}

/// A kubelet too far from the others: three minor versions is what Kubernetes supports.
fn skew(cx: Cx<'_>, node: &Value) -> Option<Finding> {
    let version = |node: &Value| text(&node["status"]["nodeInfo"]["kubeletVersion"]).to_owned();
    let mine = version(node);
    let newest = cx
        .world
        .all("", "Node")
        .iter()
        .map(version)
        .max_by_key(|version| minor(version))?;
    let behind = minor(&newest)? - minor(&mine)?;
    (behind > 3).then(|| {
        let sentence = format!("Node {} runs {mine}, too old beside {newest} on another.", name(node));
        Finding::warning("node.skew", node, sentence).read("status.nodeInfo.kubeletVersion", mine)
    })
}

fn cordoned(node: &Value) -> Option<Finding> {
    if !yes(&node["spec"]["unschedulable"]) {
        return None;
    }
    let taint = items(&node["spec"]["taints"])
        .iter()
        .find(|taint| taint["key"] == "node.kubernetes.io/unschedulable");
    let since = taint.and_then(|taint| time(&taint["timeAdded"]));
    let finding = Finding::note(
        "node.cordoned",
        node,
        format!("Node {} is cordoned: it takes no new pods.", name(node)),
    )
    .since(since)
    .read("spec.unschedulable", "true");
    let finding = match taint {
        Some(taint) => finding.read("spec.taints", scheduling::taint_text(taint)),
        None => finding,
    };
    Some(
        finding
            .advise("let it take pods again", format!("kubectl uncordon {}", name(node)))
            .by(Fix::Merge {
                target: Thing::of(node),
                subresource: None,
                patch: json!({"spec": {"unschedulable": null}}),
            }),
    )
}
