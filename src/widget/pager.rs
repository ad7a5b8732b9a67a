//! A scrolling text with wrapping, a hanging indent, and search.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::canvas::put;
use crate::document::{Document, TextLine};
use crate::text;
use crate::theme::{Role, Theme};

/// Lines whose rows are counted to tell where one is.
const COUNTED: usize = 300;

/// Where a pager is in its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PagerState {
    /// First visible line.
    pub top: usize,
    /// Rows of that line scrolled out of sight (when it wraps).
    pub skip: usize,
    /// Columns scrolled to the right (when lines are not wrapped).
    pub left: usize,
    /// Whether long lines wrap.
    pub wrap: bool,
    /// What is searched, lower case; empty is nothing.
    pub search: String,
    /// The line of the current match.
    pub at: Option<usize>,
    /// Size of the area last drawn into.
    pub size: (u16, u16),
}

impl PagerState {
    /// A pager at the top, with wrapping.
    pub fn new() -> Self {
        Self {
            wrap: true,
            ..Self::default()
        }
    }

    /// Rows the line takes.
    fn rows(&self, line: &TextLine) -> usize {
        if self.wrap {
            line.rows(usize::from(self.size.0)).len()
        } else {
            1
        }
    }

    /// Scrolls by rows, never past the last screenful.
    pub fn scroll(&mut self, document: &Document, rows: isize) {
        for _ in 0..rows.unsigned_abs() {
            if rows > 0 {
                let Some(line) = document.lines.get(self.top) else {
                    break;
                };
                if self.is_at_end(document) {
                    break;
                }
                self.skip += 1;
                if self.skip >= self.rows(line) {
                    (self.top, self.skip) = (self.top + 1, 0);
                }
            } else if self.skip > 0 {
                self.skip -= 1;
            } else if self.top > 0 {
                self.top -= 1;
                self.skip = document
                    .lines
                    .get(self.top)
                    .map_or(0, |line| self.rows(line).saturating_sub(1));
            }
        }
    }

    /// Whether the last line is visible.
    pub fn is_at_end(&self, document: &Document) -> bool {
        let mut room = usize::from(self.size.1) + self.skip;
        for line in document.lines.iter().skip(self.top) {
            let rows = self.rows(line);
            if rows > room {
                return false;
            }
            room -= rows;
        }
        true
    }

    /// Goes where a click on the scrollbar means, in the row-th row of it.
    pub fn scroll_to(&mut self, document: &Document, row: u16) {
        let (_, total) = self.extent(document);
        let height = usize::from(self.size.1).max(2);
        let row = usize::from(row).min(height - 1);
        match row + 1 == height {
            true => self.last(document),
            false => (self.top, self.skip) = (row * total.saturating_sub(height) / (height - 1), 0),
        }
        self.clamp(document);
    }

    /// Goes to the first line.
    pub fn first(&mut self) {
        (self.top, self.skip) = (0, 0);
    }

    /// Goes to the last screenful.
    pub fn last(&mut self, document: &Document) {
        (self.top, self.skip) = (document.lines.len(), 0);
        let mut room = usize::from(self.size.1);
        while self.top > 0 && room > 0 {
            let rows = self.rows(&document.lines[self.top - 1]);
            self.top -= 1;
            self.skip = rows.saturating_sub(room);
            room = room.saturating_sub(rows);
        }
    }

    /// Keeps the place inside a text that became shorter, or an area that became taller: the last screenful is full.
    pub fn clamp(&mut self, document: &Document) {
        if self.top >= document.lines.len() || (self.top > 0 && self.is_at_end(document)) {
            self.last(document);
        }
    }

