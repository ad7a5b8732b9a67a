//! The nodes' networks: a bridge for each, and a veth pair per pod. The bridges of further nodes are plugged into the first one's.
//!
//! ```text
//! first node's netns          pod netns
//!  knarr0 10.244.0.1/16
//!   |- veth2 ---------------- eth0 10.244.0.2/16, default via 10.244.0.1
//!   |- veth3 ---------------- eth0 10.244.0.3/16
//!   |- node1 --.
//!              |  node 1's netns           pod netns
//!              `-- uplink
//!                  knarr0 10.244.1.1/16
//!                   |- veth2 ------------- eth0 10.244.1.2/16, default via 10.244.0.1
//! ```
//!
//! All pods of all nodes are neighbours on one link, so nothing is routed and forwarding stays off; cutting a node off is taking its link
//! down. All service IPs are local to the first node (one "AnyIP" route), so that a listener on any `10.96.x.y:port` in its network answers
//! the pods of every node without a packet filter. The host's own network is never touched, not even as root.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};

use super::namespace::{Home, Shared};
use crate::linux::wire::{Context, Failure};

/// The first node's number and address: the gateway of all pods.
pub(crate) const FIRST: u8 = 0;
const GATEWAY: Ipv4Addr = node_ip(FIRST);
/// All nodes' pods together.
const PREFIX: u8 = 16;
const SERVICES: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 96, 0, 0), 16);
const LOCAL_TABLE: u8 = 255;
const BRIDGE: &str = "knarr0";
const UPLINK: &str = "uplink";

/// A node's own address.
pub(crate) const fn node_ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, number, 1)
}

/// The number of the node whose own address this is.
pub(super) fn node_at(address: IpAddr) -> Option<u8> {
    match address {
        IpAddr::V4(address) => Some(address.octets()[2]).filter(|number| node_ip(*number) == address),
        IpAddr::V6(_) => None,
    }
}

/// Hands out a node's pod addresses. Goes round before it reuses one: clients may still hold a connection to a pod that is gone.
#[derive(Debug)]
pub(super) struct Addresses {
    node: u8,
    taken: HashSet<u8>,
    last: u8,
}

impl Addresses {
    pub(super) fn new(node: u8) -> Self {
        Self {
            node,
            taken: HashSet::new(),
            last: 1,
        }
    }

    pub(super) fn take(&mut self) -> Option<Ipv4Addr> {
        let order = (self.last.saturating_add(1)..=254).chain(2..=self.last);
        let host = order.filter(|h| *h < 255).find(|h| !self.taken.contains(h))?;
        self.taken.insert(host);
        self.last = host;
        let [a, b, c, _] = node_ip(self.node).octets();
        Some(Ipv4Addr::new(a, b, c, host))
    }

    pub(super) fn give_back(&mut self, address: Ipv4Addr) {
        self.taken.remove(&address.octets()[3]);
    }
}

/// Configures the network namespace this process is in as the first node's.
pub(super) fn prepare_node() -> Result<(), Failure> {
    // Pods reach the service addresses and each other through the bridge; nothing is routed, so forwarding stays off.
    let mut netlink = bridge(FIRST)?;
    let mut services = route(SERVICES.0, SERVICES.1);
    services.header.table = LOCAL_TABLE;
    services.header.kind = RouteType::Local;
    services.header.scope = RouteScope::Host;
    services
        .attributes
        .push(RouteAttribute::Oif(index_of("lo").context("find the loopback")?));
    netlink
        .create(RouteNetlinkMessage::NewRoute(services))
        .context("make service addresses local")
}

