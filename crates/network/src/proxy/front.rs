//! The addresses that services should be reachable at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::endpoint::{Backends, backends, on_one_node};
use crate::view::{Entry, View};
use knarr_client::key::Key;

/// Whose network an address is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The node's: for pods.
    Node,
    /// The host's: for people.
    Host,
    /// The host's, at the address of a load balancer. As elsewhere, that is open whether or not there are endpoints.
    Balancer,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Front {
    pub(super) place: Place,
    pub(super) address: SocketAddr,
    pub(super) datagrams: bool,
}

impl fmt::Display for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.datagrams { "udp" } else { "tcp" };
        write!(f, "{}/{protocol}", self.address)
    }
}

/// What a front serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) service: Key,
    pub(super) backends: Backends,
}

/// All fronts of all services that have somewhere to send their traffic.
pub(super) fn wanted(view: &View, node_ip: IpAddr, taken: &dyn Fn(IpAddr) -> bool) -> BTreeMap<Front, Wanted> {
    let mut fronts = BTreeMap::new();
    // Those of other networks, simulated ones for instance, are nowhere to listen at.
    let mut nodes: BTreeSet<IpAddr> = view
        .nodes
        .iter()
        .copied()
        .filter(|ip| are_neighbours(*ip, node_ip))
        .collect();
    nodes.insert(node_ip);
    for (key, entry) in &view.services {
        let cluster_ips = entry.cluster_ips();
        if cluster_ips.is_empty() || cluster_ips.iter().any(|ip| taken(*ip)) {
            continue;
        }
        add(&mut fronts, key, entry, &cluster_ips, &nodes);
    }
    fronts
}

/// Whether two nodes are on one link.
fn are_neighbours(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets()[..2] == other.octets()[..2],
        _ => false,
    }
}

fn add(
    fronts: &mut BTreeMap<Front, Wanted>,
    key: &Key,
    entry: &Entry,
    cluster_ips: &[IpAddr],
    nodes: &BTreeSet<IpAddr>,
) {
    let Some(spec) = &entry.service.spec else { return };
    let is_local = |policy: &Option<String>| policy.as_deref() == Some("Local");
    let outside = matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer"));
    for port in spec.ports.iter().flatten() {
        let datagrams = match port.protocol.as_deref() {
            None | Some("TCP") => false,
            Some("UDP") => true,
            Some(_) => continue,
        };
        let all = backends(entry, port);
        let mut open = |place: Place, ip: IpAddr, number: i32, backends: &Backends| {
            let number = u16::try_from(number).unwrap_or_default();
            if number == 0 || (backends.addresses.is_empty() && place != Place::Balancer) {
                return;
            }
            let front = Front {
                place,
                address: SocketAddr::new(ip, number),
                datagrams,
            };
            let service = key.clone();
            let backends = backends.clone();
            fronts.insert(front, Wanted { service, backends });
        };
        for ip in cluster_ips {
            let inside = Backends {
                local: is_local(&spec.internal_traffic_policy),
                ..all.clone()
            };
            open(Place::Node, *ip, port.port, &inside);
        }
        if let Some(number) = port.node_port.filter(|_| outside) {
            for node in nodes {
                let mut own = all.clone();
                if is_local(&spec.external_traffic_policy) {
                    own.addresses.retain(|address| on_one_node(address.ip(), *node));
                }
                open(Place::Node, *node, number, &own);
            }
            // The host stands for a client outside, who is led to a node that has what it wants.
            open(Place::Host, Ipv4Addr::LOCALHOST.into(), number, &all);
        }
        if let Some(ip) = balancer_ip(entry) {
            open(Place::Balancer, ip.into(), port.port, &all);
        }
    }
}

