//! Cells of a listing as cells of a table: signs and roles by health.

use jiff::Timestamp;

use crate::store::{Cell, Health};
use crate::theme::{Role, Theme};
use crate::view::Look;
use crate::widget::TableCell;

/// A cell ready for the table.
pub(super) fn table_cell<'a>(cell: &'a Cell, look: &Look<'_>, now: Timestamp) -> TableCell<'a> {
    let text = cell.show(now);
    match cell {
        Cell::Status(health, _) => {
            let (sign, role) = sign(*health, look.theme);
            let word = health.needs_attention() || *health == Health::Progress;
            TableCell {
                text,
                short: None,
                role: word.then_some(role),
                sign: (!sign.is_empty()).then_some((sign, role)),
            }
        }
        Cell::Empty => TableCell {
            text,
            short: None,
            role: Some(Role::Dim),
            sign: None,
        },
        Cell::Ratio(ready, wanted) if ready < wanted => TableCell {
            text,
            short: None,
            role: Some(Role::Progress),
            sign: None,
        },
        Cell::Counted(count, Some(at)) => TableCell {
            text,
            short: Some(count.to_string()),
            role: (now.duration_since(*at).as_secs() < 600).then_some(Role::Warning),
            sign: None,
        },
        _ => TableCell {
            text,
            short: None,
            role: None,
            sign: None,
        },
    }
}

/// The sign and the role of a health.
pub(crate) fn sign(health: Health, theme: &Theme) -> (&'static str, Role) {
    match health {
        Health::None => ("", Role::Text),
        Health::Good => (theme.signs.good, Role::Good),
        Health::Progress => (theme.signs.progress, Role::Progress),
        Health::Warning => (theme.signs.warning, Role::Warning),
        Health::Failed => (theme.signs.failed, Role::Failed),
        Health::Done => (theme.signs.done, Role::Done),
        Health::Unknown => (theme.signs.unknown, Role::Unknown),
    }
}
