//! Everything the application knows, as plain data: no handles, no channels, no tasks.

mod cx;
mod effect;
mod flash;
mod history;
mod notice;

pub use cx::Cx;
pub use effect::{Edit, Effect, Errand, Outcome, RequestId, Then, Waiting};
pub use flash::{Flash, Level};
pub use history::History;
pub use notice::{Notice, Review};

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use crate::cluster::{ClusterId, Namespaces, Plan, Progress, Source};
use crate::error::Error;
use crate::keys::{Chord, Keymap, Scope};
use crate::session::SessionId;
use crate::store::ObjectId;
use crate::theme::Theme;
use crate::view::overlay::Overlay;
use crate::view::{Border, PaneId, Panes, Selection, Target, View};

/// An overlay, and the objects that were meant when it opened: what it runs acts on these, wherever the cursor has gone.
#[derive(Debug)]
pub struct Layer {
    /// The overlay.
    pub overlay: Box<dyn Overlay>,
    /// The pinned objects.
    pub pinned: Vec<Target>,
    /// What it has asked for, and stays until it is answered: its input is lost to nobody.
    pub waits: Option<RequestId>,
    /// Whether the view below was opened to be read before the answer: it goes with a yes.
    pub over_review: bool,
}

/// A plan that is being carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// What it does: `delete 40 pods`.
    pub title: String,
    /// How far it is.
    pub progress: Progress,
    /// Whether no further change will be begun.
    pub cancelled: bool,
}

/// The application's state.
#[derive(Debug)]
pub struct State {
    /// Tabs from left to right; never empty.
    pub tabs: Vec<Panes>,
    /// The tab shown.
    pub tab: usize,
    /// The tab shown before.
    pub last_tab: usize,
    /// Overlays, the topmost last.
    pub layers: Vec<Layer>,
    /// Chords typed of an unfinished sequence.
    pub pending: Vec<Chord>,
    /// How often the next motion is made, as typed so far.
    pub count: Option<usize>,
    /// The message in the bottom line.
    pub flash: Option<Flash>,
    /// Messages shown before, newest last; bounded.
    pub messages: VecDeque<Flash>,
    /// How many messages there have been.
    pub said: u64,
    /// Namespaces that views open in.
    pub namespaces: Namespaces,
    /// Command lines typed.
    pub history: History,
    /// The column each kind was last sorted by, and whether downwards, by its full name.
    pub sorts: BTreeMap<String, (String, bool)>,
    /// The user's own short forms, and the lines they stand for.
    pub aliases: Vec<(String, String)>,
    /// What happens when a request is answered.
    pub waiting: BTreeMap<RequestId, Waiting>,
    /// Plans that are being carried out.
    pub operations: BTreeMap<RequestId, Operation>,
    /// Questions and results that wait until the user turns to them.
    pub notices: VecDeque<Notice>,
    /// Plans that take back what was done, the last at the end; bounded.
    pub undo: Vec<Plan>,
    /// Plans that do again what was taken back.
    pub redo: Vec<Plan>,
    /// The plan carried out last.
    pub done: Option<Arc<Plan>>,
    /// Keys and pastes so far.
    pub keys: u64,
    /// An object that was made by the last key: the cursor goes there when it shows.
    pub made: Option<(u64, ObjectId)>,
    /// Colours and signs.
    pub theme: Arc<Theme>,
    /// Keys.
    pub keymap: Arc<Keymap>,
    /// Where the clusters come from that have been named so far, by their number.
    pub sources: Vec<Source>,
    /// Where every change is written down.
    pub journal: Option<PathBuf>,
    /// The user's directory of themes.
    pub themes: Option<PathBuf>,
    /// The user's directory of keymaps.
    pub keymaps: Option<PathBuf>,
    /// Whether the welcome is still shown.
    pub welcome: bool,
    /// Whether the user has asked to leave.
    pub quit: bool,
    /// Size of the screen as last drawn: columns, rows.
    pub size: (u16, u16),
    /// Whether the visible views know their places; cleared whenever others are to be seen.
    pub laid_out: bool,
    /// The border between panes that is being dragged.
    pub dragged: Option<Border>,
    /// Text that is being marked with the mouse.
    pub selection: Option<Selection>,
    next: u64,
}