/// Makes the network of a further node, and plugs it into the first one's. Runs in, and comes back to, the latter.
pub(super) fn join_node(home: &Home, number: u8) -> Result<Shared, Failure> {
    let node = home.visit(|| {
        unshare(CloneFlags::CLONE_NEWNET).context("make the node's network")?;
        bridge(number)?;
        Shared::current()
    })?;
    let mut first = Netlink::open()?;
    // A link left by a node that had this number and whose network the kernel has not taken down yet.
    drop(first.delete(&port_name(number)));
    let hub = index_of(BRIDGE).context("find the first node's bridge")?;
    let link = veth(
        port_name(number),
        hub,
        UPLINK.into(),
        None,
        node.network().as_fd().as_raw_fd(),
    );
    first
        .create(RouteNetlinkMessage::NewLink(link))
        .context("create the node's link")?;
    home.visit(|| {
        node.enter_network()?;
        let mut inside = Netlink::open()?;
        let bridge = index_of(BRIDGE).context("find the node's bridge")?;
        inside.plug(UPLINK, bridge).context("plug the node's link in")?;
        inside.gateway().context("add the node's default route")
    })?;
    Ok(node)
}

/// Takes a further node's link down, or up again. Runs in the first node's network.
pub(super) fn connect_node(number: u8, connected: bool) -> Result<(), Failure> {
    let link = port_name(number);
    Netlink::open()?
        .set_link(&link, connected)
        .with_context(|| format!("set the link {link}"))
}

/// A bridge for pods in the network namespace this process is in, with the node's address.
fn bridge(number: u8) -> Result<Netlink, Failure> {
    open_low_ports();
    let address = node_ip(number);
    let mut netlink = Netlink::open()?;
    netlink.set_link("lo", true).context("bring up the loopback")?;
    let mut bridge = LinkMessage::default();
    bridge.attributes = vec![
        LinkAttribute::IfName(BRIDGE.into()),
        // Without one of its own a bridge takes the lowest of its ports', so that each pod that comes or goes may change it, and what the
        // others have learned of their gateway is wrong for half a minute.
        LinkAttribute::Address(hardware_address(address)),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
    ];
    netlink
        .create(RouteNetlinkMessage::NewLink(bridge))
        .context("create the pods' bridge")?;
    netlink
        .add_address(BRIDGE, address)
        .context("give the bridge its address")?;
    netlink.set_link(BRIDGE, true).context("bring up the bridge")?;
    Ok(netlink)
}

/// Wires a pod's network to its node's bridge. Comes back to the network it ran in.
pub(super) fn connect_pod(home: &Home, node: &Shared, pod: &Shared, address: Ipv4Addr) -> Result<(), Failure> {
    home.visit(|| {
        node.enter_network()?;
        let mut node = Netlink::open()?;
        // A link left by a pod that had this address and whose network the kernel has not taken down yet.
        drop(node.delete(&link_name(address)));
        let bridge = index_of(BRIDGE).context("find the pods' bridge")?;
        let link = veth(
            link_name(address),
            bridge,
            "eth0".into(),
            Some(address),
            pod.network().as_fd().as_raw_fd(),
        );
        node.create(RouteNetlinkMessage::NewLink(link))
            .context("create the pod's link")
    })?;
    home.visit(|| {
        pod.enter_network()?;
        open_low_ports();
        let mut inside = Netlink::open()?;
        inside.set_link("lo", true).context("bring up the pod's loopback")?;
        inside
            .add_address("eth0", address)
            .context("give the pod its address")?;
        inside.set_link("eth0", true).context("bring up the pod's link")?;
        inside.gateway().context("add the pod's default route")
    })
}

/// The first node's end of a further one's link.
fn port_name(number: u8) -> String {
    format!("node{number}")
}

fn link_name(address: Ipv4Addr) -> String {
    format!("veth{}", address.octets()[3])
}

/// Lets programs without capabilities bind ports below 1024 and send pings, as container runtimes do. Best effort: some kernels are built
/// without these settings.
fn open_low_ports() {
    drop(std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"));
    drop(std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0"));
}

fn index_of(link: &str) -> std::io::Result<u32> {
    Ok(if_nametoindex(link)?)
}

/// Fixed to the IP address, so that a neighbour who remembers an earlier pod with it is right. The first byte says "locally administered".
fn hardware_address(address: Ipv4Addr) -> Vec<u8> {
    [&[2, 0], address.octets().as_slice()].concat()
}

/// A pair of links: `name`, plugged into a bridge, and `peer` in another network, with the hardware address that belongs to an IP address.
fn veth(name: String, bridge: u32, peer: String, address: Option<Ipv4Addr>, network: RawFd) -> LinkMessage {
    let mut far = LinkMessage::default();
    far.attributes = vec![LinkAttribute::IfName(peer), LinkAttribute::NetNsFd(network)];
    far.attributes
        .extend(address.map(|address| LinkAttribute::Address(hardware_address(address))));
    let mut link = LinkMessage::default();
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link.attributes = vec![
        LinkAttribute::IfName(name),
        LinkAttribute::Controller(bridge),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]),
    ];
    link
}

