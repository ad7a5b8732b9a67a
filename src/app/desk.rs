//! The handles the state must not hold: link, feeds, sessions. Views read it as [`Data`].

use std::sync::Arc;

use jiff::Timestamp;
use knarr_clock::Clock;

use std::collections::BTreeMap;

use crate::cluster::{ClusterId, Discovery, Link, Running};
use crate::session::{Info, LogSnapshot, SessionId, Sessions};
use crate::store::{Catalog, Listing, Need};
use crate::view::{ClusterInfo, Data};

/// What is on the desk.
pub(super) struct Desk {
    pub clock: Clock,
    pub catalog: Catalog,
    pub sessions: Sessions,
    pub link: Option<Link>,
    /// The ways to all clusters that have been reached: what was begun in one goes on there.
    pub links: BTreeMap<ClusterId, Link>,
    pub info: ClusterInfo,
    pub discovery: Arc<Discovery>,
    /// Keeps the embedded cluster running.
    pub running: Option<Arc<Running>>,
}

impl Data for Desk {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn listing(&self, need: &Need) -> Arc<Listing> {
        self.catalog.listing(need)
    }

    fn discovery(&self) -> Arc<Discovery> {
        self.discovery.clone()
    }

    fn cluster(&self) -> &ClusterInfo {
        &self.info
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

    fn screen(&self, id: SessionId) -> Option<Arc<vt100::Screen>> {
        self.sessions.screen(id)
    }
}

impl Desk {
    /// Whether the cluster has never answered: then the screen is about that.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.link.is_none()
    }
}
