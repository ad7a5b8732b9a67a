use super::cluster::{CONFIGMAPS, Cluster, DEPLOYMENTS, EPOCH, JSON, PODS, configmap, deployment, pod};
use http::Method;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn a_new_object_is_stamped_and_defaulted() {
    let cluster = Cluster::start().await;
    let answer = cluster.post(PODS, pod("a", json!({"app": "x"}))).await;
    assert_eq!(answer.code, 201);
    let created = answer.ok();
    assert_eq!(
        (&created["kind"], &created["apiVersion"]),
        (&json!("Pod"), &json!("v1"))
    );
    let metadata = &created["metadata"];
    assert_eq!(metadata["creationTimestamp"], EPOCH);
    assert_eq!(metadata["namespace"], "default");
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert!(metadata["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(created["spec"]["restartPolicy"], "Always");
    assert_eq!(created["spec"]["securityContext"], json!({}));
    assert_eq!(created["status"]["phase"], "Pending");
    assert_eq!(cluster.get(&format!("{PODS}/a")).await.ok(), created);
    cluster.check().await;
}

#[tokio::test(start_paused = true)]
async fn refusals_are_worded_as_kubernetes_words_them() {
    let cluster = Cluster::start().await;
    cluster.post(CONFIGMAPS, configmap("a", json!({"k": "v"}))).await.ok();
    let get = |path: &str| (Method::GET, path.to_owned(), String::new());
    let other = |method: Method, path: &str, body: serde_json::Value| (method, path.to_owned(), body.to_string());
    let stale = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "1"}});
    let unknown = "the server could not find the requested resource";
    for ((method, path, body), code, reason, message) in [
        (get(&format!("{PODS}/x")), 404, "NotFound", "pods \"x\" not found"),
        (
            get(&format!("{DEPLOYMENTS}/x")),
            404,
            "NotFound",
            "deployments.apps \"x\" not found",
        ),
        (get("/api/v1/pods/x"), 404, "NotFound", unknown),
        (get(&format!("{PODS}/x/nothing")), 404, "NotFound", unknown),
        (
            other(Method::POST, CONFIGMAPS, configmap("a", json!({}))),
            409,
            "AlreadyExists",
            "configmaps \"a\" already exists",
        ),
        (
            other(Method::PUT, &format!("{CONFIGMAPS}/a"), stale),
            409,
            "Conflict",
            "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again",
        ),
        (
            other(Method::PUT, PODS, json!({})),
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
        (
            other(Method::POST, "/api/v1/configmaps", configmap("b", json!({}))),
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
        (
            other(
                Method::POST,
                CONFIGMAPS,
                json!({"metadata": {"name": "b", "namespace": "other"}}),
            ),
            400,
            "BadRequest",
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            other(Method::PUT, &format!("{CONFIGMAPS}/a"), configmap("b", json!({}))),
            400,
            "BadRequest",
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            other(
                Method::POST,
                CONFIGMAPS,
                json!({"apiVersion": "v2", "kind": "ConfigMap"}),
            ),
            400,
            "BadRequest",
            "the API version in the data (v2) does not match the expected API version (v1)",
        ),
        (
            other(
                Method::POST,
                "/api/v1/namespaces/none/configmaps",
                configmap("b", json!({})),
            ),
            404,
            "NotFound",
            "namespaces \"none\" not found",
        ),
    ] {
        let answer = cluster.send(method.clone(), &path, JSON, body).await;
        assert_eq!(
            answer.failure(),
            (code, reason.into(), message.into()),
            "{method} {path}"
        );
    }
    let details = cluster.get(&format!("{DEPLOYMENTS}/x")).await.json()["details"].clone();
    assert_eq!(details, json!({"name": "x", "group": "apps", "kind": "deployments"}));
}

#[tokio::test(start_paused = true)]
async fn bodies_come_in_many_forms_and_bad_ones_are_refused() {
    let cluster = Cluster::start().await;
    let json = configmap("a", json!({"k": "v"})).to_string();
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: NAME\ndata:\n  k: v\n";
    let send = |media: &'static str, body: String| {
        let cluster = &cluster;
        async move {
            let headers: &[(&str, &str)] = if media.is_empty() {
                &[]
            } else {
                &[("content-type", media)]
            };
            cluster.send(Method::POST, CONFIGMAPS, headers, body).await
        }
    };
    send("application/json", json).await.ok();
    send("application/yaml", yaml.replace("NAME", "b")).await.ok();
    send("", configmap("c", json!({})).to_string()).await.ok();
    send("", yaml.replace("NAME", "d")).await.ok();
    let (code, reason, message) = send("text/html", String::new()).await.failure();
    assert_eq!((code, reason.as_str()), (415, "UnsupportedMediaType"));
    assert!(message.starts_with("the body of the request was in an unknown format - accepted media types include:"));
    for body in ["", "{", "[]", "\"x\"", "{\"metadata\":", "null"] {
        assert_eq!(send("application/json", body.into()).await.failure().0, 400, "{body}");
    }
    let huge = format!("{{\"data\":{{\"k\":\"{}\"}}}}", "x".repeat(3 << 20));
    let (code, reason, _) = send("application/json", huge).await.failure();
    assert_eq!((code, reason.as_str()), (413, "RequestEntityTooLarge"));
}

