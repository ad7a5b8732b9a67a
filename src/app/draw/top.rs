//! The top line, an instrument: on which cluster one is, as whom, what is shown and how well that is, and whether it is live.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::cluster::{LinkState, Namespaces, Place};
use crate::config::ContextColour;
use crate::document::TextLine;
use crate::keys::Line;
use crate::session::Status;
use crate::state::State;
use crate::store::{FeedState, Health, Need, Query, Tally};
use crate::text;
use crate::theme::{Role, Theme};
use crate::view::{ClusterInfo, Data};
use crate::widget::{fill, put_line};

/// Cells of the bar of health.
const BAR: usize = 12;
/// Blanks between two parts.
const GAP: usize = 3;

/// A part of the right side.
struct Part {
    /// The highest goes first when it is narrow.
    rank: u8,
    line: TextLine,
    /// What a click on it does.
    click: Option<Line>,
}

impl Part {
    fn new(rank: u8, line: TextLine) -> Self {
        Self {
            rank,
            line,
            click: None,
        }
    }

    fn width(&self) -> usize {
        text::width(&self.line.plain())
    }
}

/// What stands in the line, and where: the left side, and each part with its column.
struct Layout {
    left: TextLine,
    /// Where the left side ends.
    end: u16,
    parts: Vec<(u16, Part)>,
}

/// Draws the line.
pub(super) fn draw(row: Rect, buf: &mut Buffer, state: &State, data: &dyn Data) {
    let theme = &*state.theme;
    let bar = theme.style(Role::Bar);
    fill(buf, row, bar);
    let layout = layout(row, state, data);
    put_line(buf, row.x, row.y, layout.end, &layout.left, bar, theme);
    for (x, part) in &layout.parts {
        put_line(buf, *x, row.y, row.right(), &part.line, bar, theme);
    }
}

/// What a click on a column of the line does.
pub(super) fn click(row: Rect, column: u16, state: &State, data: &dyn Data) -> Option<Line> {
    let on = |(x, part): &(u16, Part)| (*x..*x + part.width() as u16).contains(&column);
    let layout = layout(row, state, data);
    layout.parts.into_iter().find(on).and_then(|(_, part)| part.click)
}

fn layout(row: Rect, state: &State, data: &dyn Data) -> Layout {
    let mut parts = right(state, data);
    let words = words(state, data);
    let status = state.view().status(data);
    let fixed = 4 + 3 * (words.len() - 1) + text::width(&status) + 2;
    let natural = words.iter().map(|word| text::width(word)).sum::<usize>() + fixed;
    let least = words.iter().map(|word| text::width(word).min(LEAST)).sum::<usize>() + fixed;
    let width = usize::from(row.width);
    let taken = |parts: &[Part]| parts.iter().map(|part| part.width() + GAP).sum::<usize>();
    // What merely informs goes before a word is cut, and what matters stays as long as the words can be read.
    loop {
        let dearest = parts.iter().map(|part| part.rank).max().unwrap_or(0);
        let room = width.saturating_sub(if dearest >= INFORMS { natural } else { least });
        if taken(&parts) <= room || parts.len() <= 1 {
            break;
        }
        parts.retain(|part| part.rank < dearest);
    }
    let right = taken(&parts).saturating_sub(GAP) as u16 + 1;
    let start = row.right().saturating_sub(right).max(row.x);
    let end = start.saturating_sub(1);
    let mut x = start;
    let parts = parts
        .into_iter()
        .map(|part| {
            let at = x;
            x += (part.width() + GAP) as u16;
            (at, part)
        })
        .collect();
    Layout {
        left: left(
            words,
            &status,
            usize::from(end - row.x).saturating_sub(fixed),
            &state.theme,
            data.cluster(),
        ),
        end,
        parts,
    }
}

/// From this rank on a part only informs.
const INFORMS: u8 = 4;
/// Columns that a word keeps at least.
const LEAST: usize = 9;

