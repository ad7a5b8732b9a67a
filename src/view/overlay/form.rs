//! Forms: a few labelled fields, Tab between them, Enter submits.

use crossterm::event::{KeyCode, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Answer, Overlay, edit};
use crate::document::TextLine;
use crate::error::Error;
use crate::keys::Line;
use crate::text;
use crate::theme::Role;
use crate::view::{Data, Input, Look};
use crate::widget::{LineEdit, popup, put, put_line};

/// One field.
#[derive(Debug)]
pub struct Field {
    /// Flag it becomes: `--image`.
    pub flag: &'static str,
    /// Label before it.
    pub label: &'static str,
    /// What it takes, shown while it is empty.
    pub hint: String,
    /// May not be empty.
    pub required: bool,
    /// Known values, offered by Tab-less arrows (Up and Down).
    pub choices: Vec<String>,
    /// Its text.
    pub edit: LineEdit,
}

impl Field {
    /// An empty field.
    pub fn new(flag: &'static str, label: &'static str, hint: &str) -> Self {
        Self {
            flag,
            label,
            hint: hint.to_owned(),
            required: false,
            choices: Vec::new(),
            edit: LineEdit::default(),
        }
    }

    /// It must be filled.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// It starts with a text, which is replaced by what is typed.
    #[must_use]
    pub fn with(mut self, text: &str) -> Self {
        self.edit.offer(text);
        self
    }

    /// Values to step through.
    #[must_use]
    pub fn choices(mut self, choices: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.choices = choices.into_iter().map(Into::into).collect();
        self
    }
}

/// Fields, and the action that takes them.
#[derive(Debug)]
pub struct Form {
    title: String,
    note: Vec<TextLine>,
    fields: Vec<Field>,
    focus: usize,
    line: Line,
    wrong: Option<Error>,
    /// What was asked for is under way.
    busy: bool,
}

impl Form {
    /// A form that runs `line` with each filled field appended as `FLAG=VALUE`.
    pub fn new(title: &str, line: Line, fields: Vec<Field>) -> Self {
        Self {
            title: title.to_owned(),
            note: Vec::new(),
            fields,
            focus: 0,
            line,
            wrong: None,
            busy: false,
        }
    }

    /// Adds lines above the fields.
    #[must_use]
    pub fn with_note(mut self, note: Vec<TextLine>) -> Self {
        self.note = note;
        self
    }

    fn submit(&mut self) -> Answer {
        if let Some(at) = self
            .fields
            .iter()
            .position(|field| field.required && field.edit.text().trim().is_empty())
        {
            self.focus = at;
            self.wrong = Some(Error::usage(format!("{} is needed", self.fields[at].label)));
            return Answer::Stay;
        }
        let mut line = self.line.clone();
        for field in &self.fields {
            let text = field.edit.text().trim();
            if !text.is_empty() {
                line.args.push(format!("{}={text}", field.flag));
            }
        }
        Answer::Run(line)
    }

    fn step(&mut self, forward: bool) {
        let count = self.fields.len();
        self.focus = if forward {
            (self.focus + 1) % count
        } else {
            (self.focus + count - 1) % count
        };
    }

    fn choose(&mut self, forward: bool) {
        let field = &mut self.fields[self.focus];
        let count = field.choices.len();
        if count == 0 {
            return self.step(forward);
        }
        let at = field.choices.iter().position(|choice| choice == field.edit.text());
        let next = match (at, forward) {
            (None, true) => 0,
            (None, false) => count - 1,
            (Some(at), true) => (at + 1) % count,
            (Some(at), false) => (at + count - 1) % count,
        };
        let text = field.choices[next].clone();
        field.edit.set(&text);
    }
}

