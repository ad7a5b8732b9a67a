//! Starting the workstation.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::pin::Pin;
use std::process::{ExitCode, Stdio};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use crossterm::event::{Event as TerminalEvent, EventStream, KeyEventKind, MouseButton, MouseEventKind};
use crossterm::execute;
use crossterm::terminal::{Clear, ClearType};
use futures::StreamExt;
use knarr::action;
use knarr::app::{App, Event, Host, Screen, Settings, install_panic_hook};
use knarr::cluster::{ComponentLogs, Plugin};
use knarr::config::{Config, Paths};
use knarr::error::{Error, ErrorKind, Result};
use knarr::keys::{Chord, Keymap};
use knarr::theme::Theme;
use knarr::view::{Input, Mouse, MouseKind};
use knarr_clock::Clock;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use super::{Flags, ground};

/// Runs the workstation until the user leaves.
pub(super) fn run(flags: &Flags, start: Option<String>) -> Result<ExitCode> {
    let paths = Paths::find();
    let settings = settings(flags, &paths, start)?;
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Error::new(ErrorKind::Usage, "knarr needs a terminal")
            .hint("`knarr cluster start` runs a cluster without one"));
    }
    log_to(&paths, settings.logs.as_ref());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .thread_name("knarr-worker")
        .build()
        .map_err(|error| Error::new(ErrorKind::Other, "cannot start worker threads").because(&error))?;
    install_panic_hook();
    let done = runtime.block_on(workstation(settings));
    // Tasks that still wait on a slow server must not keep the user.
    runtime.shutdown_timeout(Duration::from_millis(300));
    done.map(|()| ExitCode::SUCCESS)
}

async fn workstation(settings: Settings) -> Result<()> {
    let failed = |error: &std::io::Error| Error::new(ErrorKind::Other, "cannot use the terminal").because(error);
    let mut app = App::new(settings);
    signals(&app);
    let mut screen = Screen::take().map_err(|error| failed(&error))?;
    let reader: Reader = Rc::new(RefCell::new(Some(EventStream::new())));
    let mut input = Keys { reader: reader.clone() };
    let result = app.run(&mut screen.terminal, &mut input, TerminalHost { reader }).await;
    drop(screen);
    app.stop().await;
    result
}

/// The terminal's events, shared with the host: while the user's editor has the terminal nobody else may read it, or the
/// editor would lose keys.
type Reader = Rc<RefCell<Option<EventStream>>>;

/// The terminal's events as the application's.
struct Keys {
    reader: Reader,
}

impl futures::Stream for Keys {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut reader = self.reader.borrow_mut();
        loop {
            // Without a reader the terminal is lent; the loop asks again when it is back.
            let Some(stream) = reader.as_mut() else {
                return Poll::Pending;
            };
            match stream.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(event))) => {
                    if let Some(event) = translate(event) {
                        return Poll::Ready(Some(event));
                    }
                }
                // A terminal that is gone ends the program.
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

fn translate(event: TerminalEvent) -> Option<Event> {
    match event {
        TerminalEvent::Key(key) if key.kind != KeyEventKind::Release => {
            Some(Event::Input(Input::Key(Chord::from(key))))
        }
        TerminalEvent::Paste(text) => Some(Event::Input(Input::Paste(text))),
        TerminalEvent::Resize(..) => Some(Event::Resized),
        TerminalEvent::Mouse(mouse) => {
            let kind = match mouse.kind {
                MouseEventKind::Down(MouseButton::Left) => MouseKind::Click,
                MouseEventKind::Drag(MouseButton::Left) => MouseKind::Drag,
                MouseEventKind::Up(MouseButton::Left) => MouseKind::Release,
                MouseEventKind::ScrollUp => MouseKind::WheelUp,
                MouseEventKind::ScrollDown => MouseKind::WheelDown,
                _ => return None,
            };
            Some(Event::Input(Input::Mouse(Mouse {
                column: mouse.column,
                row: mouse.row,
                kind,
            })))
        }
        _ => None,
    }
}

