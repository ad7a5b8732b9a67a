//! Nodes.

use super::Kind;
use crate::check::name::{label_value, qualified_name};
use crate::field::{Errors, Path};
use crate::json::{absent, blank, entries, existing, items, set, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use crate::resource::Fields;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};

pub(crate) struct Node;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

impl Kind for Node {
    fn default(&self, node: &mut Value) {
        if let Some(status) = existing(node, "status")
            && absent(status, "allocatable")
            && !absent(status, "capacity")
        {
            let capacity = status["capacity"].clone();
            set(status, "allocatable", capacity);
        }
        if absent(node, "spec") {
            set(node, "spec", json!({}));
        }
    }

    /// A kubelet registers its node with the status it has.
    fn keeps_status_on_create(&self) -> bool {
        true
    }

    fn validate(&self, node: &Value, errors: &mut Errors) {
        let path = Path::new("spec").child("taints");
        let mut seen = HashSet::new();
        for (i, taint) in items(&node["spec"]["taints"]).iter().enumerate() {
            let at = path.index(i);
            let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
            for problem in qualified_name(key) {
                errors.invalid(&at.child("key"), key, problem);
            }
            if let Some(problem) = label_value(value).into_iter().next() {
                errors.invalid(&at.child("value"), value, problem);
            }
            if effect.is_empty() {
                errors.required(&at.child("effect"), "");
            } else if !EFFECTS.contains(&effect) {
                errors.not_supported(&at.child("effect"), effect, EFFECTS);
            }
            if !seen.insert((key, effect)) {
                errors.duplicate(&at, taint.clone());
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            return;
        }
        self.validate(new, errors);
        for key in ["podCIDR", "podCIDRs", "providerID"] {
            if !blank(&old["spec"], key) && new["spec"][key] != old["spec"][key] {
                let detail = "node updates may not change this field once it is set";
                errors.forbidden(&Path::new("spec").child(key), detail);
            }
        }
    }

    fn fields(&self, node: &Value, fields: &mut Fields) {
        let unschedulable = node["spec"]["unschedulable"] == true;
        fields.add("spec.unschedulable", unschedulable.to_string());
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Status", "Whether the node takes pods."),
            Column::text("Roles", "What the node is for."),
            Column::AGE,
            Column::text("Version", "Version of the kubelet."),
            Column::text("Internal-IP", "Address inside the cluster.").wide(),
            Column::text("External-IP", "Address outside of the cluster.").wide(),
            Column::text("OS-Image", "Operating system of the node.").wide(),
            Column::text("Kernel-Version", "Kernel of the node.").wide(),
            Column::text("Container-Runtime", "What runs containers on the node.").wide(),
        ];
        COLUMNS.into()
    }

    fn row(&self, node: &Value, now: Timestamp) -> Row {
        let info = &node["status"]["nodeInfo"];
        let known = |key: &str| match text(info, key) {
            "" => json!("<unknown>"),
            value => json!(value),
        };
        Row::new(vec![
            json!(name_of(node)),
            json!(status(node)),
            json!(roles(node)),
            json!(age_of(node, now)),
            json!(text(info, "kubeletVersion")),
            json!(address(node, "InternalIP")),
            json!(address(node, "ExternalIP")),
            known("osImage"),
            known("kernelVersion"),
            known("containerRuntimeVersion"),
        ])
    }
}

fn status(node: &Value) -> String {
    let ready = items(&node["status"]["conditions"])
        .iter()
        .find(|c| text(c, "type") == "Ready");
    let mut status = match ready.map(|c| text(c, "status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Value) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in entries(&node["metadata"]["labels"]) {
        match key.strip_prefix(ROLE_PREFIX) {
            Some(role) if !role.is_empty() => roles.insert(role),
            None if key == ROLE_LABEL => roles.insert(value.as_str().unwrap_or_default()),
            _ => false,
        };
    }
    roles.remove("");
    if roles.is_empty() {
        return "<none>".to_owned();
    }
    roles.into_iter().collect::<Vec<_>>().join(",")
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    items(&node["status"]["addresses"])
        .iter()
        .find(|a| text(a, "type") == kind)
        .map_or("<none>", |a| text(a, "address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_state_and_roles() {
        let node = json!({
            "metadata": {"name": "n", "labels": {
                "node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "",
            }},
            "spec": {"unschedulable": true},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "nodeInfo": {"kubeletVersion": "v1.37.0", "osImage": "Linux"},
                "addresses": [{"type": "InternalIP", "address": "10.0.0.2"}],
            },
        });
        assert_eq!(
            Node.row(&node, Timestamp::UNIX_EPOCH).cells,
            [
                "n",
                "Ready,SchedulingDisabled",
                "control-plane,worker",
                "<unknown>",
                "v1.37.0",
                "10.0.0.2",
                "<none>",
                "Linux",
                "<unknown>",
                "<unknown>"
            ]
        );
        assert_eq!(status(&json!({})), "Unknown");
        assert_eq!(
            status(&json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}})),
            "NotReady"
        );
        assert_eq!(roles(&json!({})), "<none>");
    }

    #[test]
    fn taints_are_checked() {
        let node = json!({"spec": {"taints": [
            {"key": "k", "effect": "NoSchedule"}, {"key": "k", "effect": "NoSchedule"}, {"key": "l", "effect": "X"}, {"key": "m"},
        ]}});
        let mut errors = Errors::new();
        Node.validate(&node, &mut errors);
        let lines: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                r#"spec.taints[1]: Duplicate value: {"key":"k","effect":"NoSchedule"}"#,
                r#"spec.taints[2].effect: Unsupported value: "X": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#,
                "spec.taints[3].effect: Required value",
            ]
        );
    }

    #[test]
    fn what_a_node_has_is_what_it_can_give() {
        let mut node = json!({"status": {"capacity": {"cpu": "2"}}});
        Node.default(&mut node);
        assert_eq!(node["status"]["allocatable"], json!({"cpu": "2"}));
    }
}
