//! What the workloads share: a number of replicas, a selector and a template.

use super::pod::{Place, default_spec, validate_spec};
use crate::check::label::{not_negative, selects_everything, validate_annotations, validate_labels, validate_selector};
use crate::field::{Errors, Path};
use crate::json::{absent, equal, existing, items, object, set, text};
use crate::printer::Column;
use crate::selector::LabelSelector;
use serde_json::{Value, json};

pub(super) const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

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
    default_template(spec);
}

/// The defaults of the `template` in a spec.
pub(super) fn default_template(spec: &mut Value) {
    let Some(template) = object(spec, "template") else {
        return;
    };
    if absent(template, "metadata") {
        set(template, "metadata", json!({}));
    }
    if let Some(pod) = existing(template, "spec") {
        default_spec(pod);
    }
}

/// `word` is what messages about the selector call the kind, `kind` what those about the template do.
pub(super) fn validate(workload: &Value, word: &str, kind: &str, errors: &mut Errors) {
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
    validate_matching_template(spec, &path, errors);
    validate_always_restarts(spec, kind, &path, errors);
}

/// A template that the selector beside it must select.
pub(super) fn validate_matching_template(spec: &Value, path: &Path, errors: &mut Errors) {
    let (template, at) = (&spec["template"], path.child("template"));
    let labels = &template["metadata"]["labels"];
    let matched = match LabelSelector::from_object(&spec["selector"]) {
        Some(selector) => selector.matches(labels),
        None => false,
    };
    if !matched {
        let shown = if labels.is_null() { json!({}) } else { labels.clone() };
        let detail = "`selector` does not match template `labels`";
        errors.invalid(&at.child("metadata").child("labels"), shown, detail);
    }
    validate_template(template, &at, errors);
}

/// A `PodTemplateSpec`.
pub(super) fn validate_template(template: &Value, path: &Path, errors: &mut Errors) {
    let meta = path.child("metadata");
    validate_labels(&template["metadata"]["labels"], &meta.child("labels"), errors);
    validate_annotations(&template["metadata"]["annotations"], &meta.child("annotations"), errors);
    validate_spec(&template["spec"], &path.child("spec"), Place::Template, errors);
}

/// Pods that are replaced when they end must never end by themselves.
pub(super) fn validate_always_restarts(spec: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    let (pod, path) = (&spec["template"]["spec"], path.child("template").child("spec"));
    let restart = text(pod, "restartPolicy");
    if matches!(restart, "OnFailure" | "Never") {
        errors.not_supported(&path.child("restartPolicy"), restart, &["Always"]);
    }
    if !absent(pod, "activeDeadlineSeconds") {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(&path.child("activeDeadlineSeconds"), detail);
    }
}

/// A number of pods, or a share of them. The answer is the bare number, if there is one.
pub(super) fn amount(rolling: &Value, key: &str, path: &Path, errors: &mut Errors) -> Option<i64> {
    match &rolling[key] {
        Value::String(text) => {
            let digits = text.strip_suffix('%').unwrap_or_default();
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                errors.invalid(&path.child(key), text.as_str(), PERCENT);
                return None;
            }
            digits.parse().ok()
        }
        value => {
            not_negative(rolling, key, path, errors);
            value.as_i64()
        }
    }
}

/// A field that stays as it was created.
pub(super) fn validate_same(new: &Value, old: &Value, key: &str, path: &Path, errors: &mut Errors) {
    if !equal(&new[key], &old[key]) {
        errors.invalid(&path.child(key), new[key].clone(), "field is immutable");
    }
}

/// A workload that could change its selector would lose sight of its pods.
pub(super) fn validate_same_selector(new: &Value, old: &Value, errors: &mut Errors) {
    validate_same(&new["spec"], &old["spec"], "selector", &Path::new("spec"), errors);
}

/// A count of collisions only grows.
pub(super) fn validate_collisions(new: &Value, old: &Value, errors: &mut Errors) {
    let count = |set: &Value| set["status"]["collisionCount"].as_i64().unwrap_or(0);
    if count(new) < count(old) {
        let at = Path::new("status").child("collisionCount");
        errors.invalid(&at, count(new), "cannot be decremented");
    }
}

/// Counts in a status.
pub(super) fn validate_counts(workload: &Value, keys: &[&str], errors: &mut Errors) {
    for key in keys {
        not_negative(&workload["status"], key, &Path::new("status"), errors);
    }
}

pub(super) fn wide_cells(workload: &Value) -> [Value; 3] {
    wide_cells_of(&workload["spec"])
}

/// The wide cells of a spec with a template and a selector.
pub(super) fn wide_cells_of(spec: &Value) -> [Value; 3] {
    let [names, images] = container_cells(&spec["template"]["spec"]);
    [names, images, json!(selector(&spec["selector"]))]
}

/// The names and the images of the containers of a pod spec.
pub(super) fn container_cells(pod: &Value) -> [Value; 2] {
    let list = |key: &str| {
        let values: Vec<&str> = items(&pod["containers"]).iter().map(|c| text(c, key)).collect();
        json!(values.join(","))
    };
    [list("name"), list("image")]
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
