//! Network interfaces and routes: `ifconfig`, `ip addr|link|route`, `route`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::say::{fail, out};

#[derive(Default)]
struct Interface {
    flags: Option<InterfaceFlags>,
    hardware: Option<String>,
    v4: Vec<(Ipv4Addr, u32, Option<Ipv4Addr>)>,
    v6: Vec<(std::net::Ipv6Addr, u32)>,
}

fn read(name: &str, file: &str) -> String {
    std::fs::read_to_string(format!("/sys/class/net/{name}/{file}"))
        .map_or_else(|_| String::new(), |t| t.trim().to_owned())
}

fn interfaces() -> BTreeMap<String, Interface> {
    let mut all: BTreeMap<String, Interface> = BTreeMap::new();
    for entry in getifaddrs().into_iter().flatten() {
        let interface = all.entry(entry.interface_name.clone()).or_default();
        interface.flags = Some(entry.flags);
        let Some(address) = entry.address else { continue };
        if let Some(v4) = address.as_sockaddr_in() {
            let mask = entry
                .netmask
                .as_ref()
                .and_then(|m| m.as_sockaddr_in())
                .map_or(32, |m| u32::from(m.ip()).leading_ones());
            let broadcast = entry
                .broadcast
                .as_ref()
                .and_then(|b| b.as_sockaddr_in())
                .map(|b| b.ip());
            interface.v4.push((v4.ip(), mask, broadcast));
        } else if let Some(v6) = address.as_sockaddr_in6() {
            let mask = entry
                .netmask
                .as_ref()
                .and_then(|m| m.as_sockaddr_in6())
                .map_or(128, |m| u128::from(m.ip()).leading_ones());
            interface.v6.push((v6.ip(), mask));
        } else if let Some(link) = address.as_link_addr()
            && let Some(bytes) = link.addr()
        {
            interface.hardware = Some(bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":"));
        }
    }
    all
}

fn flag_names(flags: InterfaceFlags) -> Vec<&'static str> {
    [
        (InterfaceFlags::IFF_LOOPBACK, "LOOPBACK"),
        (InterfaceFlags::IFF_BROADCAST, "BROADCAST"),
        (InterfaceFlags::IFF_MULTICAST, "MULTICAST"),
        (InterfaceFlags::IFF_UP, "UP"),
        (InterfaceFlags::IFF_RUNNING, "RUNNING"),
    ]
    .into_iter()
    .filter(|(flag, _)| flags.contains(*flag))
    .map(|(_, name)| name)
    .collect()
}

/// The counters of /proc/net/dev: (received bytes, packets, sent bytes, packets).
fn counters(name: &str) -> (u64, u64, u64, u64) {
    let text = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    for line in text.lines() {
        if let Some((found, numbers)) = line.split_once(':')
            && found.trim() == name
        {
            let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|n| n.parse().ok()).collect();
            let at = |i: usize| numbers.get(i).copied().unwrap_or(0);
            return (at(0), at(1), at(8), at(9));
        }
    }
    (0, 0, 0, 0)
}

fn mtu(name: &str) -> String {
    let mtu = read(name, "mtu");
    if mtu.is_empty() { "1500".to_owned() } else { mtu }
}

