//! Views: what a tab shows. A view is plain data; it reads the cluster through [`Data`] and answers keys with a [`Reply`].

mod browser;
mod card;
mod command;
mod containers;
mod document;
mod forwards;
mod labels;
mod logs;
mod outline;
pub mod overlay;
mod pane;
mod preview;
mod selection;
mod terminal;
mod tick;

#[cfg(test)]
mod scale;

pub use browser::Browser;
pub(crate) use browser::sign;
pub use card::{Card, Entry as KeyEntry, Group, KEYS};
pub use command::{Format, Motion, ViewCommand};
pub use containers::Containers;
pub use document::{Text, TextSource};
pub use forwards::Forwards;
pub use labels::Labels;
pub use logs::Logs;
pub use outline::OutlineView;
pub use pane::{Arrangement, Border, Direction, Pane, PaneId, Panes, Placed, Shape, Way};
pub use preview::Preview;
pub use selection::Selection;
pub use terminal::Terminal;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::cluster::{ClusterId, Discovery, LinkState, Namespaces, ObjectRef, Place, Read, Resource};
use crate::config::ContextColour;
use crate::error::{Error, Result};
use crate::keys::{Chord, Keymap, Line, Scope};
use crate::kind::outline::{Of, Outline};
use crate::kind::usage::Usage;
use crate::kind::why::Diagnosis;
use crate::session::{Info, LogSnapshot, SessionId};
use crate::store::{Listing, Need, Object, ObjectId, Row};
use crate::theme::Theme;
use crate::widget::Anchor;

/// What the user did.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Pressed a key.
    Key(Chord),
    /// Pasted text (bracketed paste).
    Paste(String),
    /// Used the mouse.
    Mouse(Mouse),
}

/// A mouse event, in cells of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mouse {
    /// Column, 0 on the left.
    pub column: u16,
    /// Row, 0 at the top.
    pub row: u16,
    /// What happened.
    pub kind: MouseKind,
}

impl Mouse {
    /// Whether the left button is down: pressed now, or held while it moves.
    pub fn holds(&self) -> bool {
        matches!(self.kind, MouseKind::Click | MouseKind::Drag)
    }
}

/// Mouse actions that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MouseKind {
    /// Left button pressed.
    Click,
    /// Moved with the left button held.
    Drag,
    /// Left button let go.
    Release,
    /// Wheel away from the user.
    WheelUp,
    /// Wheel towards the user.
    WheelDown,
}

/// What a view makes of an input.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Not for this view: the keymap decides.
    Ignored,
    /// Taken.
    Done,
    /// Run this line.
    Run(Line),
    /// Send these bytes to a terminal session.
    Send(SessionId, Bytes),
    /// The place for a terminal session has this many columns and rows now.
    Resize(SessionId, u16, u16),
}

/// What actions act on: one object, by identity.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its resource.
    pub resource: Arc<Resource>,
    /// Its identity.
    pub id: ObjectId,
    /// The object as last seen.
    pub object: Arc<Object>,
}

impl From<&Target> for ObjectRef {
    fn from(target: &Target) -> Self {
        Self {
            cluster: target.id.cluster,
            resource: target.resource.clone(),
            namespace: target.id.namespace().map(Into::into),
            name: target.id.name.clone(),
            uid: Some(target.id.uid.clone()),
        }
    }
}

/// The cluster in one glance.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterInfo {
    /// Which cluster it is.
    pub id: ClusterId,
    /// Context, or the embedded cluster's name.
    pub name: String,
    /// Whether it is the embedded cluster.
    pub embedded: bool,
    /// Whether requests that change something are refused.
    pub read_only: bool,
    /// Whether every change is asked for by its name.
    pub protected: bool,
    /// The colour it is known by.
    pub colour: Option<ContextColour>,
    /// As whom requests are sent.
    pub user: Arc<str>,
    /// How the way to it is.
    pub state: LinkState,
    /// Namespace of the context.
    pub namespace: Arc<str>,
}

/// Something read once to be glanced at, such as the end of a log: no list, no watch, no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glance {
    /// Where it is read.
    pub cluster: ClusterId,
    /// What is read.
    pub read: Read,
    /// What it is read of: what has another edition is read again.
    pub edition: String,
}