#[tokio::test(start_paused = true)]
async fn typos_are_refused_warned_of_or_ignored() {
    let cluster = Cluster::start().await;
    let mut typo = pod("a", json!({}));
    typo["spec"]["contatiners"] = json!([]);
    typo["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80, "contatinerPort": 80}]);
    let answer = cluster
        .post(&format!("{PODS}?fieldValidation=Strict&dryRun=All"), typo.clone())
        .await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (400, "BadRequest"));
    assert!(
        message.starts_with("Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: "),
        "{message}"
    );
    for field in ["spec.contatiners", "spec.containers[0].ports[0].contatinerPort"] {
        assert!(message.contains(&format!("unknown field \"{field}\"")), "{message}");
    }
    let warned = cluster.post(&format!("{PODS}?dryRun=All"), typo.clone()).await;
    let warnings: Vec<_> = warned.headers.get_all("warning").iter().collect();
    assert!(
        warnings
            .iter()
            .any(|warning| *warning == "299 - \"unknown field \\\"spec.contatiners\\\"\""),
        "{warnings:?}"
    );
    assert!(warned.ok()["spec"].get("contatiners").is_none());
    let ignored = cluster
        .post(&format!("{PODS}?dryRun=All&fieldValidation=Ignore"), typo.clone())
        .await;
    assert!(ignored.code == 201 && !ignored.headers.contains_key("warning"));
    assert_eq!(
        cluster
            .post(&format!("{PODS}?fieldValidation=Maybe"), typo)
            .await
            .failure()
            .2,
        "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Maybe\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
    );
    let mut wrong = deployment("d");
    wrong["spec"]["replicas"] = json!("three");
    let message = cluster.post(DEPLOYMENTS, wrong).await.failure().2;
    assert!(
        message.contains("cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn invalid_objects_list_their_causes() {
    let cluster = Cluster::start().await;
    let mut bad = deployment("d");
    bad["spec"]["selector"]["matchLabels"]["app"] = json!("other");
    let answer = cluster.post(DEPLOYMENTS, bad).await;
    assert_eq!(answer.failure().0, 422);
    let status = answer.json();
    assert_eq!(status["reason"], "Invalid");
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .starts_with("Deployment.apps \"d\" is invalid: spec.template.metadata.labels: Invalid value:")
    );
    assert_eq!(status["details"]["causes"][0]["field"], "spec.template.metadata.labels");
    let nameless = cluster.post(CONFIGMAPS, json!({"metadata": {}})).await.failure();
    assert_eq!(
        nameless.2,
        "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required"
    );
}

#[tokio::test(start_paused = true)]
async fn generated_names_are_distinct() {
    let cluster = Cluster::start().await;
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let created = cluster
            .post(CONFIGMAPS, json!({"metadata": {"generateName": "x-"}}))
            .await
            .ok();
        let name = created["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("x-") && name.len() == 7, "{name}");
        assert_eq!(created["metadata"]["generateName"], "x-");
        names.insert(name);
    }
    assert_eq!(names.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_changes_nothing() {
    let cluster = Cluster::start().await;
    let created = cluster
        .post(&format!("{CONFIGMAPS}?dryRun=All"), configmap("a", json!({})))
        .await;
    assert_eq!(created.code, 201);
    assert!(created.ok()["metadata"].get("resourceVersion").is_none());
    assert_eq!(cluster.get(&format!("{CONFIGMAPS}/a")).await.code, 404);
    let before = cluster.post(CONFIGMAPS, configmap("a", json!({"k": "v"}))).await.ok();
    let again = cluster
        .post(&format!("{CONFIGMAPS}?dryRun=All"), configmap("a", json!({})))
        .await;
    assert_eq!(again.failure().1, "AlreadyExists");
    let path = format!("{CONFIGMAPS}/a?dryRun=All");
    assert_eq!(
        cluster.patch(&path, "merge", json!({"data": {"k": "w"}})).await.ok()["data"]["k"],
        "w"
    );
    cluster.delete(&path, json!(null)).await.ok();
    let body = json!({"dryRun": ["All"]});
    cluster.delete(&format!("{CONFIGMAPS}/a"), body).await.ok();
    assert_eq!(cluster.get(&format!("{CONFIGMAPS}/a")).await.ok(), before);
    assert_eq!(
        cluster
            .post(&format!("{CONFIGMAPS}?dryRun=Some"), configmap("b", json!({})))
            .await
            .failure(),
        (
            422,
            "Invalid".into(),
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\"".into()
        )
    );
}

#[tokio::test(start_paused = true)]
async fn the_options_of_a_write_have_rules() {
    let cluster = Cluster::start().await;
    cluster.post(CONFIGMAPS, configmap("a", json!({}))).await.ok();
    let long = "a".repeat(129);
    let path = format!("{CONFIGMAPS}/a");
    let created = cluster
        .post(&format!("{CONFIGMAPS}?fieldManager={long}"), configmap("b", json!({})))
        .await;
    let too_long = "CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than 128 bytes";
    assert_eq!(created.failure(), (422, "Invalid".into(), too_long.into()));
    assert_eq!(created.json()["details"]["causes"][0]["field"], "fieldManager");
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let applied = cluster
        .patch(&format!("{path}?fieldManager=a%0ab"), "apply", applied)
        .await;
    assert_eq!(
        applied.failure().2,
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"a\\nb\": invalid character U+000A (at position 1)"
    );
    let updated = cluster
        .put(&format!("{path}?fieldManager={long}"), configmap("a", json!({})))
        .await;
    assert!(updated.failure().2.starts_with("UpdateOptions.meta.k8s.io"));
    let forced = cluster.patch(&format!("{path}?force=true"), "merge", json!({})).await;
    assert_eq!(
        forced.failure().2,
        "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch"
    );
    let deleted = cluster.delete(&format!("{path}?dryRun=foo"), json!(null)).await;
    assert!(
        deleted
            .failure()
            .2
            .starts_with("DeleteOptions.meta.k8s.io \"\" is invalid: dryRun")
    );
    let orphan = cluster.delete(&path, json!({"propagationPolicy": "Never"})).await;
    assert_eq!(orphan.failure().0, 422);
    cluster.get(&path).await.ok();
}

#[tokio::test(start_paused = true)]
async fn a_deletion_with_the_body_of_something_else_deletes_nothing() {
    let cluster = Cluster::start().await;
    cluster.post(CONFIGMAPS, configmap("a", json!({}))).await.ok();
    let path = format!("{CONFIGMAPS}/a");
    for body in [
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}}),
        json!({"kind": "Foo", "apiVersion": "v1"}),
        json!({"kind": "DeleteOptions", "apiVersion": "nope/v1"}),
    ] {
        assert_eq!(cluster.delete(&path, body.clone()).await.failure().0, 400, "{body}");
        assert_eq!(cluster.delete(CONFIGMAPS, body).await.failure().0, 400);
    }
    cluster.get(&path).await.ok();
    let options = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
    cluster.delete(&path, options).await.ok();
}

