//! One frame: a line of chrome above, the view, a line of chrome below, overlays.

mod nothing;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::cluster::LinkState;
use crate::document::TextLine;
use crate::keys::{Found, Node, Scope};
use crate::session::Status;
use crate::state::{Level, State};
use crate::store::FeedState;
use crate::text;
use crate::theme::Role;
use crate::view::{Data, Look, Panes, View, Way};
use crate::widget::{Anchor, fill, popup, put, put_line, rule_down};

/// The place of the view in a screen.
pub(super) fn body(screen: Rect) -> Rect {
    let top = u16::from(screen.height > 3);
    let bottom = u16::from(screen.height > 1);
    Rect {
        y: screen.y + top,
        height: screen.height.saturating_sub(top + bottom),
        ..screen
    }
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
    let look = Look {
        theme,
        data,
        keymap: &state.keymap,
        scopes: &scopes,
        caret: std::cell::Cell::new(None),
    };
    let area = body(screen);
    if trouble && !state.view().is_raw() {
        nothing::trouble(area, buf, &look);
    } else if area.height > 0 {
        panes(buf, state, &look);
    }
    if screen.height > 3 {
        top(Rect { height: 1, ..screen }, buf, state, &look);
    }
    if screen.height > 1 {
        let row = Rect {
            y: screen.bottom() - 1,
            height: 1,
            ..screen
        };
        bottom(row, buf, state, &look, trouble);
    }
    let at_home = state.tab == 0 && state.panes().focused().views.len() == 1;
    if state.welcome && at_home && data.cluster().embedded && state.layers.is_empty() && !trouble {
        nothing::welcome(area, buf, &look);
    }
    if !state.pending.is_empty() {
        which_key(screen, buf, state, &look, &scopes);
    }
    notices(screen, buf, state, &look);
    for layer in &state.layers {
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

/// What waits for the user, and what is under way, in the corner below the top line: nothing is covered that is being read.
fn notices(screen: Rect, buf: &mut Buffer, state: &State, look: &Look<'_>) {
    let theme = look.theme;
    let mut lines: Vec<(Role, String)> = state
        .operations
        .values()
        // What is over at once need not be announced.
        .filter(|operation| operation.progress.total > 1)
        .map(|operation| {
            let progress = operation.progress;
            let failed = match progress.failed {
                0 => String::new(),
                failed => format!(", {failed} failed"),
            };
            let stop = if operation.cancelled {
                "  stopping"
            } else {
                "  C-c stops"
            };
            let counts = format!("{}/{}{failed}{stop}", progress.tried, progress.total);
            (
                Role::Progress,
                format!("{} {}  {counts}", theme.signs.progress, operation.title),
            )
        })
        .collect();
    if let Some(notice) = state.notices.front() {
        let more = match state.notices.len() - 1 {
            0 => String::new(),
            more => format!("  and {more} more"),
        };
        let key = look.key("notice.open");
        let key = if key.is_empty() { ":notice.open".to_owned() } else { key };
        lines.push((
            Role::Warning,
            format!("{} {}  {key} opens it{more}", theme.signs.warning, notice.text),
        ));
    }
    let base = theme.style(Role::Popup);
    let first = screen.y + u16::from(screen.height > 3);
    for (y, (role, line)) in (first..).zip(lines) {
        let line = text::cut_middle(&text::clean(&line), usize::from(screen.width.saturating_sub(4))).into_owned();
        let width = text::width(&line) as u16 + 2;
        if y + 1 >= screen.bottom() || width > screen.width {
            return;
        }
        let x = screen.right() - width;
        fill(buf, Rect { x, y, width, height: 1 }, base);
        put(buf, x + 1, y, screen.right(), &line, base.patch(theme.style(role)));
    }
}

fn top(row: Rect, buf: &mut Buffer, state: &State, look: &Look<'_>) {
    let theme = look.theme;
    let bar = theme.style(Role::Bar);
    fill(buf, row, bar);
    let info = look.data.cluster();
    let view = state.view();
    let right = right_side(state, look);
    let right_width = text::width(&right.plain()) as u16;
    let end = row.right().saturating_sub(right_width + 2);
    let clusters = view.place().map_or(&[][..], |place| &place.clusters);
    let names = clusters
        .iter()
        .filter_map(|cluster| look.data.cluster_of(*cluster))
        .map(|info| &*info.name);
    let name = if clusters.len() > 1 {
        names.collect::<Vec<_>>().join(",")
    } else {
        info.name.clone()
    };
    let mut words = vec![text::cut_middle(&text::clean(&name), 24).into_owned()];
    let crumbs = view.crumbs();
    words.extend(
        crumbs
            .iter()
            .map(|crumb| text::cut_middle(&text::clean(crumb), 200).into_owned()),
    );
    let status = view.status(look.data);
    let fixed = 3 * (words.len() - 1) + text::width(&status) + 2;
    shorten(
        &mut words,
        usize::from(end.saturating_sub(row.x + 1)).saturating_sub(fixed),
    );
    let role = if info.protected { Role::Danger } else { Role::Accent };
    let mut line = TextLine::new().with(role, &words[0]);
    for (at, word) in words.iter().enumerate().skip(1) {
        line.push(Role::Dim, &format!(" {} ", theme.signs.step));
        let last = at + 1 == words.len();
        line.push(if last { Role::Strong } else { Role::Text }, word);
    }
    line.push(Role::Dim, &format!("  {status}"));
    put_line(buf, row.x + 1, row.y, end, &line, bar, theme);
    let x = row.right().saturating_sub(right_width + 1).max(row.x);
    put_line(buf, x, row.y, row.right(), &right, bar, theme);
}

/// Cuts the longest words until all fit into `room` columns, as far as they stay readable.
fn shorten(words: &mut [String], room: usize) {
    const LEAST: usize = 9;
    loop {
        let total: usize = words.iter().map(|word| text::width(word)).sum();
        let Some(longest) = words.iter_mut().max_by_key(|word| text::width(word)) else {
            return;
        };
        let width = text::width(longest);
        if total <= room || width <= LEAST {
            return;
        }
        *longest = text::cut_middle(longest, (width - 1).max(LEAST)).into_owned();
    }
}

/// What is wrong, and whether what is shown is live.
fn right_side(state: &State, look: &Look<'_>) -> TextLine {
    let theme = look.theme;
    let mut line = TextLine::new();
    let listing = state.view().needs().first().map(|need| look.data.listing(need));
    if let Some(faults) = listing
        .as_ref()
        .map(|listing| listing.tally.faults())
        .filter(|faults| *faults > 0)
    {
        let verb = if faults == 1 { "needs" } else { "need" };
        line.push(
            Role::Warning,
            &format!("{} {faults} {verb} attention   ", theme.signs.warning),
        );
    }
    if look.data.cluster().read_only {
        line.push(Role::Dim, "read-only   ");
    }
    let feed = listing.map(|listing| listing.state.clone()).unwrap_or(FeedState::Live);
    let session = state.view().sessions().first().and_then(|id| look.data.session(*id));
    if let (LinkState::Up, Some(status)) = (&look.data.cluster().state, session.map(|info| info.status)) {
        let (sign, role, word) = match status {
            Status::Opening => (theme.signs.progress, Role::Progress, "opening"),
            Status::Running => (theme.signs.good, Role::Good, "live"),
            Status::Retrying(_) => (theme.signs.warning, Role::Warning, "waiting"),
            Status::Ended(_) => (theme.signs.done, Role::Done, "ended"),
            Status::Failed(_) => (theme.signs.failed, Role::Failed, "failed"),
        };
        line.push(role, sign);
        line.push(Role::Text, &format!(" {word}"));
        return line;
    }
    match (&look.data.cluster().state, feed) {
        (LinkState::Connecting, _) => line.push(Role::Progress, &format!("{} connecting", theme.signs.progress)),
        (LinkState::Down(since, _), _) => {
            let age = text::age(*since, look.data.now());
            line.push(Role::Failed, &format!("{} not connected for {age}", theme.signs.failed));
        }
        (LinkState::Silent(since), _) => {
            let age = text::age(*since, look.data.now());
            line.push(Role::Warning, &format!("{} stale for {age}", theme.signs.warning));
        }
        (LinkState::Up, FeedState::Live) => {
            line.push(Role::Good, theme.signs.good);
            line.push(Role::Text, " live");
        }
        (LinkState::Up, FeedState::Loading) => line.push(Role::Progress, &format!("{} loading", theme.signs.progress)),
        (LinkState::Up, FeedState::Stale { since, .. }) => {
            let age = text::age(since, look.data.now());
            line.push(Role::Warning, &format!("{} as of {age} ago", theme.signs.warning));
        }
        (LinkState::Up, FeedState::Failed(_)) => line.push(Role::Failed, &format!("{} forbidden", theme.signs.failed)),
    }
    line
}

/// The tabs as the bottom line shows them: (tab, text).
fn tab_words(state: &State) -> Vec<(usize, String)> {
    if state.tabs.len() < 2 {
        return Vec::new();
    }
    // The more tabs, the shorter their titles; the numbers stay, and all of them are seen.
    let room = usize::from(state.size.0).saturating_sub(24) / state.tabs.len();
    let longest = room.saturating_sub(4).min(18);
    let word = |(at, tab): (usize, &Panes)| {
        let title = tab
            .focused()
            .follows
            .and_then(|leader| tab.get(leader))
            .unwrap_or(tab.focused())
            .view()
            .title();
        let title = text::cut_middle(&text::clean(&title), longest).into_owned();
        (at, format!("{} {title}", at + 1).trim_end().to_owned())
    };
    state.tabs.iter().enumerate().map(word).collect()
}

/// The tab drawn at a cell of the bottom line, as last drawn.
pub(super) fn tab_at(state: &State, column: u16, row: u16) -> Option<usize> {
    let (width, height) = state.size;
    if height == 0 || row != height - 1 {
        return None;
    }
    let words = tab_words(state);
    let total: usize = words.iter().map(|(_, word)| text::width(word) + 2).sum();
    let mut x = usize::from(width).checked_sub(total)?;
    for (tab, word) in words {
        let next = x + text::width(&word) + 2;
        if (x..next).contains(&usize::from(column)) {
            return Some(tab);
        }
        x = next;
    }
    None
}

fn bottom(row: Rect, buf: &mut Buffer, state: &State, look: &Look<'_>, trouble: bool) {
    let theme = look.theme;
    let bar = theme.style(Role::Bar);
    fill(buf, row, bar);
    let words = tab_words(state);
    let total: usize = words.iter().map(|(_, word)| text::width(word) + 2).sum();
    let mut end = row.right();
    if total < usize::from(row.width) {
        let mut x = row.right() - total as u16;
        end = x.saturating_sub(1);
        for (tab, word) in &words {
            let role = if *tab == state.tab { Role::Accent } else { Role::Dim };
            put(buf, x, row.y, row.right(), word, bar.patch(theme.style(role)));
            x += text::width(word) as u16 + 2;
        }
    }
    if let Some(flash) = &state.flash {
        let (sign, role) = match flash.level {
            Level::Info => (theme.signs.good, Role::Accent),
            Level::Warning => (theme.signs.warning, Role::Warning),
            Level::Error => (theme.signs.failed, Role::Failed),
        };
        let x = put(buf, row.x + 1, row.y, end, sign, bar.patch(theme.style(role)));
        let room = usize::from(end.saturating_sub(x + 1));
        let mut line = text::clean(&flash.text).into_owned();
        if let Some(hint) = flash.hints.first()
            && text::width(&line) + text::width(hint) + 3 <= room
        {
            line = format!("{line}   {}", text::clean(hint));
        }
        let cut = text::cut_end(&line, room);
        put(buf, x + 1, row.y, end, &cut, bar);
        return;
    }
    let offers: Vec<(&str, &str)> = nothing::OFFERS
        .iter()
        .map(|(action, word, _)| (*action, *word))
        .collect();
    let hints = if trouble { &offers[..] } else { state.view().hints() };
    let hints: Vec<(String, &str, bool)> = hints
        .iter()
        .map(|(action, word)| (look.key(action), *word, matches!(*action, "help.open" | "command.open")))
        .filter(|(key, ..)| !key.is_empty())
        .collect();
    let wide = |key: &str, word: &str| (text::width(key) + 1 + text::width(word) + 2) as u16;
    // The keys that lead to all others keep their place however narrow it is.
    let mut kept: u16 = hints
        .iter()
        .filter(|(.., keep)| *keep)
        .map(|(key, word, _)| wide(key, word))
        .sum();
    let mut x = row.x + 1;
    for (key, word, keep) in &hints {
        let width = wide(key, word);
        if *keep {
            kept -= width;
        } else if x + width + kept > end {
            continue;
        }
        if x + width > end + 2 {
            break;
        }
        x = put(buf, x, row.y, end, key, bar.patch(theme.style(Role::Key)));
        x = put(buf, x + 1, row.y, end, word, bar.patch(theme.style(Role::Dim))) + 2;
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
            let (doc, role) = match node {
                // What tells keys of one action apart is what they act on.
                Node::Leaf(line) if line.args.iter().any(|arg| !arg.starts_with('-')) => {
                    (line.args.join(" "), Role::Text)
                }
                Node::Leaf(line) => {
                    let doc = crate::action::find(&line.name).map_or(line.name.as_str(), |action| action.doc);
                    (format!("{doc} {}", line.args.join(" ")), Role::Text)
                }
                Node::Branch { label, .. } => (format!("{label} ..."), Role::Accent),
                Node::Unbound => return None,
            };
            let key = text::pad_right(&chord.label(), 4);
            Some(TextLine::new().with(Role::Key, &key).with(role, &doc))
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
    let columns = (screen.width.saturating_sub(4) / widest.max(1)).clamp(1, 4);
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
