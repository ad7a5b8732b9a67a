//! Why a Service answers, or does not: every hop from its name to a process that listens, and how it is reached from outside.

use serde_json::Value;

use super::relation::terms;
use super::sight::{Sight, heading, note, role};
use super::{Item, Outline};
use crate::document::TextLine;
use crate::keys::Line;
use crate::kind::field::{int, items, present, scalar, text};
use crate::kind::why::{self, selects};
use crate::store::{Health, ObjectId};
use crate::text::count;
use crate::theme::Role;

pub(super) const KINDS: &[(&str, &str)] = &[
    ("", "services"),
    ("", "pods"),
    ("", "nodes"),
    ("discovery.k8s.io", "endpointslices"),
    ("networking.k8s.io", "ingresses"),
    ("networking.k8s.io", "networkpolicies"),
];

/// Pods shown of each hop.
const PODS: usize = 20;

fn hop(key: &str, health: Health, name: &str, said: &str) -> Item {
    let line = TextLine::new()
        .with(Role::Field, &crate::text::pad_right(name, 12))
        .with(role(health), said);
    Item::new(key, 0, health, line.hanging(14))
}

fn judged(good: bool) -> Health {
    if good { Health::Good } else { Health::Failed }
}

pub(super) fn outline(sight: &Sight, id: &ObjectId) -> Outline {
    let Some(service) = sight.object(&id.uid) else {
        return Outline::default();
    };
    let (spec, space) = (&service["spec"], text(&service["metadata"]["namespace"]));
    let name = text(&service["metadata"]["name"]);
    let findings = why::diagnose(&sight.world, &service, sight.now);
    let mut lines = Vec::new();
    if let Some(finding) = findings.first() {
        let line = TextLine::new().with(Role::Failed, &finding.root().sentence);
        lines.push(Item::new("why", 0, Health::Failed, line.hanging(2)));
    }
    let address = match (text(&spec["type"]), text(&spec["clusterIP"])) {
        ("ExternalName", _) => format!("is an alias of {}", text(&spec["externalName"])),
        (_, "None") => "stands for the addresses of its pods (headless)".to_owned(),
        (_, "") => "has no address yet".to_owned(),
        (_, address) => format!("stands for {address}"),
    };
    let known = spec["type"] == "ExternalName" || !text(&spec["clusterIP"]).is_empty();
    lines.push(hop(
        "dns",
        judged(known),
        "name",
        &format!("{name}.{space}.svc.cluster.local {address}"),
    ));
    if spec["type"] == "ExternalName" {
        return finish(sight, &service, lines);
    }
    let selector = &spec["selector"];
    let chosen: Vec<&Value> = match present(selector) {
        true => {
            let labels = serde_json::json!({"matchLabels": selector});
            sight
                .within("", "Pod", space)
                .filter(|pod| selects(&labels, &pod["metadata"]["labels"]))
                .collect()
        }
        false => Vec::new(),
    };
    let said = match present(selector) {
        true => format!("{} chooses {}", terms(selector), count(chosen.len(), "pod")),
        false => "none: its endpoints are written by hand".to_owned(),
    };
    lines.push(hop(
        "selector",
        judged(!present(selector) || !chosen.is_empty()),
        "selector",
        &said,
    ));
    let ready = |pod: &&&Value| {
        let condition = crate::kind::field::by(&pod["status"]["conditions"], "type", "Ready");
        condition.is_some_and(|ready| ready["status"] == "True")
    };
    if !chosen.is_empty() {
        let good = chosen.iter().filter(ready).count();
        let said = format!("{good} of {} ready", count(chosen.len(), "pod"));
        lines.push(hop("ready", judged(good > 0), "readiness", &said));
        lines.extend(chosen.iter().take(PODS).map(|pod| sight.item(1, "ready", pod)));
    }
    let endpoints: Vec<&Value> = sight.world.endpoints(&service).collect();
    let serving = endpoints
        .iter()
        .filter(|endpoint| endpoint["conditions"]["ready"] != false)
        .count();
    let said = format!("{serving} of {} taking connections", count(endpoints.len(), "endpoint"));
    lines.push(hop("endpoints", judged(serving > 0), "endpoints", &said));
    for port in items(&spec["ports"]) {
        lines.push(port_hop(port, &chosen));
    }
    lines.extend(policies(sight, space, &chosen));
    lines.extend(outside(sight, &service));
    let ports = items(&spec["ports"]).iter().filter(|port| port["protocol"] != "UDP");
    lines.extend(ports.map(|port| {
        let line = TextLine::new()
            .with(Role::Field, &crate::text::pad_right("answer", 12))
            .with(
                Role::Text,
                &format!("ask port {} through the API server (Enter)", int(&port["port"])),
            );
        let ask = Line::with("service.ask", [int(&port["port"]).to_string()]);
        Item::new(format!("ask/{}", int(&port["port"])), 0, Health::None, line).enter(ask)
    }));
    finish(sight, &service, lines)
}

