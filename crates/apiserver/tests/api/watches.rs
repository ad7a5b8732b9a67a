use std::time::Duration;

use super::cluster::{CONFIGMAPS, Cluster, PODS, configmap, pod};
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use serde_json::{Value, json};

/// A watch whose lines are read one by one.
pub struct Watch(futures::stream::BoxStream<'static, std::io::Result<String>>);

impl Watch {
    pub async fn open(cluster: &Cluster, path: &str, accept: &str) -> Self {
        let request = Request::get(path).header("accept", accept).body(Vec::new()).unwrap();
        let lines = cluster.admin.request_stream(request).await.unwrap();
        Self(lines.lines().boxed())
    }

    async fn line(&mut self) -> Option<String> {
        self.0.try_next().await.unwrap()
    }

    pub async fn event(&mut self) -> (String, Value) {
        let line = self.line().await.expect("the watch goes on");
        assert!(line.starts_with("{\"type\":\""), "type goes first: {line}");
        let mut event: Value = serde_json::from_str(&line).unwrap();
        (event["type"].as_str().unwrap().to_owned(), event["object"].take())
    }

    async fn named(&mut self) -> (String, String) {
        let (kind, object) = self.event().await;
        (kind, object["metadata"]["name"].as_str().unwrap_or_default().to_owned())
    }
}

fn pair(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_watch_begins_with_what_is_there_and_goes_on_with_what_happens() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("a", json!({}))).await.ok();
    let mut watch = Watch::open(&cluster, &format!("{PODS}?watch=true"), "application/json").await;
    let (kind, object) = watch.event().await;
    assert_eq!(
        (kind.as_str(), &object["kind"], &object["apiVersion"]),
        ("ADDED", &json!("Pod"), &json!("v1"))
    );
    cluster.post(PODS, pod("b", json!({}))).await.ok();
    assert_eq!(watch.named().await, pair("ADDED", "b"));
    cluster
        .patch(
            &format!("{PODS}/b"),
            "merge",
            json!({"metadata": {"labels": {"x": "y"}}}),
        )
        .await
        .ok();
    assert_eq!(watch.named().await, pair("MODIFIED", "b"));
    cluster.delete(&format!("{PODS}/b"), json!(null)).await.ok();
    let (kind, gone) = watch.event().await;
    assert_eq!(
        (kind.as_str(), &gone["metadata"]["labels"]["x"]),
        ("DELETED", &json!("y"))
    );
    let version: u64 = gone["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let listed: u64 = cluster.get(PODS).await.ok()["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(version, listed, "a deletion has a version of its own");
}

#[tokio::test(start_paused = true)]
async fn a_watch_continues_from_any_version_it_is_given() {
    let cluster = Cluster::start().await;
    let a = cluster.post(CONFIGMAPS, configmap("a", json!({}))).await.ok();
    cluster.post(PODS, pod("other", json!({}))).await.ok();
    cluster
        .post(
            "/api/v1/namespaces/kube-system/configmaps",
            configmap("elsewhere", json!({})),
        )
        .await
        .ok();
    cluster.post(CONFIGMAPS, configmap("b", json!({}))).await.ok();
    let version = a["metadata"]["resourceVersion"].as_str().unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin.clone(), "default");
    let mut events = maps.watch(&WatchParams::default(), version).await.unwrap().boxed();
    let event = events.try_next().await.unwrap().unwrap();
    assert!(matches!(event, WatchEvent::Added(map) if map.metadata.name.as_deref() == Some("b")));
}