fn words(state: &State, data: &dyn Data) -> Vec<String> {
    let clusters = state.view().place().map_or(&[][..], |place| &place.clusters);
    let names = clusters.iter().filter_map(|cluster| data.cluster_of(*cluster));
    let name = match clusters.len() {
        0 | 1 => data.cluster().name.clone(),
        _ => names.map(|info| &*info.name).collect::<Vec<_>>().join(","),
    };
    let name = text::cut_middle(&text::clean(&name), 24).into_owned();
    let crumbs = state.view().crumbs();
    let crumbs = crumbs
        .iter()
        .map(|crumb| text::cut_middle(&text::clean(crumb), 200).into_owned());
    std::iter::once(name).chain(crumbs).collect()
}

fn left(mut words: Vec<String>, status: &str, room: usize, theme: &Theme, info: &ClusterInfo) -> TextLine {
    shorten(&mut words, room);
    let mut line = TextLine::new();
    if info.protected {
        line.push(Role::Protected, &format!(" {} ", words[0]));
    } else {
        line.push(Role::Text, " ");
        line.push(info.colour.map_or(Role::Accent, colour), &words[0]);
    }
    for (at, word) in words.iter().enumerate().skip(1) {
        line.push(Role::Dim, &format!(" {} ", theme.signs.step));
        let last = at + 1 == words.len();
        line.push(if last { Role::Strong } else { Role::Text }, word);
    }
    line.push(Role::Dim, &format!("  {status}"));
    line
}

fn colour(colour: ContextColour) -> Role {
    match colour {
        ContextColour::Red => Role::Danger,
        ContextColour::Yellow => Role::Warning,
        ContextColour::Green => Role::Good,
        ContextColour::Cyan => Role::Progress,
        ContextColour::Blue => Role::Accent,
        ContextColour::Violet => Role::Unknown,
    }
}