/// What views may read. Everything here is in memory: nothing waits.
pub trait Data {
    /// Wall time.
    fn now(&self) -> Timestamp;
    /// The newest listing for a need.
    fn listing(&self, need: &Need) -> Arc<Listing>;
    /// The cluster worked in: that of the view with the focus.
    fn cluster(&self) -> &ClusterInfo;
    /// A cluster that is looked at, or was.
    fn cluster_of(&self, id: ClusterId) -> Option<&ClusterInfo>;
    /// What the cluster worked in serves.
    fn discovery(&self) -> Arc<Discovery> {
        self.discovery_of(self.cluster().id)
    }
    /// What a cluster serves; what every cluster does while that is not known.
    fn discovery_of(&self, id: ClusterId) -> Arc<Discovery>;
    /// Contexts that can be connected to.
    fn contexts(&self) -> &[String];
    /// One session.
    fn session(&self, id: SessionId) -> Option<Info>;
    /// All sessions.
    fn sessions(&self) -> Vec<Info>;
    /// The lines of a log session.
    fn log(&self, id: SessionId) -> Option<Arc<LogSnapshot>>;
    /// The newest draft of an outline that a view shows.
    fn outline(&self, _of: &Of) -> Option<Arc<Outline>> {
        None
    }
    /// What a view wanted to glance at, once it has been read.
    fn glance(&self, _glance: &Glance) -> Option<Bytes> {
        None
    }
    /// What the objects of a kind use, where that is measured.
    fn usage(&self, _cluster: ClusterId, _plural: &str, _namespace: Option<&str>) -> Option<Arc<Usage>> {
        None
    }
    /// The screen of a terminal session.
    fn screen(&self, id: SessionId) -> Option<Arc<vt100::Screen>>;
}

/// What drawing needs.
pub struct Look<'a> {
    /// Colours and signs.
    pub theme: &'a Theme,
    /// What there is.
    pub data: &'a dyn Data,
    /// For keys named in hints.
    pub keymap: &'a Keymap,
    /// Scopes of the focused view, for the same.
    pub scopes: &'a [Scope],
    /// The column and the row of what an overlay is about, when it is about what is under the cursor.
    pub beside: Option<(u16, u16)>,
    /// Where text goes that is typed now: the terminal's own cursor stands there, and an input method composes there.
    pub caret: std::cell::Cell<Option<(u16, u16)>>,
}

impl Look<'_> {
    /// Puts the terminal's cursor on a cell, if there is one.
    pub fn cursor(&self, at: Option<(u16, u16)>) {
        if at.is_some() {
            self.caret.set(at);
        }
    }

    /// Where an overlay stands: beside what it is about.
    pub fn anchor(&self) -> Anchor {
        self.beside.map_or(Anchor::Centre, |(x, row)| Anchor::Beside(x, row))
    }

    /// How the keys that run a line, with its arguments, are shown; empty when it has none.
    pub fn key_of(&self, line: &str) -> String {
        let Ok(line) = Line::parse(line) else {
            return String::new();
        };
        let bindings = self.scopes.iter().flat_map(|scope| self.keymap.bindings(scope));
        let shortest = bindings
            .filter(|binding| binding.line == line)
            .min_by_key(|binding| binding.chords.len());
        shortest.map_or_else(String::new, |binding| {
            let labels: Vec<String> = binding.chords.iter().map(|chord| chord.label()).collect();
            labels.join(" ")
        })
    }

    /// How the keys that run `action` are shown: `l`, `C-d`, `g g`; empty when it has none.
    pub fn key(&self, action: &str) -> String {
        self.keymap
            .key_for(self.scopes, action)
            .map_or_else(String::new, |chords| {
                chords.iter().map(|chord| chord.label()).collect::<Vec<_>>().join(" ")
            })
    }
}

/// Words that a view's commands may name, for completion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vocabulary {
    /// Titles of its columns.
    pub columns: Vec<String>,
    /// Keys of labels, and their values; of as many objects as can be looked at in no time.
    pub labels: BTreeMap<String, BTreeSet<String>>,
}

