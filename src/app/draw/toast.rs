//! What is said, what is under way and what waits for the user, in a corner: it covers neither the hints nor the row one is at.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::{Level, State};
use crate::text;
use crate::theme::{Role, Theme};
use crate::view::Look;
use crate::widget::{fill, put};

/// Widest toast.
const WIDEST: usize = 72;
/// Most lines of one.
const LINES: usize = 6;

struct Toast {
    sign: &'static str,
    role: Role,
    /// Sentences, each in a role.
    text: Vec<(Role, String)>,
}

/// Draws them from the corner inwards: at the bottom, or at the top while the cursor or a prompt is there.
pub(super) fn draw(body: Rect, buf: &mut Buffer, state: &State, look: &Look<'_>) {
    let theme = look.theme;
    let low = |row| row >= body.y + body.height / 2;
    let prompted = state.layers.iter().any(|layer| layer.overlay.at_bottom());
    let low = prompted || state.view().focus().is_some_and(low);
    let mut edge = if low { body.y + 1 } else { body.bottom() };
    for toast in toasts(state, look) {
        let widest = usize::from(body.width.saturating_sub(6)).min(WIDEST);
        let lines = lines(&toast, widest);
        let height = lines.len() as u16;
        let width = lines.iter().map(|(_, line)| text::width(line)).max().unwrap_or(0) as u16 + 5;
        let y = if low { edge } else { edge.saturating_sub(height) };
        if width > body.width || y < body.y || y + height > body.bottom() {
            return;
        }
        let place = Rect {
            x: body.right() - width,
            y,
            width,
            height,
        };
        draw_one(place, buf, theme, &toast, &lines);
        edge = if low { y + height } else { y };
    }
}

fn lines(toast: &Toast, widest: usize) -> Vec<(Role, String)> {
    let wrap = |(role, sentence): &(Role, String)| {
        let sentence = text::clean(sentence).into_owned();
        let pieces = text::wrap(&sentence, widest, 0);
        pieces
            .into_iter()
            .map(|piece| (*role, piece.to_owned()))
            .collect::<Vec<_>>()
    };
    toast.text.iter().flat_map(wrap).take(LINES).collect()
}

fn draw_one(place: Rect, buf: &mut Buffer, theme: &Theme, toast: &Toast, lines: &[(Role, String)]) {
    let base = theme.style(Role::Popup);
    let edge = base.patch(theme.style(toast.role));
    fill(buf, place, base);
    for (line, (role, text)) in lines.iter().enumerate() {
        let y = place.y + line as u16;
        put(buf, place.x, y, place.right(), theme.signs.cursor, edge);
        if line == 0 {
            put(buf, place.x + 2, y, place.right(), toast.sign, edge);
        }
        let style = base.patch(theme.style(*role));
        put(buf, place.x + 4, y, place.right(), text, style);
    }
}

fn toasts(state: &State, look: &Look<'_>) -> Vec<Toast> {
    let signs = &look.theme.signs;
    let mut toasts = Vec::new();
    if let Some(flash) = &state.flash {
        let (sign, role) = match flash.level {
            Level::Info => (signs.done, Role::Accent),
            Level::Warning => (signs.warning, Role::Warning),
            Level::Error => (signs.failed, Role::Failed),
        };
        let hints = flash.hints.iter().take(2).map(|hint| (Role::Dim, hint.clone()));
        let text = std::iter::once((Role::Text, flash.text.clone())).chain(hints);
        toasts.push(Toast {
            sign,
            role,
            text: text.collect(),
        });
    }
    if let Some(notice) = state.notices.front() {
        let more = match state.notices.len() - 1 {
            0 => String::new(),
            more => format!(", {more} more wait"),
        };
        let key = look.key("notice.open");
        let key = if key.is_empty() { ":notice.open".to_owned() } else { key };
        toasts.push(Toast {
            sign: signs.warning,
            role: Role::Warning,
            text: vec![
                (Role::Text, notice.text.clone()),
                (Role::Dim, format!("{key} opens it{more}")),
            ],
        });
    }
    // What is over at once need not be announced.
    let under_way = state
        .operations
        .values()
        .filter(|operation| operation.progress.total > 1 || !operation.progress.waits.is_empty());
    toasts.extend(under_way.map(|operation| {
        let progress = &operation.progress;
        let failed = match progress.failed {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        let stop = if operation.cancelled { "stopping" } else { "C-c stops" };
        let head = format!(
            "{}  {}/{}{failed}  {stop}",
            operation.title, progress.tried, progress.total
        );
        let waits = progress.waits.iter().take(3);
        let waits = waits.map(|(name, why)| (Role::Dim, format!("{name}: {why}")));
        Toast {
            sign: signs.progress,
            role: Role::Progress,
            text: std::iter::once((Role::Text, head)).chain(waits).collect(),
        }
    }));
    toasts
}
