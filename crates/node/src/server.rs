//! What the kubelet's own HTTP server answers, by way of the API server: `/api/v1/nodes/NAME/proxy/...`.
//!
//! <https://kubernetes.io/docs/reference/instrumentation/node-metrics/>, and `k8s.io/kubelet/pkg/apis/stats/v1alpha1` for the summary.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use knarr_runtime::Usage;
use knarr_stream::backend::{BackendError, NodeAnswer};
use serde_json::{Value, json};

use crate::context::Context;
use crate::node;

/// Rates from samples closer together than this would be noise.
const CLOSE: f64 = 0.05;

/// What containers used when somebody asked last, for rates.
#[derive(Default)]
pub(crate) struct Samples(Mutex<HashMap<String, (Timestamp, u64)>>);

impl Samples {
    /// Billionths of a core used since the last sample; since `started`, when this is the first.
    fn rate(&self, id: &str, now: Timestamp, started: Timestamp, cpu_nanos: u64) -> u64 {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, before) = samples.get(id).copied().unwrap_or((started, 0));
        let seconds = now.duration_since(since).as_secs_f64();
        if seconds < CLOSE {
            return 0;
        }
        samples.insert(id.to_owned(), (now, cpu_nanos));
        (cpu_nanos.saturating_sub(before) as f64 / seconds) as u64
    }

    fn keep(&self, living: &[Measured]) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.retain(|id, _| id == NODE || living.iter().any(|one| one.id == *id));
    }
}

/// The node's own sample.
const NODE: &str = "node";

/// A running container and what it uses.
struct Measured {
    pod: std::sync::Arc<Pod>,
    container: String,
    id: String,
    since: Timestamp,
    usage: Usage,
}

/// Answers one request.
pub(crate) async fn answer(cx: &Context, path: &str) -> Result<NodeAnswer, BackendError> {
    match path.trim_end_matches('/') {
        "/healthz" | "/healthz/ping" | "/healthz/log" | "/healthz/syncloop" => match &cx.runtime.status().borrow().down
        {
            None => Ok(text("ok".into())),
            Some(why) => Err(BackendError::Internal(format!("container runtime is down: {why}\n"))),
        },
        "/pods" => Ok(json_answer(&pods(cx))),
        "/runningpods" => Ok(json_answer(&running_pods(cx))),
        "/configz" => Ok(json_answer(&config(cx))),
        "/stats/summary" => Ok(json_answer(&summary(cx).await)),
        "/metrics" => Ok(metrics_answer(metrics(cx))),
        "/metrics/resource" => Ok(metrics_answer(resource_metrics(cx).await)),
        _ => Err(BackendError::NotFound("404 page not found\n".into())),
    }
}

fn text(body: String) -> NodeAnswer {
    NodeAnswer {
        content_type: "text/plain; charset=utf-8",
        body: body.into(),
    }
}

fn metrics_answer(body: String) -> NodeAnswer {
    NodeAnswer {
        content_type: "text/plain; version=0.0.4; charset=utf-8",
        body: body.into(),
    }
}

fn json_answer(value: &Value) -> NodeAnswer {
    NodeAnswer {
        content_type: "application/json",
        body: value.to_string().into(),
    }
}

fn list(items: Vec<Value>) -> Value {
    json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items })
}

fn pods(cx: &Context) -> Value {
    let pods = cx.pods.entries().into_iter().filter_map(|entry| {
        let desired = entry.desired.borrow();
        let pod = desired.api.as_ref().or(desired.pod.as_ref())?;
        serde_json::to_value(pod.as_ref()).ok()
    });
    list(pods.collect())
}

