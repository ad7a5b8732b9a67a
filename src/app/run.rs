//! The loop.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::{Stream, StreamExt};
use knarr_clock::Clock;
use ratatui::Terminal;
use ratatui::backend::Backend;
use ratatui::layout::Rect;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::desk::{Connection, Desk};
use super::event::Event;
use super::memory::Memory;
use super::survey::Survey;
use super::{draw, update};
use crate::action;
use crate::cluster::{
    ClusterId, ComponentLogs, Credential, Discovery, Journal, Namespaces, Place, Plugin, Resource, Source,
};
use crate::config::{ColumnChoice, ContextColour};
use crate::error::{Error, Result};
use crate::keys::Keymap;
use crate::kind;
use crate::session::{SessionId, Sessions, Spec, Status};
use crate::state::{History, Level, RequestId, State};
use crate::store::{Catalog, Need, Query, RowMaker};
use crate::theme::Theme;
use crate::view::{Browser, Data, Glance, PaneId, Panes};

/// Least time between two frames.
const FRAME: Duration = Duration::from_millis(16);
/// Most answers that are kept for another glance.
const GLANCES: usize = 64;
/// How long the cursor rests before what is costly follows it.
pub(super) const SETTLE: Duration = Duration::from_millis(120);

/// What the program was started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the cluster comes from.
    pub source: Source,
    /// Namespace given by `-n`; `Some(None)` is `-A`.
    pub namespace: Option<Option<String>>,
    /// Refuse requests that change something.
    pub read_only: bool,
    /// Contexts where every change must be asked for by name; `*` stands for anything.
    pub protected: Vec<String>,
    /// The colours of contexts; `*` stands for anything.
    pub contexts: BTreeMap<String, ContextColour>,
    /// User and groups to impersonate.
    pub impersonate: (Option<String>, Vec<String>),
    /// Command to run at start.
    pub start: Option<String>,
    /// Colours and signs.
    pub theme: Theme,
    /// Keys.
    pub keymap: Keymap,
    /// The user's directory of themes.
    pub themes: Option<PathBuf>,
    /// The user's directory of keymaps.
    pub keymaps: Option<PathBuf>,
    /// Columns of tables by kind.
    pub columns: BTreeMap<String, Vec<ColumnChoice>>,
    /// The user's own short forms, and the lines they stand for.
    pub aliases: Vec<(String, String)>,
    /// Whether to show the welcome.
    pub welcome: bool,
    /// Where what is remembered between runs is written.
    pub state_dir: Option<PathBuf>,
    /// Wall clock.
    pub clock: Clock,
    /// Simulate the embedded cluster's containers: for tests and rehearsals.
    pub simulate: bool,
    /// Collects the embedded control plane's logs.
    pub logs: Option<ComponentLogs>,
}

/// The application.
pub struct App {
    pub(super) state: State,
    pub(super) desk: Desk,
    pub(super) settings: Settings,
    pub(super) sender: UnboundedSender<Event>,
    receiver: UnboundedReceiver<Event>,
    /// Attempts to reach clusters so far.
    pub(super) attempts: u64,
    /// The cluster to work in as soon as it answers.
    pub(super) going: Option<ClusterId>,
    /// The cluster whose tabs are shown; `None` before the first has answered.
    pub(super) home: Option<ClusterId>,
    /// Clusters that some view looks at.
    pub(super) looked_at: BTreeSet<ClusterId>,
    pub(super) settle_at: Option<Instant>,
    /// When the message in the bottom line was first drawn.
    flash_at: Option<Instant>,
    wanted: HashSet<Need>,
    /// The pane that had the focus when that was asked.
    shown: Option<PaneId>,
    /// Whether the view has more to do as soon as no key waits.
    working: bool,
    pub(super) dirty: bool,
    drawn: Option<Instant>,
    area: Rect,
    /// Text for the editor, taken by the loop that owns the terminal.
    edit: Option<(u64, String)>,
    /// The credential plugin to lend it to, likewise.
    login: Option<(ClusterId, Plugin)>,
    clipboard: Option<String>,
    suspend: bool,
    started: bool,
    frames: u64,
    /// Port-forwards whose failure has been told.
    told: HashSet<SessionId>,
    /// Layouts by context, as they are kept between runs.
    pub(super) layouts: serde_json::Map<String, serde_json::Value>,
    /// What stops the operations under way.
    pub(super) cancels: HashMap<RequestId, CancellationToken>,
    pub(super) journal: Journal,
    pub(super) memory: Memory,
}

