//! One frame: a line of chrome above, the view, a line of chrome below, overlays.

mod nothing;
mod tabs;
mod toast;
mod top;

pub(super) use top::need;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::cluster::LinkState;
use crate::document::TextLine;
use crate::keys::{Found, Line, Node, Scope};
use crate::state::State;
use crate::text;
use crate::theme::Role;
use crate::view::{Data, Look, View, Way};
use crate::widget::{Anchor, fill, popup, put, put_line, rule_down};

/// Where the chrome is: what is left is the view's.
struct Chrome {
    top: Option<Rect>,
    tabs: Option<Rect>,
    hints: Option<Rect>,
    body: Rect,
}

impl Chrome {
    fn of(screen: Rect, tabs: usize) -> Self {
        let line = |y| Rect { y, height: 1, ..screen };
        let top = (screen.height > 3).then(|| line(screen.y));
        let tabs = (screen.height > 6 && tabs > 1).then(|| line(screen.y + 1));
        let hints = (screen.height > 1).then(|| line(screen.bottom() - 1));
        let above = u16::from(top.is_some()) + u16::from(tabs.is_some());
        let body = Rect {
            y: screen.y + above,
            height: screen.height.saturating_sub(above + u16::from(hints.is_some())),
            ..screen
        };
        Self { top, tabs, hints, body }
    }
}

/// The place of the view in a screen with so many tabs.
pub(super) fn body(screen: Rect, tabs: usize) -> Rect {
    Chrome::of(screen, tabs).body
}

/// Draws everything; gives the cell where text goes that is typed now.
pub(super) fn frame(
    screen: Rect,
    buf: &mut Buffer,
    state: &State,
    data: &dyn Data,
    trouble: bool,
) -> Option<(u16, u16)> {
    let theme = &*state.theme;
    fill(buf, screen, theme.screen());
    let scopes = state.scopes(trouble);
    let mut look = Look {
        theme,
        data,
        keymap: &state.keymap,
        scopes: &scopes,
        beside: None,
        caret: std::cell::Cell::new(None),
    };
    let chrome = Chrome::of(screen, state.tabs.len());
    let area = chrome.body;
    if trouble && !state.view().is_raw() {
        nothing::trouble(area, buf, &look);
    } else if area.height > 0 {
        panes(buf, state, &look);
    }
    if let Some(selection) = state.selection.filter(|selection| !selection.is_empty()) {
        selection.draw(buf, theme);
    }
    if let Some(row) = chrome.top {
        top::draw(row, buf, state, data);
    }
    if let Some(row) = chrome.tabs {
        tabs::draw(row, buf, state, data);
    }
    if let Some(row) = chrome.hints {
        bottom(row, buf, state, &look, trouble);
    }
    let at_home = state.tab == 0 && state.panes().focused().views.len() == 1;
    if state.welcome && at_home && data.cluster().embedded && state.layers.is_empty() && !trouble {
        nothing::welcome(area, buf, &look);
    }
    if !state.pending.is_empty() {
        which_key(screen, buf, state, &look, &scopes);
    }
    toast::draw(area, buf, state, &look);
    let column = state.panes().focused().area.x + crate::widget::GUTTER;
    let row = state.view().focus().map(|row| (column.saturating_sub(1), row));
    for layer in &state.layers {
        // What is not about what is under the cursor stands in the middle.
        look.beside = row.filter(|_| !layer.pinned.is_empty() || layer.overlay.is_about_cursor());
        layer.overlay.draw(screen, buf, &look);
    }
    if theme.signs.cursor.is_ascii() {
        for cell in &mut buf.content {
            let plain = match cell.symbol() {
                "…" => "~",
                "↑" => "^",
                "↓" => "v",
                _ => continue,
            };
            cell.set_symbol(plain);
        }
    }
    look.caret.get()
}

/// The panes, what separates them, and what they are.
fn panes(buf: &mut Buffer, state: &State, look: &Look<'_>) {
    let theme = look.theme;
    let panes = state.panes();
    let arranged = panes.arranged();
    let focus = panes.focused().id;
    let rule = theme.style(Role::Text).patch(theme.style(Role::Rule));
    for border in &arranged.borders {
        match border.way {
            Way::Rows => {
                let line = theme.signs.horizontal.repeat(usize::from(border.area.width));
                put(buf, border.area.x, border.area.y, border.area.right(), &line, rule);
            }
            Way::Columns | Way::Fitting => rule_down(buf, border.area, theme),
        }
    }
    // The one with the focus is last: text is typed there.
    let mut placed = arranged.panes;
    placed.sort_by_key(|placed| placed.id == focus);
    for placed in placed {
        let Some(pane) = panes.get(placed.id) else { continue };
        let view = pane.view();
        if let Some(title) = placed.title {
            let role = if pane.id == focus { Role::Accent } else { Role::Dim };
            let mut crumbs = view.crumbs();
            crumbs.push(view.status(look.data));
            let text = text::clean(crumbs.join("  ").trim_end()).into_owned();
            let sign = if pane.id == focus { theme.signs.step } else { " " };
            let text = format!("{sign} {text}");
            let text = text::cut_middle(&text, usize::from(title.width)).into_owned();
            put(
                buf,
                title.x,
                title.y,
                title.right(),
                &text,
                theme.style(Role::Text).patch(theme.style(role)),
            );
        }
        look.caret.set(None);
        view.draw(placed.area, buf, look);
        dim(placed.area, buf, view, look.data);
    }
}

