//! `less` and `more`: text a screen at a time.

use std::io::Read;

use super::screen::{Key, Screen};
use crate::say::{fail, out, reason};

pub(crate) fn main(args: &[String]) -> i32 {
    let files: Vec<&String> = args[1..]
        .iter()
        .filter(|a| !a.starts_with('-') && !a.starts_with('+'))
        .collect();
    let mut bytes = Vec::new();
    let mut status = 0;
    if files.is_empty() {
        if crate::sys::is_tty(0) {
            return fail("less", "missing filename");
        }
        let _ = std::io::stdin().take(256 << 20).read_to_end(&mut bytes);
    }
    for file in &files {
        match std::fs::read(file) {
            Ok(text) => bytes.extend(text),
            Err(error) => status = fail("less", format!("{file}: {}", reason(&error))),
        }
    }
    if !crate::sys::is_tty(1) {
        out(bytes);
        return status;
    }
    // The text may come from standard input, so keys come from the terminal itself.
    use std::os::fd::AsRawFd;
    let terminal = std::fs::File::open("/dev/tty").ok();
    let input = terminal.as_ref().map_or(0, AsRawFd::as_raw_fd);
    let Some(screen) = Screen::enter(input) else {
        out(bytes);
        return status;
    };
    let name = files.first().map_or("", |f| f.as_str());
    Pager::new(&String::from_utf8_lossy(&bytes), name).run(&screen);
    status
}

struct Pager<'a> {
    lines: Vec<String>,
    name: &'a str,
    top: usize,
    search: String,
    message: String,
}

impl<'a> Pager<'a> {
    fn new(text: &str, name: &'a str) -> Self {
        let clean = |line: &str| -> String {
            let mut out = String::new();
            for c in line.chars() {
                match c {
                    '\t' => out.push_str(&" ".repeat(8 - out.chars().count() % 8)),
                    c if c.is_control() => out.extend(['^', char::from_u32((u32::from(c) ^ 64) & 0x7f).unwrap_or('?')]),
                    c => out.push(c),
                }
            }
            out
        };
        Self {
            lines: text.lines().map(clean).collect(),
            name,
            top: 0,
            search: String::new(),
            message: String::new(),
        }
    }

    /// Long lines take several rows.
    fn rows(&self, columns: usize) -> Vec<String> {
        let mut rows = Vec::new();
        for line in &self.lines {
            let chars: Vec<char> = line.chars().collect();
            if chars.is_empty() {
                rows.push(String::new());
            }
            rows.extend(chars.chunks(columns).map(|c| c.iter().collect::<String>()));
        }
        rows
    }

    fn run(&mut self, screen: &Screen) {
        let mut width = 0;
        let mut rows = Vec::new();
        loop {
            let (columns, height) = Screen::size();
            let page = height.saturating_sub(1).max(1);
            if columns != width {
                rows = self.rows(columns);
                width = columns;
            }
            let last = rows.len().saturating_sub(page);
            self.top = self.top.min(last);
            let mut text = String::from("\x1b[H");
            for row in 0..page {
                match rows.get(self.top + row) {
                    Some(line) => text.push_str(&self.highlighted(line)),
                    None => text.push('~'),
                }
                text.push_str("\x1b[K\r\n");
            }
            let status = if self.message.is_empty() {
                if self.top >= last {
                    "(END)".to_owned()
                } else {
                    format!("{} {}%", self.name, (self.top + page) * 100 / rows.len().max(1))
                }
            } else {
                std::mem::take(&mut self.message)
            };
            let status: String = status.chars().take(columns.saturating_sub(1)).collect();
            out(format!("{text}\x1b[7m{}\x1b[0m\x1b[K", status.trim()));
            match screen.key(-1) {
                Key::Char('q' | 'Q') | Key::Control('c') | Key::Closed => return,
                Key::Char('j' | 'e') | Key::Down | Key::Enter => self.top += 1,
                Key::Char('k' | 'y') | Key::Up => self.top = self.top.saturating_sub(1),
                Key::Char(' ' | 'f') | Key::PageDown | Key::Control('f') => self.top += page,
                Key::Char('b') | Key::PageUp | Key::Control('b') => self.top = self.top.saturating_sub(page),
                Key::Char('d') | Key::Control('d') => self.top += page / 2,
                Key::Char('u') | Key::Control('u') => self.top = self.top.saturating_sub(page / 2),
                Key::Char('g' | '<') | Key::Home => self.top = 0,
                Key::Char('G' | '>') | Key::End => self.top = last,
                Key::Char('/') => {
                    if let Some(text) = prompt(screen, '/', height) {
                        self.search = text;
                        self.find(&rows, true);
                    }
                }
                Key::Char('n') => self.find(&rows, true),
                Key::Char('N') => self.find(&rows, false),
                _ => {}
            }
        }
    }

    fn highlighted(&self, line: &str) -> String {
        if self.search.is_empty() {
            line.to_owned()
        } else {
            line.replace(&self.search, &format!("\x1b[7m{}\x1b[0m", self.search))
        }
    }

    fn find(&mut self, rows: &[String], forward: bool) {
        if self.search.is_empty() {
            return;
        }
        let hit = |i: &usize| rows.get(*i).is_some_and(|r| r.contains(&self.search));
        let found = if forward {
            (self.top + 1..rows.len()).find(hit)
        } else {
            (0..self.top).rev().find(hit)
        };
        match found {
            Some(row) => self.top = row,
            None => self.message = "Pattern not found".to_owned(),
        }
    }
}

/// Reads a line at the bottom of the screen. `None` when it was given up.
pub(crate) fn prompt(screen: &Screen, mark: char, row: usize) -> Option<String> {
    let mut text = String::new();
    loop {
        out(format!("\x1b[{row};1H\x1b[K{mark}{text}"));
        match screen.key(-1) {
            Key::Enter => return Some(text),
            Key::Escape | Key::Control('c') | Key::Closed => return None,
            Key::Backspace => {
                text.pop()?;
            }
            Key::Control('u') => text.clear(),
            Key::Char(c) => text.push(c),
            _ => {}
        }
    }
}
