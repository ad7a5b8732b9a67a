//! Outlines as views: lines that stand for objects, folded and filtered, with a cursor. What is done with an object is done with a line.

use std::collections::BTreeMap;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Data, Input, Look, Motion, MouseKind, Reply, Target, View, ViewCommand, not_here, sign};
use crate::cluster::{ClusterId, Namespaces, Place};
use crate::error::Result;
use crate::keys::{Line, Scope};
use crate::kind;
use crate::kind::outline::{About, Item, Of, Outline};
use crate::store::Need;
use crate::theme::Role;
use crate::widget::{fill, put, put_piece};

/// Columns a level is indented by.
const STEP: usize = 2;
/// Columns left of the text: the cursor's bar, a blank, the sign of a fold, a blank, the sign of a health, a blank.
const GUTTER: usize = 6;

/// An outline that is looked at.
#[derive(Debug)]
pub struct OutlineView {
    of: Of,
    outline: Option<Arc<Outline>>,
    needs: Vec<Need>,
    /// What was folded or unfolded by hand, by key.
    folds: BTreeMap<String, bool>,
    filter: String,
    /// Indices of the items that are shown, and whether each hides others.
    shown: Vec<(usize, bool)>,
    /// Among those shown.
    index: usize,
    cursor: Option<String>,
    /// Whether the user has moved it: until then it stays on the first line, whatever arrives.
    moved: bool,
    top: usize,
    size: (u16, u16),
    area: Rect,
}

impl OutlineView {
    /// An outline of something.
    pub fn new(of: Of) -> Self {
        Self {
            of,
            outline: None,
            needs: Vec::new(),
            folds: BTreeMap::new(),
            filter: String::new(),
            shown: Vec::new(),
            index: 0,
            cursor: None,
            moved: false,
            top: 0,
            size: (0, 0),
            area: Rect::default(),
        }
    }

    fn items(&self) -> &[Item] {
        self.outline.as_ref().map_or(&[], |outline| &outline.items)
    }

    fn item(&self) -> Option<&Item> {
        let (at, _) = self.shown.get(self.index)?;
        self.items().get(*at)
    }

    fn is_folded(&self, item: &Item) -> bool {
        self.folds.get(&item.key).copied().unwrap_or(item.folded)
    }

    /// Whether the item at `at` has others below it.
    fn is_parent(&self, at: usize) -> bool {
        let items = self.items();
        items
            .get(at + 1)
            .is_some_and(|next| items.get(at).is_some_and(|item| next.depth > item.depth))
    }

    /// Shows what the filter and the folds leave; the cursor stays on its line.
    fn narrow(&mut self) {
        let filter = self.filter.to_lowercase();
        let matches = |item: &Item| item.line.plain().to_lowercase().contains(&filter);
        let mut shown = Vec::new();
        let mut hidden_below: Option<usize> = None;
        for (at, item) in self.items().iter().enumerate() {
            if !filter.is_empty() {
                if matches(item) {
                    shown.push((at, false));
                }
                continue;
            }
            if hidden_below.is_some_and(|depth| item.depth > depth) {
                continue;
            }
            let hides = self.is_folded(item) && self.is_parent(at);
            hidden_below = hides.then_some(item.depth);
            shown.push((at, hides));
        }
        self.shown = shown;
        let items = self.items();
        let at = self
            .cursor
            .as_ref()
            .and_then(|key| self.shown.iter().position(|(at, _)| items[*at].key == *key));
        self.move_to(if self.moved { at.unwrap_or(self.index) } else { 0 });
    }

    fn move_to(&mut self, index: usize) {
        self.index = index.min(self.shown.len().saturating_sub(1));
        self.cursor = self.item().map(|item| item.key.clone());
        self.top = self.top.min(self.index);
        let room = usize::from(self.size.1).max(1);
        while self.top < self.index && (self.top..=self.index).map(|at| self.rows(at)).sum::<usize>() > room {
            self.top += 1;
        }
    }

    /// Columns for the text of an item.
    fn room(&self, item: &Item) -> usize {
        usize::from(self.size.0)
            .saturating_sub(GUTTER + item.depth * STEP + 1)
            .max(10)
    }

    /// Rows that the shown line at `at` takes.
    fn rows(&self, at: usize) -> usize {
        let item = self.shown.get(at).and_then(|(at, _)| self.items().get(*at));
        item.map_or(1, |item| item.line.rows(self.room(item)).len().max(1))
    }

