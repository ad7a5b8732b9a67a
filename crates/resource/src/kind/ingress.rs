//! Ingresses and IngressClasses.

use super::Kind;
use crate::check::name::{label_1035, port_name, segment, subdomain};
use crate::field::{Errors, Path};
use crate::json::{absent, blank, default_to, equal, existing, items, set, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

pub(crate) struct Ingress;

const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
/// What a path may not hold, and not end with, as nobody agrees on what it means.
const BAD_SEQUENCES: &[&str] = &["//", "/./", "/../", "%2f", "%2F"];
const BAD_ENDS: &[&str] = &["/..", "/."];
/// How the class was named before it was a field.
pub(crate) const CLASS: &str = "kubernetes.io/ingress.class";
/// Hosts shown in a table.
const SHOWN_HOSTS: usize = 3;
const LONGEST_CONTROLLER: usize = 250;

impl Kind for Ingress {
    fn prepare_create(&self, ingress: &mut Value) {
        set(ingress, "status", json!({"loadBalancer": {}}));
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, ingress: &Value, errors: &mut Errors) {
        validate_spec(&ingress["spec"], &Path::new("spec"), errors);
        let (class, named) = (
            &ingress["metadata"]["annotations"][CLASS],
            &ingress["spec"]["ingressClassName"],
        );
        if !class.is_null() && !named.is_null() && class != named {
            let detail = "must match `ingressClassName` when both are specified";
            errors.invalid(&Path::new("annotations").child(CLASS), class.clone(), detail);
        }
    }

    fn validate_update(&self, new: &Value, _old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        match subresource {
            Some("status") => validate_status(&new["status"]["loadBalancer"], errors),
            _ => validate_spec(&new["spec"], &Path::new("spec"), errors),
        }
    }

    fn warnings(&self, ingress: &Value, _old: Option<&Value>) -> Vec<String> {
        if absent(&ingress["metadata"]["annotations"], CLASS) {
            return Vec::new();
        }
        vec![format!(
            "annotation \"{CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"
        )]
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Class", "The IngressClass whose controller serves it."),
            Column::text("Hosts", "The hosts it answers for."),
            Column::text("Address", "Where its controller listens."),
            Column::text("Ports", "The ports it is served on."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, ingress: &Value, now: Timestamp) -> Row {
        let spec = &ingress["spec"];
        let balancers = items(&ingress["status"]["loadBalancer"]["ingress"]).iter();
        let addresses: BTreeSet<&str> = balancers
            .map(|balancer| match text(balancer, "ip") {
                "" => text(balancer, "hostname"),
                ip => ip,
            })
            .filter(|address| !address.is_empty())
            .collect();
        let addresses: Vec<&str> = addresses.into_iter().collect();
        Row::new(vec![
            json!(name_of(ingress)),
            json!(spec["ingressClassName"].as_str().unwrap_or("<none>")),
            json!(hosts(items(&spec["rules"]))),
            json!(addresses.join(",")),
            json!(if items(&spec["tls"]).is_empty() {
                "80"
            } else {
                "80, 443"
            }),
            json!(age_of(ingress, now)),
        ])
    }
}

fn hosts(rules: &[Value]) -> String {
    let shown = rules.iter().take(SHOWN_HOSTS).map(|rule| text(rule, "host"));
    let list: Vec<&str> = shown.filter(|host| !host.is_empty()).collect();
    match (list.is_empty(), rules.len().saturating_sub(SHOWN_HOSTS)) {
        (true, _) => "*".to_owned(),
        (false, 0) => list.join(","),
        (false, more) => format!("{} + {more} more...", list.join(",")),
    }
}

fn validate_spec(spec: &Value, path: &Path, errors: &mut Errors) {
    let rules = items(&spec["rules"]);
    if rules.is_empty() && absent(spec, "defaultBackend") {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.invalid(path, json!([]), detail);
    }
    if !absent(spec, "defaultBackend") {
        validate_backend(&spec["defaultBackend"], &path.child("defaultBackend"), errors);
    }
    for (i, rule) in rules.iter().enumerate() {
        validate_rule(rule, &path.child("rules").index(i), errors);
    }
    for (i, tls) in items(&spec["tls"]).iter().enumerate() {
        let at = path.child("tls").index(i);
        for (i, host) in items(&tls["hosts"]).iter().filter_map(Value::as_str).enumerate() {
            for problem in host_problems(host) {
                errors.invalid(&at.child("hosts").index(i), host, problem);
            }
        }
        let secret = text(tls, "secretName");
        for problem in subdomain(secret).into_iter().filter(|_| !secret.is_empty()) {
            errors.invalid(&at.child("secretName"), secret, problem);
        }
    }
    if let Some(class) = spec["ingressClassName"].as_str() {
        for problem in subdomain(class) {
            errors.invalid(&path.child("ingressClassName"), class, problem);
        }
    }
}

/// A name, or `*.` before one.
fn host_problems(host: &str) -> Vec<String> {
    if !host.contains('*') {
        return subdomain(host);
    }
    let problem = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    match host.strip_prefix("*.") {
        Some(rest) if subdomain(rest).is_empty() => Vec::new(),
        _ => vec![problem.to_owned()],
    }
}

fn validate_rule(rule: &Value, path: &Path, errors: &mut Errors) {
    let host = text(rule, "host");
    if !host.is_empty() {
        if host.parse::<IpAddr>().is_ok() {
            errors.invalid(&path.child("host"), host, "must be a DNS name, not an IP address");
        }
        for problem in host_problems(host) {
            errors.invalid(&path.child("host"), host, problem);
        }
    }
    if absent(rule, "http") {
        return;
    }
    let at = path.child("http").child("paths");
    let paths = items(&rule["http"]["paths"]);
    if paths.is_empty() {
        errors.required(&at, "");
    }
    for (i, found) in paths.iter().enumerate() {
        validate_path(found, &at.index(i), errors);
    }
}

fn validate_path(found: &Value, path: &Path, errors: &mut Errors) {
    let (kind, value) = (text(found, "pathType"), text(found, "path"));
    if kind.is_empty() {
        errors.required(&path.child("pathType"), "pathType must be specified");
        return;
    }
    if !PATH_TYPES.contains(&kind) {
        errors.not_supported(&path.child("pathType"), kind, PATH_TYPES);
    } else if !(value.starts_with('/') || kind == "ImplementationSpecific" && value.is_empty()) {
        errors.invalid(&path.child("path"), value, "must be an absolute path");
    }
    if matches!(kind, "Exact" | "Prefix") {
        for bad in BAD_SEQUENCES.iter().filter(|bad| value.contains(**bad)) {
            errors.invalid(&path.child("path"), value, format!("must not contain '{bad}'"));
        }
        for bad in BAD_ENDS.iter().filter(|bad| value.ends_with(**bad)) {
            errors.invalid(&path.child("path"), value, format!("cannot end with '{bad}'"));
        }
    }
    validate_backend(&found["backend"], &path.child("backend"), errors);
}

fn validate_backend(backend: &Value, path: &Path, errors: &mut Errors) {
    let service = &backend["service"];
    match (absent(backend, "resource"), absent(backend, "service")) {
        (false, false) => errors.invalid(path, "", "cannot set both resource and service backends"),
        (true, true) => errors.invalid(path, "", "resource or service backend is required"),
        (false, true) => validate_reference(&backend["resource"], &path.child("resource"), errors),
        (true, false) => {
            let at = path.child("service").child("name");
            let name = text(service, "name");
            match name {
                "" => errors.required(&at, ""),
                _ => label_1035(name)
                    .into_iter()
                    .for_each(|problem| errors.invalid(&at, name, problem)),
            }
            let (port, at) = (&service["port"], path.child("service").child("port"));
            match (blank(port, "name"), port["number"].as_i64().unwrap_or(0)) {
                (true, 0) => errors.required(path, "port name or number is required"),
                (false, 0) => {
                    for problem in port_name(text(port, "name")) {
                        errors.invalid(&at.child("name"), text(port, "name"), problem);
                    }
                }
                (true, number) if (1..=65535).contains(&number) => {}
                (true, number) => {
                    errors.invalid(&at.child("number"), number, "must be between 1 and 65535, inclusive");
                }
                (false, _) => errors.invalid(path, "", "cannot set both port name & port number"),
            }
        }
    }
}

/// A reference to an object of a kind that only the controller knows.
fn validate_reference(reference: &Value, path: &Path, errors: &mut Errors) {
    let group = text(reference, "apiGroup");
    for problem in subdomain(group).into_iter().filter(|_| !group.is_empty()) {
        errors.invalid(&path.child("apiGroup"), group, problem);
    }
    for key in ["kind", "name"] {
        match text(reference, key) {
            "" => errors.required(&path.child(key), ""),
            word => segment(word)
                .into_iter()
                .for_each(|problem| errors.invalid(&path.child(key), word, problem)),
        }
    }
}

fn validate_status(balancer: &Value, errors: &mut Errors) {
    let path = Path::new("status").child("loadBalancer").child("ingress");
    for (i, ingress) in items(&balancer["ingress"]).iter().enumerate() {
        let (ip, host) = (text(ingress, "ip"), text(ingress, "hostname"));
        if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.invalid(&path.index(i).child("ip"), ip, detail);
        }
        if host.parse::<IpAddr>().is_ok() {
            let detail = "must be a DNS name, not an IP address";
            errors.invalid(&path.index(i).child("hostname"), host, detail);
        }
    }
}

pub(crate) struct IngressClass;

impl Kind for IngressClass {
    fn default(&self, class: &mut Value) {
        if let Some(parameters) = existing(class, "spec").and_then(|spec| existing(spec, "parameters")) {
            default_to(parameters, "scope", "Cluster");
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, class: &Value, errors: &mut Errors) {
        let (path, spec) = (Path::new("spec"), &class["spec"]);
        let (at, controller) = (path.child("controller"), text(spec, "controller"));
        if controller.len() > LONGEST_CONTROLLER {
            errors.too_long(&at, LONGEST_CONTROLLER);
        }
        match controller.split_once('/') {
            _ if controller.is_empty() => errors.required(&at, ""),
            Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
                for problem in subdomain(domain) {
                    errors.invalid(&at, domain, problem);
                }
            }
            _ => errors.invalid(
                &at,
                controller,
                "must be a domain-prefixed path (such as \"acme.io/foo\")",
            ),
        }
        let parameters = &spec["parameters"];
        if parameters.is_null() {
            return;
        }
        let path = path.child("parameters");
        validate_reference(parameters, &path, errors);
        errors.one_of(&path.child("scope"), &parameters["scope"], &["Cluster", "Namespace"]);
        let at = path.child("namespace");
        match (text(parameters, "scope"), blank(parameters, "namespace")) {
            ("Namespace", true) => errors.required(&at, "`parameters.scope` is set to 'Namespace'"),
            ("Cluster", false) => errors.forbidden(&at, "`parameters.scope` is set to 'Cluster'"),
            _ => {}
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        if !equal(&new["spec"]["controller"], &old["spec"]["controller"]) {
            let at = Path::new("spec").child("controller");
            errors.invalid(&at, new["spec"]["controller"].clone(), "field is immutable");
        }
        self.validate(new, errors);
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Controller", "Who serves the Ingresses of the class."),
            Column::text("Parameters", "An object with more for the controller."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, class: &Value, now: Timestamp) -> Row {
        let parameters = &class["spec"]["parameters"];
        let kind = match (text(parameters, "kind"), text(parameters, "apiGroup")) {
            ("", _) => "<none>".to_owned(),
            (kind, "") => format!("{kind}/{}", text(parameters, "name")),
            (kind, group) => format!("{kind}.{group}/{}", text(parameters, "name")),
        };
        Row::new(vec![
            json!(name_of(class)),
            json!(text(&class["spec"], "controller")),
            json!(kind),
            json!(age_of(class, now)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    fn rule(host: &str, path: Value) -> Value {
        json!({"rules": [{"host": host, "http": {"paths": [path]}}]})
    }

    fn backend(name: &str, port: Value) -> Value {
        json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": name, "port": port}}})
    }

    #[test]
    fn mistakes_in_an_ingress_are_named() {
        let resource = find("networking.k8s.io", "v1", "ingresses").expect("served");
        let at = "spec.rules[0].http.paths[0]";
        for (spec, expected) in [
            (
                rule("a.example.com", backend("s", json!({"number": 80}))),
                String::new(),
            ),
            (
                rule("*.example.com", backend("s", json!({"name": "http"}))),
                String::new(),
            ),
            (
                json!({}),
                "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified".to_owned(),
            ),
            (
                rule("1.2.3.4", backend("s", json!({"number": 80}))),
                "spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address".to_owned(),
            ),
            (
                rule("a", json!({"path": "x", "backend": {}})),
                format!("{at}.pathType: Required value: pathType must be specified"),
            ),
            (
                rule("a", json!({"path": "x//y", "pathType": "Exact", "backend": {}})),
                format!(
                    "{at}.path: Invalid value: \"x//y\": must be an absolute path|{at}.path: Invalid value: \"x//y\": must not contain '//'|{at}.backend: Invalid value: \"\": resource or service backend is required"
                ),
            ),
            (
                rule("a", backend("s", json!({}))),
                format!("{at}.backend: Required value: port name or number is required"),
            ),
            (
                rule("a", backend("s", json!({"number": 80, "name": "x"}))),
                format!("{at}.backend: Invalid value: \"\": cannot set both port name & port number"),
            ),
        ] {
            let ingress = json!({"metadata": {"name": "i", "namespace": "n"}, "spec": spec});
            let found = resource.validate_create(&ingress);
            let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(lines.join("|"), expected);
        }
    }

    #[test]
    fn a_class_keeps_its_controller() {
        let class = |controller: &str| json!({"metadata": {"name": "c"}, "spec": {"controller": controller}});
        let resource = find("networking.k8s.io", "v1", "ingressclasses").expect("served");
        assert_eq!(resource.validate_create(&class("knarr.dev/ingress")), []);
        assert_eq!(
            resource.validate_create(&class("x"))[0].to_string(),
            "spec.controller: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")"
        );
        assert_eq!(
            resource.validate_update(&class("a.b/c"), &class("knarr.dev/ingress"), None)[0].to_string(),
            "spec.controller: Invalid value: \"a.b/c\": field is immutable"
        );
    }

    #[test]
    fn a_row_shows_hosts_and_where_to_reach_them() {
        let many: Vec<Value> = ["a", "b", "c", "d", "e"]
            .iter()
            .map(|host| json!({"host": host}))
            .collect();
        let ingress = json!({
            "metadata": {"name": "i"}, "spec": {"rules": many, "tls": [{}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "127.96.0.7"}]}},
        });
        let row = Ingress.row(&ingress, Timestamp::UNIX_EPOCH);
        assert_eq!(
            Value::from(row.cells),
            json!(["i", "<none>", "a,b,c + 2 more...", "127.96.0.7", "80, 443", "<unknown>"])
        );
    }
}