fn finish(sight: &Sight, service: &Value, items: Vec<Item>) -> Outline {
    let broken = items.iter().filter(|item| item.health == Health::Failed).count();
    Outline {
        status: match broken {
            0 => "every hop is well".into(),
            _ => "it does not answer".into(),
        },
        items,
        about: sight.about(service),
    }
}

/// Whether a container declares what the port leads to. A number need not be declared; a name must be.
fn port_hop(port: &Value, pods: &[&Value]) -> Item {
    let target = match &port["targetPort"] {
        Value::Null => &port["port"],
        target => target,
    };
    let declared = |pod: &&&Value| {
        let containers = ["containers", "initContainers"]
            .into_iter()
            .flat_map(|list| items(&pod["spec"][list]));
        let mut ports = containers.flat_map(|container| items(&container["ports"]));
        ports.any(|known| known["name"] == *target || known["containerPort"] == *target)
    };
    let number = int(&port["port"]);
    let (health, said) = match (pods.iter().filter(declared).count(), target.is_string()) {
        (0, true) if !pods.is_empty() => (
            Health::Failed,
            format!(
                "{number} leads to a port named {:?}, which no container has",
                text(target)
            ),
        ),
        (0, false) if !pods.is_empty() => (
            Health::Warning,
            format!(
                "{number} leads to {}, which no container declares: something may listen there all the same",
                scalar(target)
            ),
        ),
        (_, _) => (
            Health::Good,
            format!("{number} leads to {} of the pods", scalar(target)),
        ),
    };
    hop(&format!("port/{number}"), health, "port", &said)
}

fn policies(sight: &Sight, space: &str, pods: &[&Value]) -> Vec<Item> {
    let restricting = sight
        .within("networking.k8s.io", "NetworkPolicy", space)
        .filter(|policy| {
            let kinds = items(&policy["spec"]["policyTypes"]);
            let incoming = kinds.is_empty() || kinds.iter().any(|kind| kind == "Ingress");
            let selector = &policy["spec"]["podSelector"];
            incoming && pods.iter().any(|pod| selects(selector, &pod["metadata"]["labels"]))
        });
    let found: Vec<&Value> = restricting.collect();
    if found.is_empty() {
        return Vec::new();
    }
    let closed = found.iter().any(|policy| items(&policy["spec"]["ingress"]).is_empty());
    let (health, said) = match closed && found.len() == 1 {
        true => (Health::Failed, "lets nothing in".to_owned()),
        false => (
            Health::Warning,
            format!(
                "{} who may connect",
                if found.len() == 1 {
                    "1 policy says"
                } else {
                    "policies say"
                }
            ),
        ),
    };
    let mut lines = vec![hop("policy", health, "policy", &said)];
    lines.extend(found.into_iter().map(|policy| sight.item(1, "policy", policy)));
    lines
}