    fn fold(&mut self, folded: bool) {
        let Some((at, _)) = self.shown.get(self.index).copied() else {
            return;
        };
        let Some(item) = self.items().get(at) else { return };
        let (key, depth) = (item.key.clone(), item.depth);
        if self.is_parent(at) && self.is_folded(item) != folded {
            self.folds.insert(key, folded);
            self.narrow();
        } else if folded && depth > 0 {
            // From a leaf, to what it belongs to.
            let above = self.shown[..self.index]
                .iter()
                .rposition(|(at, _)| self.items()[*at].depth < depth);
            if let Some(above) = above {
                self.move_to(above);
            }
        }
    }

    fn target_of(about: &About) -> Target {
        Target {
            resource: about.resource.clone(),
            id: about.row.id.clone(),
            object: about.row.object.clone(),
        }
    }

    fn about(&self) -> Option<&About> {
        let own = self.item().and_then(|item| item.about.as_ref());
        own.or_else(|| self.outline.as_ref()?.about.as_ref())
    }
}

impl View for OutlineView {
    fn title(&self) -> String {
        match self.of.object() {
            Some((_, id)) => format!("{}:{}", self.of.word(), id.name),
            None => self.of.word().to_owned(),
        }
    }

    fn crumbs(&self) -> Vec<String> {
        match self.of.object() {
            Some((resource, id)) => {
                let space = id.namespace().map(str::to_owned);
                let rest = [
                    resource.plural.to_string(),
                    id.name.to_string(),
                    self.of.word().to_owned(),
                ];
                space.into_iter().chain(rest).collect()
            }
            None => vec![self.of.place().namespaces.to_string(), self.of.word().to_owned()],
        }
    }

    fn status(&self, _data: &dyn Data) -> String {
        let status = self.outline.as_ref().map_or("", |outline| &outline.status);
        match self.filter.is_empty() {
            true => status.to_owned(),
            false => format!("{}  /{}", self.shown.len(), self.filter),
        }
    }

    fn scopes(&self) -> Vec<Scope> {
        let own = self.about().into_iter().flat_map(|about| kind::scopes(&about.resource));
        own.chain(["outline", "table"]).collect()
    }

