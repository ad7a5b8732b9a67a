//! Addresses and ports of Services.
//!
//! A Service's cluster IP and node ports must be unique in the cluster, so the server gives them out while it holds the
//! write lock: it collects what is in use, lets [`Pool::assign`] fill in what is missing, and stores the Service.

use crate::field::{Errors, FieldError, Path};
use crate::json::{absent, existing, items, items_mut, remove, set, text};
use crate::kind::needs_health_check;
use rand::RngExt;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

/// Addresses and ports that Services hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    ips: HashSet<Ipv4Addr>,
    ports: HashSet<(String, u16)>,
}

impl Used {
    /// What these Services hold.
    pub fn by<'a>(services: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut used = Self::default();
        for service in services {
            used.add(service);
        }
        used
    }

    fn add(&mut self, service: &Value) {
        let spec = &service["spec"];
        self.ips.extend(addresses(spec));
        for port in items(&spec["ports"]) {
            self.ports.extend(node_port(port).map(|n| (protocol(port), n)));
        }
        self.ports.extend(health_port(spec).map(|n| ("TCP".to_owned(), n)));
    }

    fn release(&mut self, service: &Value) {
        let held = Self::by([service]);
        self.ips.retain(|ip| !held.ips.contains(ip));
        self.ports.retain(|port| !held.ports.contains(port));
    }
}

/// What there is to give out.
#[derive(Clone, Debug)]
pub struct Pool {
    network: Ipv4Addr,
    prefix: u32,
    ports: RangeInclusive<u16>,
}

impl Default for Pool {
    /// 10.96.0.0/16 and the ports 30000 to 32767.
    fn default() -> Self {
        Self::new(Ipv4Addr::new(10, 96, 0, 0), 16, 30000..=32767)
    }
}

impl Pool {
    /// The addresses of a network (its prefix length between 8 and 30) and a range of ports.
    pub fn new(network: Ipv4Addr, prefix: u32, ports: RangeInclusive<u16>) -> Self {
        let prefix = prefix.clamp(8, 30);
        let mask = u32::MAX << (32 - prefix);
        Self {
            network: Ipv4Addr::from(u32::from(network) & mask),
            prefix,
            ports,
        }
    }

    /// The network in CIDR notation.
    pub fn cidr(&self) -> String {
        format!("{}/{}", self.network, self.prefix)
    }

