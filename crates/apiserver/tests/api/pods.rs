use std::sync::{Arc, Mutex};

use super::cluster::{Cluster, PODS, pod};
use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use knarr_stream::backend::{Backend, BackendError, Duplex, ExecOptions, Exit, LogOptions, LogStream, PodRef, Process};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A node that remembers what it was asked and answers with it.
#[derive(Default)]
struct Echo {
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Backend for Echo {
    async fn logs(&self, pod: &PodRef, options: LogOptions) -> Result<LogStream, BackendError> {
        if options.previous {
            let (container, name) = (&options.container, &pod.name);
            return Err(BackendError::BadRequest(format!(
                "previous terminated container {container:?} in pod {name:?} not found"
            )));
        }
        let line = format!("{} {} {:?}\n", pod.name, options.container, options.tail_lines);
        Ok(Box::pin(futures::stream::iter([Ok(Bytes::from(line))])))
    }
    async fn exec(&self, _: &PodRef, options: ExecOptions) -> Result<Process, BackendError> {
        self.asked
            .lock()
            .unwrap()
            .push(format!("{} {:?}", options.container, options.command));
        Ok(Process {
            stdin: None,
            stdout: Some(Box::pin(std::io::Cursor::new(b"hello from inside\n".to_vec()))),
            stderr: None,
            resize: None,
            exit: Box::pin(std::future::ready(Exit::Code(0))),
        })
    }
    async fn attach(&self, pod: &PodRef, options: ExecOptions) -> Result<Process, BackendError> {
        self.exec(pod, options).await
    }
    async fn dial(&self, pod: &PodRef, port: u16) -> Result<Duplex, BackendError> {
        if port != 8080 {
            return Err(BackendError::Internal(format!(
                "failed to connect to localhost:{port} inside namespace \"x\", IPv4: dial tcp4 127.0.0.1:{port}: connect: connection refused"
            )));
        }
        let (near, mut far) = tokio::io::duplex(4096);
        let name = pod.name.clone();
        tokio::spawn(async move {
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let mut byte = [0; 1];
                if far.read(&mut byte).await.unwrap_or(0) == 0 {
                    return;
                }
                request.push(byte[0]);
            }
            let line = String::from_utf8_lossy(&request)
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
            let body = format!("{name} got {line}");
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = far.write_all(answer.as_bytes()).await;
        });
        Ok(Box::new(near))
    }
}

/// A cluster with a pod on a node.
async fn cluster_with(pod: Value) -> (Cluster, Arc<Echo>) {
    let cluster = Cluster::start().await;
    let echo = Arc::new(Echo::default());
    cluster.server.set_backend("n", echo.clone());
    let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
    cluster.post(PODS, pod).await.ok();
    let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n"}});
    cluster.post(&format!("{PODS}/{name}/binding"), binding).await.ok();
    (cluster, echo)
}

fn two_containers() -> Value {
    let mut two = pod("p", json!({}));
    two["spec"]["containers"] = json!([{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]);
    two
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_once() {
    let (cluster, _) = cluster_with(pod("p", json!({}))).await;
    let bound = cluster.get(&format!("{PODS}/p")).await.ok();
    assert_eq!(bound["spec"]["nodeName"], "n");
    let scheduled = &bound["status"]["conditions"][0];
    assert_eq!(
        (&scheduled["type"], &scheduled["status"]),
        (&json!("PodScheduled"), &json!("True"))
    );
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "m"}});
    let (code, reason, message) = cluster
        .post("/api/v1/namespaces/default/bindings", binding)
        .await
        .failure();
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert!(message.contains("pod p is already assigned to node \"n\""), "{message}");
}

