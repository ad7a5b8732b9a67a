use super::cluster::{CONFIGMAPS, Cluster, JSON, PODS, configmap, pod, send};
use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";

fn can(verb: &str, resource: &str) -> Value {
    json!({"spec": {"resourceAttributes": {"namespace": "default", "verb": verb, "resource": resource}}})
}

#[tokio::test(start_paused = true)]
async fn nobody_may_do_more_than_their_roles_say() {
    let cluster = Cluster::start().await;
    let jane = cluster.client_as("jane", &["developers"]);
    let list = send(&jane, Method::GET, PODS, &[], "").await;
    let message =
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert_eq!(list.failure(), (403, "Forbidden".into(), message.into()));
    let nodes = send(&jane, Method::DELETE, "/api/v1/nodes/n", &[], "")
        .await
        .failure()
        .2;
    assert_eq!(
        nodes,
        "nodes \"n\" is forbidden: User \"jane\" cannot delete resource \"nodes\" in API group \"\" at the cluster scope"
    );
    let path = send(&jane, Method::GET, "/metrics", &[], "").await.failure().2;
    assert_eq!(path, "forbidden: User \"jane\" cannot get path \"/metrics\"");

    let binding = json!({
        "metadata": {"name": "devs"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "developers"}],
    });
    cluster
        .post(&format!("{RBAC}/namespaces/default/rolebindings"), binding)
        .await
        .ok();
    send(&jane, Method::GET, PODS, &[], "").await.ok();
    assert_eq!(
        send(&jane, Method::POST, PODS, JSON, pod("a", json!({})).to_string())
            .await
            .code,
        201
    );
    assert_eq!(
        send(&jane, Method::GET, "/api/v1/pods", &[], "").await.failure().0,
        403,
        "only in the one namespace"
    );
    assert_eq!(
        send(&jane, Method::GET, "/api/v1/namespaces/kube-system/pods", &[], "")
            .await
            .failure()
            .0,
        403
    );
    cluster
        .delete(&format!("{RBAC}/namespaces/default/rolebindings/devs"), json!(null))
        .await
        .ok();
    assert_eq!(
        send(&jane, Method::GET, PODS, &[], "").await.failure().0,
        403,
        "it ends with the binding"
    );
}

#[tokio::test(start_paused = true)]
async fn a_role_can_be_limited_to_names_and_be_added_to() {
    let cluster = Cluster::start().await;
    let role = json!({"metadata": {"name": "one"}, "rules": [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"], "verbs": ["get", "update"]},
    ]});
    cluster
        .post(&format!("{RBAC}/namespaces/default/roles"), role)
        .await
        .ok();
    for (name, kind, role) in [("one", "Role", "one"), ("view", "ClusterRole", "view")] {
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
        });
        cluster
            .post(&format!("{RBAC}/namespaces/default/rolebindings"), binding)
            .await
            .ok();
    }
    for name in ["mine", "other"] {
        cluster.post(CONFIGMAPS, configmap(name, json!({}))).await.ok();
    }
    let one = cluster.client_as("system:serviceaccount:default:one", &[]);
    assert_eq!(
        send(&one, Method::GET, &format!("{CONFIGMAPS}/mine"), &[], "")
            .await
            .code,
        200
    );
    assert_eq!(
        send(&one, Method::GET, &format!("{CONFIGMAPS}/other"), &[], "")
            .await
            .code,
        403
    );
    assert_eq!(send(&one, Method::GET, CONFIGMAPS, &[], "").await.code, 403);

    let view = cluster.client_as("system:serviceaccount:default:view", &[]);
    assert_eq!(
        send(&view, Method::GET, "/api/v1/namespaces/default/secrets", &[], "")
            .await
            .code,
        403
    );
    let more = json!({
        "metadata": {"name": "more", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}],
    });
    cluster.post(&format!("{RBAC}/clusterroles"), more).await.ok();
    assert_eq!(
        send(&view, Method::GET, "/api/v1/namespaces/default/secrets", &[], "")
            .await
            .code,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_gives_away_rights_they_do_not_have() {
    let cluster = Cluster::start().await;
    let bind = |name: &str, role: &str, user: &str| {
        json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        })
    };
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    cluster.post(&bindings, bind("jane", "admin", "jane")).await.ok();
    let jane = cluster.client_as("jane", &[]);
    let post = |path: String, body: Value| {
        let jane = jane.clone();
        async move { send(&jane, Method::POST, &path, JSON, body.to_string()).await }
    };
    post(bindings.clone(), bind("bob", "edit", "bob")).await.ok();
    let (code, reason, message) = post(bindings.clone(), bind("root", "cluster-admin", "jane"))
        .await
        .failure();
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    assert!(
        message.starts_with(
            "rolebindings.rbac.authorization.k8s.io \"root\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{"
        ),
        "{message}"
    );
    let roles = format!("{RBAC}/namespaces/default/roles");
    let role = |resource: &str| json!({"metadata": {"name": resource}, "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]});
    post(roles.clone(), role("secrets")).await.ok();
    assert_eq!(post(roles.clone(), role("nodes")).await.failure().0, 403);
    let missing = post(bindings, bind("x", "nothing", "bob")).await.failure();
    assert_eq!((missing.0, missing.1.as_str()), (404, "NotFound"));
    let path = format!("{roles}/secrets");
    let more = json!([{"op": "add", "path": "/rules/0/verbs/-", "value": "escalate"}]);
    let media = [("content-type", "application/json-patch+json")];
    assert_eq!(
        send(&jane, Method::PATCH, &path, &media, more.to_string())
            .await
            .failure()
            .0,
        403
    );
    let label = json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]);
    send(&jane, Method::PATCH, &path, &media, label.to_string()).await.ok();
}

