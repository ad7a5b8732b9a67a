//! The preview pane: what matters about the row under the cursor, live.

use std::sync::Arc;

use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use serde_json::Value;

use super::Look;
use crate::cluster::{Place, Resource};
use crate::document::{Document, TextLine};
use crate::kind::{Kind, Subject};
use crate::store::{Listing, Need, ObjectId, Query, Row};
use crate::text;
use crate::theme::Role;
use crate::widget::{Pager, PagerState};

/// The events about the object of a row, seen through the one feed of its namespace's events: a feed per row that the cursor rests on
/// would make the server read all of them each time, because it cannot index events.
pub(super) fn event_need(events: Arc<Resource>, resource: &Resource, row: &Row) -> Need {
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

/// Draws the summary of a row, and its newest events.
pub(super) fn draw(area: Rect, buf: &mut Buffer, look: &Look<'_>, kind: &Kind, row: &Row, listing: Option<&Listing>) {
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
    let state = PagerState {
        size: (area.width, area.height),
        ..PagerState::new()
    };
    Pager {
        document: &document,
        state: &state,
    }
    .draw(area, buf, look.theme);
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