#[tokio::test(start_paused = true)]
async fn a_named_object_is_got_whatever_watch_says() {
    let cluster = Cluster::start().await;
    cluster.post(CONFIGMAPS, configmap("a", json!({}))).await.ok();
    let got = cluster.get(&format!("{CONFIGMAPS}/a?watch=1")).await.ok();
    assert_eq!(got["kind"], "ConfigMap");
}

#[tokio::test(start_paused = true)]
async fn an_update_that_changes_nothing_is_no_write() {
    let cluster = Cluster::start().await;
    let created = cluster.post(DEPLOYMENTS, deployment("d")).await.ok();
    assert_eq!(created["metadata"]["generation"], 1);
    let path = format!("{DEPLOYMENTS}/d");
    assert_eq!(cluster.put(&path, created.clone()).await.ok(), created);
    assert_eq!(
        cluster
            .patch(&path, "merge", json!({"spec": {"replicas": 2}}))
            .await
            .ok()["metadata"]["resourceVersion"],
        created["metadata"]["resourceVersion"]
    );
    let scaled = cluster
        .patch(&path, "merge", json!({"spec": {"replicas": 3}}))
        .await
        .ok();
    assert_eq!(scaled["metadata"]["generation"], 2);
    assert_ne!(
        scaled["metadata"]["resourceVersion"],
        created["metadata"]["resourceVersion"]
    );
    let labelled = cluster
        .patch(&path, "merge", json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .ok();
    assert_eq!(labelled["metadata"]["generation"], 2);
}

#[tokio::test(start_paused = true)]
async fn of_two_updates_based_on_the_same_version_one_wins() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin.clone(), "default");
    let map: ConfigMap = serde_json::from_value(configmap("a", json!({"n": "0"}))).unwrap();
    let first = maps.create(&PostParams::default(), &map).await.unwrap();
    let mut other = first.clone();
    other.data = Some([("n".to_owned(), "1".to_owned())].into());
    maps.replace("a", &PostParams::default(), &other).await.unwrap();
    let error = maps.replace("a", &PostParams::default(), &other).await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict"));
}

