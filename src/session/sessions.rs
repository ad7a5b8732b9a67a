//! All sessions, by ID.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use knarr_clock::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::exec::{self, Command, Emulator};
use super::forward;
use super::logs::{self, Lines};
use super::shared::{Bell, Shared};
use super::{Info, LogSnapshot, SessionId, Spec, Status};
use crate::cluster::{ClusterId, Link};
use crate::error::{Error, Result};

/// Owns every session's tasks: a session that is closed, and all of them when this is dropped, end with them.
pub struct Sessions {
    all: BTreeMap<SessionId, Session>,
    bell: Arc<Bell>,
    clock: Clock,
}

struct Session {
    spec: Spec,
    context: Arc<str>,
    since: Timestamp,
    shared: Arc<Shared>,
    content: Content,
    /// Dropped, and with it aborted, when the session is closed.
    _tasks: JoinSet<()>,
}

enum Content {
    Logs {
        lines: Arc<Lines>,
        seen: Mutex<Option<(u64, Arc<LogSnapshot>)>>,
    },
    Terminal {
        emulator: Arc<Emulator>,
        commands: mpsc::UnboundedSender<Command>,
    },
    Forward,
}

impl Sessions {
    /// No sessions. `notify` is called from their tasks when a snapshot or a status has changed, at most once until
    /// [`Sessions::take_dirty`].
    pub fn new(notify: Arc<dyn Fn() + Send + Sync>, clock: Clock) -> Self {
        Self {
            all: BTreeMap::new(),
            bell: Arc::new(Bell::new(notify)),
            clock,
        }
    }

    /// Opens a session under an ID chosen by the caller. `links` gives the way to each cluster that the session is about; `context` is how
    /// those are called.
    ///
    /// # Errors
    ///
    /// When there is no way to one of them.
    pub fn open(
        &mut self,
        id: SessionId,
        spec: Spec,
        context: &str,
        links: impl Fn(ClusterId) -> Result<Link>,
    ) -> Result<()> {
        let links: Vec<Link> = spec
            .pods()
            .iter()
            .map(|pod| links(pod.cluster))
            .collect::<Result<_>>()?;
        let link = || {
            links
                .first()
                .cloned()
                .ok_or_else(|| Error::usage("there is no pod to open it to"))
        };
        let streams = if let Spec::Logs(logs) = &spec {
            logs.sources.len()
        } else {
            1
        };
        let shared = Arc::new(Shared::new(self.bell.clone(), streams));
        let mut tasks = JoinSet::new();
        let content = match &spec {
            Spec::Logs(logs) => {
                let lines = Arc::new(Lines::default());
                for (source, link) in links.iter().enumerate() {
                    let source = u16::try_from(source).unwrap_or(u16::MAX);
                    tasks.spawn(logs::tail(
                        link.clone(),
                        logs.clone(),
                        source,
                        lines.clone(),
                        shared.clone(),
                    ));
                }
                Content::Logs {
                    lines,
                    seen: Mutex::new(None),
                }
            }
            Spec::Exec(exec) => {
                let emulator = Arc::new(Emulator::new(exec.size));
                let (commands, receiver) = mpsc::unbounded_channel();
                tasks.spawn(exec::run(
                    link()?,
                    exec.clone(),
                    emulator.clone(),
                    shared.clone(),
                    receiver,
                ));
                Content::Terminal { emulator, commands }
            }
            Spec::Forward(forward) => {
                tasks.spawn(forward::run(link()?, forward.clone(), shared.clone()));
                Content::Forward
            }
        };
        self.all.insert(
            id,
            Session {
                spec,
                context: context.into(),
                since: self.clock.now(),
                shared,
                content,
                _tasks: tasks,
            },
        );
        Ok(())
    }

    fn terminal(&self, id: SessionId) -> Option<(&Emulator, &mpsc::UnboundedSender<Command>)> {
        match &self.all.get(&id)?.content {
            Content::Terminal { emulator, commands } => Some((emulator, commands)),
            _ => None,
        }
    }

    /// Sends bytes to a terminal session; an ended one drops them.
    pub fn input(&mut self, id: SessionId, bytes: Bytes) {
        if let Some((_, commands)) = self.terminal(id) {
            let _ = commands.send(Command::Input(bytes));
        }
    }

    /// Changes a terminal session's size.
    pub fn resize(&mut self, id: SessionId, columns: u16, rows: u16) {
        if let Some((emulator, commands)) = self.terminal(id) {
            emulator.resize(columns, rows);
            let _ = commands.send(Command::Resize(columns, rows));
        }
    }

    /// Hides the lines a log session has so far.
    pub fn clear(&mut self, id: SessionId) {
        if let Some(Session {
            content: Content::Logs { lines, .. },
            ..
        }) = self.all.get(&id)
        {
            lines.clear();
        }
    }

    /// Ends a session and forgets it.
    pub fn close(&mut self, id: SessionId) {
        self.all.remove(&id);
    }

    fn info_of(id: SessionId, session: &Session) -> Info {
        let (status, local) = session.shared.status();
        let (received, sent, connections) = session.shared.counts();
        Info {
            id,
            spec: session.spec.clone(),
            context: session.context.clone(),
            status,
            since: session.since,
            local,
            received,
            sent,
            connections,
        }
    }

    /// One session at a glance.
    pub fn info(&self, id: SessionId) -> Option<Info> {
        self.all.get(&id).map(|session| Self::info_of(id, session))
    }

    /// All sessions, oldest first.
    pub fn list(&self) -> Vec<Info> {
        self.all
            .iter()
            .map(|(id, session)| Self::info_of(*id, session))
            .collect()
    }

    /// The lines of a log session.
    pub fn log(&self, id: SessionId) -> Option<Arc<LogSnapshot>> {
        let session = self.all.get(&id)?;
        let Content::Logs { lines, seen } = &session.content else {
            return None;
        };
        // One snapshot serves all draws between two arrivals.
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((version, snapshot)) = lines.newer_than(seen.as_ref().map(|(version, _)| *version)) {
            *seen = Some((version, Arc::new(snapshot)));
        }
        seen.as_ref().map(|(_, snapshot)| snapshot.clone())
    }

    /// The screen of a terminal session.
    pub fn screen(&self, id: SessionId) -> Option<Arc<vt100::Screen>> {
        self.terminal(id).map(|(emulator, _)| emulator.screen())
    }

    /// Allows the next notification.
    pub fn take_dirty(&self) {
        self.bell.reset();
    }

    /// Whether no session is being opened.
    pub fn is_settled(&self) -> bool {
        self.all
            .values()
            .all(|session| session.shared.status().0 != Status::Opening)
    }
}