fn route(destination: Ipv4Addr, prefix: u8) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: AddressFamily::Inet,
        destination_prefix_length: prefix,
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    if prefix > 0 {
        message
            .attributes
            .push(RouteAttribute::Destination(RouteAddress::Inet(destination)));
    }
    message
}

/// A routing socket of the network namespace it was opened in. Every request waits for the kernel's acknowledgement.
struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    fn open() -> Result<Self, Failure> {
        let mut socket = Socket::new(NETLINK_ROUTE).context("open a routing socket")?;
        socket.bind_auto().context("bind a routing socket")?;
        socket
            .connect(&SocketAddr::new(0, 0))
            .context("connect a routing socket")?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Brings a link up or down.
    fn set_link(&mut self, link: &str, up: bool) -> std::io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index_of(link)?;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        message.header.change_mask = LinkFlags::Up;
        self.ask(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Makes a link a port of a bridge, and brings it up.
    fn plug(&mut self, link: &str, bridge: u32) -> std::io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index_of(link)?;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes = vec![LinkAttribute::Controller(bridge)];
        self.ask(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Sends what is for no neighbour to the first node.
    fn gateway(&mut self) -> std::io::Result<()> {
        let mut default = route(Ipv4Addr::UNSPECIFIED, 0);
        let gateway = RouteAddress::Inet(GATEWAY);
        default.attributes.push(RouteAttribute::Gateway(gateway));
        self.create(RouteNetlinkMessage::NewRoute(default))
    }

    fn delete(&mut self, link: &str) -> std::io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index_of(link)?;
        self.ask(RouteNetlinkMessage::DelLink(message), 0)
    }

    fn add_address(&mut self, link: &str, address: Ipv4Addr) -> std::io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = PREFIX;
        message.header.index = index_of(link)?;
        let address = IpAddr::V4(address);
        message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
        self.create(RouteNetlinkMessage::NewAddress(message))
    }

    fn create(&mut self, message: RouteNetlinkMessage) -> std::io::Result<()> {
        self.ask(message, NLM_F_CREATE | NLM_F_EXCL)
    }

    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> std::io::Result<()> {
        self.sequence += 1;
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes).map_err(std::io::Error::other)?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            match answer.payload {
                NetlinkPayload::Error(error) => match error.code {
                    None => return Ok(()),
                    Some(_) => return Err(error.to_io()),
                },
                NetlinkPayload::Done(_) => return Ok(()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_known_by_its_own_address_and_gives_its_pods_those_beside_it() {
        assert_eq!(Addresses::new(7).take(), Some(Ipv4Addr::new(10, 244, 7, 2)));
        for (address, node) in [
            ("10.244.0.1", Some(0)),
            ("10.244.7.1", Some(7)),
            ("10.244.7.2", None),
            ("10.96.0.1", None),
            ("::1", None),
        ] {
            assert_eq!(node_at(address.parse().unwrap()), node, "{address}");
        }
    }

    #[test]
    fn addresses_go_round_before_one_is_reused_and_run_out_at_the_end() {
        let mut addresses = Addresses::new(FIRST);
        let first = addresses.take().unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 244, 0, 2));
        addresses.give_back(first);
        assert_eq!(addresses.take().unwrap(), Ipv4Addr::new(10, 244, 0, 3));
        for _ in 0..252 {
            assert_ne!(addresses.take().unwrap(), node_ip(FIRST));
        }
        assert_eq!(addresses.take(), None);
        addresses.give_back(Ipv4Addr::new(10, 244, 0, 77));
        assert_eq!(addresses.take(), Some(Ipv4Addr::new(10, 244, 0, 77)));
    }
}
