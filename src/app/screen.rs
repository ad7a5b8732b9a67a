//! The terminal: taken once, given back whatever happens.

use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{cursor, execute};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

/// Whether the terminal is ours now: the panic hook must know, and it has no other way to.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether the terminal is lent to another program: its signals are that program's.
static LENT: AtomicBool = AtomicBool::new(false);

/// Whether the terminal is lent to another program. An interrupt from the keyboard is meant for that one.
pub fn is_lent() -> bool {
    LENT.load(Ordering::SeqCst)
}

/// Holds the terminal; dropping it gives it back.
pub struct Screen {
    /// What is drawn to. It is never dropped: it would say on standard error that the cursor cannot be shown, and panic when the
    /// terminal that this goes to is lost.
    pub terminal: ManuallyDrop<Terminal<CrosstermBackend<io::Stdout>>>,
}

impl Screen {
    /// Takes the terminal: raw mode, alternate screen, mouse, bracketed paste.
    pub fn take() -> io::Result<Self> {
        take()?;
        Ok(Self {
            terminal: ManuallyDrop::new(Terminal::new(CrosstermBackend::new(io::stdout()))?),
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Lends the terminal to another program while `run` runs; the screen must be drawn anew afterwards.
pub fn lend<T>(run: impl FnOnce() -> T) -> io::Result<T> {
    give_back();
    LENT.store(true, Ordering::SeqCst);
    let result = run();
    LENT.store(false, Ordering::SeqCst);
    take()?;
    Ok(result)
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    execute!(
        io::stdout(),
        EnterAlternateScreen,
        EnableMouseCapture,
        EnableBracketedPaste,
        cursor::Hide
    )
}

/// Gives the terminal back if it is taken. Safe to call at any time, from any thread, more than once.
pub fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Nothing can be done about a terminal that is gone.
        let _ = execute!(
            io::stdout(),
            DisableBracketedPaste,
            DisableMouseCapture,
            LeaveAlternateScreen,
            cursor::Show
        );
        let _ = disable_raw_mode();
        let _ = io::stdout().flush();
    }
}

/// Restores the terminal before a panic on the main thread is reported. A panic in a task is the task's alone: it is logged, the
/// screen stays.
pub fn install_panic_hook() {
    let main = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!("{panic}");
        if std::thread::current().id() == main {
            give_back();
            before(panic);
        } else if !TAKEN.load(Ordering::SeqCst) {
            before(panic);
        }
    }));
}
