//! Leases: who holds a role, or that a node is alive.

use serde::Deserialize;

use super::part::{Meta, Stamp, Str, parse};
use super::{Column, Drill, Kind, generic};
use crate::store::{Cell, Health, Object};

pub(super) static KIND: Kind = Kind {
    group: "coordination.k8s.io",
    plural: "leases",
    columns: &[
        Column::text("NAME", 20, 0),
        Column::text("HOLDER", 12, 1),
        Column::number("RENEWED", 7, 3),
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
struct Lease<'a> {
    metadata: Meta,
    #[serde(borrow)]
    spec: Spec<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec<'a> {
    #[serde(borrow, rename = "holderIdentity")]
    holder: Str<'a>,
    #[serde(rename = "renewTime")]
    renewed: Stamp,
}

fn row(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let lease: Lease<'_> = parse(&json);
    let spec = &lease.spec;
    let cells = vec![
        Cell::text(&object.id.name),
        Cell::text(&spec.holder),
        spec.renewed.cell(),
        lease.metadata.created.cell(),
    ];
    (Health::None, cells)
}