impl App {
    /// An application that connects as soon as it runs.
    pub fn new(settings: Settings) -> Self {
        let (sender, receiver) = unbounded_channel();
        let built_in = Arc::new(Discovery::built_in());
        let notify = |event: fn() -> Event| {
            let sender = sender.clone();
            Arc::new(move || {
                let _ = sender.send(event());
            }) as Arc<dyn Fn() + Send + Sync>
        };
        let catalog = Catalog::new(
            notify(|| Event::Data),
            row_maker(&settings.columns),
            settings.clock.clone(),
        );
        let sessions = Sessions::new(notify(|| Event::Sessions), settings.clock.clone());
        let cluster = ClusterId::default();
        let now = settings.clock.now();
        let connection = Connection::new(cluster, &settings.source, settings.read_only, now);
        let namespaces = match &settings.namespace {
            Some(namespace) => namespace.as_deref().map_or(Namespaces::all(), Namespaces::parse),
            // The first look at a new cluster shows what runs in it: the control plane's own pods.
            None if settings.welcome && connection.info.embedded => Namespaces::all(),
            None => Namespaces::from("default"),
        };
        let pods = built_in.find("pods").cloned().expect("built-in discovery has pods");
        let memory = Memory::at(settings.state_dir.clone());
        // What is damaged is not worth a word.
        let sorts: BTreeMap<String, (String, bool)> =
            serde_json::from_str(&memory.recall("sorts.json")).unwrap_or_default();
        let mut view = Browser::new(pods, Place::new(cluster, namespaces.clone()));
        if let Some((column, descending)) = sorts.get("pods") {
            view.sort(column, *descending);
        }
        let mut state = State::new(
            Box::new(view),
            settings.source.clone(),
            settings.theme.clone(),
            settings.keymap.clone(),
        );
        state.namespaces = namespaces;
        state.themes.clone_from(&settings.themes);
        state.keymaps.clone_from(&settings.keymaps);
        state.welcome = settings.welcome;
        let journal = match &settings.state_dir {
            Some(dir) => Journal::at(dir.join("journal.jsonl")),
            None => Journal::default(),
        };
        state.sorts = sorts;
        state.history = History::parse(&memory.recall("history"));
        state.aliases.clone_from(&settings.aliases);
        state.journal = journal.path().map(Into::into);
        let desk = Desk {
            clock: settings.clock.clone(),
            catalog,
            sessions,
            clusters: BTreeMap::from([(cluster, connection)]),
            current: cluster,
            contexts: Vec::new(),
            built_in,
            surveys: Vec::new(),
            glances: VecDeque::new(),
            usage: Vec::new(),
        };
        Self {
            state,
            desk,
            settings,
            sender,
            receiver,
            attempts: 0,
            going: None,
            home: None,
            looked_at: BTreeSet::new(),
            settle_at: None,
            flash_at: None,
            wanted: HashSet::new(),
            shown: None,
            working: false,
            dirty: true,
            drawn: None,
            area: Rect::default(),
            edit: None,
            login: None,
            clipboard: None,
            suspend: false,
            started: false,
            frames: 0,
            told: HashSet::new(),
            layouts: serde_json::Map::new(),
            cancels: HashMap::new(),
            journal,
            memory,
        }
    }

    /// The next event, past the loop.
    #[cfg(test)]
    pub(super) async fn next_event(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }

    /// Sends events to the application from outside: signals, tests.
    pub fn sender(&self) -> UnboundedSender<Event> {
        self.sender.clone()
    }

