//! Just enough of an API server for clients to find the pod `web` and stream to and from it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use knarr_stream::backend::{Backend, ExecOptions, LogOptions, PodRef};
use serde_json::{Value, json};

use crate::node::Node;

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) node: Arc<Node>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let node = Arc::new(Node::default());
        let pod = "/api/v1/namespaces/default/pods/{name}";
        let router = Router::new()
            .route(
                "/version",
                get(async || Json(json!({"major": "1", "minor": "37", "gitVersion": "v1.37.0"}))),
            )
            .route(
                "/api",
                get(async || Json(json!({"kind": "APIVersions", "versions": ["v1"]}))),
            )
            .route(
                "/apis",
                get(async || Json(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}))),
            )
            .route("/api/v1", get(resources))
            .route(pod, get(pod_object))
            .route(&format!("{pod}/exec"), any(exec))
            .route(&format!("{pod}/attach"), any(attach))
            .route(&format!("{pod}/portforward"), any(port_forward))
            .route(&format!("{pod}/log"), get(logs))
            .route(&format!("{pod}/proxy"), any(proxy))
            .route(&format!("{pod}/proxy/"), any(proxy))
            .route(&format!("{pod}/proxy/{{*path}}"), any(proxy))
            .with_state(node.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(
            async move { axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await },
        );
        Self { address, node }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn client(&self) -> kube::Client {
        let config = kube::Config::new(self.url().parse().unwrap());
        kube::Client::try_from(config).unwrap()
    }
}

fn web(name: &str) -> PodRef {
    PodRef {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        uid: "7d3c".to_owned(),
    }
}

async fn resources() -> Json<Value> {
    Json(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": [
            {"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": ["get", "list"]},
            {"name": "pods/exec", "singularName": "", "namespaced": true, "kind": "PodExecOptions", "verbs": ["create", "get"]},
        ]}),
    )
}

async fn pod_object(Path(name): Path<String>) -> Json<Value> {
    Json(json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default", "uid": "7d3c"},
        "spec": {"containers": [{"name": "main", "image": "web", "stdin": true}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "main", "ready": true, "state": {"running": {}}}]},
    }))
}

fn options(query: Option<String>) -> ExecOptions {
    let mut options = ExecOptions::default();
    let query = query.unwrap_or_default();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let value = decoded(value);
        let set = value == "true" || value == "1";
        match name {
            "command" => options.command.push(value),
            "container" => options.container = value,
            "stdin" => options.stdin = set,
            "stdout" => options.stdout = set,
            "stderr" => options.stderr = set,
            "tty" => options.tty = set,
            _ => {}
        }
    }
    options
}

fn decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}

type Name = Path<String>;

async fn exec(State(node): State<Arc<Node>>, Path(name): Name, RawQuery(query): RawQuery, req: Request) -> Response {
    knarr_stream::exec(req, node, web(&name), options(query)).await
}

async fn attach(State(node): State<Arc<Node>>, Path(name): Name, RawQuery(query): RawQuery, req: Request) -> Response {
    knarr_stream::attach(req, node, web(&name), options(query)).await
}

async fn port_forward(State(node): State<Arc<Node>>, Path(name): Name, req: Request) -> Response {
    knarr_stream::port_forward(req, node, web(&name)).await
}

async fn logs(State(node): State<Arc<Node>>, Path(name): Name, RawQuery(query): RawQuery) -> Response {
    let follow = query.is_some_and(|query| query.contains("follow=true"));
    match node
        .logs(
            &web(&name),
            LogOptions {
                follow,
                ..LogOptions::default()
            },
        )
        .await
    {
        Ok(stream) => knarr_stream::logs(stream),
        Err(error) => error.to_string().into_response(),
    }
}

/// The pod's name is the port to proxy to.
async fn proxy(State(node): State<Arc<Node>>, req: Request) -> Response {
    let path = req.uri().path_and_query().unwrap().as_str().to_owned();
    let port = path.split('/').nth(6).unwrap().to_owned();
    let prefix = format!("/api/v1/namespaces/default/pods/{port}/proxy");
    let connect = async move { node.dial(&web(&port), port.parse().unwrap()).await };
    knarr_stream::proxy(req, connect, &path[prefix.len()..], &prefix).await
}
