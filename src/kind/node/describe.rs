//! A node described, in the order and words of `kubectl describe node`.

use serde_json::Value;

use super::{resources, roles};
use crate::document::Document;
use crate::kind::field::{items, or_none, pairs, present, scalar, text, time, yes};
use crate::kind::page::Page;
use crate::kind::{Subject, describe};
use crate::theme::Role;

const SYSTEM: &[(&str, &str)] = &[
    ("Machine ID", "machineID"),
    ("System UUID", "systemUUID"),
    ("Boot ID", "bootID"),
    ("Kernel Version", "kernelVersion"),
    ("OS Image", "osImage"),
    ("Operating System", "operatingSystem"),
    ("Architecture", "architecture"),
    ("Container Runtime Version", "containerRuntimeVersion"),
    ("Kubelet Version", "kubeletVersion"),
    ("Kube-Proxy Version", "kubeProxyVersion"),
];

pub(super) fn describe(subject: &Subject<'_>) -> Document {
    let node = subject.object;
    let (metadata, spec, status) = (&node["metadata"], &node["spec"], &node["status"]);
    let mut page = Page::new(&subject.zone);
    page.field(0, "Name", text(&metadata["name"]));
    let roles = roles(
        pairs(&metadata["labels"])
            .into_iter()
            .map(|(key, value)| (key, text(value))),
    );
    page.field(0, "Roles", or_none(&roles));
    describe::labels(&mut page, 0, "Labels", &metadata["labels"]);
    describe::annotations(&mut page, 0, "Annotations", &metadata["annotations"]);
    let created = page.moment(time(&metadata["creationTimestamp"]));
    page.field(0, "CreationTimestamp", &created);
    taints(&mut page, &spec["taints"]);
    let unschedulable = yes(&spec["unschedulable"]);
    page.field_as(
        0,
        "Unschedulable",
        if unschedulable { Role::Warning } else { Role::Value },
        &unschedulable.to_string(),
    );
    let related = subject.related.unwrap_or_default();
    if let Some(lease) = related.iter().find(|object| object["kind"] == "Lease") {
        self::lease(&mut page, &lease["spec"]);
    }
    conditions(&mut page, &status["conditions"]);
    page.head(0, "Addresses:");
    for address in items(&status["addresses"]) {
        page.field(1, text(&address["type"]), text(&address["address"]));
    }
    for (title, list) in [
        ("Capacity:", &status["capacity"]),
        ("Allocatable:", &status["allocatable"]),
    ] {
        if present(list) {
            page.head(0, title);
            for (name, quantity) in pairs(list) {
                page.field(1, name, &scalar(quantity));
            }
        }
    }
    page.head(0, "System Info:");
    for (title, key) in SYSTEM {
        // Servers no longer tell the version of the proxy, which they never knew.
        if *key != "kubeProxyVersion" || present(&status["nodeInfo"][key]) {
            page.field(1, title, text(&status["nodeInfo"][key]));
        }
    }
    page.field_if(0, "PodCIDR", text(&spec["podCIDR"]));
    let ranges: Vec<_> = items(&spec["podCIDRs"]).iter().map(text).collect();
    page.field_if(0, "PodCIDRs", &ranges.join(","));
    page.field_if(0, "ProviderID", text(&spec["providerID"]));
    if subject.related.is_some() {
        resources::describe(&mut page, node, related, subject.now);
    }
    describe::events(&mut page, subject);
    page.finish()
}

/// `key=value:effect`
pub(super) fn taint(taint: &Value) -> String {
    let (key, value, effect) = (text(&taint["key"]), text(&taint["value"]), text(&taint["effect"]));
    let value = if value.is_empty() {
        String::new()
    } else {
        format!("={value}")
    };
    let effect = if effect.is_empty() {
        String::new()
    } else {
        format!(":{effect}")
    };
    format!("{key}{value}{effect}")
}

fn taints(page: &mut Page, taints: &Value) {
    let mut sorted: Vec<&Value> = items(taints).iter().collect();
    sorted.sort_by_key(|taint| (text(&taint["effect"]), text(&taint["key"])));
    let lines: Vec<_> = sorted.into_iter().map(taint).collect();
    page.list(0, "Taints", &lines);
}

fn lease(page: &mut Page, spec: &Value) {
    page.head(0, "Lease:");
    page.field(
        1,
        "HolderIdentity",
        if present(&spec["holderIdentity"]) {
            text(&spec["holderIdentity"])
        } else {
            "<unset>"
        },
    );
    for (title, key) in [("AcquireTime", "acquireTime"), ("RenewTime", "renewTime")] {
        let moment = time(&spec[key]).map_or_else(|| "<unset>".into(), |at| page.moment(Some(at)));
        page.field(1, title, &moment);
    }
}

fn conditions(page: &mut Page, conditions: &Value) {
    if !present(conditions) {
        return;
    }
    page.head(0, "Conditions:");
    let rows: Vec<_> = items(conditions)
        .iter()
        .map(|condition| {
            let (kind, status) = (text(&condition["type"]), text(&condition["status"]));
            let good = if kind == "Ready" { "True" } else { "False" };
            // The space is kubectl's: it sets its columns three apart here.
            vec![
                (Role::Field, format!("{kind} ")),
                (describe::condition_role(status, good), format!("{status} ")),
                (
                    Role::Dim,
                    format!("{} ", page.moment(time(&condition["lastHeartbeatTime"]))),
                ),
                (
                    Role::Dim,
                    format!("{} ", page.moment(time(&condition["lastTransitionTime"]))),
                ),
                (Role::Value, format!("{} ", text(&condition["reason"]))),
                (Role::Value, text(&condition["message"]).to_owned()),
            ]
        })
        .collect();
    page.table(
        1,
        &[
            "Type",
            "Status",
            "LastHeartbeatTime",
            "LastTransitionTime",
            "Reason",
            "Message",
        ],
        &rows,
    );
}
