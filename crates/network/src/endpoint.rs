//! Which endpoints a service's traffic goes to.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::Endpoint;
use tokio::time::Instant;

use crate::view::Entry;

/// Affinities remembered before old ones are looked for.
const MEMORY: usize = 256;

/// Where connections to one port of a service go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backends {
    pub(crate) addresses: Vec<SocketAddr>,
    /// How long a client stays with its backend.
    pub(crate) affinity: Option<Duration>,
    /// Only those on the client's own node: `internalTrafficPolicy: Local`.
    pub(crate) local: bool,
}

/// Whether two addresses are of the same node: each has a block of its own for itself and its pods.
pub(crate) fn on_one_node(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets()[..3] == other.octets()[..3],
        _ => one == other,
    }
}

/// Takes traffic. A condition that is not given counts as met.
pub(crate) fn is_ready(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.is_none_or(|conditions| conditions.ready != Some(false))
}

/// Goes away, but still does its work.
fn is_draining(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().is_some_and(|conditions| {
        conditions.terminating == Some(true) && conditions.serving.or(conditions.ready) != Some(false)
    })
}

/// The backends of a port: all ready endpoints or, during a rollout that leaves none, those that are draining.
pub(crate) fn backends(entry: &Entry, port: &ServicePort) -> Backends {
    let addresses = |wanted: fn(&Endpoint) -> bool| {
        let mut addresses = Vec::new();
        for slice in &entry.slices {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let mut ports = slice.ports.iter().flatten();
            let found = ports.find(|candidate| {
                candidate.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default()
                    && candidate.protocol.as_deref().unwrap_or("TCP") == protocol
            });
            let number = found.and_then(|port| u16::try_from(port.port?).ok());
            let Some(number) = number.filter(|number| *number > 0) else {
                continue;
            };
            let endpoints = slice.endpoints.iter().flatten().filter(|endpoint| wanted(endpoint));
            let ips = endpoints.flat_map(|endpoint| &endpoint.addresses);
            addresses.extend(ips.filter_map(|ip| Some(SocketAddr::new(ip.parse().ok()?, number))));
        }
        addresses.sort();
        addresses.dedup();
        addresses
    };
    let mut chosen = addresses(is_ready);
    if chosen.is_empty() {
        chosen = addresses(is_draining);
    }
    Backends {
        addresses: chosen,
        affinity: affinity(&entry.service),
        local: false,
    }
}

fn affinity(service: &Service) -> Option<Duration> {
    let spec = service.spec.as_ref()?;
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec.session_affinity_config.as_ref();
    let seconds = config.and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    Some(Duration::from_secs(u64::try_from(seconds.unwrap_or(10_800)).ok()?))
}

/// Spreads connections: each goes to the next backend, unless its client belongs to one.
#[derive(Debug)]
pub(crate) struct Balancer {
    next: usize,
    clients: HashMap<IpAddr, (SocketAddr, Instant)>,
}

impl Balancer {
    /// Starts with the backend of this number; not all services should begin with their first one.
    pub(crate) fn new(next: usize) -> Self {
        Self {
            next,
            clients: HashMap::new(),
        }
    }

    /// The backends in the order in which to try them.
    pub(crate) fn order(&mut self, client: IpAddr, backends: &Backends) -> Vec<SocketAddr> {
        let mut order = backends.addresses.clone();
        if backends.local {
            order.retain(|address| on_one_node(address.ip(), client));
        }
        if order.is_empty() {
            return order;
        }
        let known = self.clients.get(&client).filter(|(_, since)| {
            let lifetime = backends.affinity;
            lifetime.is_some_and(|lifetime| since.elapsed() < lifetime)
        });
        let start = match known.and_then(|(address, _)| order.iter().position(|candidate| candidate == address)) {
            Some(start) => start,
            None => {
                self.next = self.next.wrapping_add(1);
                self.next % order.len()
            }
        };
        order.rotate_left(start);
        order
    }

