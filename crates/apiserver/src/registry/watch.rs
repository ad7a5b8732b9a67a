//! Watches: what happens to the selected objects, as it happens.
//!
//! A watch is a position in the history of its table, nothing more. When the table changes, every watch reads on from where it
//! is; one that reads too slowly falls out of the history and is told to list again. So a slow client costs no memory, and
//! the JSON of an event is shared by all watches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use knarr_resource::{Cause, Errors, Path, Status};
use rand::RngExt;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::list::reached;
use super::selection::Selection;
use super::{ListOptions, Request, codec};
use crate::refusal;
use crate::server::Server;
use crate::store::{Change, Event, Lane, Object, Slot};

/// Events read from the history at once.
const BATCH: usize = 128;
/// Time between bookmarks, for clients that want them.
const BOOKMARK: Duration = Duration::from_secs(60);
/// How long before the end of a watch its last bookmark is sent.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// A watch without a timeout ends after this long, or up to twice as long.
const DEFAULT_TIMEOUT: u64 = 1800;

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum WatchEvent {
    /// An object as the version of the request shows it.
    Object(Change, Arc<Object>),
    /// Everything up to a version has been told.
    Bookmark {
        version: u64,
        /// The objects that were there when the watch began have been told as well.
        initial_events_end: bool,
    },
    /// The watch has failed, and ends.
    Error(Status),
}

/// A watch between two events.
pub(crate) struct Watch {
    server: Arc<Server>,
    request: Request,
    slot: Slot,
    lane: Lane,
    selection: Selection,
    /// Everything up to this version has been looked at.
    version: u64,
    changes: watch::Receiver<u64>,
    stopping: CancellationToken,
    deadline: Instant,
    /// None if the client does not want bookmarks.
    bookmark: Option<Instant>,
    /// Objects that were there when the watch began and are still to be told, as if they had just been added.
    initial: std::vec::IntoIter<Arc<Object>>,
    /// They are to be followed by their bookmark.
    announce: bool,
    pending: VecDeque<WatchEvent>,
    /// Nothing follows `pending`.
    ended: bool,
}

/// Begins to watch what the options select.
pub(crate) fn watch(server: Arc<Server>, request: Request, options: &ListOptions) -> Result<Watch, Status> {
    let selection = Selection::of(&request, options)?;
    let bookmarks = options.allow_watch_bookmarks;
    let initial = initial_events(options)?;
    let timeout = match options.timeout_seconds {
        Some(seconds) if seconds > 0 => seconds.min(365 * 24 * 3600),
        _ => DEFAULT_TIMEOUT + rand::rng().random_range(0..DEFAULT_TIMEOUT),
    };
    let slot = server.slot_of(&request.resource);
    let lane = selection.lane(&request);
    // Subscribing before reading: a change between the two wakes the watch once for nothing, instead of never.
    let changes = server.store.follow(slot, &lane);
    let now = Instant::now();
    let mut watch = Watch {
        request,
        slot,
        lane,
        selection,
        version: 0,
        changes,
        stopping: server.stopping.clone(),
        deadline: now + Duration::from_secs(timeout),
        bookmark: None,
        initial: Vec::new().into_iter(),
        announce: false,
        pending: VecDeque::new(),
        ended: false,
        server,
    };
    let version = options.resource_version;
    if initial == Some(true)
        && let Some(version) = version
    {
        reached(&watch.server, version)?;
    }
    watch.bookmark = bookmarks.then(|| watch.next_bookmark());
    match version {
        Some(version) if version > 0 && initial != Some(true) => watch.start_at(version),
        _ if initial == Some(false) => watch.version = watch.server.store.version(),
        _ => {
            watch.start_with_everything();
            watch.announce = initial == Some(true) && bookmarks;
        }
    }
    Ok(watch)
}

/// `sendInitialEvents`, if given, with its rules.
fn initial_events(options: &ListOptions) -> Result<Option<bool>, Status> {
    let wanted = options.send_initial_events;
    let mut errors = Errors::new();
    let mut forbid = |field: &str, why: &str| errors.push(&Path::new(field), Cause::Forbidden, Value::Null, why);
    match (wanted, options.resource_version_match.as_deref()) {
        (None, None) => {}
        (None, Some(_)) => forbid(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (Some(_), Some("NotOlderThan")) => {
            if wanted == Some(true) && !options.allow_watch_bookmarks {
                forbid(
                    "sendInitialEvents",
                    "sendInitialEvents is forbidden for watch unless allowWatchBookmarks is true",
                );
            }
        }
        (Some(_), _) => forbid(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
    }
    match errors.into_vec() {
        errors if errors.is_empty() => Ok(wanted),
        errors => Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors)),
    }
}

