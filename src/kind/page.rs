//! The page describe is set on: lines of cells in elastic columns, as `kubectl` aligns them.
//!
//! A column lasts as long as consecutive lines have a cell in it that another one follows; it is as wide as its widest cell and
//! two columns more. So the keys of one section align, and a long key in one section does not push another.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::document::{Document, Span, TextLine};
use crate::text;
use crate::theme::Role;

const GAP: usize = 2;

struct Cell {
    role: Role,
    text: String,
}

struct Line {
    indent: usize,
    cells: Vec<Cell>,
}

impl Line {
    /// Columns of a cell, the indent being part of the first.
    fn width(&self, column: usize) -> usize {
        text::width(&self.cells[column].text) + if column == 0 { self.indent } else { 0 }
    }
}

/// Lines being set.
pub(super) struct Page {
    zone: TimeZone,
    lines: Vec<Line>,
    /// Where columns end whatever follows.
    breaks: Vec<usize>,
}

impl Page {
    /// An empty page whose times are told in `zone`.
    pub(super) fn new(zone: &TimeZone) -> Self {
        Self {
            zone: zone.clone(),
            lines: Vec::new(),
            breaks: Vec::new(),
        }
    }

    /// Adds a line of cells. Newlines in a cell are shown as such; split what has lines before.
    pub(super) fn cells(&mut self, level: usize, cells: &[(Role, &str)]) {
        let cells = cells.iter().map(|(role, text)| Cell {
            role: *role,
            text: text::clean(text).into_owned(),
        });
        self.lines.push(Line {
            indent: level * 2,
            cells: cells.collect(),
        });
    }

    /// A line of its own: a heading on the left edge, else the name of something inside.
    pub(super) fn head(&mut self, level: usize, text: &str) {
        self.cells(level, &[(if level == 0 { Role::Section } else { Role::Strong }, text)]);
    }

    /// `Key:  value`.
    pub(super) fn field(&mut self, level: usize, key: &str, value: &str) {
        self.field_as(level, key, Role::Value, value);
    }

    /// `Key:  value` in a role. A value of several lines continues below itself.
    pub(super) fn field_as(&mut self, level: usize, key: &str, role: Role, value: &str) {
        let mut lines = value.lines();
        self.cells(
            level,
            &[
                (Role::Field, &format!("{key}:")),
                (role, lines.next().unwrap_or_default()),
            ],
        );
        for line in lines {
            self.cells(level, &[(Role::Field, ""), (role, line)]);
        }
    }

    /// `Key:  value`, if there is a value.
    pub(super) fn field_if(&mut self, level: usize, key: &str, value: &str) {
        if !value.is_empty() {
            self.field(level, key, value);
        }
    }

    /// `Key:  value` for the first value, and the others below it.
    pub(super) fn list(&mut self, level: usize, key: &str, values: &[String]) {
        self.field(level, key, values.first().map_or("<none>", String::as_str));
        for value in values.iter().skip(1) {
            self.cells(level, &[(Role::Field, ""), (Role::Value, value)]);
        }
    }

    /// A line of text.
    pub(super) fn line(&mut self, level: usize, role: Role, text: &str) {
        self.cells(level, &[(role, text)]);
    }

    /// An empty line.
    pub(super) fn blank(&mut self) {
        self.cells(0, &[]);
    }

    /// A table: its header, a rule, its rows.
    pub(super) fn table(&mut self, level: usize, header: &[&str], rows: &[Vec<(Role, String)>]) {
        let header: Vec<_> = header.iter().map(|title| (*title, title.len())).collect();
        self.ruled(level, &header, rows);
    }

    /// A table whose rules have their own lengths.
    pub(super) fn ruled(&mut self, level: usize, header: &[(&str, usize)], rows: &[Vec<(Role, String)>]) {
        let cells: Vec<_> = header.iter().map(|(title, _)| (Role::Header, *title)).collect();
        self.cells(level, &cells);
        let rules: Vec<_> = header.iter().map(|(_, length)| "-".repeat(*length)).collect();
        let cells: Vec<_> = rules.iter().map(|rule| (Role::Rule, rule.as_str())).collect();
        self.cells(level, &cells);
        for row in rows {
            let cells: Vec<_> = row.iter().map(|(role, text)| (*role, text.as_str())).collect();
            self.cells(level, &cells);
        }
    }

