//! The part of a feed that talks to a cluster: lists, watches from there, and tries again.
//!
//! ```text
//! list ──ok──▶ watch ──ended──▶ watch again from the last version seen
//!  ▲ │           │ │
//!  │ └─failed────┼─┴──broke──▶ wait 0.5 s, 1 s ... 30 s, watch again
//!  └─────────────┴──410, refused: what is known may be wrong
//! ```
//!
//! A list is a watch that begins with everything there is (KEP-3157) where the server offers that: the rows come as they are read, and the
//! watch goes on in the same request. Elsewhere, and where that did not come to its end, it is read in pages.

use std::convert::Infallible;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use jiff::Timestamp;
use knarr_clock::Clock;
use kube::client::Body;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::wire::{Decoder, Event, Page};
use super::{News, Shared, Underway, table};
use crate::cluster::{Link, Read, Resource};
use crate::error::{Error, ErrorKind};
use crate::store::{FeedState, Query};

/// Objects per page.
const PAGE: usize = 500;
/// Longest silence during a list.
const LIST_SILENCE: Duration = Duration::from_secs(20);
/// How long objects of a list are gathered while no more of them come.
const GATHER: Duration = Duration::from_millis(50);
/// How long a watch may take to begin. Longer than for a list: some proxies hold the headers back until something follows.
const WATCH_BEGIN: Duration = Duration::from_secs(60);
/// How long the server is asked to keep a watch open: below the five minutes after which many proxies cut it.
const WATCH_SECONDS: u64 = 290;
/// Longest silence of a watch: the server should have ended it itself.
const WATCH_SILENCE: Duration = Duration::from_secs(WATCH_SECONDS + 30);
/// A watch that breaks later than this is opened again at once; only if that fails is the feed stale.
const SOUND: Duration = Duration::from_secs(10);
/// First and longest pause before another attempt.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How often a resource that cannot be watched (metrics) is listed.
pub(super) const POLL: Duration = Duration::from_secs(15);
/// Largest page, line of a watch, and error body understood. Tests have little to send.
const LARGEST_PAGE: usize = if cfg!(test) { 2 << 20 } else { 256 << 20 };
const LARGEST_LINE: usize = 16 << 20;
const LARGEST_STATUS: usize = 1 << 20;

/// Where a reader's news go.
pub(super) struct Out {
    part: usize,
    news: mpsc::Sender<(usize, News)>,
    shared: Arc<Shared>,
}

impl Out {
    pub(super) fn new(part: usize, news: mpsc::Sender<(usize, News)>, shared: Arc<Shared>) -> Self {
        Self { part, news, shared }
    }

    async fn send(&self, news: News) -> Result<(), Over> {
        let place = self.news.reserve().await.map_err(|_| Over)?;
        // Counted before it is on its way: whoever compares the counts never finds a feed settled that is not.
        self.shared.progress.received.fetch_add(1, Ordering::AcqRel);
        place.send((self.part, news));
        Ok(())
    }
}

pub(super) struct Reader {
    link: Link,
    resource: Arc<Resource>,
    /// Path of the collection.
    path: String,
    labels: String,
    fields: String,
    decoder: Decoder,
    clock: Clock,
    out: Out,
    listing: Option<Underway>,
    /// Whether the server is asked for a table.
    tabular: bool,
    watchable: bool,
    /// Whether a list may be asked for as the beginning of a watch.
    streams: bool,
    state: FeedState,
    heard: Timestamp,
    pause: Duration,
}

/// Why a list or a watch came to an end.
#[derive(Debug)]
enum Trouble {
    /// The version or the continue token is too old (410).
    Expired(Error),
    /// The server answered with this HTTP code.
    Refused(u16, Error),
    /// The server did not answer, or not in a way that makes sense.
    Broken(Error),
}

/// A complete list.
struct Listed {
    /// To watch from.
    version: String,
    /// The watch that goes on from it, when the list was its beginning.
    watch: Option<Stream>,
}

/// An open watch.
struct Stream {
    body: Body,
    lines: Lines,
}

/// Nobody listens any more.
struct Over;

