//! What a name stands for.

use std::collections::HashSet;
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::Endpoint;

use crate::endpoint::is_ready;
use crate::view::{Entry, View};
use knarr_client::key::Key;

/// The version of the scheme of names, which clusters tell under `dns-version`.
const SCHEMA: &str = "1.1.0";

/// A named port somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) port: u16,
    /// Relative to the cluster's domain.
    pub(super) target: String,
    pub(super) address: IpAddr,
}

/// All that is known about a name. A name without anything exists all the same: others end with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) servers: Vec<Server>,
    /// The name that this is another name for.
    pub(super) alias: Option<String>,
    pub(super) text: Option<&'static str>,
    /// This is the cluster's domain itself.
    pub(super) is_apex: bool,
}

/// What a name stands for, given as labels below the cluster's domain. `None` if there is no such name.
pub(super) fn resolve(view: &View, labels: &[&str]) -> Option<Facts> {
    let exists = Some(Facts::default());
    match labels {
        [] => Some(Facts {
            is_apex: true,
            ..Facts::default()
        }),
        ["dns-version"] => Some(Facts {
            text: Some(SCHEMA),
            ..Facts::default()
        }),
        ["svc" | "pod"] => exists,
        [namespace, "svc" | "pod"] => has_namespace(view, namespace).then(Facts::default),
        [address, namespace, "pod"] if has_namespace(view, namespace) => Some(Facts {
            addresses: vec![undashed(address)?],
            ..Facts::default()
        }),
        [rest @ .., service, namespace, "svc"] => {
            let entry = view.services.get(&Key::new(*namespace, *service))?;
            let name = format!("{service}.{namespace}.svc");
            match rest {
                [] => whole(entry, &name),
                [port, protocol] => {
                    let wanted = (port.strip_prefix('_')?, protocol.strip_prefix('_')?);
                    let facts = facts(entry, &name, None, Some(wanted));
                    Some(facts).filter(|facts| !facts.servers.is_empty())
                }
                [host] => {
                    let facts = facts(entry, &name, Some(host), None);
                    Some(facts).filter(|facts| !facts.addresses.is_empty())
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn has_namespace(view: &View, namespace: &str) -> bool {
    let first = Key::new(namespace, "");
    let mut from = view.services.range(first..);
    namespace == "default" || from.next().is_some_and(|(key, _)| key.namespace == namespace)
}

fn whole(entry: &Entry, name: &str) -> Option<Facts> {
    if let Some(alias) = entry.external_name() {
        return Some(Facts {
            alias: Some(alias.trim_end_matches('.').to_string()),
            ..Facts::default()
        });
    }
    let facts = facts(entry, name, None, None);
    // A headless service without pods has nothing to stand for.
    Some(facts).filter(|facts| !facts.addresses.is_empty())
}

/// Addresses and ports of a service: its own or, when it is headless or one `host` is asked for, its endpoints'.
fn facts(entry: &Entry, name: &str, host: Option<&str>, port: Option<(&str, &str)>) -> Facts {
    let mut facts = Facts::default();
    if host.is_none() && !entry.is_headless() {
        let spec = entry.service.spec.as_ref();
        facts.addresses = entry.cluster_ips();
        for service_port in spec.iter().flat_map(|spec| spec.ports.iter().flatten()) {
            let label = (service_port.name.as_deref(), service_port.protocol.as_deref());
            let number = u16::try_from(service_port.port).ok();
            let number = number.filter(|_| is_port(label, port));
            facts.servers.extend(number.into_iter().flat_map(|port| {
                let target = name.to_string();
                facts.addresses.iter().map(move |address| Server {
                    port,
                    target: target.clone(),
                    address: *address,
                })
            }));
        }
        return facts;
    }
    let mut seen = HashSet::new();
    for slice in &entry.slices {
        for endpoint in slice
            .endpoints
            .iter()
            .flatten()
            .filter(|endpoint| is_published(entry, endpoint))
        {
            for address in endpoint.addresses.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()) {
                let label = host_label(endpoint, address);
                if host.is_some_and(|host| !label.eq_ignore_ascii_case(host)) {
                    continue;
                }
                if seen.insert(address) {
                    facts.addresses.push(address);
                }
                let ports = slice.ports.iter().flatten();
                let ports = ports.filter(|found| is_port((found.name.as_deref(), found.protocol.as_deref()), port));
                let numbers = ports.filter_map(|found| u16::try_from(found.port?).ok());
                facts.servers.extend(numbers.map(|port| Server {
                    port,
                    target: format!("{label}.{name}"),
                    address,
                }));
            }
        }
    }
    facts
}

fn is_published(entry: &Entry, endpoint: &Endpoint) -> bool {
    let spec = entry.service.spec.as_ref();
    let all = spec.is_some_and(|spec| spec.publish_not_ready_addresses == Some(true));
    all || is_ready(endpoint)
}

fn is_port((name, protocol): (Option<&str>, Option<&str>), wanted: Option<(&str, &str)>) -> bool {
    wanted.is_none_or(|(wanted_name, wanted_protocol)| {
        name.is_some_and(|name| name.eq_ignore_ascii_case(wanted_name))
            && protocol.unwrap_or("TCP").eq_ignore_ascii_case(wanted_protocol)
    })
}

/// A pod with a hostname of its own goes by it, another by its address.
fn host_label(endpoint: &Endpoint, address: IpAddr) -> String {
    let hostname = endpoint.hostname.clone().filter(|hostname| !hostname.is_empty());
    hostname.unwrap_or_else(|| match address {
        IpAddr::V4(address) => address.to_string().replace('.', "-"),
        IpAddr::V6(address) => address.to_string().replace(':', "-"),
    })
}

fn undashed(label: &str) -> Option<IpAddr> {
    let v4 = label.replace('-', ".").parse().ok();
    v4.or_else(|| label.replace('-', ":").parse().ok())
}

/// The names of an address, relative to the cluster's domain.
pub(super) fn reverse(view: &View, address: IpAddr) -> Vec<String> {
    let mut names = Vec::new();
    for key in view.by_address.get(&address).into_iter().flatten() {
        let Some(entry) = view.services.get(key) else { continue };
        let name = format!("{}.{}.svc", key.name, key.namespace);
        if entry.cluster_ips().contains(&address) {
            names.push(name);
            continue;
        }
        let endpoints = entry.slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
        let mut endpoints = endpoints.filter(|endpoint| is_published(entry, endpoint));
        let text = address.to_string();
        if let Some(endpoint) = endpoints.find(|endpoint| endpoint.addresses.contains(&text)) {
            names.push(format!("{}.{name}", host_label(endpoint, address)));
        }
    }
    names
}
