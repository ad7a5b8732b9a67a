//! Endpoints: the addresses behind a service, as one object.

use serde::Deserialize;

use super::part::{Meta, Str, parse};
use super::{Column, Drill, Kind, generic};
use crate::store::{Cell, Health, Object};

pub(super) static KIND: Kind = Kind {
    group: "",
    plural: "endpoints",
    columns: &[
        Column::text("NAME", 20, 0),
        Column::text("ENDPOINTS", 20, 1),
        Column::number("AGE", 5, 2),
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
struct Endpoints<'a> {
    metadata: Meta,
    #[serde(borrow)]
    subsets: Vec<Subset<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Subset<'a> {
    #[serde(borrow)]
    addresses: Vec<Address<'a>>,
    ports: Vec<Port>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Address<'a> {
    #[serde(borrow)]
    ip: Str<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Port {
    port: i64,
}

/// Addresses shown before the rest is counted.
const SHOWN: usize = 3;

fn row(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let parsed: Endpoints<'_> = parse(&json);
    let mut all = Vec::new();
    for subset in &parsed.subsets {
        if subset.ports.is_empty() {
            all.extend(subset.addresses.iter().map(|address| address.ip.to_string()));
        }
        for port in &subset.ports {
            all.extend(subset.addresses.iter().map(|address| shown(&address.ip, port.port)));
        }
    }
    (
        Health::None,
        vec![
            Cell::text(&object.id.name),
            Cell::text(&counted(&all)),
            parsed.metadata.created.cell(),
        ],
    )
}

/// The first few, and how many more there are.
pub(super) fn counted(all: &[String]) -> String {
    match all.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{} + {more} more...", all[..SHOWN].join(",")),
        _ => all.join(","),
    }
}

/// `address:port`, with brackets around an IPv6 address.
pub(super) fn shown(address: &str, port: i64) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}
