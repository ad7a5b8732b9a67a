//! Nodes.

mod describe;
mod resources;

pub(super) use resources::shares;

use serde::Deserialize;
use serde_json::Value;

use super::brief::Brief;
use super::field::{by, items, pairs, scalar, text};
use super::part::{Condition, Meta, Str, condition, parse};
use super::{Column, Drill, Kind, Related, Subject};
use crate::document::Document;
use crate::store::{Cell, Health, Object};
use crate::text::parse_quantity;
use crate::theme::Role;

pub(super) static KIND: Kind = Kind {
    group: "",
    plural: "nodes",
    columns: &[
        Column::text("NAME", 16, 0),
        Column::text("STATUS", 8, 1),
        Column::text("ROLES", 8, 3),
        Column::number("AGE", 5, 2),
        Column::text("VERSION", 8, 4),
        Column::text("INTERNAL-IP", 11, 5).wide(),
        Column::text("EXTERNAL-IP", 11, 9).wide(),
        Column::text("OS-IMAGE", 10, 7).wide(),
        Column::text("KERNEL-VERSION", 14, 8).wide(),
        Column::text("CONTAINER-RUNTIME", 17, 6).wide(),
    ],
    row,
    related: |object| {
        let name = text(&object["metadata"]["name"]);
        vec![
            Related::new("", "pods", &Value::Null).fields(format!("spec.nodeName={name}")),
            Related::new("coordination.k8s.io", "leases", &Value::from("kube-node-lease"))
                .fields(format!("metadata.name={name}")),
        ]
    },
    describe: describe::describe,
    summary,
    drill: Drill::NodePods,
    sort: None,
};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Node<'a> {
    #[serde(borrow)]
    metadata: NodeMeta<'a>,
    spec: Spec,
    #[serde(borrow)]
    status: Status<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeMeta<'a> {
    #[serde(flatten)]
    common: Meta,
    #[serde(borrow)]
    labels: std::collections::BTreeMap<std::borrow::Cow<'a, str>, Str<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec {
    unschedulable: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status<'a> {
    #[serde(borrow)]
    conditions: Vec<Condition<'a>>,
    #[serde(borrow)]
    addresses: Vec<Address<'a>>,
    #[serde(borrow, rename = "nodeInfo")]
    info: Info<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Address<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    #[serde(borrow)]
    address: Str<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Info<'a> {
    #[serde(borrow, rename = "kubeletVersion")]
    version: Str<'a>,
    #[serde(borrow, rename = "osImage")]
    image: Str<'a>,
    #[serde(borrow, rename = "kernelVersion")]
    kernel: Str<'a>,
    #[serde(borrow, rename = "containerRuntimeVersion")]
    runtime: Str<'a>,
}

fn row(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let node: Node<'_> = parse(&json);
    let address = |kind: &str| {
        let found = node.status.addresses.iter().find(|address| &*address.kind == kind);
        Cell::text(found.map_or("", |found| &found.address))
    };
    let (health, word) = told(&node);
    let info = &node.status.info;
    let roles = roles(node.metadata.labels.iter().map(|(key, value)| (&**key, &**value)));
    let cells = vec![
        Cell::text(&object.id.name),
        Cell::status(health, &word),
        Cell::text(&roles),
        node.metadata.common.created.cell(),
        Cell::text(&info.version),
        address("InternalIP"),
        address("ExternalIP"),
        Cell::text(&info.image),
        Cell::text(&info.kernel),
        Cell::text(&info.runtime),
    ];
    (health, cells)
}

/// The STATUS of a node, as `kubectl get` has it, and its health.
fn told(node: &Node<'_>) -> (Health, String) {
    let conditions = &node.status.conditions;
    let (mut health, ready) = match condition(conditions, "Ready").map(|ready| &*ready.status) {
        Some("True") => (Health::Good, "Ready"),
        // The kubelet has stopped telling: the node controller makes that Unknown, and evicts.
        Some("False" | "Unknown") => (Health::Failed, "NotReady"),
        _ => (Health::Unknown, "Unknown"),
    };
    let pressed = conditions
        .iter()
        .any(|condition| &*condition.kind != "Ready" && &*condition.status == "True");
    if health == Health::Good && (pressed || node.spec.unschedulable) {
        health = Health::Warning;
    }
    (
        health,
        if node.spec.unschedulable {
            format!("{ready},SchedulingDisabled")
        } else {
            ready.into()
        },
    )
}

/// The roles that labels give: `node-role.kubernetes.io/ROLE` or `kubernetes.io/role=ROLE`.
fn roles<'l>(labels: impl Iterator<Item = (&'l str, &'l str)>) -> String {
    let mut roles: Vec<&str> = labels
        .filter_map(|(key, value)| match key {
            "kubernetes.io/role" => Some(value),
            _ => key.strip_prefix("node-role.kubernetes.io/"),
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    roles.join(",")
}

/// An amount as people read it: bytes with a unit that suits them.
fn shown(resource: &str, quantity: &Value) -> String {
    let written = scalar(quantity);
    let is_bytes = ["memory", "storage", "hugepages"].iter().any(|word| resource.contains(word));
    let bytes = parse_quantity(&written).and_then(|thousandths| u64::try_from(thousandths / 1000).ok());
    match bytes.filter(|_| is_bytes) {
        Some(bytes) => crate::text::bytes(bytes),
        None => written.into_owned(),
    }
}

fn summary(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let status = &object["status"];
    let mut brief = Brief::new(subject.now);
    if let Ok(node) = Node::deserialize(object) {
        let (health, word) = told(&node);
        brief.headline(health, &word.replace(',', ", "));
    }
    let ready = by(&status["conditions"], "type", "Ready").unwrap_or(&Value::Null);
    if ready["status"] != "True" {
        brief.say(Role::Text, text(&ready["message"]));
    }
    for taint in items(&object["spec"]["taints"]) {
        brief.pair_as("taint", Role::Warning, &describe::taint(taint));
    }
    brief.conditions(&status["conditions"], |kind| kind != "Ready");
    brief.gap();
    let allocatable = &status["allocatable"];
    for (name, quantity) in pairs(&status["capacity"]) {
        let (total, free) = (shown(name, quantity), shown(name, &allocatable[name]));
        let line = if free.is_empty() || free == total {
            total
        } else {
            format!("{free} of {total}")
        };
        brief.pair(name, &line);
    }
    let info = &status["nodeInfo"];
    brief.gap();
    for address in items(&status["addresses"])
        .iter()
        .filter(|address| address["type"] != "Hostname")
    {
        brief.pair(text(&address["type"]), text(&address["address"]));
    }
    brief.pair("kubelet", text(&info["kubeletVersion"]));
    brief.pair("runtime", text(&info["containerRuntimeVersion"]));
    brief.pair(
        "system",
        &[text(&info["osImage"]), text(&info["kernelVersion"])].join("  "),
    );
    brief.finish()
}
