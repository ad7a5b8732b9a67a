//! The columns of a table: which there are, and how wide what is visible now wants them.

use std::borrow::Cow;

use jiff::Timestamp;

use super::Browser;
use crate::kind::Drill;
use crate::store::{Cell, Column, Health, Listing, Row};
use crate::text;
use crate::view::Data;
use crate::widget::{ColumnSpec, Cut};

/// Header of the strip.
const STRIP: &str = "LAST 30 MIN";
/// Cells of the strip: at first, and where there is room to spare (one for each minute).
const STRIP_WIDTH: (u16, u16) = (11, 30);
/// Room that every age has from the start: ages grow without news.
const AGE: u16 = 4;

/// What a column's visible texts want: the widest, and nine in ten of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    widest: u16,
    typical: u16,
}

impl Extent {
    fn of(mut widths: Vec<u16>) -> Self {
        widths.sort_unstable();
        Self {
            widest: widths.last().copied().unwrap_or(0),
            typical: widths.get(widths.len() * 9 / 10).copied().unwrap_or(0),
        }
    }

    fn grow(&mut self, other: Self) {
        self.widest = self.widest.max(other.widest);
        self.typical = self.typical.max(other.typical);
    }
}

fn cell_width(cell: &Cell, now: Timestamp) -> u16 {
    let shown = text::width(&cell.show(now)) as u16;
    match cell {
        Cell::Empty => 0,
        Cell::Age(_) => shown.max(AGE),
        // When it last grew is told beside the table.
        Cell::Counted(count, _) => count.to_string().len() as u16,
        _ => shown,
    }
}

/// A column that says where a row is, where the place of the table leaves that open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Cluster,
    Namespace,
}

impl Where {
    fn title(self) -> &'static str {
        match self {
            Self::Cluster => "CLUSTER",
            Self::Namespace => "NAMESPACE",
        }
    }

    pub(super) fn of<'a>(self, row: &'a Row, data: &'a dyn Data) -> Cow<'a, str> {
        text::clean(match self {
            Self::Cluster => data.cluster_of(row.id.cluster).map_or("", |info| &info.name),
            Self::Namespace => &row.id.namespace,
        })
    }
}

impl Browser {
    /// The columns before the kind's own.
    pub(super) fn wheres(&self) -> &'static [Where] {
        let place = &self.need.query.place;
        let namespaces = self.resource.namespaced && place.namespaces.only().is_none();
        match (place.clusters.len() > 1, namespaces) {
            (false, false) => &[],
            (false, true) => &[Where::Namespace],
            (true, false) => &[Where::Cluster],
            (true, true) => &[Where::Cluster, Where::Namespace],
        }
    }

    fn visible<'l>(&self, listing: &'l Listing) -> impl Iterator<Item = &'l std::sync::Arc<Row>> + use<'l> {
        listing.window(self.top, usize::from(self.height).max(1))
    }

    /// Whether its rows have a past to show.
    pub(super) fn has_strip(&self, listing: &Listing) -> bool {
        self.kind.drill != Drill::Involved && self.visible(listing).any(|row| row.health != Health::None)
    }

    /// The columns as the table lays them out: cluster and namespace, the kind's, labels, the strip.
    pub(super) fn specs(&self, listing: &Listing) -> Vec<ColumnSpec> {
        let mut specs = Vec::new();
        let extent = |at: usize| self.extents.get(at).copied().unwrap_or_default();
        for (at, column) in self.wheres().iter().enumerate() {
            specs.push(ColumnSpec::new(column.title(), extent(at).widest.into(), 2).cut(Cut::Middle, 10));
        }
        for (at, column) in self.columns.iter().enumerate() {
            let spec = self.spec(column, extent(specs.len()));
            // Sideways the name stays, and what is beyond the edge comes as if it were wide.
            let passed = (1..=self.left).contains(&at);
            specs.push(ColumnSpec {
                wanted: if passed { 0 } else { spec.wanted },
                spare: passed || (spec.spare && (self.left == 0 || spec.wanted == 0)),
                ..spec
            });
        }
        let sorted = self.sorted_column();
        if let Some(spec) = specs.get_mut(sorted).filter(|spec| !spec.spare || spec.wanted > 0) {
            // The title keeps room for the sign of the order.
            let title = text::width(&spec.title) as u16 + 1;
            spec.wanted = spec.wanted.max(title);
        }
        for key in &self.label_columns {
            let widest = self.visible(listing).filter_map(|row| row.label(key)).map(text::width);
            let title = key.rsplit('/').next().unwrap_or(key).to_uppercase();
            specs.push(ColumnSpec::new(title, widest.max().unwrap_or(1).min(40), 4).cut(Cut::End, 6));
        }
        specs.extend(self.usage.specs());
        if self.has_strip(listing) {
            specs.push(ColumnSpec {
                spare: true,
                most: STRIP_WIDTH.1,
                ..ColumnSpec::new(STRIP, STRIP_WIDTH.0.into(), 0)
            });
        }
        specs
    }

    fn spec(&self, column: &Column, extent: Extent) -> ColumnSpec {
        let cut = match &*column.title {
            "NAME" | "OBJECT" | "NODE" | "IMAGES" | "CONTAINERS" => Cut::Middle,
            "READY" | "TYPE" | "ROLES" => Cut::Never,
            _ if column.right => Cut::Never,
            _ => Cut::End,
        };
        let spec = ColumnSpec {
            right: column.right,
            typical: extent.typical,
            spare: column.wide && !self.wide,
            brief: match &*column.title {
                "RESTARTS" => Some("R"),
                "LAST SEEN" => Some("SEEN"),
                _ => None,
            },
            ..ColumnSpec::new(column.title.to_string(), extent.widest.into(), column.rank)
        };
        match cut {
            Cut::Never => spec,
            _ => spec.cut(cut, column.min),
        }
    }

    /// Columns grow at once with what comes into view. They shrink when the cursor has rested, and wherever what is visible would be
    /// cut otherwise, so that nothing moves while one scrolls or rows come and go.
    pub(super) fn measure(&mut self, listing: &Listing, data: &dyn Data, shrink: bool) {
        let (wheres, now) = (self.wheres(), data.now());
        let mut widths: Vec<Vec<u16>> = vec![Vec::new(); self.extents.len()];
        for row in self.visible(listing) {
            for (widths, column) in widths.iter_mut().zip(wheres) {
                widths.push(text::width(&column.of(row, data)) as u16);
            }
            for (widths, cell) in widths[wheres.len()..].iter_mut().zip(&row.cells) {
                widths.push(cell_width(cell, now));
            }
        }
        let shown: Vec<Extent> = widths.into_iter().map(Extent::of).collect();
        if shrink {
            self.extents = shown;
            return;
        }
        for (extent, shown) in self.extents.iter_mut().zip(&shown) {
            extent.grow(*shown);
        }
        if crate::widget::natural_width(&self.specs(listing)) > self.area.width {
            self.extents = shown;
        }
    }
}
