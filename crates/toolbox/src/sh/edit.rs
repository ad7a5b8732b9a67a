//! The line editor of the interactive shell.

use nix::sys::termios::{self, InputFlags, LocalFlags, SetArg, Termios};
use unicode_width::UnicodeWidthChar;

/// How reading a line ended.
pub(super) enum Line {
    Text(String),
    /// Ctrl-C: drop what was typed.
    Interrupted,
    /// Ctrl-D on an empty line, or the terminal is gone.
    End,
}

/// Completion of the word before the cursor: where it begins, and what it could become.
pub(super) type Complete<'a> = &'a dyn Fn(&str) -> (usize, Vec<String>);

/// Raw mode for as long as it lives: keys arrive one by one, output is processed as usual.
struct Raw(Termios);

impl Raw {
    fn enter() -> Option<Self> {
        let before = termios::tcgetattr(crate::sys::borrow(0)).ok()?;
        let mut raw = before.clone();
        raw.local_flags
            .remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG | LocalFlags::IEXTEN);
        raw.input_flags
            .remove(InputFlags::ICRNL | InputFlags::INLCR | InputFlags::IXON);
        raw.control_chars[termios::SpecialCharacterIndices::VMIN as usize] = 1;
        raw.control_chars[termios::SpecialCharacterIndices::VTIME as usize] = 0;
        termios::tcsetattr(crate::sys::borrow(0), SetArg::TCSADRAIN, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(crate::sys::borrow(0), SetArg::TCSADRAIN, &self.0);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Char(char),
    Control(u8),
    Up,
    Down,
    Left,
    Right,
    Home,
    End,
    Delete,
    WordLeft,
    WordRight,
    DeleteWord,
    Ignored,
    Closed,
}

fn byte() -> Option<u8> {
    let mut buffer = [0];
    loop {
        match crate::sys::read(0, &mut buffer) {
            Ok(0) => return None,
            Ok(_) => return Some(buffer[0]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

fn key() -> Key {
    let Some(first) = byte() else { return Key::Closed };
    match first {
        27 => escape(),
        0..=31 | 127 => Key::Control(first),
        0..=127 => Key::Char(char::from(first)),
        _ => {
            let more = first.leading_ones().clamp(2, 4) as usize - 1;
            let mut bytes = vec![first];
            for _ in 0..more {
                bytes.extend(byte());
            }
            std::str::from_utf8(&bytes)
                .ok()
                .and_then(|s| s.chars().next())
                .map_or(Key::Ignored, Key::Char)
        }
    }
}

fn escape() -> Key {
    if !crate::sys::readable(0, 50) {
        return Key::Ignored;
    }
    match byte() {
        Some(b'[' | b'O') => {}
        Some(b'b') => return Key::WordLeft,
        Some(b'f') => return Key::WordRight,
        Some(b'd') => return Key::DeleteWord,
        Some(127 | 8) => return Key::Control(23),
        _ => return Key::Ignored,
    }
    let mut parameters = String::new();
    loop {
        let Some(c) = byte() else { return Key::Closed };
        match c {
            b'0'..=b'9' | b';' | b'?' if parameters.len() < 16 => parameters.push(char::from(c)),
            b'A' => return Key::Up,
            b'B' => return Key::Down,
            b'C' if parameters.ends_with(";5") || parameters.ends_with(";3") => return Key::WordRight,
            b'D' if parameters.ends_with(";5") || parameters.ends_with(";3") => return Key::WordLeft,
            b'C' => return Key::Right,
            b'D' => return Key::Left,
            b'H' => return Key::Home,
            b'F' => return Key::End,
            b'~' => {
                return match parameters.as_str() {
                    "1" | "7" => Key::Home,
                    "4" | "8" => Key::End,
                    "3" => Key::Delete,
                    _ => Key::Ignored,
                };
            }
            _ => return Key::Ignored,
        }
    }
}

fn show(text: &str) {
    let _ = crate::sys::write_all(2, text.as_bytes());
}

/// Columns that text takes, without escape sequences.
fn width(text: &str) -> usize {
    let mut columns = 0;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            for c in chars.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            columns += c.width().unwrap_or(0);
        }
    }
    columns
}

struct Editor<'a> {
    prompt: &'a str,
    /// Columns of the prompt's last line.
    indent: usize,
    text: Vec<char>,
    at: usize,
    /// Row of the cursor, counted from the prompt's last line.
    row: usize,
    cut: Vec<char>,
}

impl Editor<'_> {
    fn columns() -> usize {
        crate::sys::window(2).map_or(80, |(columns, _)| usize::from(columns.max(1)))
    }

    fn place(&self, upto: usize) -> (usize, usize) {
        let columns = Self::columns();
        let mut cell = self.indent;
        for c in &self.text[..upto] {
            let w = c.width().unwrap_or(0);
            // A wide character does not fit into the last column and goes to the next row.
            if w > 1 && cell % columns + w > columns {
                cell += 1;
            }
            cell += w;
        }
        (cell / columns, cell % columns)
    }

    fn redraw(&mut self) {
        let mut out = String::new();
        if self.row > 0 {
            out.push_str(&format!("\x1b[{}A", self.row));
        }
        out.push_str("\r\x1b[J");
        out.push_str(self.prompt.rsplit('\n').next().unwrap_or(self.prompt));
        out.extend(&self.text);
        let (end_row, end_column) = self.place(self.text.len());
        if end_column == 0 && end_row > 0 {
            // The terminal still hangs at the right edge: make it wrap now.
            out.push_str(" \r");
        }
        let (row, column) = self.place(self.at);
        if end_row > row {
            out.push_str(&format!("\x1b[{}A", end_row - row));
        }
        out.push('\r');
        if column > 0 {
            out.push_str(&format!("\x1b[{column}C"));
        }
        self.row = row;
        show(&out);
    }

    fn insert(&mut self, c: char) {
        self.text.insert(self.at, c);
        self.at += 1;
        let (row, column) = self.place(self.at);
        if self.at == self.text.len() && row == self.row && column > 0 {
            show(c.encode_utf8(&mut [0; 4]));
        } else {
            self.redraw();
        }
    }

    fn word_left(&self) -> usize {
        let mut i = self.at;
        while i > 0 && self.text[i - 1].is_whitespace() {
            i -= 1;
        }
        while i > 0 && !self.text[i - 1].is_whitespace() {
            i -= 1;
        }
        i
    }

    fn word_right(&self) -> usize {
        let mut i = self.at;
        while i < self.text.len() && self.text[i].is_whitespace() {
            i += 1;
        }
        while i < self.text.len() && !self.text[i].is_whitespace() {
            i += 1;
        }
        i
    }

    fn remove(&mut self, from: usize, to: usize, keep: bool) {
        let gone: Vec<char> = self.text.drain(from..to).collect();
        if keep && !gone.is_empty() {
            self.cut = gone;
        }
        self.at = from;
        self.redraw();
    }

    fn replace(&mut self, text: &str) {
        self.text = text.chars().collect();
        self.at = self.text.len();
        self.redraw();
    }

    fn finish(&mut self) {
        let (row, _) = self.place(self.text.len());
        if row > self.row {
            show(&format!("\x1b[{}B", row - self.row));
        }
        show("\r\n");
    }

    fn complete(&mut self, complete: Complete<'_>, again: bool) {
        let before: String = self.text[..self.at].iter().collect();
        let (start, choices) = complete(&before);
        let start = before[..start.min(before.len())].chars().count();
        let Some(first) = choices.first() else {
            show("\x07");
            return;
        };
        let mut common: Vec<char> = first.chars().collect();
        for choice in &choices {
            let same = common.iter().zip(choice.chars()).take_while(|(a, b)| **a == *b).count();
            common.truncate(same);
        }
        if choices.len() == 1 && !common.ends_with(&['/']) {
            common.push(' ');
        }
        if common.len() > self.at - start {
            self.text.splice(start..self.at, common.iter().copied());
            self.at = start + common.len();
            self.redraw();
        } else if again {
            self.finish();
            self.list(&choices);
            self.row = 0;
            self.redraw();
        } else {
            show("\x07");
        }
    }

    fn list(&self, choices: &[String]) {
        let names: Vec<&str> = choices
            .iter()
            .map(|c| c.trim_end_matches('/').rsplit('/').next().unwrap_or(c))
            .take(200)
            .collect();
        let widest = names.iter().map(|n| width(n)).max().unwrap_or(1) + 2;
        let per_line = (Self::columns() / widest).max(1);
        for line in names.chunks(per_line) {
            let text: String = line
                .iter()
                .map(|n| format!("{n}{}", " ".repeat(widest - width(n))))
                .collect();
            show(&format!("{}\r\n", text.trim_end()));
        }
    }
}

/// Reads one line with editing, history and completion.
pub(super) fn read_line(prompt: &str, history: &[String], complete: Complete<'_>) -> Line {
    let Some(_raw) = Raw::enter() else { return Line::End };
    show(prompt);
    let indent = width(prompt.rsplit('\n').next().unwrap_or(prompt));
    let mut editor = Editor {
        prompt,
        indent,
        text: Vec::new(),
        at: 0,
        row: 0,
        cut: Vec::new(),
    };
    let mut past = history.len();
    let mut draft = String::new();
    let mut last = Key::Ignored;
    loop {
        let key = key();
        match key {
            Key::Closed => return Line::End,
            Key::Char(c) => editor.insert(c),
            Key::Control(b'\r' | b'\n') => {
                editor.finish();
                return Line::Text(editor.text.iter().collect());
            }
            Key::Control(3) => {
                show("^C");
                editor.finish();
                return Line::Interrupted;
            }
            Key::Control(4) if editor.text.is_empty() => {
                show("\r\n");
                return Line::End;
            }
            Key::Control(4) | Key::Delete if editor.at < editor.text.len() => {
                editor.remove(editor.at, editor.at + 1, false)
            }
            Key::Control(8 | 127) if editor.at > 0 => editor.remove(editor.at - 1, editor.at, false),
            Key::Control(9) => editor.complete(complete, last == key),
            Key::Control(12) => {
                show("\x1b[H\x1b[2J");
                editor.row = 0;
                editor.redraw();
            }
            Key::Control(11) => editor.remove(editor.at, editor.text.len(), true),
            Key::Control(21) => editor.remove(0, editor.at, true),
            Key::Control(23) => editor.remove(editor.word_left(), editor.at, true),
            Key::DeleteWord => editor.remove(editor.at, editor.word_right(), true),
            Key::Control(25) => {
                for c in editor.cut.clone() {
                    editor.insert(c);
                }
            }
            Key::Control(1)
            | Key::Home
            | Key::Control(5)
            | Key::End
            | Key::Control(2)
            | Key::Left
            | Key::Control(6)
            | Key::Right
            | Key::WordLeft
            | Key::WordRight => {
                editor.at = match key {
                    Key::Control(1) | Key::Home => 0,
                    Key::Control(5) | Key::End => editor.text.len(),
                    Key::Control(2) | Key::Left => editor.at.saturating_sub(1),
                    Key::WordLeft => editor.word_left(),
                    Key::WordRight => editor.word_right(),
                    _ => (editor.at + 1).min(editor.text.len()),
                };
                editor.redraw();
            }
            Key::Up | Key::Control(16) if past > 0 => {
                if past == history.len() {
                    draft = editor.text.iter().collect();
                }
                past -= 1;
                editor.replace(&history[past]);
            }
            Key::Down | Key::Control(14) if past < history.len() => {
                past += 1;
                editor.replace(history.get(past).unwrap_or(&draft));
            }
            _ => {}
        }
        last = key;
    }
}
