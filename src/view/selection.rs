//! Text marked with the mouse: from one cell to another within a pane, line by line as it is read.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::text;
use crate::theme::{Role, Theme};

/// Cells between two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    area: Rect,
    from: (u16, u16),
    to: (u16, u16),
    /// Whether the button is up: what is marked is taken.
    pub done: bool,
}

impl Selection {
    /// A selection in `area` that begins at a cell of it.
    pub fn new(area: Rect, from: (u16, u16)) -> Self {
        Self {
            area,
            from,
            to: from,
            done: false,
        }
    }

    /// Leads it to a cell, or to the edge of its area.
    pub fn drag(&mut self, column: u16, row: u16) {
        let inside = |value: u16, from: u16, to: u16| value.clamp(from, to.saturating_sub(1).max(from));
        self.to = (
            inside(column, self.area.left(), self.area.right()),
            inside(row, self.area.top(), self.area.bottom()),
        );
    }

    /// Whether it was never led anywhere.
    pub fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// Its rows from top to bottom: the row, its first column, and the one after its last.
    fn rows(&self) -> impl Iterator<Item = (u16, u16, u16)> + use<> {
        let reading = |(column, row): (u16, u16)| (row, column);
        let (first, last) = match reading(self.from) <= reading(self.to) {
            true => (self.from, self.to),
            false => (self.to, self.from),
        };
        let area = self.area;
        (first.1..=last.1).map(move |row| {
            let start = if row == first.1 { first.0 } else { area.left() };
            let end = if row == last.1 { last.0 + 1 } else { area.right() };
            (row, start, end)
        })
    }

    /// Shows it.
    pub fn draw(&self, buf: &mut Buffer, theme: &Theme) {
        for (row, start, end) in self.rows() {
            for column in start..end {
                if let Some(cell) = buf.cell_mut((column, row)) {
                    cell.set_style(theme.style(Role::Match));
                }
            }
        }
    }

    /// What it marks, as it stands on the screen; blanks at the ends of lines are none of it.
    pub fn text(&self, buf: &Buffer) -> String {
        let line = |(row, start, end): (u16, u16, u16)| {
            let mut line = String::new();
            let mut column = start;
            while column < end {
                let symbol = buf.cell((column, row)).map_or(" ", |cell| cell.symbol());
                line.push_str(symbol);
                // The second cell of a wide character holds nothing of its own.
                column += (text::width(symbol) as u16).max(1);
            }
            line.trim_end().to_owned()
        };
        self.rows().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_what_stands_between_two_cells_in_either_direction() {
        let mut buf = Buffer::empty(Rect::new(0, 0, 12, 3));
        for (row, text) in ["one two", "한국 어", "three four"].into_iter().enumerate() {
            buf.set_string(1, row as u16, text, ratatui::style::Style::default());
        }
        let area = Rect::new(1, 0, 11, 3);
        let mut selection = Selection::new(area, (5, 0));
        assert!(selection.is_empty());
        selection.drag(5, 2);
        assert_eq!(selection.text(&buf), "two\n한국 어\nthree");
        let mut back = Selection::new(area, (5, 2));
        back.drag(5, 0);
        assert_eq!(back.text(&buf), "two\n한국 어\nthree");
        back.drag(200, 200);
        assert_eq!(back.text(&buf), "e four");
    }
}