impl Overlay for Form {
    fn on(&mut self, input: &Input, _data: &dyn Data) -> Answer {
        if let Input::Key(chord) = input {
            match chord.code {
                KeyCode::Esc => return Answer::Close,
                KeyCode::Char('c') if chord.is_control('c') => return Answer::Close,
                _ if self.busy => return Answer::Stay,
                KeyCode::Enter => return self.submit(),
                KeyCode::Tab => {
                    self.step(!chord.modifiers.contains(KeyModifiers::SHIFT));
                    return Answer::Stay;
                }
                KeyCode::Up => {
                    self.choose(false);
                    return Answer::Stay;
                }
                KeyCode::Down => {
                    self.choose(true);
                    return Answer::Stay;
                }
                _ => {}
            }
        }
        if !self.busy && edit(&mut self.fields[self.focus].edit, input) {
            self.wrong = None;
        }
        Answer::Stay
    }

    fn keeps_input(&self) -> bool {
        true
    }

    fn busy(&mut self) {
        self.busy = true;
        self.wrong = None;
    }

    fn refuse(&mut self, error: &Error) {
        self.busy = false;
        self.wrong = Some(error.clone());
    }

    fn draw(&self, screen: Rect, buf: &mut Buffer, look: &Look<'_>) {
        let labels = self
            .fields
            .iter()
            .map(|field| text::width(field.label))
            .max()
            .unwrap_or(0) as u16;
        let width = 72.min(screen.width.saturating_sub(4));
        // A reason is never cut: what to mend may stand at its end.
        let mut foot: Vec<TextLine> = Vec::new();
        if let Some(wrong) = &self.wrong {
            let room = usize::from(width.saturating_sub(3)).max(10);
            let reason = text::clean(&format!("{} {}", look.theme.signs.failed, wrong.line())).into_owned();
            let hints = wrong
                .hints
                .iter()
                .map(|hint| (Role::Dim, text::clean(hint).into_owned()));
            for (role, said) in std::iter::once((Role::Failed, reason)).chain(hints) {
                foot.extend(
                    text::wrap(&said, room, 2)
                        .into_iter()
                        .map(|piece| TextLine::new().with(role, piece)),
                );
            }
        }
        let height = (self.note.len() + self.fields.len() + foot.len().max(1) + 1) as u16;
        let title = TextLine::new().with(Role::PopupTitle, &self.title);
        let inner = popup(screen, buf, look.theme, look.anchor(), (width, height), &title);
        let base = look.theme.style(Role::Popup);
        let mut y = inner.y;
        for line in &self.note {
            put_line(buf, inner.x, y, inner.right(), line, base, look.theme);
            y += 1;
        }
        for (at, field) in self.fields.iter().enumerate() {
            if y >= inner.bottom() {
                return;
            }
            let focused = at == self.focus;
            let role = if focused { Role::Strong } else { Role::Field };
            put(
                buf,
                inner.x,
                y,
                inner.right(),
                field.label,
                base.patch(look.theme.style(role)),
            );
            let x = inner.x + labels + 2;
            let row = Rect {
                x,
                y,
                width: inner.right().saturating_sub(x),
                height: 1,
            };
            if field.edit.text().is_empty() {
                let hint = base.patch(look.theme.style(Role::Dim));
                put(buf, x + 1, y, inner.right(), &field.hint, hint);
            }
            let input = base.patch(look.theme.style(Role::Input));
            look.cursor(field.edit.draw(row, buf, input, focused));
            y += 1;
        }
        if foot.is_empty() {
            let line = if self.busy {
                TextLine::new().with(Role::Progress, &format!("{} sending ...", look.theme.signs.progress))
            } else {
                let mut foot = TextLine::new().with(Role::Key, "Enter").with(Role::Dim, " send   ");
                if self.fields.len() > 1 {
                    foot.push(Role::Key, "Tab");
                    foot.push(Role::Dim, " next   ");
                }
                if !self.fields[self.focus].choices.is_empty() {
                    foot.push(Role::Key, "↑↓");
                    foot.push(Role::Dim, " known values   ");
                }
                foot.push(Role::Key, "Esc");
                foot.push(Role::Dim, " leave");
                foot
            };
            foot.push(line);
        }
        let count = foot.len() as u16;
        for (at, line) in foot.iter().enumerate() {
            let y = inner.bottom().saturating_sub(count).max(y) + at as u16;
            if y < inner.bottom() {
                put_line(buf, inner.x, y, inner.right(), line, base, look.theme);
            }
        }
    }
}