impl State {
    /// A state with one tab.
    pub fn new(view: Box<dyn View>, source: Source, theme: Theme, keymap: Keymap) -> Self {
        Self {
            tabs: vec![Panes::new(PaneId(0), view)],
            tab: 0,
            last_tab: 0,
            layers: Vec::new(),
            pending: Vec::new(),
            count: None,
            flash: None,
            messages: VecDeque::new(),
            said: 0,
            namespaces: Namespaces::all(),
            history: History::default(),
            sorts: BTreeMap::new(),
            aliases: Vec::new(),
            waiting: BTreeMap::new(),
            operations: BTreeMap::new(),
            notices: VecDeque::new(),
            undo: Vec::new(),
            redo: Vec::new(),
            done: None,
            keys: 0,
            made: None,
            theme: Arc::new(theme),
            keymap: Arc::new(keymap),
            sources: vec![source],
            journal: None,
            themes: None,
            keymaps: None,
            welcome: false,
            quit: false,
            size: (0, 0),
            laid_out: false,
            dragged: None,
            selection: None,
            next: 1,
        }
    }

    /// The panes of the tab shown.
    pub fn panes(&self) -> &Panes {
        &self.tabs[self.tab]
    }

    /// The panes of the tab shown.
    pub fn panes_mut(&mut self) -> &mut Panes {
        &mut self.tabs[self.tab]
    }

    /// The view that has the focus.
    pub fn view(&self) -> &dyn View {
        self.panes().focused().view()
    }

    /// The view that has the focus.
    pub fn view_mut(&mut self) -> &mut Box<dyn View> {
        self.panes_mut().focused_mut().view_mut()
    }

    /// Scopes in which keys are looked up now, innermost first.
    pub fn scopes(&self, trouble: bool) -> Vec<Scope> {
        let mut scopes = Vec::new();
        if trouble {
            scopes.push("trouble");
        }
        scopes.extend(self.view().scopes());
        if !self.view().is_raw() {
            scopes.push("global");
        }
        scopes
    }

    /// What a source is called by everything that is begun in it.
    pub fn cluster(&mut self, source: &Source) -> ClusterId {
        let known = self.sources.iter().position(|known| known == source);
        let at = known.unwrap_or_else(|| {
            self.sources.push(source.clone());
            self.sources.len() - 1
        });
        ClusterId(u16::try_from(at).expect("fewer than 65,536 clusters are named in one run"))
    }

    /// Where a cluster comes from.
    pub fn source(&self, cluster: ClusterId) -> &Source {
        &self.sources[usize::from(cluster.0)]
    }

    /// A number never given before.
    pub fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Waits for an answer; its number.
    pub fn wait(&mut self, cluster: ClusterId, then: Then) -> RequestId {
        let id = self.fresh();
        let keys = self.keys;
        self.waiting.insert(id, Waiting { then, cluster, keys });
        id
    }

    /// A session ID never given before.
    pub fn fresh_session(&mut self) -> SessionId {
        SessionId(self.fresh())
    }

    /// Says something in the bottom line.
    pub fn say(&mut self, level: Level, text: impl Into<String>) {
        self.show(Flash {
            level,
            text: text.into(),
            hints: Vec::new(),
        });
    }

    /// Shows an error in the bottom line.
    pub fn fail(&mut self, error: &Error) {
        self.show(Flash {
            level: Level::Error,
            text: error.line(),
            hints: error.hints.clone(),
        });
    }

    /// Keeps an error that is shown elsewhere among the messages.
    pub fn record(&mut self, error: &Error) {
        self.keep(Flash {
            level: Level::Error,
            text: error.line(),
            hints: error.hints.clone(),
        });
    }

    fn show(&mut self, flash: Flash) {
        self.keep(flash.clone());
        self.said += 1;
        self.flash = Some(flash);
    }

    fn keep(&mut self, flash: Flash) {
        if self.messages.len() >= 200 {
            self.messages.pop_front();
        }
        self.messages.push_back(flash);
    }
}
