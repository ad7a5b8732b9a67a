//! Overlays: prompts, forms, pickers and confirmations. The topmost takes every input.

mod confirm;
mod form;
mod picker;
mod prompt;

pub use confirm::{Confirm, Guard};
pub use form::{Field, Form};
pub use picker::{Entry, Picker};
pub use prompt::{Candidate, Complete, Mode, Prompt};

use std::fmt::Debug;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Data, Input, Look};
use crate::cluster::{Content, Plan};
use crate::error::{Error, Result};
use crate::keys::Line;
use crate::store::Need;

/// What an overlay makes of an input.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Taken; it stays.
    Stay,
    /// It goes.
    Close,
    /// It goes, and the line runs. A form stays until what the line has asked for is answered.
    Run(Line),
    /// It goes, and the plan is carried out.
    Execute(Box<Plan>),
    /// The line runs while it stays (a filter that follows the typing).
    Live(Line),
}

/// Something over the view.
pub trait Overlay: Debug + Send {
    /// Takes an input.
    fn on(&mut self, input: &Input, data: &dyn Data) -> Answer;
    /// Draws itself over `screen`.
    fn draw(&self, screen: Rect, buf: &mut Buffer, look: &Look<'_>);
    /// What it reads.
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }
    /// Adjusts to new data.
    fn sync(&mut self, _data: &dyn Data) {}
    /// Whether it stays with the input in it while what it ran is under way.
    fn keeps_input(&self) -> bool {
        false
    }
    /// What it ran is under way.
    fn busy(&mut self) {}
    /// What it ran was refused: it says so, and its input can be mended.
    fn refuse(&mut self, _error: &Error) {}
    /// What it asked to be counted has been.
    fn learn(&mut self, _content: &Result<Content>) {}
    /// Whether it is about what is under the cursor: it stands beside that.
    fn is_about_cursor(&self) -> bool {
        false
    }
    /// Whether it replaces the bottom line.
    fn at_bottom(&self) -> bool {
        false
    }
}

/// Applies a key to a line editor; whether it was an editing key.
fn edit(line: &mut crate::widget::LineEdit, input: &Input) -> bool {
    use crossterm::event::{KeyCode, KeyModifiers};
    let chord = match input {
        Input::Paste(text) => {
            line.insert(text.lines().next().unwrap_or_default());
            return true;
        }
        Input::Key(chord) => *chord,
        Input::Mouse(_) => return false,
    };
    if let Some(ch) = chord.typed() {
        line.insert(ch.encode_utf8(&mut [0; 4]));
        return true;
    }
    let control = chord.modifiers.contains(KeyModifiers::CONTROL);
    match chord.code {
        KeyCode::Backspace if chord.modifiers.contains(KeyModifiers::ALT) => line.delete_word(),
        KeyCode::Backspace => {
            line.backspace();
        }
        KeyCode::Delete => line.delete(),
        KeyCode::Left => line.step(false),
        KeyCode::Right => line.step(true),
        KeyCode::Home => line.edge(false),
        KeyCode::End => line.edge(true),
        KeyCode::Char('a') if control => line.edge(false),
        KeyCode::Char('e') if control => line.edge(true),
        KeyCode::Char('b') if control => line.step(false),
        KeyCode::Char('f') if control => line.step(true),
        KeyCode::Char('w') if control => line.delete_word(),
        KeyCode::Char('u') if control => line.delete_to_start(),
        KeyCode::Char('d') if control => line.delete(),
        _ => return false,
    }
    true
}
