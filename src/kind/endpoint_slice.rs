//! EndpointSlices: the addresses behind a service, in handy pieces.

use serde::Deserialize;

use super::part::{Meta, Str, nullable, parse};
use super::{Column, Drill, Kind, endpoints, generic};
use crate::store::{Cell, Health, Object};

pub(super) static KIND: Kind = Kind {
    group: "discovery.k8s.io",
    plural: "endpointslices",
    columns: &[
        Column::text("NAME", 20, 0),
        Column::text("ADDRESSTYPE", 11, 4),
        Column::text("PORTS", 8, 2),
        Column::text("ENDPOINTS", 16, 1),
        Column::number("AGE", 5, 3),
    ],
    row,
    related: |_| Vec::new(),
    describe: generic::describe,
    summary: generic::summary,
    drill: Drill::Describe,
    sort: None,
};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Slice<'a> {
    metadata: Meta,
    #[serde(borrow, rename = "addressType")]
    kind: Str<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    endpoints: Vec<Endpoint<'a>>,
    #[serde(deserialize_with = "nullable")]
    ports: Vec<Port>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Endpoint<'a> {
    #[serde(borrow)]
    addresses: Vec<Str<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Port {
    port: Option<i64>,
}

fn row(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let slice: Slice<'_> = parse(&json);
    let ports: Vec<_> = slice
        .ports
        .iter()
        .map(|port| port.port.map_or("*".into(), |port| port.to_string()))
        .collect();
    let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    let addresses: Vec<_> = addresses.map(|address| address.to_string()).collect();
    let cells = vec![
        Cell::text(&object.id.name),
        Cell::text(&slice.kind),
        Cell::text(&endpoints::counted(&ports)),
        Cell::text(&endpoints::counted(&addresses)),
        slice.metadata.created.cell(),
    ];
    (Health::None, cells)
}
