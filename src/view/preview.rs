//! The preview: what matters about the row under another pane's cursor, live.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
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
use crate::kind::why::{self, Finding, LastLines, Next, Teller};
use crate::kind::{self, Subject};
use crate::store::{Cell, Health, Listing, Need, ObjectId, Query, Row};
use crate::text;
use crate::theme::{Role, Signs};
use crate::widget::{Pager, PagerState, scrollbar};

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
    // Within a second they came in the order in which they were first made: their names end with that.
    let order = |event: &Value| (seen(event).to_owned(), made(event).to_owned());
    events.sort_by_cached_key(order);
    events
}

/// The end of an event's name: the moment it was first made, in hexadecimal.
fn made(event: &Value) -> &str {
    let name = event
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    name.rsplit('.').next().unwrap_or_default()
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
    /// The text as it was last drawn, and where one is in it.
    page: RefCell<Page>,
}

/// A text, and all that it was made from: it is made anew when some of that is another.
#[derive(Debug, Default)]
struct Page {
    made_of: Option<Stuff>,
    document: Document,
    pager: PagerState,
    /// Whether something is counted down in it.
    counts_down: bool,
}

#[derive(Clone, Debug)]
struct Stuff {
    resource: Arc<Resource>,
    row: Arc<Row>,
    events: Option<Arc<Listing>>,
    log: Option<Bytes>,
    width: u16,
    signs: Signs,
    /// Ages are told in whole seconds.
    second: i64,
}

impl PartialEq for Stuff {
    fn eq(&self, other: &Self) -> bool {
        let same_events = match (&self.events, &other.events) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        Arc::ptr_eq(&self.row, &other.row)
            && same_events
            && (&self.log, self.width, self.signs, self.second) == (&other.log, other.width, other.signs, other.second)
    }
}

impl View for Preview {
    fn title(&self) -> String {
        "preview".into()
    }

    fn crumbs(&self) -> Vec<String> {
        let name = self.shown.as_ref().map(|(_, row)| row.id.name.to_string());
        std::iter::once("preview".to_owned()).chain(name).collect()
    }

    fn status(&self, _data: &dyn Data) -> String {
        let page = self.page.borrow();
        page.pager.position(&page.document)
    }

    fn scopes(&self) -> Vec<Scope> {
        match &self.shown {
            Some((resource, _)) if is_pod(resource) => vec!["preview", "pods", "describe"],
            Some(_) => vec!["preview", "describe"],
            None => vec!["preview"],
        }
    }

    fn hints(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("object.why", "why"),
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
            self.page.get_mut().pager.first();
        }
        let same =
            self.shown.as_ref().map(|(_, row)| Arc::as_ptr(row)) == row.as_ref().map(|(_, row)| Arc::as_ptr(row));
        self.shown = row;
        // The object the cursor rests on has changed: so may what its log ends with.
        let rests = self.shown.as_ref().map(|(_, row)| &row.id) == self.events.as_ref().map(|(id, _)| id);
        if rests && !same {
            self.glance = self.look_up();
        }
    }

    fn settle(&mut self, data: &dyn Data) {
        self.events = self.shown.as_ref().and_then(|(resource, row)| {
            let events = data.discovery_of(row.id.cluster).find("events").cloned()?;
            Some((row.id.clone(), event_need(events, resource, row)))
        });
        self.glance = self.look_up();
    }

    fn glances(&self) -> Vec<Glance> {
        self.glance.iter().map(|(_, glance)| glance.clone()).collect()
    }

    fn selectable(&self, area: Rect) -> Option<Rect> {
        Some(Rect {
            width: area.width.saturating_sub(1),
            ..area
        })
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
        let page = self.page.get_mut();
        match motion.lines(usize::from(page.pager.size.1).max(2) - 1) {
            Some(lines) => self.scroll(lines),
            None if *motion == Motion::Last => page.pager.last(&page.document),
            None => page.pager.first(),
        }
        Ok(Reply::Done)
    }

    fn tick(&self, data: &dyn Data) -> Option<Duration> {
        let millis = u64::try_from(data.now().subsec_millisecond().max(0)).unwrap_or(0);
        let counts_down = self.page.borrow().counts_down;
        counts_down.then(|| Duration::from_millis(1001u64.saturating_sub(millis)))
    }

    fn draw(&self, area: Rect, buf: &mut Buffer, look: &Look<'_>) {
        let Some((resource, row)) = &self.shown else { return };
        let events = self.events.as_ref().filter(|(id, _)| *id == row.id);
        let glance = self.glance.as_ref().filter(|(id, _)| *id == row.id);
        let stuff = Stuff {
            resource: resource.clone(),
            row: row.clone(),
            events: events.map(|(_, need)| look.data.listing(need)),
            log: glance.and_then(|(_, glance)| look.data.glance(glance)),
            // The last column is the scrollbar's, and air.
            width: area.width.saturating_sub(1),
            signs: look.theme.signs,
            second: look.data.now().as_second(),
        };
        let mut page = self.page.borrow_mut();
        let page = &mut *page;
        page.pager.size = (stuff.width, area.height);
        if page.made_of.as_ref() != Some(&stuff) {
            (page.document, page.counts_down) = write(&stuff, look);
            page.made_of = Some(stuff);
        }
        page.pager.wrap = true;
        page.pager.clamp(&page.document);
        let inner = Rect {
            width: area.width.saturating_sub(1),
            ..area
        };
        Pager {
            document: &page.document,
            state: &page.pager,
        }
        .draw(inner, buf, look.theme);
        let (top, total) = page.pager.extent(&page.document);
        scrollbar(area, buf, look.theme, top, total);
    }
}

