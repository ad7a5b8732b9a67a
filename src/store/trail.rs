//! What has been happening to an object: its health in each of the last thirty minutes, from what was watched and from what the object
//! itself tells of the time before.

use jiff::Timestamp;

use crate::store::{Cell, Health, Row};

/// Minutes that are remembered.
pub const MINUTES: u32 = 30;

/// Bits of a slot: three of health, and whether something was restarted.
const BITS: u32 = 4;
const RESTARTED: u128 = 0b1000;

/// The worst that was seen in one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// [`Health::None`] where nothing is known.
    pub health: Health,
    /// Whether a container was restarted.
    pub restarted: bool,
}

impl Slot {
    /// The worse of two.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        Self {
            health: self.health.max(other.health),
            restarted: self.restarted || other.restarted,
        }
    }
}

/// A slot for each minute up to the last change: 32 bytes, and none at all for an object that has been the same throughout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trail {
    /// The minute of the newest slot, counted from 1970. Since then the object has been as its row says.
    end: i64,
    slots: u128,
}

fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

impl Trail {
    fn at(&self, minute: i64) -> Option<Slot> {
        let back = u32::try_from(self.end.checked_sub(minute)?).ok()?;
        let bits = self.slots.checked_shr(back * BITS).unwrap_or(0);
        Some(Slot {
            health: Health::ALL.get((bits & 0b111) as usize).copied().unwrap_or_default(),
            restarted: bits & RESTARTED != 0,
        })
    }

    /// Adds to what was seen in a minute; minutes without news between are filled with `meanwhile`.
    fn note(&mut self, at: i64, meanwhile: Health, slot: Slot) {
        let ahead = at - self.end;
        for _ in 0..ahead.clamp(0, i64::from(MINUTES) + 1) {
            self.slots = self.slots.checked_shl(BITS).unwrap_or(0) | meanwhile as u128;
        }
        self.end = self.end.max(at);
        let Ok(back) = u32::try_from(self.end - at) else { return };
        let worst = self.at(at).unwrap_or_default().worst(slot);
        let bits = worst.health as u128 | if worst.restarted { RESTARTED } else { 0 };
        let place = back * BITS;
        if place < u128::BITS {
            self.slots = self.slots & !(0b1111 << place) | bits << place;
        }
    }

    /// What an object tells of its past when it is seen for the first time: since when its health has been what it is, when it was made,
    /// and when something in it was last restarted. `None` when that is long ago.
    pub(super) fn told(row: &Row, since: Option<Timestamp>, now: Timestamp) -> Option<Box<Self>> {
        let first = minute(now) - i64::from(MINUTES);
        let restarted = restarted(row).filter(|at| minute(*at) > first);
        let since = since.filter(|at| minute(*at) > first);
        if since.is_none() && restarted.is_none() {
            return None;
        }
        let begin = created(row).map_or(first, minute).max(first);
        let mut trail = Self { end: begin, slots: 0 };
        if let Some(since) = since {
            // What was before is not told, but that it was otherwise.
            let before = if begin > first { Health::Progress } else { Health::None };
            let slot = |health| Slot {
                health,
                restarted: false,
            };
            if minute(since) > begin {
                trail.note(begin, Health::None, slot(before));
            }
            trail.note(minute(since), before, slot(row.health));
        } else {
            trail.slots = row.health as u128;
        }
        if let Some(at) = restarted {
            let slot = Slot {
                health: row.health,
                restarted: true,
            };
            trail.note(minute(at), row.health, slot);
        }
        Some(Box::new(trail))
    }

    /// The trail of a row that takes the place of `old`.
    pub(super) fn after(old: &Row, new: &Row, now: Timestamp) -> Option<Box<Self>> {
        let at = minute(now);
        let again = restarts(new) > restarts(old);
        let same = old.health == new.health && !again;
        let known = old.trail.as_deref();
        if same {
            let is_over = known.is_none_or(|trail| at - trail.end > i64::from(MINUTES));
            return if is_over { None } else { old.trail.clone() };
        }
        let mut trail = known.cloned().unwrap_or_else(|| {
            let first = at - i64::from(MINUTES);
            let begin = created(old).map_or(first, minute).clamp(first, at);
            Self {
                end: begin,
                slots: old.health as u128,
            }
        });
        let slot = Slot {
            health: new.health,
            restarted: again,
        };
        trail.note(at, old.health, slot);
        Some(Box::new(trail))
    }
}

