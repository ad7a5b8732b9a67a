//! NetworkPolicies.

use super::Kind;
use crate::check::label::validate_selector;
use crate::check::name::port_name;
use crate::field::{Errors, Path};
use crate::json::{absent, default_to, existing, items, items_mut, set, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use crate::selector::LabelSelector;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::net::IpAddr;

pub(crate) struct NetworkPolicy;

const TYPES: &[&str] = &["Ingress", "Egress"];
const NOT_ENFORCED: &str =
    "this cluster does not enforce NetworkPolicies: pods stay reachable by all others, whatever the policy says";

impl Kind for NetworkPolicy {
    fn default(&self, policy: &mut Value) {
        let Some(spec) = existing(policy, "spec") else { return };
        for rules in ["ingress", "egress"] {
            for rule in items_mut(spec, rules) {
                items_mut(rule, "ports").for_each(|port| default_to(port, "protocol", "TCP"));
            }
        }
        if items(&spec["policyTypes"]).is_empty() {
            let egress = !items(&spec["egress"]).is_empty();
            set(
                spec,
                "policyTypes",
                if egress { json!(TYPES) } else { json!(["Ingress"]) },
            );
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, policy: &Value, errors: &mut Errors) {
        let (path, spec) = (Path::new("spec"), &policy["spec"]);
        validate_selector(&spec["podSelector"], &path.child("podSelector"), errors);
        for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
            for (i, rule) in items(&spec[rules]).iter().enumerate() {
                let at = path.child(rules).index(i);
                for (i, port) in items(&rule["ports"]).iter().enumerate() {
                    validate_port(port, &at.child("ports").index(i), errors);
                }
                for (i, peer) in items(&rule[peers]).iter().enumerate() {
                    validate_peer(peer, &at.child(peers).index(i), errors);
                }
            }
        }
        let at = path.child("policyTypes");
        let types = items(&spec["policyTypes"]);
        if types.len() > TYPES.len() {
            errors.invalid(&at, json!(types), "may not specify more than two policyTypes");
            return;
        }
        for (i, kind) in types.iter().filter_map(Value::as_str).enumerate() {
            if !TYPES.contains(&kind) {
                errors.not_supported(&at.index(i), kind, TYPES);
            }
        }
    }

    fn warnings(&self, _policy: &Value, _old: Option<&Value>) -> Vec<String> {
        vec![NOT_ENFORCED.to_owned()]
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Pod-Selector", "The pods that it is about."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, policy: &Value, now: Timestamp) -> Row {
        let selector = LabelSelector::from_object(&policy["spec"]["podSelector"]);
        let selector = selector.map(|selector| selector.to_string()).unwrap_or_default();
        Row::new(vec![
            json!(name_of(policy)),
            json!(if selector.is_empty() { "<none>" } else { &selector }),
            json!(age_of(policy, now)),
        ])
    }
}

fn validate_port(port: &Value, path: &Path, errors: &mut Errors) {
    let protocols = ["TCP", "UDP", "SCTP"];
    if !protocols.contains(&text(port, "protocol")) {
        errors.not_supported(&path.child("protocol"), text(port, "protocol"), &protocols);
    }
    let (end, has_end) = (port["endPort"].as_i64().unwrap_or(0), !absent(port, "endPort"));
    let range = "must be between 1 and 65535, inclusive";
    let valid = 1..=65535;
    match &port["port"] {
        Value::String(name) => {
            if has_end {
                errors.invalid(
                    &path.child("endPort"),
                    end,
                    "may not be specified when `port` is non-numeric",
                );
            }
            for problem in port_name(name) {
                errors.invalid(&path.child("port"), name.as_str(), problem);
            }
        }
        Value::Null if has_end => {
            errors.invalid(
                &path.child("endPort"),
                end,
                "may not be specified when `port` is not specified",
            );
        }
        Value::Null => {}
        number => {
            let number = number.as_i64().unwrap_or(0);
            if !valid.contains(&number) {
                errors.invalid(&path.child("port"), number, range);
            }
            if has_end && end < number {
                errors.invalid(
                    &path.child("endPort"),
                    number,
                    "must be greater than or equal to `port`",
                );
            }
            if has_end && !valid.contains(&end) {
                errors.invalid(&path.child("endPort"), end, range);
            }
        }
    }
}

fn validate_peer(peer: &Value, path: &Path, errors: &mut Errors) {
    let kinds = ["podSelector", "namespaceSelector", "ipBlock"];
    let given: Vec<&str> = kinds.into_iter().filter(|kind| !absent(peer, kind)).collect();
    for kind in given.iter().filter(|kind| **kind != "ipBlock") {
        validate_selector(&peer[*kind], &path.child(kind), errors);
    }
    if given.contains(&"ipBlock") {
        validate_block(&peer["ipBlock"], &path.child("ipBlock"), errors);
    }
    if given.is_empty() {
        errors.required(path, "must specify a peer");
    } else if given.len() > 1 && given.contains(&"ipBlock") {
        errors.forbidden(path, "may not specify both ipBlock and another peer");
    }
}

fn validate_block(block: &Value, path: &Path, errors: &mut Errors) {
    let cidr = text(block, "cidr");
    if cidr.is_empty() {
        return errors.required(&path.child("cidr"), "");
    }
    let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    let Some(whole) = parse(cidr) else {
        return errors.invalid(&path.child("cidr"), cidr, detail);
    };
    for (i, except) in items(&block["except"]).iter().filter_map(Value::as_str).enumerate() {
        let at = path.child("except").index(i);
        match parse(except) {
            None => errors.invalid(&at, except, detail),
            Some(part) if !strictly_within(part, whole) => {
                errors.invalid(&at, except, "must be a strict subset of `cidr`");
            }
            Some(_) => {}
        }
    }
}

/// The bits of a network's address, aligned to the left, with how many of them count and how many there are.
type Network = (u128, u32, u32);

fn parse(cidr: &str) -> Option<Network> {
    let (address, length) = cidr.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    let (bits, width) = match address.parse().ok()? {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()) << 96, 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    (length <= width).then_some((bits, length, width))
}

fn strictly_within((bits, length, width): Network, (whole, of, in_all): Network) -> bool {
    let mask = |length: u32| u128::MAX.checked_shl(128 - length).unwrap_or(0);
    width == in_all && length > of && bits & mask(of) == whole & mask(of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    #[test]
    fn mistakes_in_a_policy_are_named_and_that_nobody_enforces_it() {
        let resource = find("networking.k8s.io", "v1", "networkpolicies").expect("served");
        for (ingress, expected) in [
            (json!([{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}]), ""),
            (
                json!([{"from": [{}]}]),
                "spec.ingress[0].from[0]: Required value: must specify a peer",
            ),
            (
                json!([{"ports": [{"port": 80, "endPort": 79}, {"endPort": 1}]}]),
                "spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`|spec.ingress[0].ports[1].endPort: Invalid value: 1: may not be specified when `port` is not specified",
            ),
            (
                json!([{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/16"]}}]}]),
                "spec.ingress[0].from[0].ipBlock.except[1]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
            ),
            (
                json!([{"from": [{"ipBlock": {"cidr": "x"}, "podSelector": {}}]}]),
                "spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)|spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer",
            ),
        ] {
            let mut policy =
                json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"podSelector": {}, "ingress": ingress}});
            resource.default(&mut policy);
            assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
            let found = resource.validate_create(&policy);
            let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(lines.join("|"), expected);
            assert_eq!(resource.warnings(&policy, None), [NOT_ENFORCED]);
        }
    }
}
