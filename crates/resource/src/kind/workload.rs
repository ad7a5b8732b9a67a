//! What ReplicaSets and Deployments share: a number of replicas, a selector and a template.

use super::pod::{Place, default_spec, validate_spec};
use crate::check::label::{not_negative, selects_everything, validate_annotations, validate_labels, validate_selector};
use crate::field::{Errors, Path};
use crate::json::{absent, equal, existing, items, object, set, text};
use crate::printer::Column;
use crate::selector::LabelSelector;
use serde_json::{Value, json};

/// Columns that only `-o wide` shows.
pub(super) const WIDE: [Column; 3] = [
    Column::text("Containers", "Names of the containers in the template.").wide(),
    Column::text("Images", "Images of the containers in the template.").wide(),
    Column::text("Selector", "Labels of the pods that belong to it.").wide(),
];

pub(super) fn default(workload: &mut Value) {
    let Some(spec) = object(workload, "spec") else { return };
    if absent(spec, "replicas") {
        set(spec, "replicas", 1);
    }
    if let Some(template) = object(spec, "template") {
        if absent(template, "metadata") {
            set(template, "metadata", json!({}));
        }
        if let Some(pod) = existing(template, "spec") {
            default_spec(pod);
        }
    }
}

/// `word` is what the message calls the kind.
pub(super) fn validate(workload: &Value, word: &str, errors: &mut Errors) {
    let path = Path::new("spec");
    let spec = &workload["spec"];
    not_negative(spec, "replicas", &path, errors);
    not_negative(spec, "minReadySeconds", &path, errors);
    let (selector, at) = (&spec["selector"], path.child("selector"));
    if !selector.is_object() {
        errors.required(&at, "");
    } else {
        validate_selector(selector, &at, errors);
        if selects_everything(selector) {
            errors.invalid(&at, selector.clone(), format!("empty selector is invalid for {word}"));
        }
    }
    let (template, at) = (&spec["template"], path.child("template"));
    let labels = &template["metadata"]["labels"];
    let matched = match LabelSelector::from_object(selector) {
        Some(selector) => selector.matches(labels),
        None => false,
    };
    if !matched {
        let shown = if labels.is_null() { json!({}) } else { labels.clone() };
        let detail = "`selector` does not match template `labels`";
        errors.invalid(&at.child("metadata").child("labels"), shown, detail);
    }
    let meta = at.child("metadata");
    validate_labels(labels, &meta.child("labels"), errors);
    validate_annotations(&template["metadata"]["annotations"], &meta.child("annotations"), errors);
    validate_spec(&template["spec"], &at.child("spec"), Place::Template, errors);
    if !absent(&template["spec"], "activeDeadlineSeconds") {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.forbidden(&at.child("spec").child("activeDeadlineSeconds"), detail);
    }
}

/// A workload that could change its selector would lose sight of its pods.
pub(super) fn validate_same_selector(new: &Value, old: &Value, errors: &mut Errors) {
    if !equal(&new["spec"]["selector"], &old["spec"]["selector"]) {
        let path = Path::new("spec").child("selector");
        errors.invalid(&path, new["spec"]["selector"].clone(), "field is immutable");
    }
}

/// Counts in a status.
pub(super) fn validate_counts(workload: &Value, keys: &[&str], errors: &mut Errors) {
    for key in keys {
        not_negative(&workload["status"], key, &Path::new("status"), errors);
    }
}

pub(super) fn wide_cells(workload: &Value) -> [Value; 3] {
    let containers = items(&workload["spec"]["template"]["spec"]["containers"]);
    let list = |key: &str| {
        let values: Vec<&str> = containers.iter().map(|c| text(c, key)).collect();
        json!(values.join(","))
    };
    [
        list("name"),
        list("image"),
        json!(selector(&workload["spec"]["selector"])),
    ]
}

/// A selector as text.
pub(super) fn selector(selector: &Value) -> String {
    match LabelSelector::from_object(selector) {
        Some(parsed) if !parsed.is_empty() => parsed.to_string(),
        Some(_) | None if selector.is_null() || selects_everything(selector) => "<none>".to_owned(),
        _ => "<error>".to_owned(),
    }
}
/// Warnings of the pod template, told when it changes.
pub(super) fn warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let template = &object["spec"]["template"];
    if old.is_some_and(|old| old["spec"]["template"] == *template) {
        return Vec::new();
    }
    super::pod::warnings_of(template, &Path::new("spec").child("template"))
}
