//! A program in a pane: keys go to it, its screen is drawn cell by cell.

use bytes::Bytes;
use crossterm::event::{KeyCode, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::{Data, Input, Look, MouseKind, Reply, View};
use crate::document::TextLine;
use crate::keys::{Chord, Scope};
use crate::session::{Info, SessionId, Spec, Status};
use crate::text;
use crate::theme::{Role, Theme};
use crate::widget::{fill, put, put_line};

/// The view of a terminal session.
#[derive(Debug)]
pub struct Terminal {
    id: SessionId,
    title: String,
    size: (u16, u16),
    ended: bool,
    application_cursor: bool,
    bracketed_paste: bool,
}

impl Terminal {
    /// A view of the terminal session `id`.
    pub fn new(id: SessionId, title: String) -> Self {
        Self {
            id,
            title,
            size: (0, 0),
            ended: false,
            application_cursor: false,
            bracketed_paste: false,
        }
    }
}

/// The context a session belongs to.
fn info_context(data: &dyn Data, id: SessionId) -> String {
    data.session(id)
        .map_or_else(String::new, |info| info.context.to_string())
}

fn is_over(info: &Info) -> bool {
    matches!(info.status, Status::Ended(_) | Status::Failed(_))
}

impl View for Terminal {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn crumbs(&self) -> Vec<String> {
        vec![self.title.clone()]
    }

    fn status(&self, data: &dyn Data) -> String {
        match data.session(self.id) {
            Some(Info {
                status: Status::Opening,
                ..
            }) => "opening ...".into(),
            Some(Info {
                status: Status::Ended(Some(code)),
                ..
            }) => format!("ended with exit code {code}"),
            Some(Info {
                status: Status::Ended(None) | Status::Failed(_),
                ..
            }) => "ended".into(),
            Some(Info {
                spec: Spec::Exec(exec), ..
            }) => match exec.target.container {
                Some(container) if data.cluster().id != exec.target.cluster => {
                    format!("container {container} in {}", info_context(data, self.id))
                }
                Some(container) => format!("container {container}"),
                None => String::new(),
            },
            _ => String::new(),
        }
    }

    fn scopes(&self) -> Vec<Scope> {
        // An ended program takes no keys: the usual ones work again.
        if self.ended {
            vec!["terminal", "text"]
        } else {
            vec!["terminal"]
        }
    }

    fn hints(&self) -> &'static [(&'static str, &'static str)] {
        if self.ended {
            &[("view.back", "close"), ("tab.last", "other tab")]
        } else {
            &[("pane.leave", "leave it running"), ("tab.close", "end it")]
        }
    }

    fn is_raw(&self) -> bool {
        !self.ended
    }

    fn sync(&mut self, data: &dyn Data) {
        self.ended = data.session(self.id).is_none_or(|info| is_over(&info));
        if let Some(screen) = data.screen(self.id) {
            self.application_cursor = screen.application_cursor();
            self.bracketed_paste = screen.bracketed_paste();
        }
    }

    fn layout(&mut self, area: Rect, _data: &dyn Data) -> Reply {
        self.size = (area.width, area.height);
        Reply::Resize(self.id, area.width.max(1), area.height.max(1))
    }

    fn on(&mut self, input: &Input, _data: &dyn Data) -> Reply {
        if self.ended {
            return Reply::Ignored;
        }
        let bytes = match input {
            Input::Key(chord) => encode(*chord, self.application_cursor),
            // What a paste may not do is end the paste.
            Input::Paste(text) if self.bracketed_paste => {
                format!("\x1b[200~{}\x1b[201~", text.replace('\x1b', "")).into_bytes()
            }
            Input::Paste(text) => text.replace('\n', "\r").into_bytes(),
            Input::Mouse(mouse) => match mouse.kind {
                MouseKind::WheelUp => encode(arrow(KeyCode::Up), self.application_cursor).repeat(3),
                MouseKind::WheelDown => encode(arrow(KeyCode::Down), self.application_cursor).repeat(3),
                MouseKind::Click | MouseKind::Drag | MouseKind::Release => Vec::new(),
            },
        };
        if bytes.is_empty() {
            Reply::Done
        } else {
            Reply::Send(self.id, Bytes::from(bytes))
        }
    }

    fn sessions(&self) -> Vec<SessionId> {
        vec![self.id]
    }

    fn draw(&self, area: Rect, buf: &mut Buffer, look: &Look<'_>) {
        let info = look.data.session(self.id);
        if let Some(screen) = look.data.screen(self.id) {
            look.cursor(draw_screen(area, buf, &screen, look.theme, !self.ended));
        }
        let note = match info.as_ref().map(|info| &info.status) {
            Some(Status::Failed(error)) => {
                let mut lines =
                    vec![TextLine::new().with(Role::Failed, &format!("{} {}", look.theme.signs.failed, error.line()))];
                lines.extend(
                    error
                        .hints
                        .iter()
                        .map(|hint| TextLine::new().with(Role::Dim, &format!("  {hint}"))),
                );
                lines
            }
            Some(Status::Ended(code)) => {
                let (role, word) = match code {
                    Some(0) => (Role::Done, format!("{} ended with exit code 0", look.theme.signs.done)),
                    Some(code) => (
                        Role::Warning,
                        format!("{} ended with exit code {code}", look.theme.signs.warning),
                    ),
                    None => (Role::Dim, "the session has ended".to_owned()),
                };
                vec![
                    TextLine::new()
                        .with(role, &word)
                        .with(Role::Dim, &format!("   {} closes the tab", look.key("view.back"))),
                ]
            }
            Some(Status::Opening) => {
                vec![TextLine::new().with(Role::Dim, &format!("{} opening ...", look.theme.signs.progress))]
            }
            _ => return,
        };
        let wide = usize::from(area.width.saturating_sub(2)).max(8);
        let pieces: Vec<TextLine> = note
            .iter()
            .flat_map(|line| {
                let plain = line.plain();
                if text::width(&plain) <= wide {
                    return vec![line.clone()];
                }
                let role = line.spans.first().map_or(Role::Text, |span| span.role);
                text::wrap(&plain, wide, 2)
                    .into_iter()
                    .map(|piece| TextLine::new().with(role, piece))
                    .collect()
            })
            .collect();
        let height = (pieces.len() as u16).min(area.height);
        let place = Rect {
            y: area.bottom() - height,
            height,
            ..area
        };
        fill(buf, place, look.theme.style(Role::Bar));
        for (at, line) in pieces.iter().take(usize::from(height)).enumerate() {
            put_line(
                buf,
                place.x + 1,
                place.y + at as u16,
                place.right(),
                line,
                look.theme.style(Role::Bar),
                look.theme,
            );
        }
    }
}