#[tokio::test(start_paused = true)]
async fn logs_come_from_the_container_that_is_meant() {
    let (cluster, _) = cluster_with(two_containers()).await;
    let path = format!("{PODS}/p/log");
    let (code, reason, message) = cluster.get(&path).await.failure();
    assert_eq!((code, reason.as_str()), (400, "BadRequest"));
    assert_eq!(
        message,
        "a container name must be specified for pod p, choose one of: [a b]"
    );
    let unknown = cluster.get(&format!("{path}?container=c")).await.failure();
    assert_eq!(unknown.2, "container c is not valid for pod p");
    assert_eq!(
        cluster.get(&format!("{path}?container=b&tailLines=3")).await.text,
        "p b Some(3)\n"
    );
    let annotate = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/default-container": "b"}}});
    cluster.patch(&format!("{PODS}/p"), "merge", annotate).await.ok();
    let log = cluster.get(&path).await;
    assert_eq!(
        (log.text.as_str(), &log.headers["content-type"]),
        ("p b None\n", &http::HeaderValue::from_static("text/plain"))
    );
    let previous = cluster.get(&format!("{path}?previous=true")).await.failure();
    assert_eq!(previous.2, "previous terminated container \"b\" in pod \"p\" not found");
    assert_eq!(cluster.get(&format!("{path}?sinceSeconds=0")).await.failure().0, 422);
    assert_eq!(
        cluster.get(&format!("{PODS}/x/log")).await.failure().2,
        "pods \"x\" not found"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_a_node_has_no_logs_and_no_shell() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("p", json!({}))).await.ok();
    assert_eq!(cluster.get(&format!("{PODS}/p/log")).await.text, "");
    let exec = cluster
        .send(Method::POST, &format!("{PODS}/p/exec?command=ls&stdout=1"), &[], "")
        .await
        .failure();
    assert_eq!((exec.0, exec.2.as_str()), (400, "pod p does not have a host assigned"));
}

#[tokio::test(start_paused = true)]
async fn exec_runs_through_the_in_memory_client() {
    let (cluster, echo) = cluster_with(two_containers()).await;
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> = kube::Api::namespaced(cluster.admin.clone(), "default");
    let params = kube::api::AttachParams::default()
        .container("b")
        .stdin(false)
        .stderr(false);
    let mut process = pods.exec("p", ["echo", "hi there"], &params).await.unwrap();
    let mut text = String::new();
    process.stdout().unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello from inside\n");
    let status = process.take_status().unwrap().await.unwrap();
    assert_eq!(status.status.as_deref(), Some("Success"));
    assert_eq!(*echo.asked.lock().unwrap(), ["b [\"echo\", \"hi there\"]"]);
}

#[tokio::test(start_paused = true)]
async fn proxies_reach_pods_and_the_ready_endpoints_of_services() {
    let (cluster, _) = cluster_with(pod("p", json!({"app": "x"}))).await;
    let proxied = cluster.get(&format!("{PODS}/p:8080/proxy/hello/you?a=b")).await;
    assert_eq!(
        (proxied.code, proxied.text.as_str()),
        (200, "p got GET /hello/you?a=b HTTP/1.1")
    );
    let services = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "s"}, "spec": {"selector": {"app": "x"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    cluster.post(services, service).await.ok();
    let none = cluster.get(&format!("{services}/s/proxy/")).await.failure();
    assert_eq!(
        (none.0, none.2.as_str()),
        (503, "no endpoints available for service \"s\"")
    );
    let endpoints = json!({
        "metadata": {"name": "s"},
        "subsets": [{
            "addresses": [{"ip": "10.0.0.1", "targetRef": {"kind": "Pod", "name": "p", "namespace": "default"}}],
            "ports": [{"port": 8080}],
        }],
    });
    cluster
        .post("/api/v1/namespaces/default/endpoints", endpoints)
        .await
        .ok();
    for name in ["s", "s:80", "http:s:80"] {
        let answer = cluster.get(&format!("{services}/{name}/proxy/x")).await;
        assert_eq!(answer.text, "p got GET /x HTTP/1.1", "{name}");
    }
    let bare = cluster.get(&format!("{services}/s/proxy?a=b")).await;
    assert_eq!(
        (bare.code, bare.headers["location"].to_str().unwrap()),
        (301, format!("{services}/s/proxy/?a=b").as_str())
    );
    let status = json!({"status": {"podIP": "10.0.0.1"}});
    cluster.patch(&format!("{PODS}/p/status"), "merge", status).await.ok();
    assert_eq!(
        cluster.get(&format!("{PODS}/p:81/proxy/")).await.failure().2,
        "error trying to reach service: dial tcp 10.0.0.1:81: connect: connection refused"
    );
    assert_eq!(cluster.get(&format!("{services}/s:99/proxy/")).await.failure().0, 503);
}

#[tokio::test(start_paused = true)]
async fn evictions_delete_pods() {
    let (cluster, _) = cluster_with(pod("p", json!({}))).await;
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "default"},
        "deleteOptions": {"gracePeriodSeconds": 5},
    });
    let answer = cluster.post(&format!("{PODS}/p/eviction"), eviction).await;
    assert_eq!((answer.code, &answer.ok()["status"]), (201, &json!("Success")));
    assert_eq!(
        cluster.get(&format!("{PODS}/p")).await.ok()["metadata"]["deletionGracePeriodSeconds"],
        5
    );
    let wrong = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
    assert_eq!(
        cluster.post(&format!("{PODS}/p/eviction"), wrong).await.failure().0,
        400
    );
}

