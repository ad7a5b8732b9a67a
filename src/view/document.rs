//! Text views: describe, YAML, and texts made by an action (help, a diff, an error in full).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use serde_json::Value;

use super::{Card, Data, Input, Look, Motion, MouseKind, Reply, Target, View, ViewCommand, not_here, preview};
use crate::cluster::{ClusterId, Place, Resource};
use crate::document::{Document, TextLine};
use crate::error::Result;
use crate::keys::{Line, Scope};
use crate::kind::why::Diagnosis;
use crate::kind::{self, Subject};
use crate::store::{FeedState, Listing, Need, Query};
use crate::theme::Role;
use crate::widget::{Pager, PagerState, put, put_right, scrollbar};

/// Where the text comes from.
#[derive(Clone, Debug)]
pub enum TextSource {
    /// `kubectl describe`, live.
    Describe(Target),
    /// The object as YAML, live; secrets' values are masked until asked.
    Yaml {
        /// The object.
        target: Target,
        /// Show what is masked.
        reveal: bool,
    },
    /// Why the object does not work, as it was examined.
    Why {
        /// The object.
        target: Target,
        /// What was found.
        diagnosis: Arc<Diagnosis>,
    },
    /// The keys that work somewhere.
    Keys {
        /// Title for the tab line.
        title: String,
        /// The keys.
        card: Card,
    },
    /// A text that does not change.
    Fixed {
        /// Title for the tab line.
        title: String,
        /// The text.
        document: Document,
    },
}

/// A scrolling, searchable text.
#[derive(Debug)]
pub struct Text {
    source: TextSource,
    document: Document,
    pager: PagerState,
    area: Rect,
    gone: bool,
    events: Option<Need>,
    /// Other objects a description is made from.
    related: Vec<Need>,
    /// What the document was made from, and when: news of anything else change nothing in it.
    made: Option<(Vec<Arc<Listing>>, Timestamp)>,
}

/// Between two makings of a text in which nothing has changed but the ages.
const AGEING: Duration = Duration::from_secs(10);

impl Text {
    /// A text view of `source`.
    pub fn new(source: TextSource, data: &dyn Data) -> Self {
        let mut view = Self {
            events: None,
            related: Vec::new(),
            source,
            document: Document::new(),
            pager: PagerState::new(),
            area: Rect::default(),
            gone: false,
            made: None,
        };
        view.sync(data);
        view
    }

    /// The text as it is shown, without roles: what copy takes.
    pub fn plain(&self) -> String {
        self.document.plain()
    }

    fn target(&self) -> Option<&Target> {
        match &self.source {
            TextSource::Describe(target) | TextSource::Yaml { target, .. } | TextSource::Why { target, .. } => {
                Some(target)
            }
            TextSource::Keys { .. } | TextSource::Fixed { .. } => None,
        }
    }

    fn object_need(&self) -> Option<Need> {
        let target = self.target()?;
        Some(Need::all(Query::object(target.resource.clone(), &target.id)))
    }

    /// Whether it tells how old things are.
    fn ages(&self) -> bool {
        matches!(self.source, TextSource::Describe(_))
    }

    /// What the description is made from besides the object, once all of it is there.
    fn related_objects(&self, data: &dyn Data) -> Option<Vec<Value>> {
        let listings: Vec<_> = self.related.iter().map(|need| data.listing(need)).collect();
        let there = listings
            .iter()
            .all(|listing| matches!(listing.state, FeedState::Live | FeedState::Stale { .. }));
        there.then(|| {
            listings
                .iter()
                .flat_map(|listing| listing.iter())
                .map(|row| row.object.value())
                .collect()
        })
    }

