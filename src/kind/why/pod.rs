//! Pods.

use serde_json::Value;

use super::event::Event;
use super::finding::{Finding, Fix, Severity, Thing};
use super::{
    Cx, GRACE, condition, condition_path, container, controller, crash, is, is_going, node, probe, reference, removal,
    scheduling, start, volume,
};
use crate::kind::field::{items, present, text, time};

/// What is wrong with a pod: the first of these that holds explains the others.
pub(super) fn pod(cx: Cx<'_>, pod: &Value) -> Vec<Finding> {
    if is_going(pod) {
        return removal::pod(cx, pod);
    }
    match text(&pod["status"]["phase"]) {
        "Succeeded" => return Vec::new(),
        "Failed" => return crash::failed(cx, pod),
        _ => {}
    }
    let node = text(&pod["spec"]["nodeName"]);
    if node.is_empty() {
        return scheduling::unscheduled(cx, pod);
    }
    if let Some(finding) = lost(cx, pod, node) {
        return vec![finding];
    }
    if let Some(finding) = unnoticed(cx, pod, node) {
        return vec![finding];
    }
    let mut findings = container::containers(cx, pod);
    if findings.is_empty() {
        findings.extend(start::sandbox(cx, pod).or_else(|| volume::mount(cx, pod)));
    }
    if findings.is_empty() {
        findings.extend(probe::gates(cx, pod));
    }
    if findings.is_empty() {
        findings.extend(reference::next_start(cx, pod));
    }
    findings.extend(resize(pod));
    findings.extend(disruption(cx, pod));
    findings
}

/// The node it is on does not report: what it last said of the pod is not true any more.
fn lost(cx: Cx<'_>, pod: &Value, node: &str) -> Option<Finding> {
    let host = cx.world.get("", "Node", "", node).there()?;
    let ready = condition(host, "Ready");
    if ready["status"] == "True" || !is(pod, "Ready", "False") && ready["status"] != "Unknown" {
        return None;
    }
    let cause = node::node(cx, host);
    let cause: Vec<Finding> = cause
        .into_iter()
        .filter(|finding| finding.severity == Severity::Critical)
        .collect();
    if cause.is_empty() {
        return None;
    }
    let sentence = format!("Node {node}, on which this pod runs, does not work.");
    Some(
        Finding::critical("probe.nodedown", pod, sentence)
            .since(time(&ready["lastTransitionTime"]))
            .read("spec.nodeName", node)
            .because(cause),
    )
}

/// It has a node, which has not begun with it.
fn unnoticed(cx: Cx<'_>, pod: &Value, node: &str) -> Option<Finding> {
    let placed = condition(pod, "PodScheduled");
    let placed = time(&placed["lastTransitionTime"]).or_else(|| time(&pod["metadata"]["creationTimestamp"]));
    let begun = present(&pod["status"]["startTime"]) || !items(&pod["status"]["containerStatuses"]).is_empty();
    if begun || !cx.older(placed, GRACE) {
        return None;
    }
    let absent = cx.world.get("", "Node", "", node).is_absent();
    let sentence = if absent {
        format!("The pod was given to node {node}, which does not exist.")
    } else {
        format!("Node {node} has not picked up this pod for {}.", cx.age(placed))
    };
    let me = Thing::of(pod);
    let finding = Finding::critical("start.nobody", pod, sentence)
        .since(placed)
        .read("spec.nodeName", node);
    Some(if absent {
        let command = format!("kubectl delete {}{}", me.argument(), me.flag());
        finding
            .advise("delete the pod, so that another is made elsewhere", command)
            .by(Fix::Delete(me))
    } else {
        finding.advise(
            "look whether the node's kubelet reports",
            format!("kubectl describe node {node}"),
        )
    })
}

/// A change of its resources that the node cannot make.
fn resize(pod: &Value) -> Option<Finding> {
    for (kind, status) in [("PodResizePending", "True"), ("PodResizeInProgress", "True")] {
        let condition = condition(pod, kind);
        let reason = text(&condition["reason"]);
        if condition["status"] != status || !matches!(reason, "Infeasible" | "Error") {
            continue;
        }
        let sentence = format!(
            "The new resources cannot be given: {}",
            super::brief(text(&condition["message"]))
        );
        return Some(
            Finding::warning("crash.resize", pod, sentence)
                .since(time(&condition["lastTransitionTime"]))
                .read(condition_path(kind), reason)
                .edit(&Thing::of(pod), "ask for less"),
        );
    }
    None
}

/// Somebody is about to take it away.
fn disruption(cx: Cx<'_>, pod: &Value) -> Option<Finding> {
    let target = condition(pod, "DisruptionTarget");
    if target["status"] != "True" {
        return None;
    }
    let why = text(&target["reason"]);
    let (cause, sentence) = match why {
        "PreemptionByScheduler" => ("sched.preempted", "A pod of higher priority takes this pod's place."),
        "DeletionByTaintManager" => (
            "crash.taintevict",
            "The pod's node has a taint that it tolerates no longer, so it is deleted.",
        ),
        "EvictionByEvictionAPI" => ("crash.evicted", "The pod is being evicted on request."),
        _ => return None,
    };
    let finding = Finding::warning(cause, pod, sentence)
        .since(time(&target["lastTransitionTime"]))
        .read(
            condition_path("DisruptionTarget"),
            format!("{why}: {}", text(&target["message"])),
        );
    Some(match cx.world.newest(pod, &["Preempted"]) {
        Some(event) => finding.read("event Preempted", event.message.as_str()),
        None => finding,
    })
}

/// The object whose template a pod is made from, as the user edits it: the Deployment of its ReplicaSet, or the pod itself.
pub(super) fn maker(cx: Cx<'_>, pod: &Value) -> Thing {
    let mut maker = Thing::of(pod);
    let mut object = Some(pod);
    while let Some(owner) = object.and_then(controller) {
        let group = text(&owner["apiVersion"])
            .rsplit_once('/')
            .map_or("", |(group, _)| group);
        let kind = text(&owner["kind"]);
        if kind == "Node" {
            break;
        }
        maker = Thing::new(group, kind, &maker.namespace, text(&owner["name"]));
        object = cx.world.get(group, kind, &maker.namespace, &maker.name).there();
        if object.is_none() && kind == "ReplicaSet" {
            // The name of a Deployment's ReplicaSet is the Deployment's and a hash.
            let hash = text(&pod["metadata"]["labels"]["pod-template-hash"]);
            if let Some(deployment) = maker
                .name
                .strip_suffix(&format!("-{hash}"))
                .filter(|_| !hash.is_empty())
            {
                return Thing::new("apps", "Deployment", &maker.namespace, deployment);
            }
        }
    }
    maker
}

/// `kubectl set image deploy/x c=...` and the like work on what has a template.
pub(super) fn has_template(thing: &Thing) -> bool {
    thing.kind != "Pod"
}

/// The newest event with one of these reasons that no later state of the pod contradicts.
pub(super) fn standing<'a>(cx: Cx<'a>, pod: &'a Value, reasons: &[&str]) -> Option<&'a Event> {
    let event = cx.world.newest(pod, reasons)?;
    let running = items(&pod["status"]["containerStatuses"])
        .iter()
        .filter_map(|status| time(&status["state"]["running"]["startedAt"]))
        .max();
    let all_run = items(&pod["status"]["containerStatuses"])
        .iter()
        .all(|status| status["state"]["running"].is_object());
    let superseded = all_run && running.is_some_and(|started| event.last.is_some_and(|last| last < started));
    (!superseded).then_some(event)
}