    /// Remembers which backend serves a client.
    pub(crate) fn chosen(&mut self, client: IpAddr, address: SocketAddr, backends: &Backends) {
        let Some(lifetime) = backends.affinity else {
            self.clients.clear();
            return;
        };
        if self.clients.len() >= MEMORY {
            self.clients.retain(|_, (_, since)| since.elapsed() < lifetime);
        }
        self.clients.insert(client, (address, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn entry(spec: Value, slice: Value) -> Entry {
        Entry {
            service: Arc::new(serde_json::from_value(json!({ "spec": spec })).unwrap()),
            slices: vec![Arc::new(serde_json::from_value(slice).unwrap())],
        }
    }

    fn texts(entry: &Entry) -> Vec<String> {
        let port = &entry.service.spec.as_ref().unwrap().ports.as_ref().unwrap()[0];
        backends(entry, port)
            .addresses
            .iter()
            .map(SocketAddr::to_string)
            .collect()
    }

    #[test]
    fn traffic_goes_to_the_ready_endpoints_of_the_port_else_to_draining_ones() {
        let spec = json!({ "ports": [{ "name": "web", "port": 80 }] });
        let slice = |endpoints: Value| {
            json!({ "addressType": "IPv4", "endpoints": endpoints, "ports": [
                { "name": "admin", "port": 9000, "protocol": "TCP" },
                { "name": "web", "port": 53, "protocol": "UDP" },
                { "name": "web", "port": 8080, "protocol": "TCP" },
            ] })
        };
        let ready = json!({ "addresses": ["10.244.0.4"], "conditions": { "ready": true } });
        let unsaid = json!({ "addresses": ["10.244.0.3"] });
        let sick = json!({ "addresses": ["10.244.0.5"], "conditions": { "ready": false, "serving": false } });
        let draining = json!({ "addresses": ["10.244.0.6"],
            "conditions": { "ready": false, "serving": true, "terminating": true } });
        for (endpoints, expected) in [
            (
                json!([ready, unsaid, sick, draining]),
                vec!["10.244.0.3:8080", "10.244.0.4:8080"],
            ),
            (json!([sick, draining]), vec!["10.244.0.6:8080"]),
            (json!([sick]), vec![]),
        ] {
            assert_eq!(texts(&entry(spec.clone(), slice(endpoints))), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connections_go_round_and_a_client_with_affinity_stays_until_it_was_away_too_long() {
        let address = |n: u8| SocketAddr::from(([10, 244, 0, n], 80));
        let mut backends = Backends {
            addresses: vec![address(2), address(3), address(4)],
            affinity: None,
            local: false,
        };
        let (alice, bob) = (IpAddr::from([10, 244, 0, 9]), IpAddr::from([10, 244, 0, 8]));
        let mut balancer = Balancer::new(0);
        let mut first = |client, backends: &Backends| {
            let order = balancer.order(client, backends);
            assert_eq!(
                order.len(),
                backends.addresses.len(),
                "the others are tried when the first fails"
            );
            balancer.chosen(client, order[0], backends);
            order[0]
        };
        let round: Vec<_> = (0..4).map(|_| first(alice, &backends)).collect();
        assert_eq!(round, [address(3), address(4), address(2), address(3)]);

        backends.affinity = Some(Duration::from_secs(10));
        let home = first(alice, &backends);
        assert_ne!(first(bob, &backends), home);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(first(alice, &backends), home);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(first(alice, &backends), home, "each connection extends it");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_ne!(first(alice, &backends), home);
        let home = first(alice, &backends);
        backends.addresses.retain(|address| *address != home);
        assert_ne!(first(alice, &backends), home, "a backend that is gone is left");
    }

    #[test]
    fn local_traffic_stays_on_the_client_s_node() {
        let backends = Backends {
            addresses: vec![([10, 244, 0, 2], 80).into(), ([10, 244, 1, 2], 80).into()],
            affinity: None,
            local: true,
        };
        let mut balancer = Balancer::new(0);
        for (client, expected) in [
            ([10, 244, 1, 9], vec![backends.addresses[1]]),
            ([10, 244, 2, 9], vec![]),
        ] {
            assert_eq!(balancer.order(client.into(), &backends), expected, "{client:?}");
        }
    }

    #[test]
    fn affinity_lasts_three_hours_unless_the_service_says_otherwise() {
        let entry = |spec: Value| affinity(&entry(spec, json!({ "addressType": "IPv4", "endpoints": [] })).service);
        assert_eq!(entry(json!({ "sessionAffinity": "None" })), None);
        assert_eq!(
            entry(json!({ "sessionAffinity": "ClientIP" })),
            Some(Duration::from_secs(10_800))
        );
        let config =
            json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 7 } } });
        assert_eq!(entry(config), Some(Duration::from_secs(7)));
    }
}