/// What was tried, unless nobody listens any more.
type Tried<T> = Result<Result<T, Trouble>, Over>;

impl Reader {
    /// Reads one namespace (or all) of the link's cluster.
    pub(super) fn new(
        link: Link,
        query: &Query,
        namespace: Option<Arc<str>>,
        tabular: bool,
        clock: Clock,
        out: Out,
    ) -> Self {
        // Another cluster may serve it in another version.
        let resource = link.discovery.like(&query.resource).unwrap_or(&query.resource).clone();
        Self {
            decoder: Decoder::new(link.cluster, &resource),
            watchable: resource.verbs.is_empty() || resource.can("watch"),
            streams: link.streams(),
            path: resource.path(namespace.as_deref()),
            resource,
            labels: query.labels.clone(),
            fields: query.fields.clone(),
            heard: clock.now(),
            state: FeedState::Loading,
            tabular,
            pause: PAUSE.0,
            link,
            clock,
            listing: Some(Underway::new(&out.shared)),
            out,
        }
    }

    /// Reads until nobody listens any more.
    pub(super) async fn run(mut self) {
        let news = self.out.news.clone();
        tokio::select! {
            biased;
            () = news.closed() => {}
            Err(Over) = self.read() => {}
        }
    }

    async fn read(&mut self) -> Result<Infallible, Over> {
        loop {
            match self.list().await? {
                Ok(listed) => {
                    // Stale ends when a watch is open again: what may be listed but not watched is stale between lists.
                    if !self.watchable || !matches!(self.state, FeedState::Stale { .. }) {
                        self.tell(FeedState::Live).await?;
                    }
                    self.listing = None;
                    if self.watchable {
                        self.follow(listed).await?;
                    } else {
                        self.pause = PAUSE.0;
                        sleep(POLL).await;
                    }
                }
                Err(trouble) => {
                    self.unlisted(trouble).await?;
                    self.listing = None;
                    self.wait().await;
                }
            }
        }
    }

    async fn unlisted(&mut self, trouble: Trouble) -> Result<(), Over> {
        match trouble {
            Trouble::Refused(400 | 403 | 404 | 405 | 422, error) => {
                // What the server does not let us see (any more) is not shown, and asking often does not help.
                self.pause = PAUSE.1;
                self.send(News::Begin).await?;
                self.send(News::End).await?;
                self.tell(FeedState::Failed(error)).await
            }
            Trouble::Refused(_, error) | Trouble::Expired(error) | Trouble::Broken(error) => match self.state {
                FeedState::Loading | FeedState::Failed(_) => self.tell(FeedState::Failed(error)).await,
                FeedState::Live | FeedState::Stale { .. } => self.stale(error).await,
            },
        }
    }

    /// Watches until it must be listed again.
    async fn follow(&mut self, listed: Listed) -> Result<(), Over> {
        let Listed {
            mut version,
            watch: mut open,
        } = listed;
        loop {
            let begun = Instant::now();
            let end = self.watch(&mut version, open.take()).await?;
            let sound = begun.elapsed() >= SOUND;
            if sound {
                self.pause = PAUSE.0;
            }
            match end {
                Ok(()) | Err(Trouble::Broken(_)) if sound => {}
                // Something on the way ends each watch early: events must not wait for ever longer.
                Ok(()) => {
                    self.pause = PAUSE.0;
                    self.wait().await;
                }
                Err(Trouble::Broken(error)) => {
                    self.stale(error).await?;
                    self.wait().await;
                }
                Err(Trouble::Expired(_)) => {
                    self.listing.get_or_insert_with(|| Underway::new(&self.out.shared));
                    if !sound {
                        self.wait().await;
                    }
                    return Ok(());
                }
                Err(Trouble::Refused(405, _)) => {
                    self.watchable = false;
                    return self.tell(FeedState::Live).await;
                }
                // Busy or broken for a while: what is known is still right up to its version.
                Err(Trouble::Refused(429 | 500 | 502 | 503 | 504, error)) => {
                    self.stale(error).await?;
                    self.wait().await;
                }
                Err(Trouble::Refused(_, error)) => {
                    self.stale(error).await?;
                    self.wait().await;
                    return Ok(());
                }
            }
        }
    }

