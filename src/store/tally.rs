//! How many objects of a feed are how well.

use crate::store::Health;

/// A count for each health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([usize; Health::ALL.len()]);

impl Tally {
    /// How many are like this.
    pub fn of(&self, health: Health) -> usize {
        self.0[health as usize]
    }

    /// How many need attention.
    pub fn faults(&self) -> usize {
        let faulty = Health::ALL.iter().filter(|health| health.needs_attention());
        faulty.map(|health| self.of(*health)).sum()
    }

    /// One more, and one less: an object that came, went or changed.
    pub(super) fn change(&mut self, old: Option<Health>, new: Option<Health>) {
        if let Some(new) = new {
            self.0[new as usize] += 1;
        }
        if let Some(old) = old {
            self.0[old as usize] -= 1;
        }
    }
}

impl FromIterator<Health> for Tally {
    fn from_iter<I: IntoIterator<Item = Health>>(all: I) -> Self {
        all.into_iter().fold(Self::default(), |mut tally, health| {
            tally.change(None, Some(health));
            tally
        })
    }
}
