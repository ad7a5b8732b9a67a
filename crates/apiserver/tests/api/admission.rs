//! The plugins that are compiled in, as clients meet them.

use http::Method;
use knarr_apiserver::{Level, Options, PodSecurity};
use serde_json::{Value, json};

use super::cluster::{Answer, Cluster, DEPLOYMENTS, JSON, PODS, deployment, options, pod, send};

fn strict() -> Options {
    Options {
        pod_security: PodSecurity {
            enforce: Level::Baseline,
            exempt_namespaces: vec!["kube-system".into()],
        },
        ..options(None)
    }
}

fn warnings(answer: &Answer) -> Vec<String> {
    let values = answer.headers.get_all("warning").iter();
    values
        .map(|value| {
            let text = value.to_str().expect("text");
            let quoted = text.strip_prefix("299 - \"").and_then(|text| text.strip_suffix('"'));
            quoted.expect("a warning").replace("\\\"", "\"")
        })
        .collect()
}

fn reaching(name: &str) -> Value {
    let mut pod = pod(name, json!({}));
    pod["spec"]["hostPID"] = json!(true);
    pod
}

#[tokio::test(start_paused = true)]
async fn the_namespace_says_what_its_pods_may_do() {
    let cluster = Cluster::with(strict()).await;
    let refused = cluster.post(PODS, reaching("a")).await.failure();
    assert_eq!(
        refused,
        (
            403,
            "Forbidden".into(),
            "pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)".into()
        )
    );
    cluster.post(PODS, pod("a", json!({}))).await.ok();
    let mut template = deployment("d");
    template["spec"]["template"]["spec"]["hostPID"] = json!(true);
    assert!(warnings(&cluster.post(DEPLOYMENTS, template.clone()).await).is_empty());

    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
    let labelled = cluster.patch("/api/v1/namespaces/default", "merge", label).await;
    labelled.ok();
    cluster.post(PODS, reaching("b")).await.ok();
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let labelled = cluster.patch("/api/v1/namespaces/default", "merge", label).await;
    assert_eq!(
        warnings(&labelled),
        [
            "existing pods in namespace \"default\" violate the new PodSecurity enforce level \"restricted:latest\"",
            "a: allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile",
            "b: host namespaces, allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile",
        ]
    );
    template["metadata"]["name"] = json!("e");
    let warned = warnings(&cluster.post(DEPLOYMENTS, template).await);
    assert!(warned[0].starts_with("would violate PodSecurity \"restricted:latest\": host namespaces (hostPID=true), "));
    // What runs already goes on, and can be changed where nothing new would run.
    let touched = json!({"metadata": {"labels": {"x": "y"}}});
    cluster.patch(&format!("{PODS}/b"), "merge", touched).await.ok();
    let image = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "other"}]);
    assert_eq!(
        cluster.patch(&format!("{PODS}/b"), "json", image).await.failure().0,
        403
    );
    let bad = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "strict"}}});
    let refused = cluster
        .patch("/api/v1/namespaces/default", "merge", bad)
        .await
        .failure();
    assert_eq!((refused.0, refused.1.as_str()), (422, "Invalid"));
}

#[tokio::test(start_paused = true)]
async fn limit_ranges_fill_in_and_refuse() {
    let cluster = Cluster::start().await;
    let range = json!({"metadata": {"name": "limits"}, "spec": {"limits": [
        {"type": "Container", "max": {"cpu": "1"}, "defaultRequest": {"cpu": "100m"}},
    ]}});
    let made = cluster.post("/api/v1/namespaces/default/limitranges", range).await.ok();
    assert_eq!(made["spec"]["limits"][0]["default"], json!({"cpu": "1"}));
    let filled = cluster.post(PODS, pod("a", json!({}))).await.ok();
    assert_eq!(
        filled["spec"]["containers"][0]["resources"],
        json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}})
    );
    assert_eq!(filled["status"]["qosClass"], "Burstable");
    // What admission put in belongs to nobody.
    assert!(
        !filled["metadata"]["managedFields"]
            .to_string()
            .contains("f:resources\":{\"f:limits")
    );
    let mut greedy = pod("b", json!({}));
    greedy["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "2"}, "requests": {"cpu": "2"}});
    assert_eq!(
        cluster.post(PODS, greedy).await.failure().2,
        "pods \"b\" is forbidden: maximum cpu usage per Container is 1, but limit is 2"
    );
}

#[tokio::test(start_paused = true)]
async fn mistakes_of_the_object_are_told_before_those_of_policy() {
    let cluster = Cluster::with(strict()).await;
    let mut wrong = reaching("a");
    wrong["spec"]["containers"][0]["name"] = json!("Not A Name");
    assert_eq!(cluster.post(PODS, wrong).await.failure().0, 422);
}

