//! Services.

use super::Kind;
use crate::check::label::validate_labels;
use crate::check::name::{NameRule, label, port_name, subdomain};
use crate::field::{Errors, Path};
use crate::json::{absent, blank, default_to, items, items_mut, object, set, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use crate::resource::Fields;
use crate::selector::LabelSelector;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::IpAddr;

pub(crate) struct Service;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
/// How long a client keeps its pod when sessions stick: three hours.
const STICKY_SECONDS: i64 = 10_800;

impl Kind for Service {
    fn name_rule(&self) -> NameRule {
        NameRule::Label1035
    }

    fn default(&self, service: &mut Value) {
        let Some(spec) = object(service, "spec") else { return };
        default_to(spec, "sessionAffinity", "None");
        default_to(spec, "type", "ClusterIP");
        if spec["sessionAffinity"] == "ClientIP"
            && let Some(config) = object(spec, "sessionAffinityConfig")
            && let Some(client) = object(config, "clientIP")
            && absent(client, "timeoutSeconds")
        {
            set(client, "timeoutSeconds", STICKY_SECONDS);
        }
        for port in items_mut(spec, "ports") {
            default_to(port, "protocol", "TCP");
            if blank(port, "targetPort") || port["targetPort"] == 0 {
                let number = port["port"].clone();
                set(port, "targetPort", number);
            }
        }
        let kind = text(spec, "type").to_owned();
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            default_to(spec, "externalTrafficPolicy", "Cluster");
        }
        if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
            default_to(spec, "internalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" && absent(spec, "allocateLoadBalancerNodePorts") {
            set(spec, "allocateLoadBalancerNodePorts", true);
        }
    }

    fn prepare_create(&self, service: &mut Value) {
        set(service, "status", json!({"loadBalancer": {}}));
    }

    fn validate(&self, service: &Value, errors: &mut Errors) {
        let (path, spec) = (Path::new("spec"), &service["spec"]);
        let headless = text(spec, "clusterIP") == "None";
        let kind = text(spec, "type");
        errors.one_of(&path.child("type"), &spec["type"], TYPES);
        if items(&spec["ports"]).is_empty() && !headless && kind != "ExternalName" {
            errors.required(&path.child("ports"), "");
        }
        if headless && matches!(kind, "NodePort" | "LoadBalancer") {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&path.child("clusterIPs").index(0), "None", detail);
        }
        if kind == "ExternalName" {
            let name = text(spec, "externalName");
            if name.is_empty() {
                errors.required(&path.child("externalName"), "");
            } else {
                for problem in subdomain(name.trim_end_matches('.')) {
                    errors.invalid(&path.child("externalName"), name, problem);
                }
            }
            if !blank(spec, "clusterIP") {
                errors.forbidden(&path.child("clusterIP"), "may not be set when `type` is 'ExternalName'");
            }
        } else if !headless && !blank(spec, "clusterIP") {
            validate_ip(text(spec, "clusterIP"), &path.child("clusterIPs").index(0), errors);
        }
        for (i, ip) in items(&spec["externalIPs"]).iter().enumerate() {
            validate_ip(
                ip.as_str().unwrap_or_default(),
                &path.child("externalIPs").index(i),
                errors,
            );
        }
        validate_ports(spec, &path.child("ports"), errors);
        validate_labels(&spec["selector"], &path.child("selector"), errors);
        errors.one_of(
            &path.child("sessionAffinity"),
            &spec["sessionAffinity"],
            &["ClientIP", "None"],
        );
        for key in ["externalTrafficPolicy", "internalTrafficPolicy"] {
            if !blank(spec, key) {
                errors.one_of(&path.child(key), &spec[key], &["Cluster", "Local"]);
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            return;
        }
        let (is, was) = (&new["spec"], &old["spec"]);
        let fixed = text(is, "type") != "ExternalName" && text(was, "type") != "ExternalName";
        if fixed && !blank(was, "clusterIP") && is["clusterIP"] != was["clusterIP"] {
            let at = Path::new("spec").child("clusterIPs").index(0);
            errors.invalid(&at, json!([is["clusterIP"]]), "may not change once set");
        }
        self.validate(new, errors);
    }

    fn fields(&self, service: &Value, fields: &mut Fields) {
        fields.add("spec.clusterIP", text(&service["spec"], "clusterIP"));
        fields.add("spec.type", text(&service["spec"], "type"));
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Type", "How the service is reached."),
            Column::text("Cluster-IP", "Address inside the cluster."),
            Column::text("External-IP", "Addresses outside of the cluster."),
            Column::text("Port(s)", "Ports of the service, with their node ports."),
            Column::AGE,
            Column::text("Selector", "Labels of the pods behind it.").wide(),
        ];
        COLUMNS.into()
    }

    fn row(&self, service: &Value, now: Timestamp) -> Row {
        let spec = &service["spec"];
        let ip = match items(&spec["clusterIPs"]).first().and_then(Value::as_str) {
            Some(ip) if !ip.is_empty() => ip,
            _ => match text(spec, "clusterIP") {
                "" => "<none>",
                ip => ip,
            },
        };
        let selector = LabelSelector::from_map(&spec["selector"]).to_string();
        Row::new(vec![
            json!(name_of(service)),
            json!(text(spec, "type")),
            json!(ip),
            json!(external(service)),
            json!(ports(&spec["ports"])),
            json!(age_of(service, now)),
            json!(if selector.is_empty() { "<none>" } else { &selector }),
        ])
    }

    fn creates_on_update(&self) -> bool {
        true
    }
}

