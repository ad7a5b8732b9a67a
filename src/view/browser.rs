//! The browser: a live table of any kind.
//!
//! The cursor and the marks are UIDs. Rows that appear, vanish or move never put them on another object: when the object under the
//! cursor vanishes, the cursor takes the row that slid into its place, and an action that was meant for the one before is refused.

mod cell;
mod empty;
mod hints;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

pub(crate) use self::cell::sign;
use self::cell::table_cell;
use super::preview;
use super::{Data, Input, Look, MouseKind, Reply, Target, View, not_here};
use crate::cluster::Resource;
use crate::error::{Error, Result};
use crate::keys::{Line, Scope};
use crate::kind::{self, Kind};
use crate::store::{Cell, Column, FeedState, Health, Listing, Need, ObjectId, Query, Row, Sort};
use crate::text;
use crate::theme::Role;
use crate::widget::{ColumnSpec, TableCell, TableRow, fill, fit, natural_width, rule_down, table};

/// A table narrower than this has no room for a preview: columns.
const PREVIEW_WIDTH: u16 = 110;

/// How long after a slide of the cursor a key was pressed for the row before: milliseconds.
const NOTICED: i128 = 800;

/// A table of one resource.
pub struct Browser {
    resource: Arc<Resource>,
    kind: &'static Kind,
    /// Those of the kind until the server has said its own.
    columns: Arc<[Column]>,
    need: Need,
    /// What narrows it, for the crumbs: `on node knarr`, `app=web`.
    scope_note: String,
    cursor: Option<Arc<Row>>,
    /// The object the cursor was on when the filter hid it: the cursor goes back to it when it shows again.
    hidden: Option<Arc<str>>,
    index: usize,
    top: usize,
    marks: BTreeMap<Arc<str>, Arc<Row>>,
    wide: bool,
    label_columns: Vec<String>,
    preview: bool,
    /// The row the cursor rested on: its events are fetched, those of rows passed over are not.
    settled: Option<Arc<Row>>,
    /// The events resource, once the cluster has said what it serves.
    events: Option<Arc<Resource>>,
    /// The object that was under the cursor and is gone, and when the cursor slid to another one.
    slid: Option<(Arc<str>, Timestamp)>,
    /// The object the cursor goes to when it shows.
    wanted: Option<Arc<str>>,
    /// Whether the user has moved the cursor: until then it stays on the first row while rows arrive.
    touched: bool,
    /// Widest text seen per column: only grows, so that columns do not jump while rows come and go.
    widest: Vec<u16>,
    height: u16,
    area: Rect,
}

