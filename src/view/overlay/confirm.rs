//! Confirmations: they name their pinned targets and the impact, and the safe answer is the default.

use crossterm::event::KeyCode;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Answer, Overlay, edit};
use crate::cluster::{Content, Plan};
use crate::document::{Document, TextLine};
use crate::error::Result;
use crate::keys::Line;
use crate::store::{FeedState, Need, Query};
use crate::text;
use crate::theme::Role;
use crate::view::{Data, Input, Look, Target};
use crate::widget::{Anchor, LineEdit, popup, put, put_line};

/// A word that must be typed where a key would be too easy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    word: String,
    edit: LineEdit,
    /// Whether it is there only as long as it is not known that nothing is lost.
    until_counted: bool,
}

impl Guard {
    /// A guard that `word` opens.
    pub fn new(word: &str) -> Self {
        Self {
            word: word.to_owned(),
            edit: LineEdit::default(),
            until_counted: false,
        }
    }

    /// It goes when what is to be deleted turns out to be empty.
    #[must_use]
    pub fn until_counted(mut self) -> Self {
        self.until_counted = true;
        self
    }
}

/// What yes does.
#[derive(Debug)]
enum Yes {
    Run(Line),
    Execute(Box<Plan>),
}

/// A question with a safe answer.
#[derive(Debug)]
pub struct Confirm {
    /// What will happen, in one line.
    title: String,
    /// The impact: what cascades, what comes back.
    impact: Vec<TextLine>,
    /// What is being counted, or was.
    counted: Option<TextLine>,
    /// The word on the dangerous answer: `delete`.
    verb: String,
    does: Yes,
    /// What it is about; when the last of them vanishes, the dialog says so and yes does nothing.
    targets: Vec<Target>,
    gone: bool,
    /// Whether the dangerous answer is chosen.
    yes: bool,
    guard: Option<Guard>,
    /// It stands at the bottom, below what it is about.
    low: bool,
}

impl Confirm {
    /// A question before a line runs; `no` is chosen.
    pub fn new(title: String, verb: &str, line: Line, impact: Vec<TextLine>) -> Self {
        Self::made(title, verb, Yes::Run(line), Vec::new(), impact)
    }

    /// A question before a plan about `targets` is carried out; `no` is chosen.
    pub fn about(title: String, verb: &str, plan: Plan, targets: Vec<Target>, impact: Vec<TextLine>) -> Self {
        Self::made(title, verb, Yes::Execute(Box::new(plan)), targets, impact)
    }

    fn made(title: String, verb: &str, does: Yes, targets: Vec<Target>, impact: Vec<TextLine>) -> Self {
        Self {
            title,
            impact,
            counted: None,
            verb: verb.to_owned(),
            does,
            targets,
            gone: false,
            yes: false,
            guard: None,
            low: false,
        }
    }

    /// The word must be typed. A stricter guard that is there already stays.
    #[must_use]
    pub fn guarded(mut self, guard: Guard) -> Self {
        self.guard.get_or_insert(guard);
        self
    }

    /// It says that something is being counted, until it is.
    #[must_use]
    pub fn counting(mut self) -> Self {
        self.counted = Some(TextLine::new().with(Role::Dim, "Counting what is in it ..."));
        self
    }

    /// It stands at the bottom, below what it is about.
    #[must_use]
    pub fn at_bottom(mut self) -> Self {
        self.low = true;
        self
    }

    fn single(&self) -> Option<Need> {
        let [target] = self.targets.as_slice() else { return None };
        Some(Need::all(Query::object(target.resource.clone(), &target.id)))
    }

    fn accept(&self) -> Answer {
        match &self.does {
            _ if self.gone => Answer::Close,
            Yes::Run(line) => Answer::Run(line.clone()),
            Yes::Execute(plan) => Answer::Execute(plan.clone()),
        }
    }

    /// What is said, one line of the dialog each.
    fn body(&self, room: usize) -> Document {
        let mut body = Document::new();
        for line in self.impact.iter().chain(&self.counted) {
            let plain = line.plain();
            let role = line.spans.first().map_or(Role::Text, |span| span.role);
            for piece in text::wrap(&plain, room, 2) {
                body.push(TextLine::new().with(role, piece));
            }
        }
        if self.gone {
            body.push(TextLine::new().with(Role::Warning, "It is gone already: there is nothing left to do."));
        }
        body
    }
}

