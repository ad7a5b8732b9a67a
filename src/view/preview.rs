//! The preview: what matters about the row under another pane's cursor, live.

use std::cell;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use serde_json::Value;

use super::{Data, Glance, Input, Look, Motion, MouseKind, Reply, Target, View, ViewCommand, not_here, sign};
use crate::cluster::{ClusterId, Place, Read, Resource};
use crate::document::{Document, TextLine};
use crate::error::Result;
use crate::keys::Scope;
use crate::kind::{self, Cause, Kind, Subject};
use crate::store::{Cell, Health, Listing, Need, ObjectId, Query, Row};
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
    /// The end of a log that tells why the object is as it is.
    glance: Option<(ObjectId, Glance)>,
    /// Rows scrolled out of sight, as far as there are any.
    scrolled: cell::Cell<usize>,
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

    fn follow(&mut self, row: Option<(Arc<Resource>, Arc<Row>)>, data: &dyn Data) {
        let id = |shown: &Option<(Arc<Resource>, Arc<Row>)>| shown.as_ref().map(|(_, row)| row.id.clone());
        if id(&row) != id(&self.shown) {
            self.scrolled.set(0);
        }
        let same =
            self.shown.as_ref().map(|(_, row)| Arc::as_ptr(row)) == row.as_ref().map(|(_, row)| Arc::as_ptr(row));
        self.shown = row;
        // The object the cursor rests on has changed: so may what its log ends with.
        let rests = self.shown.as_ref().map(|(_, row)| &row.id) == self.events.as_ref().map(|(id, _)| id);
        if rests && !same {
            self.glance = self.look_up(data);
        }
    }

    fn settle(&mut self, data: &dyn Data) {
        self.events = self.shown.as_ref().and_then(|(resource, row)| {
            let events = data.discovery_of(row.id.cluster).find("events").cloned()?;
            Some((row.id.clone(), event_need(events, resource, row)))
        });
        self.glance = self.look_up(data);
    }

    fn glances(&self) -> Vec<Glance> {
        self.glance.iter().map(|(_, glance)| glance.clone()).collect()
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
        let glance = self.glance.as_ref().filter(|(id, _)| *id == row.id);
        let log = glance.and_then(|(_, glance)| look.data.glance(glance));
        let scrolled = draw(
            area,
            buf,
            look,
            (kind::find(resource), row),
            (events.as_deref(), log.as_deref()),
            self.scrolled.get(),
        );
        self.scrolled.set(scrolled);
    }
}

impl Preview {
    fn look_up(&self, data: &dyn Data) -> Option<(ObjectId, Glance)> {
        let (resource, row) = self.shown.as_ref()?;
        Some((row.id.clone(), glance(kind::find(resource), row, data.now())?))
    }

    fn scroll(&mut self, rows: isize) {
        self.scrolled.set(self.scrolled.get().saturating_add_signed(rows));
    }
}

/// Lines of a log that are fetched: enough to tell why something ended.
const LINES: usize = 6;
/// Events shown at most.
const EVENTS: usize = 20;
/// Cells of the bar before the next try.
const BAR: usize = 8;

/// The events about the object of a row, oldest first.
fn events_about(row: &Row, listing: Option<&Listing>) -> Vec<Value> {
    let mut events = events_of(listing);
    // An object of the same name that was there before has events of its own. Those about nodes name a name as the UID.
    if let Some(uid) = row.id.namespace().map(|_| &*row.id.uid) {
        events.retain(|event| {
            matches!(event.pointer("/involvedObject/uid"), None | Some(Value::Null))
                || event["involvedObject"]["uid"] == uid
        });
    }
    events
}

/// The end of the log that tells why the object of a row is not as it should be.
fn glance(kind: &Kind, row: &Row, now: Timestamp) -> Option<Glance> {
    if matches!(row.health, Health::None | Health::Good | Health::Done) {
        return None;
    }
    let object = row.object.value();
    let container = (kind.cause)(&subject(&object, &[], now))?.log?;
    let path = format!("/api/v1/namespaces/{}/pods/{}/log", row.id.namespace, row.id.name);
    let read = Read::new(path, format!("read the log of {container}"))
        .param("container", &container)
        .param("tailLines", LINES.to_string())
        .param("limitBytes", "8192");
    let statuses = [
        &object["status"]["containerStatuses"],
        &object["status"]["initContainerStatuses"],
    ];
    let mut statuses = statuses.into_iter().filter_map(Value::as_array).flatten();
    let state = statuses.find(|status| status["name"] == *container).cloned();
    Some(Glance {
        cluster: row.id.cluster,
        read,
        edition: state.map_or_else(String::new, |state| {
            format!("{} {}", state["containerID"], state["restartCount"])
        }),
    })
}

