//! All sessions, by ID.

use std::sync::Arc;

use bytes::Bytes;

use crate::cluster::Link;
use crate::session::{Info, LogSnapshot, SessionId, Spec};

/// Owns every session's task.
pub struct Sessions {}

impl Sessions {
    /// No sessions. `notify` is called from their tasks when a snapshot or a status has changed, at most once until
    /// [`Sessions::take_dirty`].
    pub fn new(_notify: Arc<dyn Fn() + Send + Sync>, _clock: knarr_clock::Clock) -> Self {
        Self {}
    }

    /// Opens a session under an ID chosen by the caller.
    pub fn open(&mut self, _id: SessionId, _spec: Spec, _link: &Link) {}

    /// Sends bytes to a terminal session.
    pub fn input(&mut self, _id: SessionId, _bytes: Bytes) {}

    /// Changes a terminal session's size.
    pub fn resize(&mut self, _id: SessionId, _columns: u16, _rows: u16) {}

    /// Ends a session and forgets it.
    pub fn close(&mut self, _id: SessionId) {}

    /// One session at a glance.
    pub fn info(&self, _id: SessionId) -> Option<Info> {
        None
    }

    /// All sessions, oldest first.
    pub fn list(&self) -> Vec<Info> {
        Vec::new()
    }

    /// The lines of a log session.
    pub fn log(&self, _id: SessionId) -> Option<Arc<LogSnapshot>> {
        None
    }

    /// The screen of a terminal session.
    pub fn screen(&self, _id: SessionId) -> Option<Arc<vt100::Screen>> {
        None
    }

    /// Allows the next notification.
    pub fn take_dirty(&self) {}

    /// Whether no session is opening or retrying, and every byte received is in a snapshot.
    pub fn is_settled(&self) -> bool {
        true
    }
}