#[tokio::test(start_paused = true)]
async fn a_token_for_another_audience_opens_nothing_here() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let token = cluster.post(path, json!({"spec": {"audiences": ["vault"]}})).await.ok();
    let token = token["status"]["token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let refused = cluster
        .send(Method::GET, "/version", &[("authorization", &bearer)], "")
        .await;
    assert_eq!(refused.failure().0, 401);
    let review = |audiences: Value| {
        let spec = json!({"spec": {"token": token, "audiences": audiences}});
        let cluster = &cluster;
        async move {
            cluster
                .post("/apis/authentication.k8s.io/v1/tokenreviews", spec)
                .await
                .ok()["status"]
                .clone()
        }
    };
    assert_eq!(review(json!([])).await["authenticated"], false);
    let status = review(json!(["vault"])).await;
    assert_eq!(
        (&status["authenticated"], &status["audiences"]),
        (&json!(true), &json!(["vault"]))
    );
}

#[tokio::test(start_paused = true)]
async fn reviews_answer_who_may_do_what() {
    let cluster = Cluster::start().await;
    let path = format!("{REVIEWS}/selfsubjectaccessreviews");
    let answer = cluster.post(&path, can("delete", "pods")).await;
    assert_eq!((answer.code, &answer.ok()["status"]["allowed"]), (201, &json!(true)));
    let jane = cluster.client_as("jane", &["developers"]);
    let denied = send(&jane, Method::POST, &path, JSON, can("delete", "pods").to_string())
        .await
        .ok();
    assert_eq!(
        (&denied["kind"], &denied["status"]["allowed"]),
        (&json!("SelfSubjectAccessReview"), &json!(false))
    );
    let mut about = can("get", "pods");
    about["spec"]["user"] = json!("jane");
    about["spec"]["groups"] = json!(["system:masters"]);
    let allowed = cluster
        .post(&format!("{REVIEWS}/subjectaccessreviews"), about)
        .await
        .ok();
    assert_eq!(allowed["status"]["allowed"], true);
    let rules = json!({"spec": {"namespace": "default"}});
    let rules = send(
        &jane,
        Method::POST,
        &format!("{REVIEWS}/selfsubjectrulesreviews"),
        JSON,
        rules.to_string(),
    )
    .await
    .ok();
    let rules = rules["status"]["resourceRules"].to_string();
    assert!(
        rules.contains("selfsubjectaccessreviews") && !rules.contains("\"pods\""),
        "{rules}"
    );
    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let info = send(&jane, Method::POST, who, JSON, "{}").await.ok()["status"]["userInfo"].clone();
    assert_eq!(
        info,
        json!({"username": "jane", "groups": ["developers", "system:authenticated"]})
    );
}

