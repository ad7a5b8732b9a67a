//! The labels view: the objects of a kind grouped by label key and value. Enter opens the objects that carry one.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Data, Input, Look, MouseKind, Reply, View, ViewCommand, not_here};
use crate::cluster::{Namespaces, Place, Resource};
use crate::error::Result;
use crate::keys::{Line, Scope};
use crate::store::{Health, Listing, Need, Query};
use crate::text;
use crate::theme::Role;
use crate::widget::{ColumnSpec, Cut, TableCell, TableRow, fit, put, table};

/// One label value and what carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    key: Box<str>,
    value: Box<str>,
    count: usize,
    faults: usize,
}

/// Objects whose labels are counted at a time: a few milliseconds, so that keys do not wait for a hundred thousand.
const SLICE: usize = 4_000;
/// Between two counts of more objects than that.
const REST: SignedDuration = SignedDuration::from_secs(1);

/// A count under way.
#[derive(Debug)]
struct Counting {
    listing: Arc<Listing>,
    next: usize,
    counts: BTreeMap<(Box<str>, Box<str>), (usize, usize)>,
}

impl Counting {
    /// Counts some of the objects; whether there are more.
    fn slice(&mut self) -> bool {
        // Most objects of a slice carry the same labels: what is known is found without being copied.
        let mut counts: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
        for row in self.listing.window(self.next, SLICE) {
            for (key, value) in row.labels.iter() {
                let entry = counts.entry((key, value)).or_default();
                entry.0 += 1;
                entry.1 += usize::from(row.health.needs_attention());
            }
        }
        for ((key, value), (count, faults)) in counts {
            let entry = self.counts.entry((key.into(), value.into())).or_default();
            entry.0 += count;
            entry.1 += faults;
        }
        self.next += SLICE;
        self.next < self.listing.len()
    }
}

/// Groups of one kind's labels.
#[derive(Debug)]
pub struct Labels {
    resource: Arc<Resource>,
    need: Need,
    /// Every label.
    all: Vec<Group>,
    /// Those that the filter leaves.
    groups: Vec<Group>,
    /// Widest key and value of them.
    widest: (usize, usize),
    /// The listing that was counted last, and when that was done.
    counted: Option<Arc<Listing>>,
    rested: Option<Timestamp>,
    counting: Option<Counting>,
    filter: String,
    /// Key and value under the cursor: the cursor stays on its label when groups come and go.
    cursor: Option<(Box<str>, Box<str>)>,
    index: usize,
    top: usize,
    height: u16,
}

impl Labels {
    /// The labels of `resource` in a place.
    pub fn new(resource: Arc<Resource>, place: Place) -> Self {
        Self {
            need: Need::all(Query::new(resource.clone(), place)),
            resource,
            all: Vec::new(),
            groups: Vec::new(),
            widest: (0, 0),
            counted: None,
            rested: None,
            counting: None,
            filter: String::new(),
            cursor: None,
            index: 0,
            top: 0,
            height: 0,
        }
    }

    /// Shows the groups that the filter leaves.
    fn narrow(&mut self) {
        let filter = self.filter.to_lowercase();
        let kept = |group: &&Group| {
            format!("{}={}", group.key, group.value)
                .to_lowercase()
                .contains(&filter)
        };
        self.groups = self.all.iter().filter(kept).cloned().collect();
        let widest = |of: fn(&Group) -> &str| self.groups.iter().map(|group| text::width(of(group))).max();
        self.widest = (
            widest(|group| &group.key).unwrap_or(0),
            widest(|group| &group.value).unwrap_or(0),
        );
        let at = self.cursor.as_ref().and_then(|(key, value)| {
            self.groups
                .iter()
                .position(|group| group.key == *key && group.value == *value)
        });
        self.move_to(at.unwrap_or(self.index));
    }

    fn move_to(&mut self, index: usize) {
        self.index = index.min(self.groups.len().saturating_sub(1));
        self.cursor = self
            .groups
            .get(self.index)
            .map(|group| (group.key.clone(), group.value.clone()));
        let page = usize::from(self.height).max(1);
        self.top = self.top.min(self.index).max((self.index + 1).saturating_sub(page));
        // No empty place below while groups are hidden above.
        self.top = self.top.min(self.groups.len().saturating_sub(page));
    }
}

impl View for Labels {
    fn title(&self) -> String {
        "labels".into()
    }

    fn crumbs(&self) -> Vec<String> {
        let namespaces = self.need.query.place.namespaces.to_string();
        vec![namespaces, format!("labels of {}", self.resource.plural)]
    }

    fn status(&self, _data: &dyn Data) -> String {
        match self.filter.is_empty() {
            true => self.groups.len().to_string(),
            false => format!("{}  /{}", self.groups.len(), self.filter),
        }
    }

    fn scopes(&self) -> Vec<Scope> {
        vec!["labels", "table"]
    }

