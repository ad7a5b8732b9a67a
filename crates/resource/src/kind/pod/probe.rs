//! Probes and lifecycle hooks: both act on a container by exactly one of a few means.

use crate::check::label::not_negative;
use crate::check::name::port_name;
use crate::field::{Errors, Path};
use crate::json::{absent, blank, items, text};
use serde_json::Value;

const PROBE_ACTIONS: &[&str] = &["exec", "httpGet", "tcpSocket", "grpc"];
const HOOK_ACTIONS: &[&str] = &["exec", "httpGet", "tcpSocket", "sleep"];

pub(super) fn validate_all(container: &Value, path: &Path, errors: &mut Errors) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = &container[name];
        if probe.is_null() {
            continue;
        }
        let at = path.child(name);
        validate_probe(probe, &at, errors);
        // Only readiness can come back after having gone.
        if name != "readinessProbe" && probe["successThreshold"].as_i64().unwrap_or(1) != 1 {
            let threshold = probe["successThreshold"].clone();
            errors.invalid(&at.child("successThreshold"), threshold, "must be 1");
        }
    }
}

fn validate_probe(probe: &Value, path: &Path, errors: &mut Errors) {
    validate_action(probe, path, PROBE_ACTIONS, errors);
    for key in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        not_negative(probe, key, path, errors);
    }
    if probe["terminationGracePeriodSeconds"].as_i64().is_some_and(|n| n <= 0) {
        let seconds = probe["terminationGracePeriodSeconds"].clone();
        let at = path.child("terminationGracePeriodSeconds");
        errors.invalid(&at, seconds, "must be greater than 0");
    }
}

pub(super) fn validate_lifecycle(lifecycle: &Value, path: &Path, errors: &mut Errors) {
    for name in ["postStart", "preStop"] {
        if !absent(lifecycle, name) {
            validate_action(&lifecycle[name], &path.child(name), HOOK_ACTIONS, errors);
        }
    }
}

fn validate_action(action: &Value, path: &Path, known: &[&str], errors: &mut Errors) {
    let mut found = false;
    for name in known.iter().filter(|name| !absent(action, name)) {
        let at = path.child(name);
        if std::mem::replace(&mut found, true) {
            errors.forbidden(&at, "may not specify more than 1 handler type");
            continue;
        }
        let body = &action[*name];
        match *name {
            "exec" if items(&body["command"]).is_empty() => errors.required(&at.child("command"), ""),
            "httpGet" => {
                if blank(body, "path") {
                    errors.required(&at.child("path"), "");
                }
                validate_port(&body["port"], &at.child("port"), errors);
                errors.one_of(&at.child("scheme"), &body["scheme"], &["HTTP", "HTTPS"]);
            }
            "tcpSocket" | "grpc" => validate_port(&body["port"], &at.child("port"), errors),
            "sleep" if body["seconds"].as_i64().is_none_or(|n| n < 0) => {
                let detail = "must be greater than or equal to 0";
                errors.invalid(&at.child("seconds"), body["seconds"].clone(), detail);
            }
            _ => {}
        }
    }
    if !found {
        errors.required(path, "must specify a handler type");
    }
}

/// The number of a port, or its name.
pub(super) fn validate_port(port: &Value, path: &Path, errors: &mut Errors) {
    match port {
        Value::String(name) => {
            for problem in port_name(name) {
                errors.invalid(path, name.as_str(), problem);
            }
        }
        _ => port_number(port, path, errors),
    }
}

pub(super) fn port_number(port: &Value, path: &Path, errors: &mut Errors) {
    let number = port.as_i64().unwrap_or(0);
    if !(1..=65535).contains(&number) {
        errors.invalid(path, number, "must be between 1 and 65535, inclusive");
    }
}

/// What a container that runs once and is done cannot have.
pub(super) fn forbid(container: &Value, path: &Path, errors: &mut Errors) {
    for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if !absent(container, name) {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.forbidden(&path.child(name), detail);
        }
    }
}

/// Whether a text field holds one of the values; text that is absent is fine.
pub(super) fn optional_choice(object: &Value, key: &str, path: &Path, choices: &[&str], errors: &mut Errors) {
    if !blank(object, key) && !choices.contains(&text(object, key)) {
        errors.not_supported(&path.child(key), object[key].clone(), choices);
    }
}
