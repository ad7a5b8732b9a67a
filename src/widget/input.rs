//! One line of text under edit, by grapheme, with the usual keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use unicode_segmentation::UnicodeSegmentation;

use super::canvas::put;
use crate::text;

/// A line of text and a cursor in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineEdit {
    text: String,
    /// Byte offset, always on a grapheme boundary.
    cursor: usize,
    /// Whether all of it is chosen: what is typed replaces it.
    chosen: bool,
}

impl LineEdit {
    /// A line with `text` and the cursor at its end.
    pub fn new(text: &str) -> Self {
        let mut line = Self::default();
        line.insert(text);
        line
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text left of the cursor.
    pub fn before(&self) -> &str {
        &self.text[..self.cursor]
    }

    /// Replaces everything; the cursor goes to the end.
    pub fn set(&mut self, text: &str) {
        self.text.clear();
        self.cursor = 0;
        self.chosen = false;
        self.insert(text);
    }

    /// Offers a text: what is typed replaces it, and a motion keeps it.
    pub fn offer(&mut self, text: &str) {
        self.set(text);
        self.chosen = !text.is_empty();
    }

    /// Inserts text at the cursor; line breaks and control characters are dropped, so a paste stays one line.
    pub fn insert(&mut self, text: &str) {
        self.replace_chosen();
        let clean: String = text.chars().filter(|ch| !ch.is_control()).collect();
        self.text.insert_str(self.cursor, &clean);
        self.cursor += clean.len();
    }

    /// Removes an offered text; whether there was one.
    fn replace_chosen(&mut self) -> bool {
        let chosen = std::mem::take(&mut self.chosen);
        if chosen {
            self.text.clear();
            self.cursor = 0;
        }
        chosen
    }

    /// Moves left or right by one grapheme.
    pub fn step(&mut self, forward: bool) {
        self.chosen = false;
        self.cursor = if forward { self.next() } else { self.previous() };
    }

    /// Moves to the start or the end.
    pub fn edge(&mut self, end: bool) {
        self.chosen = false;
        self.cursor = if end { self.text.len() } else { 0 };
    }

    /// Deletes the grapheme left of the cursor; whether there was one.
    pub fn backspace(&mut self) -> bool {
        if self.replace_chosen() {
            return true;
        }
        let start = self.previous();
        let any = start < self.cursor;
        self.text.replace_range(start..self.cursor, "");
        self.cursor = start;
        any
    }

    /// Deletes the grapheme under the cursor.
    pub fn delete(&mut self) {
        if self.replace_chosen() {
            return;
        }
        let end = self.next();
        self.text.replace_range(self.cursor..end, "");
    }

    /// Deletes the word left of the cursor.
    pub fn delete_word(&mut self) {
        self.chosen = false;
        let trimmed = self.before().trim_end();
        let start = trimmed.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        self.text.replace_range(start..self.cursor, "");
        self.cursor = start;
    }

    /// Deletes everything left of the cursor.
    pub fn delete_to_start(&mut self) {
        self.chosen = false;
        self.text.replace_range(..self.cursor, "");
        self.cursor = 0;
    }

    fn previous(&self) -> usize {
        self.text[..self.cursor]
            .grapheme_indices(true)
            .next_back()
            .map_or(0, |(at, _)| at)
    }

    fn next(&self) -> usize {
        self.text[self.cursor..]
            .graphemes(true)
            .next()
            .map_or(self.cursor, |grapheme| self.cursor + grapheme.len())
    }

    /// Draws the line and its cursor (a reversed cell) into one row; scrolls to keep the cursor visible. Gives the cursor's cell when
    /// it has the focus.
    pub fn draw(&self, area: Rect, buf: &mut Buffer, style: Style, focused: bool) -> Option<(u16, u16)> {
        if area.width == 0 || area.height == 0 {
            return None;
        }
        let room = usize::from(area.width) - 1;
        let mut start = 0;
        while text::width(&self.text[start..self.cursor]) > room {
            start += self.text[start..].graphemes(true).next().map_or(1, str::len);
        }
        let shown = if focused && self.chosen {
            style.add_modifier(Modifier::REVERSED)
        } else {
            style
        };
        put(buf, area.x, area.y, area.right(), &self.text[start..], shown);
        if !focused {
            return None;
        }
        let x = area.x + text::width(&self.text[start..self.cursor]) as u16;
        let at = (x.min(area.right() - 1), area.y);
        if let Some(cell) = buf.cell_mut(at) {
            cell.set_style(style.add_modifier(Modifier::REVERSED));
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_move_by_grapheme_and_never_split_one() {
        let mut line = LineEdit::new("한국 e\u{301}x");
        line.step(false);
        line.backspace();
        assert_eq!(line.text(), "한국 x");
        line.edge(false);
        line.delete();
        assert_eq!(line.text(), "국 x");
        line.edge(true);
        line.delete_word();
        assert_eq!(line.text(), "국 ");
    }

    #[test]
    fn an_offered_text_is_replaced_by_typing_and_kept_by_a_motion() {
        let mut line = LineEdit::default();
        line.offer("3");
        line.insert("5");
        assert_eq!(line.text(), "5");
        line.offer("80");
        line.edge(true);
        line.insert("80");
        assert_eq!(line.text(), "8080");
        line.offer("3");
        line.backspace();
        assert_eq!(line.text(), "");
    }

    #[test]
    fn a_pasted_line_break_or_escape_does_not_get_in() {
        assert_eq!(LineEdit::new("a\nb\u{1b}[m").text(), "ab[m");
    }
}