    fn hints(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("view.enter", "open"),
            ("object.why", "why"),
            ("object.describe", "describe"),
            ("cursor.left", "fold"),
            ("filter.open", "filter"),
            ("view.back", "back"),
            ("help.open", "help"),
        ]
    }

    fn targets(&self, _data: &dyn Data) -> Vec<Target> {
        self.about().map(Self::target_of).into_iter().collect()
    }

    fn focus(&self) -> Option<u16> {
        let above: usize = (self.top..self.index).map(|at| self.rows(at)).sum();
        Some(self.area.y + u16::try_from(above).ok()?)
    }

    fn spec(&self, _data: &dyn Data) -> Option<Line> {
        match self.of {
            Of::Workloads(_) => Some(Line::bare("workloads.open")),
            Of::Pulse(_) => Some(Line::bare("pulse.open")),
            _ => None,
        }
    }

    fn needs(&self) -> Vec<Need> {
        self.needs.clone()
    }

    fn outline(&self) -> Option<&Of> {
        Some(&self.of)
    }

    fn cluster(&self) -> Option<ClusterId> {
        self.of.cluster()
    }

    fn in_namespaces(&self, namespaces: &Namespaces) -> Option<Box<dyn View>> {
        let within = |place: &Place| place.clone().within(namespaces.clone());
        let of = match &self.of {
            Of::Workloads(place) => Of::Workloads(within(place)),
            Of::Pulse(place) => Of::Pulse(within(place)),
            _ => return None,
        };
        Some(Box::new(Self::new(of)))
    }

    fn sync(&mut self, data: &dyn Data) {
        if let Some(cluster) = self.of.cluster() {
            self.needs = self.of.needs(&data.discovery_of(cluster));
        }
        let newest = data.outline(&self.of);
        let same = match (&newest, &self.outline) {
            (Some(new), Some(old)) => Arc::ptr_eq(new, old),
            (None, _) => true,
            _ => false,
        };
        if !same {
            self.outline = newest;
            self.narrow();
        }
    }

    fn layout(&mut self, area: Rect, _data: &dyn Data) -> Reply {
        self.area = area;
        self.size = (area.width, area.height);
        self.move_to(self.index);
        Reply::Done
    }

    fn on(&mut self, input: &Input, _data: &dyn Data) -> Reply {
        let Input::Mouse(mouse) = input else {
            return Reply::Ignored;
        };
        self.moved = true;
        match mouse.kind {
            MouseKind::WheelDown => self.move_to(self.index + 3),
            MouseKind::WheelUp => self.move_to(self.index.saturating_sub(3)),
            MouseKind::Click => {
                let mut row = mouse.row.saturating_sub(self.area.y) as usize;
                for at in self.top..self.shown.len() {
                    let rows = self.rows(at);
                    if row < rows {
                        self.move_to(at);
                        break;
                    }
                    row -= rows;
                }
            }
            _ => return Reply::Ignored,
        }
        Reply::Done
    }

    fn command(&mut self, command: &ViewCommand, _data: &dyn Data) -> Result<Reply> {
        let page = usize::from(self.size.1).max(2) - 1;
        self.moved = true;
        match command {
            ViewCommand::Move(Motion::Left) => self.fold(true),
            ViewCommand::Move(Motion::Right) => self.fold(false),
            ViewCommand::Move(motion) => self.move_to(motion.apply(self.index, page)),
            ViewCommand::Filter(text) => {
                self.filter.clone_from(text);
                self.narrow();
            }
            ViewCommand::Enter => {
                let Some((at, hides)) = self.shown.get(self.index).copied() else {
                    return Ok(Reply::Done);
                };
                let Some(item) = self.items().get(at) else {
                    return Ok(Reply::Done);
                };
                if let Some(line) = &item.enter {
                    return Ok(Reply::Run(line.clone()));
                }
                if item.about.is_some() {
                    return Ok(Reply::Run(Line::bare("object.describe")));
                }
                self.fold(!hides);
            }
            _ => return Err(not_here("this")),
        }
        Ok(Reply::Done)
    }

    fn search(&self) -> &str {
        &self.filter
    }

    fn draw(&self, area: Rect, buf: &mut Buffer, look: &Look<'_>) {
        let theme = look.theme;
        let text = theme.style(Role::Text);
        if self.shown.is_empty() {
            let note = match (&self.outline, self.filter.is_empty()) {
                (None, _) => "looking ...",
                (Some(_), false) => "nothing matches",
                (Some(_), true) => "it is gone, or is not known here",
            };
            put(
                buf,
                area.x + 4,
                area.y + 3,
                area.right(),
                note,
                text.patch(theme.style(Role::Dim)),
            );
            return;
        }
        let mut y = area.y;
        for (at, (item_at, hides)) in self.shown.iter().enumerate().skip(self.top) {
            let Some(item) = self.items().get(*item_at) else { break };
            if y >= area.bottom() {
                break;
            }
            let x = area.x + (GUTTER + item.depth * STEP) as u16;
            let rows = item.line.rows(self.room(item));
            let hang = item.line.indent(self.room(item)) as u16;
            let height = (rows.len().max(1) as u16).min(area.bottom() - y);
            let cursor = at == self.index;
            let base = if cursor {
                text.patch(theme.style(Role::Cursor))
            } else {
                text
            };
            if cursor {
                fill(buf, Rect { y, height, ..area }, base);
                let bar = base.patch(theme.style(Role::CursorBar));
                for row in y..y + height {
                    put(buf, area.x, row, area.right(), theme.signs.cursor, bar);
                }
            }
            if *hides {
                put(
                    buf,
                    x - 4,
                    y,
                    area.right(),
                    theme.signs.step,
                    base.patch(theme.style(Role::Dim)),
                );
            }
            let (sign, role) = sign(item.health, theme);
            put(buf, x - 2, y, area.right(), sign, base.patch(theme.style(role)));
            for (row, piece) in rows.iter().enumerate().take(usize::from(height)) {
                let x = if row == 0 { x } else { x + hang };
                let place = Rect {
                    x: x.min(area.right()),
                    y: y + row as u16,
                    width: area.right().saturating_sub(x),
                    height: 1,
                };
                put_piece(buf, place, &item.line, *piece, base, theme);
            }
            y += height;
        }
    }
}