impl Preview {
    fn look_up(&self) -> Option<(ObjectId, Glance)> {
        let (resource, row) = self.shown.as_ref()?;
        Some((row.id.clone(), glance(resource, row)?))
    }

    fn scroll(&mut self, rows: isize) {
        let page = self.page.get_mut();
        page.pager.scroll(&page.document, rows);
    }
}

/// Lines of a log that are read, so that the rules find what tells, and bytes of them.
const READ: (usize, usize) = (40, 32_768);
/// Lines of a log that are shown.
const LINES: usize = 5;
/// Pieces of evidence that are shown, and remedies.
const TOLD: usize = 3;
/// Columns of a piece of evidence: the events below say the rest.
const QUOTED: usize = 120;
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

fn is_pod(resource: &Resource) -> bool {
    resource.group.is_empty() && &*resource.plural == "pods"
}

/// Whose log tells why the pod of a row is not as it should be.
fn teller(resource: &Resource, row: &Row, object: &Value) -> Option<Teller> {
    let well = matches!(row.health, Health::None | Health::Good | Health::Done);
    why::teller(object).filter(|_| !well && is_pod(resource))
}

/// The end of that log.
fn glance(resource: &Resource, row: &Row) -> Option<Glance> {
    if matches!(row.health, Health::None | Health::Good | Health::Done) {
        return None;
    }
    let teller = teller(resource, row, &row.object.value())?;
    let path = format!("/api/v1/namespaces/{}/pods/{}/log", row.id.namespace, row.id.name);
    let read = Read::new(path, format!("read the log of {}", teller.container))
        .param("container", &teller.container)
        .param("tailLines", READ.0.to_string())
        .param("limitBytes", READ.1.to_string());
    Some(Glance {
        cluster: row.id.cluster,
        read,
        edition: teller.edition,
    })
}

/// Writes why a row is as it is, what helps, what else matters, and what has happened, oldest first; and whether something in it is
/// counted down.
fn write(stuff: &Stuff, look: &Look<'_>) -> (Document, bool) {
    let (resource, row) = (&*stuff.resource, &*stuff.row);
    let object = row.object.value();
    let events = events_about(row, stuff.events.as_deref());
    let now = look.data.now();
    let log = String::from_utf8_lossy(stuff.log.as_deref().unwrap_or_default()).into_owned();
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let teller = teller(resource, row, &object);
    let findings = match row.health {
        // What has ended as it should, and what has no state, is not asked why.
        Health::None | Health::Done => Vec::new(),
        _ => {
            let last = teller.as_ref().map(|teller| LastLines {
                container: &teller.container,
                lines: &lines,
            });
            let kind = (&*resource.group, &*resource.kind);
            why::glance(kind, &object, &events, last.filter(|_| !lines.is_empty()), now)
        }
    };
    let mut document = Document::new();
    let (sign, role) = sign(row.health, look.theme);
    let mut title = TextLine::new();
    if !sign.is_empty() {
        title = title.with(role, sign).with(Role::Text, " ");
    }
    document.push(title.with(Role::Strong, &row.id.name).hanging(2));
    let next = Some(&object).filter(|_| is_pod(resource)).and_then(why::next);
    if findings.is_empty() {
        let word = state_word(row).map(|word| TextLine::new().with(Role::Text, "  ").with(Role::Dim, word));
        document.lines.extend(word);
    }
    document.lines.extend(findings.first().map(|_| TextLine::new()));
    for finding in &findings {
        sentences(&mut document, finding, look);
    }
    document.lines.extend(next.map(|next| countdown(next, now, look)));
    if let Some(finding) = findings.first() {
        tell(&mut document, finding.root());
    }
    if !lines.is_empty() {
        document.push(TextLine::new());
        document.push(section("last log lines", stuff.width, look));
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            let mut out = TextLine::new().hanging(2);
            super::logs::push_line(&mut out, line);
            document.push(out);
        }
    }
    if let Some(finding) = findings.first() {
        document.push(TextLine::new());
        helps(&mut document, finding, teller.as_ref(), look);
    }
    document.push(TextLine::new());
    let subject = Subject {
        object: &object,
        events: &events,
        now,
        zone: TimeZone::system(),
        related: None,
    };
    let summary = (kind::find(resource).summary)(&subject).lines;
    let blank = summary.first().is_some_and(|line| line.spans.is_empty());
    document.lines.extend(summary.into_iter().skip(usize::from(blank)));
    if !events.is_empty() {
        document.push(TextLine::new());
        document.push(section("events", stuff.width, look));
        let first = events.len().saturating_sub(EVENTS);
        for event in &events[first..] {
            document.push(event_line(event, look));
        }
    }
    (document, next.is_some())
}

