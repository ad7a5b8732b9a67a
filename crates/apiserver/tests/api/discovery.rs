use super::cluster::Cluster;
use http::Method;
use serde_json::json;

const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const V2BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

#[tokio::test(start_paused = true)]
async fn the_old_and_the_aggregated_documents_name_the_same_resources() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.get("/api").await.ok()["versions"], json!(["v1"]));
    let mut old = Vec::new();
    let core = cluster.get("/api/v1").await.ok();
    assert_eq!(
        (&core["kind"], &core["groupVersion"]),
        (&json!("APIResourceList"), &json!("v1"))
    );
    old.extend(names("v1", &core));
    let groups = cluster.get("/apis").await.ok();
    for group in groups["groups"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            let version = version["groupVersion"].as_str().unwrap();
            old.extend(names(version, &cluster.get(&format!("/apis/{version}")).await.ok()));
        }
        let name = group["name"].as_str().unwrap();
        let own = cluster.get(&format!("/apis/{name}")).await.ok();
        assert_eq!(own["preferredVersion"], group["preferredVersion"]);
    }
    let mut new = Vec::new();
    for root in ["/api", "/apis"] {
        let accept = format!("{V2},{V2BETA1},application/json");
        let answer = cluster.send(Method::GET, root, &[("accept", &accept)], "").await;
        assert_eq!(answer.headers["content-type"], V2);
        let document = answer.ok();
        assert_eq!(document["apiVersion"], "apidiscovery.k8s.io/v2");
        for group in document["items"].as_array().unwrap() {
            for version in group["versions"].as_array().unwrap() {
                let group = group["metadata"]["name"].as_str().unwrap_or_default();
                let api = format!("{group}/{}", version["version"].as_str().unwrap());
                for resource in version["resources"].as_array().unwrap() {
                    let plural = resource["resource"].as_str().unwrap();
                    new.push(format!("{} {plural}", api.trim_start_matches('/')));
                    for sub in resource["subresources"].as_array().into_iter().flatten() {
                        let sub = sub["subresource"].as_str().unwrap();
                        new.push(format!("{} {plural}/{sub}", api.trim_start_matches('/')));
                    }
                }
            }
        }
    }
    old.sort();
    new.sort();
    assert_eq!(old, new);
    assert!(old.contains(&"v1 pods/log".to_owned()) && old.contains(&"apps/v1 deployments/scale".to_owned()));
}