pub(crate) fn ifconfig(args: &[String]) -> i32 {
    let wanted = args.get(1).filter(|a| !a.starts_with('-'));
    if args.len() > 2 && wanted.is_some() {
        return fail("ifconfig", "SIOCSIFADDR: Operation not permitted");
    }
    let mut found = false;
    for (name, interface) in interfaces() {
        if wanted.is_some_and(|w| *w != name) {
            continue;
        }
        found = true;
        let flags = interface.flags.unwrap_or(InterfaceFlags::empty());
        let loopback = flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let mut text = match &interface.hardware {
            Some(hardware) if !loopback => {
                format!("{name:<9} Link encap:Ethernet  HWaddr {}  \n", hardware.to_uppercase())
            }
            _ => format!("{name:<9} Link encap:Local Loopback  \n"),
        };
        for (address, mask, broadcast) in &interface.v4 {
            let mask = Ipv4Addr::from(u32::MAX.checked_shl(32 - mask).unwrap_or(0));
            let broadcast = broadcast
                .filter(|_| !loopback)
                .map_or(String::new(), |b| format!("  Bcast:{b}"));
            text.push_str(&format!("          inet addr:{address}{broadcast}  Mask:{mask}\n"));
        }
        for (address, mask) in &interface.v6 {
            let scope = if address.is_loopback() {
                "Host"
            } else if address.segments()[0] & 0xffc0 == 0xfe80 {
                "Link"
            } else {
                "Global"
            };
            text.push_str(&format!("          inet6 addr: {address}/{mask} Scope:{scope}\n"));
        }
        let (rx, rx_packets, tx, tx_packets) = counters(&name);
        let mut names = flag_names(flags);
        names.sort_by_key(|n| {
            ["UP", "LOOPBACK", "BROADCAST", "RUNNING", "MULTICAST"]
                .iter()
                .position(|x| x == n)
        });
        text.push_str(&format!(
            "          {}  MTU:{}  Metric:1\n          RX packets:{rx_packets} errors:0 dropped:0 overruns:0 frame:0\n          \
             TX packets:{tx_packets} errors:0 dropped:0 overruns:0 carrier:0\n          collisions:0 txqueuelen:1000 \n          \
             RX bytes:{rx}  TX bytes:{tx}\n\n",
            names.join(" "),
            mtu(&name)
        ));
        out(text);
    }
    match wanted {
        Some(name) if !found => fail(
            "ifconfig",
            format!("{name}: error fetching interface information: Device not found"),
        ),
        _ => 0,
    }
}

/// `ip [-4|-6] addr|link|route [show] [dev NAME]`
pub(crate) fn ip(args: &[String]) -> i32 {
    let words: Vec<&str> = args[1..]
        .iter()
        .map(String::as_str)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let only = args.iter().find_map(|a| match a.as_str() {
        "-4" => Some(4),
        "-6" => Some(6),
        _ => None,
    });
    let kind = words.first().copied().unwrap_or("");
    let rest: Vec<&str> = words
        .iter()
        .skip(1)
        .copied()
        .filter(|w| !matches!(*w, "show" | "list" | "ls" | "s" | "dev"))
        .collect();
    if rest.len() > 1 || matches!(rest.first(), Some(&("add" | "del" | "set" | "flush" | "replace"))) {
        return fail("ip", "RTNETLINK answers: Operation not permitted");
    }
    let addresses = !kind.is_empty() && "address".starts_with(kind);
    if addresses || (!kind.is_empty() && "link".starts_with(kind)) {
        return ip_addr(rest.first().copied(), addresses, only);
    }
    if !kind.is_empty() && "route".starts_with(kind) {
        for (destination, bits, gateway, device, source) in routes() {
            let target = if bits == 0 {
                "default".to_owned()
            } else {
                format!("{destination}/{bits}")
            };
            let via = if gateway.is_unspecified() {
                String::new()
            } else {
                format!(" via {gateway}")
            };
            let link = if gateway.is_unspecified() {
                format!(" scope link {source}")
            } else {
                String::new()
            };
            out(format!("{target}{via} dev {device}{}\n", link.trim_end()));
        }
        return 0;
    }
    fail("ip", "usage: ip [-4|-6] addr|link|route")
}