    async fn list(&mut self) -> Tried<Listed> {
        // A stream sends objects, not tables.
        if !self.streams || !self.watchable || self.tabular {
            return self.list_pages().await;
        }
        let listed = self.list_stream().await?;
        self.streams = listed.is_ok();
        match listed {
            Err(Trouble::Refused(code @ (400..=428 | 430..=499), _)) => {
                if matches!(code, 400 | 422) {
                    self.link.streams_no_lists();
                }
                self.list_pages().await
            }
            other => Ok(other),
        }
    }

    /// Lists by a watch that begins with everything there is.
    async fn list_stream(&mut self) -> Tried<Listed> {
        let request = self
            .watching()
            .param("sendInitialEvents", "true")
            .param("resourceVersionMatch", "NotOlderThan");
        self.send(News::Begin).await?;
        let mut stream = match self.open(&request, LIST_SILENCE).await {
            Ok(stream) => stream,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let mut page = Vec::new();
        loop {
            let patience = if page.is_empty() { LIST_SILENCE } else { GATHER };
            let event = match timeout(patience, self.event(&mut stream, LIST_SILENCE)).await {
                Ok(event) => event,
                Err(_) if page.is_empty() => Err(Trouble::Broken(self.silent(LIST_SILENCE))),
                Err(_) => {
                    self.send(News::Page(std::mem::take(&mut page))).await?;
                    continue;
                }
            };
            match event {
                Ok(Some(Event::Set(object))) => {
                    page.push(object);
                    if page.len() >= PAGE {
                        self.send(News::Page(std::mem::take(&mut page))).await?;
                    }
                }
                Ok(Some(Event::Gone(id, _))) => {
                    self.send(News::Page(std::mem::take(&mut page))).await?;
                    self.send(News::Gone(id)).await?;
                }
                Ok(Some(Event::Bookmark {
                    version,
                    ends_list: true,
                })) => {
                    self.send(News::Page(page)).await?;
                    self.send(News::End).await?;
                    let watch = Some(stream);
                    return Ok(Ok(Listed { version, watch }));
                }
                Ok(Some(Event::Bookmark { .. } | Event::Other)) => {}
                Ok(Some(Event::Error(code, status))) => return Ok(Err(self.status(code, status.as_bytes()))),
                Ok(None) => {
                    let error = Error::new(ErrorKind::Other, format!("{} ends its list early", self.link.address));
                    return Ok(Err(Trouble::Broken(error)));
                }
                Err(trouble) => return Ok(Err(trouble)),
            }
        }
    }

    /// Lists page by page. A continue token that expires on the way makes it begin anew, then without pages, so that a slow reader of a
    /// large list comes to an end.
    async fn list_pages(&mut self) -> Tried<Listed> {
        let (mut limit, mut token) = (PAGE, String::new());
        self.send(News::Begin).await?;
        loop {
            let page = match self.page(limit, &token).await {
                Ok(page) => page,
                Err(Trouble::Expired(_)) if !token.is_empty() => {
                    (limit, token) = (0, String::new());
                    self.send(News::Begin).await?;
                    continue;
                }
                Err(trouble) => return Ok(Err(trouble)),
            };
            self.columns().await?;
            self.send(News::Page(page.objects)).await?;
            if page.next.is_empty() {
                self.send(News::End).await?;
                let version = page.resource_version;
                return Ok(Ok(Listed { version, watch: None }));
            }
            token = page.next;
        }
    }

    async fn page(&mut self, limit: usize, token: &str) -> Result<Page, Trouble> {
        let mut request = self.request();
        if limit > 0 {
            request = request.param("limit", limit.to_string());
        }
        if !token.is_empty() {
            request = request.param("continue", token);
        }
        let response = self.begin(&request, LIST_SILENCE, "gzip").await?;
        let packed = response.headers().get(http::header::CONTENT_ENCODING);
        let packed = packed.is_some_and(|encoding| encoding == "gzip");
        let mut body = self.collect(response.into_body(), LARGEST_PAGE).await?;
        if packed {
            body = self.unpacked(&body)?;
        }
        self.decoder
            .page(&body, self.clock.now())
            .map_err(|error| Trouble::Broken(self.nonsense(&error)))
    }

    /// Watches from `version`, which moves along, until the server ends it.
    async fn watch(&mut self, version: &mut String, open: Option<Stream>) -> Tried<()> {
        let stream = match open {
            Some(stream) => Ok(stream),
            None => {
                let request = self.watching().param("resourceVersion", version.as_str());
                self.open(&request, WATCH_BEGIN).await
            }
        };
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(trouble) => return Ok(Err(trouble)),
        };
        self.tell(FeedState::Live).await?;
        loop {
            let event = self.event(&mut stream, WATCH_SILENCE).await;
            self.columns().await?;
            match event {
                Ok(Some(Event::Set(object))) => {
                    version.clear();
                    version.push_str(&object.resource_version);
                    self.send(News::Set(object)).await?;
                }
                Ok(Some(Event::Gone(id, at))) => {
                    *version = at;
                    self.send(News::Gone(id)).await?;
                }
                Ok(Some(Event::Bookmark { version: at, .. })) => *version = at,
                Ok(Some(Event::Error(code, status))) => return Ok(Err(self.status(code, status.as_bytes()))),
                Ok(Some(Event::Other)) => {}
                Ok(None) => return Ok(Ok(())),
                Err(trouble) => return Ok(Err(trouble)),
            }
        }
    }

