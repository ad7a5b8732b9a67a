//! Several clusters at once: in one table, or one after the other. What one of them does is never another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use knarr::cluster::Source;
use knarr_cluster::{Cluster, Options};

use super::Tui;
use super::harness::{Setup, clock, nobody};
use super::object::{create_pod, pods};
use super::server::{Meddle, between};

/// Two clusters in memory.
async fn two(clock: &knarr_clock::Clock) -> (Cluster, Cluster) {
    let start = async || {
        let options = Options {
            clock: clock.clone(),
            ..Options::memory()
        };
        let cluster = Cluster::start(options).await.expect("starts");
        cluster.ready().await.expect("ready");
        cluster
    };
    (start().await, start().await)
}

/// The program on the first of these contexts.
fn on(clients: Vec<(&str, kube::Client)>, clock: knarr_clock::Clock, setup: Setup) -> Tui {
    let (name, client) = clients[0].clone();
    let clients: Vec<(String, kube::Client)> = clients
        .into_iter()
        .map(|(name, client)| (name.to_owned(), client))
        .collect();
    let source = Source::Given {
        name: name.to_owned(),
        clients: clients.into(),
    };
    Tui::open(source, client, clock, setup)
}

#[tokio::test(start_paused = true)]
async fn two_clusters_stand_in_one_table_under_one_filter_and_a_change_goes_where_its_row_is() {
    let clock = clock();
    let (prod, staging) = two(&clock).await;
    create_pod(prod.client(), "web").await;
    create_pod(staging.client(), "web").await;
    create_pod(staging.client(), "other").await;
    let mut tui = on(
        vec![("prod", prod.client()), ("staging", staging.client())],
        clock,
        Setup::default(),
    );
    tui.until_line(&["web", "Running"]).await.hides(&["CLUSTER"]);
    tui.keys(":pods @prod @staging<ret>").await;
    tui.until_line(&["prod", "web", "Running"])
        .await
        .until_line(&["staging", "web", "Running"])
        .await
        .until_line(&["staging", "other", "Running"])
        .await
        .shows(&["CLUSTER", "prod,staging"]);
    tui.keys("/web<ret>").await.hides(&["other"]).shows(&["2 of 3"]);
    tui.keys("G").await;
    assert!(tui.cursor_line().contains("staging"), "{}", tui.screen());
    tui.keys("bcolour=blue<ret>").await.until("labeled").await;
    let label = async |cluster: &Cluster| {
        let pod = pods(cluster.client()).get("web").await.expect("there");
        pod.metadata.labels.unwrap_or_default().contains_key("colour")
    };
    assert!(label(&staging).await && !label(&prod).await);
    // What is asked about one cluster is answered for no other.
    tui.keys("*<C-x>").await.shows(&["these are in prod and in staging"]);
    tui.keys(":pods default @staging<ret>")
        .await
        .until_line(&["other", "Running"])
        .await
        .hides(&["CLUSTER", "prod"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_cluster_holds_up_no_other_and_says_what_is_wrong_with_it() {
    let clock = clock();
    let (prod, staging) = two(&clock).await;
    create_pod(prod.client(), "web").await;
    create_pod(staging.client(), "api").await;
    let frozen = Arc::new(AtomicBool::new(false));
    let switch = frozen.clone();
    let freezes = between(staging.client(), move |_| {
        if switch.load(Ordering::SeqCst) {
            Meddle::Hang
        } else {
            Meddle::Pass
        }
    });
    let clients = vec![("prod", prod.client()), ("staging", freezes), ("dead", nobody())];
    let mut tui = on(clients, clock, Setup::default());
    tui.until_line(&["web", "Running"]).await;
    tui.keys(":pods @dead @prod @staging<ret>").await;
    tui.until_line(&["prod", "web", "Running"])
        .await
        .until_line(&["staging", "api", "Running"])
        .await
        .until_line(&["dead: cannot reach dead"])
        .await;
    frozen.store(true, Ordering::SeqCst);
    tui.wait(Duration::from_secs(15)).await;
    tui.until_line(&["staging: as of", "it does not answer"]).await;
    tui.shows(&["api"]);
    create_pod(prod.client(), "new").await;
    tui.until_line(&["prod", "new", "Running"]).await;
    frozen.store(false, Ordering::SeqCst);
    tui.until_gone("staging: as of").await;
}

#[tokio::test(start_paused = true)]
async fn contexts_are_switched_while_the_link_is_down_and_sessions_live_on() {
    let clock = clock();
    let (prod, staging) = two(&clock).await;
    create_pod(prod.client(), "web").await;
    create_pod(staging.client(), "api").await;
    let frozen = Arc::new(AtomicBool::new(false));
    let switch = frozen.clone();
    let freezes = between(prod.client(), move |request| {
        if switch.load(Ordering::SeqCst) && !request.uri().path().ends_with("/log") {
            Meddle::Hang
        } else {
            Meddle::Pass
        }
    });
    let clients = vec![("prod", freezes), ("staging", staging.client())];
    let mut tui = on(clients, clock, Setup::default());
    tui.until_line(&["web", "Running"]).await;
    tui.keys("l").await.until("following").await.until("web/main").await;
    frozen.store(true, Ordering::SeqCst);
    tui.wait(Duration::from_secs(15)).await;
    tui.keys(":ctx staging<ret>")
        .await
        .until_line(&["api", "Running"])
        .await;
    tui.shows(&["2 logs:web"]).hides(&["stale"]);
    tui.keys("gf").await.until_line(&["log", "prod", "web"]).await;
    tui.keys("<ret>").await.until("web/main").await.shows(&["following"]);
    // Back in the cluster that does not answer: what it showed last is not what the other one shows.
    tui.keys("1:ctx prod<ret>").await;
    tui.until("stale for").await.hides(&["api"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_late_opens_nothing_in_the_cluster_one_has_gone_to() {
    let clock = clock();
    let (prod, staging) = two(&clock).await;
    create_pod(staging.client(), "api").await;
    let held = between(prod.client(), |request| {
        if request.uri().path().ends_with("/pods") {
            Meddle::Hang
        } else {
            Meddle::Pass
        }
    });
    let clients = vec![("prod", held), ("staging", staging.client())];
    let mut tui = on(clients, clock, Setup::default());
    tui.until("loading pods").await;
    tui.keys(":ctx staging<ret>")
        .await
        .until_line(&["api", "Running"])
        .await;
    tui.keys(":run two --image=nginx<ret>")
        .await
        .until_line(&["two", "Running"])
        .await;
    let made = pods(prod.client()).list(&Default::default()).await.expect("listed");
    assert!(made.items.is_empty(), "nothing is made where one has been");
}
