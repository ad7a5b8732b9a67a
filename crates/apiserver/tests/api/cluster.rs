//! A server for a test, and what tests say to it.

use std::path::PathBuf;

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use knarr_apiserver::{ApiServer, Options, Token, UserInfo};
use knarr_clock::Clock;
use kube::client::Body;
use serde_json::{Value, json};

/// The first moment of every test.
pub const EPOCH: &str = "2026-01-02T03:04:05Z";

pub struct Cluster {
    pub server: ApiServer,
    pub admin: kube::Client,
}

/// A response, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(self.code < 300, "{self:?}");
        self.json()
    }

    /// Code, reason and message of a failure, after a look at the rest of its Status.
    #[track_caller]
    pub fn failure(&self) -> (u16, String, String) {
        let status = self.json();
        assert_eq!(
            (&status["kind"], &status["apiVersion"]),
            (&json!("Status"), &json!("v1")),
            "{self:?}"
        );
        assert_eq!(status["status"], "Failure");
        assert_eq!(status["code"], self.code);
        let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
        (self.code, text("reason"), text("message"))
    }
}

impl Cluster {
    pub async fn start() -> Self {
        Self::with(options(None)).await
    }

    pub async fn with(options: Options) -> Self {
        let server = ApiServer::start(options).await.expect("starts");
        let inside = "10.244.0.1:6443".parse().expect("an address");
        server.advertise_to_pods(inside).await.expect("stored");
        let admin = server.client(UserInfo::authenticated("admin", &["system:masters"]));
        let cluster = Self { server, admin };
        // In a whole cluster a controller gives every namespace this account, without which there are no pods.
        let account = json!({"metadata": {"name": "default"}});
        let answer = cluster
            .post("/api/v1/namespaces/default/serviceaccounts", account)
            .await;
        assert!(matches!(answer.code, 201 | 409), "{answer:?}");
        cluster
    }

    /// A client that acts as somebody.
    pub fn client_as(&self, user: &str, groups: &[&str]) -> kube::Client {
        self.server.client(UserInfo::authenticated(user, groups))
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
        send(&self.admin, method, path, headers, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, JSON, body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, JSON, body.to_string()).await
    }

    pub async fn patch(&self, path: &str, kind: &str, body: Value) -> Answer {
        let media = match kind {
            "apply" => "application/apply-patch+yaml".to_owned(),
            kind => format!("application/{kind}-patch+json"),
        };
        self.send(Method::PATCH, path, &[("content-type", &media)], body.to_string())
            .await
    }

    pub async fn delete(&self, path: &str, body: Value) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send(Method::DELETE, path, JSON, body).await
    }

    /// Nothing is wrong in the store.
    pub async fn check(&self) {
        assert_eq!(self.server.check().await, Vec::<String>::new());
    }
}

pub const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

pub async fn send(
    client: &kube::Client,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.into())).expect("a valid request");
    let response = client.send(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a whole body").to_bytes();
    Answer {
        code: StatusCode::as_u16(&parts.status),
        headers: parts.headers,
        text: String::from_utf8(bytes.to_vec()).expect("text"),
    }
}

pub fn options(data: Option<PathBuf>) -> Options {
    let epoch: Timestamp = EPOCH.parse().expect("a timestamp");
    Options {
        clock: Clock::virtual_at(epoch),
        data,
        tokens: vec![Token {
            token: "secret-token".into(),
            user: "jane".into(),
            groups: vec!["developers".into()],
        }],
        advertise: Some("127.0.0.1:6443".parse().expect("an address")),
        ..Options::default()
    }
}

pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

pub fn pod(name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "nginx"}]},
    })
}

pub fn configmap(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

pub fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [
                    {"name": "a", "image": "nginx", "ports": [{"containerPort": 80}]},
                    {"name": "b", "image": "busybox"},
                ]},
            },
        },
    })
}
