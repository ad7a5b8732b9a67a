//! Quotas are charged with what uses them, and counted again when something goes.

use serde_json::{Value, json};

use super::cluster::{CONFIGMAPS, Cluster, PODS, configmap, pod};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

fn quota(hard: Value) -> Value {
    json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})
}

async fn used(cluster: &Cluster) -> Value {
    cluster.get(&format!("{QUOTAS}/q")).await.ok()["status"]["used"].take()
}

/// Waits until the quota has used what is expected: a test that waits in vain hangs and fails by its harness.
async fn until(cluster: &Cluster, expected: Value) {
    loop {
        if used(cluster).await == expected {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_has_only_so_many_pods() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("a", json!({}))).await.ok();
    cluster
        .post(QUOTAS, quota(json!({"pods": "2", "count/configmaps": "1"})))
        .await
        .ok();
    // The pod that was there counts at once, whether or not the controller has been here.
    cluster.post(PODS, pod("b", json!({}))).await.ok();
    let refused = cluster.post(PODS, pod("c", json!({}))).await.failure();
    assert_eq!(
        refused,
        (
            403,
            "Forbidden".into(),
            "pods \"c\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2".into()
        )
    );
    cluster.post(CONFIGMAPS, configmap("one", json!({}))).await.ok();
    assert_eq!(
        cluster.post(CONFIGMAPS, configmap("two", json!({}))).await.failure().2,
        "configmaps \"two\" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1"
    );
    until(&cluster, json!({"count/configmaps": "1", "pods": "2"})).await;

    // A pod that has ended makes room, and so does one that goes.
    let ended = json!({"status": {"phase": "Succeeded"}});
    cluster.patch(&format!("{PODS}/a/status"), "merge", ended).await.ok();
    until(&cluster, json!({"count/configmaps": "1", "pods": "1"})).await;
    cluster
        .delete(&format!("{PODS}/b"), json!({"gracePeriodSeconds": 0}))
        .await
        .ok();
    until(&cluster, json!({"count/configmaps": "1", "pods": "0"})).await;
    cluster.post(PODS, pod("c", json!({}))).await.ok();
    cluster.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_is_judged_but_not_charged() {
    let cluster = Cluster::start().await;
    cluster.post(QUOTAS, quota(json!({"count/configmaps": "1"}))).await.ok();
    let dry = format!("{CONFIGMAPS}?dryRun=All");
    cluster.post(&dry, configmap("a", json!({}))).await.ok();
    cluster.post(CONFIGMAPS, configmap("a", json!({}))).await.ok();
    assert_eq!(cluster.post(&dry, configmap("b", json!({}))).await.failure().0, 403);
}

#[tokio::test(start_paused = true)]
async fn of_many_at_once_only_as_many_as_fit_are_made() {
    let cluster = Cluster::start().await;
    cluster.post(QUOTAS, quota(json!({"count/configmaps": "5"}))).await.ok();
    let names: Vec<String> = (0..20).map(|index| format!("c{index}")).collect();
    let mut requests = Vec::new();
    for name in &names {
        requests.push(cluster.post(CONFIGMAPS, configmap(name, json!({}))));
    }
    let made = futures::future::join_all(requests).await;
    assert_eq!(made.iter().filter(|answer| answer.code == 201).count(), 5);
    assert!(made.iter().all(|answer| matches!(answer.code, 201 | 403)));
    let listed = cluster.get(CONFIGMAPS).await.ok();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(5));
}

#[tokio::test(start_paused = true)]
async fn services_are_charged_for_what_they_grow() {
    let cluster = Cluster::start().await;
    cluster
        .post(QUOTAS, quota(json!({"services.nodeports": "1"})))
        .await
        .ok();
    let services = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    cluster.post(services, service).await.ok();
    let path = format!("{services}/s");
    cluster
        .patch(&path, "merge", json!({"spec": {"type": "NodePort"}}))
        .await
        .ok();
    let ports = json!({"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]}});
    assert_eq!(
        cluster.patch(&path, "merge", ports).await.failure().2,
        "services \"s\" is forbidden: exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1"
    );
}
