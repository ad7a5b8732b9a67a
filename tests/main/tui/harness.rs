//! [`Tui`]: a person at the keyboard.
//!
//! The application is the production one: its loop, its feeds, its sessions. Only the ends are others: keys come from a list, frames go
//! to a buffer, and the cluster is in memory behind an ordinary client. Time is tokio's paused time: it moves when nothing else can, so
//! a test that waits for a pod to start takes milliseconds and never sleeps.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use jiff::Timestamp;
use knarr::app::{App, Event, Host, Settings};
use knarr::cluster::{Plugin, Size, Source};
use knarr::error::Result;
use knarr::keys::{Chord, Keymap, parse_chords};
use knarr::theme::Theme;
use knarr::view::{Input, Mouse, MouseKind};
use knarr_clock::Clock;
use knarr_cluster::{Cluster, Options};
use ratatui::Terminal;
use ratatui::backend::{Backend, TestBackend};
use ratatui::style::Style;
use unicode_width::UnicodeWidthStr;

/// Virtual time between two looks at the screen.
const LOOK: Duration = Duration::from_millis(100);
/// Virtual time after which what has not happened does not happen.
const PATIENCE: Duration = Duration::from_secs(180);

/// What to start with. Everything else is as on a first run.
pub(crate) struct Setup {
    pub(crate) size: (u16, u16),
    pub(crate) theme: &'static str,
    pub(crate) keymap: &'static str,
    pub(crate) namespace: Option<Option<String>>,
    pub(crate) colour: bool,
    pub(crate) read_only: bool,
    pub(crate) protected: Vec<String>,
    pub(crate) state_dir: Option<std::path::PathBuf>,
    pub(crate) start: Option<String>,
    pub(crate) welcome: bool,
    pub(crate) aliases: Vec<(String, String)>,
    pub(crate) columns: std::collections::BTreeMap<String, Vec<knarr::config::ColumnChoice>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            size: (120, 40),
            theme: "dark",
            keymap: "default",
            namespace: None,
            colour: true,
            read_only: false,
            protected: Vec::new(),
            state_dir: None,
            start: None,
            welcome: false,
            aliases: Vec::new(),
            columns: Default::default(),
        }
    }
}

impl Setup {
    pub(crate) fn settings(self, source: Source, clock: Clock) -> Settings {
        Settings {
            source,
            namespace: self.namespace,
            read_only: self.read_only,
            protected: self.protected,
            contexts: std::collections::BTreeMap::new(),
            impersonate: (None, Vec::new()),
            start: self.start,
            theme: match (Theme::load(self.theme, None).expect("a theme"), self.colour) {
                (theme, true) => theme,
                (theme, false) => theme.without_colour(),
            },
            keymap: Keymap::load(self.keymap, None).expect("a keymap"),
            themes: None,
            keymaps: None,
            aliases: self.aliases,
            columns: self.columns,
            welcome: self.welcome,
            state_dir: self.state_dir,
            clock,
            simulate: true,
            logs: None,
        }
    }
}

/// The application at work, and everything a test looks at.
pub(crate) struct Tui {
    pub(crate) app: App,
    terminal: Terminal<TestBackend>,
    host: Desk,
    client: kube::Client,
    /// Screens seen so far, each once in a row; the last of them only.
    seen: VecDeque<String>,
    /// Keeps the cluster running.
    _cluster: Option<Cluster>,
}

/// The terminal's owner: remembers what was copied, and edits as it was told.
#[derive(Clone, Default)]
pub(crate) struct Desk {
    copied: Rc<RefCell<Vec<String>>>,
    edits: Rc<RefCell<VecDeque<Edit>>>,
}

/// What the editor makes of a text.
type Edit = fn(&str) -> String;

impl<B: Backend> Host<B> for Desk {
    async fn edit(&mut self, _terminal: &mut Terminal<B>, text: &str) -> Result<String> {
        let edit = self.edits.borrow_mut().pop_front();
        Ok(edit.map_or_else(|| text.to_owned(), |edit| edit(text)))
    }

