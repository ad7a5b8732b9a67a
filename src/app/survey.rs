//! Outlines are worked out beside the loop: when what they are made from has changed, and not too often.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::event::Event;
use super::run::App;
use crate::kind::outline::{Of, Outline};
use crate::store::Listing;
use crate::view::Data as _;

/// Least time between the beginnings of two drafts of one outline.
const PAUSE: Duration = Duration::from_millis(500);
/// After this an outline is drawn up again although nothing has changed: ages grow.
const STALE: Duration = Duration::from_secs(10);

/// An outline that a view shows, and how its newest draft came about.
pub(super) struct Survey {
    pub of: Of,
    pub outline: Option<Arc<Outline>>,
    /// What the newest draft was made from.
    sources: Vec<Arc<Listing>>,
    begun: Option<Instant>,
    running: bool,
    /// Whether there is news that the newest draft does not know.
    behind: bool,
}

impl Survey {
    /// When its next draft is due.
    fn due(&self) -> Option<Instant> {
        let begun = self.begun?;
        (!self.running).then(|| begun + if self.behind { PAUSE } else { STALE })
    }

    /// Whether a draft is under way, or about to be.
    pub(super) fn is_busy(&self) -> bool {
        self.running || self.behind
    }
}

impl App {
    /// Begins the drafts that are due.
    pub(super) fn survey(&mut self) {
        let wanted: Vec<Of> = self
            .state
            .panes()
            .views()
            .filter_map(|view| view.outline().cloned())
            .collect();
        self.desk.surveys.retain(|known| wanted.contains(&known.of));
        for of in wanted {
            if !self.desk.surveys.iter().any(|known| known.of == of) {
                self.desk.surveys.push(Survey {
                    of,
                    outline: None,
                    sources: Vec::new(),
                    begun: None,
                    running: false,
                    behind: true,
                });
            }
        }
        let now = Instant::now();
        for at in 0..self.desk.surveys.len() {
            self.draft(at, now);
        }
    }

    fn draft(&mut self, at: usize, now: Instant) {
        let Some(cluster) = self.desk.surveys[at].of.cluster() else {
            return;
        };
        let needs = self.desk.surveys[at].of.needs(&self.desk.discovery_of(cluster));
        let sources: Vec<_> = needs
            .iter()
            .map(|need| (need.query.resource.clone(), self.desk.listing(need)))
            .collect();
        let known = &mut self.desk.surveys[at];
        let same = known.sources.len() == sources.len()
            && known
                .sources
                .iter()
                .zip(&sources)
                .all(|(old, (_, new))| Arc::ptr_eq(old, new));
        known.behind = !same;
        if known.running || known.due().is_some_and(|due| due > now) {
            return;
        }
        known.running = true;
        known.behind = false;
        known.begun = Some(now);
        known.sources = sources.iter().map(|(_, listing)| listing.clone()).collect();
        let (of, sender, clock) = (known.of.clone(), self.sender.clone(), self.desk.clock.clone());
        tokio::spawn(async move {
            let outline = of.draw_up(&sources, clock.now());
            let _ = sender.send(Event::Surveyed(of, outline));
        });
    }

    /// A draft is there.
    pub(super) fn surveyed(&mut self, of: &Of, outline: Outline) {
        if let Some(known) = self.desk.surveys.iter_mut().find(|known| known.of == *of) {
            known.running = false;
            if known.outline.as_deref() != Some(&outline) {
                known.outline = Some(Arc::new(outline));
                self.sync();
            }
        }
    }

    /// When the next draft is due.
    pub(super) fn next_survey(&self) -> Option<Instant> {
        self.desk.surveys.iter().filter_map(Survey::due).min()
    }
}