/// One view on a tab's stack.
pub trait View: Debug + Send {
    /// Short title for the tab line: `pods`, `logs:web`.
    fn title(&self) -> String;
    /// Where we are, after the cluster's name, for the top line: `default`, `pods`, `kuard`.
    fn crumbs(&self) -> Vec<String>;
    /// Counts and states for the top line: `7`, `3 of 7`.
    fn status(&self, _data: &dyn Data) -> String {
        String::new()
    }
    /// Keymap scopes, innermost first, without `global`.
    fn scopes(&self) -> Vec<Scope>;
    /// Actions offered in the bottom line, most useful first: (action, word).
    fn hints(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
    /// Whether every key belongs to it (a terminal), but for the `terminal` scope's bindings.
    fn is_raw(&self) -> bool {
        false
    }
    /// What actions act on: the marked objects, else the one under the cursor.
    fn targets(&self, _data: &dyn Data) -> Vec<Target> {
        Vec::new()
    }
    /// The container of its target that is meant, when it shows them.
    fn container(&self) -> Option<&str> {
        None
    }
    /// The object that was under the cursor a moment ago and is gone, when the cursor has slid to another one since.
    fn slid(&self, _data: &dyn Data) -> Option<Arc<str>> {
        None
    }
    /// The row of the screen that the cursor is on: what is said stands beside it, not over it.
    fn focus(&self) -> Option<u16> {
        None
    }
    /// Where text can be marked with the mouse, of the place it is drawn into.
    fn selectable(&self, _area: Rect) -> Option<Rect> {
        None
    }
    /// Whether a preview may follow its cursor.
    fn leads(&self) -> bool {
        false
    }
    /// The row under its cursor, and its resource.
    fn under_cursor(&self) -> Option<(&Arc<Resource>, &Arc<Row>)> {
        None
    }
    /// Shows what is under the cursor of the pane it follows.
    fn follow(&mut self, _row: Option<(Arc<Resource>, Arc<Row>)>, _data: &dyn Data) {}
    /// The line that opens it again; `None` when nothing can.
    fn spec(&self, _data: &dyn Data) -> Option<Line> {
        None
    }
    /// Puts the cursor on an object once it shows.
    fn select(&mut self, _id: &ObjectId, _data: &dyn Data) {}
    /// The path of the field it stands at, when it shows the fields of an object: `spec.containers.image`.
    fn field(&self) -> Option<String> {
        None
    }
    /// What it is an outline of, when it is one: the application draws it up.
    fn outline(&self) -> Option<&Of> {
        None
    }
    /// What an examination found, when it shows one: its remedies can be carried out.
    fn diagnosis(&self) -> Option<&Diagnosis> {
        None
    }
    /// What it reads.
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }
    /// What it glances at.
    fn glances(&self) -> Vec<Glance> {
        Vec::new()
    }
    /// The resource it lists.
    fn resource(&self) -> Option<Arc<Resource>> {
        None
    }
    /// The column it is sorted by, and whether downwards, when it can be sorted.
    fn sorted(&self) -> Option<(String, bool)> {
        None
    }
    /// Where it looks, when it looks for objects.
    fn place(&self) -> Option<&Place> {
        None
    }
    /// The cluster that is worked in while it has the focus; `None` leaves that as it is.
    fn cluster(&self) -> Option<ClusterId> {
        self.place().and_then(|place| place.clusters.first().copied())
    }
    /// The same view of other namespaces, when it shows some.
    fn in_namespaces(&self, _namespaces: &Namespaces) -> Option<Box<dyn View>> {
        None
    }
    /// Adjusts to new data: called when something it needs has changed.
    fn sync(&mut self, _data: &dyn Data) {}
    /// Does a slice of what takes long, between keys; whether there is more of it.
    fn work(&mut self, _data: &dyn Data) -> bool {
        false
    }
    /// The cursor has rested for a moment: what is costly may follow it now.
    fn settle(&mut self, _data: &dyn Data) {}
    /// Learns its place before it is drawn into it; called whenever that changes.
    fn layout(&mut self, _area: Rect, _data: &dyn Data) -> Reply {
        Reply::Done
    }
    /// Takes an input before the keymap does.
    fn on(&mut self, _input: &Input, _data: &dyn Data) -> Reply {
        Reply::Ignored
    }
    /// Does what it is told, when that means something in its scopes.
    fn command(&mut self, _command: &ViewCommand, _data: &dyn Data) -> Result<Reply> {
        Err(not_here("this"))
    }
    /// What its commands may name.
    fn vocabulary(&self, _data: &dyn Data) -> Vocabulary {
        Vocabulary::default()
    }
    /// The text a filter or search prompt starts with.
    fn search(&self) -> &str {
        ""
    }
    /// Sessions that end when the view is left.
    fn sessions(&self) -> Vec<SessionId> {
        Vec::new()
    }
    /// How long what is shown stays true without news: ages grow. `None` is for ever.
    fn tick(&self, _data: &dyn Data) -> Option<std::time::Duration> {
        None
    }
    /// Draws itself.
    fn draw(&self, area: Rect, buf: &mut Buffer, look: &Look<'_>);
}

/// The refusal of a command that means nothing in a view.
pub fn not_here(what: &str) -> Error {
    Error::usage(format!("{what} does nothing here")).hint("`?` shows what does")
}
