use super::cluster::{CONFIGMAPS, Cluster, DEPLOYMENTS, configmap, deployment};
use http::Method;
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn the_same_change_can_be_said_in_four_ways() {
    let cluster = Cluster::start().await;
    cluster.post(DEPLOYMENTS, deployment("d")).await.ok();
    let path = format!("{DEPLOYMENTS}/d");
    let image = |value: &serde_json::Value| value["spec"]["template"]["spec"]["containers"][0]["image"].clone();

    let strategic = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "v1"}]}}}});
    let patched = cluster.patch(&path, "strategic-merge", strategic).await.ok();
    assert_eq!(image(&patched), "v1");
    assert_eq!(
        patched["spec"]["template"]["spec"]["containers"]
            .as_array()
            .unwrap()
            .len(),
        2,
        "the other one stays"
    );

    let operations = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "v2"}]);
    assert_eq!(image(&cluster.patch(&path, "json", operations).await.ok()), "v2");

    let merge = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "v3"}]}}}});
    let merged = cluster.patch(&path, "merge", merge).await.ok();
    assert_eq!(image(&merged), "v3");
    assert_eq!(
        merged["spec"]["template"]["spec"]["containers"]
            .as_array()
            .unwrap()
            .len(),
        1,
        "lists are replaced"
    );

    let applied = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "v4"}]}}},
    });
    let forced = format!("{path}?fieldManager=me&force=true");
    assert_eq!(image(&cluster.patch(&forced, "apply", applied).await.ok()), "v4");
    assert_eq!(cluster.get(&path).await.ok()["metadata"]["generation"], 5);
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_names_a_version_is_held_to_it() {
    let cluster = Cluster::start().await;
    let created = cluster.post(CONFIGMAPS, configmap("a", json!({"k": "v"}))).await.ok();
    let path = format!("{CONFIGMAPS}/a");
    let version = created["metadata"]["resourceVersion"].clone();
    let patch = |value: &str| json!({"metadata": {"resourceVersion": version}, "data": {"k": value}});
    cluster.patch(&path, "merge", patch("w")).await.ok();
    assert_eq!(cluster.patch(&path, "merge", patch("x")).await.failure().1, "Conflict");
}

#[tokio::test(start_paused = true)]
async fn bad_patches_are_refused_and_change_nothing() {
    let cluster = Cluster::start().await;
    let created = cluster.post(DEPLOYMENTS, deployment("d")).await.ok();
    let path = format!("{DEPLOYMENTS}/d");
    for (kind, body, code) in [
        (
            "json",
            json!([{"op": "test", "path": "/spec/replicas", "value": 9}]),
            422,
        ),
        ("json", json!([{"op": "remove", "path": "/spec/nothing"}]), 422),
        ("json", json!({"op": "remove"}), 400),
        ("merge", json!([1]), 400),
        ("merge", json!({"spec": {"replicas": -1}}), 422),
        (
            "merge",
            json!({"spec": {"selector": {"matchLabels": {"app": "other"}}}}),
            422,
        ),
        ("merge", json!({"spec": {"replicas": "two"}}), 400),
        (
            "strategic-merge",
            json!({"spec": {"template": {"spec": {"containers": [{"image": "no-name"}]}}}}),
            400,
        ),
    ] {
        let answer = cluster.patch(&path, kind, body.clone()).await;
        assert_eq!(answer.failure().0, code, "{kind} {body}: {answer:?}");
    }
    let missing = json!([{"op": "replace", "path": "/spec/foo/bar", "value": 1}]);
    let answer = cluster.patch(&path, "json", missing).await;
    let rejected = "the server rejected our request due to an error in our request";
    assert!(answer.failure().2.starts_with(rejected), "{answer:?}");
    assert_eq!(
        answer.json()["details"]["name"],
        json!(null),
        "kubectl shows no message next to a name"
    );
    let strict = cluster
        .patch(
            &format!("{path}?fieldValidation=Strict"),
            "merge",
            json!({"spec": {"replica": 1}}),
        )
        .await;
    let (code, _, message) = strict.failure();
    assert_eq!(code, 422);
    assert!(
        message.contains("strict decoding error: unknown field \"spec.replica\""),
        "{message}"
    );
    let media = [("content-type", "application/json")];
    let (code, reason, message) = cluster.send(Method::PATCH, &path, &media, "{}").await.failure();
    assert_eq!((code, reason.as_str()), (415, "UnsupportedMediaType"));
    assert!(message.contains("application/strategic-merge-patch+json"), "{message}");
    assert_eq!(cluster.get(&path).await.ok(), created);
    assert_eq!(
        cluster
            .patch(&format!("{DEPLOYMENTS}/x"), "merge", json!({}))
            .await
            .failure()
            .0,
        404
    );
}

