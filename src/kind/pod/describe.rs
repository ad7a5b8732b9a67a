//! A pod described, in the order and words of `kubectl describe pod`.

use serde_json::Value;

use crate::document::Document;
use crate::kind::field::{by, controller, int, items, or_none, present, text, time};
use crate::kind::page::Page;
use crate::kind::{Subject, container, describe, volume};
use crate::text::age;
use crate::theme::Role;

pub(super) fn describe(subject: &Subject<'_>) -> Document {
    let pod = subject.object;
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let mut page = Page::new(&subject.zone);
    identity(&mut page, pod);
    condition_in_words(&mut page, pod, subject);
    container::seccomp(&mut page, 0, &spec["securityContext"]["seccompProfile"]);
    page.field(0, "IP", text(&status["podIP"]));
    addresses(&mut page, &status["podIPs"]);
    page.field_if(0, "Controlled By", &controller(pod));
    page.field_if(0, "NominatedNodeName", text(&status["nominatedNodeName"]));
    if spec["resources"].is_object() {
        page.head(0, "Resources:");
        container::resources(&mut page, 1, &spec["resources"]);
    }
    for (title, list, statuses) in [
        ("Init Containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
        (
            "Ephemeral Containers",
            "ephemeralContainers",
            "ephemeralContainerStatuses",
        ),
    ] {
        if list == "containers" || present(&spec[list]) {
            container::describe(&mut page, title, &spec[list], &status[statuses], pod);
        }
    }
    gates(&mut page, pod);
    conditions(&mut page, &status["conditions"]);
    volume::describe(&mut page, false, &spec["volumes"]);
    page.field(0, "QoS Class", text(&status["qosClass"]));
    describe::labels(&mut page, 0, "Node-Selectors", &spec["nodeSelector"]);
    describe::tolerations(&mut page, 0, &spec["tolerations"]);
    describe::spread(&mut page, 0, &spec["topologySpreadConstraints"]);
    describe::events(&mut page, subject);
    page.finish()
}

fn identity(page: &mut Page, pod: &Value) {
    let (metadata, spec, status) = (&pod["metadata"], &pod["spec"], &pod["status"]);
    page.field(0, "Name", text(&metadata["name"]));
    page.field(0, "Namespace", text(&metadata["namespace"]));
    if let Some(priority) = spec["priority"].as_i64() {
        page.field(0, "Priority", &priority.to_string());
    }
    page.field_if(0, "Priority Class Name", text(&spec["priorityClassName"]));
    page.field_if(0, "Runtime Class Name", text(&spec["runtimeClassName"]));
    page.field_if(0, "Service Account", text(&spec["serviceAccountName"]));
    match text(&spec["nodeName"]) {
        "" => page.field_as(0, "Node", Role::Dim, "<none>"),
        node => page.field(0, "Node", &format!("{node}/{}", text(&status["hostIP"]))),
    }
    if let Some(started) = time(&status["startTime"]) {
        let started = page.moment(Some(started));
        page.field(0, "Start Time", &started);
    }
    describe::labels(page, 0, "Labels", &metadata["labels"]);
    describe::annotations(page, 0, "Annotations", &metadata["annotations"]);
}

fn condition_in_words(page: &mut Page, pod: &Value, subject: &Subject<'_>) {
    let (metadata, status) = (&pod["metadata"], &pod["status"]);
    let phase = text(&status["phase"]);
    match time(&metadata["deletionTimestamp"]) {
        Some(deleted) if !matches!(phase, "Failed" | "Succeeded") => {
            page.field_as(
                0,
                "Status",
                Role::Progress,
                &format!("Terminating (lasts {})", age(deleted, subject.now)),
            );
            let grace = int(&metadata["deletionGracePeriodSeconds"]);
            page.field(0, "Termination Grace Period", &format!("{grace}s"));
        }
        _ => {
            let role = match phase {
                "Running" => Role::Good,
                "Succeeded" => Role::Done,
                "Pending" => Role::Progress,
                "Failed" => Role::Failed,
                _ => Role::Unknown,
            };
            page.field_as(0, "Status", role, phase);
        }
    }
    if present(&status["reason"]) {
        page.field_as(0, "Reason", Role::Warning, text(&status["reason"]));
    }
    page.field_if(0, "Message", text(&status["message"]));
}

fn addresses(page: &mut Page, addresses: &Value) {
    if !present(addresses) {
        page.field_as(0, "IPs", Role::Dim, "<none>");
        return;
    }
    page.line(0, Role::Field, "IPs:");
    for address in items(addresses) {
        page.field(1, "IP", text(&address["ip"]));
    }
}

fn gates(page: &mut Page, pod: &Value) {
    if !present(&pod["spec"]["readinessGates"]) {
        return;
    }
    page.head(0, "Readiness Gates:");
    page.cells(1, &[(Role::Header, "Type"), (Role::Header, "Status")]);
    for gate in items(&pod["spec"]["readinessGates"]) {
        let kind = text(&gate["conditionType"]);
        let met = by(&pod["status"]["conditions"], "type", kind).map_or("", |condition| text(&condition["status"]));
        page.cells(
            1,
            &[
                (Role::Field, &format!("{kind} ")),
                (describe::condition_role(met, "True"), or_none(met)),
            ],
        );
    }
}

fn conditions(page: &mut Page, conditions: &Value) {
    if !present(conditions) {
        return;
    }
    page.head(0, "Conditions:");
    page.cells(1, &[(Role::Header, "Type"), (Role::Header, "Status")]);
    for condition in items(conditions) {
        let status = text(&condition["status"]);
        let role = if condition["reason"] == "PodCompleted" {
            Role::Value
        } else {
            describe::condition_role(status, "True")
        };
        page.cells(
            1,
            &[(Role::Field, &format!("{} ", text(&condition["type"]))), (role, status)],
        );
    }
}