#[tokio::test(start_paused = true)]
async fn impersonation_needs_a_right_for_every_part_of_the_identity() {
    let cluster = Cluster::start().await;
    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let headers = |more: &[(&'static str, &'static str)]| [JSON, more].concat();
    let as_jane = headers(&[
        ("impersonate-user", "jane"),
        ("impersonate-group", "a"),
        ("impersonate-extra-scopes", "x"),
    ]);
    let info = cluster.send(Method::POST, who, &as_jane, "{}").await.ok()["status"]["userInfo"].clone();
    let expected = json!({"username": "jane", "groups": ["a", "system:authenticated"], "extra": {"scopes": ["x"]}});
    assert_eq!(info, expected);
    let account = headers(&[("impersonate-user", "system:serviceaccount:ns:sa")]);
    let info = cluster.send(Method::POST, who, &account, "{}").await.ok()["status"]["userInfo"].clone();
    let groups = json!([
        "system:serviceaccounts",
        "system:serviceaccounts:ns",
        "system:authenticated"
    ]);
    assert_eq!(info["groups"], groups);
    let jane = cluster.client_as("jane", &[]);
    let refused = send(
        &jane,
        Method::POST,
        who,
        &headers(&[("impersonate-user", "root")]),
        "{}",
    )
    .await
    .failure();
    assert_eq!(refused.0, 403);
    assert!(
        refused
            .2
            .starts_with("users \"root\" is forbidden: User \"jane\" cannot impersonate resource \"users\""),
        "{refused:?}"
    );
    let orphan = cluster
        .send(Method::POST, who, &headers(&[("impersonate-group", "a")]), "{}")
        .await;
    assert_eq!(orphan.failure().0, 400);
}

