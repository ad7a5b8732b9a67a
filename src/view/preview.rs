//! The preview: what matters about the row under another pane's cursor, live.

use std::cell::Cell;
use std::sync::Arc;

use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use serde_json::Value;

use super::{Data, Input, Look, Motion, MouseKind, Reply, Target, View, ViewCommand, not_here};
use crate::cluster::{ClusterId, Place, Resource};
use crate::document::{Document, TextLine};
use crate::error::Result;
use crate::keys::Scope;
use crate::kind::{self, Kind, Subject};
use crate::store::{Listing, Need, ObjectId, Query, Row};
use crate::text;
use crate::theme::Role;
use crate::widget::{Pager, PagerState};

/// The events about the object of a row, seen through the one feed of its namespace's events: a feed per row that the cursor rests on
/// would make the server read all of them each time, because it cannot index events.
fn event_need(events: Arc<Resource>, resource: &Resource, row: &Row) -> Need {
    let namespace: Arc<str> = row.id.namespace().unwrap_or("default").into();
    let mut need = Need::all(Query::new(events, Place::new(row.id.cluster, Some(namespace))));
    need.filter = format!("object={}/{}", resource.kind.to_lowercase(), row.id.name);
    need
}

/// The events about an object. Those about cluster-scoped objects live in `default`, and name a node's UID as its name
/// when the kubelet wrote them, so nodes are found by name.
pub(super) fn event_need_of(events: Arc<Resource>, id: &ObjectId) -> Need {
    let namespace: Arc<str> = id.namespace().unwrap_or("default").into();
    let mut query = Query::new(events, Place::new(id.cluster, Some(namespace)));
    query.fields = match id.namespace() {
        Some(_) => format!("involvedObject.uid={}", id.uid),
        None => format!("involvedObject.name={}", id.name),
    };
    Need::all(query)
}

/// Events of a listing as JSON, oldest first.
pub(super) fn events_of(listing: Option<&Listing>) -> Vec<Value> {
    let mut events: Vec<Value> = listing
        .into_iter()
        .flat_map(Listing::iter)
        .map(|row| row.object.value())
        .collect();
    events.sort_by(|a, b| seen(a).cmp(seen(b)));
    events
}

fn seen(event: &Value) -> &str {
    [
        "/lastTimestamp",
        "/series/lastObservedTime",
        "/eventTime",
        "/metadata/creationTimestamp",
    ]
    .iter()
    .find_map(|path| event.pointer(path).and_then(Value::as_str))
    .unwrap_or_default()
}

/// What is shown of the row under another pane's cursor.
#[derive(Debug, Default)]
pub struct Preview {
    shown: Option<(Arc<Resource>, Arc<Row>)>,
    /// The events about the object the cursor rested on: those of rows passed over are not fetched.
    events: Option<(ObjectId, Need)>,
    /// Rows scrolled out of sight, as far as there are any.
    scrolled: Cell<usize>,
    height: u16,
}

impl View for Preview {
    fn title(&self) -> String {
        "preview".into()
    }

    fn crumbs(&self) -> Vec<String> {
        let name = self.shown.as_ref().map(|(_, row)| row.id.name.to_string());
        std::iter::once("preview".to_owned()).chain(name).collect()
    }

    fn scopes(&self) -> Vec<Scope> {
        vec!["preview"]
    }