impl std::fmt::Debug for Browser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Browser")
            .field("need", &self.need)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl Browser {
    /// A table of `resource` in `namespace` (or all).
    pub fn new(resource: Arc<Resource>, namespace: Option<Arc<str>>) -> Self {
        let kind = kind::find(&resource);
        let shift = usize::from(resource.namespaced && namespace.is_none());
        let mut need = Need::all(Query::new(resource.clone(), namespace));
        if let Some((column, descending)) = kind.sort {
            need.sort = Sort {
                column: Some(column),
                descending,
            };
        }
        Self {
            resource,
            columns: kind.columns.into(),
            kind,
            need,
            scope_note: String::new(),
            cursor: None,
            hidden: None,
            index: 0,
            top: 0,
            marks: BTreeMap::new(),
            wide: false,
            label_columns: Vec::new(),
            preview: true,
            settled: None,
            events: None,
            slid: None,
            wanted: None,
            touched: false,
            widest: vec![0; kind.columns.len() + shift],
            height: 0,
            area: Rect::default(),
        }
    }

    /// Narrows it by a label selector, evaluated by the server.
    #[must_use]
    pub fn with_labels(mut self, selector: &str) -> Self {
        self.need.query.labels = selector.to_owned();
        self.scope_note = selector.to_owned();
        self
    }

    /// Narrows it by a field selector, evaluated by the server; `note` says so in the top line.
    #[must_use]
    pub fn with_fields(mut self, selector: &str, note: &str) -> Self {
        self.need.query.fields = selector.to_owned();
        self.scope_note = note.to_owned();
        self
    }

    /// Narrows it by a filter, as typed at `/`.
    #[must_use]
    pub fn with_filter(mut self, filter: &str) -> Self {
        self.need.filter = filter.to_owned();
        self
    }

    /// With or without the preview pane.
    #[must_use]
    pub fn with_preview(mut self, preview: bool) -> Self {
        self.preview = preview;
        self
    }

    /// What it lists.
    pub fn query(&self) -> &Query {
        &self.need.query
    }

    fn shows_namespace(&self) -> bool {
        self.resource.namespaced && self.need.query.namespace.is_none()
    }

    fn event_need(&self) -> Option<Need> {
        let row = self.settled.as_ref().filter(|_| self.preview)?;
        Some(preview::event_need(self.events.clone()?, &self.resource, row))
    }

    fn move_to(&mut self, listing: &Listing, index: usize) {
        self.touched = true;
        self.hidden = None;
        self.slid = None;
        self.wanted = None;
        self.index = index.min(listing.len().saturating_sub(1));
        self.cursor = listing.get(self.index).cloned();
        self.keep_visible(listing.len());
    }

    fn keep_visible(&mut self, len: usize) {
        let page = usize::from(self.height).max(1);
        self.top = self.top.min(self.index).max((self.index + 1).saturating_sub(page));
        self.top = self.top.min(len.saturating_sub(page));
    }

    fn specs(&self, listing: &Listing) -> Vec<ColumnSpec> {
        let mut specs = Vec::new();
        let wanted = |at: usize| self.widest.get(at).copied().unwrap_or(0);
        if self.shows_namespace() {
            specs.push(ColumnSpec {
                title: "NAMESPACE".into(),
                right: false,
                min: 10,
                wanted: wanted(0),
                rank: 1,
                elastic: true,
                middle: true,
            });
        }
        for column in self.columns.iter() {
            let at = specs.len();
            specs.push(ColumnSpec {
                title: column.title.to_string(),
                right: column.right,
                min: column.min,
                wanted: match &*column.title {
                    _ if column.wide && !self.wide => 0,
                    // Ages change their width as they grow; nothing beside them should move then.
                    "AGE" => wanted(at).max(5),
                    _ => wanted(at),
                },
                rank: if column.wide && !self.wide {
                    u8::MAX
                } else {
                    column.rank
                },
                // "4 (8s ago)" has a short form.
                elastic: column.title == "RESTARTS"
                    || !column.right && !matches!(&*column.title, "STATUS" | "READY" | "TYPE" | "ROLES"),
                middle: matches!(&*column.title, "NAME" | "OBJECT" | "NODE" | "IMAGES"),
            });
        }
        let sorted = self.sorted_column();
        for (at, spec) in specs.iter_mut().enumerate().filter(|(_, spec)| spec.wanted > 0) {
            // The whole title, and the sign of the order.
            let title = text::width(&spec.title) as u16 + u16::from(at == sorted);
            spec.wanted = spec.wanted.max(title);
            if spec.right {
                spec.min = spec.min.max(title);
            }
        }
        for key in &self.label_columns {
            let widest = listing
                .window(self.top, usize::from(self.height))
                .filter_map(|row| row.label(key));
            specs.push(ColumnSpec {
                title: key.rsplit('/').next().unwrap_or(key).to_uppercase(),
                right: false,
                min: 6,
                wanted: widest.map(text::width).max().unwrap_or(1).min(40) as u16,
                rank: 4,
                elastic: true,
                middle: false,
            });
        }
        specs
    }

    /// The column that the order is by, the namespace's included.
    fn sorted_column(&self) -> usize {
        self.need.sort.column.unwrap_or(0) + usize::from(self.shows_namespace())
    }

    fn widths(&self, specs: &[ColumnSpec], available: u16) -> Vec<Option<u16>> {
        let hidden: Vec<bool> = specs.iter().map(|spec| spec.rank == u8::MAX).collect();
        let visible: Vec<ColumnSpec> = specs
            .iter()
            .zip(&hidden)
            .filter(|(_, hidden)| !**hidden)
            .map(|(spec, _)| spec.clone())
            .collect();
        let mut fitted = fit(&visible, available).into_iter();
        hidden
            .iter()
            .map(|hidden| if *hidden { None } else { fitted.next().flatten() })
            .collect()
    }

    /// Columns grow with what was shown and stay, so that nothing moves while one scrolls. Where that would cut a text, they
    /// are as wide as what is shown now.
    fn measure(&mut self, listing: &Listing, data: &dyn Data) {
        let now = data.now();
        let mut shown_now = vec![0; self.widest.len()];
        let shift = usize::from(self.shows_namespace());
        for row in listing.window(self.top, usize::from(self.height).max(1)) {
            if shift == 1 {
                shown_now[0] = text::width(&row.id.namespace).max(shown_now[0].into()) as u16;
            }
            for (at, cell) in row.cells.iter().enumerate().take(self.columns.len()) {
                let shown = text::width(&cell.show(now)) as u16;
                // Ages grow without news: they get the room of the longest from the start.
                let wide = match cell {
                    Cell::Status(..) => shown + 2,
                    Cell::Age(_) => shown.max(5),
                    Cell::Counted(number, Some(_)) => shown.max(number.to_string().len() as u16 + 12),
                    _ => shown,
                };
                if let Some(widest) = shown_now.get_mut(at + shift) {
                    *widest = (*widest).max(wide);
                }
            }
        }
        for (widest, now) in self.widest.iter_mut().zip(&shown_now) {
            *widest = (*widest).max(*now);
        }
        let (table, _) = self.preview_area(self.area);
        if natural_width(&self.specs(listing)) > table.width {
            self.widest = shown_now;
        }
    }

    fn sort_by(&mut self, line: &Line) -> Result<()> {
        let titles = || {
            self.columns
                .iter()
                .map(|column| &*column.title)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let wanted = line
            .first()
            .ok_or_else(|| Error::usage("sort by which column?").hint(titles()))?;
        let column = self
            .columns
            .iter()
            .position(|column| column.title.eq_ignore_ascii_case(wanted));
        let column = match (column, wanted) {
            (Some(0), _) | (None, "name") => None,
            (Some(at), _) => Some(at),
            (None, _) => {
                return Err(
                    Error::usage(format!("there is no column {wanted:?} here")).hint(format!("columns: {}", titles()))
                );
            }
        };
        let again = self.need.sort.column == column;
        self.need.sort = Sort {
            column,
            descending: again && !self.need.sort.descending,
        };
        Ok(())
    }

    fn preview_area(&self, area: Rect) -> (Rect, Option<Rect>) {
        if !self.preview || area.width < PREVIEW_WIDTH || area.height < 6 {
            return (area, None);
        }
        let width = (area.width / 3).clamp(38, 90);
        let left = Rect {
            width: area.width - width,
            ..area
        };
        (
            left,
            Some(Rect {
                x: left.right(),
                width,
                ..area
            }),
        )
    }
}

impl View for Browser {
    fn title(&self) -> String {
        self.resource.plural.to_string()
    }

    fn crumbs(&self) -> Vec<String> {
        let mut crumbs = Vec::new();
        if self.resource.namespaced {
            crumbs.push(
                self.need
                    .query
                    .namespace
                    .as_deref()
                    .unwrap_or("all namespaces")
                    .to_owned(),
            );
        }
        crumbs.push(self.resource.plural.to_string());
        if !self.scope_note.is_empty() {
            crumbs.push(self.scope_note.clone());
        }
        crumbs
    }

    fn status(&self, data: &dyn Data) -> String {
        let listing = data.listing(&self.need);
        let mut status = if listing.len() == listing.total {
            listing.total.to_string()
        } else {
            format!("{} of {}", listing.len(), listing.total)
        };
        if !self.need.filter.is_empty() {
            status.push_str(&format!("  /{}", self.need.filter));
        }
        if self.need.faults {
            status.push_str("  faults only");
        }
        if !self.marks.is_empty() {
            status.push_str(&format!("  {} marked", self.marks.len()));
        }
        status
    }

    fn scopes(&self) -> Vec<Scope> {
        let own = if self.kind.plural.is_empty() {
            "objects"
        } else {
            self.kind.plural
        };
        vec![own, "table"]
    }

    fn hints(&self) -> &'static [(&'static str, &'static str)] {
        hints::of(self.kind.plural)
    }

    fn targets(&self, _data: &dyn Data) -> Vec<Target> {
        let rows: Vec<&Arc<Row>> = if self.marks.is_empty() {
            self.cursor.iter().collect()
        } else {
            self.marks.values().collect()
        };
        rows.into_iter()
            .map(|row| Target {
                resource: self.resource.clone(),
                id: row.id.clone(),
                object: row.object.clone(),
            })
            .collect()
    }

    fn resource(&self) -> Option<Arc<Resource>> {
        Some(self.resource.clone())
    }

    fn in_namespace(&self, namespace: Option<Arc<str>>) -> Option<Box<dyn View>> {
        let mut next = Self::new(self.resource.clone(), namespace);
        next.need.sort = self.need.sort;
        next.need.filter.clone_from(&self.need.filter);
        next.need.faults = self.need.faults;
        next.need.query.labels.clone_from(&self.need.query.labels);
        // A field selector names one object, or what one place holds.
        if self.need.query.fields.is_empty() {
            next.scope_note.clone_from(&self.scope_note);
        }
        next.wide = self.wide;
        next.label_columns.clone_from(&self.label_columns);
        next.preview = self.preview;
        Some(Box::new(next))
    }

    fn slid(&self, data: &dyn Data) -> Option<Arc<str>> {
        let (name, at) = self.slid.as_ref().filter(|_| self.marks.is_empty())?;
        (data.now().duration_since(*at).as_millis() < NOTICED).then(|| name.clone())
    }

    fn select(&mut self, id: &ObjectId, data: &dyn Data) {
        self.wanted = Some(id.uid.clone());
        self.sync(data);
    }

    fn needs(&self) -> Vec<Need> {
        let mut needs = vec![self.need.clone()];
        needs.extend(self.event_need());
        needs
    }

    fn sync(&mut self, data: &dyn Data) {
        let listing = data.listing(&self.need);
        if !listing.columns.is_empty() && listing.columns != self.columns {
            self.columns = listing.columns.clone();
            self.widest = vec![0; self.columns.len() + usize::from(self.shows_namespace())];
        }
        let loading = listing.state == FeedState::Loading;
        if let Some(at) = self.wanted.as_ref().and_then(|uid| listing.position(uid, self.index)) {
            self.move_to(&listing, at);
        }
        if loading && !self.touched {
            self.index = 0;
            self.cursor = listing.get(0).cloned();
        }
        if let Some(at) = self.hidden.as_ref().and_then(|uid| listing.position(uid, self.index)) {
            self.hidden = None;
            self.cursor = listing.get(at).cloned();
        }
        let found = self
            .cursor
            .as_ref()
            .and_then(|row| listing.position(&row.id.uid, self.index));
        match found {
            // Not there yet is not gone.
            None if loading && self.cursor.is_some() => {}
            Some(at) => {
                self.index = at;
                self.cursor = listing.get(at).cloned();
            }
            None => {
                if let (None, Some(row)) = (&self.hidden, &self.cursor)
                    && listing.find(&row.id.uid).is_some()
                {
                    self.hidden = Some(row.id.uid.clone());
                }
                let before = self.cursor.take();
                // Rows that a filter leaves begin with the first: the cursor's old place means nothing among them.
                let index = if self.hidden.is_some() { 0 } else { self.index };
                self.index = index.min(listing.len().saturating_sub(1));
                self.cursor = listing.get(self.index).cloned();
                if let (Some(before), None) = (before, &self.hidden) {
                    self.slid = Some((before.id.name.clone(), data.now()));
                }
            }
        }
        // Marks follow their objects; a vanished object loses its mark once its absence is certain.
        if !self.marks.is_empty() && listing.state == FeedState::Live {
            self.marks.retain(|uid, row| match listing.find(uid) {
                Some(newest) => {
                    *row = newest;
                    true
                }
                None => false,
            });
        }
        self.keep_visible(listing.len());
        self.measure(&listing, data);
    }

    fn settle(&mut self, data: &dyn Data) {
        self.events = data.discovery().find("events").cloned();
        self.settled = self.cursor.clone();
    }

    fn layout(&mut self, area: Rect, data: &dyn Data) -> Reply {
        self.height = area.height.saturating_sub(1);
        if self.area.width != area.width {
            self.widest.iter_mut().for_each(|widest| *widest = 0);
        }
        self.area = area;
        self.sync(data);
        Reply::Done
    }

    fn on(&mut self, input: &Input, data: &dyn Data) -> Reply {
        let Input::Mouse(mouse) = input else {
            return Reply::Ignored;
        };
        let listing = data.listing(&self.need);
        match mouse.kind {
            MouseKind::WheelDown => self.move_to(&listing, self.index + 3),
            MouseKind::WheelUp => self.move_to(&listing, self.index.saturating_sub(3)),
            MouseKind::Click if mouse.row > self.area.y && mouse.row < self.area.bottom() => {
                let index = self.top + usize::from(mouse.row - self.area.y - 1);
                if index == self.index {
                    return Reply::Run(Line::bare("view.enter"));
                }
                if index < listing.len() {
                    self.move_to(&listing, index);
                }
            }
            MouseKind::Click => return Reply::Ignored,
        }
        Reply::Done
    }

    fn command(&mut self, line: &Line, data: &dyn Data) -> Result<Reply> {
        let listing = data.listing(&self.need);
        let page = usize::from(self.height).max(2) - 1;
        match line.name.as_str() {
            "cursor.down" => self.move_to(&listing, self.index + 1),
            "cursor.up" => self.move_to(&listing, self.index.saturating_sub(1)),
            "cursor.page-down" => self.move_to(&listing, self.index + page),
            "cursor.page-up" => self.move_to(&listing, self.index.saturating_sub(page)),
            "cursor.half-down" => self.move_to(&listing, self.index + page / 2),
            "cursor.half-up" => self.move_to(&listing, self.index.saturating_sub(page / 2)),
            "cursor.first" => self.move_to(&listing, 0),
            "cursor.last" => self.move_to(&listing, usize::MAX),
            "mark.toggle" => {
                if let Some(row) = self.cursor.clone()
                    && self.marks.remove(&row.id.uid).is_none()
                {
                    self.marks.insert(row.id.uid.clone(), row);
                }
                self.move_to(&listing, self.index + 1);
            }
            "mark.all" => self.marks = listing.iter().map(|row| (row.id.uid.clone(), row.clone())).collect(),
            "mark.clear" => self.marks.clear(),
            // The cursor stays where the filter has put it.
            "filter.keep" => self.hidden = None,
            "table.wide" => {
                self.wide = !self.wide;
                if !self.columns.iter().any(|column| column.wide) {
                    return Err(Error::usage(format!("{} have no more columns", self.resource.plural)));
                }
            }
            "table.faults" => self.need.faults = !self.need.faults,
            "table.sort" => self.sort_by(line)?,
            "table.label" => {
                let key = line.first().ok_or_else(|| Error::usage("which label's column?"))?;
                match self.label_columns.iter().position(|known| known == key) {
                    Some(at) => {
                        self.label_columns.remove(at);
                    }
                    None => self.label_columns.push(key.to_owned()),
                }
            }
            "preview.toggle" => {
                if self.area.width < PREVIEW_WIDTH {
                    let error = Error::usage(format!("the preview needs {PREVIEW_WIDTH} columns"));
                    return Err(error.hint("describe the object instead"));
                }
                self.preview = !self.preview;
                self.settled = self.cursor.clone();
            }
            "filter.set" => {
                let text = line.args.join(" ");
                let titles: Vec<&str> = self.columns.iter().map(|column| &*column.title).collect();
                crate::store::Filter::parse(&text, &titles)?;
                self.need.filter = text;
                self.sync(data);
            }
            _ => return Err(not_here(line)),
        }
        Ok(Reply::Done)
    }

    fn search(&self) -> &str {
        &self.need.filter
    }

    fn tick(&self, data: &dyn Data) -> Option<std::time::Duration> {
        let listing = data.listing(&self.need);
        super::tick::until_next(listing.window(self.top, usize::from(self.height)), data.now())
    }

    fn draw(&self, area: Rect, buf: &mut Buffer, look: &Look<'_>) {
        let listing = look.data.listing(&self.need);
        let (left, right) = self.preview_area(area);
        let specs = self.specs(&listing);
        let widths = self.widths(&specs, left.width);
        let sorted = self.sorted_column();
        let sign = if self.need.sort.descending {
            look.theme.signs.descending
        } else {
            look.theme.signs.ascending
        };
        let now = look.data.now();
        let rows = listing.window(self.top, usize::from(self.height)).map(|row| {
            let mut cells = Vec::with_capacity(specs.len());
            if self.shows_namespace() {
                cells.push(TableCell {
                    text: text::clean(&row.id.namespace),
                    short: None,
                    role: None,
                    sign: None,
                });
            }
            cells.extend(
                row.cells
                    .iter()
                    .take(self.columns.len())
                    .map(|cell| table_cell(cell, look, now)),
            );
            cells.extend(self.label_columns.iter().map(|key| TableCell {
                text: row.label(key).unwrap_or("-").into(),
                short: None,
                role: None,
                sign: None,
            }));
            let fresh = row.changed.is_some_and(|at| now.duration_since(at).as_millis() < 1000);
            TableRow {
                cells,
                cursor: self.cursor.as_ref().is_some_and(|cursor| cursor.id.uid == row.id.uid),
                marked: self.marks.contains_key(&row.id.uid),
                role: match row.health {
                    Health::Done => Some(Role::Dim),
                    _ if fresh => Some(Role::Changed),
                    _ => None,
                },
            }
        });
        table(left, buf, look.theme, &specs, &widths, Some((sorted, sign)), rows);
        if listing.is_empty() {
            empty::draw(left, buf, look, self, &listing);
        }
        if let Some(right) = right {
            rule_down(buf, right, look.theme);
            let inner = Rect {
                x: right.x + 2,
                width: right.width.saturating_sub(2),
                ..right
            };
            match &self.cursor {
                Some(row) => {
                    let events = self.event_need().map(|need| look.data.listing(&need));
                    let settled = self
                        .settled
                        .as_ref()
                        .is_some_and(|settled| settled.id.uid == row.id.uid);
                    preview::draw(inner, buf, look, self.kind, row, events.filter(|_| settled).as_deref());
                }
                None => fill(buf, inner, look.theme.screen()),
            }
        }
    }
}
