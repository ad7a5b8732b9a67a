//! Containers: ports, environment, mounts and resources.

use super::default::is_sidecar;
use super::probe::{forbid, optional_choice, port_number, validate_all, validate_lifecycle};
use super::volume::relative_path;
use crate::check::name::{config_key, env_name, label, port_name, qualified_name};
use crate::field::{Errors, Path};
use crate::json::{absent, blank, entries, items, text};
use knarr_apimachinery::Quantity;
use serde_json::Value;
use std::collections::HashSet;

/// What a container of a pod can refer to, and must not clash with.
pub(super) struct Surroundings<'a> {
    pub volumes: HashSet<&'a str>,
    pub names: HashSet<&'a str>,
    pub host_ports: HashSet<String>,
    pub host_network: bool,
}

/// Which list of the pod a container is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Main,
    Init,
    Ephemeral,
}

pub(super) fn validate<'a>(
    container: &'a Value,
    path: &Path,
    role: Role,
    around: &mut Surroundings<'a>,
    errors: &mut Errors,
) {
    let name = text(container, "name");
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        for problem in label(name) {
            errors.invalid(&path.child("name"), name, problem);
        }
        if !around.names.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
    }
    let image = text(container, "image");
    if image.is_empty() {
        errors.required(&path.child("image"), "");
    } else if image.trim() != image {
        errors.invalid(
            &path.child("image"),
            image,
            "must not have leading or trailing whitespace",
        );
    }
    let policies = ["FallbackToLogsOnError", "File"];
    optional_choice(container, "terminationMessagePolicy", path, &policies, errors);
    validate_ports(&container["ports"], &path.child("ports"), around, errors);
    validate_env(&container["env"], &path.child("env"), errors);
    validate_env_from(&container["envFrom"], &path.child("envFrom"), errors);
    validate_mounts(&container["volumeMounts"], &path.child("volumeMounts"), around, errors);
    let pull = ["Always", "IfNotPresent", "Never"];
    errors.one_of(&path.child("imagePullPolicy"), &container["imagePullPolicy"], &pull);
    validate_resources(&container["resources"], &path.child("resources"), errors);
    let security = path.child("securityContext");
    super::security::validate_container(&container["securityContext"], &security, errors);
    match role {
        Role::Ephemeral => forbid_in_ephemeral(container, path, errors),
        Role::Init if !is_sidecar(container) => forbid(container, path, errors),
        Role::Init | Role::Main => {
            if !absent(container, "lifecycle") {
                validate_lifecycle(&container["lifecycle"], &path.child("lifecycle"), errors);
            }
            validate_all(container, path, errors);
        }
    }
    if role != Role::Ephemeral {
        optional_choice(
            container,
            "restartPolicy",
            path,
            &["Always", "Never", "OnFailure"],
            errors,
        );
    }
}

/// An ephemeral container is looked in with, not served by.
fn forbid_in_ephemeral(container: &Value, path: &Path, errors: &mut Errors) {
    for key in [
        "ports",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
        "resizePolicy",
    ] {
        let value = &container[key];
        if !value.is_null() && !value.as_array().is_some_and(Vec::is_empty) {
            errors.forbidden(&path.child(key), "cannot be set for an Ephemeral Container");
        }
    }
    if entries(&container["resources"]).next().is_some() {
        errors.forbidden(&path.child("resources"), "cannot be set for an Ephemeral Container");
    }
}