/// What only the owner of a real terminal can do.
struct TerminalHost {
    reader: Reader,
}

impl TerminalHost {
    /// Runs something with the terminal out of the way.
    fn lend<W: Write, T>(
        &self,
        terminal: &mut Terminal<CrosstermBackend<W>>,
        run: impl FnOnce() -> T,
    ) -> std::io::Result<T> {
        drop(self.reader.borrow_mut().take());
        // The reader's thread may still be at the terminal, and would take the other program's first keys: whoever asks waits for it.
        let _ = crossterm::event::poll(Duration::from_millis(50));
        let done = knarr::app::lend(run);
        // The screen is drawn anew on a blank one. Asking the terminal for anything here would race with the reader.
        let _ = execute!(std::io::stdout(), Clear(ClearType::All));
        terminal.swap_buffers();
        *self.reader.borrow_mut() = Some(EventStream::new());
        done
    }
}

impl<W: Write> Host<CrosstermBackend<W>> for TerminalHost {
    async fn edit(&mut self, terminal: &mut Terminal<CrosstermBackend<W>>, text: &str) -> Result<String> {
        let failed = |what: &str, error: &std::io::Error| Error::new(ErrorKind::Other, what.to_owned()).because(error);
        let file = tempfile::Builder::new()
            .prefix("knarr-")
            .suffix(".yaml")
            .tempfile()
            .map_err(|error| failed("cannot make a file for the editor", &error))?;
        std::fs::write(file.path(), text).map_err(|error| failed("cannot write the file for the editor", &error))?;
        let editor = ["KUBE_EDITOR", "VISUAL", "EDITOR"]
            .iter()
            .find_map(|name| std::env::var(name).ok());
        let editor = editor
            .filter(|editor| !editor.trim().is_empty())
            .unwrap_or_else(|| "vi".into());
        let words = knarr::keys::Line::parse(&editor)?;
        let status = self.lend(terminal, || {
            std::process::Command::new(&words.name)
                .args(&words.args)
                .arg(file.path())
                .stdin(Stdio::inherit())
                .status()
        });
        let status = status.and_then(|status| status).map_err(|error| {
            failed(&format!("cannot run the editor {editor:?}"), &error).hint("name yours in the variable EDITOR")
        })?;
        if !status.success() {
            return Ok(text.to_owned());
        }
        std::fs::read_to_string(file.path()).map_err(|error| {
            let error = failed("cannot read what the editor wrote", &error);
            match file.keep() {
                Ok((_, path)) => error.hint(format!("it is kept at {}", path.display())),
                Err(_) => error,
            }
        })
    }

    fn login(&mut self, terminal: &mut Terminal<CrosstermBackend<W>>, plugin: &Plugin) -> Result<Vec<u8>> {
        let failed = || Error::new(ErrorKind::Unauthenticated, "the credential plugin failed");
        let output = self.lend(terminal, || plugin.command().output());
        let output = output
            .and_then(|output| output)
            .map_err(|error| failed().because(&error))?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(failed().hint(output.status.to_string())),
        }
    }

    fn suspend(&mut self, terminal: &mut Terminal<CrosstermBackend<W>>) {
        // Stopped here, continued here.
        if let Err(error) = self.lend(terminal, || nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP)) {
            tracing::warn!(%error, "cannot take the terminal again");
        }
    }

    fn clipboard(&mut self, text: &str) {
        // OSC 52: the terminal, wherever it runs, puts the text on its own clipboard.
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        let mut out = std::io::stdout();
        let _ = write!(out, "\x1b]52;c;{encoded}\x07").and_then(|()| out.flush());
    }
}