    /// What every watch asks for.
    fn watching(&self) -> Read {
        self.request()
            .param("watch", "true")
            .param("allowWatchBookmarks", "true")
            .param("timeoutSeconds", WATCH_SECONDS.to_string())
    }

    async fn open(&mut self, request: &Read, silence: Duration) -> Result<Stream, Trouble> {
        // A compressed watch would hold events back until a block is full.
        let response = self.begin(request, silence, "identity").await?;
        Ok(Stream {
            body: response.into_body(),
            lines: Lines::default(),
        })
    }

    /// The next event of a watch; `None` when the server has ended it. Nothing is lost when it is dropped before it is ready.
    async fn event(&mut self, stream: &mut Stream, silence: Duration) -> Result<Option<Event>, Trouble> {
        loop {
            while let Some(line) = stream.lines.next() {
                if !line.iter().all(u8::is_ascii_whitespace) {
                    let event = self.decoder.event(&line, self.clock.now());
                    return event.map(Some).map_err(|error| Trouble::Broken(self.nonsense(&error)));
                }
            }
            if stream.lines.len() > LARGEST_LINE {
                let error = format!("{} sent an object that is too large", self.link.address);
                return Err(Trouble::Refused(0, Error::new(ErrorKind::Other, error)));
            }
            match self.frame(&mut stream.body, silence).await? {
                Some(bytes) => stream.lines.push(&bytes),
                None => return Ok(None),
            }
        }
    }

    fn request(&self) -> Read {
        let mut request = Read::new(self.path.clone(), format!("list {}", self.resource.full_name()));
        if self.tabular {
            request = request.param("includeObject", "Object");
        }
        for (name, selector) in [("labelSelector", &self.labels), ("fieldSelector", &self.fields)] {
            if !selector.is_empty() {
                request = request.param(name, selector);
            }
        }
        request
    }

