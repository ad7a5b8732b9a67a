//! Writing into the buffer: text in a role, clipped to an area.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::document::TextLine;
use crate::text;
use crate::theme::{Role, Theme};

/// Writes `text` at (`x`, `y`), at most up to column `end`; the column after it.
pub fn put(buf: &mut Buffer, x: u16, y: u16, end: u16, text: &str, style: Style) -> u16 {
    if x >= end || y >= buf.area.bottom() || y < buf.area.top() {
        return x;
    }
    buf.set_stringn(x, y, text, usize::from(end - x), style).0
}

/// Writes `text` so that it ends before column `end`, not left of `start`; the column it starts at.
pub fn put_right(buf: &mut Buffer, start: u16, y: u16, end: u16, text: &str, style: Style) -> u16 {
    let room = usize::from(end.saturating_sub(start));
    let text = text::cut_end(text, room);
    let x = end - text::width(&text).min(room) as u16;
    put(buf, x, y, end, &text, style);
    x
}

/// Writes a line with roles over `base`; the column after it.
pub fn put_line(buf: &mut Buffer, x: u16, y: u16, end: u16, line: &TextLine, base: Style, theme: &Theme) -> u16 {
    line.spans.iter().fold(x, |x, span| {
        put(buf, x, y, end, &span.text, base.patch(theme.style(span.role)))
    })
}

/// Writes the part of a line between two bytes of its plain text.
pub fn put_piece(
    buf: &mut Buffer,
    row: Rect,
    line: &TextLine,
    (start, end): (usize, usize),
    base: Style,
    theme: &Theme,
) {
    let (mut x, mut at) = (row.x, 0);
    for span in &line.spans {
        let (from, to) = (at.max(start), (at + span.text.len()).min(end));
        if from < to
            && let Some(piece) = span.text.get(from - at..to - at)
        {
            x = put(buf, x, row.y, row.right(), piece, base.patch(theme.style(span.role)));
        }
        at += span.text.len();
    }
}

/// Fills an area with blanks in a style.
pub fn fill(buf: &mut Buffer, area: Rect, style: Style) {
    let area = area.intersection(buf.area);
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            buf[(x, y)].reset();
            buf[(x, y)].set_style(style);
        }
    }
}

/// A vertical rule along the left edge of an area.
pub fn rule_down(buf: &mut Buffer, area: Rect, theme: &Theme) {
    for y in area.top()..area.bottom() {
        put(
            buf,
            area.x,
            y,
            area.right(),
            theme.signs.vertical,
            theme.style(Role::Text).patch(theme.style(Role::Rule)),
        );
    }
}

/// Where one is in what is longer than the area, along its right edge: `top` of `total` lines is the first visible one. Nothing is drawn
/// where all is visible.
pub fn scrollbar(area: Rect, buf: &mut Buffer, theme: &Theme, top: usize, total: usize) {
    let height = usize::from(area.height);
    if total <= height || height == 0 || area.width == 0 {
        return;
    }
    let thumb = (height * height / total).max(1);
    let start = (top * (height - thumb)).div_ceil(total - height).min(height - thumb);
    let style = theme.style(Role::Text).patch(theme.style(Role::Scrollbar));
    for line in start..start + thumb {
        let y = area.y + line as u16;
        put(buf, area.right() - 1, y, area.right(), theme.signs.scroll, style);
    }
}

/// The first visible line that a click at `row` of a [`scrollbar`] means.
pub fn scrolled_to(area: Rect, row: u16, total: usize) -> usize {
    let height = usize::from(area.height).max(2);
    let line = usize::from(row.saturating_sub(area.y)).min(height - 1);
    line * total.saturating_sub(height) / (height - 1)
}