impl Watch {
    /// The next event; none at the end.
    pub(crate) async fn next(&mut self) -> Option<WatchEvent> {
        if self.pending.is_empty() {
            self.push_initial().await;
        }
        if self.announce && self.pending.is_empty() {
            self.announce = false;
            self.push_bookmark(true);
        }
        while self.pending.is_empty() {
            if self.ended {
                return None;
            }
            self.changes.mark_unchanged();
            self.advance().await;
            if !self.pending.is_empty() || self.version < *self.changes.borrow() {
                continue;
            }
            let wake = self
                .bookmark
                .map_or(self.deadline, |bookmark| bookmark.min(self.deadline));
            tokio::select! {
                changed = self.changes.changed() => {
                    self.ended |= changed.is_err();
                }
                () = tokio::time::sleep_until(wake) => {
                    if Instant::now() >= self.deadline {
                        return None;
                    }
                    self.advance().await;
                    self.push_bookmark(false);
                }
                () = self.stopping.cancelled() => return None,
            }
        }
        self.pending.pop_front()
    }

    /// Continues from a version that the client has seen.
    fn start_at(&mut self, version: u64) {
        self.version = version;
        let current = self.server.store.version();
        if version > current {
            // A version of another life of this cluster. Waiting for it would miss everything up to it.
            self.fail(refusal::from_the_future(version, current));
        }
    }

    /// Begins with the state as it is.
    fn start_with_everything(&mut self) {
        let snapshot = self.server.store.list(self.slot, self.request.scope());
        self.version = snapshot.version;
        self.initial = snapshot.objects.into_iter();
    }

    /// Goes on with the objects that were there at the beginning, some at a time.
    async fn push_initial(&mut self) {
        while self.pending.is_empty() && self.initial.len() > 0 {
            let selection = &self.selection;
            let some = self.initial.by_ref().filter(|object| selection.may_match(object));
            let some: Vec<Arc<Object>> = some.take(BATCH).collect();
            match codec::show(&self.server, &self.request.resource, some).await {
                Ok(shown) => {
                    let selected = shown.into_iter().filter(|object| self.selection.matches(object));
                    let events = selected.map(|object| WatchEvent::Object(Change::Added, object));
                    self.pending.extend(events);
                }
                Err(failure) => self.fail(failure),
            }
        }
    }

    fn push_bookmark(&mut self, initial_events_end: bool) {
        self.pending.push_back(WatchEvent::Bookmark {
            version: self.version,
            initial_events_end,
        });
        self.bookmark = self.bookmark.map(|_| self.next_bookmark());
    }

    /// After a minute or a little more, so that not all watches send theirs at once; and just before the end, so that the
    /// client can go on from there.
    fn next_bookmark(&self) -> Instant {
        let now = Instant::now();
        let next = now + BOOKMARK.mul_f64(1.0 + rand::rng().random_range(0.0..0.25));
        match self.deadline.checked_sub(LAST_BOOKMARK) {
            Some(last) if now < last => next.min(last),
            _ => next,
        }
    }

    /// Ends the watch with an error event. The response has long begun, so this is how a watch fails.
    fn fail(&mut self, failure: Status) {
        self.pending.push_back(WatchEvent::Error(failure));
        self.initial = Vec::new().into_iter();
        self.announce = false;
        self.ended = true;
    }

    /// Reads on in the history.
    async fn advance(&mut self) {
        match self.server.store.events(self.slot, &self.lane, self.version, BATCH) {
            Ok((events, complete)) => match self.show(&events).await {
                Ok(()) => self.version = complete,
                Err(failure) => self.fail(failure),
            },
            Err(expired) => self.fail(refusal::expired(self.version, &expired)),
        }
    }

    /// Tells of those events that are about what is selected, in the version of the request.
    async fn show(&mut self, events: &[Arc<Event>]) -> Result<(), Status> {
        let scope = self.request.scope();
        let here = |event: &&Arc<Event>| scope.is_none_or(|namespace| namespace == event.object.namespace());
        let events: Vec<&Arc<Event>> = events.iter().filter(here).collect();
        let states = events
            .iter()
            .flat_map(|event| std::iter::once(&event.object).chain(&event.previous));
        let states: Vec<Arc<Object>> = states.cloned().collect();
        let mut shown = codec::show(&self.server, &self.request.resource, states)
            .await?
            .into_iter();
        for event in events {
            let Some(object) = shown.next() else { break };
            let previous = event.previous.as_ref().and_then(|_| shown.next());
            self.tell(event.change, object, previous);
        }
        Ok(())
    }

    fn tell(&mut self, change: Change, object: Arc<Object>, previous: Option<Arc<Object>>) {
        let was = previous.filter(|previous| self.selection.matches(previous));
        let is = change != Change::Deleted && self.selection.matches(&object);
        let (change, object) = match (was, is) {
            (None, false) => return,
            (None, true) => (Change::Added, object),
            (Some(_), true) => (Change::Modified, object),
            (Some(_), false) if change == Change::Deleted => (Change::Deleted, object),
            // It is still there, only no longer selected. The client gets the state it knew, at the new version.
            (Some(was), false) => (Change::Deleted, Arc::new(was.restamped(object.version))),
        };
        self.pending.push_back(WatchEvent::Object(change, object));
    }
}
