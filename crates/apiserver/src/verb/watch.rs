//! Watches: what happens to the selected objects, as it happens.
//!
//! A watch is a position in the history of its table, nothing more. When the table changes, every watch reads on from where it
//! is; one that reads too slowly falls out of the history and is told to list again. So a slow client costs no memory, and
//! the JSON of an event is shared by all watches: each sends slices of the stored bytes between a few bytes of its own.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, stream};
use http::{HeaderValue, Response, header};
use knarr_resource::{Cause, Errors, Path, Status};
use knarr_schema::proto;
use rand::RngExt;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::list;
use super::select::Selection;
use crate::http::accept::Encoding;
use crate::http::render::Writer;
use crate::http::request_info::RequestInfo;
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

/// A watch between two events.
struct Watch {
    server: Arc<Server>,
    slot: Slot,
    lane: Lane,
    namespace: Option<String>,
    selection: Selection,
    writer: Writer,
    /// Events are frames of protobuf rather than lines of JSON.
    protobuf: bool,
    /// Everything up to this version has been looked at.
    version: u64,
    changes: watch::Receiver<u64>,
    stopping: CancellationToken,
    deadline: Instant,
    /// None if the client does not want bookmarks.
    bookmark: Option<Instant>,
    /// Objects that were there when the watch began and are still to be sent, as if they had just been added.
    initial: std::vec::IntoIter<Arc<Object>>,
    /// They are to be followed by their bookmark.
    announce: bool,
    pending: VecDeque<Bytes>,
    /// Nothing follows `pending`.
    ended: bool,
}