fn arrow(code: KeyCode) -> Chord {
    Chord {
        code,
        modifiers: KeyModifiers::NONE,
    }
}

/// Draws a screen; gives the cell of its cursor.
fn draw_screen(
    area: Rect,
    buf: &mut Buffer,
    screen: &vt100::Screen,
    theme: &Theme,
    cursor: bool,
) -> Option<(u16, u16)> {
    let base = theme.style(Role::Text);
    for row in 0..area.height {
        for column in 0..area.width {
            let Some(cell) = screen.cell(row, column) else { continue };
            if cell.is_wide_continuation() {
                continue;
            }
            let mut style = base;
            if let Some(colour) = colour(cell.fgcolor()) {
                style = style.fg(colour);
            }
            if let Some(colour) = colour(cell.bgcolor()) {
                style = style.bg(colour);
            }
            for (on, modifier) in [
                (cell.bold(), Modifier::BOLD),
                (cell.dim(), Modifier::DIM),
                (cell.italic(), Modifier::ITALIC),
                (cell.underline(), Modifier::UNDERLINED),
                (cell.inverse(), Modifier::REVERSED),
            ] {
                if on {
                    style = style.add_modifier(modifier);
                }
            }
            let (x, y) = (area.x + column, area.y + row);
            if cell.has_contents() {
                put(buf, x, y, area.right(), cell.contents(), style);
            } else if style != base {
                put(buf, x, y, area.right(), " ", style);
            }
        }
    }
    if !cursor || screen.hide_cursor() {
        return None;
    }
    let (row, column) = screen.cursor_position();
    let at = (area.x + column.min(area.width.saturating_sub(1)), area.y + row);
    let cell = buf.cell_mut(at).filter(|_| row < area.height)?;
    cell.set_style(Style::default().add_modifier(Modifier::REVERSED));
    Some(at)
}

