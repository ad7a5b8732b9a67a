//! The containers of a pod: one cause for each, in the order in which the kubelet would stumble over them.

use serde_json::Value;

use super::finding::Finding;
use super::{Cx, crash, image, probe, reference, start};
use crate::kind::field::{by, int, items, text, yes};

/// One container of a pod, with its status where it has one.
#[derive(Clone, Copy)]
pub(super) struct Container<'a> {
    pub(super) pod: &'a Value,
    pub(super) spec: &'a Value,
    pub(super) status: &'a Value,
    /// Runs before the others and has to end.
    pub(super) is_init: bool,
}

impl<'a> Container<'a> {
    pub(super) fn name(&self) -> &'a str {
        text(&self.spec["name"])
    }

    /// Why it waits, and what is said about it.
    pub(super) fn waiting(&self) -> (&'a str, &'a str) {
        let waiting = &self.status["state"]["waiting"];
        (text(&waiting["reason"]), text(&waiting["message"]))
    }

    /// How it ended: now, or the last time.
    pub(super) fn ending(&self) -> &'a Value {
        match &self.status["state"]["terminated"] {
            Value::Null => &self.status["lastState"]["terminated"],
            ended => ended,
        }
    }

    pub(super) fn restarts(&self) -> i64 {
        int(&self.status["restartCount"])
    }

    /// Whether it does what it is for.
    pub(super) fn is_well(&self) -> bool {
        if self.is_init {
            self.status["state"]["terminated"]["exitCode"] == 0
        } else {
            yes(&self.status["ready"])
        }
    }

    /// `Container web` or `Init container migrate`.
    pub(super) fn called(&self) -> String {
        let what = if self.is_init { "Init container" } else { "Container" };
        format!("{what} {}", self.name())
    }

    /// The path of its status in the pod, for evidence.
    pub(super) fn path(&self, field: &str) -> String {
        let list = if self.spec["restartPolicy"] == "Always" || self.is_init {
            "initContainerStatuses"
        } else {
            "containerStatuses"
        };
        format!("status.{list}[{}].{field}", self.name())
    }

    /// The path of one of its fields in the pod's spec, for evidence.
    pub(super) fn spec_path(&self, field: &str) -> String {
        let list = if self.spec["restartPolicy"] == "Always" || self.is_init {
            "initContainers"
        } else {
            "containers"
        };
        format!("spec.{list}[{}].{field}", self.name())
    }
}

/// All containers of a pod in the order in which they start.
pub(super) fn all(pod: &Value) -> impl Iterator<Item = Container<'_>> {
    [
        ("initContainers", "initContainerStatuses"),
        ("containers", "containerStatuses"),
    ]
    .into_iter()
    .flat_map(move |(list, statuses)| {
        items(&pod["spec"][list]).iter().map(move |spec| Container {
            pod,
            spec,
            status: by(&pod["status"][statuses], "name", text(&spec["name"])).unwrap_or(&Value::Null),
            is_init: list == "initContainers" && spec["restartPolicy"] != "Always",
        })
    })
}

/// What is wrong with the containers. While an init container has not ended, those after it have done nothing yet.
pub(super) fn containers(cx: Cx<'_>, pod: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    for container in all(pod) {
        if container.is_well() {
            findings.extend(crash::flapping(cx, container));
        } else if let Some(finding) = one(cx, container) {
            findings.push(finding);
        }
        if container.is_init && !container.is_well() {
            break;
        }
    }
    if findings.is_empty() {
        findings.extend(crash::unfinished(cx, pod));
    }
    findings
}

/// The cause for one container.
fn one(cx: Cx<'_>, container: Container<'_>) -> Option<Finding> {
    let cause = reference::unconfigured(cx, container)
        .or_else(|| image::unpulled(cx, container))
        .or_else(|| start::uncreated(cx, container))
        .or_else(|| crash::out_of_memory(cx, container))
        .or_else(|| probe::killed(cx, container))
        .or_else(|| crash::ended(cx, container))
        .or_else(|| probe::unready(cx, container))
        .or_else(|| start::init_waits(cx, container))?;
    if !container.is_init || cause.cause.starts_with("start.init") {
        return Some(cause);
    }
    let severity = cause.severity;
    let sentence = format!(
        "{} does not succeed, so the pod's own containers do not start.",
        container.called()
    );
    Some(
        Finding::new("start.initfail", severity, container.pod, sentence)
            .since(cause.since)
            .because(vec![cause]),
    )
}
