//! What workloads share: the pod template described, and the columns that say what it runs.

use serde::Deserialize;
use serde_json::Value;

use super::field::{items, present, text};
use super::page::Page;
use super::part::{Str, nullable};
use super::{container, describe, selector, volume};
use crate::store::Cell;

/// A pod template under its heading.
pub(super) fn describe(page: &mut Page, template: &Value) {
    page.head(0, "Pod Template:");
    let (metadata, spec) = (&template["metadata"], &template["spec"]);
    describe::labels(page, 1, "Labels", &metadata["labels"]);
    if present(&metadata["annotations"]) {
        describe::annotations(page, 1, "Annotations", &metadata["annotations"]);
    }
    page.field_if(1, "Service Account", text(&spec["serviceAccountName"]));
    if present(&spec["initContainers"]) {
        container::describe(
            page,
            "Init Containers",
            &spec["initContainers"],
            &Value::Null,
            &Value::Null,
        );
    }
    container::describe(page, "Containers", &spec["containers"], &Value::Null, &Value::Null);
    volume::describe(page, true, &spec["volumes"]);
    describe::spread(page, 1, &spec["topologySpreadConstraints"]);
    page.field_if(1, "Priority Class Name", text(&spec["priorityClassName"]));
    describe::labels(page, 1, "Node-Selectors", &spec["nodeSelector"]);
    describe::tolerations(page, 1, &spec["tolerations"]);
}

/// The pod template of an object, without the label that tells the templates of one deployment apart.
pub(super) fn own(object: &Value) -> Value {
    let mut template = object["spec"]["template"].clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.shift_remove("pod-template-hash");
    }
    template
}

/// The images of a template, one to a word.
pub(super) fn images(template: &Value) -> String {
    let images: Vec<_> = items(&template["spec"]["containers"])
        .iter()
        .map(|container| text(&container["image"]))
        .collect();
    images.join(", ")
}

/// What rows need of a workload's spec.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Spec<'a> {
    pub(super) replicas: Option<i64>,
    selector: Value,
    #[serde(borrow)]
    template: Template<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Template<'a> {
    #[serde(borrow)]
    spec: Pod<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Pod<'a> {
    #[serde(borrow, deserialize_with = "nullable")]
    containers: Vec<Container<'a>>,
    #[serde(rename = "nodeSelector")]
    nodes: Value,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Container<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow)]
    image: Str<'a>,
}

impl Spec<'_> {
    /// How many pods there should be: one unless it is said.
    pub(super) fn desired(&self) -> i64 {
        self.replicas.unwrap_or(1)
    }

    /// The nodes its pods may run on, as a selector.
    pub(super) fn nodes(&self) -> String {
        selector::query(&self.template.spec.nodes)
    }

    /// The cells CONTAINERS, IMAGES and SELECTOR.
    pub(super) fn cells(&self) -> [Cell; 3] {
        let join = |of: fn(&Container<'_>) -> String| {
            let words: Vec<_> = self.template.spec.containers.iter().map(of).collect();
            Cell::text(&words.join(","))
        };
        [
            join(|container| container.name.to_string()),
            join(|container| container.image.to_string()),
            Cell::text(&selector::query(&self.selector)),
        ]
    }
}

/// How many of the pods that `owner` controls are in which phase.
pub(super) fn phases(owner: &Value, pods: &[Value]) -> String {
    let owned = |pod: &&Value| {
        items(&pod["metadata"]["ownerReferences"])
            .iter()
            .any(|reference| reference["controller"] == true && reference["uid"] == owner["metadata"]["uid"])
    };
    let count = |phase: &str| {
        pods.iter()
            .filter(owned)
            .filter(|pod| pod["status"]["phase"] == phase)
            .count()
    };
    let (running, waiting) = (count("Running"), count("Pending"));
    format!(
        "{running} Running / {waiting} Waiting / {} Succeeded / {} Failed",
        count("Succeeded"),
        count("Failed")
    )
}

/// A count of pods for a ratio.
pub(super) fn pods(count: i64) -> u32 {
    u32::try_from(count.max(0)).unwrap_or(u32::MAX)
}
