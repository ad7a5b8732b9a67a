//! [`Terminal`]: the program on a pseudo-terminal, its output read by an emulator.
//!
//! Nothing sleeps: a reader thread feeds the emulator, and whoever waits for the screen is woken by it. The bound on waiting only ever
//! fails a test.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyModifiers};
use knarr::keys::{Chord, parse_chords};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use pty_process::Size;
use pty_process::blocking::{Command, Pts, Pty, open};
use tempfile::TempDir;

/// Longer than anything takes, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Directories of a user who has never run the program.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file and gives its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    }

    /// The variables that keep the program inside this home.
    pub(crate) fn variables(&self) -> [(&'static str, PathBuf); 5] {
        let path = |name: &str| self.0.path().join(name);
        [
            ("HOME", path("")),
            ("KNARR_CONFIG_DIR", path("config")),
            ("KNARR_STATE_DIR", path("state")),
            ("KNARR_DATA_DIR", path("data")),
            ("KUBECONFIG", path("kubeconfig-that-is-not-there")),
        ]
    }
}

struct Screen {
    parser: vt100::Parser,
    /// Whether the program has closed the terminal.
    closed: bool,
}

/// A program on a terminal.
pub(crate) struct Terminal {
    pty: Arc<Pty>,
    /// Held so that the terminal's modes can be looked at when the program is gone.
    pts: Option<Pts>,
    pid: Pid,
    exit: Receiver<ExitStatus>,
    status: Option<ExitStatus>,
    screen: Arc<(Mutex<Screen>, Condvar)>,
    reader: Option<JoinHandle<()>>,
    pub(crate) home: Home,
}

impl Terminal {
    /// Runs `knarr` with these arguments in a fresh home.
    pub(crate) fn knarr(arguments: &[&str]) -> Self {
        Self::knarr_in(Home::new(), arguments)
    }

    /// Runs `knarr` in this home.
    pub(crate) fn knarr_in(home: Home, arguments: &[&str]) -> Self {
        Self::knarr_sized(home, arguments, (100, 30))
    }

    /// Runs `knarr` in this home on a terminal of this size, columns and rows.
    pub(crate) fn knarr_sized(home: Home, arguments: &[&str], size: (u16, u16)) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_knarr")).args(arguments);
        Self::run(command, home, size)
    }

    /// Runs any program.
    pub(crate) fn run(command: Command, home: Home, (columns, rows): (u16, u16)) -> Self {
        let (pty, pts) = open().expect("a pseudo-terminal");
        pty.resize(Size::new(rows, columns)).expect("resized");
        let child = prepared(command, &home)
            .spawn_borrowed(&pts)
            .expect("the program starts");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process ID"));
        let pty = Arc::new(pty);
        let screen = Arc::new((
            Mutex::new(Screen {
                parser: vt100::Parser::new(cells(rows), cells(columns), 0),
                closed: false,
            }),
            Condvar::new(),
        ));
        let reader = std::thread::spawn({
            let (pty, screen) = (pty.clone(), screen.clone());
            move || read(&pty, &screen)
        });
        Self {
            pty,
            pts: Some(pts),
            pid,
            exit: waiting(child),
            status: None,
            screen,
            reader: Some(reader),
            home,
        }
    }

    /// Runs `knarr` on a terminal that is closed as soon as it says that a cluster is being started; how it ends.
    pub(crate) fn lost(arguments: &[&str]) -> ExitStatus {
        let home = Home::new();
        let (mut pty, pts) = open().expect("a pseudo-terminal");
        pty.resize(Size::new(30, 100)).expect("resized");
        let command = Command::new(env!("CARGO_BIN_EXE_knarr")).args(arguments);
        let exit = waiting(prepared(command, &home).spawn(pts).expect("the program starts"));
        let (mut drawn, mut buffer) = (Vec::new(), [0; 4096]);
        while !drawn.windows(8).any(|word| word == b"starting") {
            let read = pty.read(&mut buffer).expect("it draws");
            drawn.extend_from_slice(&buffer[..read]);
        }
        drop(pty);
        exit.recv_timeout(PATIENCE).expect("it ends with its terminal")
    }

    /// Presses keys (`:pods<ret>`). Escape must come last: what follows it in the same breath would be a key with Alt.
    pub(crate) fn keys(&self, keys: &str) -> &Self {
        let chords = parse_chords(keys).expect("keys");
        let bytes: Vec<u8> = chords.iter().flat_map(|chord| encode(*chord)).collect();
        self.bytes(&bytes)
    }

    /// Sends bytes as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> &Self {
        (&*self.pty).write_all(bytes).expect("the terminal takes keys");
        self
    }

    /// Gives the terminal another size.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> &Self {
        let (screen, _) = &*self.screen;
        screen
            .lock()
            .expect("no panic")
            .parser
            .screen_mut()
            .set_size(cells(rows), cells(columns));
        self.pty.resize(Size::new(rows, columns)).expect("resized");
        self
    }

    /// Sends the program a signal.
    pub(crate) fn signal(&self, signal: Signal) -> &Self {
        kill(self.pid, signal).expect("the program is there");
        self
    }

    /// Waits until the program is stopped, as job control stops it.
    pub(crate) fn until_stopped(&self) -> &Self {
        let path = format!("/proc/{}/stat", self.pid);
        let deadline = Instant::now() + PATIENCE;
        // The state follows the name, which stands in parentheses.
        let is_stopped = |stat: &str| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
        while !std::fs::read_to_string(&path).is_ok_and(|stat| is_stopped(&stat)) {
            assert!(Instant::now() < deadline, "the program never stopped");
            std::thread::yield_now();
        }
        self
    }

    /// What the screen shows.
    pub(crate) fn text(&self) -> String {
        self.look(|screen| screen.contents())
    }

    fn look<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        let (screen, _) = &*self.screen;
        look(screen.lock().expect("no panic").parser.screen())
    }

    /// Waits until the screen shows `text`.
    pub(crate) fn until(&self, text: &str) -> &Self {
        self.until_screen(&format!("{text:?} is shown"), |screen| screen.contains(text))
    }

    /// Waits until the screen does not show `text`.
    pub(crate) fn until_gone(&self, text: &str) -> &Self {
        self.until_screen(&format!("{text:?} is gone"), |screen| !screen.contains(text))
    }

    /// Waits until a line shows all of `words`.
    pub(crate) fn until_line(&self, words: &[&str]) -> &Self {
        let shown = |screen: &str| screen.lines().any(|line| words.iter().all(|word| line.contains(word)));
        self.until_screen(&format!("a line has {words:?}"), shown)
    }

    /// Waits until the screen is as wanted.
    pub(crate) fn until_screen(&self, what: &str, wanted: impl Fn(&str) -> bool) -> &Self {
        let (screen, changed) = &*self.screen;
        let deadline = Instant::now() + PATIENCE;
        let mut guard = screen.lock().expect("no panic");
        loop {
            let text = guard.parser.screen().contents();
            if wanted(&text) {
                return self;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !guard.closed && !left.is_zero(),
                "it never came true that {what}; the screen is\n{text}"
            );
            (guard, _) = changed.wait_timeout(guard, left).expect("no panic");
        }
    }

    /// Waits until the program has ended.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let status = self.exit.recv_timeout(PATIENCE);
        let status = status.unwrap_or_else(|_| panic!("the program does not end; the screen is\n{}", self.text()));
        self.status = Some(status);
        status
    }

    /// Asserts that the ended program has left the terminal as it was; gives what it printed there.
    pub(crate) fn assert_restored(&mut self) -> String {
        assert!(self.status.is_some(), "the program has ended");
        let pts = self.pts.take().expect("looked at once");
        let modes = tcgetattr(&pts).expect("the terminal has modes").local_flags;
        for flag in [LocalFlags::ECHO, LocalFlags::ICANON, LocalFlags::ISIG] {
            assert!(modes.contains(flag), "{flag:?} is on again");
        }
        // The last slave closes: the reader sees the end of the output.
        drop(pts);
        self.reader
            .take()
            .expect("joined once")
            .join()
            .expect("the reader ends well");
        self.look(|screen| {
            assert!(!screen.alternate_screen(), "the alternate screen is left");
            assert!(!screen.hide_cursor(), "the cursor is shown");
            assert!(!screen.bracketed_paste(), "pastes are plain");
            assert_eq!(
                screen.mouse_protocol_mode(),
                vt100::MouseProtocolMode::None,
                "the mouse is the terminal's"
            );
            screen.contents()
        })
    }
}