    fn rebuild(&mut self, data: &dyn Data) {
        let document = match &self.source {
            TextSource::Describe(target) => {
                let object = target.object.value();
                let related = self.related_objects(data);
                let events = preview::events_of(self.events.as_ref().map(|need| data.listing(need)).as_deref());
                (kind::find(&target.resource).describe)(&Subject {
                    object: &object,
                    events: &events,
                    now: data.now(),
                    zone: TimeZone::system(),
                    related: related.as_deref(),
                })
            }
            TextSource::Yaml { target, reveal } => {
                let mut object = target.object.value();
                if !reveal && &*target.resource.plural == "secrets" {
                    kind::mask_secret(&mut object);
                }
                kind::yaml(&object)
            }
            TextSource::Why { target, diagnosis } => {
                diagnosis.document(&format!("{} {}", target.resource.singular, target.id.name))
            }
            TextSource::Keys { card, .. } if self.pager.search.is_empty() => card.document(self.pager.size),
            TextSource::Keys { card, .. } => card.found(&self.pager.search),
            TextSource::Fixed { document, .. } => document.clone(),
        };
        self.document = document;
        self.pager.clamp(&self.document);
    }
}

fn related_needs(target: &Target, data: &dyn Data) -> Vec<Need> {
    let related = (kind::find(&target.resource).related)(&target.object.value());
    let served = related.into_iter().filter_map(|related| {
        let resources = &data.discovery_of(target.id.cluster).resources;
        let same = |known: &&Arc<Resource>| *known.plural == *related.plural && *known.group == *related.group;
        let place = Place::new(target.id.cluster, related.namespace.map(Arc::from));
        let query = Query::new(resources.iter().find(same)?.clone(), place);
        Some(Need::all(Query {
            labels: related.labels,
            fields: related.fields,
            ..query
        }))
    });
    served.collect()
}

impl View for Text {
    fn title(&self) -> String {
        match &self.source {
            TextSource::Describe(target) => format!("describe:{}", target.id.name),
            TextSource::Yaml { target, .. } => format!("yaml:{}", target.id.name),
            TextSource::Why { target, .. } => format!("why:{}", target.id.name),
            TextSource::Keys { title, .. } | TextSource::Fixed { title, .. } => title.clone(),
        }
    }

    fn crumbs(&self) -> Vec<String> {
        let (target, what) = match &self.source {
            TextSource::Describe(target) => (target, "describe"),
            TextSource::Yaml { target, .. } => (target, "yaml"),
            TextSource::Why { target, .. } => (target, "why"),
            TextSource::Keys { title, .. } | TextSource::Fixed { title, .. } => return vec![title.clone()],
        };
        let mut crumbs: Vec<String> = target.id.namespace().map(str::to_owned).into_iter().collect();
        crumbs.extend([
            target.resource.plural.to_string(),
            target.id.name.to_string(),
            what.to_owned(),
        ]);
        crumbs
    }

    fn status(&self, _data: &dyn Data) -> String {
        let found = match self.pager.matches(&self.document) {
            _ if self.pager.search.is_empty() => String::new(),
            0 => format!("/{}  no match", self.pager.search),
            count => format!("/{}  {}", self.pager.search, crate::text::count(count, "line")),
        };
        let parts = [self.pager.position(&self.document), found];
        parts
            .iter()
            .filter(|part| !part.is_empty())
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("  ")
    }

    fn scopes(&self) -> Vec<Scope> {
        match &self.source {
            TextSource::Keys { .. } | TextSource::Fixed { .. } => vec!["text"],
            TextSource::Yaml { .. } => vec!["yaml", "text"],
            TextSource::Why { target, .. } => std::iter::once("why")
                .chain(kind::scopes(&target.resource))
                .chain(["describe", "text"])
                .collect(),
            TextSource::Describe(target) => kind::scopes(&target.resource).chain(["describe", "text"]).collect(),
        }
    }

