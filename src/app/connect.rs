//! Clusters are reached, or are not. Each has a connection of its own: what one does holds up no other.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::desk::{Attempt, Connection, FIRST_PAUSE};
use super::event::{Connected, Event};
use super::run::{App, SETTLE};
use super::update;
use crate::cluster::{self, ClusterId, Credential, LinkState, Namespaces, Place, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::keys::Line;
use crate::state::{Cx, Effect, Level};
use crate::view::{Browser, Data, PaneId, Panes, View};

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Between two questions whether a cluster is there.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// What is not answered within this time is not answered: together with the pause before, silence is seen within 15 s.
const PATIENCE: Duration = Duration::from_secs(8);

impl App {
    /// Goes to work in a cluster: at once when it has answered before, or when there is nothing to leave.
    pub(super) fn go(&mut self, cluster: ClusterId, effects: &mut Vec<Effect>) {
        let known = self.desk.clusters.get(&cluster);
        let reached = known.is_some_and(|known| known.link.is_some());
        let up = known.is_some_and(|known| known.info.state == LinkState::Up);
        if !up {
            // The kubeconfig may have changed since it was read.
            self.load_contexts();
            self.connect(cluster);
        }
        if reached || self.is_in_trouble() {
            self.arrive(cluster, effects);
        }
        if !reached {
            self.going = Some(cluster);
        }
    }

    /// Tries to reach a cluster; an attempt under way is forgotten.
    pub(super) fn connect(&mut self, cluster: ClusterId) {
        let source = self.state.source(cluster).clone();
        let (read_only, now) = (self.settings.read_only, self.desk.clock.now());
        let connection = self
            .desk
            .clusters
            .entry(cluster)
            .or_insert_with(|| Connection::new(cluster, &source, read_only, now));
        if let Some(under_way) = connection.attempt.take() {
            // A cluster that is being started is not started a second time: two would fight for its data.
            if matches!(source, Source::Embedded { .. }) {
                connection.attempt = Some(under_way);
                return;
            }
            under_way.task.abort();
        }
        // While it is tried again the last failure stays on the screen.
        if connection.link.is_none() && !matches!(connection.info.state, LinkState::Down(..)) {
            connection.info.state = LinkState::Connecting;
        }
        connection.retry_at = None;
        let options = cluster::ConnectOptions {
            cluster,
            read_only,
            user: self.settings.impersonate.0.clone(),
            groups: self.settings.impersonate.1.clone(),
            clock: self.settings.clock.clone(),
            simulate: self.settings.simulate,
            logs: self.settings.logs.clone(),
            credential: connection.credential.clone(),
        };
        // An embedded cluster that runs already is not started twice.
        let running = connection.running.clone();
        let work = tokio::spawn(async move { cluster::connect(&source, options, running).await });
        self.attempts += 1;
        let (number, sender) = (self.attempts, self.sender.clone());
        connection.attempt = Some(Attempt {
            number,
            task: work.abort_handle(),
        });
        tokio::spawn(async move {
            let result = match work.await {
                Ok(result) => result.map(|(link, name, running)| Connected { link, name, running }),
                Err(error) => Err(Error::new(ErrorKind::Other, "connecting failed inside knarr").because(&error)),
            };
            let _ = sender.send(Event::Connected(cluster, number, result));
        });
    }

    /// The user has signed in.
    pub(super) fn logged_in(&mut self, cluster: ClusterId, credential: Credential) {
        if let Some(connection) = self.desk.clusters.get_mut(&cluster) {
            connection.credential = Some(credential);
            self.connect(cluster);
        }
    }

    /// An attempt to reach a cluster has succeeded or failed.
    pub(super) fn connected(
        &mut self,
        cluster: ClusterId,
        attempt: u64,
        result: Result<Connected>,
        effects: &mut Vec<Effect>,
    ) {
        let now = self.desk.clock.now();
        let Some(connection) = self.desk.clusters.get_mut(&cluster) else {
            return;
        };
        if connection.attempt.as_ref().is_none_or(|known| known.number != attempt) {
            return;
        }
        connection.attempt = None;
        let going = self.going.take_if(|going| *going == cluster).is_some();
        match result {
            Ok(Connected { link, name, running }) => {
                connection.retry_in = FIRST_PAUSE;
                connection.retry_at = None;
                connection.heartbeat_at = Some(Instant::now() + HEARTBEAT);
                connection.heard = now;
                connection.running = running;
                connection.info.user = link.user.clone();
                connection.info.colour = crate::config::context_colour(&self.settings.contexts, &name);
                connection.info.protected = crate::config::is_protected(&self.settings.protected, &name);
                connection.info.name = name;
                connection.info.namespace = link.namespace.clone();
                connection.info.state = LinkState::Up;
                connection.link = Some(link.clone());
                self.desk.catalog.connect(link);
                if going {
                    self.arrive(cluster, effects);
                    if let Some(start) = self.settings.start.take() {
                        let line = Line::with("command.run", [start]);
                        update::run(&mut self.state, &self.desk, Vec::new(), &line, effects);
                    }
                }
                self.settle_at = Some(Instant::now() + SETTLE);
                self.sync();
            }
            Err(error) => {
                // A cluster that does not answer must not take away the one that does.
                if going && cluster != self.desk.current {
                    self.state.fail(&error);
                }
                let since = match &connection.info.state {
                    LinkState::Down(since, _) => *since,
                    LinkState::Silent(since) => *since,
                    _ => now,
                };
                connection.info.state = LinkState::Down(since, error);
                connection.retry_at = Some(Instant::now() + connection.retry_in);
                connection.retry_in = (connection.retry_in * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// A fresh table of pods in a cluster. What runs on a terminal, and logs, go on in their tabs: they belong to the cluster they were
    /// opened in. Tables of the cluster before go.
    fn arrive(&mut self, cluster: ClusterId, effects: &mut Vec<Effect>) {
        self.remember_layout();
        self.desk.current = cluster;
        if self.settings.namespace.is_none()
            && let Some(connection) = self.desk.clusters.get(&cluster).filter(|known| known.link.is_some())
        {
            // The first look at a new embedded cluster shows what runs in it: the control plane's own pods.
            let all = self.state.welcome && connection.info.embedded;
            self.state.namespaces = match all {
                true => Namespaces::all(),
                false => Namespaces::from(&*connection.info.namespace),
            };
        }
        let Some(pods) = self.desk.discovery().find("pods").cloned() else {
            return;
        };
        let mut view = Browser::new(pods, Place::new(cluster, self.state.namespaces.clone()));
        view.sync(&self.desk);
        let lives = |tab: &Panes| tab.views().any(|view| !view.sessions().is_empty());
        let kept: Vec<Panes> = std::mem::take(&mut self.state.tabs).into_iter().filter(lives).collect();
        let id = PaneId(self.state.fresh());
        self.state.tabs = vec![Panes::new(id, Box::new(view))];
        self.state.tabs.extend(kept);
        self.state.tab = 0;
        self.state.last_tab = 0;
        self.state.layers.clear();
        // Questions about the cluster before would be answered about this one.
        self.state.notices.clear();
        self.state.laid_out = false;
        let mut cx = Cx {
            state: &mut self.state,
            data: &self.desk,
            effects,
            pinned: Vec::new(),
            started: None,
        };
        cx.preview();
        self.home = self.desk.link(cluster).map(|_| cluster);
        if self.settings.start.is_none() && self.home.is_some() {
            self.restore(effects);
        }
    }

    /// The cluster of the view with the focus is the one worked in. Of several, the one under the cursor, else one that answers.
    pub(super) fn refocus(&mut self) {
        let view = self.state.view();
        let known = |cluster: &ClusterId| self.desk.clusters.contains_key(cluster);
        let place = view
            .place()
            .into_iter()
            .flat_map(|place| place.clusters.iter().copied());
        let answering = place.clone().find(|cluster| self.desk.link(*cluster).is_some());
        let wanted = view.cluster().filter(|cluster| self.desk.link(*cluster).is_some());
        if let Some(cluster) = wanted.or(answering).or(view.cluster()).filter(known) {
            self.desk.current = cluster;
        }
    }

    /// Whether nothing can be shown, because the cluster has never answered: then the screen is about that.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.desk.link(self.desk.current).is_none()
    }

    /// Keeps the connections to the clusters that are looked at.
    pub(super) fn look_at(&mut self, clusters: BTreeSet<ClusterId>) {
        for cluster in &clusters {
            match self.desk.clusters.get_mut(cluster) {
                None => self.connect(*cluster),
                Some(known) if known.link.is_none() && known.attempt.is_none() && known.retry_at.is_none() => {
                    self.connect(*cluster);
                }
                Some(known) if !self.looked_at.contains(cluster) && known.link.is_some() => {
                    known.heartbeat_at = Some(Instant::now());
                }
                Some(_) => {}
            }
        }
        self.looked_at = clusters;
        for (cluster, connection) in &mut self.desk.clusters {
            if !self.looked_at.contains(cluster) {
                connection.heartbeat_at = None;
                connection.retry_at = None;
            }
        }
    }

    /// When a cluster is asked next whether it is there, or tried to reach.
    pub(super) fn next_contact(&self) -> Option<Instant> {
        let each = self.desk.clusters.values();
        each.flat_map(|known| [known.heartbeat_at, known.retry_at])
            .flatten()
            .min()
    }

    /// Asks and tries what is due.
    pub(super) fn contact(&mut self, now: Instant) {
        let mut retried = Vec::new();
        for (cluster, connection) in &mut self.desk.clusters {
            if let (Some(_), Some(link)) = (connection.heartbeat_at.take_if(|at| *at <= now), &connection.link) {
                let (link, sender) = (link.clone(), self.sender.clone());
                tokio::spawn(async move {
                    let alive = link.is_alive(PATIENCE).await;
                    let _ = sender.send(Event::Heartbeat(link.cluster, alive));
                });
            }
            if connection.retry_at.take_if(|at| *at <= now).is_some() {
                retried.push(*cluster);
            }
        }
        for cluster in retried {
            self.connect(cluster);
            self.dirty = true;
        }
    }

    /// A cluster has answered, or has not.
    pub(super) fn heard(&mut self, cluster: ClusterId, alive: bool) {
        let now = self.desk.clock.now();
        let current = cluster == self.desk.current;
        let looked_at = self.looked_at.contains(&cluster);
        let Some(connection) = self.desk.clusters.get_mut(&cluster) else {
            return;
        };
        connection.heartbeat_at = looked_at.then(|| Instant::now() + HEARTBEAT);
        let state = match (&connection.info.state, alive) {
            (LinkState::Up, false) => LinkState::Silent(connection.heard),
            (LinkState::Silent(_) | LinkState::Down(..), true) => LinkState::Up,
            (same, _) => same.clone(),
        };
        if alive {
            connection.heard = now;
        }
        if connection.info.state == state {
            return;
        }
        if state == LinkState::Up {
            connection.retry_at = None;
            // What was said of the silence is over with it.
            self.state.flash.take_if(|flash| current && flash.level == Level::Error);
        }
        connection.info.state = state;
        self.dirty = true;
        self.sync();
    }

    /// Whether something that is looked at does not answer now: how long so is shown, and grows.
    pub(super) fn is_waiting(&self) -> bool {
        let mut looked_at = self
            .looked_at
            .iter()
            .filter_map(|cluster| self.desk.cluster_of(*cluster));
        looked_at.any(|info| matches!(info.state, LinkState::Down(..) | LinkState::Silent(_)))
    }

    #[cfg(test)]
    pub(super) fn reached(&mut self, link: cluster::Link) {
        let cluster = link.cluster;
        let connection = Connection::new(cluster, self.state.source(cluster), false, self.desk.clock.now());
        let known = self.desk.clusters.entry(cluster).or_insert(connection);
        known.link = Some(link);
    }
}