/// The address of a service's load balancer: 127.96.5.70 for 10.96.5.70. All of 127.0.0.0/8 is the host's own, so each
/// balancer has its ports for itself, and no program of other hosts can reach them.
pub(super) fn balancer_ip(entry: &Entry) -> Option<Ipv4Addr> {
    let spec = entry.service.spec.as_ref()?;
    if spec.type_.as_deref() != Some("LoadBalancer") || spec.load_balancer_class.is_some() {
        return None;
    }
    let mut ips = entry.cluster_ips().into_iter();
    ips.find_map(|ip| match ip {
        IpAddr::V4(ip) => {
            let [_, b, c, d] = ip.octets();
            Some(Ipv4Addr::new(127, b, c, d))
        }
        IpAddr::V6(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn fronts(spec: Value, ready: bool) -> Vec<String> {
        let service = json!({ "metadata": { "name": "web", "namespace": "shop" }, "spec": spec });
        let slice = json!({
            "metadata": { "name": "web-x", "namespace": "shop", "labels": { "kubernetes.io/service-name": "web" } },
            "addressType": "IPv4", "ports": [{ "port": 8080, "protocol": "TCP" }, { "port": 53, "protocol": "UDP" }],
            "endpoints": [{ "addresses": ["10.244.0.2"], "conditions": { "ready": ready } }],
        });
        let view = View {
            nodes: [[10, 244, 1, 1].into(), [10, 64, 0, 1].into()].into(),
            ..View::new(
                vec![Arc::new(serde_json::from_value(service).unwrap())],
                vec![Arc::new(serde_json::from_value(slice).unwrap())],
                1,
            )
        };
        let taken = |ip: IpAddr| ip == IpAddr::from([10, 96, 0, 1]);
        let wanted = wanted(&view, [10, 244, 0, 1].into(), &taken);
        let lines = wanted.into_iter().map(|(front, wanted)| {
            let backends: Vec<String> = wanted.backends.addresses.iter().map(SocketAddr::to_string).collect();
            format!("{:?} {front} -> {}", front.place, backends.join(" "))
        });
        lines.collect()
    }

    #[test]
    fn services_are_reachable_where_their_type_says_while_they_have_endpoints() {
        let ports = json!([{ "port": 80, "nodePort": 30080 }]);
        let inside = "Node 10.96.0.7:80/tcp -> 10.244.0.2:8080";
        let node = "Node 10.244.0.1:30080/tcp -> 10.244.0.2:8080";
        let other = "Node 10.244.1.1:30080/tcp -> 10.244.0.2:8080";
        let host = "Host 127.0.0.1:30080/tcp -> 10.244.0.2:8080";
        let balancer = "Balancer 127.96.0.7:80/tcp -> 10.244.0.2:8080";
        let spec = |kind: &str| json!({ "type": kind, "clusterIP": "10.96.0.7", "ports": ports });
        assert_eq!(fronts(spec("ClusterIP"), true), [inside]);
        assert_eq!(fronts(spec("NodePort"), true), [inside, node, other, host]);
        assert_eq!(
            fronts(spec("LoadBalancer"), true),
            [inside, node, other, host, balancer]
        );
        let mut local = spec("NodePort");
        local["externalTrafficPolicy"] = "Local".into();
        assert_eq!(
            fronts(local, true),
            [inside, node, host],
            "only a node with an endpoint answers"
        );
        for kind in ["ClusterIP", "NodePort"] {
            assert!(
                fronts(spec(kind), false).is_empty(),
                "connections to nowhere are refused"
            );
        }
        assert_eq!(fronts(spec("LoadBalancer"), false), ["Balancer 127.96.0.7:80/tcp -> "]);
        let udp = json!({ "clusterIP": "10.96.0.7", "ports": [{ "port": 53, "protocol": "UDP" }] });
        assert_eq!(fronts(udp, true), ["Node 10.96.0.7:53/udp -> 10.244.0.2:53"]);
        for ip in ["None", "", "10.96.0.1"] {
            let spec = json!({ "clusterIP": ip, "ports": ports });
            assert!(fronts(spec, true).is_empty(), "{ip:?} is not for the proxy");
        }
    }
}