/// The listener needs real sockets, so this test runs in real time.
#[tokio::test]
async fn tokens_say_who_comes_through_a_listener() {
    let cluster = Cluster::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let (server, stop) = (cluster.server.clone(), shutdown.clone());
    let serving = tokio::spawn(async move { server.serve_plain(listener, stop).await });
    let client = |token: Option<String>| {
        let mut config = kube::Config::new(format!("http://{address}").parse().unwrap());
        config.auth_info.token = token.map(Into::into);
        kube::Client::try_from(config).unwrap()
    };
    let who = |client: kube::Client| async move {
        send(
            &client,
            Method::POST,
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            JSON,
            "{}",
        )
        .await
    };
    let info = who(client(Some("secret-token".into()))).await.ok()["status"]["userInfo"].clone();
    assert_eq!(
        info,
        json!({"username": "jane", "groups": ["developers", "system:authenticated"]})
    );
    assert_eq!(
        who(client(Some("wrong".into()))).await.failure(),
        (401, "Unauthorized".into(), "Unauthorized".into())
    );
    let anonymous = client(None);
    assert_eq!(send(&anonymous, Method::GET, "/version", &[], "").await.code, 200);
    let refused = send(&anonymous, Method::GET, PODS, &[], "").await.failure();
    assert!(
        refused.0 == 403 && refused.2.contains("User \"system:anonymous\""),
        "{refused:?}"
    );

    // A service account's token works as long as the account, and the pod it is bound to.
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    cluster
        .post(accounts, json!({"metadata": {"name": "robot"}}))
        .await
        .ok();
    let mut own = pod("p", json!({}));
    own["spec"]["serviceAccountName"] = json!("robot");
    cluster.post(PODS, own).await.ok();
    let request =
        json!({"spec": {"expirationSeconds": 600, "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p"}}});
    let issued = cluster.post(&format!("{accounts}/robot/token"), request).await;
    assert_eq!(issued.code, 201);
    let token = issued.ok()["status"]["token"].as_str().unwrap().to_owned();
    let info = who(client(Some(token.clone()))).await.ok()["status"]["userInfo"].clone();
    assert_eq!(info["username"], "system:serviceaccount:default:robot");
    assert_eq!(info["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    cluster.delete(&format!("{PODS}/p"), json!(null)).await.ok();
    assert_eq!(who(client(Some(token))).await.code, 401);
    let short = cluster
        .post(
            &format!("{accounts}/robot/token"),
            json!({"spec": {"expirationSeconds": 5}}),
        )
        .await;
    assert_eq!(short.failure().0, 422);
    shutdown.cancel();
    serving.await.unwrap();
}

/// HTTP/2 needs a real socket here, so this test runs in real time.
#[tokio::test]
async fn over_http2_a_head_and_a_body_that_is_too_large_get_their_answers() {
    let cluster = Cluster::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let (server, stop) = (cluster.server.clone(), shutdown.clone());
    let serving = tokio::spawn(async move { server.serve_plain(listener, stop).await });
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build_http::<axum::body::Body>();
    let request = |method: Method, path: &str, body: Vec<u8>| {
        http::Request::builder()
            .method(method)
            .uri(format!("http://{address}{path}"))
            .header("authorization", "Bearer secret-token")
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body))
            .unwrap()
    };
    let refused = client.request(request(Method::HEAD, PODS, Vec::new())).await.unwrap();
    assert_eq!(refused.status(), 403);
    let body = http_body_util::BodyExt::collect(refused.into_body()).await.unwrap();
    assert!(body.to_bytes().is_empty());
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let large = request(Method::POST, reviews, vec![b' '; 8 << 20]);
    assert_eq!(client.request(large).await.unwrap().status(), 413);
    shutdown.cancel();
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_kubelet_reads_what_the_pods_of_its_node_need_and_nothing_else() {
    let cluster = Cluster::start().await;
    let kubelet = cluster.client_as("system:node:one", &["system:nodes"]);
    let secrets = "/api/v1/namespaces/default/secrets";
    for name in ["mine", "yours", "later"] {
        cluster.post(secrets, json!({"metadata": {"name": name}})).await.ok();
    }
    let on = |name: &str, node: &str, secret: &str| {
        let mut pod = pod(name, json!({}));
        pod["spec"]["nodeName"] = json!(node);
        pod["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": secret}}]);
        pod
    };
    cluster.post(PODS, on("a", "one", "mine")).await.ok();
    cluster.post(PODS, on("b", "two", "yours")).await.ok();
    let get = async |path: &str| send(&kubelet, Method::GET, path, &[], "").await;
    get(&format!("{secrets}/mine")).await.ok();
    get(&format!("{secrets}?fieldSelector=metadata.name%3Dmine")).await.ok();
    get(&format!("{PODS}/a")).await.ok();
    get("/api/v1/pods?fieldSelector=spec.nodeName%3Done").await.ok();
    let refused = "secrets \"yours\" is forbidden: User \"system:node:one\" cannot get resource \"secrets\" in API group \"\" in the namespace \"default\": no relationship found between node 'one' and this object";
    assert_eq!(
        get(&format!("{secrets}/yours")).await.failure(),
        (403, "Forbidden".into(), refused.into())
    );
    for path in [
        secrets,
        "/api/v1/secrets",
        "/api/v1/pods",
        "/api/v1/pods?fieldSelector=spec.nodeName%3Dtwo",
        &format!("{PODS}/b"),
        "/api/v1/nodes",
        "/api/v1/nodes/two",
    ] {
        assert_eq!(get(path).await.failure().0, 403, "{path}");
    }
    // The graph follows the pods.
    cluster.post(PODS, on("c", "one", "later")).await.ok();
    get(&format!("{secrets}/later")).await.ok();
    cluster
        .delete(&format!("{PODS}/a"), json!({"gracePeriodSeconds": 0}))
        .await
        .ok();
    assert_eq!(get(&format!("{secrets}/mine")).await.failure().0, 403);
}
