use super::cluster::{CONFIGMAPS, Cluster, DEPLOYMENTS, EPOCH, PODS, configmap, deployment, pod};
use http::Method;
use serde_json::json;

async fn bind(cluster: &Cluster, name: &str) {
    let binding = json!({"metadata": {"name": name}, "target": {"apiVersion": "v1", "kind": "Node", "name": "n"}});
    assert_eq!(cluster.post(&format!("{PODS}/{name}/binding"), binding).await.code, 201);
}

#[tokio::test(start_paused = true)]
async fn a_running_pod_gets_its_grace_period_and_the_node_has_the_last_word() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("a", json!({}))).await.ok();
    bind(&cluster, "a").await;
    let path = format!("{PODS}/a");
    let going = cluster
        .delete(&path, json!({"propagationPolicy": "Background"}))
        .await
        .ok();
    assert_eq!(going["kind"], "Pod");
    assert_eq!(going["metadata"]["deletionTimestamp"], EPOCH.replace("04:05", "04:35"));
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    let again = cluster.delete(&path, json!(null)).await.ok();
    assert_eq!(
        again["metadata"]["resourceVersion"], going["metadata"]["resourceVersion"],
        "nothing changed"
    );
    let shorter = cluster.delete(&path, json!({"gracePeriodSeconds": 10})).await.ok();
    assert_eq!(
        shorter["metadata"]["deletionTimestamp"],
        EPOCH.replace("04:05", "04:15")
    );
    let longer = cluster.delete(&path, json!({"gracePeriodSeconds": 60})).await.ok();
    assert_eq!(
        longer["metadata"]["deletionGracePeriodSeconds"], 10,
        "it can only get shorter"
    );
    let uid = going["metadata"]["uid"].clone();
    let other = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": "another"}});
    let (code, reason, message) = cluster.delete(&path, other).await.failure();
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert!(
        message.contains("Precondition failed: UID in precondition: another, UID in object meta: "),
        "{message}"
    );
    cluster
        .delete(&path, json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}))
        .await
        .ok();
    assert_eq!(cluster.get(&path).await.code, 404);
    cluster.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_a_node_goes_at_once() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("a", json!({}))).await.ok();
    assert_eq!(
        cluster.delete(&format!("{PODS}/a"), json!(null)).await.ok()["kind"],
        "Pod"
    );
    assert_eq!(cluster.get(&format!("{PODS}/a")).await.code, 404);
    cluster.post(PODS, pod("b", json!({}))).await.ok();
    bind(&cluster, "b").await;
    cluster
        .delete(&format!("{PODS}/b?gracePeriodSeconds=0"), json!(null))
        .await
        .ok();
    assert_eq!(cluster.get(&format!("{PODS}/b")).await.code, 404);
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let cluster = Cluster::start().await;
    let mut map = configmap("a", json!({}));
    map["metadata"]["finalizers"] = json!(["example.com/one", "example.com/two"]);
    cluster.post(CONFIGMAPS, map).await.ok();
    let path = format!("{CONFIGMAPS}/a");
    let going = cluster.delete(&path, json!(null)).await.ok();
    assert_eq!(going["metadata"]["deletionTimestamp"], EPOCH);
    let set = |list: serde_json::Value| json!({"metadata": {"finalizers": list}});
    cluster
        .patch(&path, "merge", set(json!(["example.com/two"])))
        .await
        .ok();
    assert_eq!(cluster.get(&path).await.code, 200);
    let last = cluster.get(&path).await.ok();
    let version = last["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let answer = cluster.patch(&path, "merge", set(json!(null))).await.ok();
    assert_eq!(
        answer["metadata"]["finalizers"],
        json!(null),
        "the client gets what it asked for"
    );
    assert_eq!(cluster.get(&path).await.code, 404);
    // Watches see one event: the object as it was last stored, deleted.
    let watch = format!("{CONFIGMAPS}?watch=true&timeoutSeconds=1&resourceVersion={version}");
    let text = cluster.get(&watch).await.text;
    let events: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 1, "{text}");
    assert_eq!(events[0]["type"], "DELETED");
    let mut expected = last["metadata"].clone();
    expected["resourceVersion"] = events[0]["object"]["metadata"]["resourceVersion"].clone();
    assert_ne!(expected["resourceVersion"], version.as_str());
    assert_eq!(events[0]["object"]["metadata"], expected);
    cluster.check().await;
}

