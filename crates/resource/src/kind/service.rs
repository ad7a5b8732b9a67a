//! Services.

use super::{Kind, endpoints};
use crate::check::label::validate_labels;
use crate::check::name::{NameRule, label, port_name, qualified_name, subdomain};
use crate::field::{Errors, Path};
use crate::json::{absent, blank, default_to, existing, items, items_mut, object, remove, set, text};
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
const MAX_STICKY_SECONDS: i64 = 86_400;
const UNSET: &str = "primary clusterIP can not be unset";

impl Kind for Service {
    fn name_rule(&self) -> NameRule {
        NameRule::Label1035
    }

    fn default(&self, service: &mut Value) {
        let Some(spec) = object(service, "spec") else { return };
        default_to(spec, "sessionAffinity", "None");
        default_to(spec, "type", "ClusterIP");
        match text(spec, "sessionAffinity") {
            "None" => remove(spec, "sessionAffinityConfig"),
            "ClientIP" if spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].is_null() => {
                let config = json!({"clientIP": {"timeoutSeconds": STICKY_SECONDS}});
                set(spec, "sessionAffinityConfig", config);
            }
            _ => {}
        }
        for port in items_mut(spec, "ports") {
            default_to(port, "protocol", "TCP");
            if blank(port, "targetPort") || port["targetPort"] == 0 {
                let number = port["port"].clone();
                set(port, "targetPort", number);
            }
        }
        let kind = text(spec, "type").to_owned();
        if reached_from_outside(spec) {
            default_to(spec, "externalTrafficPolicy", "Cluster");
        }
        if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
            default_to(spec, "internalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" && absent(spec, "allocateLoadBalancerNodePorts") {
            set(spec, "allocateLoadBalancerNodePorts", true);
        }
        if kind == "LoadBalancer"
            && let Some(balancer) = existing(service, "status").and_then(|status| existing(status, "loadBalancer"))
        {
            for ingress in items_mut(balancer, "ingress").filter(|ingress| !blank(ingress, "ip")) {
                default_to(ingress, "ipMode", "VIP");
            }
        }
    }

    fn prepare_create(&self, service: &mut Value) {
        set(service, "status", json!({"loadBalancer": {}}));
    }