#[tokio::test(start_paused = true)]
async fn apply_creates_tracks_and_reports_conflicts() {
    let cluster = Cluster::start().await;
    let applied = |replicas: u32| {
        let mut object = deployment("d");
        object["spec"]["replicas"] = json!(replicas);
        object
    };
    let path = format!("{DEPLOYMENTS}/d");
    let by = |manager: &str, more: &str| format!("{path}?fieldManager={manager}{more}");
    let created = cluster.patch(&by("one", ""), "apply", applied(1)).await;
    assert_eq!(created.code, 201);
    let entry = created.ok()["metadata"]["managedFields"][0].clone();
    assert_eq!(
        (&entry["manager"], &entry["operation"]),
        (&json!("one"), &json!("Apply"))
    );
    let again = cluster.patch(&by("one", ""), "apply", applied(1)).await.ok();
    assert_eq!(again, created.ok(), "the same apply is no write");
    let answer = cluster.patch(&by("two", ""), "apply", applied(2)).await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert!(
        message.contains("conflict with \"one\"") && message.contains(".spec.replicas"),
        "{message}"
    );
    assert_eq!(answer.json()["details"]["causes"][0]["reason"], "FieldManagerConflict");
    assert_eq!(
        cluster.patch(&by("two", "&force=true"), "apply", applied(2)).await.ok()["spec"]["replicas"],
        2
    );
    let (code, _, message) = cluster.patch(&path, "apply", applied(3)).await.failure();
    assert_eq!(code, 422);
    assert!(
        message.contains("fieldManager: Required value: is required for apply patch"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn status_and_scale_change_only_their_part() {
    let cluster = Cluster::start().await;
    let created = cluster.post(DEPLOYMENTS, deployment("d")).await.ok();
    let path = format!("{DEPLOYMENTS}/d");
    let both = json!({"spec": {"replicas": 7}, "status": {"replicas": 4, "observedGeneration": 1}});
    let status = cluster
        .patch(&format!("{path}/status"), "merge", both.clone())
        .await
        .ok();
    assert_eq!(
        (&status["spec"]["replicas"], &status["status"]["replicas"]),
        (&json!(2), &json!(4))
    );
    assert_eq!(status["metadata"]["generation"], created["metadata"]["generation"]);
    let whole = cluster
        .patch(&path, "merge", json!({"status": {"replicas": 9}}))
        .await
        .ok();
    assert_eq!(whole["status"]["replicas"], 4);

    let scale = cluster.get(&format!("{path}/scale")).await.ok();
    assert_eq!(
        (&scale["kind"], &scale["spec"]["replicas"]),
        (&json!("Scale"), &json!(2))
    );
    assert_eq!(scale["status"], json!({"replicas": 4, "selector": "app=d"}));
    let patched = cluster
        .patch(&format!("{path}/scale"), "merge", json!({"spec": {"replicas": 5}}))
        .await
        .ok();
    assert_eq!(
        (&patched["kind"], &patched["spec"]["replicas"]),
        (&json!("Scale"), &json!(5))
    );
    assert_eq!(cluster.get(&path).await.ok()["metadata"]["generation"], 2);
    // The scale that was read first is out of date by now.
    assert_eq!(
        cluster.put(&format!("{path}/scale"), scale).await.failure().1,
        "Conflict"
    );
    let negative = cluster
        .patch(&format!("{path}/scale"), "merge", json!({"spec": {"replicas": -1}}))
        .await;
    assert_eq!(negative.failure().0, 422);
}
