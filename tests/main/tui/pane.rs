//! Panes: splits, the preview that follows, sizes, the way back, and layouts that are brought back.

use std::time::Duration;

use knarr_cluster::{Cluster, Options};

use super::Tui;
use super::harness::{Setup, clock};
use super::object::create_pod;

/// On a cluster with the pods `alpha` and `beta`.
async fn with_pods(size: (u16, u16)) -> Tui {
    let mut tui = Tui::start(size.0, size.1).await;
    create_pod(tui.client(), "alpha").await;
    create_pod(tui.client(), "beta").await;
    tui.until_line(&["alpha", "Running"])
        .await
        .until_line(&["beta", "Running"])
        .await;
    tui
}

#[tokio::test(start_paused = true)]
async fn a_split_shows_two_views_and_keys_go_to_the_one_with_the_focus() {
    let mut tui = with_pods((160, 40)).await;
    tui.keys("<C-w>v").await;
    tui.keys(":nodes<ret>").await.until_line(&["knarr", "Ready"]).await;
    // The pods are beside the nodes, in the same lines of the screen.
    tui.shows(&["alpha", "beta"]);
    tui.until_line(&["pods", "nodes"]).await;
    tui.keys("<C-w>h").await;
    assert!(tui.cursor_line().contains("alpha"), "{}", tui.screen());
    tui.keys("j").await;
    assert!(tui.cursor_line().contains("beta"), "{}", tui.screen());
    tui.keys("<C-w>z").await.hides(&["Ready"]).shows(&["beta"]);
    tui.keys("<C-w>z").await.shows(&["Ready", "beta"]);
    tui.keys("<C-w>l<C-w>q")
        .await
        .hides(&["Ready"])
        .shows(&["alpha", "beta"]);
    tui.keys("<C-w>w").await;
    assert!(!tui.has_quit());
}

#[tokio::test(start_paused = true)]
async fn panes_above_each_other_change_places_and_sizes() {
    let mut tui = with_pods((100, 40)).await;
    tui.keys("<C-w>s:nodes<ret>")
        .await
        .until_line(&["knarr", "Ready"])
        .await;
    let (below, above) = (tui.find("Ready").1, tui.find("alpha").1);
    assert!(below > above, "{}", tui.screen());
    tui.keys("<C-w>x").await;
    assert!(tui.find("Ready").1 < tui.find("alpha").1, "{}", tui.screen());
    let before = tui.find("alpha").1;
    tui.keys("<C-w>+").await;
    let taller = tui.find("alpha").1;
    assert!(taller > before, "{}", tui.screen());
    tui.keys("<C-w>=").await;
    assert_eq!(tui.find("alpha").1, before);
    tui.keys("<C-w>o").await.hides(&["alpha"]).shows(&["Ready"]);
}

#[tokio::test(start_paused = true)]
async fn the_preview_follows_the_cursor_beside_it_or_below_and_has_a_focus_of_its_own() {
    let mut tui = with_pods((160, 40)).await;
    tui.until_screen("the events of alpha", |screen| screen.contains("Scheduled"))
        .await;
    let beside = tui.find("Scheduled").0;
    assert!(beside > 80, "{}", tui.screen());
    // Dragging the border gives it more room.
    let (column, row) = (tui.find("Scheduled").0, tui.find("Scheduled").1);
    let border = tui
        .line(i32::from(row))
        .chars()
        .take(usize::from(column))
        .collect::<String>();
    let at = border
        .rfind('│')
        .map(|byte| border[..byte].chars().count() as u16)
        .expect("a border");
    tui.drag((at, row), (at - 30, row)).await;
    assert!(tui.find("Scheduled").0 < beside - 20, "{}", tui.screen());
    tui.keys("<C-w>l").await.shows(&["preview"]);
    tui.keys("<esc>j").await;
    assert!(tui.cursor_line().contains("beta"), "{}", tui.screen());
    tui.keys("p").await.hides(&["Scheduled"]);
    tui.keys("p").await.until("Scheduled").await;
    tui.resize(80, 50).await;
    assert!(
        tui.find("app=made-by-a-test").1 > 25,
        "it is below now\n{}",
        tui.screen()
    );
    tui.resize(80, 24).await.hides(&["app=made-by-a-test"]).shows(&["beta"]);
}

#[tokio::test(start_paused = true)]
async fn one_key_puts_the_log_below_its_table_and_one_goes_back_through_what_was_shown() {
    let mut tui = with_pods((160, 50)).await;
    tui.keys("z").await.until("following").await;
    tui.shows(&["alpha", "beta"]);
    tui.keys("j").await;
    assert!(
        tui.cursor_line().contains("beta"),
        "the table has the focus\n{}",
        tui.screen()
    );
    tui.keys("<C-w>o:nodes<ret>")
        .await
        .until_line(&["knarr", "Ready"])
        .await
        .hides(&["following"]);
    tui.keys("[")
        .await
        .until_line(&["alpha", "Running"])
        .await
        .hides(&["Ready  "]);
    tui.keys("]").await.until_line(&["knarr", "Ready"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_layout_is_kept_by_context_and_brought_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = clock();
    let options = Options {
        clock: clock.clone(),
        ..Options::memory()
    };
    let cluster = Cluster::start(options).await.expect("starts");
    cluster.ready().await.expect("ready");
    create_pod(cluster.client(), "alpha").await;
    let setup = || Setup {
        size: (160, 40),
        state_dir: Some(directory.path().to_owned()),
        ..Setup::default()
    };
    let mut tui = Tui::on(cluster.client(), clock.clone(), setup());
    tui.until_line(&["alpha", "Running"]).await;
    tui.keys("/alpha<ret><C-w>v:nodes<ret>")
        .await
        .until_line(&["knarr", "Ready"])
        .await;
    tui.app.stop().await;
    let mut again = Tui::on(cluster.client(), clock, setup());
    again.until_line(&["knarr", "Ready"]).await.until_line(&["alpha"]).await;
    again.shows(&["/alpha"]);
    again.wait(Duration::from_secs(1)).await;
    again.keys("<C-w>q").await;
    assert!(!again.has_quit());
}