    fn hints(&self) -> &'static [(&'static str, &'static str)] {
        match &self.source {
            TextSource::Keys { .. } => &[("view.back", "back"), ("search.open", "search")],
            TextSource::Fixed { .. } => &[("view.back", "back"), ("search.open", "search"), ("text.wrap", "wrap")],
            TextSource::Describe(_) => &[
                ("view.back", "back"),
                ("search.open", "search"),
                ("object.yaml", "yaml"),
                ("object.edit", "edit"),
                ("text.copy", "copy"),
                ("text.wrap", "wrap"),
            ],
            TextSource::Why { .. } => &[
                ("why.remedy", "carry out"),
                ("object.why", "look again"),
                ("object.describe", "describe"),
                ("object.edit", "edit"),
                ("text.copy", "copy"),
                ("view.back", "back"),
            ],
            TextSource::Yaml { .. } => &[
                ("view.back", "back"),
                ("search.open", "search"),
                ("object.edit", "edit"),
                ("text.copy", "copy"),
                ("yaml.reveal", "reveal"),
                ("text.wrap", "wrap"),
            ],
        }
    }

    fn diagnosis(&self) -> Option<&Diagnosis> {
        match &self.source {
            TextSource::Why { diagnosis, .. } => Some(diagnosis),
            _ => None,
        }
    }

    fn field(&self) -> Option<String> {
        let TextSource::Yaml { .. } = &self.source else {
            return None;
        };
        field_at(&self.document, self.pager.at.unwrap_or(self.pager.top))
    }

    fn targets(&self, _data: &dyn Data) -> Vec<Target> {
        self.target().cloned().into_iter().collect()
    }

    fn cluster(&self) -> Option<ClusterId> {
        self.target().map(|target| target.id.cluster)
    }

    fn needs(&self) -> Vec<Need> {
        self.object_need()
            .into_iter()
            .chain(self.events.clone())
            .chain(self.related.iter().cloned())
            .collect()
    }

    fn sync(&mut self, data: &dyn Data) {
        if self.events.is_none()
            && let TextSource::Describe(target) = &self.source
            && let Some(events) = data.discovery_of(target.id.cluster).find("events")
        {
            self.events = Some(preview::event_need_of(events.clone(), &target.id));
            self.related = related_needs(target, data);
        }
        let from: Vec<_> = self.needs().iter().map(|need| data.listing(need)).collect();
        if let Some((made_from, at)) = &self.made {
            let same = from.len() == made_from.len() && from.iter().zip(made_from).all(|(a, b)| Arc::ptr_eq(a, b));
            let young = data.now().duration_since(*at).unsigned_abs() < AGEING;
            if same && (young || !self.ages()) {
                return;
            }
        }
        self.made = Some((from, data.now()));
        if let Some(need) = self.object_need() {
            let listing = data.listing(&need);
            let row = self.target().and_then(|target| listing.find(&target.id));
            self.gone = listing.state == FeedState::Live && row.is_none();
            if let (Some(row), TextSource::Describe(target) | TextSource::Yaml { target, .. }) = (row, &mut self.source)
            {
                target.object = row.object.clone();
            }
        }
        self.rebuild(data);
    }

    fn selectable(&self, area: Rect) -> Option<Rect> {
        Some(Rect {
            x: area.x + 1,
            width: area.width.saturating_sub(2),
            ..area
        })
    }

    fn layout(&mut self, area: Rect, data: &dyn Data) -> Reply {
        self.area = area;
        let size = (area.width.saturating_sub(2), area.height);
        let another = std::mem::replace(&mut self.pager.size, size) != size;
        if another && matches!(self.source, TextSource::Keys { .. }) {
            self.rebuild(data);
        }
        self.pager.clamp(&self.document);
        Reply::Done
    }

    fn on(&mut self, input: &Input, _data: &dyn Data) -> Reply {
        match input {
            Input::Mouse(mouse) if mouse.kind == MouseKind::WheelDown => self.pager.scroll(&self.document, 3),
            Input::Mouse(mouse) if mouse.kind == MouseKind::WheelUp => self.pager.scroll(&self.document, -3),
            Input::Mouse(mouse) if mouse.holds() && mouse.column + 1 >= self.area.right() => {
                let row = mouse.row.saturating_sub(self.area.y);
                self.pager.scroll_to(&self.document, row);
            }
            _ => return Reply::Ignored,
        }
        Reply::Done
    }

    fn command(&mut self, command: &ViewCommand, data: &dyn Data) -> Result<Reply> {
        let page = usize::from(self.pager.size.1).max(2) - 1;
        match command {
            ViewCommand::Move(motion) => match (motion.lines(page), motion) {
                (Some(lines), _) => self.pager.scroll(&self.document, lines),
                (None, Motion::Last) => self.pager.last(&self.document),
                (None, Motion::Left) => self.pager.left = self.pager.left.saturating_sub(8),
                // Wrapped lines are whole: there is nothing beside them.
                (None, Motion::Right) => self.pager.left += if self.pager.wrap { 0 } else { 8 },
                (None, _) => self.pager.first(),
            },
            ViewCommand::Wrap => {
                self.pager.wrap = !self.pager.wrap;
                self.pager.skip = 0;
                self.pager.left = 0;
            }
            ViewCommand::Search(text) | ViewCommand::Filter(text) => {
                self.pager.search = text.to_lowercase();
                self.pager.at = None;
                if matches!(self.source, TextSource::Keys { .. }) {
                    self.rebuild(data);
                }
                self.pager.find(&self.document, true, true);
            }
            ViewCommand::SearchNext => {
                self.pager.find(&self.document, true, false);
            }
            ViewCommand::SearchPrevious => {
                self.pager.find(&self.document, false, false);
            }
            ViewCommand::Reveal if matches!(self.source, TextSource::Yaml { .. }) => {
                if let TextSource::Yaml { reveal, .. } = &mut self.source {
                    *reveal = !*reveal;
                }
                self.rebuild(data);
            }
            ViewCommand::Copy => return Ok(Reply::Run(Line::with("clipboard.set", [self.plain()]))),
            _ => return Err(not_here("this")),
        }
        Ok(Reply::Done)
    }

    fn search(&self) -> &str {
        &self.pager.search
    }

    fn tick(&self, _data: &dyn Data) -> Option<Duration> {
        self.ages().then_some(AGEING)
    }

    fn draw(&self, area: Rect, buf: &mut Buffer, look: &Look<'_>) {
        let inner = Rect {
            x: area.x + 1,
            width: area.width.saturating_sub(2),
            ..area
        };
        Pager {
            document: &self.document,
            state: &self.pager,
        }
        .draw(inner, buf, look.theme);
        let (top, total) = self.pager.extent(&self.document);
        scrollbar(area, buf, look.theme, top, total);
        let base = look.theme.style(Role::Text);
        if self.document.lines.is_empty() {
            put(
                buf,
                inner.x,
                inner.y + 1,
                inner.right(),
                "nothing to show yet",
                base.patch(look.theme.style(Role::Dim)),
            );
        }
        if self.gone {
            let note = format!(
                " {} this object is gone: below is how it was last seen ",
                look.theme.signs.warning
            );
            put_right(
                buf,
                inner.x,
                inner.y,
                inner.right(),
                &note,
                base.patch(look.theme.style(Role::Warning)),
            );
        }
    }
}