pub(crate) fn answer(server: Arc<Server>, call: RequestInfo) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    if form.encoding == Encoding::Yaml {
        return Err(refusal::not_acceptable_as(
            "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
        ));
    }
    let selection = Selection::of(&call)?;
    let writer = Writer::new(&call, form.shape)?;
    let bookmarks = call.query.flag("allowWatchBookmarks");
    let initial = initial_events(&call, bookmarks)?;
    let timeout = match call.query.number::<u64>("timeoutSeconds")? {
        Some(seconds) if seconds > 0 => seconds.min(365 * 24 * 3600),
        _ => DEFAULT_TIMEOUT + rand::rng().random_range(0..DEFAULT_TIMEOUT),
    };
    let slot = server.slot_of(&call.resource);
    let lane = selection.lane(&call);
    // Subscribing before reading: a change between the two wakes the watch once for nothing, instead of never.
    let changes = server.store.follow(slot, &lane);
    let now = Instant::now();
    let mut watch = Watch {
        slot,
        lane,
        namespace: call.scope().map(str::to_owned),
        selection,
        writer,
        protobuf: form.encoding == Encoding::Protobuf,
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
    let version = call.query.number::<u64>("resourceVersion")?;
    if initial == Some(true)
        && let Some(version) = version
    {
        list::reached(&watch.server, version)?;
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
    let media = match watch.protobuf {
        true => "application/vnd.kubernetes.protobuf;stream=watch",
        false => "application/json",
    };
    let mut response = Response::new(Body::from_stream(watch.into_stream()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

/// `sendInitialEvents`, if given, with its rules.
fn initial_events(call: &RequestInfo, bookmarks: bool) -> Result<Option<bool>, Status> {
    let wanted = call
        .query
        .get("sendInitialEvents")
        .map(|_| call.query.flag("sendInitialEvents"));
    let matching = call.query.get("resourceVersionMatch");
    let mut errors = Errors::new();
    let mut forbid = |field: &str, why: &str| errors.push(&Path::new(field), Cause::Forbidden, Value::Null, why);
    match (wanted, matching) {
        (None, None) => {}
        (None, Some(_)) => forbid(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (Some(_), Some("NotOlderThan")) => {
            if wanted == Some(true) && !bookmarks {
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
    /// Continues from a version that the client has seen.
    fn start_at(&mut self, version: u64) {
        self.version = version;
        let current = self.server.store.version();
        if version > current {
            // A version of another life of this cluster. Waiting for it would miss everything up to it.
            self.expire(&refusal::from_the_future(version, current));
        }
    }

    /// Begins with the state as it is.
    fn start_with_everything(&mut self) {
        let snapshot = self.server.store.list(self.slot, self.namespace.as_deref());
        self.version = snapshot.version;
        self.initial = snapshot.objects.into_iter();
    }

    /// Sends on with the objects that were there at the beginning, some at a time.
    fn push_initial(&mut self) {
        while self.pending.len() < BATCH
            && let Some(object) = self.initial.next()
        {
            if self.selection.matches(&object) {
                self.push(Change::Added, &object);
            }
        }
    }

    fn push(&mut self, change: Change, object: &Object) {
        let event = match change {
            Change::Added => "ADDED",
            Change::Modified => "MODIFIED",
            Change::Deleted => "DELETED",
        };
        let [first, second] = self.writer.one(&self.server, object);
        self.send(event, first, second);
    }

    /// Sends an event whose object is JSON in two pieces.
    fn send(&mut self, event: &str, first: Bytes, second: Bytes) {
        self.writer.omit_columns();
        if self.protobuf {
            let object = [first, second].concat();
            let frame = serde_json::from_slice(&object)
                .ok()
                .and_then(|object| proto::encode_event(event, &object));
            self.pending.extend(frame.map(Bytes::from));
            return;
        }
        let mut start = Vec::with_capacity(event.len() + 20 + first.len());
        start.extend_from_slice(br#"{"type":""#);
        start.extend_from_slice(event.as_bytes());
        start.extend_from_slice(br#"","object":"#);
        start.extend_from_slice(&first);
        self.pending.push_back(start.into());
        self.pending.push_back(second);
        self.pending.push_back(Bytes::from_static(b"}\n"));
    }

    fn push_bookmark(&mut self, initial_events_end: bool) {
        let object = self.writer.bookmark(self.version, initial_events_end);
        self.send("BOOKMARK", object, Bytes::new());
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
    fn expire(&mut self, failure: &Status) {
        let status = failure.to_value().to_string();
        self.send("ERROR", status.into(), Bytes::new());
        self.ended = true;
    }

    /// Reads on in the history.
    fn advance(&mut self) {
        match self.server.store.events(self.slot, &self.lane, self.version, BATCH) {
            Ok((events, complete)) => {
                for event in events {
                    self.event(&event);
                }
                self.version = complete;
            }
            Err(expired) => self.expire(&refusal::expired(self.version, &expired)),
        }
    }

    fn event(&mut self, event: &Event) {
        if self
            .namespace
            .as_deref()
            .is_some_and(|namespace| namespace != event.object.namespace())
        {
            return;
        }
        let was = event
            .previous
            .as_ref()
            .is_some_and(|previous| self.selection.matches(previous));
        let is = event.change != Change::Deleted && self.selection.matches(&event.object);
        match (was, is) {
            (false, false) => {}
            (false, true) => self.push(Change::Added, &event.object),
            (true, true) => self.push(Change::Modified, &event.object),
            (true, false) if event.change == Change::Deleted => self.push(Change::Deleted, &event.object),
            (true, false) => {
                // It is still there, only no longer selected. The client gets the state it knew, at the new version.
                let Some(previous) = &event.previous else { return };
                let version = event.object.version;
                self.push(Change::Deleted, &previous.restamped(version));
            }
        }
    }

    /// Waits until there is something to send. False at the end.
    async fn fill(&mut self) -> bool {
        if self.pending.is_empty() {
            self.push_initial();
        }
        if self.announce && self.pending.is_empty() {
            self.announce = false;
            self.push_bookmark(true);
        }
        while self.pending.is_empty() {
            if self.ended {
                return false;
            }
            self.changes.mark_unchanged();
            self.advance();
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
                        return false;
                    }
                    self.advance();
                    self.push_bookmark(false);
                }
                () = self.stopping.cancelled() => return false,
            }
        }
        true
    }

    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
        stream::unfold(self, |mut watch| async move {
            if !watch.fill().await {
                return None;
            }
            let bytes = watch.pending.pop_front()?;
            Some((Ok(bytes), watch))
        })
    }
}
