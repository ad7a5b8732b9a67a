//! A cluster is reached, or is not.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::event::Connected;
use super::run::{App, SETTLE};
use super::update;
use crate::cluster::{LinkState, Source};
use crate::error::{Error, Result};
use crate::keys::Line;
use crate::state::{Effect, Tab};
use crate::view::{Browser, View};

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl App {
    /// An attempt to connect has succeeded or failed.
    pub(super) fn connected(
        &mut self,
        attempt: u64,
        source: Source,
        result: Result<Connected>,
        effects: &mut Vec<Effect>,
    ) {
        if attempt != self.attempt {
            return;
        }
        self.connecting = false;
        match result {
            Ok(connected) => {
                let first = self.desk.link.is_none();
                self.retry_in = Duration::from_secs(1);
                self.retry_at = None;
                self.desk.discovery = connected.link.discovery.clone();
                self.desk.info.id = connected.link.cluster;
                self.desk.info.user = connected.link.user.clone();
                self.desk.info.protected = crate::config::is_protected(&self.settings.protected, &connected.name);
                self.desk.links.insert(connected.link.cluster, connected.link.clone());
                self.desk.info.name = connected.name;
                self.desk.info.embedded = matches!(source, Source::Embedded { .. });
                self.desk.info.state = LinkState::Up;
                self.heard = self.desk.clock.now();
                self.heartbeat_at = Some(Instant::now() + super::run::HEARTBEAT);
                self.desk.info.namespace = connected.link.namespace.clone();
                self.desk.catalog.connect(Some(connected.link.clone()));
                let other = self.state.source != source;
                self.state.source = source;
                if self.settings.namespace.is_none() && (first || other) {
                    let all = self.state.welcome && self.desk.info.embedded;
                    self.state.namespace = (!all).then(|| connected.link.namespace.clone());
                }
                self.desk.link = Some(connected.link);
                self.desk.running = connected.running;
                if first || other {
                    self.home(effects);
                }
                if let Some(start) = self.settings.start.take() {
                    let line = Line::with("command.run", [start]);
                    update::run(&mut self.state, &self.desk, Vec::new(), &line, effects);
                }
                self.settle_at = Some(Instant::now() + SETTLE);
                self.sync();
            }
            Err(error) => {
                // Another cluster that does not answer must not take away the one that does.
                if self.desk.link.is_some() && self.state.source != source {
                    self.state.fail(&error);
                    return;
                }
                let since = match &self.desk.info.state {
                    LinkState::Down(since, _) => *since,
                    _ => self.desk.clock.now(),
                };
                self.down(since, error);
            }
        }
    }

    fn down(&mut self, since: Timestamp, error: Error) {
        self.desk.info.state = LinkState::Down(since, error);
        self.retry_at = Some(Instant::now() + self.retry_in);
        self.retry_in = (self.retry_in * 2).min(LONGEST_PAUSE);
    }

    /// A fresh table of pods, after connecting to another cluster. What runs on a terminal goes on in its tab: it belongs to the cluster
    /// it was opened in. Logs and tables of the cluster before go.
    fn home(&mut self, effects: &mut Vec<Effect>) {
        let Some(pods) = self.desk.discovery.find("pods").cloned() else {
            return;
        };
        let mut view = Browser::new(pods, self.state.namespace.clone());
        view.sync(&self.desk);
        let lives = |tab: &Tab| tab.views.first().is_some_and(|view| !view.sessions().is_empty());
        let (kept, gone): (Vec<Tab>, Vec<Tab>) = std::mem::take(&mut self.state.tabs).into_iter().partition(lives);
        for view in gone.iter().flat_map(|tab| &tab.views) {
            effects.extend(view.sessions().into_iter().map(Effect::Close));
        }
        self.state.tabs = vec![Tab {
            views: vec![Box::new(view)],
        }];
        self.state.tabs.extend(kept);
        self.state.tab = 0;
        self.state.last_tab = 0;
        self.state.layers.clear();
        // Questions about the cluster before would be answered about this one.
        self.state.notices.clear();
        self.state.laid_out = false;
    }
}
