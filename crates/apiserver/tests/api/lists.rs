use super::cluster::{CONFIGMAPS, Cluster, PODS, configmap, pod};
use http::Method;
use serde_json::{Value, json};

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_list_has_the_form_clients_expect() {
    let cluster = Cluster::start().await;
    cluster.post(CONFIGMAPS, configmap("a", json!({}))).await.ok();
    let list = cluster.get(CONFIGMAPS).await.ok();
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&json!("ConfigMapList"), &json!("v1"))
    );
    assert!(list["items"][0].get("kind").is_none());
    let version: u64 = list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let own: u64 = list["items"][0]["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(version >= own);
    assert_eq!(
        cluster.get("/api/v1/namespaces/none/configmaps").await.ok()["items"],
        json!([])
    );
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = cluster
        .send(Method::GET, CONFIGMAPS, &[("accept", partial)], "")
        .await
        .ok();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
}

#[tokio::test(start_paused = true)]
async fn selectors_select() {
    let cluster = Cluster::start().await;
    for (name, labels) in [
        ("a", json!({"app": "web", "tier": "front"})),
        ("b", json!({"app": "web", "tier": "back"})),
        ("c", json!({"app": "db"})),
        ("d", json!({})),
    ] {
        cluster.post(PODS, pod(name, labels)).await.ok();
    }
    for (selector, expected) in [
        ("app=web", "ab"),
        ("app%3D%3Dweb,tier!%3Dback", "a"),
        ("app", "abc"),
        ("!app", "d"),
        ("app+in+(web,db)", "abc"),
        ("app+notin+(web)", "cd"),
        ("tier!%3Dfront", "bcd"),
    ] {
        let list = cluster.get(&format!("{PODS}?labelSelector={selector}")).await.ok();
        assert_eq!(names(&list).concat(), expected, "{selector}");
    }
    for (selector, expected) in [
        ("metadata.name=b", "b"),
        ("metadata.name!=b", "acd"),
        ("spec.nodeName=", "abcd"),
        ("status.phase=Running", ""),
        ("status.phase=Pending,metadata.name=c", "c"),
    ] {
        let selector = selector.replace('=', "%3D").replace(',', "%2C");
        let list = cluster.get(&format!("{PODS}?fieldSelector={selector}")).await.ok();
        assert_eq!(names(&list).concat(), expected, "{selector}");
        let list = cluster
            .get(&format!("/api/v1/pods?fieldSelector={selector}"))
            .await
            .ok();
        assert_eq!(names(&list).concat(), expected, "all namespaces, {selector}");
    }
    assert_eq!(
        cluster
            .get(&format!("{PODS}?labelSelector=a%3D%3D%3Db"))
            .await
            .failure()
            .0,
        400
    );
    let (code, _, message) = cluster
        .get(&format!("{PODS}?fieldSelector=spec.nothing%3Dx"))
        .await
        .failure();
    assert_eq!(
        (code, message.as_str()),
        (400, "field label not supported: spec.nothing")
    );
}