fn ip_addr(wanted: Option<&str>, addresses: bool, only: Option<u8>) -> i32 {
    let mut found = false;
    let mut all: Vec<(u32, String, Interface)> = interfaces()
        .into_iter()
        .map(|(name, interface)| {
            (
                nix::net::if_::if_nametoindex(name.as_str()).unwrap_or(0),
                name,
                interface,
            )
        })
        .collect();
    all.sort_by_key(|(index, ..)| *index);
    for (index, name, interface) in all {
        if wanted.is_some_and(|w| w != name) {
            continue;
        }
        found = true;
        let flags = interface.flags.unwrap_or(InterfaceFlags::empty());
        let mut names = flag_names(flags);
        names.retain(|n| *n != "RUNNING");
        if flags.contains(InterfaceFlags::IFF_RUNNING) {
            names.push("LOWER_UP");
        }
        let loopback = flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let state = if loopback {
            "UNKNOWN".to_owned()
        } else {
            read(&name, "operstate").to_uppercase()
        };
        let state = if state.is_empty() {
            if flags.contains(InterfaceFlags::IFF_UP) {
                "UP"
            } else {
                "DOWN"
            }
            .to_owned()
        } else {
            state
        };
        let peer = read(&name, "iflink");
        let shown = if peer.is_empty() || peer == index.to_string() || peer == "0" {
            name.clone()
        } else {
            format!("{name}@if{peer}")
        };
        let mut text = format!(
            "{index}: {shown}: <{}> mtu {} qdisc noqueue state {state} qlen 1000\n",
            names.join(","),
            mtu(&name)
        );
        let (kind, broadcast) = if loopback {
            ("loopback", "00:00:00:00:00:00")
        } else {
            ("ether", "ff:ff:ff:ff:ff:ff")
        };
        if only.is_none() {
            let hardware = interface
                .hardware
                .clone()
                .unwrap_or_else(|| "00:00:00:00:00:00".to_owned());
            text.push_str(&format!("    link/{kind} {hardware} brd {broadcast}\n"));
        }
        if addresses && only != Some(6) {
            for (address, mask, broadcast) in &interface.v4 {
                let broadcast = broadcast
                    .filter(|_| !loopback)
                    .map_or(String::new(), |b| format!(" brd {b}"));
                let scope = if loopback { "host" } else { "global" };
                text.push_str(&format!("    inet {address}/{mask}{broadcast} scope {scope} {name}\n       valid_lft forever preferred_lft forever\n"));
            }
        }
        if addresses && only != Some(4) {
            for (address, mask) in &interface.v6 {
                let scope = if loopback {
                    "host"
                } else if address.segments()[0] & 0xffc0 == 0xfe80 {
                    "link"
                } else {
                    "global"
                };
                text.push_str(&format!(
                    "    inet6 {address}/{mask} scope {scope} \n       valid_lft forever preferred_lft forever\n"
                ));
            }
        }
        out(text);
    }
    match wanted {
        Some(name) if !found => fail("ip", format!("can't find device '{name}'")),
        _ => 0,
    }
}

type Route = (Ipv4Addr, u32, Ipv4Addr, String, String);

fn routes() -> Vec<Route> {
    let text = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let address = |hex: &str| {
        u32::from_str_radix(hex, 16)
            .map(|n| Ipv4Addr::from(n.swap_bytes()))
            .ok()
    };
    let all = interfaces();
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let f: Vec<&str> = line.split_whitespace().collect();
            let device = (*f.first()?).to_owned();
            let source = all
                .get(&device)
                .and_then(|i| i.v4.first())
                .map_or(String::new(), |(a, ..)| format!(" src {a}"));
            Some((
                address(f.get(1)?)?,
                u32::from(address(f.get(7)?)?).leading_ones(),
                address(f.get(2)?)?,
                device,
                source,
            ))
        })
        .collect()
}

pub(crate) fn route(_: &[String]) -> i32 {
    let mut text =
        "Kernel IP routing table\nDestination     Gateway         Genmask         Flags Metric Ref    Use Iface\n"
            .to_owned();
    for (destination, bits, gateway, device, _) in routes() {
        let mask = Ipv4Addr::from(u32::MAX.checked_shl(32 - bits).unwrap_or(0));
        let flags = if gateway.is_unspecified() { "U" } else { "UG" };
        text.push_str(&format!(
            "{:<15} {:<15} {:<15} {flags:<5} 0      0        0 {device}\n",
            destination.to_string(),
            gateway.to_string(),
            mask.to_string()
        ));
    }
    out(text);
    0
}
