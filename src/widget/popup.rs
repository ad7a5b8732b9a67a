//! Popups: a filled, titled area near what they are about, and lists inside them.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::canvas::{fill, put};
use crate::document::TextLine;
use crate::theme::{Role, Theme};
use crate::widget::put_line;

/// Where a popup stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// In the middle.
    Centre,
    /// At the bottom, over the status line.
    Bottom,
    /// Beside what stands at this column and row: below it when there is room, else above.
    Beside(u16, u16),
}

/// Clears a popup's area (at most `width` x `height`, shrunk to fit `screen`), draws its title, and gives the area inside.
pub fn popup(
    screen: Rect,
    buf: &mut Buffer,
    theme: &Theme,
    anchor: Anchor,
    (width, height): (u16, u16),
    title: &TextLine,
) -> Rect {
    let width = width.saturating_add(4).min(screen.width);
    let height = height.saturating_add(2).min(screen.height);
    let x = match anchor {
        Anchor::Centre => screen.x + (screen.width - width) / 2,
        Anchor::Bottom => screen.x,
        Anchor::Beside(x, _) => x.max(screen.x).min(screen.right() - width),
    };
    let y = match anchor {
        Anchor::Centre => screen.y + (screen.height - height) / 3,
        Anchor::Bottom => screen.bottom() - height,
        // The hints stay.
        Anchor::Beside(_, row) if row + 1 + height < screen.bottom() => row + 1,
        Anchor::Beside(_, row) if row >= screen.y + height => row - height,
        Anchor::Beside(..) => screen.bottom() - height,
    };
    let width = if anchor == Anchor::Bottom { screen.width } else { width };
    let area = Rect { x, y, width, height }.intersection(screen);
    let base = theme.style(Role::Popup);
    fill(buf, area, base);
    if area.height == 0 || area.width == 0 {
        return area;
    }
    let bar = base.patch(theme.style(Role::Accent));
    // Without a tint of its own a popup needs an edge on both sides.
    let plain = base.bg.is_none() || theme.signs.cursor.is_ascii();
    let edge = if plain {
        theme.signs.vertical
    } else {
        theme.signs.cursor
    };
    for y in area.top()..area.bottom() {
        put(buf, area.x, y, area.right(), edge, bar);
        if plain {
            put(buf, area.right() - 1, y, area.right(), edge, bar);
        }
    }
    if plain && area.width > 2 {
        let rule = theme.signs.horizontal.repeat(usize::from(area.width) - 2);
        for y in [area.top(), area.bottom() - 1] {
            put(buf, area.x + 1, y, area.right() - 1, &rule, bar);
        }
    }
    put_line(
        buf,
        area.x + 2,
        area.y,
        area.right(),
        title,
        base.patch(theme.style(Role::PopupTitle)),
        theme,
    );
    Rect {
        x: area.x + 2,
        y: area.y + 1,
        width: area.width.saturating_sub(3),
        height: area.height.saturating_sub(2),
    }
}

/// A list with one chosen entry, scrolled to keep it visible.
pub struct List<'a> {
    /// Entries from top to bottom.
    pub entries: &'a [TextLine],
    /// The chosen one.
    pub selected: usize,
}

impl List<'_> {
    /// Draws as many entries as fit.
    pub fn draw(&self, area: Rect, buf: &mut Buffer, theme: &Theme) {
        let height = usize::from(area.height);
        if height == 0 {
            return;
        }
        let top = self
            .selected
            .saturating_sub(height / 2)
            .min(self.entries.len().saturating_sub(height));
        for (line, entry) in self.entries.iter().enumerate().skip(top).take(height) {
            let y = area.y + (line - top) as u16;
            let mut style = theme.style(Role::Popup);
            if line == self.selected {
                style = style.patch(theme.style(Role::Selected));
                fill(buf, Rect { y, height: 1, ..area }, style);
                put(
                    buf,
                    area.x,
                    y,
                    area.right(),
                    theme.signs.cursor,
                    style.patch(theme.style(Role::CursorBar)),
                );
            }
            put_line(buf, area.x + 2, y, area.right(), entry, style, theme);
        }
    }
}
