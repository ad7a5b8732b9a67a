//! The handles the state must not hold: links, feeds, sessions. Views read it as [`Data`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use knarr_clock::Clock;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::usage::Reading;
use crate::cluster::{ClusterId, Credential, Discovery, Link, LinkState, Running, Source};
use crate::error::Result;
use crate::kind::outline::{Of, Outline};
use crate::kind::usage::Usage;
use crate::session::{Info, LogSnapshot, SessionId, Sessions, Spec};
use crate::store::{Catalog, Listing, Need};
use crate::view::{ClusterInfo, Data, Glance};

use super::survey::Survey;

/// Pause before the second attempt to reach a cluster.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// An attempt to reach a cluster.
pub(super) struct Attempt {
    /// Answers of earlier ones are dropped.
    pub number: u64,
    pub task: AbortHandle,
}

/// The way to one cluster, and how it is doing.
pub(super) struct Connection {
    pub info: ClusterInfo,
    /// Once it has answered.
    pub link: Option<Link>,
    /// Keeps an embedded cluster running.
    pub running: Option<Arc<Running>>,
    /// What its credential plugin gave when it had the terminal.
    pub credential: Option<Credential>,
    pub attempt: Option<Attempt>,
    /// Pause before the next attempt; doubles up to half a minute.
    pub retry_in: Duration,
    pub retry_at: Option<Instant>,
    /// When it is asked again whether it is there; `None` while it is being asked, or nobody looks at it.
    pub heartbeat_at: Option<Instant>,
    /// When it was last known to be.
    pub heard: Timestamp,
}

impl Connection {
    pub(super) fn new(cluster: ClusterId, source: &Source, read_only: bool, now: Timestamp) -> Self {
        Self {
            info: ClusterInfo {
                id: cluster,
                name: source.name(),
                embedded: matches!(source, Source::Embedded { .. }),
                read_only,
                protected: false,
                colour: None,
                user: "".into(),
                state: LinkState::Connecting,
                namespace: "default".into(),
            },
            link: None,
            running: None,
            credential: None,
            attempt: None,
            retry_in: FIRST_PAUSE,
            retry_at: None,
            heartbeat_at: None,
            heard: now,
        }
    }
}

/// What is on the desk.
pub(super) struct Desk {
    pub clock: Clock,
    pub catalog: Catalog,
    pub sessions: Sessions,
    /// Every cluster that has been looked at: what was begun in one goes on there.
    pub clusters: BTreeMap<ClusterId, Connection>,
    /// The one worked in; always among them.
    pub current: ClusterId,
    /// Contexts that can be connected to.
    pub contexts: Vec<String>,
    /// What every cluster serves.
    pub built_in: Arc<Discovery>,
    /// The outlines that are looked at.
    pub surveys: Vec<Survey>,
    /// What was glanced at lately, the newest last; `None` while it is being read. A failure is an empty answer: it is no news here.
    pub glances: VecDeque<(Glance, Option<Bytes>)>,
    /// What the kinds that are seen use.
    pub usage: Vec<Reading>,
}

impl Data for Desk {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn listing(&self, need: &Need) -> Arc<Listing> {
        self.catalog.listing(need)
    }

    fn cluster(&self) -> &ClusterInfo {
        &self.clusters[&self.current].info
    }

    fn cluster_of(&self, id: ClusterId) -> Option<&ClusterInfo> {
        self.clusters.get(&id).map(|connection| &connection.info)
    }

    fn discovery_of(&self, id: ClusterId) -> Arc<Discovery> {
        self.link(id).map_or(&self.built_in, |link| &link.discovery).clone()
    }

    fn contexts(&self) -> &[String] {
        &self.contexts
    }

    fn session(&self, id: SessionId) -> Option<Info> {
        self.sessions.info(id)
    }

    fn sessions(&self) -> Vec<Info> {
        self.sessions.list()
    }

    fn log(&self, id: SessionId) -> Option<Arc<LogSnapshot>> {
        self.sessions.log(id)
    }

    fn outline(&self, of: &Of) -> Option<Arc<Outline>> {
        self.surveys.iter().find(|known| known.of == *of)?.outline.clone()
    }

    fn glance(&self, glance: &Glance) -> Option<Bytes> {
        let (_, answer) = self.glances.iter().find(|(known, _)| known == glance)?;
        answer.clone()
    }

    fn usage(&self, cluster: ClusterId, plural: &str, namespace: Option<&str>) -> Option<Arc<Usage>> {
        let known = |reading: &&Reading| {
            let (of, kind, within) = &reading.of;
            (*of, *kind, within.as_deref()) == (cluster, plural, namespace)
        };
        self.usage.iter().find(known)?.usage.clone()
    }

    fn screen(&self, id: SessionId) -> Option<Arc<vt100::Screen>> {
        self.sessions.screen(id)
    }
}

impl Desk {
    /// The way to a cluster that has been reached.
    pub(super) fn link(&self, cluster: ClusterId) -> Option<&Link> {
        self.clusters.get(&cluster)?.link.as_ref()
    }

    /// Opens a session in the clusters it is about.
    pub(super) fn open(&mut self, id: SessionId, spec: Spec, refused: impl Fn() -> crate::error::Error) -> Result<()> {
        let mut names: Vec<&str> = Vec::new();
        for pod in spec.pods() {
            let name = self.clusters.get(&pod.cluster).map_or("", |known| &known.info.name);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let context = names.join(",");
        let clusters = &self.clusters;
        let link = |cluster: ClusterId| {
            clusters
                .get(&cluster)
                .and_then(|known| known.link.clone())
                .ok_or_else(&refused)
        };
        self.sessions.open(id, spec, &context, link)
    }
}