#[tokio::test(start_paused = true)]
async fn patches_that_run_at_the_same_time_all_count() {
    let cluster = Cluster::start().await;
    cluster.post(CONFIGMAPS, configmap("a", json!({}))).await.ok();
    let path = format!("{CONFIGMAPS}/a");
    let patches = (0..30).map(|n| cluster.patch(&path, "merge", json!({"data": {format!("k{n}"): "v"}})));
    for answer in futures::future::join_all(patches).await {
        answer.ok();
    }
    assert_eq!(cluster.get(&path).await.ok()["data"].as_object().unwrap().len(), 30);
    cluster.check().await;
}

#[tokio::test(start_paused = true)]
async fn services_never_share_an_address_or_a_port() {
    let cluster = Cluster::start().await;
    let services: Api<Service> = Api::namespaced(cluster.admin.clone(), "default");
    let create = |n: usize| {
        let service = json!({
            "metadata": {"name": format!("s{n}")},
            "spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80}]},
        });
        let services = services.clone();
        async move {
            let service: Service = serde_json::from_value(service).unwrap();
            services.create(&PostParams::default(), &service).await.unwrap()
        }
    };
    let created = futures::future::join_all((0..25).map(create)).await;
    let mut ips: Vec<_> = created
        .iter()
        .map(|service| service.spec.clone().unwrap().cluster_ip.unwrap())
        .collect();
    let mut ports: Vec<_> = created
        .iter()
        .map(|service| service.spec.clone().unwrap().ports.unwrap()[0].node_port.unwrap())
        .collect();
    ips.sort();
    ips.dedup();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!((ips.len(), ports.len()), (25, 25));
    assert!(
        !ips.contains(&"10.96.0.1".to_owned()),
        "it belongs to the kubernetes Service"
    );
    let kubernetes = services.get("kubernetes").await.unwrap().spec.unwrap();
    assert_eq!(kubernetes.cluster_ip.as_deref(), Some("10.96.0.1"));
}

