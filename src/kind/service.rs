//! Services.

use serde::Deserialize;
use serde_json::Value;

use super::brief::Brief;
use super::field::{int, items, or_none, present, scalar, text};
use super::page::Page;
use super::part::{Meta, Str, parse};
use super::{Column, Drill, Kind, Related, Subject, describe, selector};
use crate::document::Document;
use crate::store::{Cell, Health, Object};
use crate::theme::Role;

pub(super) static KIND: Kind = Kind {
    group: "",
    plural: "services",
    columns: &[
        Column::text("NAME", 20, 0),
        Column::text("TYPE", 9, 2),
        Column::text("CLUSTER-IP", 12, 1),
        Column::text("EXTERNAL-IP", 11, 5),
        Column::text("PORT(S)", 8, 3),
        Column::number("AGE", 5, 4),
        Column::text("SELECTOR", 10, 6).wide(),
    ],
    row,
    related: |object| {
        let of = format!("kubernetes.io/service-name={}", text(&object["metadata"]["name"]));
        vec![Related::new("discovery.k8s.io", "endpointslices", &object["metadata"]["namespace"]).labels(of)]
    },
    describe: self::describe,
    summary,
    drill: Drill::SelectedPods,
    sort: None,
};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Service<'a> {
    metadata: Meta,
    #[serde(borrow)]
    spec: Spec<'a>,
    #[serde(borrow)]
    status: Status<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    #[serde(borrow, rename = "clusterIP")]
    ip: Str<'a>,
    #[serde(borrow, rename = "externalIPs")]
    external: Vec<Str<'a>>,
    #[serde(borrow, rename = "externalName")]
    name: Str<'a>,
    #[serde(borrow)]
    ports: Vec<Port<'a>>,
    selector: Value,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Port<'a> {
    port: i64,
    #[serde(rename = "nodePort")]
    node: i64,
    #[serde(borrow)]
    protocol: Str<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status<'a> {
    #[serde(borrow, rename = "loadBalancer")]
    balancer: Balancer<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Balancer<'a> {
    #[serde(borrow)]
    ingress: Vec<Ingress<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Ingress<'a> {
    #[serde(borrow)]
    ip: Str<'a>,
    #[serde(borrow)]
    hostname: Str<'a>,
}

fn row(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let parsed: Service<'_> = parse(&json);
    let spec = &parsed.spec;
    let ports: Vec<_> = spec
        .ports
        .iter()
        .map(|port| {
            let protocol = if port.protocol.is_empty() {
                "TCP"
            } else {
                &port.protocol
            };
            if port.node > 0 {
                format!("{}:{}/{protocol}", port.port, port.node)
            } else {
                format!("{}/{protocol}", port.port)
            }
        })
        .collect();
    let cells = vec![
        Cell::text(&object.id.name),
        Cell::text(&spec.kind),
        Cell::text(&spec.ip),
        Cell::text(&external(&parsed)),
        Cell::text(&ports.join(",")),
        parsed.metadata.created.cell(),
        Cell::text(&selector::query(&spec.selector)),
    ];
    (health(&parsed), cells)
}

/// A balancer that has no address yet is on its way; of other services the object says nothing.
fn health(service: &Service<'_>) -> Health {
    let waits = &*service.spec.kind == "LoadBalancer" && service.status.balancer.ingress.is_empty();
    if waits || service.metadata.deleted.0.is_some() {
        Health::Progress
    } else {
        Health::None
    }
}

fn external(service: &Service<'_>) -> String {
    let spec = &service.spec;
    if &*spec.kind == "ExternalName" {
        return spec.name.to_string();
    }
    let mut all: Vec<&str> = Vec::new();
    if &*spec.kind == "LoadBalancer" {
        let ingress = service.status.balancer.ingress.iter();
        all.extend(ingress.map(|ingress| {
            if ingress.ip.is_empty() {
                &*ingress.hostname
            } else {
                &*ingress.ip
            }
        }));
    }
    all.extend(spec.external.iter().map(|ip| &**ip));
    if all.is_empty() && &*spec.kind == "LoadBalancer" {
        "<pending>".into()
    } else {
        all.join(",")
    }
}

fn describe(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let spec = &object["spec"];
    let list = |value: &Value| items(value).iter().map(text).collect::<Vec<_>>().join(",");
    let mut page = Page::new(&subject.zone);
    describe::metadata(&mut page, object, true);
    page.field(0, "Selector", &describe::selector(&spec["selector"]));
    page.field(0, "Type", text(&spec["type"]));
    page.field_if(0, "IP Family Policy", text(&spec["ipFamilyPolicy"]));
    page.field(0, "IP Families", or_none(&list(&spec["ipFamilies"])));
    page.field(0, "IP", text(&spec["clusterIP"]));
    page.field(0, "IPs", or_none(&list(&spec["clusterIPs"])));
    page.field_if(0, "External IPs", &list(&spec["externalIPs"]));
    page.field_if(0, "Desired LoadBalancer IP", text(&spec["loadBalancerIP"]));
    page.field_if(0, "External Name", text(&spec["externalName"]));
    page.field_if(
        0,
        "LoadBalancer Ingress",
        &ingress(&object["status"]["loadBalancer"]["ingress"]),
    );
    for port in items(&spec["ports"]) {
        self::port(&mut page, port, subject);
    }
    page.field(0, "Session Affinity", text(&spec["sessionAffinity"]));
    for (title, key) in [
        ("External Traffic Policy", "externalTrafficPolicy"),
        ("Internal Traffic Policy", "internalTrafficPolicy"),
        ("HealthCheck NodePort", "healthCheckNodePort"),
    ] {
        page.field_if(0, title, &scalar(&spec[key]));
    }
    page.field_if(
        0,
        "LoadBalancer Source Ranges",
        &list(&spec["loadBalancerSourceRanges"]),
    );
    page.field_if(0, "Traffic Distribution", text(&spec["trafficDistribution"]));
    describe::events(&mut page, subject);
    page.finish()
}