    /// Whether nothing is under way: no connection attempt, no request, no feed without its data, no event unread. What tests wait for.
    pub fn is_settled(&self) -> bool {
        let connecting = |known: &Connection| known.attempt.is_some() && self.looked_at.contains(&known.info.id);
        !self.desk.clusters.values().any(connecting)
            && self.going.is_none()
            && self.state.waiting.is_empty()
            && self.receiver.is_empty()
            && self.settle_at.is_none()
            && !self.working
            && !self.desk.surveys.iter().any(Survey::is_busy)
            && self.desk.catalog.is_settled()
            && self.desk.sessions.is_settled()
    }

    /// Ends sessions, and stops embedded clusters in good order.
    pub fn stop(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(self.end())
    }

    async fn end(&mut self) {
        self.remember_layout();
        self.save_layouts();
        for session in self.desk.sessions.list() {
            self.desk.sessions.close(session.id);
        }
        self.desk.catalog.clear();
        let running = self.desk.clusters.values_mut().filter_map(|known| known.running.take());
        futures::future::join_all(running.map(|running| async move { running.stop().await })).await;
    }

    /// Number of frames drawn so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// The state, for tests and for the screen's owner.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Runs until the user leaves. `input` gives the terminal's events; `lend` runs the editor on a text with the terminal out of the way.
    pub async fn run<B: Backend>(
        &mut self,
        terminal: &mut Terminal<B>,
        input: &mut (impl Stream<Item = Event> + Unpin),
        mut host: impl Host<B>,
    ) -> Result<()> {
        self.start();
        while !self.state.quit {
            self.draw_if_due(terminal)?;
            let wake = self.next_wake();
            tokio::select! {
                biased;
                event = input.next() => match event {
                    Some(event) => self.handle(event),
                    None => break,
                },
                event = self.receiver.recv() => {
                    if let Some(event) = event {
                        self.handle(event);
                    }
                }
                () = sleep_until(wake), if wake.is_some() => self.timers(),
            }
            self.drain();
            self.working = false;
            for pane in self.state.panes_mut().visible_mut() {
                self.working |= pane.view_mut().work(&self.desk);
            }
            if let Some((id, text)) = self.edit.take() {
                let edited = host.edit(terminal, &text).await;
                self.drawn = None;
                self.dirty = true;
                self.handle(Event::Done(
                    id,
                    edited.map(|text| crate::state::Outcome::Bytes(text.into_bytes().into())),
                ));
            }
            if let Some((cluster, plugin)) = self.login.take() {
                let given = host.login(terminal, &plugin);
                self.drawn = None;
                self.dirty = true;
                match given.and_then(|written| Credential::parse(&written)) {
                    Ok(credential) => self.logged_in(cluster, credential),
                    Err(error) => self.state.fail(&error),
                }
            }
            if std::mem::take(&mut self.suspend) {
                host.suspend(terminal);
                self.drawn = None;
                self.dirty = true;
            }
            if let Some(text) = self.clipboard.take() {
                host.clipboard(&text);
            }
        }
        Ok(())
    }

    /// Connects, and runs the start command.
    pub fn start(&mut self) {
        if !std::mem::replace(&mut self.started, true) {
            self.load_contexts();
            self.load_layouts();
            self.going = Some(self.desk.current);
            self.connect(self.desk.current);
        }
    }

    fn drain(&mut self) {
        // A flood of events must not keep the screen from being drawn.
        for _ in 0..1000 {
            match self.receiver.try_recv() {
                Ok(event) => self.handle(event),
                Err(_) => break,
            }
        }
    }