    fn login(&mut self, _terminal: &mut Terminal<B>, _plugin: &Plugin) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn suspend(&mut self, _terminal: &mut Terminal<B>) {}

    fn clipboard(&mut self, text: &str) {
        self.copied.borrow_mut().push(text.to_owned());
    }
}

/// Events now, then nothing for a while, then the end: the loop returns, and the test looks.
struct Script {
    events: VecDeque<Event>,
    end: Pin<Box<tokio::time::Sleep>>,
}

impl Stream for Script {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        match self.events.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None => self.end.as_mut().poll(cx).map(|()| None),
        }
    }
}

/// A wall clock that moves with the timers.
pub(crate) fn clock() -> Clock {
    Clock::virtual_at(Timestamp::from_second(1_800_000_000).expect("a time"))
}

/// A client of a server that refuses every connection.
pub(crate) fn nobody() -> kube::Client {
    let refuse = |_: http::Request<kube::client::Body>| async {
        let refused: tower::BoxError = std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into();
        Err::<http::Response<kube::client::Body>, _>(refused)
    };
    kube::Client::new(tower::service_fn(refuse), "default")
}

impl Tui {
    /// On a cluster of its own, whose node is ready.
    pub(crate) async fn start(columns: u16, rows: u16) -> Self {
        Self::with(Setup {
            size: (columns, rows),
            ..Setup::default()
        })
        .await
    }

    /// On a cluster of its own, otherwise.
    pub(crate) async fn with(setup: Setup) -> Self {
        let clock = clock();
        let options = Options {
            clock: clock.clone(),
            ..Options::memory()
        };
        let cluster = Cluster::start(options).await.expect("a simulated cluster starts");
        cluster.ready().await.expect("its node becomes ready");
        let client = cluster.client();
        let mut tui = Self::on(client, clock, setup);
        tui._cluster = Some(cluster);
        tui.settle().await;
        tui
    }

    /// On the embedded cluster that the application starts itself, simulated; it is not waited for.
    pub(crate) fn embedded(setup: Setup) -> Self {
        let source = Source::Embedded {
            name: "default".into(),
            ephemeral: true,
            size: Size::default(),
        };
        Self::open(source, nobody(), clock(), setup)
    }

    /// On any server; it is not waited for.
    pub(crate) fn on(client: kube::Client, clock: Clock, setup: Setup) -> Self {
        let source = Source::Given {
            name: "rehearsal".into(),
            clients: vec![("rehearsal".to_owned(), client.clone())].into(),
        };
        Self::open(source, client, clock, setup)
    }

    /// On any source; `client` is for the test's own use.
    pub(crate) fn open(source: Source, client: kube::Client, clock: Clock, setup: Setup) -> Self {
        let (columns, rows) = setup.size;
        let app = App::new(setup.settings(source, clock));
        let terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a buffer");
        Self {
            app,
            terminal,
            host: Desk::default(),
            client,
            seen: VecDeque::new(),
            _cluster: None,
        }
    }

    /// The cluster, past the application: what somebody else does.
    pub(crate) fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Runs the application: these events, then this much virtual time.
    async fn drive(&mut self, events: impl IntoIterator<Item = Event>, span: Duration) {
        let events = events.into_iter().collect();
        let mut script = Script {
            events,
            end: Box::pin(tokio::time::sleep(span)),
        };
        self.app
            .run(&mut self.terminal, &mut script, self.host.clone())
            .await
            .expect("the loop ends well");
        self.app.draw(&mut self.terminal).expect("a buffer can be drawn to");
        let screen = self.screen();
        if self.seen.back() != Some(&screen) {
            self.seen.push_back(screen);
        }
        if self.seen.len() > 100 {
            self.seen.pop_front();
        }
    }