fn ingress(ingress: &Value) -> String {
    let word = |ingress: &Value| {
        let address = if present(&ingress["ip"]) {
            text(&ingress["ip"])
        } else {
            text(&ingress["hostname"])
        };
        match text(&ingress["ipMode"]) {
            "" => address.to_owned(),
            mode => format!("{address} ({mode})"),
        }
    };
    items(ingress).iter().map(word).collect::<Vec<_>>().join(", ")
}

fn port(page: &mut Page, port: &Value, subject: &Subject<'_>) {
    let name = if present(&port["name"]) {
        text(&port["name"])
    } else {
        "<unset>"
    };
    let protocol = if present(&port["protocol"]) {
        text(&port["protocol"])
    } else {
        "TCP"
    };
    let number = |value: &Value| format!("{}/{protocol}", scalar(value));
    page.cells(
        0,
        &[
            (Role::Field, "Port:"),
            (Role::Value, name),
            (Role::Value, &number(&port["port"])),
        ],
    );
    page.field(0, "TargetPort", &number(&port["targetPort"]));
    page.field_if(0, "AppProtocol", text(&port["appProtocol"]));
    if int(&port["nodePort"]) != 0 {
        page.cells(
            0,
            &[
                (Role::Field, "NodePort:"),
                (Role::Value, name),
                (Role::Value, &number(&port["nodePort"])),
            ],
        );
    }
    if let Some(slices) = subject.related {
        let endpoints = endpoints(slices, Some(text(&port["name"])));
        page.field_as(
            0,
            "Endpoints",
            if endpoints.is_empty() {
                Role::Warning
            } else {
                Role::Value
            },
            &shown(&endpoints, slices),
        );
    }
}

/// Endpoints shown before the rest is counted.
const SHOWN: usize = 3;

fn shown(endpoints: &[String], slices: &[Value]) -> String {
    if slices.is_empty() {
        return "<none>".into();
    }
    match endpoints.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{} + {more} more...", endpoints[..SHOWN].join(",")),
        _ => endpoints.join(","),
    }
}

/// Addresses of ready endpoints for one port, or for all.
fn endpoints(slices: &[Value], port: Option<&str>) -> Vec<String> {
    let mut all = Vec::new();
    for slice in slices {
        let ports = items(&slice["ports"])
            .iter()
            .filter(|known| port.is_none_or(|port| text(&known["name"]) == port));
        let mut numbers: Vec<Option<i64>> = ports.map(|port| Some(int(&port["port"]))).collect();
        if !present(&slice["ports"]) {
            numbers.push(None);
        }
        for number in numbers {
            for endpoint in items(&slice["endpoints"])
                .iter()
                .filter(|endpoint| endpoint["conditions"]["ready"] != false)
            {
                let address = text(&endpoint["addresses"][0]);
                all.push(match number {
                    Some(number) if address.contains(':') => format!("[{address}]:{number}"),
                    Some(number) => format!("{address}:{number}"),
                    None => address.to_owned(),
                });
            }
        }
    }
    all
}

fn summary(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let spec = &object["spec"];
    let mut brief = Brief::new(subject.now);
    let kind = text(&spec["type"]);
    match Service::deserialize(object) {
        Ok(service) if health(&service) == Health::Progress => {
            brief.headline(Health::Progress, &format!("{kind}: no address yet"));
        }
        Ok(service) => {
            brief.headline(Health::None, kind);
            brief.pair("external", &external(&service));
        }
        Err(_) => {}
    }
    brief.pair("address", text(&spec["clusterIP"]));
    for port in items(&spec["ports"]) {
        let protocol = if present(&port["protocol"]) {
            text(&port["protocol"])
        } else {
            "TCP"
        };
        let node = match int(&port["nodePort"]) {
            0 => String::new(),
            node => format!(", node port {node}"),
        };
        let line = format!(
            "{} {}/{protocol} to {}{node}",
            text(&port["name"]),
            int(&port["port"]),
            scalar(&port["targetPort"])
        );
        brief.pair("port", line.trim());
    }
    let query = selector::query(&spec["selector"]);
    brief.pair("selector", &query);
    if query.is_empty() && kind != "ExternalName" {
        brief.say(Role::Dim, "without a selector, its endpoints are made by hand");
    }
    brief.labels(object);
    brief.finish()
}