/// What is wrong, and what that comes from.
fn sentences(document: &mut Document, finding: &Finding, look: &Look<'_>) {
    document.push(TextLine::new().with(Role::Strong, &finding.sentence));
    let root = finding.root();
    if root.sentence != finding.sentence {
        let line = TextLine::new().with(Role::Dim, &format!("{} ", look.theme.signs.step));
        document.push(line.with(Role::Strong, &root.sentence).hanging(2));
    }
}

/// What a finding was read from.
fn tell(document: &mut Document, finding: &Finding) {
    // What the sentence quotes need not be said again.
    let news = |value: &str| !finding.sentence.contains(value);
    let evidence = finding.evidence.iter().filter(|evidence| news(&evidence.value));
    let mut lines = evidence
        .take(TOLD)
        .map(|evidence| {
            let place = evidence
                .path
                .rsplit_once("].")
                .map_or(&*evidence.path, |(_, field)| field);
            TextLine::new()
                .with(Role::Dim, &format!("{place}  "))
                .with(Role::Text, &text::cut_end(&evidence.value, QUOTED))
                .hanging(2)
        })
        .peekable();
    if lines.peek().is_some() {
        document.push(TextLine::new());
        document.lines.extend(lines);
    }
}

/// What to do, and the keys that lead there.
fn helps(document: &mut Document, finding: &Finding, teller: Option<&Teller>, look: &Look<'_>) {
    for remedy in finding.root().remedies.iter().take(TOLD) {
        let line = TextLine::new().with(Role::Dim, &format!("{} ", look.theme.signs.step));
        document.push(line.with(Role::Text, &remedy.text).hanging(2));
    }
    let log = teller.map(|teller| match teller.restarted {
        true => ("pod.logs --previous", "the log before it ended"),
        false => ("pod.logs", "its whole log"),
    });
    for (line, words) in std::iter::once(("object.why", "why in full, and do it")).chain(log) {
        let key = look.key_of(line);
        let key = if key.is_empty() { format!(":{line}") } else { key };
        let key = text::pad_right(&key, 2);
        document.push(TextLine::new().with(Role::Key, &key).with(Role::Text, words).hanging(2));
    }
}

/// How long until something happens by itself, and how much of the wait is over.
fn countdown(next: Next, now: Timestamp, look: &Look<'_>) -> TextLine {
    let (left, wait) = (next.at.duration_since(now), next.at.duration_since(next.since));
    if !left.is_positive() {
        return TextLine::new().with(Role::Progress, &format!("{} now", next.what));
    }
    let words = format!("{} in {}  ", next.what, text::human_duration(left));
    let mut line = TextLine::new().with(Role::Progress, &words);
    if wait.is_positive() {
        let over = 1.0 - (left.as_secs_f64() / wait.as_secs_f64()).clamp(0.0, 1.0);
        let cells = (over * BAR as f64) as usize;
        let [used, free] = look.theme.signs.gauge;
        line.push(Role::Progress, &used.repeat(cells));
        line.push(Role::GaugeRest, &free.repeat(BAR - cells));
    }
    line
}

/// The word of a state that needs no cause.
fn state_word(row: &Row) -> Option<&str> {
    row.cells.iter().find_map(|cell| match cell {
        Cell::Status(_, word) => Some(&**word),
        _ => None,
    })
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
