//! Feeds against a server whose every answer the test gives by hand, in paused time.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use kube::client::Body;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::keeper::{BATCH, GRACE};
use super::*;
use crate::cluster::{ClusterId, Place, Resource};
use crate::error::ErrorKind;
use crate::store::catalog::MOST_IDLE;
use crate::store::{Catalog, Cell, Health, row_of};

mod trouble;

type Answer = http::Response<UnsyncBoxBody<bytes::Bytes, std::io::Error>>;

/// A request that waits for its answer.
struct Asked {
    uri: String,
    encoding: String,
    answer: oneshot::Sender<Answer>,
    at: Instant,
}

/// An open watch.
struct Watch(mpsc::UnboundedSender<std::io::Result<Frame<bytes::Bytes>>>);

impl Asked {
    fn says(self, code: u16, body: &str) {
        let body = Full::new(bytes::Bytes::copy_from_slice(body.as_bytes())).map_err(|never| match never {});
        let answer = http::Response::builder()
            .status(code)
            .body(body.boxed_unsync())
            .unwrap();
        let _ = self.answer.send(answer);
    }

    fn status(self, code: u16, message: &str) {
        self.says(
            code,
            &format!(r#"{{"kind":"Status","code":{code},"message":"{message}"}}"#),
        );
    }

    fn list(self, version: u32, next: &str, items: &[String]) {
        let items = items.join(",");
        let metadata = format!(r#"{{"resourceVersion":"{version}","continue":"{next}"}}"#);
        self.says(
            200,
            &format!(r#"{{"kind":"PodList","apiVersion":"v1","metadata":{metadata},"items":[{items}]}}"#),
        );
    }

    /// Too busy for this for so many seconds.
    fn too_busy(self, seconds: u64) {
        let body = Full::new(bytes::Bytes::from_static(b"{}")).map_err(|never| match never {});
        let answer = http::Response::builder().status(429).header("retry-after", seconds);
        let _ = self.answer.send(answer.body(body.boxed_unsync()).unwrap());
    }

    fn list_packed(self, version: u32, items: &[String]) {
        use std::io::Write as _;
        let metadata = format!(r#"{{"resourceVersion":"{version}"}}"#);
        let body = format!(
            r#"{{"kind":"PodList","metadata":{metadata},"items":[{}]}}"#,
            items.join(",")
        );
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(body.as_bytes()).unwrap();
        let body = Full::new(bytes::Bytes::from(packer.finish().unwrap())).map_err(|never| match never {});
        let answer = http::Response::builder().header("content-encoding", "gzip");
        let _ = self.answer.send(answer.body(body.boxed_unsync()).unwrap());
    }

    fn watch(self) -> Watch {
        assert!(self.uri.contains("watch=true"), "{}", self.uri);
        let (sender, receiver) = mpsc::unbounded_channel();
        let body = StreamBody::new(UnboundedReceiverStream::new(receiver)).boxed_unsync();
        let _ = self.answer.send(http::Response::new(body));
        Watch(sender)
    }
}

impl Watch {
    fn bytes(&self, text: &str) {
        let _ = self
            .0
            .send(Ok(Frame::data(bytes::Bytes::copy_from_slice(text.as_bytes()))));
    }

    fn event(&self, kind: &str, object: &str) {
        self.bytes(&format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n"));
    }

    fn breaks(self) {
        let _ = self.0.send(Err(std::io::Error::other("connection reset by peer")));
    }
}

fn pod(name: &str, uid: &str, version: u32, count: i64) -> String {
    let metadata = format!(
        r#"{{"name":"{name}","namespace":"n","uid":"{uid}","resourceVersion":"{version}","managedFields":[{{"a":1}}]}}"#
    );
    format!(r#"{{"metadata":{metadata},"count":{count},"faulty":{}}}"#, count < 0)
}

fn maker() -> RowMaker {
    let make = |object: &Object| {
        let value = object.value();
        let health = if value["faulty"] == true {
            Health::Failed
        } else {
            Health::Good
        };
        (
            health,
            vec![
                Cell::text(&object.id.name),
                Cell::Int(value["count"].as_i64().unwrap_or_default()),
            ],
        )
    };
    RowMaker::new(
        [Column::text("NAME", 4, 0), Column::number("COUNT", 4, 0)],
        false,
        Arc::new(move |object, seen| row_of(object, seen, make)),
    )
}

/// A catalog, the server it talks to, and what it has notified.
struct Bench {
    catalog: Catalog,
    server: mpsc::UnboundedReceiver<Asked>,
    woken: Arc<Notify>,
    notified: Arc<AtomicUsize>,
    clock: Clock,
}

impl Bench {
    fn new() -> Self {
        let (sender, server) = mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (answer, answered) = oneshot::channel();
            let _ = sender.send(Asked {
                uri: request.uri().to_string(),
                encoding: request.headers()["accept-encoding"].to_str().unwrap().to_owned(),
                answer,
                at: Instant::now(),
            });
            // A dropped question is a refused connection; a kept one hangs.
            async { answered.await.map_err(|_| std::io::Error::other("Connection refused")) }
        });
        let clock = Clock::virtual_at(Timestamp::from_second(1_700_000_000).unwrap());
        let (woken, notified) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let notify = {
            let (woken, notified) = (woken.clone(), notified.clone());
            Arc::new(move || {
                notified.fetch_add(1, Ordering::Relaxed);
                woken.notify_one();
            })
        };
        let mut catalog = Catalog::new(notify, Arc::new(|_| maker()), clock.clone());
        catalog.connect(Link::untried(kube::Client::new(service, "default")));
        Self {
            catalog,
            server,
            woken,
            notified,
            clock,
        }
    }

    /// The next request to a server that sends no lists as the beginning of a watch.
    async fn asked(&mut self) -> Asked {
        loop {
            let asked = self.asked_first().await;
            if !asked.uri.contains("sendInitialEvents") {
                return asked;
            }
            asked.status(
                422,
                "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
            );
        }
    }

    async fn asked_first(&mut self) -> Asked {
        self.server.recv().await.expect("the client lives")
    }

    fn want(&mut self, needs: &[&Need]) {
        self.catalog.want(&needs.iter().map(|need| (*need).clone()).collect());
    }

    /// Waits for a listing that `is` so, waking as the application does.
    async fn until(&mut self, need: &Need, is: impl Fn(&Listing) -> bool) -> Arc<Listing> {
        let found = async {
            loop {
                self.catalog.take_dirty();
                let listing = self.catalog.listing(need);
                if is(&listing) {
                    return listing;
                }
                self.woken.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(3600), found)
            .await
            .expect("it becomes so")
    }

    async fn live(&mut self, need: &Need, items: &[String]) -> Watch {
        self.asked().await.list(10, "", items);
        let watch = self.asked().await.watch();
        self.until(need, |listing| listing.state == FeedState::Live).await;
        watch
    }
}

fn pods() -> Need {
    let resource = Resource {
        version: "v1".into(),
        plural: "pods".into(),
        kind: "Pod".into(),
        namespaced: true,
        ..Resource::default()
    };
    Need::all(Query::new(Arc::new(resource), Place::new(ClusterId::default(), "n")))
}

fn id(uid: &str) -> ObjectId {
    ObjectId {
        cluster: ClusterId::default(),
        namespace: "n".into(),
        name: "".into(),
        uid: uid.into(),
    }
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.iter().map(|row| &*row.id.name).collect()
}

#[tokio::test(start_paused = true)]
async fn lists_may_come_compressed_and_watches_may_not() {
    let mut bench = Bench::new();
    let need = pods();
    bench.want(&[&need]);
    let asked = bench.asked().await;
    assert_eq!(asked.encoding, "gzip");
    asked.list_packed(10, &[pod("a", "u1", 7, 3)]);
    let asked = bench.asked().await;
    assert_eq!(asked.encoding, "identity");
    let _watch = asked.watch();
    let listing = bench.until(&need, |listing| listing.state == FeedState::Live).await;
    assert_eq!(names(&listing), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_is_the_beginning_of_a_watch_where_the_server_offers_that() {
    let mut bench = Bench::new();
    let need = pods();
    bench.want(&[&need]);
    let asked = bench.asked_first().await;
    assert_eq!(
        asked.uri,
        "/api/v1/namespaces/n/pods?watch=true&allowWatchBookmarks=true&timeoutSeconds=290\
         &sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    );
    let watch = asked.watch();
    for (name, uid) in [("b", "u2"), ("a", "u1"), ("c", "u3")] {
        watch.event("ADDED", &pod(name, uid, 5, 1));
    }
    // They show while nothing more comes; changes may come before the list has ended.
    let listing = bench.until(&need, |listing| listing.len() == 3).await;
    assert_eq!(
        (listing.state.clone(), names(&listing)),
        (FeedState::Loading, vec!["a", "b", "c"])
    );
    watch.event("MODIFIED", &pod("a", "u1", 8, 2));
    watch.event("DELETED", &pod("c", "u3", 9, 1));
    let ends = r#"{"metadata":{"resourceVersion":"10","annotations":{"k8s.io/initial-events-end":"true"}}}"#;
    watch.event("BOOKMARK", ends);
    let listing = bench.until(&need, |listing| listing.state == FeedState::Live).await;
    let listing = match listing.len() {
        2 => listing,
        _ => bench.until(&need, |listing| listing.len() == 2).await,
    };
    assert_eq!(
        (names(&listing), listing.get(0).unwrap().cells[1].clone()),
        (vec!["a", "b"], Cell::Int(2))
    );
    assert!(listing.iter().all(|row| row.changed.is_none()), "a list is no news");

    // The same request goes on as the watch; the next one begins where it ended, and lists nothing.
    watch.event("MODIFIED", &pod("b", "u2", 12, 7));
    bench
        .until(&need, |listing| {
            listing.get(1).is_some_and(|row| row.cells[1] == Cell::Int(7))
        })
        .await;
    watch.breaks();
    let asked = bench.asked_first().await;
    assert!(
        asked.uri.ends_with("timeoutSeconds=290&resourceVersion=12"),
        "{}",
        asked.uri
    );
    // What a later list does not name is gone.
    asked.status(410, "too old resource version");
    let asked = bench.asked_first().await;
    assert!(asked.uri.contains("sendInitialEvents=true"), "{}", asked.uri);
    let watch = asked.watch();
    watch.event("ADDED", &pod("b", "u2", 12, 7));
    watch.event("BOOKMARK", ends);
    bench.until(&need, |listing| names(listing) == ["b"]).await;
}

#[tokio::test(start_paused = true)]
async fn pages_show_as_they_arrive_then_the_watch_moves_rows() {
    let mut bench = Bench::new();
    let need = pods();
    bench.want(&[&need]);
    let first = bench.asked().await;
    assert_eq!(first.uri, "/api/v1/namespaces/n/pods?limit=500");
    assert!(!bench.catalog.is_settled());
    first.list(10, "token", &[pod("b-2", "u2", 5, 1), pod("b-10", "u10", 6, -1)]);
    let listing = bench.until(&need, |listing| listing.len() == 2).await;
    assert_eq!(
        (listing.state.clone(), names(&listing)),
        (FeedState::Loading, vec!["b-2", "b-10"])
    );
    assert!(!bench.catalog.is_settled());
    let second = bench.asked().await;
    assert_eq!(second.uri, "/api/v1/namespaces/n/pods?limit=500&continue=token");
    second.list(10, "", &[pod("a", "u1", 7, 3)]);
    let asked = bench.asked().await;
    let expected = "?watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion=10";
    assert!(asked.uri.ends_with(expected), "{}", asked.uri);
    let watch = asked.watch();
    let listing = bench.until(&need, |listing| listing.state == FeedState::Live).await;
    assert_eq!(
        (names(&listing), listing.total, listing.tally.faults()),
        (vec!["a", "b-2", "b-10"], 3, 1)
    );
    assert!(bench.catalog.is_settled());
    assert!(
        listing
            .iter()
            .all(|row| row.changed.is_none() && !row.object.json().contains("managedFields"))
    );

    // An event may arrive in pieces, and several at once; the newest of one object counts.
    let line = format!("{{\"object\":{},\"type\":\"MODIFIED\"}}\n", pod("b-10", "u10", 11, 8));
    let (head, tail) = line.split_at(70);
    watch.bytes(head);
    watch.bytes(tail);
    watch.event("ADDED", &pod("c", "u3", 12, 1));
    watch.event("MODIFIED", &pod("c", "u3", 13, 2));
    watch.event("DELETED", &pod("a", "u1", 14, 3));
    watch.event("BOOKMARK", r#"{"metadata":{"resourceVersion":"20"}}"#);
    let listing = bench
        .until(&need, |listing| listing.len() == 3 && listing.tally.faults() == 0)
        .await;
    assert_eq!(names(&listing), ["b-2", "b-10", "c"]);
    assert_eq!(listing.get(2).unwrap().cells[1], Cell::Int(2));
    assert_eq!(listing.get(2).unwrap().changed, Some(bench.clock.now()));
    assert_eq!(listing.get(0).unwrap().changed, None);

    // A heartbeat that shows nothing new points at nothing, but the object is the newer one.
    let shown = listing.get(2).unwrap().changed;
    tokio::time::advance(Duration::from_secs(5)).await;
    watch.event("MODIFIED", &pod("c", "u3", 21, 2));
    let listing = bench
        .until(&need, |listing| {
            listing.get(2).is_some_and(|row| &*row.object.resource_version == "21")
        })
        .await;
    assert_eq!(listing.get(2).unwrap().changed, shown);

    // Deleted and created again under the same name is another object.
    watch.event("DELETED", &pod("c", "u3", 22, 2));
    watch.event("ADDED", &pod("c", "u4", 23, 2));
    let listing = bench
        .until(&need, |listing| listing.position(&id("u4"), 0).is_some())
        .await;
    assert_eq!(
        (listing.position(&id("u3"), 2), listing.position(&id("u4"), 0)),
        (None, Some(2))
    );

    // The server ends the watch: the next begins where this one was.
    tokio::time::advance(Duration::from_secs(280)).await;
    drop(watch);
    let asked = bench.asked().await;
    assert!(asked.uri.ends_with("resourceVersion=23"), "{}", asked.uri);
    asked.watch();
    assert_eq!(bench.catalog.listing(&need).state, FeedState::Live);
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_published_in_batches_and_notified_once_until_taken() {
    let mut bench = Bench::new();
    let need = pods();
    bench.want(&[&need]);
    let watch = bench.live(&need, &[]).await;
    let before = bench.notified.load(Ordering::Relaxed);
    for index in 0..1000 {
        watch.event(
            "ADDED",
            &pod(&format!("p-{index}"), &format!("u{index}"), 20 + index, 1),
        );
    }
    // Nobody takes the notification, so there is only one, however many batches are published meanwhile.
    tokio::time::sleep(BATCH / 2).await;
    assert_eq!(bench.catalog.listing(&need).len(), 0, "a batch is gathered first");
    assert!(!bench.catalog.is_settled());
    tokio::time::sleep(BATCH).await;
    assert_eq!(bench.catalog.listing(&need).len(), 1000);
    watch.event("DELETED", &pod("p-7", "u7", 2000, 1));
    tokio::time::sleep(BATCH * 2).await;
    assert_eq!(bench.catalog.listing(&need).len(), 999);
    assert_eq!(bench.notified.load(Ordering::Relaxed) - before, 1);
    assert!(!bench.catalog.is_settled(), "not looked at yet");
    bench.catalog.take_dirty();
    assert!(bench.catalog.is_settled());
    watch.event("DELETED", &pod("p-8", "u8", 2001, 1));
    bench.until(&need, |listing| listing.len() == 998).await;
    assert_eq!(bench.notified.load(Ordering::Relaxed) - before, 2);
}

#[tokio::test(start_paused = true)]
async fn another_filter_shows_the_rows_before_it_until_its_own_are_ready() {
    let mut bench = Bench::new();
    let need = pods();
    bench.want(&[&need]);
    let watch = bench
        .live(&need, &[pod("web", "u1", 1, 1), pod("db", "u2", 2, -2)])
        .await;
    let filtered = Need {
        filter: "count<0".into(),
        ..need.clone()
    };
    let shown = bench.catalog.listing(&filtered);
    assert!(shown.stand_in && shown.len() == 2, "asked before anybody wanted it");
    bench.want(&[&filtered]);
    let shown = bench.catalog.listing(&filtered);
    assert!(shown.stand_in && shown.len() == 2);
    assert!(!bench.catalog.is_settled());
    let shown = bench.until(&filtered, |listing| !listing.stand_in).await;
    assert_eq!((names(&shown), shown.total, shown.tally.faults()), (vec!["db"], 2, 1));
    assert!(bench.catalog.is_settled());
    let turned = Need {
        sort: Sort {
            column: Some(1),
            descending: true,
        },
        ..need.clone()
    };
    bench.want(&[&turned, &need]);
    let shown = bench.until(&turned, |listing| !listing.stand_in).await;
    assert_eq!(names(&shown), ["web", "db"]);
    watch.event("MODIFIED", &pod("db", "u2", 20, 5));
    let shown = bench.until(&turned, |listing| listing.tally.faults() == 0).await;
    assert_eq!(names(&shown), ["db", "web"]);
    assert_eq!(names(&bench.catalog.listing(&need)), ["db", "web"]);
    assert!(bench.server.try_recv().is_err(), "no lens asks the cluster again");
}

#[tokio::test(start_paused = true)]
async fn a_feed_outlives_its_views_for_a_while_and_only_for_a_while() {
    let mut bench = Bench::new();
    let need = pods();
    bench.want(&[&need]);
    let watch = bench.live(&need, &[pod("a", "u1", 1, 1)]).await;
    bench.want(&[]);
    tokio::time::sleep(GRACE / 2).await;
    watch.event("ADDED", &pod("b", "u2", 12, 1));
    tokio::time::sleep(GRACE / 4).await;
    bench.want(&[&need]);
    let shown = bench.catalog.listing(&need);
    assert_eq!((shown.len(), shown.stand_in), (2, false), "back, as if never away");
    tokio::time::sleep(GRACE * 2).await;
    assert!(!watch.0.is_closed());
    bench.want(&[]);
    watch.0.closed().await;
    assert!(bench.catalog.listing(&need).is_empty());
    bench.want(&[&need]);
    let watch = bench.live(&need, &[pod("a", "u1", 1, 1)]).await;
    drop(watch);
}

#[tokio::test(start_paused = true)]
async fn walking_over_many_rows_leaves_few_feeds_behind() {
    let mut bench = Bench::new();
    let mut asked = Vec::new();
    for row in 0..20 {
        let named = ObjectId {
            name: format!("p-{row}").into(),
            ..id("u")
        };
        let query = Query::object(pods().query.resource, &named);
        bench.want(&[&Need::all(query)]);
        asked.push(bench.asked().await);
        assert!(
            asked[row]
                .uri
                .ends_with(&format!("?fieldSelector=metadata.name%3Dp-{row}&limit=500"))
        );
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let open: Vec<usize> = (0..20).filter(|row| !asked[*row].answer.is_closed()).collect();
    assert_eq!(
        open,
        (19 - MOST_IDLE..20).collect::<Vec<_>>(),
        "the last ones left are kept"
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_way_to_the_cluster_lists_anew_and_the_rows_stay_meanwhile() {
    let mut bench = Bench::new();
    let need = pods();
    bench.want(&[&need]);
    let watch = bench.live(&need, &[pod("a", "u1", 1, 1), pod("b", "u2", 1, 1)]).await;
    let other = Bench::new();
    let (link, server) = (other.catalog.link().cloned(), other.server);
    bench.catalog.connect(link.expect("a link"));
    watch.0.closed().await;
    bench.server = server;
    assert_eq!(names(&bench.catalog.listing(&need)), ["a", "b"]);
    assert!(!bench.catalog.is_settled());
    bench.asked().await.list(12, "", &[pod("b", "u2", 1, 1)]);
    let _watch = bench.asked().await.watch();
    bench.until(&need, |listing| names(listing) == ["b"]).await;
    assert!(bench.catalog.is_settled());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_hangs_holds_up_no_other_and_what_is_alike_in_two_stays_apart() {
    let mut bench = Bench::new();
    let mut other = Bench::new();
    let mut link = other.catalog.link().cloned().expect("a link");
    link.cluster = ClusterId(7);
    bench.catalog.connect(link.clone());
    let mut need = pods();
    need.query.place = need.query.place.across(&[ClusterId::default(), link.cluster]);
    bench.want(&[&need]);
    let hangs = bench.asked().await;
    other
        .asked()
        .await
        .list(10, "", &[pod("a", "u1", 1, 1), pod("b", "u2", 1, 1)]);
    let watch = other.asked().await.watch();
    let listing = bench.until(&need, |listing| listing.state == FeedState::Live).await;
    assert_eq!(names(&listing), ["a", "b"]);
    let states: Vec<_> = listing.parts.iter().map(|part| part.state.clone()).collect();
    assert_eq!(states, [FeedState::Loading, FeedState::Live]);
    assert!(!bench.catalog.is_settled());

    // Restored from one copy, both have an object of the same name and UID; each goes by itself.
    hangs.list(10, "", &[pod("a", "u1", 1, 1)]);
    let _first = bench.asked().await.watch();
    let listing = bench.until(&need, |listing| listing.len() == 3).await;
    assert_eq!(names(&listing), ["a", "a", "b"]);
    let twin = ObjectId {
        cluster: link.cluster,
        ..id("u1")
    };
    assert_eq!(
        (listing.position(&id("u1"), 0), listing.position(&twin, 0)),
        (Some(0), Some(1))
    );
    watch.event("DELETED", &pod("a", "u1", 11, 1));
    let listing = bench.until(&need, |listing| listing.len() == 2).await;
    assert!(listing.find(&id("u1")).is_some() && listing.find(&twin).is_none());

    // One that breaks is stale by itself, and its rows stay.
    watch.breaks();
    let refused = |listing: &Listing| matches!(listing.parts[1].state, FeedState::Stale { .. });
    let listing = bench.until(&need, refused).await;
    assert_eq!(
        (listing.state.clone(), names(&listing)),
        (FeedState::Live, vec!["a", "b"])
    );
    assert!(matches!(listing.state_of(&twin), FeedState::Stale { .. }));
    assert_eq!(*listing.state_of(&id("u1")), FeedState::Live);
}

#[tokio::test(start_paused = true)]
async fn an_age_filter_follows_the_time_without_any_event() {
    let mut bench = Bench::new();
    bench.catalog = {
        let (woken, clock) = (bench.woken.clone(), bench.clock.clone());
        let link = bench.catalog.link().cloned().expect("a link");
        let born = clock.now();
        let make = RowMaker::new(
            [Column::number("AGE", 4, 0)],
            false,
            Arc::new(move |object, seen| row_of(object, seen, |_| (Health::None, vec![Cell::Age(born)]))),
        );
        let mut catalog = Catalog::new(
            Arc::new(move || woken.notify_one()),
            Arc::new(move |_| make.clone()),
            clock,
        );
        catalog.connect(link);
        catalog
    };
    let need = Need {
        filter: "age<10m".into(),
        ..pods()
    };
    bench.want(&[&need]);
    let begun = Instant::now();
    let _watch = bench.live(&need, &[pod("a", "u1", 1, 1)]).await;
    assert_eq!(bench.catalog.listing(&need).len(), 1);
    let shown = tokio::time::timeout(Duration::from_secs(650), bench.until(&need, Listing::is_empty))
        .await
        .unwrap();
    assert_eq!(shown.total, 1);
    assert_eq!(begun.elapsed().as_secs(), 600);
}
