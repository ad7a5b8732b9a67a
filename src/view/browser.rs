//! The browser: a live table of any kind.
//!
//! The cursor and the marks are UIDs. Rows that appear, vanish or move never put them on another object: when the object under the
//! cursor vanishes, the cursor takes the row that slid into its place, and an action that was meant for the one before is refused.

mod cell;
mod columns;
mod empty;
mod export;
mod hints;
mod marks;
mod part;
mod usage;

use std::sync::Arc;

use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use self::cell::strip;
pub(crate) use self::cell::{sign, table_cell};
use self::columns::Extent;
use self::marks::Marks;
use super::{Data, Input, Look, Motion, Mouse, MouseKind, Reply, Target, View, ViewCommand, Vocabulary, not_here};
use crate::cluster::{ClusterId, Namespaces, Place, Resource};
use crate::error::{Error, Result};
use crate::keys::{Line, Scope};
use crate::kind::{self, Kind};
use crate::store::{Column, FeedState, Health, Listing, Need, ObjectId, Query, Row, Sort};
use crate::theme::Role;
use crate::widget::{TableCell, TableRow, fit, scrollbar, scrolled_to, spans, table};

/// How long after a slide of the cursor a key was pressed for the row before: milliseconds.
const NOTICED: i128 = 800;

/// Rows whose labels are offered for completion.
const SAMPLE: usize = 1000;

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
    hidden: Option<ObjectId>,
    index: usize,
    top: usize,
    marks: Marks,
    wide: bool,
    /// Columns after the name that are scrolled out of sight.
    left: usize,
    label_columns: Vec<String>,
    /// The object that was under the cursor and is gone, and when the cursor slid to another one.
    slid: Option<(Arc<str>, Timestamp)>,
    /// The object the cursor goes to when it shows.
    wanted: Option<ObjectId>,
    /// How it is to be sorted once a column of that title is known.
    unsorted: Option<(String, bool)>,
    /// Whether the user has moved the cursor: until then it stays on the first row while rows arrive.
    touched: bool,
    /// What its objects use, by cluster, where that is measured.
    usage: usage::Measured,
    /// What the texts of each column want.
    extents: Vec<Extent>,
    height: u16,
    /// What is wrong with a part of it, below the rows.
    notes: Vec<part::Note>,
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
    /// A table of `resource` in a place.
    pub fn new(resource: Arc<Resource>, place: Place) -> Self {
        let kind = kind::find(&resource);
        let mut need = Need::all(Query::new(resource.clone(), place));
        if let Some((column, descending)) = kind.sort {
            need.sort = Sort {
                column: Some(column),
                descending,
            };
        }
        let mut view = Self {
            resource,
            columns: kind.columns.into(),
            kind,
            need,
            scope_note: String::new(),
            cursor: None,
            hidden: None,
            index: 0,
            top: 0,
            marks: Marks::default(),
            wide: false,
            left: 0,
            label_columns: Vec::new(),
            slid: None,
            wanted: None,
            unsorted: None,
            touched: false,
            usage: usage::Measured::default(),
            extents: Vec::new(),
            height: 0,
            notes: Vec::new(),
            area: Rect::default(),
        };
        view.extents = vec![Extent::default(); kind.columns.len() + view.wheres().len()];
        view
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

    /// Sorts it by a column, by its title.
    pub fn sort(&mut self, title: &str, descending: bool) {
        let found = self
            .columns
            .iter()
            .position(|column| column.title.eq_ignore_ascii_case(title));
        self.unsorted = found.is_none().then(|| (title.to_owned(), descending));
        self.need.sort = Sort {
            column: found.filter(|at| *at > 0),
            descending,
        };
    }

    /// Keeps only what needs attention.
    #[must_use]
    pub fn with_faults(mut self) -> Self {
        self.need.faults = true;
        self
    }

    /// What it lists.
    pub fn query(&self) -> &Query {
        &self.need.query
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

    /// The column that the order is by, those before the kind's own included.
    fn sorted_column(&self) -> usize {
        self.need.sort.column.unwrap_or(0) + self.wheres().len()
    }

    fn sort_by(&mut self, wanted: &str) -> Result<()> {
        let titles = || {
            self.columns
                .iter()
                .map(|column| &*column.title)
                .collect::<Vec<_>>()
                .join(", ")
        };
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

    /// The place of the table; the last column beside it is the scrollbar's, and air.
    fn table_area(&self) -> Rect {
        Rect {
            width: self.area.width.saturating_sub(1),
            ..self.area
        }
    }

    /// The place of the rows, with the scrollbar.
    fn body(&self) -> Rect {
        Rect {
            y: self.area.y + 1,
            height: self.area.height.saturating_sub(1),
            ..self.area
        }
    }

    /// Sorts by the column whose header was clicked.
    fn header_at(&self, listing: &Listing, mouse: &Mouse) -> Option<Line> {
        let place = self.table_area();
        if mouse.row != place.y {
            return None;
        }
        let widths = fit(&self.specs(listing), place.width);
        let (at, ..) = spans(&widths, place.x).find(|(_, start, end)| (*start..end + 1).contains(&mouse.column))?;
        let column = self.columns.get(at.checked_sub(self.wheres().len())?)?;
        Some(Line::with("table.sort", [column.title.to_string()]))
    }

    fn rows<'l>(
        &'l self,
        listing: &'l Listing,
        look: &'l Look<'_>,
        widths: &'l [Option<u16>],
    ) -> impl Iterator<Item = TableRow<'l>> {
        let (theme, now) = (look.theme, look.data.now());
        let has_strip = self.has_strip(listing);
        listing.window(self.top, usize::from(self.height)).map(move |row| {
            let mut cells = Vec::with_capacity(widths.len());
            cells.extend(
                self.wheres()
                    .iter()
                    .map(|column| TableCell::new(column.of(row, look.data))),
            );
            cells.extend(row.cells.iter().take(self.columns.len()).enumerate().map(|(at, cell)| {
                let shown = table_cell(row.health, cell, theme, now);
                match row.is_fresh(at, now) {
                    true => shown.role(Some(Role::Changed)),
                    false => shown,
                }
            }));
            cells.extend(
                self.label_columns
                    .iter()
                    .map(|key| TableCell::new(row.label(key).unwrap_or("-"))),
            );
            cells.extend(self.usage.cells(row, theme));
            if has_strip {
                let columns = widths.last().copied().flatten().unwrap_or(0);
                cells.push(strip(row, theme, now, columns));
            }
            TableRow {
                cells,
                spine: Some(sign(row.health, theme)),
                cursor: self.cursor.as_ref().is_some_and(|cursor| cursor.id == row.id),
                marked: self.marks.has(&row.id),
                role: (row.health == Health::Done || part::is_stale(row, look.data)).then_some(Role::Dim),
            }
        })
    }
}