    /// What only the former type needed goes, unless the client wrote it anew.
    fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        let was = &old["spec"];
        let Some(spec) = existing(new, "spec").filter(|_| subresource.is_none()) else {
            return;
        };
        let balanced = text(spec, "type") == "LoadBalancer";
        let (addressed, open, checked) = (
            text(spec, "type") != "ExternalName",
            reached_from_outside(spec),
            needs_health_check(spec),
        );
        for (needed, key) in [
            (addressed, "clusterIP"),
            (addressed, "clusterIPs"),
            (addressed, "ipFamilies"),
            (addressed, "ipFamilyPolicy"),
            (checked, "healthCheckNodePort"),
            (balanced, "allocateLoadBalancerNodePorts"),
            (balanced, "loadBalancerClass"),
            (open, "externalTrafficPolicy"),
        ] {
            if !needed && spec[key] == was[key] {
                remove(spec, key);
            }
        }
        if !balanced && let Some(status) = existing(new, "status") {
            set(status, "loadBalancer", json!({}));
        }
    }

    fn validate(&self, service: &Value, errors: &mut Errors) {
        let (path, spec) = (Path::new("spec"), &service["spec"]);
        let kind = text(spec, "type");
        if items(&spec["ports"]).is_empty() && !headless(spec) && kind != "ExternalName" {
            errors.required(&path.child("ports"), "");
        }
        match kind {
            "ExternalName" => validate_external_name(spec, &path, errors),
            "LoadBalancer" | "NodePort" if headless(spec) => {
                let detail = format!("may not be set to 'None' for {kind} services");
                errors.invalid(&path.child("clusterIPs").index(0), "None", detail);
            }
            _ => {}
        }
        validate_ports(spec, &path.child("ports"), errors);
        validate_labels(&spec["selector"], &path.child("selector"), errors);
        validate_affinity(spec, &path, errors);
        if kind != "ExternalName" {
            validate_addresses(spec, &path, errors);
        }
        for (i, ip) in items(&spec["externalIPs"]).iter().enumerate() {
            let (at, ip) = (path.child("externalIPs").index(i), ip.as_str().unwrap_or_default());
            endpoints::validate_ip(ip, &at, errors);
        }
        errors.one_of(&path.child("type"), &spec["type"], TYPES);
        validate_balancer(service, &path, errors);
        validate_traffic(spec, &path, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        let (path, is, was) = (Path::new("spec"), &new["spec"], &old["spec"]);
        if subresource == Some("status") {
            return validate_status(new, errors);
        }
        let unaddressed =
            [is, was].iter().any(|spec| text(spec, "type") == "ExternalName") || headless(is) && headless(was);
        if !unaddressed {
            for key in ["clusterIPs", "ipFamilies"] {
                // Families come and go with being headless.
                if key == "ipFamilies" && headless(is) != headless(was) {
                    continue;
                }
                let (now, before) = (items(&is[key]).first(), items(&was[key]).first());
                if before.is_some() && now != before {
                    let detail = if now.is_some() {
                        "may not change once set"
                    } else {
                        UNSET
                    };
                    errors.invalid(&path.child(key).index(0), is[key].clone(), detail);
                }
            }
        }
        let balanced = [is, was].iter().all(|spec| text(spec, "type") == "LoadBalancer");
        if balanced && is["loadBalancerClass"] != was["loadBalancerClass"] {
            let class = is["loadBalancerClass"].clone();
            errors.invalid(&path.child("loadBalancerClass"), class, "may not change once set");
        }
        let checked = needs_health_check(is) && needs_health_check(was);
        if checked && is["healthCheckNodePort"] != was["healthCheckNodePort"] {
            errors.forbidden(&path.child("healthCheckNodePort"), "field is immutable");
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

fn headless(spec: &Value) -> bool {
    text(spec, "clusterIP") == "None"
}

/// Whether traffic from outside of the cluster can come.
fn reached_from_outside(spec: &Value) -> bool {
    match text(spec, "type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !items(&spec["externalIPs"]).is_empty(),
        _ => false,
    }
}

/// Whether a load balancer asks nodes if they have an endpoint.
pub(crate) fn needs_health_check(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

fn validate_ip(ip: &str, path: &Path, errors: &mut Errors) {
    if ip.parse::<IpAddr>().is_err() {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.invalid(path, ip, detail);
    }
}

fn validate_external_name(spec: &Value, path: &Path, errors: &mut Errors) {
    for key in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if !absent(spec, key) {
            errors.forbidden(&path.child(key), "may not be set for ExternalName services");
        }
    }
    let name = text(spec, "externalName");
    // A dot at the end says that the name is whole.
    let canonical = name.strip_suffix('.').unwrap_or(name);
    if canonical.is_empty() {
        errors.required(&path.child("externalName"), "");
    } else {
        for problem in subdomain(canonical) {
            errors.invalid(&path.child("externalName"), canonical, problem);
        }
    }
}

fn validate_affinity(spec: &Value, path: &Path, errors: &mut Errors) {
    let at = path.child("sessionAffinityConfig");
    let kinds = ["ClientIP", "None"];
    errors.one_of(&path.child("sessionAffinity"), &spec["sessionAffinity"], &kinds);
    let seconds = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].as_i64();
    match (text(spec, "sessionAffinity"), seconds) {
        ("ClientIP", Some(seconds)) if !(1..=MAX_STICKY_SECONDS).contains(&seconds) => {
            let detail = format!("must be greater than 0 and less than {MAX_STICKY_SECONDS}");
            errors.invalid(&at.child("clientIP").child("timeoutSeconds"), seconds, detail);
        }
        ("None", _) if !absent(spec, "sessionAffinityConfig") => {
            errors.forbidden(&at, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

/// `clusterIP` is the first of `clusterIPs`, which has at most one of each family.
fn validate_addresses(spec: &Value, path: &Path, errors: &mut Errors) {
    let (at, all) = (path.child("clusterIPs"), items(&spec["clusterIPs"]));
    let first = all.first().and_then(Value::as_str);
    let problem = match (text(spec, "clusterIP"), first) {
        ("", Some(_)) => Some("must be empty when `clusterIP` is not specified"),
        (ip, Some(first)) if ip != first => Some("first value must match `clusterIP`"),
        _ if first == Some("None") && all.len() > 1 => Some("'None' must be the first and only value"),
        _ if all.len() > 2 => Some("may only hold up to 2 values"),
        _ => None,
    };
    if let Some(problem) = problem {
        errors.invalid(&at, spec["clusterIPs"].clone(), problem);
    }
    let mut seen = HashSet::new();
    for (i, family) in items(&spec["ipFamilies"]).iter().enumerate() {
        let at = path.child("ipFamilies").index(i);
        errors.one_of(&at, family, &["IPv4", "IPv6"]);
        if !seen.insert(family) {
            errors.duplicate(&at, family.clone());
        }
    }
    if !absent(spec, "ipFamilyPolicy") {
        let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        errors.one_of(&path.child("ipFamilyPolicy"), &spec["ipFamilyPolicy"], &policies);
    }
    for (i, ip) in all.iter().enumerate() {
        match ip.as_str().unwrap_or_default() {
            "None" if i == 0 => {}
            ip => validate_ip(ip, &at.index(i), errors),
        }
    }
    let families: Vec<bool> = all
        .iter()
        .filter_map(|ip| ip.as_str()?.parse::<IpAddr>().ok())
        .map(|ip| ip.is_ipv6())
        .collect();
    if matches!(families[..], [one, other] if one == other) {
        let detail = "may specify no more than one IP for each IP family";
        errors.invalid(&at, spec["clusterIPs"].clone(), detail);
    }
    for (i, (is_v6, family)) in families.iter().zip(items(&spec["ipFamilies"])).enumerate() {
        if matches!(family.as_str(), Some("IPv4" | "IPv6")) && *is_v6 != (family == "IPv6") {
            let family = family.as_str().unwrap_or_default();
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            errors.invalid(&at.index(i), all[i].clone(), detail);
        }
    }
}

/// What is for load balancers alone.
fn validate_balancer(service: &Value, path: &Path, errors: &mut Errors) {
    const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let spec = &service["spec"];
    let balanced = text(spec, "type") == "LoadBalancer";
    let only = "may only be used when `type` is 'LoadBalancer'";
    let ranges = items(&spec["loadBalancerSourceRanges"]);
    if let Some(ranges) = service["metadata"]["annotations"][RANGES]
        .as_str()
        .filter(|_| ranges.is_empty())
    {
        let at = Path::new("metadata").child("annotations").key(RANGES);
        if !balanced {
            errors.forbidden(&at, only);
        }
        for range in ranges.split(',').filter(|_| !ranges.trim().is_empty()) {
            validate_range(range.trim(), &at, errors);
        }
    }
    // The path has this spelling upstream.
    let at = path.child("LoadBalancerSourceRanges");
    if !ranges.is_empty() && !balanced {
        errors.forbidden(&at, only);
    }
    for (i, range) in ranges.iter().enumerate() {
        validate_range(range.as_str().unwrap_or_default().trim(), &at.index(i), errors);
    }
    for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if !balanced && !absent(spec, key) {
            errors.forbidden(&path.child(key), only);
        }
    }
    if balanced && let Some(class) = spec["loadBalancerClass"].as_str() {
        for problem in qualified_name(class) {
            errors.invalid(&path.child("loadBalancerClass"), class, problem);
        }
    }
}

fn validate_range(range: &str, path: &Path, errors: &mut Errors) {
    let valid = range.split_once('/').is_some_and(|(ip, length)| {
        let most = ip.parse().map(|ip: IpAddr| if ip.is_ipv4() { 32 } else { 128 });
        most.is_ok_and(|most| length.parse::<u8>().is_ok_and(|length| length <= most))
    });
    if !valid {
        let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        errors.invalid(path, range, detail);
    }
}

/// Which endpoints traffic goes to.
fn validate_traffic(spec: &Value, path: &Path, errors: &mut Errors) {
    let policies = ["Cluster", "Local"];
    let (key, policy) = ("externalTrafficPolicy", &spec["externalTrafficPolicy"]);
    match (reached_from_outside(spec), policy.as_str().unwrap_or_default()) {
        (false, "") => {}
        (false, policy) => {
            let detail = "may only be set for externally-accessible services";
            errors.invalid(&path.child(key), policy, detail);
        }
        (true, "") => errors.required(&path.child(key), ""),
        (true, _) => errors.one_of(&path.child(key), policy, &policies),
    }
    let at = path.child("healthCheckNodePort");
    match (
        needs_health_check(spec),
        spec["healthCheckNodePort"].as_i64().unwrap_or(0),
    ) {
        (true, 0) => errors.required(&at, ""),
        (true, port) => validate_port(port, &at, errors),
        (false, 0) => {}
        (false, port) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(&at, port, detail);
        }
    }
    let inner = "internalTrafficPolicy";
    if !absent(spec, inner) {
        errors.one_of(&path.child(inner), &spec[inner], &policies);
    }
    if !absent(spec, "trafficDistribution") {
        let at = path.child("trafficDistribution");
        let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        errors.one_of(&at, &spec["trafficDistribution"], &known);
    }
}

fn validate_status(service: &Value, errors: &mut Errors) {
    let at = Path::new("status").child("loadBalancer").child("ingress");
    let ingress = items(&service["status"]["loadBalancer"]["ingress"]);
    if text(&service["spec"], "type") != "LoadBalancer" && !ingress.is_empty() {
        return errors.forbidden(&at, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for (i, ingress) in ingress.iter().enumerate() {
        let at = at.index(i);
        let (ip, host) = (text(ingress, "ip"), text(ingress, "hostname"));
        if !ip.is_empty() {
            validate_ip(ip, &at.child("ip"), errors);
        }
        match (ip.is_empty(), absent(ingress, "ipMode")) {
            (true, false) => errors.forbidden(&at.child("ipMode"), "may not be specified when `ip` is not set"),
            (false, true) => errors.required(&at.child("ipMode"), "must be specified when `ip` is set"),
            (false, false) => errors.one_of(&at.child("ipMode"), &ingress["ipMode"], &["Proxy", "VIP"]),
            (true, true) => {}
        }
        if host.parse::<IpAddr>().is_ok() {
            errors.invalid(&at.child("hostname"), host, "must be a DNS name, not an IP address");
        } else if !host.is_empty() {
            for problem in subdomain(host) {
                errors.invalid(&at.child("hostname"), host, problem);
            }
        }
    }
}

fn validate_port(port: i64, path: &Path, errors: &mut Errors) {
    if !(1..=65535).contains(&port) {
        errors.invalid(path, port, "must be between 1 and 65535, inclusive");
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
        validate_port(number, &at.child("port"), errors);
        if let Some(protocol) = port["appProtocol"].as_str() {
            for problem in qualified_name(protocol) {
                errors.invalid(&at.child("appProtocol"), protocol, problem);
            }
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
        _ => validate_port(target.as_i64().unwrap_or(0), path, errors),
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
                json!({"ports": [{"port": 80, "nodePort": 30000}], "clusterIP": "x", "clusterIPs": ["x"]}),
                vec![
                    "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
                    r#"spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
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
            (
                json!({"ports": [{"port": 80, "appProtocol": "a b"}], "externalTrafficPolicy": "Local", "loadBalancerClass": "x/y", "allocateLoadBalancerNodePorts": true, "loadBalancerSourceRanges": ["10.0.0.0/33"]}),
                vec![
                    r#"spec.ports[0].appProtocol: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#,
                    "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
                    r#"spec.LoadBalancerSourceRanges[0]: Invalid value: "10.0.0.0/33": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#,
                    "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'",
                    "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
                    r#"spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services"#,
                ],
            ),
            (
                json!({"ports": [{"port": 80}], "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}, "trafficDistribution": "Far", "healthCheckNodePort": 30001}),
                vec![
                    "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400",
                    "spec.healthCheckNodePort: Invalid value: 30001: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
                    r#"spec.trafficDistribution: Unsupported value: "Far": supported values: "PreferClose", "PreferSameZone", "PreferSameNode""#,
                ],
            ),
            (
                json!({"ports": [{"port": 80}], "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "10.96.0.10"], "ipFamilies": ["IPv6", "IPv6"], "externalIPs": ["127.0.0.1"]}),
                vec![
                    r#"spec.ipFamilies[1]: Duplicate value: "IPv6""#,
                    r#"spec.clusterIPs: Invalid value: ["10.96.0.9","10.96.0.10"]: may specify no more than one IP for each IP family"#,
                    r#"spec.clusterIPs[0]: Invalid value: "10.96.0.9": expected an IPv6 value as indicated by `ipFamilies[0]`"#,
                    r#"spec.clusterIPs[1]: Invalid value: "10.96.0.10": expected an IPv6 value as indicated by `ipFamilies[1]`"#,
                    r#"spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#,
                ],
            ),
            (
                json!({"type": "ExternalName", "externalName": "a.b.", "clusterIPs": ["10.96.0.9"], "ipFamilyPolicy": "SingleStack"}),
                vec![
                    "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
                    "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services",
                ],
            ),
        ] {
            assert_eq!(mistakes(spec), expected);
        }
    }

    #[test]
    fn what_was_given_once_stays() {
        let resource = find("", "v1", "services").expect("served");
        let service = |spec: Value| {
            let mut service = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec});
            service["spec"]["ports"] = json!([{"port": 80}]);
            resource.default(&mut service);
            service
        };
        let addressed = |ip: &str| json!({"clusterIP": ip, "clusterIPs": [ip]});
        let balanced = |class: &str, port: u16| json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerClass": class, "healthCheckNodePort": port});
        for (is, was, expected) in [
            (
                addressed("10.96.0.9"),
                addressed("10.96.0.8"),
                vec![r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.9"]: may not change once set"#],
            ),
            (
                json!({}),
                addressed("10.96.0.8"),
                vec![r#"spec.clusterIPs[0]: Invalid value: "null": primary clusterIP can not be unset"#],
            ),
            (
                balanced("a/b", 30001),
                balanced("a/c", 30002),
                vec![
                    r#"spec.loadBalancerClass: Invalid value: "a/b": may not change once set"#,
                    "spec.healthCheckNodePort: Forbidden: field is immutable",
                ],
            ),
        ] {
            let found = resource.validate_update(&service(is), &service(was), None);
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn what_only_the_former_type_needed_goes() {
        let resource = find("", "v1", "services").expect("served");
        let old = json!({"spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001, "allocateLoadBalancerNodePorts": true, "loadBalancerClass": "a/b",
        }, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}});
        let mut new = old.clone();
        new["spec"]["type"] = json!("ExternalName");
        new["spec"]["loadBalancerClass"] = json!("a/c");
        resource.prepare_update(&mut new, &old, None);
        assert_eq!(new["spec"], json!({"type": "ExternalName", "loadBalancerClass": "a/c"}));
        assert_eq!(new["status"]["loadBalancer"], json!({}));
    }

    #[test]
    fn the_status_of_a_load_balancer_is_checked() {
        let resource = find("", "v1", "services").expect("served");
        let problems = |kind: &str, ingress: Value| {
            let mut service =
                json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"type": kind, "ports": [{"port": 80}]}});
            let old = service.clone();
            service["status"] = json!({"loadBalancer": {"ingress": [ingress]}});
            let found = resource.validate_update(&service, &old, Some("status"));
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            problems("ClusterIP", json!({"ip": "1.2.3.4"})),
            ["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"]
        );
        assert_eq!(
            problems(
                "LoadBalancer",
                json!({"ip": "x", "ipMode": "VIP", "hostname": "1.2.3.4"})
            ),
            [
                r#"status.loadBalancer.ingress[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
                r#"status.loadBalancer.ingress[0].hostname: Invalid value: "1.2.3.4": must be a DNS name, not an IP address"#,
            ]
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