fn validate_ports(ports: &Value, path: &Path, around: &mut Surroundings<'_>, errors: &mut Errors) {
    let mut names = HashSet::new();
    for (i, port) in items(ports).iter().enumerate() {
        let at = path.index(i);
        let name = text(port, "name");
        if !name.is_empty() {
            let problems = port_name(name);
            if problems.is_empty() && !names.insert(name) {
                errors.duplicate(&at.child("name"), name);
            }
            for problem in problems {
                errors.invalid(&at.child("name"), name, problem);
            }
        }
        match port["containerPort"].as_i64().unwrap_or(0) {
            0 => errors.required(&at.child("containerPort"), ""),
            _ => port_number(&port["containerPort"], &at.child("containerPort"), errors),
        }
        errors.one_of(&at.child("protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
        let host_port = port["hostPort"].as_i64().unwrap_or(0);
        if host_port == 0 {
            continue;
        }
        port_number(&port["hostPort"], &at.child("hostPort"), errors);
        if around.host_network && port["hostPort"] != port["containerPort"] {
            let detail = "must match `hostPort` when `hostNetwork` is true";
            errors.invalid(&at.child("containerPort"), port["containerPort"].clone(), detail);
        }
        let claim = format!("{}/{}/{host_port}", text(port, "protocol"), text(port, "hostIP"));
        if !around.host_ports.insert(claim.clone()) {
            errors.duplicate(&at.child("hostPort"), claim);
        }
    }
}

fn validate_env(variables: &Value, path: &Path, errors: &mut Errors) {
    for (i, variable) in items(variables).iter().enumerate() {
        let at = path.index(i);
        let name = text(variable, "name");
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        } else {
            for problem in env_name(name) {
                errors.invalid(&at.child("name"), name, problem);
            }
        }
        if !absent(variable, "valueFrom") {
            validate_source(variable, &at.child("valueFrom"), errors);
        }
    }
}

fn validate_source(variable: &Value, path: &Path, errors: &mut Errors) {
    const KINDS: [&str; 5] = [
        "fieldRef",
        "resourceFieldRef",
        "configMapKeyRef",
        "secretKeyRef",
        "fileKeyRef",
    ];
    let source = &variable["valueFrom"];
    let found: Vec<&str> = KINDS.into_iter().filter(|kind| !absent(source, kind)).collect();
    for kind in &found {
        let (body, at) = (&source[*kind], path.child(kind));
        match *kind {
            "fieldRef" => validate_field(body, &at, ENV_FIELDS, errors),
            "resourceFieldRef" if blank(body, "resource") => errors.required(&at.child("resource"), ""),
            "configMapKeyRef" | "secretKeyRef" => {
                let key = text(body, "key");
                if key.is_empty() {
                    errors.required(&at.child("key"), "");
                } else {
                    for problem in config_key(key) {
                        errors.invalid(&at.child("key"), key, problem);
                    }
                }
            }
            _ => {}
        }
    }
    if found.is_empty() {
        let detail =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.invalid(path, "", detail);
    } else if !blank(variable, "value") {
        errors.invalid(path, "", "may not be specified when `value` is not empty");
    } else if found.len() > 1 {
        errors.invalid(path, "", "may not have more than one field specified at a time");
    }
}

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// A field of the pod itself, whose value a variable or file takes.
pub(super) fn validate_field(reference: &Value, path: &Path, known: &[&str], errors: &mut Errors) {
    let at = path.child("fieldPath");
    let field = text(reference, "fieldPath");
    if blank(reference, "apiVersion") {
        errors.required(&path.child("apiVersion"), "");
    } else if field.is_empty() {
        errors.required(&at, "");
    } else if let Some((map, rest)) = field.split_once('[') {
        let key = rest
            .strip_prefix('\'')
            .and_then(|k| k.strip_suffix("']"))
            .unwrap_or_default();
        if !matches!(map, "metadata.labels" | "metadata.annotations") {
            let detail = format!("error converting fieldPath: field label not supported: {field}");
            errors.invalid(&at, field, detail);
        } else {
            for problem in qualified_name(&key.to_lowercase()) {
                errors.invalid(&at, field, problem);
            }
        }
    } else if !known.contains(&field) {
        if field.starts_with("metadata.") || field.starts_with("status.") || field.starts_with("spec.") {
            let detail = format!("error converting fieldPath: field label not supported: {field}");
            errors.invalid(&at, field, detail);
        } else {
            errors.not_supported(&at, field, known);
        }
    }
}

fn validate_env_from(sources: &Value, path: &Path, errors: &mut Errors) {
    for (i, source) in items(sources).iter().enumerate() {
        let at = path.index(i);
        let prefix = text(source, "prefix");
        if !prefix.is_empty() {
            for problem in env_name(prefix) {
                errors.invalid(&at.child("prefix"), prefix, problem);
            }
        }
        let kinds = ["configMapRef", "secretRef"];
        let found: Vec<&str> = kinds.into_iter().filter(|kind| !absent(source, kind)).collect();
        for kind in &found {
            if blank(&source[*kind], "name") {
                errors.required(&at.child(kind).child("name"), "");
            }
        }
        match found.len() {
            0 => errors.invalid(&at, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(&at, "", "may not have more than one field specified at a time"),
        }
    }
}

fn validate_mounts(mounts: &Value, path: &Path, around: &Surroundings<'_>, errors: &mut Errors) {
    let mut points = HashSet::new();
    for (i, mount) in items(mounts).iter().enumerate() {
        let at = path.index(i);
        let name = text(mount, "name");
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        } else if !around.volumes.contains(name) {
            errors.not_found(&at.child("name"), name);
        }
        let point = text(mount, "mountPath");
        if point.is_empty() {
            errors.required(&at.child("mountPath"), "");
        } else if !points.insert(point) {
            errors.invalid(&at.child("mountPath"), point, "must be unique");
        }
        for key in ["subPath", "subPathExpr"] {
            relative_path(text(mount, key), &at.child(key), errors);
        }
        if !blank(mount, "subPath") && !blank(mount, "subPathExpr") {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.invalid(&at.child("subPathExpr"), text(mount, "subPathExpr"), detail);
        }
        let modes = ["Bidirectional", "HostToContainer", "None"];
        optional_choice(mount, "mountPropagation", &at, &modes, errors);
    }
}

const QUANTITY_RULE: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Requests and limits.
pub(super) fn validate_resources(resources: &Value, path: &Path, errors: &mut Errors) {
    for list in ["limits", "requests"] {
        for (name, amount) in entries(&resources[list]) {
            let at = path.child(list).key(name);
            validate_resource_name(name, &path.child(list), errors);
            validate_amount(name, amount, &at, errors);
        }
    }
    let at = path.child("requests");
    for (name, amount) in entries(&resources["requests"]) {
        let (limit, shown) = (&resources["limits"][name], amount.clone());
        let words = limit.as_str().map_or_else(|| limit.to_string(), str::to_owned);
        match (Quantity::of(amount), Quantity::of(limit)) {
            (Some(request), Some(limit)) if overcommits(name) && request > limit => {
                errors.invalid(
                    &at,
                    shown,
                    format!("must be less than or equal to {name} limit of {words}"),
                );
            }
            (Some(request), Some(limit)) if !overcommits(name) && request != limit => {
                errors.invalid(&at, shown, format!("must be equal to {name} limit of {words}"));
            }
            (Some(_), None) if !overcommits(name) => {
                errors.required(
                    &path.child("limits"),
                    "Limit must be set for non overcommitable resources",
                );
            }
            _ => {}
        }
    }
}

/// Devices and huge pages are had or not had; CPU and memory can be promised twice.
fn overcommits(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage")
}

fn validate_resource_name(name: &str, path: &Path, errors: &mut Errors) {
    let problems = qualified_name(name);
    if problems.is_empty() && !name.contains('/') && !overcommits(name) && !name.starts_with("hugepages-") {
        errors.invalid(path, name, "must be a standard resource for containers");
    }
    for problem in problems {
        errors.invalid(path, name, problem);
    }
}

pub(crate) fn validate_amount(name: &str, amount: &Value, path: &Path, errors: &mut Errors) {
    match Quantity::of(amount) {
        None => errors.invalid(path, amount.clone(), QUANTITY_RULE),
        Some(quantity) if quantity.is_negative() => {
            errors.invalid(path, amount.clone(), "must be greater than or equal to 0");
        }
        Some(quantity) if name.contains('/') && !quantity.is_whole() => {
            errors.invalid(path, amount.clone(), "must be an integer");
        }
        Some(_) => {}
    }
}
