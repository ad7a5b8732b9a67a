//! Volumes.

use super::container::validate_field;
use crate::check::name::label;
use crate::field::{Errors, Path};
use crate::json::{absent, blank, entries, items, text};
use crate::kind::{persistent_volume_claim, volume_source};
use serde_json::Value;
use std::collections::HashSet;

const FILE_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// Checks the volumes and answers with the names that containers can mount.
pub(super) fn validate<'a>(volumes: &'a Value, path: &Path, errors: &mut Errors) -> HashSet<&'a str> {
    let mut names = HashSet::new();
    for (i, volume) in items(volumes).iter().enumerate() {
        let at = path.index(i);
        let name = text(volume, "name");
        let problems = label(name);
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        } else if !problems.is_empty() {
            for problem in problems {
                errors.invalid(&at.child("name"), name, problem);
            }
        } else if !names.insert(name) {
            errors.duplicate(&at.child("name"), name);
        }
        validate_sources(volume, &at, errors);
    }
    names
}

fn validate_sources(volume: &Value, path: &Path, errors: &mut Errors) {
    let mut found = false;
    for (kind, source) in entries(volume).filter(|(key, value)| *key != "name" && !value.is_null()) {
        let at = path.child(kind);
        if std::mem::replace(&mut found, true) {
            errors.forbidden(&at, "may not specify more than 1 volume type");
            continue;
        }
        match kind.as_str() {
            "configMap" | "secret" | "downwardAPI" => {
                validate_files(kind, source, &at, errors);
                validate_mode(source, "defaultMode", &at, errors);
            }
            "projected" => validate_projected(source, &at, errors),
            "persistentVolumeClaim" if blank(source, "claimName") => {
                errors.required(&at.child("claimName"), "");
            }
            "emptyDir" => {
                let limit = &source["sizeLimit"];
                if !limit.is_null() {
                    super::container::validate_amount("", limit, &at.child("sizeLimit"), errors);
                }
            }
            "ephemeral" => validate_template(source, &at, errors),
            _ => volume_source::validate(kind, source, &at, errors),
        }
    }
    if !found {
        errors.required(path, "must specify a volume type");
    }
}

/// The claim that is made for the pod.
fn validate_template(source: &Value, path: &Path, errors: &mut Errors) {
    let at = path.child("volumeClaimTemplate");
    let template = &source["volumeClaimTemplate"];
    if template.is_null() {
        errors.required(&at, "");
        return;
    }
    for (key, _) in entries(&template["metadata"]) {
        if !["annotations", "labels", "creationTimestamp"].contains(&key.as_str()) {
            errors.forbidden(&at.child("metadata").child(key), "cannot be set");
        }
    }
    persistent_volume_claim::validate_spec(&template["spec"], &at.child("spec"), errors);
}

/// A source of files: all keys of an object, or the chosen ones.
fn validate_files(kind: &str, source: &Value, path: &Path, errors: &mut Errors) {
    let name_key = match kind {
        "secret" if absent(source, "name") => Some("secretName"),
        "secret" | "configMap" => Some("name"),
        _ => None,
    };
    if let Some(key) = name_key.filter(|key| blank(source, key)) {
        errors.required(&path.child(key), "");
    }
    for (i, item) in items(&source["items"]).iter().enumerate() {
        let at = path.child("items").index(i);
        if kind == "downwardAPI" {
            match (absent(item, "fieldRef"), absent(item, "resourceFieldRef")) {
                (true, true) => errors.required(&at, "one of fieldRef and resourceFieldRef is required"),
                (false, false) => {
                    let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                    errors.invalid(&at, "resource", detail);
                }
                (false, true) => validate_field(&item["fieldRef"], &at.child("fieldRef"), FILE_FIELDS, errors),
                (true, false) => {}
            }
        } else if blank(item, "key") {
            errors.required(&at.child("key"), "");
        }
        if blank(item, "path") {
            errors.required(&at.child("path"), "");
        } else {
            relative_path(text(item, "path"), &at.child("path"), errors);
        }
        validate_mode(item, "mode", &at, errors);
    }
}

fn validate_projected(projected: &Value, path: &Path, errors: &mut Errors) {
    validate_mode(projected, "defaultMode", path, errors);
    for (i, source) in items(&projected["sources"]).iter().enumerate() {
        let at = path.child("sources").index(i);
        let mut found = false;
        for (kind, body) in entries(source).filter(|(_, value)| !value.is_null()) {
            let at = at.child(kind);
            if std::mem::replace(&mut found, true) {
                errors.forbidden(&at, "may not specify more than 1 volume type");
                continue;
            }
            match kind.as_str() {
                "secret" if absent(body, "name") => errors.required(&at.child("name"), ""),
                "configMap" | "secret" | "downwardAPI" => validate_files(kind, body, &at, errors),
                "serviceAccountToken" => {
                    let seconds = body["expirationSeconds"].as_i64().unwrap_or(0);
                    if seconds < 600 {
                        let detail = "may not specify a duration less than 10 minutes";
                        errors.invalid(&at.child("expirationSeconds"), seconds, detail);
                    }
                    if blank(body, "path") {
                        errors.required(&at.child("path"), "");
                    } else {
                        relative_path(text(body, "path"), &at.child("path"), errors);
                    }
                }
                _ => {}
            }
        }
        if !found {
            errors.required(&at, "must specify a volume type");
        }
    }
}

fn validate_mode(object: &Value, key: &str, path: &Path, errors: &mut Errors) {
    if absent(object, key) {
        return;
    }
    if !object[key].as_i64().is_some_and(|mode| (0..=0o777).contains(&mode)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.invalid(&path.child(key), object[key].clone(), detail);
    }
}

/// A path that stays below where it starts.
pub(super) fn relative_path(target: &str, path: &Path, errors: &mut Errors) {
    if target.starts_with('/') {
        errors.invalid(path, target, "must be a relative path");
    }
    if target.split('/').any(|part| part == "..") {
        errors.invalid(path, target, "must not contain '..'");
    }
}