    /// Screens seen lately, oldest first.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.iter().cloned().collect()
    }

    /// Presses keys (`:pods<ret>j<C-d>`), each after the effects of the one before.
    pub(crate) async fn keys(&mut self, keys: &str) -> &mut Self {
        let chords = parse_chords(keys).expect("keys");
        self.chords(&chords).await
    }

    /// Presses keys, each after the effects of the one before.
    pub(crate) async fn chords(&mut self, chords: &[Chord]) -> &mut Self {
        for chord in chords {
            self.drive([Event::Input(Input::Key(*chord))], Duration::from_millis(20))
                .await;
            self.settle().await;
        }
        self
    }

    /// Presses keys faster than anything is drawn or answered.
    pub(crate) async fn burst(&mut self, keys: &str) -> &mut Self {
        let chords = parse_chords(keys).expect("keys");
        self.drive(chords.into_iter().map(|chord| Event::Input(Input::Key(chord))), LOOK)
            .await;
        self.settle().await;
        self
    }

    /// Presses keys one after another without waiting for what they lead to.
    pub(crate) async fn press(&mut self, keys: &str) -> &mut Self {
        for chord in parse_chords(keys).expect("keys") {
            self.drive([Event::Input(Input::Key(chord))], Duration::from_millis(20))
                .await;
        }
        self
    }

    /// Types text, as a paste.
    pub(crate) async fn paste(&mut self, text: &str) -> &mut Self {
        self.drive([Event::Input(Input::Paste(text.to_owned()))], Duration::from_millis(20))
            .await;
        self.settle().await;
        self
    }

    /// Clicks on the first place that shows `text`.
    pub(crate) async fn click(&mut self, text: &str) -> &mut Self {
        let (column, row) = self.find(text);
        let mouse = Mouse {
            column,
            row,
            kind: MouseKind::Click,
        };
        self.drive([Event::Input(Input::Mouse(mouse))], Duration::from_millis(20))
            .await;
        self.settle().await;
        self
    }

    /// Drags the mouse from a cell to another.
    pub(crate) async fn drag(&mut self, from: (u16, u16), to: (u16, u16)) -> &mut Self {
        let at = |(column, row), kind| Event::Input(Input::Mouse(Mouse { column, row, kind }));
        let events = [
            at(from, MouseKind::Click),
            at(to, MouseKind::Drag),
            at(to, MouseKind::Release),
        ];
        self.drive(events, LOOK).await;
        self.settle().await;
        self
    }

    /// Gives the terminal another size.
    pub(crate) async fn resize(&mut self, columns: u16, rows: u16) -> &mut Self {
        self.terminal.backend_mut().resize(columns, rows);
        self.drive([Event::Resized], LOOK).await;
        self
    }

    /// The next time an editor is opened, it does this.
    pub(crate) fn edits(&mut self, edit: fn(&str) -> String) -> &mut Self {
        self.host.edits.borrow_mut().push_back(edit);
        self
    }

    /// What was handed to the terminal's clipboard.
    pub(crate) fn copied(&self) -> Vec<String> {
        self.host.copied.borrow().clone()
    }

    /// Waits until nothing is under way. What never ends (a server that hangs) is given up on.
    pub(crate) async fn settle(&mut self) -> &mut Self {
        for _ in 0..100 {
            self.drive([], Duration::from_millis(20)).await;
            if self.app.is_settled() {
                break;
            }
        }
        self
    }

    /// Lets virtual time pass.
    pub(crate) async fn wait(&mut self, span: Duration) -> &mut Self {
        self.drive([], span).await;
        self
    }

    /// Waits until the screen shows `text`.
    pub(crate) async fn until(&mut self, text: &str) -> &mut Self {
        self.until_screen(&format!("{text:?} is shown"), |screen| screen.contains(text))
            .await
    }

    /// Waits until the screen does not show `text` any more.
    pub(crate) async fn until_gone(&mut self, text: &str) -> &mut Self {
        self.until_screen(&format!("{text:?} is gone"), |screen| !screen.contains(text))
            .await
    }

    /// Waits until a line of the screen shows all of `words`.
    pub(crate) async fn until_line(&mut self, words: &[&str]) -> &mut Self {
        let shown = |screen: &str| screen.lines().any(|line| words.iter().all(|word| line.contains(word)));
        self.until_screen(&format!("a line has {words:?}"), shown).await
    }

    /// Waits until the screen is as wanted.
    pub(crate) async fn until_screen(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> &mut Self {
        let start = tokio::time::Instant::now();
        self.drive([], Duration::from_millis(20)).await;
        while !wanted(&self.screen()) {
            assert!(
                start.elapsed() < PATIENCE,
                "it never came true that {what}; the screen is\n{}",
                self.screen()
            );
            self.drive([], LOOK).await;
        }
        self
    }

    /// The screen as text, without spaces at the ends of lines.
    pub(crate) fn screen(&self) -> String {
        let buffer = self.terminal.backend().buffer();
        let mut out = String::new();
        for y in 0..buffer.area.height {
            let mut line = String::new();
            let mut x = 0;
            while x < buffer.area.width {
                let symbol = buffer[(x, y)].symbol();
                line.push_str(symbol);
                x += symbol.width().max(1) as u16;
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    /// One line of the screen, counted from the top, or from the bottom when negative.
    pub(crate) fn line(&self, at: i32) -> String {
        let screen = self.screen();
        let lines: Vec<&str> = screen.lines().collect();
        let at = if at < 0 {
            lines.len().checked_sub(at.unsigned_abs() as usize)
        } else {
            usize::try_from(at).ok()
        };
        at.and_then(|at| lines.get(at))
            .map_or_else(String::new, |line| (*line).to_owned())
    }

    /// The line with the cursor's bar: what the cursor is on.
    pub(crate) fn cursor_line(&self) -> String {
        self.cursor_row().map_or_else(String::new, |row| self.line(row))
    }

    /// The number of that line.
    pub(crate) fn cursor_row(&self) -> Option<i32> {
        let sign = Theme::load("dark", None).expect("a theme").signs.cursor;
        let row = self.screen().lines().position(|line| line.starts_with(sign))?;
        i32::try_from(row).ok()
    }

    /// Column and row of the first place that shows `text`.
    pub(crate) fn find(&self, text: &str) -> (u16, u16) {
        let screen = self.screen();
        let place = screen.lines().enumerate().find_map(|(row, line)| {
            let at = line.find(text)?;
            Some((line[..at].width() as u16, row as u16))
        });
        place.unwrap_or_else(|| panic!("{text:?} is not on the screen\n{screen}"))
    }

    /// How the first letter of the first `text` on the screen is drawn.
    pub(crate) fn style(&self, text: &str) -> Style {
        let place = self.find(text);
        self.terminal.backend().buffer()[place].style()
    }

    /// The colours on the screen, each once.
    pub(crate) fn colours(&self) -> Vec<ratatui::style::Color> {
        let mut all = Vec::new();
        for cell in self.terminal.backend().buffer().content() {
            for colour in [cell.fg, cell.bg] {
                if !all.contains(&colour) {
                    all.push(colour);
                }
            }
        }
        all
    }

    /// Every cell's text, for what must never be in one.
    pub(crate) fn symbols(&self) -> Vec<String> {
        self.terminal
            .backend()
            .buffer()
            .content()
            .iter()
            .map(|cell| cell.symbol().to_owned())
            .collect()
    }

    /// Whether the user has left.
    pub(crate) fn has_quit(&self) -> bool {
        self.app.state().quit
    }

    /// Asserts that the screen shows all of these.
    pub(crate) fn shows(&self, texts: &[&str]) -> &Self {
        let screen = self.screen();
        for text in texts {
            assert!(screen.contains(text), "{text:?} is not on the screen\n{screen}");
        }
        self
    }

    /// Asserts that the screen shows none of these.
    pub(crate) fn hides(&self, texts: &[&str]) -> &Self {
        let screen = self.screen();
        for text in texts {
            assert!(!screen.contains(text), "{text:?} is on the screen\n{screen}");
        }
        self
    }
}