    /// The first address, which belongs to the `kubernetes` Service.
    pub fn first(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) + 1)
    }

    fn size(&self) -> u32 {
        1 << (32 - self.prefix)
    }

    fn contains(&self, ip: Ipv4Addr) -> bool {
        let offset = u32::from(ip).wrapping_sub(u32::from(self.network));
        offset > 0 && offset < self.size() - 1
    }

    /// Gives a Service the address and ports it needs and takes those that its type does not have, checking the ones
    /// it asks for. `used` is what all Services hold, `old` the Service's former self.
    pub fn assign(&self, service: &mut Value, old: Option<&Value>, used: &Used) -> Result<(), Vec<FieldError>> {
        let mut used = used.clone();
        let mut errors = Errors::new();
        if let Some(old) = old {
            used.release(old);
            self.inherit(service, old);
        }
        let Some(spec) = existing(service, "spec") else {
            return Ok(());
        };
        self.assign_address(spec, &used, &mut errors);
        self.assign_ports(spec, old.map(|o| &o["spec"]), &mut used, &mut errors);
        self.assign_health_port(spec, old.map(|o| &o["spec"]), &mut used, &mut errors);
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors.into_vec())
        }
    }

    /// A client that leaves out what was allocated for it keeps it.
    fn inherit(&self, service: &mut Value, old: &Value) {
        let was = &old["spec"];
        let Some(spec) = existing(service, "spec") else {
            return;
        };
        let addressed = text(was, "type") != "ExternalName" && text(spec, "type") != "ExternalName";
        if addressed && crate::json::blank(spec, "clusterIP") {
            crate::json::keep(spec, was, "clusterIP");
            crate::json::keep(spec, was, "clusterIPs");
        }
        // A client that knows only the older, single address speaks for both.
        if addressed && spec["clusterIP"] != was["clusterIP"] && spec["clusterIPs"] == was["clusterIPs"] {
            let address = spec["clusterIP"].clone();
            set(spec, "clusterIPs", json!([address]));
        }
        if !uses_node_ports(spec) || !uses_node_ports(was) {
            return;
        }
        let mut taken: HashSet<u16> = items(&spec["ports"]).iter().filter_map(node_port).collect();
        for port in items_mut(spec, "ports") {
            if node_port(port).is_some() {
                continue;
            }
            let same = |other: &&Value| other["port"] == port["port"] && protocol(other) == protocol(port);
            let former = items(&was["ports"]).iter().find(same).and_then(node_port);
            if let Some(number) = former.filter(|n| taken.insert(*n)) {
                set(port, "nodePort", number);
            }
        }
    }

    fn assign_address(&self, spec: &mut Value, used: &Used, errors: &mut Errors) {
        let path = Path::new("spec").child("clusterIPs");
        match (text(spec, "type"), text(spec, "clusterIP")) {
            ("ExternalName", asked) => {
                if asked.is_empty() {
                    remove(spec, "clusterIP");
                }
                return;
            }
            (_, "None") => set(spec, "clusterIPs", json!(["None"])),
            (_, "") => match self.free_address(used) {
                Some(ip) => {
                    set(spec, "clusterIP", ip.to_string());
                    set(spec, "clusterIPs", json!([ip.to_string()]));
                }
                None => {
                    let detail = "failed to allocate a serviceIP: range is full";
                    errors.invalid(&path, json!([]), detail);
                }
            },
            (_, asked) => {
                let problem = match asked.parse::<Ipv4Addr>() {
                    Ok(ip) if !self.contains(ip) => Some(format!(
                        "failed to allocate IP {asked}: the provided IP ({asked}) is not in the valid range. The range of valid IPs is {}",
                        self.cidr()
                    )),
                    Ok(ip) if used.ips.contains(&ip) => Some(format!(
                        "failed to allocate IP {asked}: provided IP is already allocated"
                    )),
                    // Whether it is an address at all is for validation to say.
                    _ => None,
                };
                let asked = asked.to_owned();
                if let Some(problem) = problem {
                    errors.invalid(&path, json!([asked]), problem);
                }
                if absent(spec, "clusterIPs") {
                    set(spec, "clusterIPs", json!([asked]));
                }
            }
        }
        assign_families(spec, errors);
    }

    /// A random free address: random, so that an address is not soon given to another Service while clients still
    /// remember its former owner.
    fn free_address(&self, used: &Used) -> Option<Ipv4Addr> {
        let count = self.size() - 2;
        let start = rand::rng().random_range(0..count);
        (0..count)
            .map(|i| Ipv4Addr::from(u32::from(self.network) + 1 + (start + i) % count))
            .find(|ip| !used.ips.contains(ip) && *ip != self.first())
    }

    fn assign_ports(&self, spec: &mut Value, was: Option<&Value>, used: &mut Used, errors: &mut Errors) {
        if !uses_node_ports(spec) {
            // Ports left over from a former type go; ports that were asked for are for validation to refuse.
            let former: Vec<u16> = was.map_or(Vec::new(), |w| {
                items(&w["ports"]).iter().filter_map(node_port).collect()
            });
            for port in items_mut(spec, "ports") {
                if node_port(port).is_none_or(|n| former.contains(&n)) {
                    remove(port, "nodePort");
                }
            }
            return;
        }
        let path = Path::new("spec").child("ports");
        let valid = format!("{}-{}", self.ports.start(), self.ports.end());
        for (i, port) in items(&spec["ports"]).iter().enumerate() {
            let Some(number) = node_port(port) else { continue };
            let at = path.index(i).child("nodePort");
            if !self.ports.contains(&number) {
                let detail = format!("provided port is not in the valid range. The range of valid ports is {valid}");
                errors.invalid(&at, number, detail);
            } else if !used.ports.insert((protocol(port), number)) {
                errors.invalid(&at, number, "provided port is already allocated");
            }
        }
        for (i, port) in items_mut(spec, "ports").enumerate() {
            if node_port(port).is_some() {
                continue;
            }
            let protocol = protocol(port);
            match self.free_port(&protocol, used) {
                Some(number) => {
                    used.ports.insert((protocol, number));
                    set(port, "nodePort", number);
                }
                None => {
                    let detail = "failed to allocate a nodePort: range is full";
                    errors.invalid(&path.index(i).child("nodePort"), 0, detail);
                }
            }
        }
    }

    /// The port at which a load balancer asks every node whether it has an endpoint.
    fn assign_health_port(&self, spec: &mut Value, was: Option<&Value>, used: &mut Used, errors: &mut Errors) {
        if !needs_health_check(spec) {
            return;
        }
        let (at, valid) = (
            Path::new("spec").child("healthCheckNodePort"),
            format!("{}-{}", self.ports.start(), self.ports.end()),
        );
        let former = was.filter(|was| needs_health_check(was)).and_then(health_port);
        let Some(asked) = health_port(spec).or(former) else {
            match self.free_port("TCP", used) {
                Some(number) => set(spec, "healthCheckNodePort", number),
                None => errors.invalid(&at, 0, "failed to allocate a HealthCheck NodePort: range is full"),
            }
            return;
        };
        if !self.ports.contains(&asked) {
            let detail = format!("provided port is not in the valid range. The range of valid ports is {valid}");
            errors.invalid(&at, asked, detail);
        } else if !used.ports.insert(("TCP".to_owned(), asked)) {
            errors.invalid(&at, asked, "provided port is already allocated");
        }
        set(spec, "healthCheckNodePort", asked);
    }

    fn free_port(&self, protocol: &str, used: &Used) -> Option<u16> {
        let count = u32::from(self.ports.end().saturating_sub(*self.ports.start())) + 1;
        let start = rand::rng().random_range(0..count);
        (0..count)
            .filter_map(|i| u16::try_from(u32::from(*self.ports.start()) + (start + i) % count).ok())
            .find(|n| !used.ports.contains(&(protocol.to_owned(), *n)))
    }
}