    fn hints(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("pane.next", "other pane"),
            ("pane.zoom", "zoom"),
            ("preview.toggle", "hide"),
            ("help.open", "help"),
        ]
    }

    fn targets(&self, _data: &dyn Data) -> Vec<Target> {
        let target = |(resource, row): &(Arc<Resource>, Arc<Row>)| Target {
            resource: resource.clone(),
            id: row.id.clone(),
            object: row.object.clone(),
        };
        self.shown.iter().map(target).collect()
    }

    fn cluster(&self) -> Option<ClusterId> {
        self.shown.as_ref().map(|(_, row)| row.id.cluster)
    }

    fn needs(&self) -> Vec<Need> {
        self.events.iter().map(|(_, need)| need.clone()).collect()
    }

    fn under_cursor(&self) -> Option<(&Arc<Resource>, &Arc<Row>)> {
        self.shown.as_ref().map(|(resource, row)| (resource, row))
    }

    fn follow(&mut self, row: Option<(Arc<Resource>, Arc<Row>)>, _data: &dyn Data) {
        let id = |shown: &Option<(Arc<Resource>, Arc<Row>)>| shown.as_ref().map(|(_, row)| row.id.clone());
        if id(&row) != id(&self.shown) {
            self.scrolled.set(0);
        }
        self.shown = row;
    }

    fn settle(&mut self, data: &dyn Data) {
        self.events = self.shown.as_ref().and_then(|(resource, row)| {
            let events = data.discovery_of(row.id.cluster).find("events").cloned()?;
            Some((row.id.clone(), event_need(events, resource, row)))
        });
    }

    fn layout(&mut self, area: Rect, _data: &dyn Data) -> Reply {
        self.height = area.height;
        Reply::Done
    }

    fn on(&mut self, input: &Input, _data: &dyn Data) -> Reply {
        match input {
            Input::Mouse(mouse) if mouse.kind == MouseKind::WheelDown => self.scroll(3),
            Input::Mouse(mouse) if mouse.kind == MouseKind::WheelUp => self.scroll(-3),
            _ => return Reply::Ignored,
        }
        Reply::Done
    }

    fn command(&mut self, command: &ViewCommand, _data: &dyn Data) -> Result<Reply> {
        let ViewCommand::Move(motion) = command else {
            return Err(not_here("this"));
        };
        match motion.lines(usize::from(self.height).max(2) - 1) {
            Some(lines) => self.scroll(lines),
            None if *motion == Motion::Last => self.scrolled.set(usize::MAX / 2),
            None => self.scrolled.set(0),
        }
        Ok(Reply::Done)
    }

    fn draw(&self, area: Rect, buf: &mut Buffer, look: &Look<'_>) {
        let Some((resource, row)) = &self.shown else { return };
        let events = self.events.as_ref().filter(|(id, _)| *id == row.id);
        let events = events.map(|(_, need)| look.data.listing(need));
        let scrolled = draw(
            area,
            buf,
            look,
            (kind::find(resource), row),
            events.as_deref(),
            self.scrolled.get(),
        );
        self.scrolled.set(scrolled);
    }
}

impl Preview {
    fn scroll(&mut self, rows: isize) {
        self.scrolled.set(self.scrolled.get().saturating_add_signed(rows));
    }
}

/// Draws the summary of a row, and its newest events, from a row on; the row it could be from.
fn draw(
    area: Rect,
    buf: &mut Buffer,
    look: &Look<'_>,
    (kind, row): (&Kind, &Row),
    listing: Option<&Listing>,
    scrolled: usize,
) -> usize {
    let object = row.object.value();
    let mut events = events_of(listing);
    // An object of the same name that was there before has events of its own. Those about nodes name a name as the UID.
    if let Some(uid) = row.id.namespace().map(|_| &*row.id.uid) {
        events.retain(|event| {
            matches!(event.pointer("/involvedObject/uid"), None | Some(Value::Null))
                || event["involvedObject"]["uid"] == uid
        });
    }
    let now = look.data.now();
    let mut document = Document::new();
    document.push(TextLine::new().with(Role::Strong, &row.id.name));
    document.lines.extend(
        (kind.summary)(&Subject {
            object: &object,
            events: &events,
            now,
            zone: TimeZone::system(),
            related: None,
        })
        .lines,
    );
    if !events.is_empty() {
        document.push(section("events", area.width, look));
        for event in events.iter().rev().take(20) {
            document.push(event_line(event, look));
        }
    }
    let mut state = PagerState {
        size: (area.width, area.height),
        ..PagerState::new()
    };
    let mut from = 0;
    while from < scrolled && !state.is_at_end(&document) {
        state.scroll(&document, 1);
        from += 1;
    }
    Pager {
        document: &document,
        state: &state,
    }
    .draw(area, buf, look.theme);
    from
}

/// A rule with a word in it.
pub(super) fn section(word: &str, width: u16, look: &Look<'_>) -> TextLine {
    let rule = look.theme.signs.horizontal;
    let rest = usize::from(width).saturating_sub(text::width(word) + 4);
    TextLine::new()
        .with(Role::Rule, &rule.repeat(2))
        .with(Role::Dim, &format!(" {word} "))
        .with(Role::Rule, &rule.repeat(rest))
}

fn event_line(event: &Value, look: &Look<'_>) -> TextLine {
    let word = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let warning = word("/type") == "Warning";
    let count = event.pointer("/count").and_then(Value::as_i64).unwrap_or(1);
    let age = seen(event)
        .parse()
        .map_or_else(|_| String::new(), |at| text::age(at, look.data.now()));
    let (sign, role) = if warning {
        (look.theme.signs.warning, Role::Warning)
    } else {
        (" ", Role::Dim)
    };
    let mut line = TextLine::new().hanging(8).with(role, sign).with(Role::Text, " ");
    line.push(Role::Dim, &format!("{age:<5} "));
    line.push(if warning { Role::Warning } else { Role::Text }, word("/reason"));
    if count > 1 {
        line.push(Role::Dim, &format!(" x{count}"));
    }
    line.push(Role::Dim, "  ");
    line.push(Role::Dim, word("/message"));
    line
}
