//! Pickers: a list narrowed by typing.

use crossterm::event::KeyCode;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Answer, Overlay, edit};
use crate::document::TextLine;
use crate::keys::Line;
use crate::text;
use crate::theme::Role;
use crate::view::{Data, Input, Look};
use crate::widget::{Anchor, LineEdit, List, popup, put};

/// One entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is matched and shown first.
    pub text: String,
    /// What is shown after it.
    pub doc: String,
    /// What choosing it runs.
    pub line: Line,
}

/// A list to choose from.
#[derive(Debug)]
pub struct Picker {
    title: String,
    entries: Vec<Entry>,
    edit: LineEdit,
    shown: Vec<usize>,
    selected: usize,
    /// The chosen entry's line runs while one looks for it; this one takes that back.
    back: Option<Line>,
}

impl Picker {
    /// A picker with everything shown.
    pub fn new(title: &str, entries: Vec<Entry>) -> Self {
        let shown = (0..entries.len()).collect();
        Self {
            title: title.to_owned(),
            entries,
            edit: LineEdit::default(),
            shown,
            selected: 0,
            back: None,
        }
    }

    /// Shows what choosing would do while one moves through the entries; leaving without a choice runs `back`.
    #[must_use]
    pub fn live(mut self, back: Line) -> Self {
        self.selected = self.entries.iter().position(|entry| entry.line == back).unwrap_or(0);
        self.back = Some(back);
        self
    }

    fn close(&self) -> Answer {
        self.back.clone().map_or(Answer::Close, Answer::Run)
    }

    /// The chosen entry is another.
    fn moved(&self) -> Answer {
        match self.shown.get(self.selected) {
            Some(at) if self.back.is_some() => Answer::Live(self.entries[*at].line.clone()),
            _ => Answer::Stay,
        }
    }

    fn narrow(&mut self) {
        let pattern = self.edit.text();
        let mut scored: Vec<(i32, usize)> = self
            .entries
            .iter()
            .enumerate()
            .filter_map(|(at, entry)| {
                let score = text::fuzzy_score(pattern, &entry.text)
                    .or_else(|| text::fuzzy_score(pattern, &entry.doc).map(|score| score - 50))?;
                Some((score, at))
            })
            .collect();
        if !pattern.is_empty() {
            scored.sort_by_key(|(score, at)| (-score, *at));
        }
        self.shown = scored.into_iter().map(|(_, at)| at).collect();
        self.selected = 0;
    }
}

impl Overlay for Picker {
    fn on(&mut self, input: &Input, _data: &dyn Data) -> Answer {
        if let Input::Key(chord) = input {
            let count = self.shown.len();
            let down = chord.code == KeyCode::Down || chord.is_control('n') || chord.is_control('j');
            let up = chord.code == KeyCode::Up || chord.is_control('p') || chord.is_control('k');
            match chord.code {
                KeyCode::Esc => return self.close(),
                KeyCode::Char('c') if chord.is_control('c') => return self.close(),
                KeyCode::Enter => {
                    return match self.shown.get(self.selected) {
                        Some(at) => Answer::Run(self.entries[*at].line.clone()),
                        None => Answer::Stay,
                    };
                }
                _ if down && count > 0 => {
                    self.selected = (self.selected + 1) % count;
                    return self.moved();
                }
                _ if up && count > 0 => {
                    self.selected = (self.selected + count - 1) % count;
                    return self.moved();
                }
                _ => {}
            }
        }
        if edit(&mut self.edit, input) {
            self.narrow();
            return self.moved();
        }
        Answer::Stay
    }

    fn draw(&self, screen: Rect, buf: &mut Buffer, look: &Look<'_>) {
        let widest = self
            .entries
            .iter()
            .map(|entry| text::width(&entry.text))
            .max()
            .unwrap_or(10)
            .min(48);
        let docs = self
            .entries
            .iter()
            .map(|entry| text::width(&entry.doc))
            .max()
            .unwrap_or(0);
        let width = (widest + docs + 6).clamp(36, 92) as u16;
        let rows = self.entries.len().clamp(1, 16) as u16;
        let title = TextLine::new().with(Role::PopupTitle, &self.title);
        let inner = popup(screen, buf, look.theme, Anchor::Centre, (width, rows + 2), &title);
        if inner.height < 2 {
            return;
        }
        let base = look.theme.style(Role::Popup);
        let x = put(
            buf,
            inner.x,
            inner.y,
            inner.right(),
            "/ ",
            base.patch(look.theme.style(Role::Accent)),
        );
        let line = Rect {
            x,
            y: inner.y,
            width: inner.right().saturating_sub(x),
            height: 1,
        };
        look.cursor(
            self.edit
                .draw(line, buf, base.patch(look.theme.style(Role::Input)), true),
        );
        let lines: Vec<TextLine> = self
            .shown
            .iter()
            .map(|at| {
                let entry = &self.entries[*at];
                let name = text::pad_right(&text::cut_middle(&text::clean(&entry.text), widest), widest);
                TextLine::new()
                    .with(Role::Strong, &name)
                    .with(Role::Dim, "  ")
                    .with(Role::Dim, &entry.doc)
            })
            .collect();
        let list = Rect {
            y: inner.y + 1,
            height: inner.height - 1,
            ..inner
        };
        if lines.is_empty() {
            put(
                buf,
                list.x + 2,
                list.y,
                list.right(),
                "nothing matches",
                base.patch(look.theme.style(Role::Dim)),
            );
        }
        List {
            entries: &lines,
            selected: self.selected,
        }
        .draw(list, buf, look.theme);
    }
}