/// Cuts the longest words until all fit into `room` columns, as far as they stay readable.
fn shorten(words: &mut [String], room: usize) {
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

fn right(state: &State, data: &dyn Data) -> Vec<Part> {
    let theme = &*state.theme;
    let info = data.cluster();
    let listing = state.view().needs().first().map(|need| data.listing(need));
    let mut parts = Vec::new();
    // The health of one object stands in its text.
    let table = listing.as_ref().filter(|_| state.view().resource().is_some());
    if let Some(tally) = table.map(|listing| listing.tally) {
        parts.extend(health(&tally, theme));
    }
    parts.extend(nodes(data, theme));
    if let Some(user) = acting_as(info) {
        let user = text::cut_middle(&text::clean(user), 24).into_owned();
        parts.push(Part::new(
            2,
            TextLine::new().with(Role::Dim, "as ").with(Role::Unknown, &user),
        ));
    }
    if info.read_only {
        parts.push(Part::new(2, TextLine::new().with(Role::Progress, "read-only")));
    }
    let feed = listing.map_or(FeedState::Live, |listing| listing.state.clone());
    parts.push(Part::new(0, liveness(state, data, &feed)));
    parts
}

/// As whom one acts, when that is another than whom the kubeconfig says.
fn acting_as(info: &ClusterInfo) -> Option<&str> {
    match info.user.rsplit_once(" as ") {
        Some((_, other)) => Some(other),
        None if info.embedded => Some(&*info.user).filter(|user| !user.is_empty()),
        None => None,
    }
}

const STATES: [(Health, u8); 4] = [
    (Health::Failed, 1),
    (Health::Warning, 1),
    (Health::Unknown, 1),
    (Health::Progress, 3),
];

/// A bar of shares, and how many are how well. What is healthy is quiet.
fn health(tally: &Tally, theme: &Theme) -> Vec<Part> {
    let mut parts = Vec::new();
    let well = tally.of(Health::Good);
    let troubled = STATES.iter().any(|(health, _)| tally.of(*health) > 0);
    if well == 0 && !troubled {
        return parts;
    }
    parts.push(Part::new(6, bar(tally, theme)));
    if well > 0 {
        let line = TextLine::new()
            .with(Role::Text, &well.to_string())
            .with(Role::Dim, " ok");
        parts.push(Part::new(5, line));
    }
    for (health, rank) in STATES {
        let count = tally.of(health);
        let (sign, role) = crate::view::sign(health, theme);
        if count > 0 {
            let mut part = Part::new(rank, TextLine::new().with(role, &format!("{count} {sign}")));
            part.click = health.needs_attention().then(|| Line::bare("table.faults"));
            parts.push(part);
        }
    }
    parts
}

/// Each state has a share of the cells, and at least one.
fn bar(tally: &Tally, theme: &Theme) -> TextLine {
    let kinds = [
        (Health::Good, 3, Role::Good),
        (Health::Progress, 4, Role::Progress),
        (Health::Unknown, 4, Role::Unknown),
        (Health::Warning, 6, Role::Warning),
        (Health::Failed, 7, Role::Failed),
    ];
    let total: usize = kinds.iter().map(|(health, ..)| tally.of(*health)).sum();
    let mut cells = kinds.map(|(health, ..)| match tally.of(health) {
        0 => 0,
        count => (count * BAR / total.max(1)).max(1),
    });
    let spent: usize = cells.iter().sum();
    let largest = (0..cells.len()).max_by_key(|at| cells[*at]).unwrap_or(0);
    cells[largest] = (cells[largest] + BAR).saturating_sub(spent);
    let mut line = TextLine::new();
    for ((_, level, role), cells) in kinds.iter().zip(cells) {
        line.push(*role, &theme.signs.levels[*level].repeat(cells));
    }
    line
}

/// What the line reads besides the view: the nodes of the cluster.
pub(in crate::app) fn need(data: &dyn Data) -> Option<Need> {
    let nodes = data.discovery().find("nodes")?.clone();
    let place = Place::new(data.cluster().id, Namespaces::all());
    Some(Need::all(Query::new(nodes, place)))
}

fn nodes(data: &dyn Data, theme: &Theme) -> Option<Part> {
    let listing = data.listing(&need(data)?);
    if listing.total == 0 {
        return None;
    }
    let ready = listing.tally.of(Health::Good) + listing.tally.of(Health::Warning);
    let all = ready == listing.total;
    let line = TextLine::new().with(Role::Dim, "nodes ").with(
        if all { Role::Text } else { Role::Failed },
        &format!("{ready}/{}", listing.total),
    );
    let (sign, role) = crate::view::sign(Health::Failed, theme);
    let line = if all {
        line
    } else {
        line.with(role, &format!(" {sign}"))
    };
    Some(Part {
        click: Some(Line::with("view.open", ["nodes"])),
        ..Part::new(if all { 4 } else { 1 }, line)
    })
}

/// Whether what is shown is live, and how old it is otherwise.
fn liveness(state: &State, data: &dyn Data, feed: &FeedState) -> TextLine {
    let signs = state.theme.signs;
    let line = TextLine::new();
    let age = |since| text::age(since, data.now());
    let session = state.view().sessions().first().and_then(|id| data.session(*id));
    if let (LinkState::Up, Some(status)) = (&data.cluster().state, session.map(|info| info.status)) {
        let (sign, role, word) = match status {
            Status::Opening => (signs.progress, Role::Progress, "opening"),
            Status::Running => (signs.good, Role::Good, "live"),
            Status::Retrying(_) => (signs.warning, Role::Warning, "waiting"),
            Status::Ended(_) => (signs.done, Role::Done, "ended"),
            Status::Failed(_) => (signs.failed, Role::Failed, "failed"),
        };
        return line.with(role, sign).with(Role::Text, &format!(" {word}"));
    }
    match (&data.cluster().state, feed) {
        (LinkState::Connecting, _) => line.with(Role::Progress, &format!("{} connecting", signs.progress)),
        (LinkState::Down(since, _), _) => line.with(
            Role::Failed,
            &format!("{} not connected for {}", signs.failed, age(*since)),
        ),
        (LinkState::Silent(since), _) => {
            line.with(Role::Warning, &format!("{} stale for {}", signs.warning, age(*since)))
        }
        (LinkState::Up, FeedState::Live) => line.with(Role::Good, signs.good).with(Role::Text, " live"),
        (LinkState::Up, FeedState::Loading) => line.with(Role::Progress, &format!("{} loading", signs.progress)),
        (LinkState::Up, FeedState::Stale { since, .. }) => {
            line.with(Role::Warning, &format!("{} as of {} ago", signs.warning, age(*since)))
        }
        (LinkState::Up, FeedState::Failed(_)) => line.with(Role::Failed, &format!("{} forbidden", signs.failed)),
    }
}
