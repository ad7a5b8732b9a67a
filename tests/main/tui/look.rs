//! How it looks: what every size keeps, what explains itself, and what can be clicked.

use kube::api::PostParams;
use serde_json::json;

use super::Tui;
use super::object::{create_pod, pods};

/// `web` runs; `broken` has an image that nobody has.
async fn with_a_broken_pod(columns: u16, rows: u16) -> Tui {
    let mut tui = Tui::start(columns, rows).await;
    create_pod(tui.client(), "web").await;
    let broken = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "broken"},
        "spec": {"containers": [{"name": "main", "image": "nowhere.example.com/none:1"}]},
    });
    let broken = serde_json::from_value(broken).expect("a pod");
    pods(tui.client())
        .create(&PostParams::default(), &broken)
        .await
        .expect("created");
    tui.until_line(&["web", "Running"]).await;
    tui.until_line(&["broken", "✗"]).await;
    tui
}

#[tokio::test(start_paused = true)]
async fn the_smallest_screen_keeps_the_state_of_each_row() {
    let mut tui = with_a_broken_pod(120, 40).await;
    tui.resize(20, 5).await;
    assert!(tui.screen().contains("✗  broken"), "{}", tui.screen());
    assert!(tui.screen().contains("●  web"), "{}", tui.screen());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_run_is_explained_beside_the_table() {
    let mut tui = with_a_broken_pod(140, 40).await;
    tui.keys("gg").await.until("cannot be had").await;
    tui.shows(&["edit the image", "── events"]);
}

#[tokio::test(start_paused = true)]
async fn headers_hints_and_counters_can_be_clicked() {
    let mut tui = with_a_broken_pod(140, 40).await;
    tui.click("READY").await.shows(&["READY↑"]);
    tui.click("READY").await.shows(&["READY↓"]);
    tui.click("1 ✗").await.until("faults only").await;
    tui.hides(&["web"]);
    assert!(tui.app.state().layers.is_empty());
    tui.click("filter").await;
    assert_eq!(tui.app.state().layers.len(), 1, "{}", tui.screen());
}

#[tokio::test(start_paused = true)]
async fn what_is_said_hides_neither_the_hints_nor_the_row_one_is_at() {
    let mut tui = with_a_broken_pod(100, 12).await;
    tui.keys(":scale 3<ret>").await;
    let said = tui.app.state().flash.clone().expect("a refusal");
    let first = said.text.split_whitespace().next().expect("a word").to_owned();
    tui.shows(&[&first]);
    assert!(tui.line(-1).ends_with("help"), "{}", tui.screen());
    assert!(tui.cursor_line().contains("broken"), "{}", tui.screen());
}

#[tokio::test(start_paused = true)]
async fn a_theme_is_seen_while_one_chooses_and_gone_when_one_does_not() {
    let mut tui = Tui::start(100, 30).await;
    let theme = |tui: &Tui| tui.app.state().theme.name.clone();
    tui.keys(":theme<ret><down>").await;
    assert_eq!(theme(&tui), "light");
    tui.keys("<esc>").await;
    assert_eq!(theme(&tui), "dark");
    tui.keys(":theme<ret><down><down><ret>").await;
    assert_eq!(theme(&tui), "contrast");
    assert!(tui.app.state().layers.is_empty());
}
