//! Operating a cluster by keys alone: rollouts, nodes, jobs, and what is seen of them at a glance.

use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Tui;
use super::change::create_deployment;

/// Makes an object in the default namespace, past the application.
async fn create<K>(tui: &Tui, object: Value) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + DeserializeOwned,
{
    let all: Api<K> = Api::namespaced(tui.client(), "default");
    let object = serde_json::from_value(object).expect("an object");
    all.create(&PostParams::default(), &object).await.expect("created");
    all
}

/// Moves the cursor down to a line that shows all of these.
async fn go_to(tui: &mut Tui, words: &[&str]) {
    for _ in 0..60 {
        let line = tui.cursor_line();
        if words.iter().all(|word| line.contains(word)) {
            return;
        }
        tui.keys("j").await;
    }
    panic!("no line has {words:?}\n{}", tui.screen());
}

#[tokio::test(start_paused = true)]
async fn a_template_is_changed_watched_and_rolled_back() {
    let mut tui = Tui::start(120, 40).await;
    create_deployment(tui.client(), "web").await;
    tui.keys(":deployments<ret>").await.until_line(&["web", "3/3"]).await;
    tui.keys("xe").await.shows(&["environment of deployment web"]);
    tui.keys("MODE=fast<ret>")
        .await
        .until("given another environment")
        .await;
    tui.keys("R")
        .await
        .until("deployment \"web\" successfully rolled out")
        .await;
    tui.shows(&["3 of 3 pods updated, 3 available", "Revisions"]);
    // What a revision changed is one key away, and Enter goes back to an earlier one.
    go_to(&mut tui, &["2", "now", "nginx"]).await;
    tui.hides(&["MODE"]);
    tui.keys("<right>").await.shows(&["MODE", "fast"]);
    go_to(&mut tui, &["   1  ", "nginx"]).await;
    tui.keys("<ret>").await.until("rolled back to revision 1").await;
    tui.until_line(&["3", "now", "nginx"]).await;
    // What was done is told as kubectl's command.
    tui.keys(":restart<ret>").await.until("deployment web restarted").await;
    tui.keys(":kubectl<ret>").await;
    let copied = tui.copied();
    assert_eq!(copied, ["kubectl rollout restart deployment/web -n default"]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_a_disruption_budget_and_says_so() {
    let mut tui = Tui::start(120, 40).await;
    create_deployment(tui.client(), "web").await;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "all"},
        "spec": {"minAvailable": 3, "selector": {"matchLabels": {"app": "web"}}},
    });
    let budgets: Api<PodDisruptionBudget> = create(&tui, budget).await;
    tui.keys(":deployments<ret>").await.until_line(&["web", "3/3"]).await;
    tui.keys(":nodes<ret>").await.until_line(&["Ready"]).await;
    // What must be decided first is said, and nothing is done.
    tui.keys("xr").await.shows(&["drain node", "ignore DaemonSets"]);
    tui.keys("<ret>").await.until("3 pods evicted").await;
    tui.keys("y").await.until("disruption budget").await;
    tui.until_line(&["Ready,SchedulingDisabled"]).await;
    budgets.delete("all", &DeleteParams::default()).await.expect("deleted");
    tui.until("drained").await;
    tui.keys("xu").await.until("uncordoned").await;
    tui.until_gone("SchedulingDisabled").await;
}

#[tokio::test(start_paused = true)]
async fn a_cronjob_is_triggered_and_suspended() {
    let mut tui = Tui::start(120, 40).await;
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "busybox", "command": ["sleep", "1000"]}],
        }}}}},
    });
    create::<CronJob>(&tui, cron).await;
    tui.keys(":cronjobs<ret>").await.until_line(&["nightly", "False"]).await;
    tui.keys("xp").await.until_line(&["nightly", "True"]).await;
    tui.keys("u").await.until_line(&["nightly", "False"]).await;
    tui.keys("xt").await.until("created").await;
    tui.keys(":jobs<ret>").await.until_line(&["nightly-manual-"]).await;
}

#[tokio::test(start_paused = true)]
async fn pulse_says_what_is_wrong_and_the_workloads_and_ties_are_trees() {
    let mut tui = Tui::start(120, 40).await;
    create_deployment(tui.client(), "web").await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "picky"},
        "spec": {"nodeSelector": {"disk": "ssd"}, "containers": [{"name": "main", "image": "nginx"}]},
    });
    create::<k8s_openapi::api::core::v1::Pod>(&tui, pod).await;
    tui.keys(":deployments<ret>").await.until_line(&["web", "3/3"]).await;
    tui.keys("gu").await.until("No node has the label disk=ssd").await;
    tui.shows(&["1 thing to look at", "Nodes", "cpu", "Lately", "1 deployment"]);
    // A line is its object: what is done with one is done with the other.
    go_to(&mut tui, &["pod picky"]).await;
    tui.keys("w").await.until("spec.nodeSelector").await;
    tui.keys("<esc><esc>gw")
        .await
        .until_line(&["deployment web", "3/3"])
        .await;
    tui.hides(&["replicaset web-"]);
    go_to(&mut tui, &["deployment web"]).await;
    tui.keys("<right>").await.until_line(&["replicaset web-"]).await;
    tui.keys("X").await.until("runs on node").await;
    tui.shows(&["owns", "serviceaccount default"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_is_checked_hop_by_hop() {
    let mut tui = Tui::start(120, 40).await;
    create_deployment(tui.client(), "web").await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "wob"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    create::<Service>(&tui, service).await;
    tui.keys(":services<ret>").await.until_line(&["web", "80/TCP"]).await;
    go_to(&mut tui, &["web"]).await;
    tui.keys("v").await.until("app=wob chooses 0 pods").await;
    tui.shows(&[
        "web.default.svc.cluster.local stands for",
        "0 of 0 endpoints",
        "it does not answer",
    ]);
    // A forward to it says the same, and keeps what was typed.
    tui.keys("<esc>f").await.shows(&["forward to web"]);
    tui.keys("<ret>").await.until("none of 0 pods of web is ready").await;
}

#[tokio::test(start_paused = true)]
async fn rights_and_fields_are_asked_for_by_name() {
    let mut tui = Tui::start(120, 40).await;
    tui.keys(":can-i delete pods<ret>").await.until("may delete pods").await;
    tui.keys(":who-can delete pods<ret>").await;
    tui.until_line(&["Group", "system:masters", "cluster-admin"]).await;
    tui.keys("<esc>:explain deployment.spec.strategy<ret>")
        .await
        .until("rollingUpdate")
        .await;
    tui.shows(&["KIND:", "Deployment", "spec.strategy"]);
    tui.keys("<esc>:explain pod.spec.colour<ret>")
        .await
        .until("Pod has no field")
        .await;
}