impl Overlay for Confirm {
    fn on(&mut self, input: &Input, _data: &dyn Data) -> Answer {
        if let Some(guard) = self.guard.as_mut().filter(|_| !self.gone) {
            if let Input::Key(chord) = input {
                match chord.code {
                    KeyCode::Esc => return Answer::Close,
                    KeyCode::Char('c') if chord.is_control('c') => return Answer::Close,
                    KeyCode::Enter if guard.edit.text().trim() == guard.word => return self.accept(),
                    KeyCode::Enter if guard.edit.text().is_empty() => return Answer::Close,
                    KeyCode::Enter => return Answer::Stay,
                    _ => {}
                }
            }
            edit(&mut guard.edit, input);
            return Answer::Stay;
        }
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
            self.gone = listing.state == FeedState::Live && listing.find(&self.targets[0].id).is_none();
        }
    }

    fn is_about_cursor(&self) -> bool {
        !self.targets.is_empty()
    }

    fn learn(&mut self, content: &Result<Content>) {
        self.counted = Some(match content {
            Ok(Content { objects: 0, .. }) => TextLine::new().with(Role::Dim, "There is nothing in it."),
            Ok(content) => {
                let pods = match usize::try_from(content.pods).unwrap_or(usize::MAX) {
                    0 => String::new(),
                    pods => format!(", {} among them", text::count(pods, "pod")),
                };
                let objects = usize::try_from(content.objects).unwrap_or(usize::MAX);
                let verb = if objects == 1 { "goes" } else { "go" };
                TextLine::new().with(
                    Role::Danger,
                    &format!("{} {verb} with it{pods}.", text::count(objects, "object")),
                )
            }
            Err(error) => TextLine::new().with(
                Role::Warning,
                &format!("What is in it cannot be counted: {}", error.line()),
            ),
        });
        let empty = matches!(content, Ok(Content { objects: 0, .. }));
        // A word that has been begun is finished.
        self.guard = self
            .guard
            .take()
            .filter(|guard| !(empty && guard.until_counted && guard.edit.text().is_empty()));
    }

    fn draw(&self, screen: Rect, buf: &mut Buffer, look: &Look<'_>) {
        let room = usize::from(screen.width.saturating_sub(8)).clamp(20, 76);
        let body = self.body(room);
        let guard = self.guard.as_ref().filter(|_| !self.gone);
        let asked = guard.map(|guard| format!("Type {} to {}: ", guard.word, self.verb));
        let widest = body
            .lines
            .iter()
            .map(|line| text::width(&line.plain()))
            .chain(asked.as_ref().map(|asked| text::width(asked) + 20))
            .max()
            .unwrap_or(0);
        let width = widest.max(text::width(&self.title)).max(34).min(room) as u16;
        let height = body.lines.len() as u16 + 2;
        let title = TextLine::new().with(Role::Danger, &text::cut_middle(&self.title, room));
        let above = Rect {
            height: screen.height.saturating_sub(u16::from(self.low)),
            ..screen
        };
        let anchor = if self.low { Anchor::Bottom } else { look.anchor() };
        let inner = popup(above, buf, look.theme, anchor, (width, height), &title);
        let base = look.theme.style(Role::Popup);
        let mut y = inner.y;
        for line in &body.lines {
            if y + 1 >= inner.bottom() {
                break;
            }
            put_line(buf, inner.x, y, inner.right(), line, base, look.theme);
            y += 1;
        }
        let y = (y + 1).min(inner.bottom().saturating_sub(1));
        if let (Some(guard), Some(asked)) = (guard, asked) {
            let x = put(
                buf,
                inner.x,
                y,
                inner.right(),
                &asked,
                base.patch(look.theme.style(Role::Danger)),
            );
            let field = Rect {
                x,
                y,
                width: inner.right().saturating_sub(x),
                height: 1,
            };
            let input = base.patch(look.theme.style(Role::Input));
            look.cursor(guard.edit.draw(field, buf, input, true));
            return;
        }
        let option = |key: &str, word: &str, chosen: bool, role: Role| {
            let (open, close) = if chosen { ("[", "]") } else { (" ", " ") };
            let line = TextLine::new()
                .with(Role::Text, open)
                .with(Role::Key, key)
                .with(role, &format!(" {word}"))
                .with(Role::Text, close);
            // All of it is chosen, not its brackets: without colours that is what tells.
            let below = if chosen { look.theme.style(Role::Selected) } else { base };
            (line, base.patch(below))
        };
        let mut options = vec![option("n", "keep", !self.yes, Role::Text)];
        if self.gone {
            options = vec![option("Esc", "close", true, Role::Text)];
        } else {
            options.push(option("y", &self.verb, self.yes, Role::Danger));
        }
        let mut x = inner.x;
        for (option, base) in options {
            x = put_line(buf, x, y, inner.right(), &option, base, look.theme) + 2;
        }
    }
}