#[tokio::test(start_paused = true)]
async fn an_event_is_the_same_in_both_of_its_groups() {
    let cluster = Cluster::start().await;
    let old = "/api/v1/namespaces/default/events";
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    let event = json!({
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Started", "message": "hello", "type": "Normal", "source": {"component": "kubelet"},
        "firstTimestamp": EPOCH, "lastTimestamp": EPOCH, "count": 2,
    });
    cluster.post(old, event).await.ok();
    let seen = cluster.get(&format!("{new}/e")).await.ok();
    assert_eq!(
        (&seen["apiVersion"], &seen["note"]),
        (&json!("events.k8s.io/v1"), &json!("hello"))
    );
    assert_eq!(
        (&seen["regarding"]["name"], &seen["deprecatedCount"]),
        (&json!("p"), &json!(2))
    );
    assert!(seen.get("message").is_none());
    let listed = cluster
        .get(&format!("{new}?fieldSelector=regarding.name%3Dp"))
        .await
        .ok();
    assert_eq!(listed["items"][0]["note"], "hello");
    let patched = cluster
        .patch(&format!("{new}/e"), "merge", json!({"deprecatedCount": 3}))
        .await
        .ok();
    assert_eq!(patched["deprecatedCount"], 3);
    let back = cluster
        .get(&format!("{old}?fieldSelector=involvedObject.name%3Dp"))
        .await
        .ok();
    assert_eq!(
        (&back["items"][0]["count"], &back["items"][0]["message"]),
        (&json!(3), &json!("hello"))
    );
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for path in [old, new] {
        let table = cluster.send(Method::GET, path, &[("accept", table)], "").await.ok();
        assert!(
            table["rows"][0]["cells"].to_string().contains("hello"),
            "{path}: {table}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn responses_come_in_the_form_asked_for() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("a", json!({"app": "x"}))).await.ok();
    let path = format!("{PODS}/a");
    let get = |accept: &'static str, query: &str| {
        let (cluster, path) = (&cluster, format!("{path}{query}"));
        async move { cluster.send(Method::GET, &path, &[("accept", accept)], "").await }
    };
    let yaml = get("application/yaml", "").await;
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    assert!(yaml.text.starts_with("kind: Pod\napiVersion: v1\n"), "{}", yaml.text);
    let table = get("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "")
        .await
        .ok();
    assert_eq!(
        (&table["kind"], &table["apiVersion"]),
        (&json!("Table"), &json!("meta.k8s.io/v1"))
    );
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let bare = get("application/json;as=Table;v=v1;g=meta.k8s.io", "?includeObject=None")
        .await
        .ok();
    assert!(bare["rows"][0].get("object").is_none());
    let full = get(
        "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
        "?includeObject=Object",
    )
    .await
    .ok();
    assert_eq!(
        (&full["apiVersion"], &full["rows"][0]["object"]["kind"]),
        (&json!("meta.k8s.io/v1beta1"), &json!("Pod"))
    );
    let partial = get("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "")
        .await
        .ok();
    assert_eq!(partial["metadata"]["labels"], json!({"app": "x"}));
    assert!(partial.get("spec").is_none());
    let (code, reason, message) = get("application/cbor", "").await.failure();
    assert_eq!((code, reason.as_str()), (406, "NotAcceptable"));
    assert!(message.starts_with("only the following media types are accepted: application/json"));
    assert!(
        get("application/json", "?pretty=true")
            .await
            .text
            .contains("\n  \"kind\": \"Pod\"")
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_made_right_after_its_namespace_waits_for_the_account_it_needs() {
    let cluster = Cluster::start().await;
    let made = cluster
        .post("/api/v1/namespaces", json!({"metadata": {"name": "new"}}))
        .await;
    made.ok();
    let pods = "/api/v1/namespaces/new/pods";
    let controller = async {
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        let account = json!({"metadata": {"name": "default"}});
        cluster
            .post("/api/v1/namespaces/new/serviceaccounts", account)
            .await
            .ok();
    };
    let (answer, ()) = tokio::join!(cluster.post(pods, pod("p", json!({}))), controller);
    assert_eq!(answer.ok()["spec"]["serviceAccountName"], "default");

    // Nobody else is waited for, and nobody for ever.
    let mut other = pod("q", json!({}));
    other["spec"]["serviceAccountName"] = "robot".into();
    let started = tokio::time::Instant::now();
    let (code, _, message) = cluster.post(pods, other).await.failure();
    assert_eq!(
        (code, message.as_str()),
        (
            403,
            "pods \"q\" is forbidden: error looking up service account new/robot: serviceaccount \"robot\" not found"
        )
    );
    assert_eq!(started.elapsed(), std::time::Duration::ZERO);
    cluster
        .delete("/api/v1/namespaces/new/serviceaccounts/default", json!(null))
        .await
        .ok();
    let (code, _, _) = cluster.post(pods, pod("r", json!({}))).await.failure();
    assert_eq!((code, started.elapsed()), (403, std::time::Duration::from_millis(1500)));
}

#[tokio::test(start_paused = true)]
async fn what_no_cluster_can_be_without_comes_back() {
    let cluster = Cluster::start().await;
    let services = "/api/v1/namespaces/default/services";
    let original = cluster.get(&format!("{services}/kubernetes")).await.ok();
    for path in [
        format!("{services}/kubernetes"),
        "/api/v1/namespaces/default/endpoints/kubernetes".into(),
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes".into(),
    ] {
        let before = cluster.get(&path).await.ok();
        cluster.delete(&path, json!(null)).await.ok();
        // Time passes only when nobody has anything left to do.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        let after = cluster.get(&path).await.ok();
        assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"], "{path}");
        assert_eq!(after["subsets"], before["subsets"]);
    }
    let again = cluster.get(&format!("{services}/kubernetes")).await.ok();
    assert_eq!(again["spec"]["clusterIP"], original["spec"]["clusterIP"]);
    cluster.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_replacement_says_its_own_name() {
    let cluster = Cluster::start().await;
    let path = format!("{CONFIGMAPS}/c");
    cluster.post(CONFIGMAPS, configmap("c", json!({"a": "b"}))).await.ok();
    let mut nameless = configmap("", json!({"a": "c"}));
    let (code, _, message) = cluster.put(&path, nameless.clone()).await.failure();
    assert_eq!(
        (code, message.as_str()),
        (
            400,
            "the name of the object (c based on URL) was undeterminable: name must be provided"
        )
    );
    nameless["metadata"]["name"] = "c".into();
    let replaced = cluster.put(&path, nameless).await.ok();
    assert_eq!(
        replaced["metadata"]["managedFields"][0]["manager"], "knarr",
        "{replaced}"
    );
}

#[tokio::test(start_paused = true)]
async fn bodies_that_cannot_be_read_are_described_in_the_words_of_go() {
    let cluster = Cluster::start().await;
    cluster.post(CONFIGMAPS, configmap("a", json!({}))).await.ok();
    let path = format!("{CONFIGMAPS}/a");
    let bad = cluster.send(Method::POST, CONFIGMAPS, JSON, "foo").await.failure().2;
    assert_eq!(
        bad,
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character 'o' in literal false (expecting 'a') (666f6f)"
    );
    let empty = cluster.send(Method::POST, CONFIGMAPS, JSON, "").await.failure().2;
    assert!(empty.ends_with("unexpected end of JSON input (<empty>)"), "{empty}");
    let patch = cluster.patch(&path, "json", json!({})).await.failure().2;
    assert_eq!(
        patch,
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
    );
    let other = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}});
    let applied = cluster
        .patch(&format!("{path}?fieldManager=m"), "apply", other)
        .await
        .failure()
        .2;
    assert_eq!(applied, "invalid object type: apps/v1, Kind=Deployment");
    let alone = cluster
        .send(Method::GET, &path, &[("impersonate-group", "devs")], "")
        .await
        .failure();
    assert_eq!(
        (alone.0, alone.2.as_str()),
        (400, "requested [{Group  devs    }] without impersonating a user")
    );
}