fn restarts(row: &Row) -> i64 {
    let count = row.cells.iter().find_map(|cell| match cell {
        Cell::Counted(count, _) => Some(*count),
        _ => None,
    });
    count.unwrap_or(0)
}

fn restarted(row: &Row) -> Option<Timestamp> {
    row.cells.iter().find_map(|cell| match cell {
        Cell::Counted(_, at) => *at,
        _ => None,
    })
}

fn created(row: &Row) -> Option<Timestamp> {
    row.cells.iter().find_map(|cell| match cell {
        Cell::Age(at) => Some(*at),
        _ => None,
    })
}

impl Row {
    /// The worst of each span of the last [`MINUTES`], oldest first, in `spans` equal parts.
    pub fn recent(&self, now: Timestamp, spans: u32) -> Vec<Slot> {
        let end = minute(now);
        let born = created(self).map(minute);
        let mut recent = vec![Slot::default(); spans as usize];
        let minutes = if spans == 0 { 0 } else { MINUTES };
        for back in 0..minutes {
            let at = end - i64::from(back);
            if born.is_some_and(|born| at < born) {
                break;
            }
            let slot = match self.trail.as_deref() {
                Some(trail) if at <= trail.end => trail.at(at).unwrap_or_default(),
                _ => Slot {
                    health: self.health,
                    restarted: false,
                },
            };
            let span = ((MINUTES - 1 - back) * spans / MINUTES) as usize;
            recent[span] = recent[span].worst(slot);
        }
        recent
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::SignedDuration;

    use super::*;
    use crate::store::{Object, ObjectId};

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn ago(minutes: i64) -> Timestamp {
        now() - SignedDuration::from_mins(minutes)
    }

    fn row(health: Health, restarts: (i64, Option<Timestamp>), created: Timestamp) -> Row {
        let id = ObjectId {
            cluster: Default::default(),
            namespace: "default".into(),
            name: "web".into(),
            uid: "u".into(),
        };
        Row {
            object: Arc::new(Object::new(id.clone(), "1", "{}")),
            id,
            health,
            cells: Box::new([Cell::Counted(restarts.0, restarts.1), Cell::Age(created)]),
            labels: Arc::new([]),
            changed: None,
            fresh: 0,
            trail: None,
        }
    }

    /// Good `.`, in progress `o`, failed `x`, a restart `R`, nothing known ` `.
    fn drawn(row: &Row, now: Timestamp, spans: u32) -> String {
        let sign = |slot: Slot| match slot {
            Slot { restarted: true, .. } => 'R',
            Slot {
                health: Health::Good, ..
            } => '.',
            Slot {
                health: Health::Progress,
                ..
            } => 'o',
            Slot {
                health: Health::Failed, ..
            } => 'x',
            _ => ' ',
        };
        row.recent(now, spans).into_iter().map(sign).collect()
    }

    #[test]
    fn what_was_the_same_throughout_needs_no_memory() {
        let old = row(Health::Good, (0, None), ago(500));
        assert_eq!(Trail::after(&old, &old, now()), None);
        assert_eq!(Trail::told(&old, Some(ago(400)), now()), None);
        assert_eq!(drawn(&old, now(), 10), "..........");
        assert_eq!(drawn(&row(Health::Good, (0, None), ago(11)), now(), 10), "      ....");
    }

    #[test]
    fn an_object_tells_of_its_past_when_it_is_first_seen() {
        let mut new = row(Health::Good, (2, Some(ago(6))), ago(13));
        new.trail = Trail::told(&new, Some(ago(8)), now());
        assert_eq!(drawn(&new, now(), 30), "                oooooo.R......");
        let mut old = row(Health::Good, (0, None), ago(600));
        old.trail = Trail::told(&old, Some(ago(8)), now());
        assert_eq!(drawn(&old, now(), 30), "                     .........");
    }

    #[test]
    fn what_is_watched_is_remembered_for_half_an_hour() {
        let mut seen = row(Health::Good, (0, None), ago(100));
        for (minutes, health, restarts) in [(20, Health::Failed, 0), (18, Health::Good, 1), (5, Health::Good, 2)] {
            let mut next = row(health, (restarts, None), ago(100));
            next.trail = Trail::after(&seen, &next, ago(minutes));
            seen = next;
        }
        assert_eq!(drawn(&seen, now(), 30), ".........xxR............R.....");
        assert_eq!(drawn(&seen, now(), 10), "...R....R.");
        let later = now() + SignedDuration::from_mins(40);
        assert_eq!(drawn(&seen, later, 10), "..........");
        assert_eq!(Trail::after(&seen, &seen, later), None);
    }
}
