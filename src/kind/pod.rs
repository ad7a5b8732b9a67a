//! Pods.

mod containers;
mod describe;
mod status;
mod summary;

pub use containers::{COLUMNS as CONTAINER_COLUMNS, ContainerRow, containers};

use super::part::{Stamp, parse};
use super::{Column, Drill, Kind};
use crate::store::{Cell, Health, Object};
use status::Pod;

pub(super) static KIND: Kind = Kind {
    group: "",
    plural: "pods",
    columns: &[
        Column::text("NAME", 20, 0),
        Column::number("READY", 5, 2),
        Column::text("STATUS", 9, 1),
        Column::number("RESTARTS", 8, 3),
        Column::number("AGE", 5, 4),
        Column::text("IP", 11, 5).wide(),
        Column::text("NODE", 12, 6).wide(),
        Column::text("NOMINATED NODE", 14, 8).wide(),
        Column::text("READINESS GATES", 15, 7).wide(),
    ],
    row,
    related: |_| Vec::new(),
    describe: describe::describe,
    summary: summary::summary,
    drill: Drill::Containers,
    sort: None,
};

fn row(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let pod: Pod<'_> = parse(&json);
    let told = status::tell(&pod);
    let restarted = if told.restarts == 0 {
        Stamp(None)
    } else {
        told.restarted
    };
    let gates = match pod.spec.gates.as_slice() {
        [] => Cell::Empty,
        gates => Cell::Ratio(told.gates, u32::try_from(gates.len()).unwrap_or(u32::MAX)),
    };
    let cells = vec![
        Cell::text(&object.id.name),
        Cell::Ratio(told.ready, told.containers),
        Cell::status(told.health, &told.word),
        Cell::Counted(told.restarts, restarted.0),
        pod.metadata.created.cell(),
        Cell::text(pod.status.ips.first().map_or(&*pod.status.ip, |first| &*first.ip)),
        Cell::text(&pod.spec.node),
        Cell::text(&pod.status.nominated),
        gates,
    ];
    (told.health, cells)
}