#[tokio::test(start_paused = true)]
async fn an_eviction_is_charged_to_the_budget_that_protects_the_pod() {
    let (cluster, _) = cluster_with(pod("p", json!({}))).await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let label = json!({"metadata": {"labels": {"app": "x"}}});
    cluster.patch(&format!("{PODS}/p"), "merge", label).await.ok();
    let ready =
        |status: &str| json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}});
    cluster
        .patch(&format!("{PODS}/p/status"), "merge", ready("True"))
        .await
        .ok();
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}},
    });
    cluster.post(budgets, budget).await.ok();
    let eviction = format!("{PODS}/p/eviction");
    let evict = || {
        cluster.post(
            &eviction,
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}),
        )
    };

    let refusal = evict().await;
    assert_eq!(refusal.code, 429);
    assert_eq!(refusal.headers["retry-after"], "10");
    let status = refusal.json();
    assert_eq!(
        status["message"],
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
    assert_eq!(
        status["details"]["causes"][0],
        json!({"reason": "DisruptionBudget", "message": "The disruption budget b is still being processed by the server."})
    );

    let report = |allowed: i64| json!({"status": {"observedGeneration": 1, "disruptionsAllowed": allowed, "desiredHealthy": 1, "currentHealthy": 1, "expectedPods": 1}});
    cluster
        .patch(&format!("{budgets}/b/status"), "merge", report(0))
        .await
        .ok();
    let refusal = evict().await;
    assert_eq!((refusal.code, refusal.headers.get("retry-after")), (429, None));
    assert_eq!(
        refusal.json()["details"]["causes"][0]["message"],
        "The disruption budget b needs 1 healthy pods and has 1 currently"
    );

    cluster
        .patch(&format!("{budgets}/b/status"), "merge", report(1))
        .await
        .ok();
    assert_eq!(evict().await.code, 201);
    let charged = cluster.get(&format!("{budgets}/b")).await.ok();
    assert_eq!(charged["status"]["disruptionsAllowed"], 0);
    assert!(charged["status"]["disruptedPods"]["p"].is_string());
    let leaving = cluster.get(&format!("{PODS}/p")).await.ok();
    let conditions = leaving["status"]["conditions"].as_array().unwrap();
    let target = conditions.iter().find(|it| it["type"] == "DisruptionTarget").unwrap();
    assert_eq!(
        (&target["reason"], &target["message"]),
        (&json!("EvictionByEvictionAPI"), &json!("Eviction API: evicting"))
    );
    // It goes already: nothing more is charged.
    assert_eq!(evict().await.code, 201);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_serves_nobody_may_go_if_enough_others_serve() {
    let (cluster, _) = cluster_with(pod("p", json!({}))).await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    cluster
        .patch(
            &format!("{PODS}/p/status"),
            "merge",
            json!({"status": {"phase": "Running"}}),
        )
        .await
        .ok();
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {}},
    });
    cluster.post(budgets, budget).await.ok();
    let eviction = format!("{PODS}/p/eviction");
    let evict = || {
        cluster.post(
            &eviction,
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}),
        )
    };
    let report =
        |healthy: i64| json!({"status": {"observedGeneration": 1, "desiredHealthy": 1, "currentHealthy": healthy}});
    cluster
        .patch(&format!("{budgets}/b/status"), "merge", report(0))
        .await
        .ok();
    assert_eq!(evict().await.code, 429);
    cluster
        .patch(&format!("{budgets}/b/status"), "merge", report(1))
        .await
        .ok();
    assert_eq!(evict().await.code, 201);
    let budget = cluster.get(&format!("{budgets}/b")).await.ok();
    assert_eq!(budget["status"]["disruptedPods"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn debug_containers_are_added_beside_the_others() {
    let (cluster, _) = cluster_with(pod("p", json!({}))).await;
    let path = format!("{PODS}/p/ephemeralcontainers");
    let add = json!({"spec": {"ephemeralContainers": [{"name": "debugger", "image": "busybox", "stdin": true}]}});
    let debugged = cluster.patch(&path, "strategic-merge", add).await.ok();
    assert_eq!(debugged["spec"]["ephemeralContainers"][0]["name"], "debugger");
    let log = cluster.get(&format!("{PODS}/p/log?container=debugger")).await;
    assert_eq!(log.text, "p debugger None\n");
}
