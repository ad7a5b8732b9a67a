use super::cluster::{CONFIGMAPS, Cluster, configmap, options};
use http::Method;
use serde_json::json;

/// Opens the database again, which the old server's writer may hold for a moment longer.
async fn restart(cluster: Cluster, path: &std::path::Path) -> Cluster {
    cluster.server.shutdown().await;
    drop(cluster);
    loop {
        match knarr_apiserver::ApiServer::start(options(Some(path.to_owned()))).await {
            Err(knarr_apiserver::Error::InUse { .. }) => tokio::task::yield_now().await,
            started => {
                let server = started.unwrap();
                let admin = server.client(knarr_apiserver::UserInfo::authenticated("admin", &["system:masters"]));
                return Cluster { server, admin };
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn everything_is_there_after_a_restart_and_versions_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.db");
    let cluster = Cluster::with(options(Some(path.clone()))).await;
    let before = cluster.post(CONFIGMAPS, configmap("a", json!({"k": "v"}))).await.ok();
    let account = "/api/v1/namespaces/default/serviceaccounts";
    cluster.post(account, json!({"metadata": {"name": "robot"}})).await.ok();
    let token = cluster
        .post(&format!("{account}/robot/token"), json!({"spec": {}}))
        .await
        .ok();
    let token = token["status"]["token"].as_str().unwrap().to_owned();
    let version = |list: &serde_json::Value| {
        list["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let old = version(&cluster.get(CONFIGMAPS).await.ok());

    let cluster = restart(cluster, &path).await;
    assert_eq!(cluster.get(&format!("{CONFIGMAPS}/a")).await.ok(), before);
    let list = cluster.get(CONFIGMAPS).await.ok();
    assert!(version(&list) > old);
    let watch = cluster
        .get(&format!("{CONFIGMAPS}?watch=true&resourceVersion={old}"))
        .await;
    assert!(watch.text.contains("too old resource version"), "{}", watch.text);
    let review = json!({"spec": {"token": token}}).to_string();
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = cluster
        .send(Method::POST, path, super::cluster::JSON, review)
        .await
        .ok();
    assert_eq!(
        review["status"]["user"]["username"],
        "system:serviceaccount:default:robot"
    );
    cluster.check().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_user_changed_in_the_defaults_stays_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.db");
    let cluster = Cluster::with(options(Some(path.clone()))).await;
    let view = "/apis/rbac.authorization.k8s.io/v1/clusterroles/view";
    let label = json!({"metadata": {"labels": {"mine": "yes"}}});
    cluster.patch(view, "merge", label).await.ok();
    let cluster = restart(cluster, &path).await;
    assert_eq!(cluster.get(view).await.ok()["metadata"]["labels"]["mine"], "yes");
}
