//! Cells of a listing as cells of a table: signs and roles by health.

use jiff::Timestamp;

use crate::store::{Cell, Health, Row, Slot};
use crate::theme::{Role, Theme};
use crate::widget::TableCell;

/// How long a restart stands out.
const RECENT: i64 = 600;

/// A cell of a row of this health, ready for the table.
pub(crate) fn table_cell<'a>(row: Health, cell: &'a Cell, theme: &Theme, now: Timestamp) -> TableCell<'a> {
    let text = cell.show(now);
    let state = |health: Health| {
        let stands_out = health.needs_attention() || health == Health::Progress;
        stands_out.then(|| sign(health, theme).1)
    };
    match cell {
        Cell::Status(health, _) => TableCell::new(text).role(state(*health)),
        Cell::Empty => TableCell::new(text).role(Some(Role::Dim)),
        Cell::Ratio(ready, wanted) if ready < wanted => TableCell::new(text).role(state(row)),
        Cell::Counted(0, _) => TableCell::new("0").role(Some(Role::Dim)),
        Cell::Counted(count, at) => {
            let recent = at.is_some_and(|at| now.duration_since(at).as_secs() < RECENT);
            TableCell::new(count.to_string()).role(recent.then_some(Role::Warning))
        }
        _ => TableCell::new(text),
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

/// The last half hour of a row in `columns` signs: what was well is a thin line, what was not is tall.
pub(super) fn strip(row: &Row, theme: &Theme, now: Timestamp, columns: u16) -> TableCell<'static> {
    let sign = |slot: Slot| {
        let level = &theme.signs.levels;
        match slot.health {
            Health::Failed => (level[7], Role::Failed),
            _ if slot.restarted => (level[6], Role::Warning),
            Health::Warning => (level[5], Role::Warning),
            Health::Progress => (level[3], Role::Progress),
            Health::Unknown => (level[2], Role::Unknown),
            Health::Good => (level[0], Role::Calm),
            Health::Done => (level[0], Role::Dim),
            Health::None => (" ", Role::Text),
        }
    };
    TableCell::strip(row.recent(now, columns.into()).into_iter().map(sign).collect())
}
