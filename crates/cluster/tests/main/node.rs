//! Nodes that come and go, in virtual time.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use knarr_cluster::Cluster;
use knarr_cluster::node::{CUT, MACHINE};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::{simulated, within};

/// Looks every second until it is so.
async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            match look().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    };
    within(looking).await
}

async fn add(client: &Client, name: &str) {
    let node = json!({ "metadata": { "name": name, "annotations": { MACHINE: "processes" } } });
    let nodes: Api<Node> = Api::all(client.clone());
    let node = serde_json::from_value(node).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    ready(client, name, "True").await;
}

/// The node's condition `Ready`, once it has that status.
async fn ready(client: &Client, name: &str, status: &str) -> Value {
    let nodes: Api<Node> = Api::all(client.clone());
    until(async || {
        let node = nodes.get(name).await.ok()?;
        let conditions = node.status?.conditions?;
        let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready")?;
        (ready.status == status).then(|| serde_json::to_value(ready).unwrap())
    })
    .await
}

async fn cut(client: &Client, name: &str, cut: Option<&str>) {
    let patch = json!({ "metadata": { "annotations": { CUT: cut } } });
    let nodes: Api<Node> = Api::all(client.clone());
    nodes
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

fn template(labels: Value, spec: Value) -> Value {
    let mut whole = json!({ "containers": [{ "name": "c", "image": "nginx" }] });
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    json!({ "metadata": { "labels": labels }, "spec": whole })
}

async fn pod_on(pods: &Api<Pod>, labels: &str, node: &str) -> Pod {
    until(async || {
        let found = pods.list(&ListParams::default().labels(labels)).await.ok()?;
        let running = |pod: &Pod| pod.status.as_ref()?.phase.clone();
        found.items.into_iter().find(|pod| {
            pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node)
                && running(pod).as_deref() == Some("Running")
        })
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_node_comes_with_its_object_takes_a_daemon_and_goes_with_it() {
    let cluster = within(Cluster::start(simulated())).await.unwrap();
    within(cluster.ready()).await.unwrap();
    let client = cluster.client();
    add(&client, "worker").await;
    let labels = json!({ "app": "agent" });
    let daemons = json!({ "metadata": { "name": "agent" }, "spec": {
        "selector": { "matchLabels": labels }, "template": template(labels, json!({})),
    }});
    let sets: Api<DaemonSet> = Api::default_namespaced(client.clone());
    let daemons = serde_json::from_value(daemons).unwrap();
    sets.create(&PostParams::default(), &daemons).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pod_on(&pods, "app=agent", "knarr").await;
    let there = pod_on(&pods, "app=agent", "worker").await;
    let log = within(pods.logs(&there.name_any(), &kube::api::LogParams::default())).await;
    assert!(!log.unwrap().is_empty(), "its logs come from its node");

    let nodes: Api<Node> = Api::all(client);
    nodes.delete("worker", &DeleteParams::default()).await.unwrap();
    until(async || pods.get_opt(&there.name_any()).await.unwrap().is_none().then_some(())).await;
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert!(
        nodes.get_opt("worker").await.unwrap().is_none(),
        "nobody registers it again"
    );
    within(cluster.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_is_given_up_and_its_stateful_pod_is_replaced_when_it_is_known_to_be_gone() {
    let cluster = within(Cluster::start(simulated())).await.unwrap();
    within(cluster.ready()).await.unwrap();
    let client = cluster.client();
    add(&client, "worker").await;
    let labels = json!({ "app": "db" });
    let spec = json!({ "nodeSelector": { "kubernetes.io/hostname": "worker" } });
    let set = json!({ "metadata": { "name": "db" }, "spec": {
        "serviceName": "db", "replicas": 1, "selector": { "matchLabels": labels }, "template": template(labels, spec),
    }});
    let sets: Api<StatefulSet> = Api::default_namespaced(client.clone());
    let set = serde_json::from_value(set).unwrap();
    sets.create(&PostParams::default(), &set).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let first = pod_on(&pods, "app=db", "worker").await;

    cut(&client, "worker", Some("")).await;
    let condition = ready(&client, "worker", "Unknown").await;
    assert_eq!(condition["reason"], "NodeStatusUnknown");
    assert_eq!(condition["message"], "Kubelet stopped posting node status.");
    let log = pods.logs("db-0", &kube::api::LogParams::default()).await;
    assert!(log.is_err(), "nobody reaches it");
    let nodes: Api<Node> = Api::all(client.clone());
    let taints = nodes.get("worker").await.unwrap().spec.unwrap().taints.unwrap();
    let effects: Vec<&str> = taints
        .iter()
        .filter(|taint| taint.key == "node.kubernetes.io/unreachable")
        .map(|taint| taint.effect.as_str())
        .collect();
    assert_eq!(effects, ["NoSchedule", "NoExecute"]);
    until(async || {
        let condition = pods.get("db-0").await.ok()?.status?.conditions?;
        condition
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "False")
            .then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(
        pods.get("db-0").await.unwrap().metadata.deletion_timestamp,
        None,
        "it is tolerated"
    );
    tokio::time::sleep(Duration::from_secs(900)).await;
    let waiting = pods.get("db-0").await.unwrap();
    assert_eq!(waiting.uid(), first.uid(), "it may still run, so it is not replaced");
    assert!(waiting.metadata.deletion_timestamp.is_some(), "though it is to end");

    cut(&client, "worker", None).await;
    ready(&client, "worker", "True").await;
    let second = until(async || {
        let pod = pods.get_opt("db-0").await.unwrap()?;
        (pod.uid() != first.uid()).then_some(pod)
    })
    .await;

    // By force.
    cut(&client, "worker", Some("")).await;
    ready(&client, "worker", "Unknown").await;
    let force = DeleteParams::default().grace_period(0);
    pods.delete("db-0", &force).await.unwrap();
    let third = until(async || {
        let pod = pods.get_opt("db-0").await.unwrap()?;
        (pod.uid() != second.uid()).then_some(pod)
    })
    .await;
    assert_eq!(
        third.status.unwrap().phase.as_deref(),
        Some("Pending"),
        "there is no other node for it"
    );
    cut(&client, "worker", None).await;
    pod_on(&pods, "app=db", "worker").await;
    within(cluster.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn usage_is_told_by_the_metrics_api() {
    let cluster = within(Cluster::start(simulated())).await.unwrap();
    within(cluster.ready()).await.unwrap();
    let client = cluster.client();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let mut web = template(json!({ "app": "web" }), json!({}));
    web["metadata"]["name"] = "web".into();
    let web = serde_json::from_value(web).unwrap();
    pods.create(&PostParams::default(), &web).await.unwrap();
    pod_on(&pods, "app=web", "knarr").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let get = async |path: &str| {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        within(client.request::<Value>(request)).await
    };
    let path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";
    let list = get(&format!("{path}?labelSelector=app%3Dweb")).await.unwrap();
    let usage = &list["items"][0]["containers"][0];
    assert_eq!(usage["name"], "c");
    // What the simulation says of every container.
    assert_eq!(
        usage["usage"],
        json!({ "cpu": "1000000n", "memory": "8192Ki" }),
        "{list}"
    );
    assert_eq!(list["items"][0]["metadata"]["labels"]["app"], "web");
    let one = get(&format!("{path}/web")).await.unwrap();
    assert_eq!(
        (&one["kind"], &one["apiVersion"]),
        (&json!("PodMetrics"), &json!("metrics.k8s.io/v1beta1"))
    );
    let none = get(&format!("{path}?labelSelector=app%3Dother")).await.unwrap();
    assert_eq!(none["items"], json!([]));
    match get(&format!("{path}/absent")).await {
        Err(kube::Error::Api(status)) => {
            assert_eq!(status.message, "podmetrics.metrics.k8s.io \"absent\" not found");
        }
        other => panic!("{other:?}"),
    }
    let somebody = cluster.client_as("somebody", &["system:authenticated"]);
    let request = http::Request::get(path).body(Vec::new()).unwrap();
    assert!(somebody.request::<Value>(request).await.is_err(), "it takes a right");
    within(cluster.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn hollow_nodes_take_pods_through_their_states_and_tell_what_they_use() {
    let mut options = simulated();
    options.hollow = 3;
    let cluster = within(Cluster::start(options)).await.unwrap();
    within(cluster.ready()).await.unwrap();
    let client = cluster.client();
    for name in ["hollow-0", "hollow-1", "hollow-2"] {
        ready(&client, name, "True").await;
    }
    let labels = json!({ "app": "herd" });
    let mut template = template(labels.clone(), json!({ "nodeSelector": { "type": "hollow" } }));
    template["metadata"]["annotations"] = json!({ "hollow.knarr.dev/start": "5s", "hollow.knarr.dev/cpu": "250m" });
    let herd = json!({ "metadata": { "name": "herd" }, "spec": {
        "replicas": 30, "selector": { "matchLabels": labels }, "template": template,
    }});
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = Api::default_namespaced(client.clone());
    let herd = serde_json::from_value(herd).unwrap();
    deployments.create(&PostParams::default(), &herd).await.unwrap();
    let available = async || {
        let status = deployments.get("herd").await.ok()?.status?;
        (status.available_replicas == Some(30)).then_some(())
    };
    until(available).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let all = pods.list(&ListParams::default()).await.unwrap();
    let addresses: std::collections::BTreeSet<_> = all.iter().map(|pod| pod.status.clone().unwrap().pod_ip).collect();
    assert_eq!(addresses.len(), 30, "each has an address of its own");
    let request = http::Request::get("/apis/metrics.k8s.io/v1beta1/nodes?labelSelector=type%3Dhollow");
    let usage: Value = client.request(request.body(Vec::new()).unwrap()).await.unwrap();
    let nanos = |item: &Value| {
        item["usage"]["cpu"]
            .as_str()
            .unwrap()
            .trim_end_matches('n')
            .parse::<u64>()
            .unwrap()
    };
    let used: u64 = usage["items"].as_array().unwrap().iter().map(nanos).sum();
    assert_eq!(used, 30 * 250_000_000, "{usage}");

    // A whole node is lost and comes back.
    cut(&client, "hollow-1", Some("")).await;
    ready(&client, "hollow-1", "Unknown").await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    until(available).await;
    let ending = |list: kube::core::ObjectList<Pod>| {
        list.iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_some())
            .count()
    };
    assert_eq!(
        ending(pods.list(&ListParams::default()).await.unwrap()),
        10,
        "they stay until it is known that they are gone"
    );
    cut(&client, "hollow-1", None).await;
    ready(&client, "hollow-1", "True").await;
    until(async || (ending(pods.list(&ListParams::default()).await.ok()?) == 0).then_some(())).await;
    within(cluster.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn an_autoscaler_follows_what_hollow_pods_use() {
    let mut options = simulated();
    options.hollow = 1;
    let cluster = within(Cluster::start(options)).await.unwrap();
    within(cluster.ready()).await.unwrap();
    let client = cluster.client();
    ready(&client, "hollow-0", "True").await;
    let labels = json!({ "app": "web" });
    let mut template = template(labels.clone(), json!({ "nodeSelector": { "type": "hollow" } }));
    template["metadata"]["annotations"] = json!({ "hollow.knarr.dev/cpu": "150m" });
    template["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "100m" } });
    let web = json!({ "metadata": { "name": "web" }, "spec": {
        "replicas": 2, "selector": { "matchLabels": labels }, "template": template,
    }});
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = Api::default_namespaced(client.clone());
    let web = serde_json::from_value(web).unwrap();
    deployments.create(&PostParams::default(), &web).await.unwrap();
    let scaler = json!({ "metadata": { "name": "web" }, "spec": {
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
        "minReplicas": 1, "maxReplicas": 5,
        "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 50 } } }],
    }});
    let scalers: Api<k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler> =
        Api::default_namespaced(client.clone());
    let scaler = serde_json::from_value(scaler).unwrap();
    scalers.create(&PostParams::default(), &scaler).await.unwrap();
    // At three times what is wanted it goes as far as it may.
    until(async || (deployments.get("web").await.ok()?.spec.replicas == Some(5)).then_some(())).await;
    let calm = json!({ "spec": { "template": { "metadata": { "annotations": { "hollow.knarr.dev/cpu": "10m" } } } } });
    let parameters = PatchParams::default();
    deployments
        .patch("web", &parameters, &Patch::Merge(calm))
        .await
        .unwrap();
    until(async || (deployments.get("web").await.ok()?.spec.replicas == Some(1)).then_some(())).await;
    within(cluster.stop()).await;
}
