//! Where the pods of a Service are: Endpoints and their successor, EndpointSlices.

use super::Kind;
use crate::field::{Errors, Path};
use crate::json::{absent, default_to, items, items_mut, set, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::net::IpAddr;

pub(crate) struct Endpoints;

pub(crate) struct EndpointSlice;

/// More than this many would make a row too long.
const SHOWN: usize = 3;
const SLICE_SIZE: usize = 1000;
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

impl Kind for Endpoints {
    fn default(&self, endpoints: &mut Value) {
        for subset in items_mut(endpoints, "subsets") {
            for port in items_mut(subset, "ports") {
                default_to(port, "protocol", "TCP");
            }
        }
    }

    fn validate(&self, endpoints: &Value, errors: &mut Errors) {
        for (i, subset) in items(&endpoints["subsets"]).iter().enumerate() {
            let at = Path::new("subsets").index(i);
            if items(&subset["addresses"]).is_empty() && items(&subset["notReadyAddresses"]).is_empty() {
                errors.required(&at, "must specify `addresses` or `notReadyAddresses`");
            }
            for list in ["addresses", "notReadyAddresses"] {
                for (j, address) in items(&subset[list]).iter().enumerate() {
                    validate_ip(text(address, "ip"), &at.child(list).index(j).child("ip"), errors);
                }
            }
            for (j, port) in items(&subset["ports"]).iter().enumerate() {
                let at = at.child("ports").index(j);
                let number = port["port"].as_i64().unwrap_or(0);
                if !(1..=65535).contains(&number) {
                    errors.invalid(&at.child("port"), number, "must be between 1 and 65535, inclusive");
                }
                errors.one_of(&at.child("protocol"), &port["protocol"], PROTOCOLS);
            }
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Endpoints", "Addresses that are ready, with their ports."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, endpoints: &Value, now: Timestamp) -> Row {
        let subsets = items(&endpoints["subsets"]);
        let mut list = Vec::new();
        for subset in subsets {
            let addresses = items(&subset["addresses"]).iter().map(|a| text(a, "ip"));
            if items(&subset["ports"]).is_empty() {
                list.extend(addresses.map(str::to_owned));
                continue;
            }
            for port in items(&subset["ports"]) {
                let number = port["port"].as_i64().unwrap_or(0);
                list.extend(addresses.clone().map(|ip| join(ip, number)));
            }
        }
        let shown = if subsets.is_empty() {
            "<none>".to_owned()
        } else {
            shorten(&list)
        };
        Row::new(vec![
            json!(name_of(endpoints)),
            json!(shown),
            json!(age_of(endpoints, now)),
        ])
    }

    fn creates_on_update(&self) -> bool {
        true
    }
}

impl Kind for EndpointSlice {
    fn default(&self, slice: &mut Value) {
        for port in items_mut(slice, "ports") {
            if absent(port, "name") {
                set(port, "name", "");
            }
            default_to(port, "protocol", "TCP");
        }
    }

    fn validate(&self, slice: &Value, errors: &mut Errors) {
        errors.one_of(
            &Path::new("addressType"),
            &slice["addressType"],
            &["FQDN", "IPv4", "IPv6"],
        );
        let endpoints = items(&slice["endpoints"]);
        if endpoints.len() > SLICE_SIZE {
            errors.too_many(&Path::new("endpoints"), endpoints.len(), SLICE_SIZE);
        }
        for (i, endpoint) in endpoints.iter().enumerate() {
            let at = Path::new("endpoints").index(i).child("addresses");
            let addresses = items(&endpoint["addresses"]);
            if addresses.is_empty() {
                errors.required(&at, "must contain at least 1 address");
            }
            for (j, address) in addresses.iter().enumerate() {
                if text(slice, "addressType") != "FQDN" {
                    validate_ip(address.as_str().unwrap_or_default(), &at.index(j), errors);
                }
            }
        }
        for (i, port) in items(&slice["ports"]).iter().enumerate() {
            let at = Path::new("ports").index(i).child("protocol");
            errors.one_of(&at, &port["protocol"], PROTOCOLS);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        self.validate(new, errors);
        if new["addressType"] != old["addressType"] {
            let shown = new["addressType"].clone();
            errors.invalid(&Path::new("addressType"), shown, "field is immutable");
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn desired(&self, slice: &Value) -> Value {
        json!([slice["endpoints"], slice["ports"], slice["addressType"]])
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("AddressType", "What the addresses are."),
            Column::text("Ports", "Ports of every address."),
            Column::text("Endpoints", "The addresses."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, slice: &Value, now: Timestamp) -> Row {
        let ports: Vec<String> = items(&slice["ports"])
            .iter()
            .map(|port| port["port"].as_i64().map_or_else(|| "*".to_owned(), |n| n.to_string()))
            .collect();
        let addresses: Vec<String> = items(&slice["endpoints"])
            .iter()
            .flat_map(|e| items(&e["addresses"]))
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect();
        let or_unset = |list: &[String]| match list {
            [] => "<unset>".to_owned(),
            _ => shorten(list),
        };
        Row::new(vec![
            json!(name_of(slice)),
            json!(text(slice, "addressType")),
            json!(or_unset(&ports)),
            json!(or_unset(&addresses)),
            json!(age_of(slice, now)),
        ])
    }
}

pub(super) fn validate_ip(text: &str, path: &Path, errors: &mut Errors) {
    let Ok(ip) = text.parse::<IpAddr>() else {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.invalid(path, text, detail);
        return;
    };
    if is_pod_without_network(ip) {
        return;
    }
    // An address that means another machine to everybody who uses it, or the one it is used on, is no endpoint.
    let ip = ip.to_canonical();
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let link_local_multicast = match ip {
        IpAddr::V4(ip) => ip.octets().starts_with(&[224, 0, 0]),
        IpAddr::V6(ip) => ip.is_multicast() && ip.segments()[0] & 0xf == 2,
    };
    for (is, detail) in [
        (ip.is_unspecified(), "may not be unspecified (0.0.0.0 or ::)"),
        (
            ip.is_loopback(),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            link_local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        ),
        (
            link_local_multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
    ] {
        if is {
            errors.invalid(path, text, detail);
        }
    }
}

/// Pods that are plain processes have addresses out of this range of the loopback, which nothing else uses.
fn is_pod_without_network(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets().starts_with(&[127, 244]))
}

fn join(ip: &str, port: i64) -> String {
    if ip.contains(':') {
        return format!("[{ip}]:{port}");
    }
    format!("{ip}:{port}")
}

fn shorten(list: &[String]) -> String {
    let shown = list[..list.len().min(SHOWN)].join(",");
    match list.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_show_the_first_few_addresses() {
        let addresses: Vec<Value> = (1..=5).map(|i| json!({"ip": format!("10.0.0.{i}")})).collect();
        let endpoints = json!({"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]});
        assert_eq!(
            Endpoints.row(&endpoints, Timestamp::UNIX_EPOCH).cells[1],
            "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."
        );
        assert_eq!(Endpoints.row(&json!({}), Timestamp::UNIX_EPOCH).cells[1], "<none>");
        let slice =
            json!({"addressType": "IPv4", "ports": [{"port": 80}, {}], "endpoints": [{"addresses": ["10.0.0.1"]}]});
        assert_eq!(
            EndpointSlice.row(&slice, Timestamp::UNIX_EPOCH).cells[1..4],
            ["IPv4", "80,*", "10.0.0.1"]
        );
        assert_eq!(
            EndpointSlice.row(&json!({}), Timestamp::UNIX_EPOCH).cells[2..4],
            ["<unset>", "<unset>"]
        );
    }

    #[test]
    fn addresses_that_every_machine_has_for_itself_are_refused() {
        for (ip, detail) in [
            ("127.0.0.1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
            (
                "::ffff:127.0.0.1",
                "may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ),
            ("::1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
            ("0.0.0.0", "may not be unspecified (0.0.0.0 or ::)"),
            (
                "169.254.169.254",
                "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
            ),
            (
                "fe80::1",
                "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
            ),
            (
                "224.0.0.1",
                "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
            ),
        ] {
            let mut errors = Errors::new();
            Endpoints.validate(&json!({"subsets": [{"addresses": [{"ip": ip}]}]}), &mut errors);
            EndpointSlice.validate(
                &json!({"addressType": "IPv4", "endpoints": [{"addresses": [ip]}]}),
                &mut errors,
            );
            let lines: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            let expected = ["subsets[0].addresses[0].ip", "endpoints[0].addresses[0]"];
            assert_eq!(
                lines,
                expected.map(|at| format!("{at}: Invalid value: {ip:?}: {detail}"))
            );
        }
        let mut errors = Errors::new();
        Endpoints.validate(
            &json!({"subsets": [{"addresses": [{"ip": "127.244.0.1"}]}]}),
            &mut errors,
        );
        assert!(errors.into_vec().is_empty(), "a pod that is a plain process");
    }

    #[test]
    fn addresses_must_be_addresses() {
        let mut errors = Errors::new();
        let subsets = json!({"subsets": [{}, {"addresses": [{"ip": "x"}], "ports": [{"port": 0, "protocol": "TCP"}]}]});
        Endpoints.validate(&subsets, &mut errors);
        EndpointSlice.validate(&json!({"endpoints": [{}]}), &mut errors);
        let lines: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
                "subsets[1].addresses[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "subsets[1].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "addressType: Required value",
                "endpoints[0].addresses: Required value: must contain at least 1 address",
            ]
        );
    }
}