    /// Handles one event.
    pub fn handle(&mut self, event: Event) {
        let mut effects = Vec::new();
        let said = self.state.said;
        // A heartbeat that says nothing new costs no frame.
        self.dirty |= !matches!(event, Event::Heartbeat(..) | Event::Measured(..));
        match event {
            Event::Heartbeat(cluster, alive) => self.heard(cluster, alive),
            Event::Input(input) => {
                let trouble = self.is_in_trouble();
                update::input(&mut self.state, &self.desk, trouble, &input, &mut effects);
                self.settle_at = Some(Instant::now() + SETTLE);
            }
            Event::Resized => {}
            Event::Data => {
                self.desk.catalog.take_dirty();
                self.sync();
            }
            Event::Sessions => {
                self.desk.sessions.take_dirty();
                self.report_forwards();
                self.sync();
            }
            Event::Progress(id, progress) => {
                if let Some(operation) = self.state.operations.get_mut(&id) {
                    operation.progress = progress;
                }
            }
            Event::Done(id, result) => {
                self.cancels.remove(&id);
                let mut cx = crate::state::Cx {
                    state: &mut self.state,
                    data: &self.desk,
                    effects: &mut effects,
                    pinned: Vec::new(),
                    started: None,
                };
                action::answered(&mut cx, id, result);
            }
            Event::Connected(cluster, attempt, result) => self.connected(cluster, attempt, result, &mut effects),
            Event::Discovered(cluster, discovery) => {
                let known = self.desk.clusters.get_mut(&cluster);
                if let Some(link) = known.and_then(|known| known.link.as_mut()) {
                    *link = link.knowing(discovery);
                    self.desk.catalog.know(link.clone());
                    self.sync();
                }
            }
            Event::Contexts(contexts) => self.desk.contexts = contexts.names,
            Event::Edit(id, text) => self.edit = Some((id, text)),
            Event::Login(cluster, plugin) => self.login = Some((cluster, plugin)),
            Event::Glanced(glance, bytes) => {
                if let Some((_, answer)) = self.desk.glances.iter_mut().find(|(known, _)| *known == glance) {
                    *answer = Some(bytes);
                }
            }
            Event::Surveyed(of, outline) => self.surveyed(&of, outline),
            Event::Measured(of, usage) => self.measured(&of, usage),
            Event::Clipboard(text) => self.clipboard = Some(text),
            Event::Failed(error) => self.state.fail(&error),
            Event::Suspend => self.suspend = true,
            Event::Terminate => self.state.quit = true,
        }
        if self.state.said != said {
            self.flash_at = Some(Instant::now());
        }
        self.refocus();
        self.perform(effects);
        self.follow();
        self.want();
        self.refocus();
        self.look_up();
        self.survey();
        self.measure();
    }

    pub(super) fn sync(&mut self) {
        let panes = self.state.panes_mut();
        panes.focused_mut().view_mut().sync(&self.desk);
        let focus = panes.focused().id;
        for pane in panes.visible_mut().filter(|pane| pane.id != focus) {
            pane.view_mut().sync(&self.desk);
        }
        self.follow();
        for layer in &mut self.state.layers {
            layer.overlay.sync(&self.desk);
        }
    }

    /// Shows in each preview what is under the cursor that it follows.
    fn follow(&mut self) {
        let panes = self.state.panes_mut();
        let rows: Vec<_> = panes
            .all()
            .iter()
            .filter_map(|pane| {
                let leader = panes.get(pane.follows?)?;
                let row = leader.view().under_cursor();
                Some((pane.id, row.map(|(resource, row)| (resource.clone(), row.clone()))))
            })
            .collect();
        for (id, row) in rows {
            let Some(pane) = panes.all_mut().iter_mut().find(|pane| pane.id == id) else {
                continue;
            };
            let before = pane.view().under_cursor().map(|(_, row)| row.id.clone());
            // What is costly follows also when it was no key that put the cursor there.
            if before.as_ref() != row.as_ref().map(|(_, row)| &row.id) {
                self.settle_at.get_or_insert(Instant::now() + SETTLE);
            }
            pane.view_mut().follow(row, &self.desk);
        }
    }

