//! Why something does not work: asked with a key, told with its evidence, mended by a number.

use std::time::Duration;

use kube::api::PostParams;
use serde_json::json;

use super::Tui;
use super::object::pods;

/// A pod that asks for a node label which no node has, old enough to be complained about.
async fn with_a_picky_pod() -> Tui {
    let mut tui = Tui::start(120, 40).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "picky"},
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "containers": [{"name": "main", "image": "busybox", "command": ["sleep", "100000"]}],
        },
    });
    let pod = serde_json::from_value(pod).expect("a pod");
    pods(tui.client())
        .create(&PostParams::default(), &pod)
        .await
        .expect("created");
    tui.until_line(&["picky", "0/1", "Pending"]).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    tui
}

#[tokio::test(start_paused = true)]
async fn why_names_the_cause_and_a_digit_carries_out_the_remedy() {
    let mut tui = with_a_picky_pod().await;
    tui.keys("w").await;
    tui.until("No node has the label disk=ssd").await;
    tui.shows(&["spec.nodeSelector", "kubectl label node", "label node"]);
    // The first remedy labels the node. It can be taken back, so nothing is asked.
    tui.keys("1").await;
    tui.keys("<esc>").await;
    tui.until_line(&["picky", "1/1", "Running"]).await;
    tui.keys("w").await;
    tui.until("Nothing wrong was found with pod picky").await;
    // Looking again stays on one page.
    tui.keys("w<esc>").await;
    tui.until_line(&["picky", "1/1", "Running"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_number_without_a_remedy_is_refused() {
    let mut tui = with_a_picky_pod().await;
    tui.keys("w").await;
    tui.until("No node has the label").await;
    tui.keys("9").await;
    tui.until("there is no remedy 9 here").await;
}