    fn hints(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("view.enter", "show its objects"),
            ("filter.open", "filter"),
            ("view.back", "back"),
            ("help.open", "help"),
        ]
    }

    fn needs(&self) -> Vec<Need> {
        vec![self.need.clone()]
    }

    fn resource(&self) -> Option<Arc<Resource>> {
        Some(self.resource.clone())
    }

    fn place(&self) -> Option<&Place> {
        Some(&self.need.query.place)
    }

    fn in_namespaces(&self, namespaces: &Namespaces) -> Option<Box<dyn View>> {
        let place = self.need.query.place.clone().within(namespaces.clone());
        Some(Box::new(Self {
            filter: self.filter.clone(),
            ..Self::new(self.resource.clone(), place)
        }))
    }

    fn sync(&mut self, data: &dyn Data) {
        let listing = data.listing(&self.need);
        // A count that is under way is finished before another is begun.
        if self.counting.is_some()
            || self
                .counted
                .as_ref()
                .is_some_and(|counted| Arc::ptr_eq(counted, &listing))
        {
            return;
        }
        let small = listing.len() <= SLICE;
        let rested = self.rested.is_none_or(|at| data.now().duration_since(at) >= REST);
        if !small && !rested {
            return;
        }
        self.counted = Some(listing.clone());
        self.counting = Some(Counting {
            listing,
            next: 0,
            counts: BTreeMap::new(),
        });
        if small {
            self.work(data);
        }
    }

    fn work(&mut self, data: &dyn Data) -> bool {
        let Some(mut counting) = self.counting.take() else {
            return false;
        };
        if counting.slice() {
            self.counting = Some(counting);
            return true;
        }
        self.rested = Some(data.now());
        self.all = counting
            .counts
            .into_iter()
            .map(|((key, value), (count, faults))| Group {
                key,
                value,
                count,
                faults,
            })
            .collect();
        self.narrow();
        false
    }

    fn layout(&mut self, area: Rect, _data: &dyn Data) -> Reply {
        self.height = area.height.saturating_sub(1);
        self.move_to(self.index);
        Reply::Done
    }

    fn on(&mut self, input: &Input, _data: &dyn Data) -> Reply {
        match input {
            Input::Mouse(mouse) if mouse.kind == MouseKind::WheelDown => self.move_to(self.index + 3),
            Input::Mouse(mouse) if mouse.kind == MouseKind::WheelUp => self.move_to(self.index.saturating_sub(3)),
            _ => return Reply::Ignored,
        }
        Reply::Done
    }

    fn command(&mut self, command: &ViewCommand, _data: &dyn Data) -> Result<Reply> {
        let page = usize::from(self.height).max(2) - 1;
        match command {
            ViewCommand::Move(motion) => self.move_to(motion.apply(self.index, page)),
            ViewCommand::Filter(text) => {
                self.filter.clone_from(text);
                self.narrow();
            }
            ViewCommand::Enter => {
                let Some((key, value)) = &self.cursor else {
                    return Ok(Reply::Done);
                };
                let selector = if value.is_empty() {
                    key.to_string()
                } else {
                    format!("{key}={value}")
                };
                return Ok(Reply::Run(Line::with(
                    "view.open",
                    [self.resource.full_name(), "--labels".into(), selector],
                )));
            }
            _ => return Err(not_here("this")),
        }
        Ok(Reply::Done)
    }

    fn search(&self) -> &str {
        &self.filter
    }

    fn draw(&self, area: Rect, buf: &mut Buffer, look: &Look<'_>) {
        let name = |title: &str, wanted: usize| ColumnSpec::new(title, wanted.clamp(5, 80), 0).cut(Cut::Middle, 12);
        let specs = [
            name("KEY", self.widest.0),
            name("VALUE", self.widest.1),
            ColumnSpec::new(self.resource.plural.to_uppercase(), 4, 0).right(),
            ColumnSpec::new("ATTENTION", 4, 1).right(),
        ];
        let widths = fit(&specs, area.width);
        let mut previous: Option<&str> = self.top.checked_sub(1).map(|at| &*self.groups[at].key);
        let (sign, _) = super::browser::sign(Health::Warning, look.theme);
        let rows = self.groups.iter().enumerate().skip(self.top).map(|(at, group)| {
            let repeated = previous == Some(&*group.key) && at != self.index;
            previous = Some(&group.key);
            let cell = |text: String, role| TableCell::new(text).role(role);
            TableRow {
                cells: vec![
                    cell(group.key.to_string(), repeated.then_some(Role::Dim)),
                    cell(group.value.to_string(), Some(Role::Strong)),
                    cell(group.count.to_string(), None),
                    match group.faults {
                        0 => cell("-".into(), Some(Role::Dim)),
                        faults => cell(faults.to_string(), Some(Role::Warning)),
                    },
                ],
                spine: (group.faults > 0).then_some((sign, Role::Warning)),
                cursor: at == self.index,
                marked: false,
                role: None,
            }
        });
        table(area, buf, look.theme, &specs, &widths, None, rows);
        if self.groups.is_empty() {
            let base = look.theme.style(Role::Text).patch(look.theme.style(Role::Dim));
            let note = format!("no {} here carry labels", self.resource.plural);
            put(buf, area.x + 4, area.y + 3, area.right(), &note, base);
        }
    }
}