#[tokio::test(start_paused = true)]
async fn objects_enter_and_leave_a_selection() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("a", json!({"app": "x"}))).await.ok();
    let mut watch = Watch::open(
        &cluster,
        &format!("{PODS}?watch=1&labelSelector=app%3Dx"),
        "application/json",
    )
    .await;
    assert_eq!(watch.named().await, pair("ADDED", "a"));
    let label = |name: &str, value: &str| {
        let (path, body) = (
            format!("{PODS}/{name}"),
            json!({"metadata": {"labels": {"app": value}}}),
        );
        let cluster = &cluster;
        async move { cluster.patch(&path, "merge", body).await.ok() }
    };
    cluster.post(PODS, pod("b", json!({"app": "y"}))).await.ok();
    let left = label("a", "z").await;
    let (kind, object) = watch.event().await;
    assert_eq!(
        (kind.as_str(), &object["metadata"]["labels"]["app"]),
        ("DELETED", &json!("x"))
    );
    assert_eq!(
        object["metadata"]["resourceVersion"],
        left["metadata"]["resourceVersion"]
    );
    label("b", "x").await;
    assert_eq!(watch.named().await, pair("ADDED", "b"));
    let one = format!("{PODS}?watch=1&fieldSelector=metadata.name%3Db&resourceVersion=0");
    let mut one = Watch::open(&cluster, &one, "application/json").await;
    assert_eq!(one.named().await, pair("ADDED", "b"));
    cluster.delete(&format!("{PODS}/a"), json!(null)).await.ok();
    cluster.delete(&format!("{PODS}/b"), json!(null)).await.ok();
    assert_eq!(one.named().await, pair("DELETED", "b"));
}