fn subject<'a>(object: &'a Value, events: &'a [Value], now: Timestamp) -> Subject<'a> {
    Subject {
        object,
        events,
        now,
        zone: TimeZone::system(),
        related: None,
    }
}

/// Draws why a row is as it is, what helps, what else matters, and what has happened, oldest first, from a row on; the row it could be
/// from.
fn draw(
    area: Rect,
    buf: &mut Buffer,
    look: &Look<'_>,
    (kind, row): (&Kind, &Row),
    (listing, log): (Option<&Listing>, Option<&[u8]>),
    scrolled: usize,
) -> usize {
    let object = row.object.value();
    let events = events_about(row, listing);
    let now = look.data.now();
    let subject = subject(&object, &events, now);
    let mut document = Document::new();
    let (sign, role) = sign(row.health, look.theme);
    let title = TextLine::new().with(role, sign).with(Role::Text, " ");
    document.push(title.with(Role::Strong, &row.id.name).hanging(2));
    if let Some(cause) = (kind.cause)(&subject) {
        document.push(TextLine::new());
        document.push(TextLine::new().with(Role::Strong, &cause.sentence));
        document.lines.extend(cause.next.map(|next| next_try(next, now, look)));
        tell(&mut document, cause, log, look);
    } else if let Some(word) = state_word(row) {
        document.push(TextLine::new().with(Role::Text, "  ").with(Role::Dim, word));
    }
    document.push(TextLine::new());
    let summary = (kind.summary)(&subject).lines;
    let blank = summary.first().is_some_and(|line| line.spans.is_empty());
    document.lines.extend(summary.into_iter().skip(usize::from(blank)));
    if !events.is_empty() {
        document.push(TextLine::new());
        document.push(section("events", area.width, look));
        let first = events.len().saturating_sub(EVENTS);
        for event in &events[first..] {
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

/// The word of a state that needs no cause.
fn state_word(row: &Row) -> Option<&str> {
    row.cells.iter().find_map(|cell| match cell {
        Cell::Status(_, word) => Some(&**word),
        _ => None,
    })
}

/// How long until it is tried again, and how much of the wait is over.
fn next_try((at, since): (Timestamp, Timestamp), now: Timestamp, look: &Look<'_>) -> TextLine {
    let (left, wait) = (at.duration_since(now), at.duration_since(since));
    if !left.is_positive() {
        return TextLine::new().with(Role::Progress, "the next try is due");
    }
    let mut line = TextLine::new().with(Role::Progress, &format!("next try in {}  ", text::human_duration(left)));
    if wait.is_positive() {
        let over = 1.0 - (left.as_secs_f64() / wait.as_secs_f64()).clamp(0.0, 1.0);
        let cells = (over * BAR as f64) as usize;
        let [used, free] = look.theme.signs.gauge;
        line.push(Role::Progress, &used.repeat(cells));
        line.push(Role::GaugeRest, &free.repeat(BAR - cells));
    }
    line
}

/// What a cause is told from, and what helps.
fn tell(document: &mut Document, cause: Cause, log: Option<&[u8]>, look: &Look<'_>) {
    if !cause.evidence.is_empty() {
        document.push(TextLine::new());
        document.lines.extend(cause.evidence);
    }
    let log = String::from_utf8_lossy(log.unwrap_or_default());
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    if !lines.is_empty() {
        document.push(TextLine::new());
        document.push(TextLine::new().with(Role::Dim, "last log lines"));
        for line in &lines[lines.len().saturating_sub(LINES - 1)..] {
            let mut out = TextLine::new().hanging(2);
            super::logs::push_line(&mut out, line);
            document.push(out);
        }
    }
    document.push(TextLine::new());
    for (line, words) in cause.remedies.into_iter().chain([("object.why", "why, in full")]) {
        let key = look.key_of(line);
        let key = if key.is_empty() { format!(":{line}") } else { key };
        document.push(
            TextLine::new()
                .with(Role::Key, &text::pad_right(&key, 4))
                .with(Role::Text, words),
        );
    }
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
    let mut line = TextLine::new().hanging(6).with(Role::Dim, &format!("{age:<5} "));
    line.push(if warning { Role::Warning } else { Role::Text }, word("/reason"));
    if count > 1 {
        line.push(Role::Dim, &format!(" x{count}"));
    }
    line.push(Role::Text, "  ");
    line.push(Role::Text, word("/message"));
    line
}
