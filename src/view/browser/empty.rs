//! An empty table is a designed state: it says what, why, and which key helps.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::Browser;
use crate::cluster::LinkState;
use crate::store::{FeedState, Listing};
use crate::text;
use crate::theme::Role;
use crate::view::Look;
use crate::widget::{put, put_right};

/// Nothing to show: says what, why, and which key helps.
pub(super) fn draw(area: Rect, buf: &mut Buffer, look: &Look<'_>, browser: &Browser, listing: &Listing) {
    let plural = &browser.resource.plural;
    let namespaces = &browser.need.query.place.namespaces;
    let place = match namespaces.named() {
        [] => String::new(),
        [only] => format!(" in namespace {only}"),
        _ => format!(" in namespaces {namespaces}"),
    };
    let key = |line: &str, words: &str| (look.key(line), words.to_owned());
    let plain = |hints: &[String]| hints.iter().map(|hint| (String::new(), hint.clone())).collect();
    let (role, title, hints): (Role, String, Vec<(String, String)>) = match &listing.state {
        FeedState::Failed(error) => (
            Role::Failed,
            format!("{} cannot list {plural}: {}", look.theme.signs.failed, error.line()),
            plain(&error.hints),
        ),
        FeedState::Loading => match &look.data.cluster().state {
            LinkState::Down(_, error) => (
                Role::Failed,
                format!("{} {}", look.theme.signs.failed, error.line()),
                plain(&error.hints),
            ),
            _ => (
                Role::Dim,
                format!("{} loading {plural}{place} ...", look.theme.signs.progress),
                Vec::new(),
            ),
        },
        _ if listing.total > 0 => (
            Role::Dim,
            format!("no {plural} match: {} hidden", listing.total),
            vec![key("view.back", "clears the filter")],
        ),
        _ => {
            let mut hints = Vec::new();
            if browser.resource.namespaced && !namespaces.is_all() {
                hints.push(key("namespace.all", "all namespaces"));
            }
            if &**plural == "pods" {
                hints.push(key("pod.run", "run an image"));
            }
            hints.push(key("manifest.apply", "apply a file"));
            (Role::Dim, format!("no {plural}{place}"), hints)
        }
    };
    let base = look.theme.style(Role::Text);
    let width = usize::from(area.width.saturating_sub(8)).max(10);
    let mut y = area.y + 3.min(area.height.saturating_sub(1));
    for piece in text::wrap(&text::clean(&title), width, 2) {
        put(
            buf,
            area.x + 4,
            y,
            area.right(),
            piece,
            base.patch(look.theme.style(role)),
        );
        y += 1;
    }
    for (key, words) in hints {
        let x = match key.is_empty() {
            true => area.x + 4,
            false => {
                put(
                    buf,
                    area.x + 4,
                    y,
                    area.right(),
                    &key,
                    base.patch(look.theme.style(Role::Key)),
                ) + 1
            }
        };
        for piece in text::wrap(&text::clean(&words), width, 2) {
            if y < area.bottom() {
                put(buf, x, y, area.right(), piece, base.patch(look.theme.style(Role::Dim)));
            }
            y += 1;
        }
    }
    if let FeedState::Stale { since, .. } = &listing.state {
        let age = format!("as of {} ago", text::age(*since, look.data.now()));
        put_right(
            buf,
            area.x,
            area.y,
            area.right(),
            &age,
            base.patch(look.theme.style(Role::Warning)),
        );
    }
}