fn settings(flags: &Flags, paths: &Paths, start: Option<String>) -> Result<Settings> {
    let config = Config::load(paths)?;
    let (themes, keymaps) = (paths.config.join("themes"), paths.config.join("keymaps"));
    let chosen = flags.theme.as_deref().or(config.theme.as_deref());
    let theme = chosen.unwrap_or_else(|| if ground::is_light() { "light" } else { "dark" });
    let mut theme = Theme::load(theme, Some(&themes))?;
    if !shows_all_colours() {
        theme = theme.indexed();
    }
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        theme = theme.without_colour();
    }
    if flags.ascii || config.ascii {
        theme = theme.ascii();
    }
    let name = flags.keymap.as_deref().unwrap_or(&config.keymap);
    let keymap = Keymap::load(name, Some(&keymaps))?;
    let unknown = action::unknown_bindings(&keymap);
    if !unknown.is_empty() {
        return Err(Error::new(
            ErrorKind::Config,
            format!("keymap {name:?} binds commands that do not exist"),
        )
        .hint(unknown.join(", ")));
    }
    let place = &flags.place;
    let namespace = match (&place.namespace, place.all_namespaces) {
        (_, true) => Some(None),
        (Some(namespace), _) => Some(Some(namespace.clone())),
        (None, false) => None,
    };
    Ok(Settings {
        aliases: config.aliases.into_iter().collect(),
        columns: config.columns,
        welcome: !paths.state.join("welcomed").exists(),
        source: place.source(),
        namespace,
        read_only: flags.read_only || config.read_only,
        protected: config.protected,
        contexts: config.contexts,
        impersonate: (place.as_user.clone(), place.as_group.clone()),
        start,
        theme,
        keymap,
        themes: Some(themes),
        keymaps: Some(keymaps),
        state_dir: Some(paths.state.clone()),
        logs: Some(ComponentLogs::new(Clock::system())),
        clock: Clock::system(),
        simulate: false,
    })
}

/// Whether the terminal says that it shows 24-bit colours; what does not say so has at least 256.
fn shows_all_colours() -> bool {
    let is = |name: &str, wanted: &[&str]| {
        let value = std::env::var(name).unwrap_or_default();
        wanted.iter().any(|wanted| value.contains(wanted))
    };
    is("COLORTERM", &["truecolor", "24bit"]) || is("TERM", &["-direct", "kitty", "alacritty", "foot", "ghostty"])
}

/// SIGTERM, SIGHUP and SIGQUIT end the program as `:quit` does: the terminal is given back, the embedded cluster stops in good order.
fn signals(app: &App) {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = SignalKind::from_raw(nix::libc::SIGTSTP);
    for kind in [
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        stop,
    ] {
        let sender = app.sender();
        if let Ok(mut signals) = signal(kind) {
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    // From the keyboard they go to all programs on the terminal; while it is lent they are meant for the other one.
                    let keyboard = kind == SignalKind::interrupt() || kind == SignalKind::quit() || kind == stop;
                    if keyboard && knarr::app::is_lent() {
                        continue;
                    }
                    let event = if kind == stop { Event::Suspend } else { Event::Terminate };
                    let _ = sender.send(event);
                }
            });
        }
    }
}

/// The log goes to a file: the screen is the application's. `KNARR_LOG` sets the level. What the embedded control plane traces is
/// also the log of its pods.
fn log_to(paths: &Paths, components: Option<&ComponentLogs>) {
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    use tracing_subscriber::{EnvFilter, Layer};
    let opened = std::fs::create_dir_all(&paths.state)
        .and_then(|()| std::fs::OpenOptions::new().create(true).append(true).open(paths.log()));
    let file = opened.ok().map(|file| {
        let filter = EnvFilter::try_from_env("KNARR_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
        tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(std::sync::Mutex::new(file))
            .with_filter(filter)
    });
    let components = components.map(|logs| logs.layer().with_filter(EnvFilter::new("info")));
    let _ = tracing_subscriber::registry().with(file).with(components).try_init();
}