    /// Keeps the feeds of what is shown in any tab, and of what is below it, running: people come back to what they have left open.
    fn want(&mut self) {
        let mut wanted: HashSet<Need> = HashSet::new();
        for view in self.state.tabs.iter().flat_map(Panes::views) {
            wanted.extend(view.needs());
        }
        for layer in &self.state.layers {
            wanted.extend(layer.overlay.needs());
        }
        wanted.extend(draw::need(&self.desk));
        if let Some(namespaces) = self.desk.discovery().find("namespaces") {
            let place = Place::new(self.desk.current, Namespaces::all());
            wanted.insert(Need::all(Query::new(namespaces.clone(), place)));
        }
        let places = self.state.tabs.iter().flat_map(Panes::views);
        let places = places
            .filter_map(|view| view.place())
            .flat_map(|place| place.clusters.iter().copied());
        let looked_at = places.chain([self.desk.current]).chain(self.going).collect();
        if looked_at != self.looked_at {
            self.look_at(looked_at);
        }
        let shown = self.state.panes().focused().id;
        let comes_back = self.shown.replace(shown) != Some(shown);
        if wanted != self.wanted {
            self.desk.catalog.want(&wanted);
            self.wanted = wanted;
            self.sync();
        } else if comes_back {
            // What is not seen is not kept up to date.
            self.sync();
        }
    }

    /// Reads what the view wants to glance at and nobody has read yet.
    fn look_up(&mut self) {
        let wanted: Vec<Glance> = self.state.panes().views().flat_map(|view| view.glances()).collect();
        for glance in wanted {
            let is_known = self.desk.glances.iter().any(|(known, _)| *known == glance);
            let link = self.desk.clusters.get(&glance.cluster);
            let (false, Some(link)) = (is_known, link.and_then(|connection| connection.link.clone())) else {
                continue;
            };
            if self.desk.glances.len() >= GLANCES {
                self.desk.glances.pop_front();
            }
            self.desk.glances.push_back((glance.clone(), None));
            let sender = self.sender.clone();
            tokio::spawn(async move {
                let bytes = link.read(&glance.read).await.unwrap_or_default();
                let _ = sender.send(Event::Glanced(glance, bytes));
            });
        }
    }

    /// A port-forward works unseen: when one fails, it is told wherever the user is.
    fn report_forwards(&mut self) {
        for info in self.desk.sessions.list() {
            if let (Spec::Forward(_), Status::Failed(error)) = (&info.spec, &info.status)
                && self.told.insert(info.id)
            {
                self.state.fail(error);
            }
        }
    }

    fn timers(&mut self) {
        let now = Instant::now();
        self.contact(now);
        self.dirty |= self.working;
        if self.settle_at.is_some_and(|at| at <= now) {
            self.settle_at = None;
            self.follow();
            for pane in self.state.panes_mut().visible_mut() {
                pane.view_mut().settle(&self.desk);
            }
            self.dirty = true;
            self.want();
            self.look_up();
        }
        if self.flash_until().is_some_and(|at| at <= now) {
            self.state.flash = None;
            self.dirty = true;
        }
        if self.next_survey().is_some_and(|at| at <= now) {
            self.survey();
        }
        if self.tick_at().is_some_and(|at| at <= now) {
            self.dirty = true;
        }
        self.measure();
    }

    /// When the message in the bottom line goes by itself.
    fn flash_until(&self) -> Option<Instant> {
        Some(self.flash_at? + self.state.flash.as_ref()?.stays()?)
    }

    fn tick_at(&self) -> Option<Instant> {
        let drawn = self.drawn?;
        let tick = match self.is_waiting() {
            true => Some(Duration::from_secs(1)),
            false => self
                .state
                .panes()
                .visible()
                .filter_map(|pane| pane.view().tick(&self.desk))
                .min(),
        };
        tick.map(|tick| drawn + tick.max(FRAME))
    }