/// The families of a cluster that has IPv4 alone. A headless Service without a selector may claim both: whoever makes its
/// endpoints knows.
fn assign_families(spec: &mut Value, errors: &mut Errors) {
    let path = Path::new("spec");
    if absent(spec, "ipFamilyPolicy") {
        set(spec, "ipFamilyPolicy", "SingleStack");
    }
    if absent(spec, "ipFamilies") {
        set(spec, "ipFamilies", json!(["IPv4"]));
    }
    let policy = text(spec, "ipFamilyPolicy").to_owned();
    if text(spec, "clusterIP") == "None" && spec["selector"].as_object().is_none_or(|selector| selector.is_empty()) {
        if let ([only], "PreferDualStack" | "RequireDualStack") = (items(&spec["ipFamilies"]), &*policy) {
            let other = if only == "IPv4" { "IPv6" } else { "IPv4" };
            let both = json!([only, other]);
            set(spec, "ipFamilies", both);
        }
        return;
    }
    if policy == "RequireDualStack" {
        let detail = "this cluster is not configured for dual-stack services";
        errors.invalid(&path.child("ipFamilyPolicy"), policy, detail);
    }
    for (i, family) in items(&spec["ipFamilies"]).iter().enumerate() {
        if family == "IPv6" {
            errors.invalid(
                &path.child("ipFamilies").index(i),
                "IPv6",
                "not configured on this cluster",
            );
        }
    }
}

fn addresses(spec: &Value) -> impl Iterator<Item = Ipv4Addr> + '_ {
    items(&spec["clusterIPs"])
        .iter()
        .chain(std::iter::once(&spec["clusterIP"]))
        .filter_map(|ip| ip.as_str()?.parse().ok())
}