/// What may not be true any more does not look alive; a table of several clusters says so by row.
fn dim(area: Rect, buf: &mut Buffer, view: &dyn View, data: &dyn Data) {
    let several = view.place().is_some_and(|place| place.clusters.len() > 1);
    let info = view
        .cluster()
        .and_then(|cluster| data.cluster_of(cluster))
        .unwrap_or(data.cluster());
    if several || !matches!(info.state, LinkState::Silent(_) | LinkState::Down(..)) {
        return;
    }
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            if let Some(cell) = buf.cell_mut((x, y)) {
                cell.modifier.insert(ratatui::style::Modifier::DIM);
            }
        }
    }
}

/// What a click on the chrome does.
pub(super) fn click(state: &State, data: &dyn Data, trouble: bool, column: u16, row: u16) -> Option<Line> {
    let screen = Rect::new(0, 0, state.size.0, state.size.1);
    let chrome = Chrome::of(screen, state.tabs.len());
    let on = |place: &Rect| place.contains((column, row).into());
    if let Some(place) = chrome.top.filter(on) {
        return top::click(place, column, state, data);
    }
    if let Some(place) = chrome.tabs.filter(on) {
        let tab = tabs::click(place, column, state, data)?;
        return Some(Line::with("tab.go", [(tab + 1).to_string()]));
    }
    let place = chrome.hints.filter(on)?;
    let scopes = state.scopes(trouble);
    let look = Look {
        theme: &state.theme,
        data,
        keymap: &state.keymap,
        scopes: &scopes,
        beside: None,
        caret: std::cell::Cell::new(None),
    };
    let hints = hints(place, state, &look, trouble);
    let hint = hints.into_iter().find(|hint| (hint.x..hint.end).contains(&column))?;
    Some(Line::bare(hint.action))
}

/// A key and what it does, and where that stands.
struct Hint {
    x: u16,
    end: u16,
    action: &'static str,
    key: String,
    word: &'static str,
}

/// The hints that fit. The keys that lead to all others keep their place however narrow it is.
fn hints(row: Rect, state: &State, look: &Look<'_>, trouble: bool) -> Vec<Hint> {
    let offers: Vec<(&str, &str)> = nothing::offers(look)
        .map(|(action, word, _)| (*action, *word))
        .collect();
    let offered = if trouble { &offers[..] } else { state.view().hints() };
    let hints: Vec<(&'static str, String, &'static str)> = offered
        .iter()
        .map(|(action, word)| (*action, look.key(action), *word))
        .filter(|(_, key, _)| !key.is_empty())
        .collect();
    let wide = |key: &str, word: &str| (text::width(key) + 1 + text::width(word) + 2) as u16;
    let keeps = |action: &str| matches!(action, "help.open" | "command.open");
    let kept = hints.iter().filter(|(action, ..)| keeps(action));
    let mut kept: u16 = kept.map(|(_, key, word)| wide(key, word)).sum();
    let mut x = row.x + 1;
    let mut shown = Vec::new();
    for (action, key, word) in hints {
        let width = wide(&key, word);
        if keeps(action) {
            kept -= width;
        } else if x + width + kept > row.right() {
            continue;
        }
        if x + width > row.right() + 2 {
            break;
        }
        shown.push(Hint {
            x,
            end: x + width - 2,
            action,
            key,
            word,
        });
        x += width;
    }
    shown
}

fn bottom(row: Rect, buf: &mut Buffer, state: &State, look: &Look<'_>, trouble: bool) {
    let theme = look.theme;
    let bar = theme.style(Role::Bar);
    fill(buf, row, bar);
    for hint in hints(row, state, look, trouble) {
        let x = put(
            buf,
            hint.x,
            row.y,
            row.right(),
            &hint.key,
            bar.patch(theme.style(Role::Key)),
        );
        put(
            buf,
            x + 1,
            row.y,
            row.right(),
            hint.word,
            bar.patch(theme.style(Role::Dim)),
        );
    }
}

/// What may follow the keys typed so far, in as many columns as fit.
fn which_key(screen: Rect, buf: &mut Buffer, state: &State, look: &Look<'_>, scopes: &[Scope]) {
    let Found::Prefix(label, children) = state.keymap.find(scopes, &state.pending) else {
        return;
    };
    let lines: Vec<TextLine> = children
        .iter()
        .filter_map(|(chord, node)| {
            let (label, role) = match node {
                Node::Leaf(line) => (crate::action::label(line), Role::Text),
                Node::Branch { label, .. } => (format!("{label} ..."), Role::Accent),
                Node::Unbound => return None,
            };
            let key = text::pad_right(&chord.label(), 6);
            Some(TextLine::new().with(Role::Key, &key).with(role, &label))
        })
        .collect();
    let typed: String = state
        .pending
        .iter()
        .map(|chord| chord.label())
        .collect::<Vec<_>>()
        .join(" ");
    let title = TextLine::new().with(Role::PopupTitle, &format!("{typed}  {label}"));
    let widest = (lines.iter().map(|line| text::width(&line.plain())).max().unwrap_or(10) + 3) as u16;
    let columns = (screen.width.saturating_sub(4) / widest.max(1)).clamp(1, 6);
    let rows = (lines.len() as u16).div_ceil(columns);
    let above = Rect {
        height: screen.height.saturating_sub(1),
        ..screen
    };
    let inner = popup(above, buf, look.theme, Anchor::Bottom, (widest, rows), &title);
    if inner.height == 0 {
        return;
    }
    for (at, line) in lines.iter().enumerate() {
        let (column, row) = (at as u16 / rows, at as u16 % rows);
        let x = inner.x + column * widest;
        if row < inner.height && x < inner.right() {
            put_line(
                buf,
                x,
                inner.y + row,
                inner.right(),
                line,
                look.theme.style(Role::Popup),
                look.theme,
            );
        }
    }
}
