//! Draws the editor: long lines scroll sideways.

use unicode_width::UnicodeWidthChar;

use super::{Editor, Mode};

/// Columns between tab stops.
const TAB: usize = 8;

/// The cells a character takes at a column, as text.
fn cells(c: char, column: usize) -> String {
    match c {
        '\t' => " ".repeat(TAB - column % TAB),
        c if c.is_control() => format!("^{}", char::from_u32((u32::from(c) ^ 64) & 0x7f).unwrap_or('?')),
        c if c.width().unwrap_or(0) == 0 => String::new(),
        c => c.to_string(),
    }
}

fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Where character `at` of a line is on an endless screen.
fn column_of(line: &str, at: usize) -> usize {
    line.chars()
        .take(at)
        .fold(0, |column, c| column + width(&cells(c, column)))
}

/// The part of a line that fits.
fn slice(line: &str, left: usize, columns: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for c in line.chars() {
        let text = cells(c, column);
        for cell in text.chars() {
            let w = cell.width().unwrap_or(0);
            if column >= left && column + w <= left + columns {
                out.push(cell);
            }
            column += w;
        }
        if column >= left + columns {
            break;
        }
    }
    out
}

impl Editor {
    /// `'file' 3/10 30%`
    pub(super) fn position(&self) -> String {
        let name = self.path.as_deref().unwrap_or("No file");
        let mark = if self.buffer.modified() { " [modified]" } else { "" };
        let lock = if self.read_only { " [read only]" } else { "" };
        format!(
            "- {name}{mark}{lock} {}/{} {}%",
            self.row + 1,
            self.buffer.len(),
            (self.row + 1) * 100 / self.buffer.len()
        )
    }

    pub(super) fn draw(&mut self, size: (usize, usize)) {
        let text = self.picture(size);
        crate::say::out(text);
    }

    /// The whole screen for a terminal of (columns, rows), cursor included.
    pub(super) fn picture(&mut self, (columns, rows): (usize, usize)) -> String {
        self.page = rows.saturating_sub(1).max(1);
        self.top = self.top.clamp((self.row + 1).saturating_sub(self.page), self.row);
        let gutter = if self.numbers {
            4.min(columns.saturating_sub(1))
        } else {
            0
        };
        let inner = columns.saturating_sub(gutter).max(1);
        let line = self.buffer.line(self.row);
        let cursor = column_of(line, self.column);
        if cursor < self.left {
            self.left = cursor;
        } else if cursor >= self.left + inner {
            self.left = cursor + 1 - inner;
        }
        let mut text = String::from("\x1b[?25l\x1b[H");
        for row in self.top..self.top + self.page {
            if row < self.buffer.len() {
                if gutter > 0 {
                    text.push_str(&format!("{:>1$} ", row + 1, gutter - 1));
                }
                text.push_str(&slice(self.buffer.line(row), self.left, inner));
            } else {
                text.push('~');
            }
            text.push_str("\x1b[K\r\n");
        }
        let (status, at_bottom) = match &self.mode {
            Mode::Line(mark, typed) => (format!("{mark}{typed}"), true),
            _ if !self.message.is_empty() => (self.message.clone(), false),
            Mode::Insert => (format!("I {}", &self.position()[1..].trim_start()), false),
            Mode::Replace => (format!("R {}", &self.position()[1..].trim_start()), false),
            Mode::Normal => (self.position(), false),
        };
        let status: String = status
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .take(columns.saturating_sub(1))
            .collect();
        text.push_str(&format!("{status}\x1b[K"));
        if at_bottom {
            text.push_str("\x1b[?25h");
        } else {
            text.push_str(&format!(
                "\x1b[{};{}H\x1b[?25h",
                self.row - self.top + 1,
                gutter + cursor - self.left + 1
            ));
        }
        text
    }
}