#[tokio::test(start_paused = true)]
async fn versions_that_are_forgotten_or_unknown_end_with_410() {
    let cluster = Cluster::start().await;
    let a = cluster.post(CONFIGMAPS, configmap("a", json!({}))).await.ok();
    let version = a["metadata"]["resourceVersion"].as_str().unwrap();
    cluster.post(CONFIGMAPS, configmap("b", json!({}))).await.ok();
    cluster.server.compact();
    for (version, message) in [
        (version, format!("too old resource version: {version} (")),
        ("999999", "too large resource version: 999999, current: ".to_owned()),
    ] {
        let path = format!("{CONFIGMAPS}?watch=true&resourceVersion={version}");
        let mut watch = Watch::open(&cluster, &path, "application/json").await;
        let (kind, status) = watch.event().await;
        assert_eq!(
            (kind.as_str(), &status["code"], &status["reason"]),
            ("ERROR", &json!(410), &json!("Expired"))
        );
        assert!(status["message"].as_str().unwrap().starts_with(&message));
        assert_eq!(watch.line().await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn bookmarks_tell_a_quiet_watch_how_far_it_is() {
    let cluster = Cluster::start().await;
    let path = format!("{CONFIGMAPS}?watch=true&allowWatchBookmarks=true&resourceVersion=0&timeoutSeconds=600");
    let mut watch = Watch::open(&cluster, &path, "application/json").await;
    cluster.post(PODS, pod("other", json!({}))).await.ok();
    let (kind, object) = watch.event().await;
    assert_eq!((kind.as_str(), &object["kind"]), ("BOOKMARK", &json!("ConfigMap")));
    let listed = cluster.get(CONFIGMAPS).await.ok()["metadata"]["resourceVersion"].clone();
    assert_eq!(object["metadata"]["resourceVersion"], listed);
    assert!(object["metadata"].get("annotations").is_none());
}

#[tokio::test(start_paused = true)]
async fn initial_events_end_with_their_bookmark() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.post(CONFIGMAPS, configmap(name, json!({}))).await.ok();
    }
    let path = format!(
        "{CONFIGMAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut watch = Watch::open(&cluster, &path, "application/json").await;
    assert_eq!(watch.named().await, pair("ADDED", "a"));
    assert_eq!(watch.named().await, pair("ADDED", "b"));
    let (kind, object) = watch.event().await;
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(object["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    cluster.post(CONFIGMAPS, configmap("c", json!({}))).await.ok();
    assert_eq!(watch.named().await, pair("ADDED", "c"));
    let refused = cluster
        .get(&format!("{CONFIGMAPS}?watch=true&sendInitialEvents=true"))
        .await
        .failure();
    assert_eq!(refused.0, 422);
    assert!(
        refused
            .2
            .contains("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_after_its_timeout_and_with_the_server() {
    let cluster = Cluster::start().await;
    let start = tokio::time::Instant::now();
    let mut watch = Watch::open(
        &cluster,
        &format!("{PODS}?watch=true&timeoutSeconds=7"),
        "application/json",
    )
    .await;
    assert_eq!(watch.line().await, None);
    assert_eq!(start.elapsed().as_secs(), 7);
    let mut watch = Watch::open(&cluster, &format!("{PODS}?watch=true"), "application/json").await;
    let (line, ()) = tokio::join!(watch.line(), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.server.shutdown().await;
    });
    assert_eq!(line, None);
    assert_eq!(start.elapsed().as_secs(), 8);
}

#[tokio::test(start_paused = true)]
async fn watches_come_as_tables_and_as_metadata() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("a", json!({"app": "x"}))).await.ok();
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let mut watch = Watch::open(&cluster, &format!("{PODS}?watch=true"), table).await;
    let (kind, object) = watch.event().await;
    assert_eq!(
        (kind.as_str(), &object["kind"], &object["rows"][0]["cells"][0]),
        ("ADDED", &json!("Table"), &json!("a"))
    );
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let mut watch = Watch::open(&cluster, &format!("{PODS}?watch=true"), partial).await;
    let (_, object) = watch.event().await;
    assert_eq!(
        (&object["kind"], &object["metadata"]["name"]),
        (&json!("PartialObjectMetadata"), &json!("a"))
    );
    assert!(object.get("spec").is_none());
}

#[tokio::test(start_paused = true)]
async fn kube_runtime_sees_every_change_of_many() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin.clone(), "default");
    let (reader, writer) = kube::runtime::reflector::store::<ConfigMap>();
    let stream = kube::runtime::watcher(maps, kube::runtime::watcher::Config::default());
    let mut stream = kube::runtime::reflector(writer, stream).boxed();
    let drive = tokio::spawn(async move {
        while let Some(event) = stream.next().await {
            event.unwrap();
        }
    });
    reader.wait_until_ready().await.unwrap();
    for n in 0..300 {
        cluster
            .post(CONFIGMAPS, configmap(&format!("m{n}"), json!({"n": n.to_string()})))
            .await
            .ok();
        if n % 3 == 0 {
            cluster.delete(&format!("{CONFIGMAPS}/m{n}"), json!(null)).await.ok();
        }
    }
    let expected = cluster.get(CONFIGMAPS).await.ok()["items"].as_array().unwrap().len();
    while reader.len() != expected {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(expected, 200);
    drive.abort();
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_tables_says_once_what_the_columns_are() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.post(CONFIGMAPS, configmap(name, json!({}))).await.ok();
    }
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let mut watch = Watch::open(&cluster, &format!("{CONFIGMAPS}?watch=1"), table).await;
    let (_, first) = watch.event().await;
    assert_eq!(first["columnDefinitions"][0]["name"], "Name");
    let (_, second) = watch.event().await;
    assert_eq!(
        (&second["columnDefinitions"], &second["rows"][0]["cells"][0]),
        (&json!(null), &json!("b"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_a_bookmark() {
    let cluster = Cluster::start().await;
    let path = format!("{CONFIGMAPS}?watch=1&allowWatchBookmarks=true&resourceVersion=0&timeoutSeconds=20");
    let mut watch = Watch::open(&cluster, &path, "application/json").await;
    let began = tokio::time::Instant::now();
    let (kind, object) = watch.event().await;
    assert_eq!(kind, "BOOKMARK");
    assert!(object["metadata"].get("creationTimestamp").is_none());
    assert!(began.elapsed() > Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(watch.line().await, None);
}

#[tokio::test(start_paused = true)]
async fn initial_events_are_not_older_than_they_were_asked_to_be() {
    let cluster = Cluster::start().await;
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=999999";
    let refused = cluster.get(&format!("{CONFIGMAPS}?{query}")).await.failure();
    assert_eq!((refused.0, refused.1.as_str()), (504, "Timeout"));
}
