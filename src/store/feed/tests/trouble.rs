//! Servers and proxies that refuse, hang, break off or never end.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_server_that_sends_no_such_lists_is_asked_for_pages_and_not_again() {
    let mut bench = Bench::new();
    let (first, mut second) = (pods(), pods());
    second.query.place = Place::new(ClusterId::default(), "m");
    bench.want(&[&first]);
    let refused = bench.asked_first().await;
    assert!(refused.uri.contains("sendInitialEvents"), "{}", refused.uri);
    refused.status(
        422,
        "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
    );
    let asked = bench.asked_first().await;
    assert_eq!(asked.uri, "/api/v1/namespaces/n/pods?limit=500");
    asked.list(10, "", &[pod("a", "u1", 1, 1)]);
    bench.until(&first, |listing| listing.len() == 1).await;
    let _watch = bench.asked_first().await.watch();
    bench.want(&[&first, &second]);
    assert_eq!(bench.asked_first().await.uri, "/api/v1/namespaces/m/pods?limit=500");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_does_not_come_to_its_end_is_read_in_pages_next() {
    for ends in [
        // On the way, by the server, and never (a server that does not know what it was asked).
        Watch::breaks as fn(Watch),
        |watch| drop(watch),
        |watch| {
            tokio::spawn(async move { watch.0.closed().await });
        },
    ] {
        let mut bench = Bench::new();
        let need = pods();
        bench.want(&[&need]);
        let watch = bench.asked_first().await.watch();
        watch.event("ADDED", &pod("a", "u1", 5, 1));
        bench.until(&need, |listing| listing.len() == 1).await;
        ends(watch);
        let asked = bench.asked_first().await;
        assert_eq!(asked.uri, "/api/v1/namespaces/n/pods?limit=500");
        assert_eq!(bench.catalog.listing(&need).len(), 1, "what is known stays");
        asked.list(10, "", &[pod("b", "u2", 6, 1)]);
        let _watch = bench.asked_first().await.watch();
        let listing = bench.until(&need, |listing| listing.state == FeedState::Live).await;
        assert_eq!(names(&listing), ["b"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_ends_every_watch_after_five_seconds_costs_no_list_and_no_calm() {
    let mut bench = Bench::new();
    let need = pods();
    bench.want(&[&need]);
    let mut watch = bench.live(&need, &[pod("a", "u1", 1, 1)]).await;
    for round in 0..20 {
        tokio::time::sleep(Duration::from_secs(4)).await;
        watch.event("MODIFIED", &pod("a", "u1", 20 + round, i64::from(round)));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let ended = Instant::now();
        drop(watch);
        let asked = bench.asked().await;
        assert!(
            asked.uri.ends_with(&format!("&resourceVersion={}", 20 + round)),
            "{}",
            asked.uri
        );
        assert_eq!(asked.at - ended, Duration::from_millis(500));
        assert_eq!(bench.catalog.listing(&need).state, FeedState::Live);
        watch = asked.watch();
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_left_alone_for_as_long_as_it_says() {
    let mut bench = Bench::new();
    let need = pods();
    bench.want(&[&need]);
    let asked = bench.asked().await;
    let first = asked.at;
    asked.too_busy(7);
    let asked = bench.asked().await;
    assert_eq!(asked.at - first, Duration::from_secs(7));
    asked.list(10, "", &[pod("a", "u1", 1, 1)]);
    let asked = bench.asked().await;
    let second = asked.at;
    asked.too_busy(9);
    let asked = bench.asked().await;
    assert_eq!(asked.at - second, Duration::from_secs(9));
    assert!(asked.uri.ends_with("&resourceVersion=10"), "{}", asked.uri);
}

#[tokio::test(start_paused = true)]
async fn an_expired_version_is_listed_again_without_the_table_flashing() {
    let mut bench = Bench::new();
    let need = pods();
    bench.want(&[&need]);
    let watch = bench
        .live(
            &need,
            &[pod("a", "u1", 1, 1), pod("b", "u2", 2, 1), pod("c", "u3", 3, 1)],
        )
        .await;
    let same = bench.catalog.listing(&need).get(0).unwrap().clone();
    watch.event(
        "ERROR",
        r#"{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"}"#,
    );
    let asked = bench.asked().await;
    assert!(!bench.catalog.is_settled());
    assert_eq!(bench.catalog.listing(&need).len(), 3);
    asked.list(50, "t", &[pod("a", "u1", 1, 1)]);
    // The continue token expires as well: from the beginning, and at once.
    bench
        .asked()
        .await
        .status(410, "The provided continue parameter is too old");
    let asked = bench.asked().await;
    assert_eq!(asked.uri, "/api/v1/namespaces/n/pods");
    assert_eq!(bench.catalog.listing(&need).len(), 3);
    asked.list(60, "", &[pod("a", "u1", 1, 1), pod("c", "u3", 55, -4)]);
    let listing = bench.until(&need, |listing| listing.len() == 2).await;
    assert_eq!((names(&listing), listing.tally.faults()), (vec!["a", "c"], 1));
    assert!(
        Arc::ptr_eq(listing.get(0).unwrap(), &same),
        "what has not changed is not made anew"
    );
    assert!(bench.asked().await.uri.ends_with("resourceVersion=60"));
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_keeps_its_rows_and_tries_again_ever_more_slowly() {
    let mut bench = Bench::new();
    let need = pods();
    bench.want(&[&need]);
    let watch = bench.live(&need, &[pod("a", "u1", 1, 1)]).await;
    tokio::time::advance(Duration::from_secs(3)).await;
    watch.event("MODIFIED", &pod("a", "u1", 12, 2));
    bench
        .until(&need, |listing| listing.get(0).is_some_and(|row| row.changed.is_some()))
        .await;
    let (heard, broke) = (bench.clock.now(), Instant::now());
    watch.breaks();
    let listing = bench.until(&need, |listing| listing.state != FeedState::Live).await;
    let FeedState::Stale { since, error } = &listing.state else {
        panic!("{:?}", listing.state)
    };
    assert!(heard.duration_since(*since).as_secs() < 1);
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.line().contains("connection reset by peer"), "{error}");
    assert_eq!(listing.len(), 1);
    assert!(bench.catalog.is_settled(), "waiting to try again is settled");
    let mut pauses = Vec::new();
    let mut last = broke;
    for _ in 0..8 {
        let asked = bench.asked().await;
        assert!(asked.uri.ends_with("resourceVersion=12"), "{}", asked.uri);
        pauses.push((asked.at - last).as_millis());
        last = asked.at;
    }
    assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    let watch = bench.asked().await.watch();
    bench.until(&need, |listing| listing.state == FeedState::Live).await;

    // A watch that had been sound is opened again at once, and nobody notices.
    tokio::time::advance(Duration::from_secs(60)).await;
    let broke = Instant::now();
    watch.breaks();
    let asked = bench.asked().await;
    assert!(asked.at - broke < Duration::from_millis(10));
    assert_eq!(bench.catalog.listing(&need).state, FeedState::Live);
    // A server that is busy or broken for a while has lost nothing: it is watched again from where it was.
    asked.status(500, "etcdserver: request timed out");
    let asked = bench.asked().await;
    assert!(
        asked.uri.contains("watch=true") && asked.uri.ends_with("resourceVersion=12"),
        "{}",
        asked.uri
    );
    assert!(matches!(bench.catalog.listing(&need).state, FeedState::Stale { .. }));
    // Any other refusal is a reason to list again.
    asked.status(400, "etcdserver: leader changed");
    let asked = bench.asked().await;
    assert!(!asked.uri.contains("watch"), "{}", asked.uri);
    let listing = bench.catalog.listing(&need);
    let about =
        |state: &FeedState| matches!(state, FeedState::Stale { error, .. } if error.message.contains("leader changed"));
    assert!(about(&listing.state));
    // A list alone does not make it live: perhaps it may be listed and not watched.
    asked.list(90, "", &[pod("a", "u1", 80, 3)]);
    let asked = bench.asked().await;
    bench
        .until(&need, |listing| {
            listing.get(0).is_some_and(|row| row.cells[1] == Cell::Int(3))
        })
        .await;
    assert!(about(&bench.catalog.listing(&need).state));
    let _watch = asked.watch();
    bench.until(&need, |listing| listing.state == FeedState::Live).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_forbidden_is_not_shown_and_asked_for_slowly() {
    let mut bench = Bench::new();
    let need = pods();
    bench.want(&[&need]);
    let asked = bench.asked().await;
    let first = asked.at;
    asked.status(403, "pods is forbidden: User jane cannot list");
    let listing = bench.until(&need, |listing| listing.state != FeedState::Loading).await;
    let FeedState::Failed(error) = &listing.state else {
        panic!("{:?}", listing.state)
    };
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Forbidden, "pods is forbidden: User jane cannot list")
    );
    assert!(bench.catalog.is_settled());
    let asked = bench.asked().await;
    assert_eq!(asked.at - first, Duration::from_secs(30));
    asked.list(10, "", &[pod("a", "u1", 1, 1)]);
    let listing = bench.until(&need, |listing| listing.state == FeedState::Live).await;
    assert_eq!(listing.len(), 1);
    // The right to it is taken away: so are the rows.
    let watch = bench.asked().await.watch();
    watch.event("ERROR", r#"{"kind":"Status","code":410,"message":"expired"}"#);
    bench.asked().await.status(403, "no more");
    let listing = bench.until(&need, |listing| listing.state != FeedState::Live).await;
    assert_eq!((listing.len(), listing.total), (0, 0));
    assert!(matches!(listing.state, FeedState::Failed(_)));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_noticed() {
    let mut bench = Bench::new();
    let need = pods();
    bench.want(&[&need]);
    let hanging = bench.asked().await;
    let listing = bench.until(&need, |listing| listing.state != FeedState::Loading).await;
    assert_eq!(hanging.at.elapsed(), Duration::from_secs(20));
    assert!(matches!(&listing.state, FeedState::Failed(error) if error.kind == ErrorKind::Unreachable));
    let watch = bench.live(&need, &[]).await;
    let silent = Instant::now();
    // A watch nobody ends and nothing comes from is opened again, once the server should have ended it.
    let asked = bench.asked().await;
    assert_eq!(asked.at - silent, Duration::from_secs(320));
    assert!(asked.uri.contains("watch=true"));
    drop(watch);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_watched_is_listed_now_and_then() {
    let mut bench = Bench::new();
    let need = pods();
    bench.want(&[&need]);
    bench.asked().await.list(10, "", &[pod("a", "", 0, 1)]);
    bench.asked().await.status(405, "the server does not allow this method");
    bench
        .asked()
        .await
        .list(11, "", &[pod("a", "", 0, 2), pod("b", "", 0, 1)]);
    bench
        .until(&need, |listing| listing.len() == 2 && listing.state == FeedState::Live)
        .await;
    let before = Instant::now();
    let asked = bench.asked().await;
    assert!(!asked.uri.contains("watch"));
    assert_eq!(asked.at - before, reader::POLL);
    asked.list(12, "", &[pod("b", "", 0, 7)]);
    let listing = bench.until(&need, |listing| listing.len() == 1).await;
    assert_eq!(listing.get(0).unwrap().cells[1], Cell::Int(7));
}

#[tokio::test(start_paused = true)]
async fn a_list_without_end_is_refused_with_a_sentence_packed_or_not() {
    let packed = |count: usize| {
        use std::io::Write as _;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        (0..count).for_each(|_| packer.write_all(&[b' '; 1 << 20]).unwrap());
        bytes::Bytes::from(packer.finish().unwrap())
    };
    let endless = futures::stream::repeat_with(|| Ok(Frame::data(bytes::Bytes::from_static(&[b' '; 1 << 16]))));
    let bodies = [
        (StreamBody::new(endless).boxed_unsync(), "identity"),
        (
            Full::new(packed(64)).map_err(|never| match never {}).boxed_unsync(),
            "gzip",
        ),
    ];
    for (body, encoding) in bodies {
        let mut bench = Bench::new();
        let need = pods();
        bench.want(&[&need]);
        let answer = http::Response::builder().header("content-encoding", encoding);
        let _ = bench.asked().await.answer.send(answer.body(body).unwrap());
        let listing = bench.until(&need, |listing| listing.state != FeedState::Loading).await;
        let FeedState::Failed(error) = &listing.state else {
            panic!("{:?}", listing.state)
        };
        assert_eq!(error.message, "https://test answers with too much", "{encoding}");
    }
}

#[tokio::test(start_paused = true)]
async fn lines_without_end_are_not_gathered_for_ever() {
    let mut bench = Bench::new();
    let need = pods();
    bench.want(&[&need]);
    let watch = bench.live(&need, &[]).await;
    let piece = "x".repeat(1 << 20);
    for _ in 0..17 {
        watch.bytes(&piece);
    }
    watch.0.closed().await;
    let asked = bench.asked().await;
    assert!(!asked.uri.contains("watch"), "the list may be readable");
    assert!(matches!(bench.catalog.listing(&need).state, FeedState::Stale { .. }));
    drop(watch);
}