#[tokio::test(start_paused = true)]
async fn propagation_is_told_to_the_garbage_collector_by_finalizer() {
    let cluster = Cluster::start().await;
    for (policy, finalizers) in [
        (
            json!({"propagationPolicy": "Foreground"}),
            json!(["foregroundDeletion"]),
        ),
        (json!({"propagationPolicy": "Orphan"}), json!(["orphan"])),
        (json!({"orphanDependents": true}), json!(["orphan"])),
    ] {
        cluster.post(DEPLOYMENTS, deployment("d")).await.ok();
        let path = format!("{DEPLOYMENTS}/d");
        let going = cluster.delete(&path, policy).await.ok();
        assert_eq!(going["metadata"]["finalizers"], finalizers);
        assert_eq!(going["metadata"]["generation"], 2);
        // A later deletion in the background takes the finalizer back.
        cluster
            .delete(&path, json!({"propagationPolicy": "Background"}))
            .await
            .ok();
        assert_eq!(cluster.get(&path).await.code, 404);
    }
    cluster.post(DEPLOYMENTS, deployment("d")).await.ok();
    let bad = cluster
        .delete(&format!("{DEPLOYMENTS}/d"), json!({"propagationPolicy": "Sideways"}))
        .await;
    assert_eq!(bad.failure().0, 422);
    let status = cluster.delete(&format!("{DEPLOYMENTS}/d"), json!(null)).await.ok();
    assert_eq!(
        (&status["kind"], &status["status"]),
        (&json!("Status"), &json!("Success"))
    );
    assert_eq!(status["details"]["kind"], "deployments");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_goes_when_it_is_finalized() {
    let cluster = Cluster::start().await;
    cluster
        .post("/api/v1/namespaces", json!({"metadata": {"name": "x"}}))
        .await
        .ok();
    let namespace = cluster.get("/api/v1/namespaces/x").await.ok();
    assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(namespace["metadata"]["labels"]["kubernetes.io/metadata.name"], "x");
    let going = cluster.delete("/api/v1/namespaces/x", json!(null)).await.ok();
    assert_eq!(going["status"]["phase"], "Terminating");
    let maps = "/api/v1/namespaces/x/configmaps";
    let refused = cluster.post(maps, configmap("a", json!({}))).await;
    let (code, reason, message) = refused.failure();
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    assert!(
        message.contains("unable to create new content in namespace x because it is being terminated"),
        "{message}"
    );
    assert_eq!(refused.json()["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let mut done = going;
    done["spec"]["finalizers"] = json!([]);
    cluster.put("/api/v1/namespaces/x/finalize", done).await.ok();
    assert_eq!(cluster.get("/api/v1/namespaces/x").await.code, 404);
    assert_eq!(
        cluster
            .delete("/api/v1/namespaces/default", json!(null))
            .await
            .failure()
            .0,
        403
    );
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_by_selector() {
    let cluster = Cluster::start().await;
    for (name, app) in [("a", "x"), ("b", "y"), ("c", "x")] {
        let mut map = configmap(name, json!({}));
        map["metadata"]["labels"] = json!({"app": app});
        cluster.post(CONFIGMAPS, map).await.ok();
    }
    let path = format!("{CONFIGMAPS}?labelSelector=app%3Dx");
    let deleted = cluster.send(Method::DELETE, &path, &[], "").await.ok();
    assert_eq!(deleted["items"].as_array().unwrap().len(), 2);
    let left = cluster.get(CONFIGMAPS).await.ok();
    assert_eq!(left["items"][0]["metadata"]["name"], "b");
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        cluster
            .send(Method::DELETE, "/api/v1/namespaces", &[], "")
            .await
            .failure()
            .0,
        405
    );
}

#[tokio::test(start_paused = true)]
async fn a_large_collection_goes_in_few_commits_and_each_object_by_its_own_rules() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.db");
    let cluster = Cluster::with(super::cluster::options(Some(path.clone()))).await;
    let mut creates = Vec::new();
    for n in 0..300 {
        let mut map = configmap(&format!("m{n:03}"), json!({"n": n.to_string()}));
        if n == 7 {
            map["metadata"]["finalizers"] = json!(["example.com/hold"]);
        }
        creates.push(cluster.post(CONFIGMAPS, map));
    }
    for created in futures::future::join_all(creates).await {
        created.ok();
    }
    let groups = || knarr_apiserver::database::check(&path).unwrap().groups;
    let before = groups();
    let deleted = cluster.send(Method::DELETE, CONFIGMAPS, &[], "").await.ok();
    assert_eq!(deleted["items"].as_array().unwrap().len(), 300);
    assert!(groups() - before <= 3, "{} groups", groups() - before);
    let left = cluster.get(CONFIGMAPS).await.ok();
    let left: Vec<_> = left["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["metadata"]["name"])
        .collect();
    assert_eq!(left, ["m007"]);
    cluster.check().await;
}