#[tokio::test(start_paused = true)]
async fn pages_show_the_list_as_it_was_at_the_first_page() {
    let cluster = Cluster::start().await;
    for n in 0..10 {
        cluster
            .post(CONFIGMAPS, configmap(&format!("m{n}"), json!({})))
            .await
            .ok();
    }
    let first = cluster.get(&format!("{CONFIGMAPS}?limit=4")).await.ok();
    assert_eq!(names(&first), ["m0", "m1", "m2", "m3"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 6);
    cluster.delete(&format!("{CONFIGMAPS}/m5"), json!(null)).await.ok();
    cluster.post(CONFIGMAPS, configmap("m55", json!({}))).await.ok();
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    let second = cluster
        .get(&format!("{CONFIGMAPS}?limit=4&continue={token}"))
        .await
        .ok();
    assert_eq!(names(&second), ["m4", "m5", "m6", "m7"]);
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let token = second["metadata"]["continue"].as_str().unwrap();
    let last = cluster
        .get(&format!("{CONFIGMAPS}?limit=4&continue={token}"))
        .await
        .ok();
    assert_eq!(names(&last), ["m8", "m9"]);
    assert!(last["metadata"].get("continue").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_too_late_gets_a_token_for_the_rest() {
    let cluster = Cluster::start().await;
    for n in 0..4 {
        cluster
            .post(CONFIGMAPS, configmap(&format!("m{n}"), json!({})))
            .await
            .ok();
    }
    let first = cluster.get(&format!("{CONFIGMAPS}?limit=2")).await.ok();
    let token = first["metadata"]["continue"].as_str().unwrap();
    cluster.post(CONFIGMAPS, configmap("m9", json!({}))).await.ok();
    cluster.server.compact();
    let late = cluster.get(&format!("{CONFIGMAPS}?limit=2&continue={token}")).await;
    let (code, reason, message) = late.failure();
    assert_eq!((code, reason.as_str()), (410, "Expired"));
    assert!(
        message.starts_with("The provided continue parameter is too old"),
        "{message}"
    );
    let token = late.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    let rest = cluster.get(&format!("{CONFIGMAPS}?continue={token}")).await.ok();
    assert_eq!(names(&rest), ["m2", "m3", "m9"]);
    assert_eq!(
        cluster
            .get(&format!("{CONFIGMAPS}?continue=nonsense"))
            .await
            .failure()
            .0,
        400
    );
}

#[tokio::test(start_paused = true)]
async fn versions_are_honoured_or_refused() {
    let cluster = Cluster::start().await;
    cluster.post(CONFIGMAPS, configmap("a", json!({}))).await.ok();
    let version = cluster.get(CONFIGMAPS).await.ok()["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    cluster.post(CONFIGMAPS, configmap("b", json!({}))).await.ok();
    let list = |query: String| {
        let cluster = &cluster;
        async move { cluster.get(&format!("{CONFIGMAPS}?{query}")).await }
    };
    let exact = list(format!("resourceVersion={version}&resourceVersionMatch=Exact"))
        .await
        .ok();
    assert_eq!(
        (names(&exact), &exact["metadata"]["resourceVersion"]),
        (vec!["a".to_owned()], &json!(version))
    );
    let newer = list(format!("resourceVersion={version}&resourceVersionMatch=NotOlderThan"))
        .await
        .ok();
    assert_eq!(names(&newer), ["a", "b"]);
    assert_eq!(names(&list("resourceVersion=0".into()).await.ok()), ["a", "b"]);
    let (code, reason, message) = list("resourceVersion=999999".into()).await.failure();
    assert_eq!((code, reason.as_str()), (504, "Timeout"));
    assert!(
        message.contains("Too large resource version: 999999, current: "),
        "{message}"
    );
    for bad in [
        "resourceVersionMatch=Exact",
        "resourceVersion=0&resourceVersionMatch=Exact",
        "resourceVersion=1&resourceVersionMatch=Some",
        "sendInitialEvents=true",
    ] {
        assert_eq!(list(bad.into()).await.failure().0, 422, "{bad}");
    }
    cluster.server.compact();
    let gone = list(format!("resourceVersion={version}&resourceVersionMatch=Exact"))
        .await
        .failure();
    assert_eq!((gone.0, gone.1.as_str()), (410, "Expired"));
}

#[tokio::test(start_paused = true)]
async fn a_page_at_a_version_is_exact_and_any_version_comes_whole() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c"] {
        cluster.post(CONFIGMAPS, configmap(name, json!({}))).await.ok();
    }
    let version = cluster.get(CONFIGMAPS).await.ok()["metadata"]["resourceVersion"].clone();
    cluster.post(CONFIGMAPS, configmap("0", json!({}))).await.ok();
    let at = format!("{CONFIGMAPS}?limit=2&resourceVersion={}", version.as_str().unwrap());
    let page = cluster.get(&at).await.ok();
    assert_eq!(
        (names(&page), &page["metadata"]["resourceVersion"]),
        (vec!["a".to_owned(), "b".to_owned()], &version)
    );
    let whole = cluster
        .get(&format!("{CONFIGMAPS}?limit=2&resourceVersion=0"))
        .await
        .ok();
    assert_eq!(names(&whole), ["0", "a", "b", "c"]);
    assert!(whole["metadata"].get("continue").is_none());
}

#[tokio::test(start_paused = true)]
async fn metadata_of_a_list_is_not_metadata_of_an_object() {
    let cluster = Cluster::start().await;
    cluster.post(CONFIGMAPS, configmap("a", json!({}))).await.ok();
    let accept = |kind: &str| format!("application/json;as={kind};v=v1;g=meta.k8s.io");
    for (path, kind, code) in [
        (CONFIGMAPS.to_owned(), "PartialObjectMetadataList", 200),
        (CONFIGMAPS.to_owned(), "PartialObjectMetadata", 406),
        (format!("{CONFIGMAPS}/a"), "PartialObjectMetadata", 200),
        (format!("{CONFIGMAPS}/a"), "PartialObjectMetadataList", 406),
    ] {
        let answer = cluster.send(Method::GET, &path, &[("accept", &accept(kind))], "").await;
        assert_eq!(answer.code, code, "{path} {kind}");
    }
    let refused = cluster
        .send(
            Method::GET,
            CONFIGMAPS,
            &[("accept", &accept("PartialObjectMetadata"))],
            "",
        )
        .await;
    let message = "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)";
    assert_eq!(refused.failure(), (406, "NotAcceptable".into(), message.into()));
}