/// The path of the field on a line of YAML: its key, and those of the lines above that it stands below.
fn field_at(document: &Document, line: usize) -> Option<String> {
    // The dash of an element belongs to the indent of its fields.
    let key_of = |line: &TextLine| {
        let plain = line.plain();
        let inner = plain.trim_start_matches([' ', '-']);
        let indent = plain.len() - inner.len();
        let (key, _) = inner.split_once(':')?;
        Some((indent, key.trim_matches('"').to_owned()))
    };
    let mut fields = Vec::new();
    let mut below = usize::MAX;
    for line in document.lines.get(..=line)?.iter().rev() {
        if let Some((indent, key)) = key_of(line)
            && indent < below
        {
            fields.push(key);
            below = indent;
        }
    }
    fields.reverse();
    (!fields.is_empty()).then(|| fields.join("."))
}

/// Builds a fixed text from plain lines.
impl From<&str> for Document {
    fn from(text: &str) -> Self {
        Document {
            lines: text
                .lines()
                .map(|line| TextLine::new().with(Role::Text, line).hanging(2))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_yaml_has_the_path_of_what_it_stands_below() {
        let text = Document::from(
            "kind: Pod\nspec:\n  nodeName: a\n  containers:\n    - image: x\n      ports:\n        - containerPort: 80\n",
        );
        let paths: Vec<_> = (0..7).map(|line| field_at(&text, line).expect("a path")).collect();
        assert_eq!(
            paths,
            [
                "kind",
                "spec",
                "spec.nodeName",
                "spec.containers",
                "spec.containers.image",
                "spec.containers.ports",
                "spec.containers.ports.containerPort",
            ]
        );
    }
}