    /// Ends all columns here.
    pub(super) fn flush(&mut self) {
        self.breaks.push(self.lines.len());
    }

    /// A moment in words, as Go's RFC 1123 with a numeric zone; Go's zero time when there is none.
    pub(super) fn moment(&self, at: Option<Timestamp>) -> String {
        match at {
            Some(at) => at
                .to_zoned(self.zone.clone())
                .strftime("%a, %d %b %Y %H:%M:%S %z")
                .to_string(),
            None => "Mon, 01 Jan 0001 00:00:00 +0000".into(),
        }
    }

    /// Aligns everything.
    pub(super) fn finish(mut self) -> Document {
        let mut widths: Vec<Vec<usize>> = self.lines.iter().map(|line| vec![0; line.cells.len()]).collect();
        self.flush();
        let mut from = 0;
        for to in std::mem::take(&mut self.breaks) {
            align(&self.lines, &mut widths, from, to, 0);
            from = to;
        }
        let lines = self
            .lines
            .into_iter()
            .zip(widths)
            .map(|(line, widths)| set(line, &widths));
        Document { lines: lines.collect() }
    }
}

/// Gives a width to the cells of `column` and those right of it.
fn align(lines: &[Line], widths: &mut [Vec<usize>], from: usize, to: usize, column: usize) {
    let ends = |at: usize| lines[at].cells.len() > column + 1;
    let mut at = from;
    while at < to {
        if !ends(at) {
            at += 1;
            continue;
        }
        let start = at;
        let mut width = 0;
        while at < to && ends(at) {
            width = width.max(lines[at].width(column) + GAP);
            at += 1;
        }
        for row in &mut widths[start..at] {
            row[column] = width;
        }
        align(lines, widths, start, at, column + 1);
    }
}

fn set(line: Line, widths: &[usize]) -> TextLine {
    let last = line.cells.len().saturating_sub(1);
    let start: usize = widths.iter().take(last).sum();
    let mut out = TextLine::new().hanging(if last == 0 { line.indent + 2 } else { start });
    if line.cells.iter().all(|cell| cell.text.is_empty()) {
        return out;
    }
    out.push(Role::Text, &" ".repeat(line.indent));
    for (column, cell) in line.cells.iter().enumerate() {
        // Made harmless when it was added.
        if !cell.text.is_empty() {
            out.spans.push(Span {
                role: cell.role,
                text: cell.text.as_str().into(),
            });
        }
        if line.cells[column + 1..].iter().any(|later| !later.text.is_empty()) {
            out.push(
                Role::Text,
                &" ".repeat(widths[column].saturating_sub(line.width(column))),
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_last_while_lines_have_them() {
        let mut page = Page::new(&TimeZone::UTC);
        page.field(0, "Name", "web");
        page.field(0, "Service Account", "default");
        page.head(0, "Containers:");
        page.field(1, "한국어", "wide");
        page.field(1, "Id", "one\ntwo");
        page.flush();
        page.table(
            1,
            &["Type", "Status"],
            &[vec![(Role::Value, "Ready".into()), (Role::Value, "True".into())]],
        );
        let document = page.finish();
        assert_eq!(
            document.plain(),
            "Name:             web\nService Account:  default\nContainers:\n  한국어:  wide\n  Id:      one\n           two\n  \
             Type   Status\n  ----   ------\n  Ready  True\n"
        );
        assert_eq!(document.lines[1].hang, 18);
    }

    #[test]
    fn what_the_cluster_says_cannot_break_the_page() {
        let mut page = Page::new(&TimeZone::UTC);
        page.field(0, "A\u{1b}[2J", "x\ty\u{1b}]0;z\u{7}");
        page.head(0, "\u{9b}31m\n");
        let plain = page.finish().plain();
        assert!(!plain.contains(['\u{1b}', '\u{7}', '\u{9b}', '\t']), "{plain:?}");
        assert_eq!(plain.lines().count(), 2);
    }
}
