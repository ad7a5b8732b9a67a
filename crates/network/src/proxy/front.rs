//! The addresses that services should be reachable at.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::endpoint::{Backends, backends};
use crate::view::{Entry, Key, View};

/// Whose network an address is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The node's: for pods.
    Node,
    /// The host's: for people.
    Host,
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
    for (key, entry) in &view.services {
        let cluster_ips = entry.cluster_ips();
        if cluster_ips.is_empty() || cluster_ips.iter().any(|ip| taken(*ip)) {
            continue;
        }
        add(&mut fronts, key, entry, &cluster_ips, node_ip);
    }
    fronts
}

fn add(fronts: &mut BTreeMap<Front, Wanted>, key: &Key, entry: &Entry, cluster_ips: &[IpAddr], node_ip: IpAddr) {
    let Some(spec) = &entry.service.spec else { return };
    let outside = matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer"));
    for port in spec.ports.iter().flatten() {
        let datagrams = match port.protocol.as_deref() {
            None | Some("TCP") => false,
            Some("UDP") => true,
            Some(_) => continue,
        };
        let backends = backends(entry, port);
        if backends.addresses.is_empty() {
            continue;
        }
        let mut open = |place: Place, ip: IpAddr, number: i32| {
            let number = u16::try_from(number).unwrap_or_default();
            if number == 0 {
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
            open(Place::Node, *ip, port.port);
        }
        if let Some(number) = port.node_port.filter(|_| outside) {
            open(Place::Node, node_ip, number);
            open(Place::Host, Ipv4Addr::LOCALHOST.into(), number);
        }
    }
}