    /// The first visible line and the number of lines, for a scrollbar; equal to the height where all of it is visible.
    pub fn extent(&self, document: &Document) -> (usize, usize) {
        let height = usize::from(self.size.1);
        let whole = self.top == 0 && self.skip == 0 && self.is_at_end(document);
        if whole {
            return (0, 0);
        }
        // What is long is told by its lines, however they wrap: where one is in it need not be exact, but its ends are.
        let exact = document.lines.len() <= COUNTED;
        let rows = |lines: &[TextLine]| match exact {
            true => lines.iter().map(|line| self.rows(line)).sum(),
            false => lines.len(),
        };
        let total = rows(&document.lines).max(height + 1);
        let last = total - height;
        match self.is_at_end(document) {
            true => (last, total),
            false => {
                let above = rows(&document.lines[..self.top.min(document.lines.len())]);
                (above.min(last.saturating_sub(1)), total)
            }
        }
    }

    /// How far down one is: `37%`, `top`, `end`; empty where all of it is visible.
    pub fn position(&self, document: &Document) -> String {
        let (top, total) = self.extent(document);
        match total {
            0 => String::new(),
            _ if top == 0 && self.skip == 0 => "top".to_owned(),
            _ if self.is_at_end(document) => "end".to_owned(),
            total => format!("{}%", (top * 100 / total).clamp(1, 99)),
        }
    }

    /// Goes to the next (or previous) line that contains the search text, around the end; whether there is one.
    pub fn find(&mut self, document: &Document, forward: bool, from_here: bool) -> bool {
        let count = document.lines.len();
        if self.search.is_empty() || count == 0 {
            self.at = None;
            return false;
        }
        let start = self.at.unwrap_or(self.top).min(count - 1);
        let found = (usize::from(!from_here)..=count)
            .map(|step| {
                if forward {
                    (start + step) % count
                } else {
                    (start + count - step % count) % count
                }
            })
            .find(|line| document.lines[*line].plain().to_lowercase().contains(&self.search));
        self.at = found;
        if let Some(line) = found {
            let height = usize::from(self.size.1);
            if line < self.top || line >= self.top + height.saturating_sub(2) {
                (self.top, self.skip) = (line.saturating_sub(height / 3), 0);
            }
        }
        found.is_some()
    }

    /// Number of lines that contain the search text.
    pub fn matches(&self, document: &Document) -> usize {
        if self.search.is_empty() {
            return 0;
        }
        document
            .lines
            .iter()
            .filter(|line| line.plain().to_lowercase().contains(&self.search))
            .count()
    }
}

/// Draws a window of a document.
pub struct Pager<'a> {
    /// The text.
    pub document: &'a Document,
    /// Where it is.
    pub state: &'a PagerState,
}

impl Pager<'_> {
    /// Draws as many rows as fit.
    pub fn draw(&self, area: Rect, buf: &mut Buffer, theme: &Theme) {
        let mut y = area.y;
        let mut skip = self.state.skip;
        for (number, line) in self.document.lines.iter().enumerate().skip(self.state.top) {
            // A very long line is not copied to draw a few rows of it.
            let plain = || line.plain();
            let matches = if self.state.search.is_empty() {
                Vec::new()
            } else {
                find_all(&plain(), &self.state.search)
            };
            let current = self.state.at == Some(number);
            let columns = usize::from(area.width);
            let hang = line.indent(columns);
            let pieces: Vec<(usize, usize, usize)> = if self.state.wrap {
                let rows = line.rows(columns);
                let shown = rows.iter().enumerate().skip(skip).take(usize::from(area.height));
                shown
                    .map(|(at, (start, end))| (*start, *end, if at == 0 { 0 } else { hang }))
                    .collect()
            } else {
                let plain = plain();
                vec![(skip_columns(&plain, self.state.left), plain.len(), 0)]
            };
            skip = 0;
            for (start, end, indent) in pieces {
                if y >= area.bottom() {
                    return;
                }
                let x = area.x + indent as u16;
                let row = Rect {
                    x,
                    y,
                    width: area.right().saturating_sub(x),
                    height: 1,
                };
                draw_piece(row, buf, theme, line, (start, end), &matches, current);
                y += 1;
            }
        }
    }
}