    fn next_wake(&self) -> Option<Instant> {
        let frame = self
            .dirty
            .then(|| self.drawn.map_or_else(Instant::now, |drawn| drawn + FRAME));
        let tick = if self.dirty { None } else { self.tick_at() };
        let work = self.working.then(Instant::now);
        [
            work,
            frame,
            tick,
            self.next_contact(),
            self.settle_at,
            self.next_survey(),
            self.flash_until(),
            self.next_measure(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn draw_if_due<B: Backend>(&mut self, terminal: &mut Terminal<B>) -> Result<()> {
        let due = self.dirty && self.drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME);
        if due { self.draw(terminal) } else { Ok(()) }
    }

    /// Draws a frame now.
    pub fn draw<B: Backend>(&mut self, terminal: &mut Terminal<B>) -> Result<()> {
        let failed = |error: B::Error| Error::new(crate::error::ErrorKind::Other, format!("cannot draw: {error}"));
        // A resize is seen here, before the buffer is taken, so that the view lays itself out for the frame that is drawn.
        terminal.autoresize().map_err(failed)?;
        let screen = terminal.get_frame().area();
        let body = draw::body(screen, self.state.tabs.len());
        self.state.size = (screen.width, screen.height);
        self.layout(body);
        let trouble = self.is_in_trouble();
        let taken = self.state.selection.filter(|selection| selection.done);
        let mut text = None;
        terminal
            .draw(|frame| {
                let area = frame.area();
                let caret = draw::frame(area, frame.buffer_mut(), &self.state, &self.desk, trouble);
                text = taken.map(|selection| selection.text(frame.buffer_mut()));
                if let Some(caret) = caret {
                    frame.set_cursor_position(caret);
                }
            })
            .map_err(failed)?;
        self.dirty = false;
        self.drawn = Some(Instant::now());
        self.frames += 1;
        if let Some(text) = text {
            let lines = crate::text::count(text.lines().count(), "line");
            self.state.selection = None;
            self.state.say(Level::Info, format!("copied {lines}"));
            self.flash_at = Some(Instant::now());
            self.copy(text);
            self.dirty = true;
        }
        Ok(())
    }

    fn layout(&mut self, body: Rect) {
        if self.area == body && self.state.laid_out {
            return;
        }
        self.area = body;
        self.state.laid_out = true;
        let panes = self.state.panes_mut();
        panes.lay_out(body);
        let mut replies = Vec::new();
        for pane in panes.visible_mut() {
            let area = pane.area;
            replies.push(pane.view_mut().layout(area, &self.desk));
        }
        self.follow();
        let mut effects = Vec::new();
        let mut cx = crate::state::Cx {
            state: &mut self.state,
            data: &self.desk as &dyn Data,
            effects: &mut effects,
            pinned: Vec::new(),
            started: None,
        };
        for reply in replies {
            cx.reply(reply);
        }
        self.perform(effects);
    }
}

/// The rows of each resource, with the columns the user has chosen for it by any of its names.
fn row_maker(columns: &BTreeMap<String, Vec<ColumnChoice>>) -> Arc<dyn Fn(&Resource) -> RowMaker + Send + Sync> {
    let columns: Vec<(String, Arc<[ColumnChoice]>)> = columns
        .iter()
        .map(|(kind, choices)| (kind.clone(), choices.clone().into()))
        .collect();
    Arc::new(move |resource| {
        let maker = kind::row_maker(resource);
        match columns.iter().find(|(name, _)| resource.is_called(name)) {
            Some((_, choices)) => maker.choosing(choices.clone()),
            None => maker,
        }
    })
}

/// What only the owner of the terminal can do.
pub trait Host<B: Backend> {
    /// Runs the user's editor on a text.
    fn edit(&mut self, terminal: &mut Terminal<B>, text: &str) -> impl Future<Output = Result<String>>;
    /// Runs a credential plugin on the terminal; what it has written to its standard output.
    ///
    /// # Errors
    ///
    /// When it cannot be run, or ends with another code than 0.
    fn login(&mut self, terminal: &mut Terminal<B>, plugin: &Plugin) -> Result<Vec<u8>>;
    /// Gives the terminal back, stops the program, and takes the terminal again when it is continued.
    fn suspend(&mut self, terminal: &mut Terminal<B>);
    /// Hands a text to the terminal's clipboard.
    fn clipboard(&mut self, text: &str);
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