impl View for Browser {
    fn title(&self) -> String {
        self.resource.plural.to_string()
    }

    fn crumbs(&self) -> Vec<String> {
        let mut crumbs = Vec::new();
        if self.resource.namespaced {
            crumbs.push(self.need.query.place.namespaces.to_string());
        }
        crumbs.push(self.resource.plural.to_string());
        if !self.scope_note.is_empty() {
            crumbs.push(self.scope_note.clone());
        }
        crumbs
    }

    fn status(&self, data: &dyn Data) -> String {
        let listing = data.listing(&self.need);
        let mut status = match listing.len() {
            0 => "0".to_owned(),
            shown => format!("{}/{shown}", self.index + 1),
        };
        if listing.len() != listing.total {
            status.push_str(&format!(" of {}", listing.total));
        }
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
        kind::scopes(&self.resource).chain(["objects", "table"]).collect()
    }

    fn vocabulary(&self, data: &dyn Data) -> Vocabulary {
        let listing = data.listing(&self.need);
        let mut vocabulary = Vocabulary {
            columns: self.columns.iter().map(|column| column.title.to_string()).collect(),
            ..Vocabulary::default()
        };
        for (key, value) in listing.window(0, SAMPLE).flat_map(|row| row.labels.iter()) {
            let values = vocabulary.labels.entry(key.to_string()).or_default();
            if values.len() < SAMPLE {
                values.insert(value.to_string());
            }
        }
        vocabulary
    }