fn names(version: &str, list: &serde_json::Value) -> Vec<String> {
    let resources = list["resources"].as_array().unwrap();
    resources
        .iter()
        .map(|resource| format!("{version} {}", resource["name"].as_str().unwrap()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_knows_only_v2beta1_is_not_given_v2() {
    let cluster = Cluster::start().await;
    let accept = format!("{V2BETA1},application/json");
    let answer = cluster.send(Method::GET, "/apis", &[("accept", &accept)], "").await;
    assert_eq!(answer.headers["content-type"], V2BETA1);
    assert_eq!(answer.ok()["apiVersion"], "apidiscovery.k8s.io/v2beta1");
    let plain = cluster
        .send(Method::GET, "/apis", &[("accept", "application/json, */*")], "")
        .await;
    assert_eq!(plain.ok()["kind"], "APIGroupList");
}

#[tokio::test(start_paused = true)]
async fn health_and_version_answer_in_the_usual_form() {
    let cluster = Cluster::start().await;
    for path in ["/healthz", "/livez", "/readyz", "/readyz/ping"] {
        let answer = cluster.get(path).await;
        assert_eq!((answer.code, answer.text.as_str()), (200, "ok"), "{path}");
    }
    let verbose = cluster.get("/readyz?verbose").await.text;
    assert!(
        verbose.starts_with("[+]ping ok\n") && verbose.ends_with("readyz check passed\n"),
        "{verbose}"
    );
    let version = cluster.get("/version?timeout=5s").await.ok();
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("37")));
    assert!(version["gitVersion"].as_str().unwrap().starts_with("v1.37."));
    cluster.server.shutdown().await;
    assert_eq!(cluster.get("/readyz").await.code, 500);
}

#[tokio::test(start_paused = true)]
async fn openapi_documents_are_served_under_their_hash() {
    let cluster = Cluster::start().await;
    let index = cluster.get("/openapi/v3").await.ok();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .expect("apps/v1 has a document")
        .to_owned();
    let answer = cluster.get(&url).await;
    assert!(
        answer.ok()["paths"]
            .as_object()
            .unwrap()
            .keys()
            .any(|path| path.contains("deployments"))
    );
    let tag = answer.headers["etag"].to_str().unwrap().to_owned();
    let again = cluster.send(Method::GET, &url, &[("if-none-match", &tag)], "").await;
    assert_eq!((again.code, again.text.as_str()), (304, ""));
    // Old clients refuse JSON here.
    let request = http::Request::get("/openapi/v2")
        .header("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
        .body(kube::client::Body::empty())
        .unwrap();
    let response = cluster.admin.send(request).await.unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
    let body = http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap()
        .to_bytes();
    assert!(
        body.starts_with(b"\x0a\x032.0") && body.len() > 100_000,
        "{}",
        body.len()
    );
    let unknown = cluster
        .send(Method::GET, "/openapi/v2", &[("accept", "text/html")], "")
        .await;
    assert_eq!(unknown.code, 406);
}

#[tokio::test(start_paused = true)]
async fn aggregated_discovery_is_sent_once_to_a_client_that_keeps_it() {
    let cluster = Cluster::start().await;
    for root in ["/api", "/apis"] {
        let answer = cluster.send(Method::GET, root, &[("accept", V2)], "").await;
        assert_eq!(answer.headers["vary"], "Accept");
        assert_eq!(answer.headers["cache-control"], "public");
        assert!(!answer.text.contains("creationTimestamp"));
        let tag = answer.headers["etag"].to_str().unwrap().to_owned();
        let headers = [("accept", V2), ("if-none-match", tag.as_str())];
        let again = cluster.send(Method::GET, root, &headers, "").await;
        assert_eq!((again.code, again.text.as_str()), (304, ""));
        assert_eq!(again.headers["etag"], tag);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_api_is_a_page_that_was_not_found() {
    let cluster = Cluster::start().await;
    for path in [
        "/foo",
        "/apis/nope",
        "/apis/nope/v1/x",
        "/api/v9",
        "/apis/apps/v9/deployments",
        "/readyz/none",
    ] {
        let answer = cluster.get(path).await;
        assert_eq!(
            (answer.code, answer.text.as_str()),
            (404, "404 page not found\n"),
            "{path}"
        );
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    assert_eq!(
        cluster.get("/api/v1/foos").await.failure().0,
        404,
        "inside a served version it is a Status"
    );
}

#[tokio::test(start_paused = true)]
async fn a_health_check_can_be_asked_for_or_left_out_by_name() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.get("/readyz/etcd").await.text, "ok");
    let report = cluster.get("/readyz?verbose&exclude=etcd&exclude=none").await.text;
    assert!(report.contains("[+]etcd excluded: ok\n"), "{report}");
    assert!(
        report.contains("warn: some health checks cannot be excluded: no matches for \"none\"\n"),
        "{report}"
    );
    cluster.server.shutdown().await;
    let refused = cluster.get("/readyz").await;
    assert!(
        refused.text.contains("[-]shutdown failed: reason withheld\n"),
        "{refused:?}"
    );
    assert_eq!(
        cluster.get("/readyz/shutdown").await.text,
        "internal server error: process is shutting down\n"
    );
    assert_eq!(cluster.get("/livez").await.text, "ok");
}

#[tokio::test(start_paused = true)]
async fn metrics_count_what_was_asked_for() {
    let cluster = Cluster::start().await;
    for _ in 0..3 {
        cluster.get("/api/v1/namespaces/default/configmaps/none").await;
    }
    cluster.get("/api/v1/namespaces/default/madeup/none").await;
    let answer = cluster.get("/metrics").await;
    assert_eq!(
        answer.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let own = "group=\"\",resource=\"configmaps\",scope=\"resource\",subresource=\"\",verb=\"GET\",version=\"v1\"";
    let has = |line: &str| assert!(answer.text.lines().any(|own| own == line), "{line}\n{}", answer.text);
    has(&format!(
        "apiserver_request_total{{code=\"404\",component=\"apiserver\",dry_run=\"\",{own}}} 3"
    ));
    has(&format!(
        "apiserver_request_duration_seconds_count{{component=\"apiserver\",dry_run=\"\",{own}}} 3"
    ));
    has("apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1");
    has("apiserver_storage_objects{resource=\"namespaces\"} 4");
    assert!(
        !answer.text.contains("madeup"),
        "names that clients make up are not kept"
    );
}
