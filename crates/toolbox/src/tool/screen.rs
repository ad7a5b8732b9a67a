//! Programs that fill the terminal: entering and leaving it, reading keys; `clear` and `reset`.

use nix::sys::termios::{self, SetArg, Termios};

use crate::say::out;

pub(crate) fn clear(_: &[String]) -> i32 {
    out("\x1b[H\x1b[2J\x1b[3J");
    0
}

pub(crate) fn reset(_: &[String]) -> i32 {
    if let Ok(mut modes) = termios::tcgetattr(crate::sys::borrow(0)) {
        use termios::{InputFlags, LocalFlags, OutputFlags};
        modes
            .local_flags
            .insert(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ECHOE | LocalFlags::ISIG | LocalFlags::IEXTEN);
        modes.input_flags.insert(InputFlags::ICRNL | InputFlags::IXON);
        modes.output_flags.insert(OutputFlags::OPOST | OutputFlags::ONLCR);
        let _ = termios::tcsetattr(crate::sys::borrow(0), SetArg::TCSANOW, &modes);
    }
    out("\x1bc\x1b[0m\x1b[?25h\x1b[J");
    0
}

/// The terminal while a full-screen program has it; put back when dropped.
pub(crate) struct Screen {
    before: Termios,
    input: i32,
    /// A byte that was read too far: what follows a lone Escape in one burst.
    ahead: std::cell::Cell<Option<u8>>,
}

impl Screen {
    /// Takes the terminal on `input`. `None` when that is none.
    pub(crate) fn enter(input: i32) -> Option<Self> {
        let before = termios::tcgetattr(crate::sys::borrow(input)).ok()?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(crate::sys::borrow(input), SetArg::TCSADRAIN, &raw).ok()?;
        // A resize must wake the wait for a key.
        crate::sys::on_signal(28, crate::sys::Disposition::Note);
        for signal in [1, 15] {
            crate::sys::on_signal(signal, crate::sys::Disposition::Note);
        }
        out("\x1b[?1049h\x1b[H\x1b[2J");
        Some(Self {
            before,
            input,
            ahead: std::cell::Cell::new(None),
        })
    }

    /// (columns, rows)
    pub(crate) fn size() -> (usize, usize) {
        let (columns, rows) = crate::sys::window(1)
            .or_else(|| crate::sys::window(2))
            .unwrap_or((80, 24));
        (usize::from(columns.max(1)), usize::from(rows.max(1)))
    }

    /// The next key, waiting at most `millis` (-1: for ever).
    pub(crate) fn key(&self, millis: i32) -> Key {
        let ahead = self.ahead.get().is_some();
        if !ahead && !crate::sys::readable(self.input, millis) {
            let arrived = crate::sys::take_pending();
            return if arrived & (1 << 1 | 1 << 15) != 0 {
                Key::Closed
            } else if arrived & (1 << 28) != 0 {
                Key::Resized
            } else {
                Key::None
            };
        }
        let Some(first) = self.byte() else { return Key::Closed };
        match first {
            27 => self.escape(),
            b'\r' | b'\n' => Key::Enter,
            8 | 127 => Key::Backspace,
            1..=26 => Key::Control(char::from(first + 96)),
            0..=127 => Key::Char(char::from(first)),
            _ => {
                let mut bytes = vec![first];
                for _ in 0..(first.leading_ones().clamp(2, 4) - 1) {
                    bytes.extend(self.byte());
                }
                std::str::from_utf8(&bytes)
                    .ok()
                    .and_then(|s| s.chars().next())
                    .map_or(Key::None, Key::Char)
            }
        }
    }

    fn byte(&self) -> Option<u8> {
        if let Some(byte) = self.ahead.take() {
            return Some(byte);
        }
        let mut buffer = [0];
        loop {
            match crate::sys::read(self.input, &mut buffer) {
                Ok(0) => return None,
                Ok(_) => return Some(buffer[0]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    fn escape(&self) -> Key {
        // A lone Escape is followed by nothing; a sequence follows at once.
        if !crate::sys::readable(self.input, 40) {
            return Key::Escape;
        }
        match self.byte() {
            Some(b'[' | b'O') => {}
            Some(other) => {
                self.ahead.set(Some(other));
                return Key::Escape;
            }
            None => return Key::Closed,
        }
        let mut parameters = String::new();
        loop {
            let Some(c) = self.byte() else { return Key::Closed };
            return match c {
                b'0'..=b'9' | b';' | b'?' if parameters.len() < 16 => {
                    parameters.push(char::from(c));
                    continue;
                }
                b'A' => Key::Up,
                b'B' => Key::Down,
                b'C' => Key::Right,
                b'D' => Key::Left,
                b'H' => Key::Home,
                b'F' => Key::End,
                b'~' => match parameters.as_str() {
                    "1" | "7" => Key::Home,
                    "4" | "8" => Key::End,
                    "3" => Key::Delete,
                    "5" => Key::PageUp,
                    "6" => Key::PageDown,
                    _ => Key::None,
                },
                _ => Key::None,
            };
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        out("\x1b[0m\x1b[?25h\x1b[?1049l");
        let _ = termios::tcsetattr(crate::sys::borrow(self.input), SetArg::TCSADRAIN, &self.before);
    }
}

/// A key, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Char(char),
    Control(char),
    Enter,
    Escape,
    Backspace,
    Delete,
    Up,
    Down,
    Left,
    Right,
    Home,
    End,
    PageUp,
    PageDown,
    Resized,
    /// Nothing in time, or nothing that is known.
    None,
    /// The terminal is gone, or a signal asks to stop.
    Closed,
}
