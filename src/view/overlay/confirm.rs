//! Confirmations: they name their pinned targets and the impact, and the safe answer is the default.

use crossterm::event::KeyCode;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Answer, Overlay};
use crate::document::{Document, TextLine};
use crate::keys::Line;
use crate::store::{FeedState, Need, Query};
use crate::text;
use crate::theme::Role;
use crate::view::{Data, Input, Look, Target};
use crate::widget::{Anchor, popup, put_line};

/// A question with a safe answer.
#[derive(Debug)]
pub struct Confirm {
    /// What will happen, in one line.
    pub title: String,
    /// The impact: what cascades, what comes back.
    pub impact: Vec<TextLine>,
    /// The word on the dangerous answer: `delete`.
    pub verb: String,
    /// What runs on yes.
    pub line: Line,
    /// What it is about; when the last of them vanishes, the dialog says so and yes does nothing.
    pub targets: Vec<Target>,
    /// Whether the targets are known to be gone.
    pub gone: bool,
    /// Whether the dangerous answer is chosen.
    pub yes: bool,
}

impl Confirm {
    /// A question about `targets`; `no` is chosen.
    pub fn new(title: String, verb: &str, line: Line, targets: Vec<Target>, impact: Vec<TextLine>) -> Self {
        Self {
            title,
            impact,
            verb: verb.to_owned(),
            line,
            targets,
            gone: false,
            yes: false,
        }
    }

    fn single(&self) -> Option<Need> {
        let [target] = self.targets.as_slice() else { return None };
        let namespace = target.id.namespace().map(Into::into);
        Some(Need::all(Query::object(
            target.resource.clone(),
            namespace,
            &target.id.name,
        )))
    }

    fn accept(&self) -> Answer {
        if self.gone {
            Answer::Close
        } else {
            Answer::Run(self.line.clone())
        }
    }
}

impl Overlay for Confirm {
    fn on(&mut self, input: &Input, _data: &dyn Data) -> Answer {
        let Input::Key(chord) = input else { return Answer::Stay };
        match chord.code {
            KeyCode::Esc | KeyCode::Char('n' | 'q') => Answer::Close,
            KeyCode::Char('c') if chord.is_control('c') => Answer::Close,
            KeyCode::Char('y') if chord.typed().is_some() => self.accept(),
            KeyCode::Enter if self.yes => self.accept(),
            KeyCode::Enter => Answer::Close,
            KeyCode::Left | KeyCode::Right | KeyCode::Tab | KeyCode::Char('h' | 'l') => {
                self.yes = !self.yes;
                Answer::Stay
            }
            _ => Answer::Stay,
        }
    }

    fn needs(&self) -> Vec<Need> {
        self.single().into_iter().collect()
    }

    fn sync(&mut self, data: &dyn Data) {
        if let Some(need) = self.single() {
            let listing = data.listing(&need);
            let uid = &self.targets[0].id.uid;
            self.gone = listing.state == FeedState::Live && listing.position(uid, 0).is_none();
        }
    }

    fn draw(&self, screen: Rect, buf: &mut Buffer, look: &Look<'_>) {
        let room = usize::from(screen.width.saturating_sub(8)).clamp(20, 76);
        let mut body = Document::new();
        for line in &self.impact {
            let plain = line.plain();
            let role = line.spans.first().map_or(Role::Text, |span| span.role);
            for piece in text::wrap(&plain, room, 2) {
                body.push(TextLine::new().with(role, piece));
            }
        }
        if self.gone {
            body.push(TextLine::new().with(Role::Warning, "It is gone already: there is nothing left to do."));
        }
        let widest = body
            .lines
            .iter()
            .map(|line| text::width(&line.plain()))
            .max()
            .unwrap_or(0);
        let width = widest.max(text::width(&self.title)).max(34).min(room) as u16;
        let height = body.lines.len() as u16 + 3;
        let title = TextLine::new().with(Role::Danger, &text::cut_middle(&self.title, room));
        let inner = popup(screen, buf, look.theme, Anchor::Centre, (width, height), &title);
        let base = look.theme.style(Role::Popup);
        let mut y = inner.y;
        for line in &body.lines {
            if y + 1 >= inner.bottom() {
                break;
            }
            put_line(buf, inner.x, y, inner.right(), line, base, look.theme);
            y += 1;
        }
        let option = |key: &str, word: &str, chosen: bool, role: Role| {
            let (open, close) = if chosen { ("[", "]") } else { (" ", " ") };
            TextLine::new()
                .with(if chosen { Role::Selected } else { Role::Text }, open)
                .with(Role::Key, key)
                .with(role, &format!(" {word}"))
                .with(if chosen { Role::Selected } else { Role::Text }, close)
        };
        let y = (y + 1).min(inner.bottom().saturating_sub(1));
        if self.gone {
            put_line(
                buf,
                inner.x,
                y,
                inner.right(),
                &option("Esc", "close", true, Role::Text),
                base,
                look.theme,
            );
            return;
        }
        let x = put_line(
            buf,
            inner.x,
            y,
            inner.right(),
            &option("n", "keep", !self.yes, Role::Text),
            base,
            look.theme,
        );
        put_line(
            buf,
            x + 2,
            y,
            inner.right(),
            &option("y", &self.verb, self.yes, Role::Danger),
            base,
            look.theme,
        );
    }
}