fn skip_columns(text: &str, columns: usize) -> usize {
    let mut used = 0;
    for (at, ch) in text.char_indices() {
        if used >= columns {
            return at;
        }
        used += text::width(ch.encode_utf8(&mut [0; 4]));
    }
    text.len()
}

fn find_all(text: &str, needle: &str) -> Vec<(usize, usize)> {
    if needle.is_empty() {
        return Vec::new();
    }
    let lower = text.to_lowercase();
    // Lower-casing may change byte lengths; then only the line as a whole is marked as the current one.
    if lower.len() != text.len() {
        return Vec::new();
    }
    lower
        .match_indices(needle)
        .map(|(at, found)| (at, at + found.len()))
        .collect()
}

fn draw_piece(
    row: Rect,
    buf: &mut Buffer,
    theme: &Theme,
    line: &TextLine,
    (start, end): (usize, usize),
    matches: &[(usize, usize)],
    current: bool,
) {
    let base = theme.style(Role::Text);
    let mut x = row.x;
    let mut at = 0;
    for span in &line.spans {
        let (from, to) = (at.max(start), (at + span.text.len()).min(end));
        if from < to {
            let style = base.patch(theme.style(span.role));
            let mut cuts: Vec<(usize, usize, bool)> = Vec::new();
            let mut here = from;
            for (match_start, match_end) in matches {
                let (a, b) = ((*match_start).max(from), (*match_end).min(to));
                if a < b {
                    cuts.push((here, a, false));
                    cuts.push((a, b, true));
                    here = b;
                }
            }
            cuts.push((here, to, false));
            for (a, b, is_match) in cuts {
                let Some(piece) = span.text.get(a - at..b - at) else {
                    continue;
                };
                let style = match (is_match, current) {
                    (true, true) => style.patch(theme.style(Role::MatchCurrent)),
                    (true, false) => style.patch(theme.style(Role::Match)),
                    (false, _) => style,
                };
                x = put(buf, x, row.y, row.right(), piece, style);
            }
        }
        at += span.text.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(lines: &[&str]) -> Document {
        let lines = lines
            .iter()
            .map(|line| TextLine::new().with(Role::Text, line).hanging(2))
            .collect();
        Document { lines }
    }

    fn draw(document: &Document, state: &PagerState) -> Vec<String> {
        let theme = Theme::load("dark", None).expect("built in");
        let area = Rect::new(0, 0, state.size.0, state.size.1);
        let mut buf = Buffer::empty(area);
        Pager { document, state }.draw(area, &mut buf, &theme);
        (0..area.height)
            .map(|y| {
                (0..area.width)
                    .map(|x| buf[(x, y)].symbol().to_owned())
                    .collect::<String>()
                    .trim_end()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn long_lines_wrap_with_a_hanging_indent() {
        let state = PagerState {
            size: (10, 4),
            ..PagerState::new()
        };
        assert_eq!(
            draw(&document(&["one two three four", "x"]), &state),
            ["one two", "  three", "  four", "x"]
        );
    }

    #[test]
    fn scrolling_stops_at_the_last_screenful() {
        let text = document(&["1", "2", "3", "4", "5"]);
        let mut state = PagerState {
            size: (10, 3),
            ..PagerState::new()
        };
        state.scroll(&text, 10);
        assert_eq!(draw(&text, &state), ["3", "4", "5"]);
        state.scroll(&text, -1);
        assert_eq!(draw(&text, &state), ["2", "3", "4"]);
        state.last(&text);
        assert_eq!(draw(&text, &state), ["3", "4", "5"]);
    }

    #[test]
    fn search_goes_around_the_end() {
        let text = document(&["alpha", "beta", "Alpha"]);
        let mut state = PagerState {
            size: (10, 3),
            search: "alpha".into(),
            ..PagerState::new()
        };
        assert!(state.find(&text, true, true));
        assert_eq!(state.at, Some(0));
        state.find(&text, true, false);
        assert_eq!(state.at, Some(2));
        state.find(&text, true, false);
        assert_eq!(state.at, Some(0));
        assert_eq!(state.matches(&text), 2);
    }
}