/// The addresses under which a Service is reached from outside of the cluster; each opens in a browser.
fn outside(sight: &Sight, service: &Value) -> Vec<Item> {
    let urls = urls(
        service,
        sight.all("", "Node"),
        &sight.all("networking.k8s.io", "Ingress").iter().collect::<Vec<_>>(),
    );
    if urls.is_empty() {
        return vec![note(
            "outside/none",
            0,
            Role::Dim,
            "outside     not reached from outside of the cluster; a port-forward leads to it",
        )];
    }
    let mut lines = vec![heading("outside", "From outside", "Enter opens it")];
    lines.extend(urls.into_iter().enumerate().map(|(at, (url, how))| {
        let line = TextLine::new()
            .with(Role::Value, &url)
            .with(Role::Dim, &format!("  {how}"));
        Item::new(format!("outside/{at}"), 1, Health::None, line).enter(Line::with("url.open", [url]))
    }));
    lines
}

/// The URLs of a Service with how each comes about: its node ports, its load balancer, the Ingresses that lead to it.
pub(super) fn urls(service: &Value, nodes: &[Value], ingresses: &[&Value]) -> Vec<(String, String)> {
    let (spec, space) = (&service["spec"], &service["metadata"]["namespace"]);
    let mut urls = Vec::new();
    let scheme = |port: &Value| match (int(&port["port"]), text(&port["name"])) {
        (443 | 8443, _) | (_, "https") => "https",
        _ => "http",
    };
    for balancer in items(&service["status"]["loadBalancer"]["ingress"]) {
        let host = [&balancer["hostname"], &balancer["ip"]]
            .into_iter()
            .map(text)
            .find(|host| !host.is_empty());
        let Some(host) = host else { continue };
        urls.extend(items(&spec["ports"]).iter().map(|port| {
            (
                format!("{}://{host}:{}/", scheme(port), int(&port["port"])),
                "load balancer".to_owned(),
            )
        }));
    }
    let address = nodes.iter().find_map(|node| {
        let addresses = items(&node["status"]["addresses"]);
        let of = |kind: &str| addresses.iter().find(|address| address["type"] == kind);
        of("ExternalIP")
            .or_else(|| of("InternalIP"))
            .map(|address| text(&address["address"]))
    });
    for port in items(&spec["ports"]) {
        let number = int(&port["nodePort"]);
        if let (Some(address), true) = (address, number > 0) {
            urls.push((
                format!("{}://{address}:{number}/", scheme(port)),
                "node port".to_owned(),
            ));
        }
    }
    for ingress in ingresses
        .iter()
        .filter(|ingress| ingress["metadata"]["namespace"] == *space)
    {
        let spec = &ingress["spec"];
        let secure = !items(&spec["tls"]).is_empty();
        for rule in items(&spec["rules"]) {
            for path in items(&rule["http"]["paths"]) {
                if path["backend"]["service"]["name"] == service["metadata"]["name"] {
                    let host = match text(&rule["host"]) {
                        "" => address.unwrap_or("localhost"),
                        host => host,
                    };
                    let scheme = if secure { "https" } else { "http" };
                    let how = format!("ingress {}", text(&ingress["metadata"]["name"]));
                    urls.push((format!("{scheme}://{host}{}", text(&path["path"])), how));
                }
            }
        }
    }
    urls
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_is_reached_under_its_node_port_its_balancer_and_the_ingresses_that_lead_to_it() {
        let service = json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"ports": [{"port": 80, "nodePort": 30080}, {"port": 443, "nodePort": 30443}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}},
        });
        let node = json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.4"}]}});
        let ingress = |space: &str, backend: &str| {
            json!({
                "metadata": {"name": "in", "namespace": space},
                "spec": {
                    "tls": [{}],
                    "rules": [{"host": "shop.test", "http": {"paths": [
                        {"path": "/cart", "backend": {"service": {"name": backend}}},
                    ]}}],
                },
            })
        };
        let (ours, other, elsewhere) = (ingress("shop", "web"), ingress("shop", "db"), ingress("x", "web"));
        let found: Vec<String> = urls(&service, &[node], &[&ours, &other, &elsewhere])
            .into_iter()
            .map(|(url, _)| url)
            .collect();
        assert_eq!(
            found,
            [
                "http://203.0.113.9:80/",
                "https://203.0.113.9:443/",
                "http://10.0.0.4:30080/",
                "https://10.0.0.4:30443/",
                "https://shop.test/cart",
            ]
        );
    }
}