    fn hints(&self) -> &'static [(&'static str, &'static str)] {
        hints::of(self.kind.plural)
    }

    fn targets(&self, _data: &dyn Data) -> Vec<Target> {
        let rows: Vec<&Arc<Row>> = if self.marks.is_empty() {
            self.cursor.iter().collect()
        } else {
            self.marks.rows().collect()
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

    fn sorted(&self) -> Option<(String, bool)> {
        let column = self.columns.get(self.need.sort.column.unwrap_or(0))?;
        Some((column.title.to_string(), self.need.sort.descending))
    }

    fn place(&self) -> Option<&Place> {
        Some(&self.need.query.place)
    }

    fn cluster(&self) -> Option<ClusterId> {
        let under_cursor = self.cursor.as_ref().map(|row| row.id.cluster);
        under_cursor.or_else(|| self.need.query.place.clusters.first().copied())
    }

    fn in_namespaces(&self, namespaces: &Namespaces) -> Option<Box<dyn View>> {
        let place = self.need.query.place.clone().within(namespaces.clone());
        let mut next = Self::new(self.resource.clone(), place);
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
        Some(Box::new(next))
    }

    fn focus(&self) -> Option<u16> {
        let line = u16::try_from(self.index.checked_sub(self.top)?).ok()?;
        Some(self.body().y + line).filter(|row| *row < self.area.bottom())
    }

    fn slid(&self, data: &dyn Data) -> Option<Arc<str>> {
        let (name, at) = self.slid.as_ref().filter(|_| self.marks.is_empty())?;
        (data.now().duration_since(*at).as_millis() < NOTICED).then(|| name.clone())
    }

    fn leads(&self) -> bool {
        true
    }

    fn under_cursor(&self) -> Option<(&Arc<Resource>, &Arc<Row>)> {
        self.cursor.as_ref().map(|row| (&self.resource, row))
    }

    fn spec(&self, data: &dyn Data) -> Option<Line> {
        let query = &self.need.query;
        let mut args = vec![self.resource.full_name()];
        let contexts = query
            .place
            .clusters
            .iter()
            .filter_map(|cluster| data.cluster_of(*cluster));
        args.extend(contexts.map(|info| format!("@{}", info.name)));
        match query.place.namespaces.is_all() {
            true => args.push("-A".into()),
            false => args.extend(["-n".into(), query.place.namespaces.to_string()]),
        }
        let mut flag = |name: &str, value: &str| {
            if !value.is_empty() {
                args.extend([name.to_owned(), value.to_owned()]);
            }
        };
        flag("-l", &query.labels);
        flag("--fields", &query.fields);
        flag("--note", if query.fields.is_empty() { "" } else { &self.scope_note });
        if let Some(column) = self.need.sort.column.and_then(|at| self.columns.get(at)) {
            flag(
                if self.need.sort.descending {
                    "--sort-down"
                } else {
                    "--sort"
                },
                &column.title,
            );
        }
        if self.need.faults {
            args.push("--faults".into());
        }
        if !self.need.filter.is_empty() {
            args.push(format!("/{}", self.need.filter));
        }
        Some(Line::with("view.open", args))
    }

    fn select(&mut self, id: &ObjectId, data: &dyn Data) {
        self.wanted = Some(id.clone());
        self.sync(data);
    }

    fn needs(&self) -> Vec<Need> {
        vec![self.need.clone()]
    }

    fn sync(&mut self, data: &dyn Data) {
        let listing = data.listing(&self.need);
        if !listing.columns.is_empty() && listing.columns != self.columns {
            self.columns = listing.columns.clone();
            self.extents = vec![Extent::default(); self.columns.len() + self.wheres().len()];
            if let Some((title, descending)) = self.unsorted.take() {
                self.sort(&title, descending);
            }
        }
        let loading = listing.state == FeedState::Loading;
        if let Some(at) = self.wanted.as_ref().and_then(|id| listing.position(id, self.index)) {
            self.move_to(&listing, at);
        }
        if loading && !self.touched {
            self.index = 0;
            self.cursor = listing.get(0).cloned();
        }
        if let Some(at) = self.hidden.as_ref().and_then(|id| listing.position(id, self.index)) {
            self.hidden = None;
            self.cursor = listing.get(at).cloned();
        }
        let found = self
            .cursor
            .as_ref()
            .and_then(|row| listing.position(&row.id, self.index));
        match found {
            // Not there yet is not gone; neither is what moves on just now.
            None if listing.is_behind()
                || self
                    .cursor
                    .as_ref()
                    .is_some_and(|row| *listing.state_of(&row.id) == FeedState::Loading) => {}
            Some(at) => {
                self.index = at;
                self.cursor = listing.get(at).cloned();
            }
            None => {
                if let (None, Some(row)) = (&self.hidden, &self.cursor)
                    && listing.find(&row.id).is_some()
                {
                    self.hidden = Some(row.id.clone());
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
        self.marks.follow(&listing, data.now());
        self.usage.sync(&self.resource, &self.need.query.place, data);
        self.notes = part::notes(&listing, data);
        self.height = self.area.height.saturating_sub(1 + self.notes.len() as u16);
        self.keep_visible(listing.len());
        self.measure(&listing, data, false);
    }

    fn work(&mut self, data: &dyn Data) -> bool {
        self.marks.work(&data.listing(&self.need), data.now())
    }

    fn settle(&mut self, data: &dyn Data) {
        self.measure(&data.listing(&self.need), data, true);
    }

    fn layout(&mut self, area: Rect, data: &dyn Data) -> Reply {
        if self.area.width != area.width {
            self.extents.fill(Extent::default());
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
        let body = self.body();
        match mouse.kind {
            MouseKind::WheelDown => self.move_to(&listing, self.index + 3),
            MouseKind::WheelUp => self.move_to(&listing, self.index.saturating_sub(3)),
            MouseKind::Click | MouseKind::Drag
                if mouse.column + 1 == body.right() && listing.len() > usize::from(body.height) =>
            {
                let top = scrolled_to(body, mouse.row, listing.len());
                // One end of the bar is the first row, the other the last.
                let last = mouse.row + 1 >= body.bottom();
                self.move_to(&listing, if last { listing.len() } else { top });
            }
            MouseKind::Click if body.contains((mouse.column, mouse.row).into()) => {
                let index = self.top + usize::from(mouse.row - self.area.y - 1);
                if index == self.index {
                    return Reply::Run(Line::bare("view.enter"));
                }
                if index < listing.len() {
                    self.move_to(&listing, index);
                }
            }
            MouseKind::Click => return self.header_at(&listing, mouse).map_or(Reply::Ignored, Reply::Run),
            MouseKind::Drag | MouseKind::Release => return Reply::Ignored,
        }
        Reply::Done
    }

    fn command(&mut self, command: &ViewCommand, data: &dyn Data) -> Result<Reply> {
        let listing = data.listing(&self.need);
        let page = usize::from(self.height).max(2) - 1;
        match command {
            ViewCommand::Move(Motion::Left) => self.left = self.left.saturating_sub(1),
            ViewCommand::Move(Motion::Right) => {
                // The name stays, and one column beside it.
                let most = self.columns.len().saturating_sub(2);
                self.left = (self.left + 1).min(most);
            }
            ViewCommand::Move(motion) => self.move_to(&listing, motion.apply(self.index, page)),
            ViewCommand::Mark => {
                if let Some(row) = &self.cursor {
                    self.marks.toggle(row);
                }
                self.move_to(&listing, self.index + 1);
            }
            ViewCommand::MarkAll => self.marks = Marks::all(&listing),
            ViewCommand::MarkClear => self.marks = Marks::default(),
            // The cursor stays where the filter has put it.
            ViewCommand::FilterKeep => self.hidden = None,
            ViewCommand::Wide => {
                self.wide = !self.wide;
                if !self.columns.iter().any(|column| column.wide) {
                    return Err(Error::usage(format!("{} have no more columns", self.resource.plural)));
                }
            }
            ViewCommand::Faults => self.need.faults = !self.need.faults,
            ViewCommand::Sort(column) => self.sort_by(column)?,
            ViewCommand::Export(format, path) => {
                return Ok(self.export(&listing, *format, path.as_deref(), data.now()));
            }
            ViewCommand::Label(key) => match self.label_columns.iter().position(|known| known == key) {
                Some(at) => {
                    self.label_columns.remove(at);
                }
                None => self.label_columns.push(key.clone()),
            },
            ViewCommand::Filter(text) => {
                let titles: Vec<&str> = self.columns.iter().map(|column| &*column.title).collect();
                crate::store::Filter::parse(text, &titles)?;
                self.need.filter.clone_from(text);
                self.sync(data);
            }
            _ => return Err(not_here("this")),
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
        let specs = self.specs(&listing);
        let place = self.table_area();
        let widths = fit(&specs, place.width);
        let sorted = self.sorted_column();
        let sign = if self.need.sort.descending {
            look.theme.signs.descending
        } else {
            look.theme.signs.ascending
        };
        let rows = self.rows(&listing, look, &widths);
        table(place, buf, look.theme, &specs, &widths, Some((sorted, sign)), rows);
        scrollbar(self.body(), buf, look.theme, self.top, listing.len());
        if listing.is_empty() {
            empty::draw(area, buf, look, self, &listing);
        }
        part::draw(area, buf, look, &self.notes);
    }
}
