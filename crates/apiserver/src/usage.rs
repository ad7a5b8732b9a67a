//! `metrics.k8s.io`: what nodes and pods use, asked of the nodes when somebody asks for it.
//!
//! On other clusters an add-on, metrics-server, collects this and serves it behind the aggregation layer; an APIService that names such a
//! server takes the place of this one. Source: `k8s.io/metrics/pkg/apis/metrics/v1beta1`, `sigs.k8s.io/metrics-server`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Response, StatusCode};
use jiff::Timestamp;
use knarr_resource::Status;
use knarr_stream::backend::{NodeUsage, PodUsage, Used};
use serde_json::{Value, json};

use crate::http::request_info::RequestInfo;
use crate::http::{options, render};
use crate::refusal;
use crate::registry::{self, ListOptions, Request};
use crate::server::Server;
use crate::subresource::node::node_of;

pub(crate) const GROUP: &str = "metrics.k8s.io";

pub(crate) async fn answer(server: &Server, call: &RequestInfo) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    let of_pods = call.resource.namespaced;
    let objects = measured(server, call).await?;
    let nodes = objects.iter().map(|object| match of_pods {
        true => node_of(object).to_owned(),
        false => name(object).to_owned(),
    });
    let usage = ask(server, nodes.collect()).await;
    let mut items = objects.iter().filter_map(|object| match of_pods {
        true => pod_metrics(object, usage.get(node_of(object))?),
        false => Some(node_metrics(object, usage.get(name(object))?)),
    });
    if call.verb == "get" {
        let item = items.next().ok_or_else(|| not_found(call))?;
        return render::plain(form, StatusCode::OK, &head(item, call));
    }
    let list = json!({
        "kind": call.resource.list_kind, "apiVersion": call.resource.api_version(), "metadata": {},
        "items": items.collect::<Vec<_>>(),
    });
    render::plain(form, StatusCode::OK, &list)
}

/// The nodes or pods that are asked about.
async fn measured(server: &Server, call: &RequestInfo) -> Result<Vec<Value>, Status> {
    let resource = server.resource("", "v1", &call.resource.plural);
    let resource = resource.ok_or_else(|| refusal::internal("there are no nodes and no pods"))?;
    let request = Request {
        resource,
        ..call.request()
    };
    if call.verb == "get" {
        let found = registry::get(server, &request, None).await;
        return Ok(vec![found.map_err(|_| not_found(call))?.value()]);
    }
    let asked = options::list(call)?;
    let all = ListOptions {
        label_selector: asked.label_selector,
        field_selector: asked.field_selector,
        ..ListOptions::default()
    };
    let found = registry::list(server, &request, &all).await?;
    Ok(found.objects.iter().map(|object| object.value()).collect())
}

fn not_found(call: &RequestInfo) -> Status {
    Status::missing(GROUP, &call.resource.kind.to_lowercase(), &call.name)
}

/// Asks the nodes, all at once. One that does not answer is left out, as are its pods.
async fn ask(server: &Server, nodes: BTreeSet<String>) -> BTreeMap<String, Arc<NodeUsage>> {
    let asked = nodes.into_iter().filter_map(|node| {
        let backend = server.backend(&node)?;
        Some(async move { Some((node, Arc::new(backend.usage().await.ok()?))) })
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn head(mut item: Value, call: &RequestInfo) -> Value {
    item["kind"] = call.resource.kind.as_str().into();
    item["apiVersion"] = call.resource.api_version().into();
    item
}

/// An object's metrics but for what was measured.
fn metrics(object: &Value, at: Timestamp, window: Duration) -> Value {
    let mut metadata = json!({ "name": name(object), "creationTimestamp": seconds(at) });
    for key in ["namespace", "labels"] {
        if !object["metadata"][key].is_null() {
            metadata[key] = object["metadata"][key].clone();
        }
    }
    // As Go writes a duration that is rounded to thousandths of a second.
    let window = format!("{}s", window.as_millis() as f64 / 1e3);
    json!({ "metadata": metadata, "timestamp": seconds(at), "window": window })
}

fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn usage(used: &Used) -> Value {
    json!({ "cpu": format!("{}n", used.nano_cores), "memory": format!("{}Ki", used.memory_bytes / 1024) })
}

fn node_metrics(node: &Value, measured: &NodeUsage) -> Value {
    let mut metrics = metrics(node, measured.at, measured.window);
    metrics["usage"] = usage(&measured.node);
    metrics
}

/// `None` for a pod of which nothing runs.
fn pod_metrics(pod: &Value, measured: &NodeUsage) -> Option<Value> {
    let own = |one: &&PodUsage| pod["metadata"]["uid"] == one.pod.uid.as_str();
    let own = measured.pods.iter().find(own)?;
    let mut metrics = metrics(pod, measured.at, own.window);
    let containers = own.containers.iter();
    metrics["containers"] = containers
        .map(|(name, used)| json!({ "name": name, "usage": usage(used) }))
        .collect();
    Some(metrics)
}

#[cfg(test)]
mod tests {
    use knarr_stream::backend::PodRef;

    use super::*;

    #[test]
    fn metrics_are_the_measured_object_s_in_the_words_of_metrics_server() {
        let used = Used {
            nano_cores: 7_563_211,
            memory_bytes: 32_532 << 10,
        };
        let pod = json!({ "metadata": { "name": "web", "namespace": "shop", "uid": "u", "labels": { "app": "web" } } });
        let at: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let reference = PodRef {
            namespace: "shop".into(),
            name: "web".into(),
            uid: "u".into(),
        };
        let measured = NodeUsage {
            at,
            window: Duration::from_secs(30),
            node: used,
            pods: vec![PodUsage {
                pod: reference,
                window: Duration::from_millis(15_123),
                containers: vec![("c".into(), used)],
            }],
        };
        let usage = json!({ "cpu": "7563211n", "memory": "32532Ki" });
        assert_eq!(
            pod_metrics(&pod, &measured),
            Some(json!({
                "metadata": {
                    "name": "web", "namespace": "shop", "labels": { "app": "web" },
                    "creationTimestamp": "2026-01-02T03:04:05Z",
                },
                "timestamp": "2026-01-02T03:04:05Z", "window": "15.123s",
                "containers": [{ "name": "c", "usage": usage }],
            }))
        );
        let node = node_metrics(&json!({ "metadata": { "name": "n" } }), &measured);
        assert_eq!((&node["usage"], &node["window"]), (&usage, &json!("30s")));
        let other = json!({ "metadata": { "name": "web", "namespace": "shop", "uid": "another" } });
        assert_eq!(
            pod_metrics(&other, &measured),
            None,
            "a pod of the same name that is gone"
        );
    }
}