    /// Sends a request, and waits for the head of a good answer.
    async fn begin(
        &mut self,
        request: &Read,
        silence: Duration,
        encoding: &str,
    ) -> Result<http::Response<Body>, Trouble> {
        let headers = [
            (
                http::header::ACCEPT,
                if self.tabular {
                    table::ACCEPT
                } else {
                    "application/json"
                },
            ),
            (http::header::ACCEPT_ENCODING, encoding),
        ];
        let response = match timeout(silence, self.link.open_read(request, &headers)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Trouble::Broken(error)),
            Err(_) => return Err(Trouble::Broken(self.silent(silence))),
        };
        self.heard = self.clock.now();
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        if let Some(pause) = crate::cluster::retry_after(response.headers()) {
            self.pause = pause.clamp(PAUSE.0, PAUSE.1);
        }
        let body = self.collect(response.into_body(), LARGEST_STATUS).await?;
        Err(self.status(code, &body))
    }

    /// What was compressed on the way. However little was sent, no more comes of it than of any other page.
    fn unpacked(&self, packed: &[u8]) -> Result<BytesMut, Trouble> {
        let mut body = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(packed).take(LARGEST_PAGE as u64 + 1);
        match decoder.read_to_end(&mut body) {
            Ok(_) if body.len() <= LARGEST_PAGE => Ok(body.as_slice().into()),
            Ok(_) => Err(Trouble::Broken(self.too_much(LARGEST_PAGE))),
            Err(error) => Err(Trouble::Broken(self.link.unreachable(&error))),
        }
    }

    fn too_much(&self, largest: usize) -> Error {
        Error::new(ErrorKind::Other, format!("{} answers with too much", self.link.address))
            .hint(format!("no more than {} MiB are read at once", largest >> 20))
    }

    async fn collect(&mut self, mut body: Body, largest: usize) -> Result<BytesMut, Trouble> {
        let mut all = BytesMut::new();
        while let Some(bytes) = self.frame(&mut body, LIST_SILENCE).await? {
            if all.len() + bytes.len() > largest {
                return Err(Trouble::Broken(self.too_much(largest)));
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    /// The next bytes of a body; `None` at its end.
    async fn frame(&mut self, body: &mut Body, silence: Duration) -> Result<Option<Bytes>, Trouble> {
        loop {
            match timeout(silence, body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    self.heard = self.clock.now();
                    // Trailers carry nothing for us.
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Ok(Some(Err(error))) => return Err(Trouble::Broken(self.link.unreachable(&error))),
                Ok(None) => return Ok(None),
                Err(_) => return Err(Trouble::Broken(self.silent(silence))),
            }
        }
    }

    fn status(&self, code: u16, body: &[u8]) -> Trouble {
        let what = format!("list {}", self.resource.full_name());
        let status = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let error = self.link.status(status, body, &what);
        if code == 410 {
            Trouble::Expired(error)
        } else {
            Trouble::Refused(code, error)
        }
    }

    fn silent(&self, silence: Duration) -> Error {
        Error::new(ErrorKind::Unreachable, format!("{} does not answer", self.link.address)).hint(format!(
            "nothing was heard for {} s; it may be busy, or behind a VPN that is down",
            silence.as_secs()
        ))
    }

    fn nonsense(&self, error: &serde_json::Error) -> Error {
        Error::new(
            ErrorKind::Other,
            format!(
                "{} answers with something other than Kubernetes JSON",
                self.link.address
            ),
        )
        .because(error)
    }

    async fn stale(&mut self, error: Error) -> Result<(), Over> {
        self.tell(FeedState::Stale {
            since: self.heard,
            error,
        })
        .await
    }

    /// Passes on the columns when the server has said others than before.
    async fn columns(&mut self) -> Result<(), Over> {
        match self.decoder.new_columns() {
            Some(columns) => self.send(News::Columns(columns)).await,
            None => Ok(()),
        }
    }

    async fn tell(&mut self, state: FeedState) -> Result<(), Over> {
        if state == self.state {
            return Ok(());
        }
        self.state = state.clone();
        self.send(News::State(state)).await
    }

    async fn send(&mut self, news: News) -> Result<(), Over> {
        self.out.send(news).await
    }

    async fn wait(&mut self) {
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE.1);
    }
}

/// Splits what arrives into lines.
#[derive(Default)]
struct Lines {
    bytes: BytesMut,
    /// How far there is no end of a line.
    searched: usize,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes of the line that is not complete yet.
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn next(&mut self) -> Option<Bytes> {
        let Some(at) = memchr::memchr(b'\n', &self.bytes[self.searched..]) else {
            self.searched = self.bytes.len();
            return None;
        };
        let line = self.bytes.split_to(self.searched + at).freeze();
        self.bytes.advance(1);
        self.searched = 0;
        Some(line)
    }
}
