//! What the kubelet's own HTTP server answers, by way of the API server: `/api/v1/nodes/NAME/proxy/...`.
//!
//! <https://kubernetes.io/docs/reference/instrumentation/node-metrics/>, and `k8s.io/kubelet/pkg/apis/stats/v1alpha1` for the summary.

use std::fmt::Write;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use knarr_runtime::Usage;
use knarr_stream::backend::{BackendError, NodeAnswer, NodeUsage, PodRef, PodUsage, Used};
use serde_json::{Value, json};

use crate::context::Context;
use crate::node::{self, MachineUsage};
use crate::pod;
use crate::sample::{self, Rate};

/// The node's own sample.
const NODE: &str = "node";

/// A running container and what it uses.
struct Measured {
    pod: std::sync::Arc<Pod>,
    container: String,
    id: String,
    since: Timestamp,
    usage: Usage,
    rate: Rate,
}

/// What there is to measure at one moment.
struct Survey {
    at: Timestamp,
    containers: Vec<Measured>,
    /// The whole machine, where it is the node's own.
    machine: Option<(MachineUsage, Rate)>,
}

impl Survey {
    /// What all containers use together.
    fn sum(&self) -> (Used, u64) {
        self.containers
            .iter()
            .fold(<(Used, u64)>::default(), |(mut used, nanos), one| {
                used.nano_cores += one.rate.nano_cores;
                used.memory_bytes += one.usage.memory_bytes;
                (used, nanos + one.usage.cpu_nanos)
            })
    }
}

/// What the machine uses. `None` when its system does not tell, and for a node that is only a part of it.
fn machine_usage(cx: &Context) -> Option<MachineUsage> {
    match cx.options.capacity {
        Some(_) => None,
        None => node::machine_usage(),
    }
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
                rate: Rate::default(),
            });
        }
    }
    running.sort_by(|a, b| (&a.pod.metadata.name, &a.container).cmp(&(&b.pod.metadata.name, &b.container)));
    running
}

/// Measures everything, with rates.
async fn survey(cx: &Context) -> Survey {
    let mut containers = measure(cx).await;
    let mut machine = machine_usage(cx);
    let now = cx.clock.now();
    if cx.samples.are_stale(now) {
        let counters = containers.iter().map(|one| (one.id.clone(), one.usage.cpu_nanos));
        let own = machine.iter().map(|machine| (NODE.to_owned(), machine.cpu_nanos));
        cx.samples.begin(now, counters.chain(own));
        tokio::time::sleep(sample::MOMENT).await;
        containers = measure(cx).await;
        machine = machine_usage(cx);
    }
    let at = cx.clock.now();
    for one in &mut containers {
        one.rate = cx.samples.rate(&one.id, at, one.since, one.usage.cpu_nanos);
    }
    let machine = machine.map(|machine| {
        let rate = cx.samples.rate(NODE, at, machine.boot, machine.cpu_nanos);
        (machine, rate)
    });
    cx.samples
        .keep(|id| id == NODE || containers.iter().any(|one| one.id == id));
    Survey {
        at,
        containers,
        machine,
    }
}

/// The working set of the whole machine.
fn working_set(cx: &Context, machine: &MachineUsage) -> u64 {
    cx.capacity.memory_bytes.saturating_sub(machine.available_bytes)
}

/// What the node and its pods use.
pub(crate) async fn usage(cx: &Context) -> NodeUsage {
    let survey = survey(cx).await;
    let mut pods: Vec<PodUsage> = Vec::new();
    for one in &survey.containers {
        let (namespace, name) = pod::key(&one.pod);
        let uid = pod::uid(&one.pod).to_owned();
        let index = pods.iter().position(|known| known.pod.uid == uid).unwrap_or_else(|| {
            pods.push(PodUsage {
                pod: PodRef { namespace, name, uid },
                window: one.rate.window,
                containers: Vec::new(),
            });
            pods.len() - 1
        });
        let own = &mut pods[index];
        own.window = own.window.min(one.rate.window);
        let used = Used {
            nano_cores: one.rate.nano_cores,
            memory_bytes: one.usage.memory_bytes,
        };
        own.containers.push((one.container.clone(), used));
    }
    let (node, window) = match &survey.machine {
        Some((machine, rate)) => {
            let used = Used {
                nano_cores: rate.nano_cores,
                memory_bytes: working_set(cx, machine),
            };
            (used, rate.window)
        }
        None => {
            let windows = survey.containers.iter().map(|one| one.rate.window);
            (survey.sum().0, windows.min().unwrap_or_default())
        }
    };
    NodeUsage {
        at: survey.at,
        window,
        node,
        pods,
    }
}

async fn summary(cx: &Context) -> Value {
    let survey = survey(cx).await;
    let time = cx.clock.now_seconds().to_string();
    let cpu = |rate: u64, nanos: u64| json!({ "time": time, "usageNanoCores": rate, "usageCoreNanoSeconds": nanos });
    let memory = |bytes: u64| json!({ "time": time, "usageBytes": bytes, "workingSetBytes": bytes, "rssBytes": bytes });
    let mut pods: Vec<(String, Value, Vec<Value>, u64, u64, u64)> = Vec::new();
    for one in &survey.containers {
        let meta = &one.pod.metadata;
        let rate = one.rate.nano_cores;
        let container = json!({
            "name": one.container,
            "startTime": one.since.to_string(),
            "cpu": cpu(rate, one.usage.cpu_nanos),
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
            pod["cpu"] = cpu(rate, nanos);
            pod["memory"] = memory(bytes);
            pod
        })
        .collect();
    let mut node = json!({ "nodeName": cx.options.node_name });
    if let Some((machine, rate)) = &survey.machine {
        node["startTime"] = machine.boot.to_string().into();
        node["cpu"] = cpu(rate.nano_cores, machine.cpu_nanos);
        node["memory"] = json!({
            "time": time,
            "availableBytes": machine.available_bytes,
            "usageBytes": cx.capacity.memory_bytes.saturating_sub(machine.free_bytes),
            "workingSetBytes": working_set(cx, machine),
        });
    } else {
        let (used, nanos) = survey.sum();
        node["cpu"] = cpu(used.nano_cores, nanos);
        node["memory"] = memory(used.memory_bytes);
        let available = cx.capacity.memory_bytes.saturating_sub(used.memory_bytes);
        node["memory"]["availableBytes"] = available.into();
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
    let sum = |value: &dyn Fn(&Measured) -> u64| running.iter().map(value).sum::<u64>();
    let (nanos, memory) = match machine_usage(cx) {
        Some(machine) => (machine.cpu_nanos, working_set(cx, &machine)),
        None => (sum(&|one| one.usage.cpu_nanos), sum(&|one| one.usage.memory_bytes)),
    };
    family(
        "node_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the node in core-seconds",
        vec![(String::new(), seconds(nanos))],
    );
    family(
        "node_memory_working_set_bytes",
        "gauge",
        "Current working set of the node in bytes",
        vec![(String::new(), memory as f64)],
    );
    text
}