fn colour(colour: vt100::Color) -> Option<Color> {
    match colour {
        vt100::Color::Default => None,
        vt100::Color::Idx(index) => Some(Color::Indexed(index)),
        vt100::Color::Rgb(red, green, blue) => Some(Color::Rgb(red, green, blue)),
    }
}

/// The bytes an xterm sends for a key.
fn encode(chord: Chord, application: bool) -> Vec<u8> {
    let modifiers = chord.modifiers;
    let control = modifiers.contains(KeyModifiers::CONTROL);
    let alt = modifiers.contains(KeyModifiers::ALT);
    let code = 1 + u8::from(modifiers.contains(KeyModifiers::SHIFT)) + 2 * u8::from(alt) + 4 * u8::from(control);
    let letter = |ch: char| match (code, application) {
        (1, true) => format!("\x1bO{ch}").into_bytes(),
        (1, false) => format!("\x1b[{ch}").into_bytes(),
        _ => format!("\x1b[1;{code}{ch}").into_bytes(),
    };
    let tilde = |number: u8| match code {
        1 => format!("\x1b[{number}~").into_bytes(),
        _ => format!("\x1b[{number};{code}~").into_bytes(),
    };
    let mut bytes = match chord.code {
        KeyCode::Char(ch) if control => match ch.to_ascii_lowercase() {
            ch @ 'a'..='z' => vec![ch as u8 - b'a' + 1],
            ' ' | '@' | '2' => vec![0],
            '[' | '3' => vec![27],
            '\\' | '4' => vec![28],
            ']' | '5' => vec![29],
            '^' | '6' => vec![30],
            '_' | '/' | '7' => vec![31],
            '8' | '?' => vec![127],
            ch => ch.to_string().into_bytes(),
        },
        KeyCode::Char(ch) => ch.to_string().into_bytes(),
        KeyCode::Enter => vec![b'\r'],
        KeyCode::Tab if modifiers.contains(KeyModifiers::SHIFT) => b"\x1b[Z".to_vec(),
        KeyCode::Tab => vec![b'\t'],
        KeyCode::Backspace if control => vec![8],
        KeyCode::Backspace => vec![127],
        KeyCode::Esc => vec![27],
        KeyCode::Up => return letter('A'),
        KeyCode::Down => return letter('B'),
        KeyCode::Right => return letter('C'),
        KeyCode::Left => return letter('D'),
        KeyCode::Home => return letter('H'),
        KeyCode::End => return letter('F'),
        KeyCode::Insert => return tilde(2),
        KeyCode::Delete => return tilde(3),
        KeyCode::PageUp => return tilde(5),
        KeyCode::PageDown => return tilde(6),
        KeyCode::F(number @ 1..=4) => {
            let ch = char::from(b'P' + number - 1);
            return if code == 1 {
                format!("\x1bO{ch}").into_bytes()
            } else {
                letter(ch)
            };
        }
        KeyCode::F(number @ 5..=12) => return tilde([15, 17, 18, 19, 20, 21, 23, 24][usize::from(number) - 5]),
        _ => Vec::new(),
    };
    if alt && !bytes.is_empty() {
        bytes.insert(0, 27);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sent_as_an_xterm_sends_them() {
        let bytes = |text: &str, application| encode(Chord::parse(text).expect("key"), application);
        assert_eq!(bytes("<C-c>", false), [3]);
        assert_eq!(bytes("<up>", false), b"\x1b[A");
        assert_eq!(bytes("<up>", true), b"\x1bOA");
        assert_eq!(bytes("<C-left>", true), b"\x1b[1;5D");
        assert_eq!(bytes("<A-x>", false), b"\x1bx");
        assert_eq!(bytes("<F5>", false), b"\x1b[15~");
        assert_eq!(bytes("<ret>", false), b"\r");
        assert_eq!(bytes("한", false), "한".as_bytes());
    }
}
