//! The parts of a table that spans several clusters or namespaces: what one of them does not show is said below the rows of the others.

use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::cluster::LinkState;
use crate::error::Error;
use crate::store::{FeedState, Listing, Part, Row};
use crate::text;
use crate::theme::Role;
use crate::view::{Data, Look};
use crate::widget::put;

/// What is wrong with a part.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Note {
    /// `staging`, `staging/web`
    place: String,
    /// When it was last heard; `None` when it never was.
    since: Option<Timestamp>,
    why: Option<Error>,
}

/// Whether the row may not be true any more.
pub(super) fn is_stale(row: &Row, data: &dyn Data) -> bool {
    let state = data.cluster_of(row.id.cluster).map(|info| &info.state);
    matches!(state, Some(LinkState::Silent(_) | LinkState::Down(..)))
}

/// What is wrong with the parts of a listing that has several; each cluster that does not answer once.
pub(super) fn notes(listing: &Listing, data: &dyn Data) -> Vec<Note> {
    let mut notes: Vec<Note> = Vec::new();
    if listing.parts.len() < 2 {
        return notes;
    }
    for part in listing.parts.iter() {
        let note = note(part, data);
        notes.extend(note.filter(|note| !notes.contains(note)));
    }
    notes
}

fn note(part: &Part, data: &dyn Data) -> Option<Note> {
    let info = data.cluster_of(part.cluster);
    let name = info.map_or("", |info| &info.name);
    let whole = |since, why| Note {
        place: name.to_owned(),
        since,
        why,
    };
    match (info.map(|info| &info.state), &part.state) {
        (None | Some(LinkState::Connecting), _) => Some(whole(None, None)),
        (Some(LinkState::Down(_, error)), FeedState::Loading) => Some(whole(None, Some(error.clone()))),
        (Some(LinkState::Down(since, error)), _) => Some(whole(Some(*since), Some(error.clone()))),
        (Some(LinkState::Silent(since)), _) => Some(whole(Some(*since), None)),
        (Some(LinkState::Up), state) => {
            let (since, why) = match state {
                FeedState::Live => return None,
                FeedState::Loading => (None, None),
                FeedState::Stale { since, error } => (Some(*since), Some(error.clone())),
                FeedState::Failed(error) => (None, Some(error.clone())),
            };
            let place = match &part.namespace {
                Some(namespace) => format!("{name}/{namespace}"),
                None => name.to_owned(),
            };
            Some(Note { place, since, why })
        }
    }
}

/// Draws the notes at the bottom of the table.
pub(super) fn draw(area: Rect, buf: &mut Buffer, look: &Look<'_>, notes: &[Note]) {
    let base = look.theme.style(Role::Text);
    for (at, note) in notes.iter().rev().enumerate() {
        let Some(y) = area.bottom().checked_sub(at as u16 + 1).filter(|y| *y > area.y) else {
            return;
        };
        let signs = look.theme.signs;
        let (sign, role, what) = match (note.since, &note.why) {
            (Some(since), why) => {
                let age = text::age(since, look.data.now());
                let why = why
                    .as_ref()
                    .map_or_else(|| "it does not answer".to_owned(), Error::line);
                (signs.warning, Role::Warning, format!("as of {age} ago: {why}"))
            }
            (None, Some(why)) => (signs.failed, Role::Failed, why.line()),
            (None, None) => (signs.progress, Role::Progress, "loading ...".to_owned()),
        };
        let line = format!("{sign} {}: {what}", note.place);
        let room = usize::from(area.width.saturating_sub(4));
        let line = text::cut_end(&text::clean(&line), room).into_owned();
        put(
            buf,
            area.x + 2,
            y,
            area.right(),
            &line,
            base.patch(look.theme.style(role)),
        );
    }
}