#[tokio::test(start_paused = true)]
async fn a_kubelet_keeps_to_its_node() {
    let cluster = Cluster::start().await;
    let kubelet = cluster.client_as("system:node:n", &["system:nodes"]);
    let node = json!({"metadata": {"name": "n"}});
    let made = send(&kubelet, Method::POST, "/api/v1/nodes", JSON, node.to_string())
        .await
        .ok();
    assert_eq!(
        made["spec"]["taints"],
        json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])
    );
    let other = json!({"metadata": {"name": "m"}});
    let refused = send(&kubelet, Method::POST, "/api/v1/nodes", JSON, other.to_string())
        .await
        .failure();
    assert_eq!(
        refused.2,
        "nodes \"m\" is forbidden: node \"n\" is not allowed to modify node \"m\""
    );
    let pod = pod("a", json!({})).to_string();
    let refused = send(&kubelet, Method::POST, PODS, JSON, pod).await.failure();
    assert_eq!(
        refused.2,
        "pods \"a\" is forbidden: pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n\" can only create mirror pods"
    );
    // What a new object is called admission sees, the authorizer does not.
    let lease = json!({"metadata": {"name": "m"}}).to_string();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let refused = send(&kubelet, Method::POST, leases, JSON, lease).await.failure();
    assert!(
        refused
            .2
            .ends_with("can only access node lease with the same name as the requesting node"),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn bindings_leave_a_trace_of_who_bound() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("a", json!({}))).await.ok();
    let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}});
    let path = format!("{PODS}/a/binding?fieldManager=scheduler");
    cluster.post(&path, binding).await.ok();
    let bound = cluster.get(&format!("{PODS}/a")).await.ok();
    assert_eq!(bound["spec"]["nodeName"], "n");
    let owners = bound["metadata"]["managedFields"].as_array().expect("managed fields");
    let scheduler = owners
        .iter()
        .find(|own| own["manager"] == "scheduler")
        .expect("the scheduler owns something");
    assert!(scheduler["fieldsV1"].to_string().contains("f:nodeName"), "{scheduler}");
    assert_eq!(scheduler["subresource"], "binding");
}

#[tokio::test(start_paused = true)]
async fn what_is_unwise_is_warned_of() {
    let cluster = Cluster::start().await;
    let mut unwise = pod("a", json!({}));
    unwise["spec"]["nodeSelector"] = json!({"beta.kubernetes.io/os": "linux"});
    unwise["spec"]["volumes"] = json!([{"name": "v", "gitRepo": {"repository": "https://example.com"}}]);
    unwise["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
    let made = cluster.post(PODS, unwise).await;
    made.ok();
    assert_eq!(
        warnings(&made),
        [
            "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
            "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
        ]
    );
    let endpoints = cluster.get("/api/v1/namespaces/default/endpoints").await;
    assert_eq!(
        warnings(&endpoints),
        ["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"]
    );
}

#[tokio::test(start_paused = true)]
async fn aggregated_roles_show_what_they_allow() {
    let cluster = Cluster::start().await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let role = |name: &str, labels: Value, rest: Value| {
        let mut role = rest;
        role["metadata"] = json!({"name": name, "labels": labels});
        role
    };
    let rules = json!([{"apiGroups": ["x"], "resources": ["ys"], "verbs": ["get"]}]);
    let expressions = json!([{"key": "team", "operator": "In", "values": ["a", "b"]}]);
    let selectors = json!([{"matchLabels": {"to": "all"}, "matchExpressions": expressions}]);
    cluster
        .post(
            roles,
            role(
                "all",
                json!({}),
                json!({"aggregationRule": {"clusterRoleSelectors": selectors}}),
            ),
        )
        .await
        .ok();
    cluster
        .post(
            roles,
            role(
                "one",
                json!({"to": "all"}),
                json!({"rules": [{"apiGroups": ["z"], "resources": ["zs"], "verbs": ["get"]}]}),
            ),
        )
        .await
        .ok();
    cluster
        .post(
            roles,
            role("two", json!({"to": "all", "team": "a"}), json!({"rules": rules})),
        )
        .await
        .ok();
    let filled = async {
        loop {
            let role = cluster.get(&format!("{roles}/all")).await.ok();
            if role["rules"] == rules {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    filled.await;
    // What is added to view reaches edit and admin.
    let to_view = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    cluster
        .post(roles, role("three", to_view, json!({"rules": rules})))
        .await
        .ok();
    for name in ["view", "edit", "admin"] {
        loop {
            let role = cluster.get(&format!("{roles}/{name}")).await.ok();
            let own = role["rules"].as_array().expect("rules");
            if own.contains(&rules[0]) {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}
