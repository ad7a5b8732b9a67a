//! Empty, loading, stale, forbidden, unreachable: each says what, why, and which key helps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use knarr_cluster::{Cluster, Options};

use super::Tui;
use super::harness::{Setup, clock, nobody};
use super::object::create_pod;
use super::server::{Meddle, between, status};

async fn cluster() -> (Cluster, knarr_clock::Clock) {
    let clock = clock();
    let options = Options {
        clock: clock.clone(),
        ..Options::memory()
    };
    let cluster = Cluster::start(options).await.expect("starts");
    cluster.ready().await.expect("ready");
    (cluster, clock)
}

#[tokio::test(start_paused = true)]
async fn an_empty_table_says_which_keys_fill_it() {
    let mut tui = Tui::start(120, 40).await;
    tui.shows(&[
        "no pods in namespace default",
        "all namespaces",
        "run an image",
        "apply a file",
    ]);
    tui.keys("/nothing-like-this<ret>").await;
    create_pod(tui.client(), "web").await;
    tui.until("no pods match: 1 hidden").await;
    tui.keys("<esc>").await.until_line(&["web", "Running"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_takes_long_says_loading_and_leaves_the_keys_alive() {
    let (cluster, clock) = cluster().await;
    let slow = between(cluster.client(), |request| {
        if request.uri().path().ends_with("/pods") {
            Meddle::Hang
        } else {
            Meddle::Pass
        }
    });
    let mut tui = Tui::on(slow, clock, Setup::default());
    tui.until("loading pods").await;
    tui.keys(":nodes<ret>").await.until_line(&["knarr", "Ready"]).await;
    tui.keys("?").await.shows(&["help: default keymap"]);
    tui.keys("<C-q>").await;
    assert!(tui.has_quit());
}

#[tokio::test(start_paused = true)]
async fn a_kind_one_may_not_list_says_so_and_the_others_work() {
    let (cluster, clock) = cluster().await;
    let strict = between(cluster.client(), |request| {
        if request.uri().path().ends_with("/pods") {
            status(
                403,
                "Forbidden",
                "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
            )
        } else {
            Meddle::Pass
        }
    });
    let mut tui = Tui::on(strict, clock, Setup::default());
    tui.until("cannot list pods")
        .await
        .shows(&["User \"jane\" cannot list"]);
    tui.keys(":configmaps<ret>").await.until("kube-root-ca.crt").await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_is_explained_retried_and_recovered_from() {
    let (cluster, clock) = cluster().await;
    let up = Arc::new(AtomicBool::new(false));
    let switch = up.clone();
    let client = between(cluster.client(), move |_| {
        if switch.load(Ordering::SeqCst) {
            Meddle::Pass
        } else {
            Meddle::Refuse
        }
    });
    let mut tui = Tui::on(client, clock, Setup::default());
    tui.until("cannot reach rehearsal")
        .await
        .shows(&["start the cluster inside this program", "try again now"]);
    // There is no other one.
    tui.hides(&["choose another context"]);
    up.store(true, Ordering::SeqCst);
    tui.until("no pods in namespace default").await.until("live").await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_is_tried_again_on_a_key() {
    let (cluster, clock) = cluster().await;
    let tries = Arc::new(AtomicUsize::new(0));
    let count = tries.clone();
    let client = between(cluster.client(), move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Meddle::Refuse
    });
    let mut tui = Tui::on(client, clock, Setup::default());
    tui.until("cannot reach rehearsal").await;
    let before = tries.load(Ordering::SeqCst);
    tui.burst("R").await;
    assert!(tries.load(Ordering::SeqCst) > before, "R tries at once");
    tui.keys("q").await;
    assert!(tui.has_quit(), "q leaves where there is nothing to stay for");
}

#[tokio::test(start_paused = true)]
async fn the_embedded_cluster_is_one_key_away_from_a_server_that_refuses() {
    let mut tui = Tui::on(nobody(), clock(), Setup::default());
    tui.until("cannot reach rehearsal").await;
    tui.keys("E").await.until("live").await.shows(&["embedded"]);
    tui.keys("go").await.until_line(&["knarr", "Ready"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_given_up_on_and_keys_are_answered_meanwhile() {
    let (cluster, clock) = cluster().await;
    let client = between(cluster.client(), |_| Meddle::Hang);
    let mut tui = Tui::on(client, clock, Setup::default());
    tui.wait(Duration::from_millis(50)).await;
    tui.shows(&["connecting"]);
    tui.keys("?").await.shows(&["help"]);
    tui.keys("<esc>").await.until("does not answer").await;
    tui.keys("<C-c>").await;
    assert!(tui.has_quit());
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_not_accepted_are_named_as_the_cause() {
    let (cluster, clock) = cluster().await;
    let client = between(cluster.client(), |_| status(401, "Unauthorized", "Unauthorized"));
    let mut tui = Tui::on(client, clock, Setup::default());
    tui.until("does not accept the credentials")
        .await
        .shows(&["log in again"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_nonsense_is_explained() {
    let (cluster, clock) = cluster().await;
    let client = between(cluster.client(), |_| {
        Meddle::Answer(200, serde_json::json!("<html>a captive portal</html>"))
    });
    let mut tui = Tui::on(client, clock, Setup::default());
    tui.until("other than Kubernetes JSON").await.shows(&["API server"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_stays_with_its_age_when_the_cluster_goes_away() {
    let (cluster, clock) = cluster().await;
    let up = Arc::new(AtomicBool::new(true));
    let switch = up.clone();
    create_pod(cluster.client(), "web").await;
    let client = between(cluster.client(), move |_| {
        if switch.load(Ordering::SeqCst) {
            Meddle::Pass
        } else {
            Meddle::Refuse
        }
    });
    let mut tui = Tui::on(client, clock, Setup::default());
    tui.until_line(&["web", "Running"]).await;
    up.store(false, Ordering::SeqCst);
    // The watch in flight ends by itself after some minutes; then the feed notices.
    cluster.stop().await;
    tui.until("stale for").await.shows(&["web"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_freezes_is_stale_within_fifteen_seconds_and_live_when_it_answers() {
    let (cluster, clock) = cluster().await;
    create_pod(cluster.client(), "web").await;
    let frozen = Arc::new(AtomicBool::new(false));
    let switch = frozen.clone();
    let client = between(cluster.client(), move |_| {
        if switch.load(Ordering::SeqCst) {
            Meddle::Hang
        } else {
            Meddle::Pass
        }
    });
    let mut tui = Tui::on(client, clock, Setup::default());
    tui.until_line(&["web", "Running"]).await.shows(&["live"]);
    frozen.store(true, Ordering::SeqCst);
    tui.wait(Duration::from_secs(15)).await;
    tui.shows(&["stale for", "web"]).hides(&["live"]);
    let dim = tui
        .style("Running")
        .add_modifier
        .contains(ratatui::style::Modifier::DIM);
    assert!(dim, "what may not be true any more does not look alive");
    frozen.store(false, Ordering::SeqCst);
    tui.wait(Duration::from_secs(15)).await;
    tui.shows(&["live"]).hides(&["stale"]);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_rests_on_many_pods_costs_one_list_of_events() {
    let (cluster, clock) = cluster().await;
    for at in 0..8 {
        create_pod(cluster.client(), &format!("web-{at}")).await;
    }
    let lists = Arc::new(AtomicUsize::new(0));
    let count = lists.clone();
    let client = between(cluster.client(), move |request| {
        if request.uri().path().ends_with("/events") {
            count.fetch_add(1, Ordering::SeqCst);
        }
        Meddle::Pass
    });
    let mut tui = Tui::on(client, clock, Setup::default());
    tui.until_line(&["web-7", "Running"]).await;
    for at in 1..8 {
        tui.keys("j")
            .await
            .until_screen("the events of the pod are shown", |screen| {
                screen.contains(&format!("Successfully assigned default/web-{at}"))
                    || screen.contains("Successfully") && screen.contains("Scheduled")
            })
            .await;
    }
    // A list and a watch.
    assert!(
        lists.load(Ordering::SeqCst) <= 2,
        "{} requests for events",
        lists.load(Ordering::SeqCst)
    );
}

#[tokio::test(start_paused = true)]
async fn a_minute_in_another_tab_costs_no_list() {
    let (cluster, clock) = cluster().await;
    create_pod(cluster.client(), "web").await;
    let lists = Arc::new(AtomicUsize::new(0));
    let count = lists.clone();
    let client = between(cluster.client(), move |request| {
        // A watch that goes on from a version lists nothing, and the preview wants only its pod.
        let query = request.uri().query().unwrap_or_default();
        let lists = !query.contains("&resourceVersion=") && !query.contains("fieldSelector");
        if request.uri().path() == "/api/v1/namespaces/default/pods" && lists {
            count.fetch_add(1, Ordering::SeqCst);
        }
        Meddle::Pass
    });
    let mut tui = Tui::on(client, clock, Setup::default());
    tui.until_line(&["web", "Running"]).await;
    assert_eq!(lists.load(Ordering::SeqCst), 1);
    tui.keys("s").await.until("2 sh:web").await;
    tui.wait(Duration::from_secs(60)).await;
    tui.keys("<C-]>").await.until_line(&["web", "Running"]).await;
    assert_eq!(lists.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn read_only_mode_sends_nothing_that_changes_anything() {
    let (cluster, clock) = cluster().await;
    create_pod(cluster.client(), "web").await;
    let changes = Arc::new(AtomicUsize::new(0));
    let count = changes.clone();
    let client = between(cluster.client(), move |request| {
        let reads = request.method() == http::Method::GET
            && !["exec", "attach", "portforward"]
                .iter()
                .any(|verb| request.uri().path().ends_with(verb));
        let review = request.uri().path().ends_with("reviews");
        if !reads && !review {
            count.fetch_add(1, Ordering::SeqCst);
        }
        Meddle::Pass
    });
    let mut tui = Tui::on(
        client,
        clock,
        Setup {
            read_only: true,
            ..Setup::default()
        },
    );
    tui.until_line(&["web", "Running"]).await.shows(&["read-only"]);
    for keys in [
        "<C-x>",
        ":delete<ret>",
        ":label a=b<ret>",
        ":annotate a=b<ret>",
        ":run x --image=nginx<ret>",
        ":namespace.create x<ret>",
        ":apply /etc/hostname<ret>",
        "e",
        "s",
        "t",
        "f",
        ":shell<ret>",
        ":forward 8080<ret>",
        ":scale 3<ret>",
    ] {
        tui.keys(keys).await;
        assert!(
            tui.screen().contains("read-only mode"),
            "{keys} is refused\n{}",
            tui.screen()
        );
        tui.hides(&["delete pod web"]);
    }
    assert_eq!(changes.load(Ordering::SeqCst), 0);
    tui.keys("d").await.until("Name:").await;
    tui.keys("<esc>l").await.shows(&["logs"]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_screen_costs_no_frames_and_no_requests() {
    let (cluster, clock) = cluster().await;
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    let client = between(cluster.client(), move |request| {
        // Whether the cluster is there is asked with the smallest of all requests.
        if request.uri().path() != "/version" {
            count.fetch_add(1, Ordering::SeqCst);
        }
        Meddle::Pass
    });
    let mut tui = Tui::on(client, clock, Setup::default());
    tui.until("no pods in namespace default").await;
    tui.settle().await;
    let (frames, before) = (tui.app.frames(), requests.load(Ordering::SeqCst));
    tui.wait(Duration::from_secs(60)).await;
    // One frame is the look itself.
    assert!(
        tui.app.frames() - frames <= 1,
        "{} frames in an idle minute",
        tui.app.frames() - frames
    );
    assert_eq!(requests.load(Ordering::SeqCst), before, "requests in an idle minute");
}
