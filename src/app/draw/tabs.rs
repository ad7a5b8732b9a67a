//! The line of tabs: each with its number, its title, and how what runs in it is doing.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::document::TextLine;
use crate::session::Status;
use crate::state::State;
use crate::text;
use crate::theme::{Role, Theme};
use crate::view::{Data, Panes};
use crate::widget::{fill, put_line};

/// Draws the tabs.
pub(super) fn draw(row: Rect, buf: &mut Buffer, state: &State, data: &dyn Data) {
    let theme = &*state.theme;
    let base = theme.style(Role::Text);
    for (tab, x, line) in places(row, state, data) {
        let shown = tab == state.tab;
        let style = if shown {
            base.patch(theme.style(Role::Selected))
        } else {
            base
        };
        let width = text::width(&line.plain()) as u16;
        if shown {
            let place = Rect { x, width, ..row };
            fill(buf, place.intersection(row), style);
        }
        put_line(buf, x, row.y, row.right(), &line, style, theme);
    }
}

/// The tab at a column of the line.
pub(super) fn click(row: Rect, column: u16, state: &State, data: &dyn Data) -> Option<usize> {
    let on = |(_, x, line): &(usize, u16, TextLine)| (*x..*x + text::width(&line.plain()) as u16).contains(&column);
    places(row, state, data).into_iter().find(on).map(|(tab, ..)| tab)
}

/// Where each tab stands. The more there are, the shorter their titles; the numbers stay, and all of them are seen.
fn places(row: Rect, state: &State, data: &dyn Data) -> Vec<(usize, u16, TextLine)> {
    let room = usize::from(row.width) / state.tabs.len().max(1);
    let longest = room.saturating_sub(6).min(28);
    let mut x = row.x;
    let place = |(at, tab): (usize, &Panes)| {
        let role = if at == state.tab { Role::Strong } else { Role::Dim };
        let title = tab.focused().view().title();
        let title = text::cut_middle(&text::clean(&title), longest).into_owned();
        let mut line = TextLine::new().with(role, format!(" {} {title}", at + 1).trim_end());
        if let Some((sign, role)) = activity(tab, data, &state.theme) {
            line.push(role, &format!(" {sign}"));
        }
        line.push(role, " ");
        let start = x;
        x += text::width(&line.plain()) as u16;
        (at, start, line)
    };
    state.tabs.iter().enumerate().map(place).collect()
}

/// How the session in a tab is doing.
fn activity(tab: &Panes, data: &dyn Data, theme: &Theme) -> Option<(&'static str, Role)> {
    let sessions = tab.views().flat_map(|view| view.sessions());
    let status = sessions.filter_map(|id| data.session(id)).last()?.status;
    let signs = &theme.signs;
    Some(match status {
        Status::Opening => (signs.progress, Role::Progress),
        Status::Running => (signs.good, Role::Good),
        Status::Retrying(_) => (signs.warning, Role::Warning),
        Status::Ended(_) => (signs.done, Role::Done),
        Status::Failed(_) => (signs.failed, Role::Failed),
    })
}