fn validate_ip(ip: &str, path: &Path, errors: &mut Errors) {
    if ip.parse::<IpAddr>().is_err() {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.invalid(path, ip, detail);
    }
}

fn validate_ports(spec: &Value, path: &Path, errors: &mut Errors) {
    let ports = items(&spec["ports"]);
    let (mut names, mut seen, mut node_ports) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (i, port) in ports.iter().enumerate() {
        let at = path.index(i);
        let name = text(port, "name");
        if name.is_empty() {
            if ports.len() > 1 {
                errors.required(&at.child("name"), "");
            }
        } else {
            for problem in label(name) {
                errors.invalid(&at.child("name"), name, problem);
            }
            if !names.insert(name) {
                errors.duplicate(&at.child("name"), name);
            }
        }
        let number = port["port"].as_i64().unwrap_or(0);
        if !(1..=65535).contains(&number) {
            errors.invalid(&at.child("port"), number, "must be between 1 and 65535, inclusive");
        }
        errors.one_of(&at.child("protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
        validate_target(&port["targetPort"], &at.child("targetPort"), errors);
        if text(spec, "type") == "ClusterIP" && port["nodePort"].as_i64().unwrap_or(0) != 0 {
            errors.forbidden(&at.child("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
        let protocol = text(port, "protocol");
        if !seen.insert((protocol, number)) {
            errors.duplicate(&at, json!({"port": number, "protocol": protocol}));
        }
        let node_port = port["nodePort"].as_i64().unwrap_or(0);
        if node_port != 0 && !node_ports.insert((protocol, node_port)) {
            errors.duplicate(&at.child("nodePort"), node_port);
        }
    }
}

fn validate_target(target: &Value, path: &Path, errors: &mut Errors) {
    match target {
        Value::String(name) => {
            for problem in port_name(name) {
                errors.invalid(path, name.as_str(), problem);
            }
        }
        _ => {
            let number = target.as_i64().unwrap_or(0);
            if !(1..=65535).contains(&number) {
                errors.invalid(path, number, "must be between 1 and 65535, inclusive");
            }
        }
    }
}

fn external(service: &Value) -> String {
    let spec = &service["spec"];
    let mut addresses: Vec<&str> = Vec::new();
    let kind = text(spec, "type");
    if kind == "ExternalName" {
        return text(spec, "externalName").to_owned();
    }
    if kind == "LoadBalancer" {
        for ingress in items(&service["status"]["loadBalancer"]["ingress"]) {
            match text(ingress, "ip") {
                "" => addresses.push(text(ingress, "hostname")),
                ip => addresses.push(ip),
            }
        }
    }
    addresses.extend(items(&spec["externalIPs"]).iter().filter_map(Value::as_str));
    addresses.retain(|address| !address.is_empty());
    match (addresses.is_empty(), kind) {
        (false, _) => addresses.join(","),
        (true, "LoadBalancer") => "<pending>".to_owned(),
        (true, "ClusterIP" | "NodePort") => "<none>".to_owned(),
        (true, _) => "<unknown>".to_owned(),
    }
}

fn ports(ports: &Value) -> String {
    let pieces: Vec<String> = items(ports)
        .iter()
        .map(|port| {
            let number = port["port"].as_i64().unwrap_or(0);
            let protocol = text(port, "protocol");
            match port["nodePort"].as_i64().unwrap_or(0) {
                0 => format!("{number}/{protocol}"),
                node => format!("{number}:{node}/{protocol}"),
            }
        })
        .collect();
    if pieces.is_empty() {
        return "<none>".to_owned();
    }
    pieces.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    fn mistakes(spec: Value) -> Vec<String> {
        let resource = find("", "v1", "services").expect("served");
        let mut service = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec});
        resource.default(&mut service);
        resource
            .validate_create(&service)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_bare_service_is_filled_in() {
        let mut service = json!({"spec": {"ports": [{"port": 80}, {"port": 1, "targetPort": "http"}], "sessionAffinity": "ClientIP"}});
        Service.default(&mut service);
        assert_eq!(
            service["spec"],
            json!({
                "ports": [
                    {"port": 80, "protocol": "TCP", "targetPort": 80},
                    {"port": 1, "targetPort": "http", "protocol": "TCP"},
                ],
                "sessionAffinity": "ClientIP",
                "type": "ClusterIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
                "internalTrafficPolicy": "Cluster",
            })
        );
    }

    #[test]
    fn mistakes_in_a_service_are_named() {
        for (spec, expected) in [
            (json!({"ports": [{"port": 80}]}), vec![]),
            (json!({"clusterIP": "None"}), vec![]),
            (json!({}), vec!["spec.ports: Required value"]),
            (
                json!({"type": "X", "ports": [{"port": 80}]}),
                vec![
                    r#"spec.type: Unsupported value: "X": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#,
                ],
            ),
            (
                json!({"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "a"}, {"port": 0}]}),
                vec![
                    r#"spec.ports[1].name: Duplicate value: "a""#,
                    r#"spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}"#,
                    "spec.ports[2].name: Required value",
                    "spec.ports[2].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                    "spec.ports[2].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
                ],
            ),
            (
                json!({"ports": [{"port": 80, "nodePort": 30000}], "clusterIP": "x"}),
                vec![
                    r#"spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
                    "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
                ],
            ),
            (
                json!({"type": "ExternalName"}),
                vec!["spec.externalName: Required value"],
            ),
            (
                json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 1}]}),
                vec![r#"spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services"#],
            ),
        ] {
            assert_eq!(mistakes(spec), expected);
        }
    }

    #[test]
    fn the_address_stays() {
        let resource = find("", "v1", "services").expect("served");
        let service = |ip: &str| {
            let mut service = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}});
            resource.default(&mut service);
            service
        };
        let found = resource.validate_update(&service("10.96.0.9"), &service("10.96.0.8"), None);
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.9"]: may not change once set"#]
        );
    }

    #[test]
    fn a_row_shows_how_the_service_is_reached() {
        for (service, expected) in [
            (
                json!({"spec": {"type": "ClusterIP", "clusterIP": "10.96.0.1", "ports": [{"port": 443, "protocol": "TCP"}]}}),
                ["ClusterIP", "10.96.0.1", "<none>", "443/TCP"],
            ),
            (
                json!({"spec": {"type": "NodePort", "clusterIPs": ["10.96.0.2"], "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
                ["NodePort", "10.96.0.2", "<none>", "80:30080/TCP,53/UDP"],
            ),
            (
                json!({"spec": {"type": "LoadBalancer"}}),
                ["LoadBalancer", "<none>", "<pending>", "<none>"],
            ),
            (
                json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}),
                ["LoadBalancer", "<none>", "1.2.3.4", "<none>"],
            ),
            (
                json!({"spec": {"type": "ExternalName", "externalName": "example.com"}}),
                ["ExternalName", "<none>", "example.com", "<none>"],
            ),
        ] {
            assert_eq!(Service.row(&service, Timestamp::UNIX_EPOCH).cells[1..5], expected);
        }
    }
}