fn uses_node_ports(spec: &Value) -> bool {
    match text(spec, "type") {
        "NodePort" => true,
        "LoadBalancer" => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

fn protocol(port: &Value) -> String {
    match text(port, "protocol") {
        "" => "TCP".to_owned(),
        other => other.to_owned(),
    }
}

fn node_port(port: &Value) -> Option<u16> {
    port["nodePort"]
        .as_u64()
        .and_then(|n| u16::try_from(n).ok())
        .filter(|n| *n != 0)
}

fn health_port(spec: &Value) -> Option<u16> {
    let port = spec["healthCheckNodePort"].as_u64()?;
    u16::try_from(port).ok().filter(|n| *n != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(kind: &str) -> Value {
        json!({"spec": {"type": kind, "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]}})
    }

    fn messages(result: Result<(), Vec<FieldError>>) -> Vec<String> {
        result.expect_err("refused").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_service_gets_an_address_and_keeps_it() {
        let pool = Pool::default();
        let mut first = service("ClusterIP");
        pool.assign(&mut first, None, &Used::default()).expect("room");
        let ip = first["spec"]["clusterIP"].as_str().expect("an address").to_owned();
        assert!(ip.starts_with("10.96.") && ip != "10.96.0.1");
        assert_eq!(first["spec"]["clusterIPs"], json!([ip]));
        assert_eq!(first["spec"]["ipFamilies"], json!(["IPv4"]));
        let mut next = service("ClusterIP");
        pool.assign(&mut next, Some(&first), &Used::by([&first]))
            .expect("its own");
        assert_eq!(next["spec"]["clusterIP"], ip.as_str());
    }

    #[test]
    fn node_ports_come_and_go_with_the_type() {
        let pool = Pool::default();
        let mut node_port = service("NodePort");
        pool.assign(&mut node_port, None, &Used::default()).expect("room");
        let number = node_port["spec"]["ports"][0]["nodePort"].as_u64().expect("a port");
        assert!((30000..=32767).contains(&number));
        let mut update = service("LoadBalancer");
        pool.assign(&mut update, Some(&node_port), &Used::by([&node_port]))
            .expect("its own");
        assert_eq!(update["spec"]["ports"][0]["nodePort"], number);
        let mut plain = node_port.clone();
        plain["spec"]["type"] = json!("ClusterIP");
        pool.assign(&mut plain, Some(&node_port), &Used::by([&node_port]))
            .expect("fewer");
        assert_eq!(plain["spec"]["ports"][0], json!({"port": 80}));
    }

    #[test]
    fn what_is_taken_or_out_of_range_is_refused() {
        let pool = Pool::default();
        let mut owner = service("NodePort");
        owner["spec"]["clusterIP"] = json!("10.96.0.7");
        owner["spec"]["ports"][0]["nodePort"] = json!(30080);
        pool.assign(&mut owner, None, &Used::default()).expect("free");
        let mut thief = owner.clone();
        thief["spec"]["ports"][1]["nodePort"] = json!(80);
        assert_eq!(
            messages(pool.assign(&mut thief, None, &Used::by([&owner]))),
            [
                r#"spec.clusterIPs: Invalid value: ["10.96.0.7"]: failed to allocate IP 10.96.0.7: provided IP is already allocated"#,
                "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
                "spec.ports[1].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
            ]
        );
        let mut far = service("ClusterIP");
        far["spec"]["clusterIP"] = json!("192.168.0.1");
        assert_eq!(
            messages(pool.assign(&mut far, None, &Used::default())),
            [
                r#"spec.clusterIPs: Invalid value: ["192.168.0.1"]: failed to allocate IP 192.168.0.1: the provided IP (192.168.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16"#
            ]
        );
    }

    #[test]
    fn headless_and_external_services_hold_no_address() {
        let pool = Pool::new(Ipv4Addr::new(10, 0, 0, 0), 30, 30000..=30000);
        let mut headless = service("ClusterIP");
        headless["spec"]["clusterIP"] = json!("None");
        pool.assign(&mut headless, None, &Used::default())
            .expect("nothing to hold");
        assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
        let mut external = service("ExternalName");
        external["spec"]["clusterIP"] = json!("");
        pool.assign(&mut external, None, &Used::default())
            .expect("nothing to hold");
        assert_eq!(external["spec"].get("clusterIP"), None);
        let mut only = service("ClusterIP");
        pool.assign(&mut only, None, &Used::default())
            .expect("the last address");
        assert_eq!(
            messages(pool.assign(&mut service("ClusterIP"), None, &Used::by([&only]))),
            ["spec.clusterIPs: Invalid value: []: failed to allocate a serviceIP: range is full"]
        );
    }

    #[test]
    fn a_balancer_that_keeps_addresses_has_a_port_for_its_health() {
        let pool = Pool::default();
        let mut first = service("LoadBalancer");
        first["spec"]["externalTrafficPolicy"] = json!("Local");
        pool.assign(&mut first, None, &Used::default()).expect("room");
        let port = first["spec"]["healthCheckNodePort"].clone();
        assert!(port.as_u64().is_some_and(|port| (30000..=32767).contains(&port)));
        let mut next = service("LoadBalancer");
        next["spec"]["externalTrafficPolicy"] = json!("Local");
        pool.assign(&mut next, Some(&first), &Used::by([&first]))
            .expect("its own");
        assert_eq!(next["spec"]["healthCheckNodePort"], port);
        let mut thief = first.clone();
        thief["spec"]["clusterIP"] = json!("");
        let refused = messages(pool.assign(&mut thief, None, &Used::by([&first])));
        assert!(refused.contains(&format!(
            "spec.healthCheckNodePort: Invalid value: {port}: provided port is already allocated"
        )));
    }

    #[test]
    fn families_that_the_cluster_does_not_have_are_refused() {
        let pool = Pool::default();
        let mut dual = service("ClusterIP");
        dual["spec"]["ipFamilyPolicy"] = json!("RequireDualStack");
        dual["spec"]["ipFamilies"] = json!(["IPv6"]);
        assert_eq!(
            messages(pool.assign(&mut dual, None, &Used::default())),
            [
                r#"spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#,
                r#"spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster"#,
            ]
        );
        dual["spec"]["clusterIP"] = json!("None");
        pool.assign(&mut dual, None, &Used::default())
            .expect("whoever makes its endpoints knows");
        assert_eq!(dual["spec"]["ipFamilies"], json!(["IPv6", "IPv4"]));
    }
}