/// A program in this home, on a terminal of a common kind.
fn prepared(command: Command, home: &Home) -> Command {
    command
        .envs(home.variables())
        .env("TERM", "xterm-256color")
        // Nobody is there to answer which ground it has.
        .env("COLORFGBG", "15;0")
        .env("RUST_BACKTRACE", "0")
        .env_remove("NO_COLOR")
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .current_dir(home.path())
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Until its exit is collected the number names the program and nothing else.
        if self.status.is_none() && self.exit.try_recv().is_err() {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = self.exit.recv_timeout(PATIENCE);
        }
        self.pts = None;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("a terminal has a size")
}

fn waiting(mut child: Child) -> Receiver<ExitStatus> {
    let (sender, exit) = channel();
    std::thread::spawn(move || {
        if let Ok(status) = child.wait() {
            let _ = sender.send(status);
        }
    });
    exit
}

fn read(pty: &Pty, screen: &(Mutex<Screen>, Condvar)) {
    let (screen, changed) = screen;
    let mut buffer = [0; 16 * 1024];
    loop {
        // A terminal whose program is gone answers with an error.
        let read = { pty }.read(&mut buffer).unwrap_or(0);
        let Ok(mut screen) = screen.lock() else { return };
        screen.closed = read == 0;
        screen.parser.process(&buffer[..read]);
        drop(screen);
        changed.notify_all();
        if read == 0 {
            return;
        }
    }
}

/// What a terminal sends for a key.
fn encode(chord: Chord) -> Vec<u8> {
    match chord.code {
        KeyCode::Char(ch) if chord.modifiers.contains(KeyModifiers::CONTROL) => vec![ch as u8 & 0x1f],
        KeyCode::Char(ch) => ch.to_string().into_bytes(),
        KeyCode::Enter => vec![b'\r'],
        KeyCode::Tab => vec![b'\t'],
        KeyCode::Esc => vec![0x1b],
        KeyCode::Down => b"\x1b[B".to_vec(),
        KeyCode::Up => b"\x1b[A".to_vec(),
        other => panic!("{other:?} is not sent here"),
    }
}
