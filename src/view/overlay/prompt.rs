//! The line at the bottom: commands, filters, searches.

use crossterm::event::KeyCode;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Answer, Overlay, edit};
use crate::document::TextLine;
use crate::keys::Line;
use crate::text;
use crate::theme::Role;
use crate::view::{Data, Input, Look};
use crate::widget::{LineEdit, List, fill, put};

/// Something that can be completed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Replaces the word under the cursor.
    pub text: String,
    /// What it is.
    pub doc: String,
}

impl Candidate {
    /// A candidate.
    pub fn new(text: impl Into<String>, doc: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            doc: doc.into(),
        }
    }
}

/// Gives the candidates for the text left of the cursor.
pub type Complete = Box<dyn Fn(&str, &dyn Data) -> Vec<Candidate> + Send>;

/// What the prompt is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// `:` runs what is typed.
    Command,
    /// `/` filters or searches while typing; Esc restores what was before.
    Live {
        /// The action that takes the text (`filter.set`).
        action: &'static str,
        /// The text it started from.
        before: String,
    },
}

/// The prompt.
pub struct Prompt {
    mode: Mode,
    edit: LineEdit,
    history: Vec<String>,
    at: Option<usize>,
    complete: Complete,
    candidates: Vec<Candidate>,
    selected: Option<usize>,
}

impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prompt")
            .field("mode", &self.mode)
            .field("text", &self.edit.text())
            .finish_non_exhaustive()
    }
}

const SHOWN: usize = 8;

impl Prompt {
    /// A prompt with `text` in it. `history` is oldest first.
    pub fn new(mode: Mode, text: &str, history: Vec<String>, complete: Complete, data: &dyn Data) -> Self {
        let mut prompt = Self {
            mode,
            edit: LineEdit::new(text),
            history,
            at: None,
            complete,
            candidates: Vec::new(),
            selected: None,
        };
        prompt.update(data);
        prompt
    }

    fn update(&mut self, data: &dyn Data) {
        self.selected = None;
        self.candidates = match self.mode {
            Mode::Command => (self.complete)(self.edit.before(), data),
            Mode::Live { .. } => Vec::new(),
        };
    }

    fn take(&mut self) {
        let Some(candidate) = self.selected.and_then(|at| self.candidates.get(at)) else {
            return;
        };
        let before = self.edit.before();
        let start = before.rfind(' ').map_or(0, |at| at + 1);
        let text = format!("{}{}", &before[..start], candidate.text);
        self.edit.set(&text);
    }

    fn choose(&mut self, forward: bool) {
        let count = self.candidates.len();
        if count == 0 {
            return;
        }
        self.selected = Some(match (self.selected, forward) {
            (None, true) => 0,
            (None, false) => count - 1,
            (Some(at), true) => (at + 1) % count,
            (Some(at), false) => (at + count - 1) % count,
        });
        // The word follows the choice; the candidates stay as they are for the next Tab.
        let keep = self.selected;
        let candidates = self.candidates.clone();
        self.take();
        self.selected = keep;
        self.candidates = candidates;
    }

    fn recall(&mut self, back: bool, data: &dyn Data) {
        let last = self.history.len();
        let at = match (self.at, back) {
            (None, true) => last.checked_sub(1),
            (Some(at), true) => Some(at.saturating_sub(1)),
            (Some(at), false) if at + 1 < last => Some(at + 1),
            _ => None,
        };
        self.at = at;
        let text = at.and_then(|at| self.history.get(at)).cloned().unwrap_or_default();
        self.edit.set(&text);
        self.update(data);
    }

    fn live(&self) -> Answer {
        match &self.mode {
            Mode::Command => Answer::Stay,
            Mode::Live { action, .. } => Answer::Live(Line::with(action, [self.edit.text()])),
        }
    }
}

impl Overlay for Prompt {
    fn on(&mut self, input: &Input, data: &dyn Data) -> Answer {
        if let Input::Key(chord) = input {
            match chord.code {
                KeyCode::Esc => return self.cancel(),
                KeyCode::Char('c' | 'g') if chord.is_control('c') || chord.is_control('g') => return self.cancel(),
                KeyCode::Backspace if self.edit.text().is_empty() => return self.cancel(),
                KeyCode::Enter => {
                    let text = self.edit.text().trim().to_owned();
                    return match &self.mode {
                        Mode::Command if text.is_empty() => Answer::Close,
                        Mode::Command => Answer::Run(Line::with("command.run", [text])),
                        Mode::Live { .. } => Answer::Run(Line::bare("filter.keep")),
                    };
                }
                KeyCode::Tab if self.mode == Mode::Command => {
                    self.choose(!chord.modifiers.contains(crossterm::event::KeyModifiers::SHIFT));
                    return Answer::Stay;
                }
                KeyCode::Up => {
                    self.recall(true, data);
                    return self.live();
                }
                KeyCode::Down => {
                    self.recall(false, data);
                    return self.live();
                }
                _ => {}
            }
        }
        if edit(&mut self.edit, input) {
            self.at = None;
            self.update(data);
            return self.live();
        }
        Answer::Stay
    }

    fn draw(&self, screen: Rect, buf: &mut Buffer, look: &Look<'_>) {
        if screen.height == 0 {
            return;
        }
        let row = Rect {
            y: screen.bottom() - 1,
            height: 1,
            ..screen
        };
        let bar = look.theme.style(Role::Bar);
        fill(buf, row, bar);
        let sign = if self.mode == Mode::Command { ":" } else { "/" };
        let x = put(
            buf,
            row.x + 1,
            row.y,
            row.right(),
            sign,
            bar.patch(look.theme.style(Role::Accent)),
        );
        let input = Rect {
            x,
            width: row.right().saturating_sub(x),
            ..row
        };
        look.cursor(
            self.edit
                .draw(input, buf, bar.patch(look.theme.style(Role::Input)), true),
        );
        if self.candidates.is_empty() {
            return;
        }
        let shown = self
            .candidates
            .len()
            .min(SHOWN)
            .min(usize::from(screen.height.saturating_sub(2)));
        let widest = self
            .candidates
            .iter()
            .map(|candidate| text::width(&candidate.text))
            .max()
            .unwrap_or(0)
            .min(40);
        let entries: Vec<TextLine> = self
            .candidates
            .iter()
            .map(|candidate| {
                TextLine::new()
                    .with(Role::Strong, &text::pad_right(&text::clean(&candidate.text), widest))
                    .with(Role::Dim, "  ")
                    .with(Role::Dim, &candidate.doc)
            })
            .collect();
        let area = Rect {
            y: row.y - shown as u16,
            height: shown as u16,
            width: screen.width.min(84),
            ..screen
        };
        fill(buf, area, look.theme.style(Role::Popup));
        let selected = self.selected.unwrap_or(usize::MAX);
        if selected == usize::MAX {
            List {
                entries: &entries[..shown],
                selected,
            }
            .draw(area, buf, look.theme);
        } else {
            List {
                entries: &entries,
                selected,
            }
            .draw(area, buf, look.theme);
        }
    }

    fn at_bottom(&self) -> bool {
        true
    }
}

impl Prompt {
    fn cancel(&self) -> Answer {
        match &self.mode {
            Mode::Command => Answer::Close,
            Mode::Live { action, before } => Answer::Run(Line::with(action, [before.clone()])),
        }
    }
}
