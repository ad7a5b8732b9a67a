//! When ages shown on the screen change next, so that a still screen costs as few frames as its text allows.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::store::{Cell, Row};

/// How long the ages in `rows` stay as they read now; `None` when there are none.
pub(super) fn until_next<'a>(rows: impl Iterator<Item = &'a Arc<Row>>, now: Timestamp) -> Option<Duration> {
    let moments = rows.flat_map(|row| {
        let fresh = row.changed.map(|at| (at, true));
        let cells = row.cells.iter().filter_map(age).map(|at| (at, false));
        fresh.into_iter().chain(cells)
    });
    earliest(moments, now)
}

/// How long the ages in `cells` stay as they read now; `None` when there are none.
pub(super) fn until_age<'a>(cells: impl Iterator<Item = &'a Cell>, now: Timestamp) -> Option<Duration> {
    earliest(cells.filter_map(age).map(|at| (at, false)), now)
}

fn age(cell: &Cell) -> Option<Timestamp> {
    match cell {
        Cell::Age(at) | Cell::Counted(_, Some(at)) => Some(*at),
        _ => None,
    }
}

fn earliest(moments: impl Iterator<Item = (Timestamp, bool)>, now: Timestamp) -> Option<Duration> {
    moments
        .filter_map(|(at, flash)| step(now.duration_since(at).as_millis(), flash))
        .min()
        .map(Duration::from_millis)
}

/// Milliseconds until an age of `millis` reads differently.
fn step(millis: i128, flash: bool) -> Option<u64> {
    let millis = u64::try_from(millis.max(0)).ok()?;
    if flash {
        return 1000u64.checked_sub(millis).map(|left| left + 1);
    }
    let unit = match millis / 60_000 {
        0..10 => 1000,
        10..480 => 60_000,
        _ => 3_600_000,
    };
    Some(unit - millis % unit + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn young_ages_tick_each_second_and_old_ones_rarely() {
        assert_eq!(step(1_500, false), Some(501));
        assert_eq!(step(11 * 60_000, false), Some(60_001));
        assert_eq!(step(30 * 86_400_000, false), Some(3_600_001));
        assert_eq!(step(400, true), Some(601));
        assert_eq!(step(5_000, true), None);
    }
}