fn running_pods(cx: &Context) -> Value {
    let pods = cx.pods.entries().into_iter().filter_map(|entry| {
        let desired = entry.desired.borrow();
        let pod = desired.pod.as_ref()?;
        let spec = pod.spec.as_ref()?;
        let running: Vec<String> = entry.look(|live| {
            let containers = live.containers.iter().filter(|(_, shown)| shown.instance.is_some());
            containers.map(|(name, _)| name.clone()).collect()
        });
        let containers = spec
            .containers
            .iter()
            .filter(|container| running.contains(&container.name));
        let containers: Vec<Value> = containers
            .map(|container| json!({ "name": container.name, "image": container.image, "resources": {} }))
            .collect();
        let meta = &pod.metadata;
        (!containers.is_empty()).then(|| {
            json!({
                "metadata": { "name": meta.name, "namespace": meta.namespace, "uid": meta.uid },
                "spec": { "containers": containers },
                "status": {},
            })
        })
    });
    list(pods.collect())
}

/// The settings that there are here, by their names in `KubeletConfiguration`.
fn config(cx: &Context) -> Value {
    let options = &cx.options;
    let dns: Vec<String> = options.cluster_dns.iter().map(ToString::to_string).collect();
    json!({ "kubeletconfig": {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "clusterDNS": dns,
        "clusterDomain": options.cluster_domain,
        "staticPodPath": options.manifest_dir,
        "fileCheckFrequency": "20s",
        "syncFrequency": "1m0s",
        "nodeStatusReportFrequency": "5m0s",
        "nodeLeaseDurationSeconds": 40,
        "maxPods": cx.capacity.pods,
        "containerLogMaxSize": "10Mi",
        "enableDebuggingHandlers": true,
    } })
}

async fn measure(cx: &Context) -> Vec<Measured> {
    let mut running = Vec::new();
    for entry in cx.pods.entries() {
        let pod = {
            let desired = entry.desired.borrow();
            desired.api.clone().or_else(|| desired.pod.clone())
        };
        let Some(pod) = pod else { continue };
        let instances: Vec<_> = entry.look(|live| {
            let containers = live.containers.iter();
            containers
                .filter_map(|(name, shown)| Some((name.clone(), shown.instance.clone()?)))
                .collect()
        });
        for (container, instance) in instances {
            // One that has just ended uses nothing.
            let Ok(usage) = cx.runtime.usage(&instance.id).await else {
                continue;
            };
            running.push(Measured {
                pod: pod.clone(),
                container,
                id: instance.id.clone(),
                since: instance.since,
                usage,
            });
        }
    }
    running.sort_by(|a, b| (&a.pod.metadata.name, &a.container).cmp(&(&b.pod.metadata.name, &b.container)));
    cx.samples.keep(&running);
    running
}

async fn summary(cx: &Context) -> Value {
    let running = measure(cx).await;
    let now = cx.clock.now();
    let time = cx.clock.now_seconds().to_string();
    let cpu = |id: &str, since: Timestamp, nanos: u64| {
        let rate = cx.samples.rate(id, now, since, nanos);
        json!({ "time": time, "usageNanoCores": rate, "usageCoreNanoSeconds": nanos })
    };
    let memory = |bytes: u64| json!({ "time": time, "usageBytes": bytes, "workingSetBytes": bytes, "rssBytes": bytes });
    let mut pods: Vec<(String, Value, Vec<Value>, u64, u64, u64)> = Vec::new();
    for one in &running {
        let meta = &one.pod.metadata;
        let container_cpu = cpu(&one.id, one.since, one.usage.cpu_nanos);
        let rate = container_cpu["usageNanoCores"].as_u64().unwrap_or(0);
        let container = json!({
            "name": one.container,
            "startTime": one.since.to_string(),
            "cpu": container_cpu,
            "memory": memory(one.usage.memory_bytes),
        });
        let uid = meta.uid.clone().unwrap_or_default();
        let index = pods.iter().position(|(known, ..)| *known == uid).unwrap_or_else(|| {
            let started = one.pod.status.as_ref().and_then(|status| status.start_time.clone());
            let head = json!({
                "podRef": { "name": meta.name, "namespace": meta.namespace, "uid": uid },
                "startTime": started,
            });
            pods.push((uid.clone(), head, Vec::new(), 0, 0, 0));
            pods.len() - 1
        });
        let (_, _, containers, nanos, rates, bytes) = &mut pods[index];
        containers.push(container);
        *nanos += one.usage.cpu_nanos;
        *rates += rate;
        *bytes += one.usage.memory_bytes;
    }
    let pods: Vec<Value> = pods
        .into_iter()
        .map(|(_, mut pod, containers, nanos, rate, bytes)| {
            pod["containers"] = containers.into();
            pod["cpu"] = json!({ "time": time, "usageNanoCores": rate, "usageCoreNanoSeconds": nanos });
            pod["memory"] = memory(bytes);
            pod
        })
        .collect();
    let mut node = json!({ "nodeName": cx.options.node_name });
    if let Some(machine) = node::machine_usage() {
        node["startTime"] = machine.boot.to_string().into();
        node["cpu"] = cpu(NODE, machine.boot, machine.cpu_nanos);
        node["memory"] = json!({
            "time": time,
            "availableBytes": machine.available_bytes,
            "usageBytes": cx.capacity.memory_bytes.saturating_sub(machine.free_bytes),
            "workingSetBytes": cx.capacity.memory_bytes.saturating_sub(machine.available_bytes),
        });
    }
    if let Some((capacity, available)) = node::disk(&cx.options.state_dir) {
        let used = capacity.saturating_sub(available);
        node["fs"] = json!({ "time": time, "availableBytes": available, "capacityBytes": capacity, "usedBytes": used });
    }
    json!({ "node": node, "pods": pods })
}

