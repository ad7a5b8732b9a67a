//! Watches over HTTP: a line of JSON or a frame of protobuf for each event.
//!
//! Each watch sends slices of the stored bytes between a few bytes of its own.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, stream};
use http::{HeaderValue, Response, header};
use knarr_resource::Status;
use knarr_schema::proto;

use crate::http::accept::Encoding;
use crate::http::options;
use crate::http::render::Writer;
use crate::http::request_info::RequestInfo;
use crate::refusal;
use crate::registry::{self, Watch, WatchEvent};
use crate::server::Server;
use crate::store::Change;

/// A watch, and how its client wants to read it.
struct Sender {
    server: Arc<Server>,
    watch: Watch,
    writer: Writer,
    /// Events are frames of protobuf rather than lines of JSON.
    protobuf: bool,
    pending: VecDeque<Bytes>,
}

pub(crate) fn answer(server: Arc<Server>, call: RequestInfo) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    if form.encoding == Encoding::Yaml {
        return Err(refusal::not_acceptable_as(
            "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
        ));
    }
    let writer = Writer::new(&call, form.shape)?;
    let watch = registry::watch(server.clone(), call.request(), &options::list(&call)?)?;
    let protobuf = form.encoding == Encoding::Protobuf;
    let media = match protobuf {
        true => "application/vnd.kubernetes.protobuf;stream=watch",
        false => "application/json",
    };
    let sender = Sender {
        server,
        watch,
        writer,
        protobuf,
        pending: VecDeque::new(),
    };
    let mut response = Response::new(Body::from_stream(sender.into_stream()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

impl Sender {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
        stream::unfold(self, |mut sender| async move {
            while sender.pending.is_empty() {
                let event = sender.watch.next().await?;
                sender.push(event);
            }
            let bytes = sender.pending.pop_front()?;
            Some((Ok(bytes), sender))
        })
    }

    fn push(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Object(change, object) => {
                let event = match change {
                    Change::Added => "ADDED",
                    Change::Modified => "MODIFIED",
                    Change::Deleted => "DELETED",
                };
                let [first, second] = self.writer.one(&self.server, &object);
                self.send(event, first, second);
            }
            WatchEvent::Bookmark {
                version,
                initial_events_end,
            } => {
                let object = self.writer.bookmark(version, initial_events_end);
                self.send("BOOKMARK", object, Bytes::new());
            }
            WatchEvent::Error(failure) => {
                let status = failure.to_value().to_string();
                self.send("ERROR", status.into(), Bytes::new());
            }
        }
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
}
