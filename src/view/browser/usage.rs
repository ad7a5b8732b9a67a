//! What pods and nodes use, as two columns: a number, and a bar of what they may use at most.

use std::cell::RefCell;
use std::sync::Arc;

use crate::cluster::{ClusterId, Place, Resource};
use crate::kind::usage::{Amount, Usage, share};
use crate::store::Row;
use crate::text;
use crate::theme::{Role, Theme};
use crate::view::Data;
use crate::widget::{ColumnSpec, TableCell};

/// Cells of a bar.
const BAR: u64 = 4;
/// Columns of a number, a blank and a bar.
const WIDTH: usize = 10;
/// From these hundredths of what is allowed on a bar warns, and alarms.
const HIGH: (u64, u64) = (75, 90);
/// Rows whose shares are remembered: more than a screen has.
const KEPT: usize = 256;

/// What is measured of the objects of a table.
#[derive(Debug, Default)]
pub(super) struct Measured {
    by_cluster: Vec<(ClusterId, Arc<Usage>)>,
    /// What rows may use at most, as it was last read from their objects: a frame does not read them again.
    shares: RefCell<Vec<(Arc<Row>, Amount)>>,
}

impl Measured {
    /// Takes what has been measured.
    pub(super) fn sync(&mut self, resource: &Resource, place: &Place, data: &dyn Data) {
        if !resource.group.is_empty() || !matches!(&*resource.plural, "pods" | "nodes") {
            return;
        }
        let namespace = place.namespaces.only().filter(|_| resource.namespaced);
        let usage = |cluster| data.usage(cluster, &resource.plural, namespace.map(|name| &**name));
        let known = |cluster: &ClusterId| Some((*cluster, usage(*cluster)?));
        self.by_cluster = place.clusters.iter().filter_map(known).collect();
    }

    /// The columns; none where nothing is measured.
    pub(super) fn specs(&self) -> Vec<ColumnSpec> {
        let spec = |title: &str| ColumnSpec {
            spare: true,
            ..ColumnSpec::new(title, WIDTH, 1).right()
        };
        match self.by_cluster.is_empty() {
            true => Vec::new(),
            false => vec![spec("CPU"), spec("MEM")],
        }
    }

    /// The cells of a row in these columns.
    pub(super) fn cells(&self, row: &Arc<Row>, theme: &Theme) -> Vec<TableCell<'static>> {
        if self.by_cluster.is_empty() {
            return Vec::new();
        }
        let usage = self.by_cluster.iter().find(|(cluster, _)| *cluster == row.id.cluster);
        let Some(used) = usage.and_then(|(_, usage)| usage.of(&row.id.namespace, &row.id.name)) else {
            let none = || TableCell::new(format!("-{}", " ".repeat(BAR as usize + 1))).role(Some(Role::Dim));
            return vec![none(), none()];
        };
        let most = self.share(row);
        vec![
            cell(text::millicores(used.cpu), used.cpu, most.cpu, theme),
            cell(text::bytes(used.memory), used.memory, most.memory, theme),
        ]
    }

    fn share(&self, row: &Arc<Row>) -> Amount {
        let mut shares = self.shares.borrow_mut();
        if let Some((_, known)) = shares.iter().find(|(known, _)| Arc::ptr_eq(known, row)) {
            return *known;
        }
        if shares.len() >= KEPT {
            shares.clear();
        }
        let most = share(&row.object.value());
        shares.push((row.clone(), most));
        most
    }
}

/// A number and its bar; without anything to compare it with the bar is empty.
fn cell(number: String, used: u64, most: u64, theme: &Theme) -> TableCell<'static> {
    let hundredths = used.saturating_mul(100).checked_div(most).unwrap_or(0);
    let role = match hundredths {
        _ if hundredths >= HIGH.1 => Role::Failed,
        _ if hundredths >= HIGH.0 => Role::Warning,
        _ => Role::Accent,
    };
    // What uses anything has a cell.
    let full = (hundredths * BAR).div_ceil(100).min(BAR);
    let [filled, free] = theme.signs.gauge;
    let strip = (0..BAR).map(|at| {
        if at < full {
            (filled, role)
        } else {
            (free, Role::GaugeRest)
        }
    });
    TableCell {
        strip: strip.collect(),
        ..TableCell::new(format!("{number} "))
    }
}
