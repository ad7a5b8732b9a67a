//! Labels, annotations and label selectors in objects.

use super::name::{label_value, qualified_name};
use crate::field::{Errors, Path};
use crate::json::{absent, entries, items, text};
use crate::meta::weight;
use serde_json::Value;

/// Keys and values of all annotations of an object together.
const ANNOTATIONS_SIZE: usize = 256 * 1024;

pub(crate) fn validate_labels(labels: &Value, path: &Path, errors: &mut Errors) {
    for (key, value) in entries(labels) {
        for problem in qualified_name(key) {
            errors.invalid(path, key.as_str(), problem);
        }
        let value = value.as_str().unwrap_or_default();
        for problem in label_value(value) {
            errors.invalid(path, value, problem);
        }
    }
}

pub(crate) fn validate_annotations(annotations: &Value, path: &Path, errors: &mut Errors) {
    for (key, _) in entries(annotations) {
        // Annotation keys may use capitals in their prefix.
        for problem in qualified_name(&key.to_lowercase()) {
            errors.invalid(path, key.as_str(), problem);
        }
    }
    if weight(annotations) > ANNOTATIONS_SIZE {
        errors.too_long(path, ANNOTATIONS_SIZE);
    }
}

/// A `metav1.LabelSelector`.
pub(crate) fn validate_selector(selector: &Value, path: &Path, errors: &mut Errors) {
    validate_labels(&selector["matchLabels"], &path.child("matchLabels"), errors);
    for (i, requirement) in items(&selector["matchExpressions"]).iter().enumerate() {
        let at = path.child("matchExpressions").index(i);
        match text(requirement, "operator") {
            "In" | "NotIn" => {
                if items(&requirement["values"]).is_empty() {
                    let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                    errors.required(&at.child("values"), detail);
                }
            }
            "Exists" | "DoesNotExist" => {
                if !items(&requirement["values"]).is_empty() {
                    let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    errors.forbidden(&at.child("values"), detail);
                }
            }
            other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        let key = text(requirement, "key");
        for problem in qualified_name(key) {
            errors.invalid(&at.child("key"), key, problem);
        }
        for (j, value) in items(&requirement["values"]).iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            for problem in label_value(value) {
                errors.invalid(&at.child("values").index(j), value, problem);
            }
        }
    }
}

/// Whether a selector has no terms at all, and so would select everything.
pub(crate) fn selects_everything(selector: &Value) -> bool {
    entries(&selector["matchLabels"]).next().is_none() && items(&selector["matchExpressions"]).is_empty()
}

/// A number that must not be negative; absent is fine.
pub(crate) fn not_negative(object: &Value, key: &str, path: &Path, errors: &mut Errors) {
    if absent(object, key) {
        return;
    }
    if object[key].as_i64().is_none_or(|n| n < 0) {
        errors.invalid(
            &path.child(key),
            object[key].clone(),
            "must be greater than or equal to 0",
        );
    }
}
