//! What a session's tasks and the main thread share: status and counters behind one short lock, and the wake-up.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Status;

/// Wakes the main thread at most once until it has looked.
pub(super) struct Bell {
    rung: AtomicBool,
    notify: Arc<dyn Fn() + Send + Sync>,
}

impl Bell {
    pub(super) fn new(notify: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self {
            rung: AtomicBool::new(false),
            notify,
        }
    }

    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            (self.notify)();
        }
    }

    pub(super) fn reset(&self) {
        self.rung.store(false, Ordering::Release);
    }
}

/// One session's status and counters.
pub(super) struct Shared {
    bell: Arc<Bell>,
    state: Mutex<State>,
    received: AtomicU64,
    sent: AtomicU64,
    connections: AtomicU32,
}

struct State {
    status: Status,
    local: Option<SocketAddr>,
    /// Streams that still run (one per log source).
    open: usize,
}

impl Shared {
    pub(super) fn new(bell: Arc<Bell>, open: usize) -> Self {
        Self {
            bell,
            state: Mutex::new(State {
                status: Status::Opening,
                local: None,
                open,
            }),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            connections: AtomicU32::new(0),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dirty(&self) {
        self.bell.ring();
    }

    pub(super) fn set(&self, status: Status) {
        self.state().status = status;
        self.dirty();
    }

    /// One of the streams is over; the last one's end is the session's.
    pub(super) fn ended(&self, _source: u16, status: Status) {
        let mut state = self.state();
        state.open = state.open.saturating_sub(1);
        if state.open == 0 || matches!(status, Status::Failed(_)) {
            state.status = status;
        }
        drop(state);
        self.dirty();
    }

    pub(super) fn listening(&self, local: SocketAddr) {
        let mut state = self.state();
        state.local = Some(local);
        state.status = Status::Running;
        drop(state);
        self.dirty();
    }

    pub(super) fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.dirty();
    }

    pub(super) fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        self.dirty();
    }

    pub(super) fn status(&self) -> (Status, Option<SocketAddr>) {
        let state = self.state();
        (state.status.clone(), state.local)
    }

    pub(super) fn counts(&self) -> (u64, u64, u32) {
        let (received, sent) = (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed));
        (received, sent, self.connections.load(Ordering::Relaxed))
    }
}