fn metrics(cx: &Context) -> String {
    let (mut pods, mut containers) = (0, 0);
    for entry in cx.pods.entries() {
        entry.look(|live| {
            pods += usize::from(live.sandbox.is_some());
            containers += live
                .containers
                .values()
                .filter(|shown| shown.instance.is_some())
                .count();
        });
    }
    let ready = u8::from(cx.runtime.status().borrow().down.is_none());
    let node = &cx.options.node_name;
    format!(
        "# HELP kubelet_node_name [ALPHA] The node's name. The count is always 1.\n# TYPE kubelet_node_name gauge\n\
         kubelet_node_name{{node={node:?}}} 1\n\
         # HELP kubelet_running_pods [BETA] Number of pods that have a running pod sandbox\n# TYPE kubelet_running_pods gauge\n\
         kubelet_running_pods {pods}\n\
         # HELP kubelet_running_containers [BETA] Number of containers currently running\n\
         # TYPE kubelet_running_containers gauge\nkubelet_running_containers{{container_state=\"running\"}} {containers}\n\
         # HELP knarr_container_runtime_ready Whether the container runtime can run containers\n\
         # TYPE knarr_container_runtime_ready gauge\nknarr_container_runtime_ready {ready}\n"
    )
}

/// What a metrics server reads: <https://kubernetes.io/docs/reference/instrumentation/node-metrics/>.
async fn resource_metrics(cx: &Context) -> String {
    let running = measure(cx).await;
    let millis = cx.clock.now().as_millisecond();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, f64)>| {
        let _ = writeln!(text, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(text, "{name}{labels} {value} {millis}");
        }
    };
    let labels = |one: &Measured| {
        let meta = &one.pod.metadata;
        let (namespace, pod) = (
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        );
        format!("{{container={:?},namespace={namespace:?},pod={pod:?}}}", one.container)
    };
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    let each = |value: &dyn Fn(&Measured) -> f64| running.iter().map(|one| (labels(one), value(one))).collect();
    family(
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
        each(&|one| seconds(one.usage.cpu_nanos)),
    );
    family(
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set of the container in bytes",
        each(&|one| one.usage.memory_bytes as f64),
    );
    family(
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds",
        each(&|one| one.since.as_millisecond() as f64 / 1e3),
    );
    if let Some(machine) = node::machine_usage() {
        let memory = cx.capacity.memory_bytes.saturating_sub(machine.available_bytes);
        family(
            "node_cpu_usage_seconds_total",
            "counter",
            "Cumulative cpu time consumed by the node in core-seconds",
            vec![(String::new(), seconds(machine.cpu_nanos))],
        );
        family(
            "node_memory_working_set_bytes",
            "gauge",
            "Current working set of the node in bytes",
            vec![(String::new(), memory as f64)],
        );
    }
    text
}
