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
    tui.keys("gg").await.until("nowhere.example.com/none:1").await;
    tui.until("why in full").await;
    tui.shows(&["── events"]);
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

#[tokio::test(start_paused = true)]
async fn a_key_leads_from_a_pod_to_what_owns_it_and_on() {
    let mut tui = Tui::start(120, 30).await;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {
                "metadata": {"labels": {"app": "shop"}},
                "spec": {"containers": [{"name": "main", "image": "nginx"}]},
            },
        },
    });
    let api: kube::Api<k8s_openapi::api::apps::v1::Deployment> = kube::Api::default_namespaced(tui.client());
    let deployment = serde_json::from_value(deployment).expect("a deployment");
    api.create(&PostParams::default(), &deployment).await.expect("created");
    tui.until_line(&["shop-", "1/1", "Running"]).await;
    tui.keys("O")
        .await
        .until("▸ replicasets")
        .await
        .until_line(&["shop-", "1"])
        .await;
    tui.keys("O")
        .await
        .until("▸ deployments")
        .await
        .until_line(&["shop", "1/1"])
        .await;
    tui.keys("O").await.until("nothing owns deployment shop").await;
}

#[tokio::test(start_paused = true)]
async fn a_table_is_sorted_as_the_last_one_of_its_kind_was() {
    let mut tui = with_a_broken_pod(120, 30).await;
    tui.keys("oaoa").await.shows(&["AGE↓"]);
    tui.keys(":nodes<ret>").await.until("VERSION").await.shows(&["NAME↑"]);
    tui.keys(":pods<ret>").await.until("READY").await.shows(&["AGE↓"]);
}

/// A pod with two containers, the second of which writes lines.
async fn with_two_containers(columns: u16, rows: u16) -> Tui {
    let mut tui = Tui::start(columns, rows).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"containers": [
            {"name": "main", "image": "nginx", "ports": [{"containerPort": 80, "name": "http"}]},
            {"name": "side", "image": "busybox", "command": ["sh", "-c", "echo from the side; sleep 100000"]},
        ]},
    });
    let pod = serde_json::from_value(pod).expect("a pod");
    pods(tui.client())
        .create(&PostParams::default(), &pod)
        .await
        .expect("created");
    tui.until_line(&["web", "2/2", "Running"]).await;
    tui
}

#[tokio::test(start_paused = true)]
async fn enter_on_a_pod_shows_its_containers_and_acts_on_the_one_under_the_cursor() {
    let mut tui = with_two_containers(120, 30).await;
    tui.keys("<ret>")
        .await
        .until_line(&["main", "Running", "80/http"])
        .await;
    tui.shows(&["web ▸ containers", "IMAGE"]);
    tui.keys("j").await;
    assert!(tui.cursor_line().contains("side"), "{}", tui.screen());
    // No picker: it is the container under the cursor.
    tui.keys("<ret>").await.until("web/side").await;
    assert!(tui.app.state().layers.is_empty(), "{}", tui.screen());
    tui.keys("<esc>").await.until_line(&["side", "Running"]).await;
    tui.keys("<esc>").await.until_line(&["web", "2/2"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_help_is_one_page_at_every_size() {
    let mut tui = with_a_broken_pod(80, 24).await;
    for (columns, rows) in [(80, 24), (120, 40), (200, 60)] {
        tui.resize(columns, rows).await;
        tui.keys("?").await.until("help:").await;
        tui.shows(&["describe", "change ...", "more columns", "next tab", "all namespaces"]);
        // All of it is seen: nothing says how far down one is.
        tui.hides(&["table.wide", "keymap  top"]);
        tui.keys("<esc>").await;
    }
    tui.keys("?").await;
    tui.keys("/replicas<ret>")
        .await
        .shows(&["Change the number of replicas"]);
    tui.hides(&["all namespaces"]);
}

#[tokio::test(start_paused = true)]
async fn a_question_stands_beside_its_row() {
    let mut tui = with_a_broken_pod(120, 40).await;
    tui.keys("gg<C-x>").await.until("delete pod broken?").await;
    let (_, row) = tui.find("0/1");
    let (_, question) = tui.find("delete pod broken?");
    assert_eq!(question, row + 1, "{}", tui.screen());
}

#[tokio::test(start_paused = true)]
async fn a_table_goes_sideways_and_its_name_stays() {
    let mut tui = with_a_broken_pod(60, 20).await;
    tui.hides(&["NODE"]);
    tui.keys("<right><right><right><right>").await.until("NODE").await;
    tui.shows(&["NAME", "broken"]).hides(&["READY", "STATUS"]);
    tui.keys("<left><left><left><left>").await.shows(&["READY", "STATUS"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_marked_with_the_mouse_is_copied() {
    let mut tui = with_a_broken_pod(100, 30).await;
    tui.keys(":pods<ret>gg").await;
    tui.keys("d").await.until("Namespace").await;
    let (column, row) = tui.find("Name");
    tui.drag((column, row), (column + 3, row)).await;
    assert_eq!(tui.copied(), ["Name"], "{}", tui.screen());
    tui.shows(&["copied 1 line"]);
}

#[tokio::test(start_paused = true)]
async fn a_search_in_a_log_shows_the_lines_around_what_it_finds() {
    let mut tui = Tui::start(100, 30).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "main", "image": "busybox",
            "command": ["sh", "-c", "echo one; echo two; echo three; echo four; echo five; echo six; sleep 100000"]}]},
    });
    let pod = serde_json::from_value(pod).expect("a pod");
    pods(tui.client())
        .create(&PostParams::default(), &pod)
        .await
        .expect("created");
    tui.until_line(&["web", "Running"]).await;
    tui.keys("l").await.until("following").await.until("six").await;
    tui.keys("/five<ret>").await.shows(&["1 of 6 lines"]);
    tui.keys("H").await.shows(&["two", "five", "six", "and 3 around"]);
    tui.hides(&["one"]);
}
