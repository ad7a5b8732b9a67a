//! Group versions that another server serves, in a pod behind a Service.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use knarr_stream::backend::{Backend, BackendError, Duplex, ExecOptions, LogOptions, LogStream, PodRef, Process};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::cluster::{Cluster, PODS, pod};
use super::watches::Watch;

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const FLUNDERS: &str = "/apis/wardle.example.com/v1/namespaces/default/flunders";

/// A server that knows flunders, in a pod, which believes whoever the cluster says its front proxy is.
struct Extension {
    tls: Arc<rustls::ServerConfig>,
    seen: Mutex<Vec<(String, HeaderMap)>>,
    /// What its watches tell.
    events: tokio::sync::broadcast::Sender<String>,
}

impl Extension {
    async fn answer(self: Arc<Self>, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let (path, query) = (
            request.uri().path().to_owned(),
            request.uri().query().unwrap_or_default().to_owned(),
        );
        let seen = (format!("{} {path}", request.method()), request.headers().clone());
        self.seen.lock().expect("not poisoned").push(seen);
        let json = |value: Value| {
            let mut response = Response::new(Body::from(value.to_string()));
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, "application/json".parse().expect("a media type"));
            Ok(response)
        };
        match path.as_str() {
            "/apis/wardle.example.com/v1" => json(json!({
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.com/v1",
                "resources": [{
                    "name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
                    "verbs": ["create", "get", "list", "watch"],
                }],
            })),
            "/openapi/v3/apis/wardle.example.com/v1" => json(json!({
                "openapi": "3.0.0", "info": {"title": "Wardle", "version": "v1"},
                "paths": {"/apis/wardle.example.com/v1/flunders": {"get": {"operationId": "listFlunders", "responses": {"200": {"description": "OK"}}}}},
                "components": {"schemas": {"com.example.wardle.v1.Flunder": {"type": "object", "description": "A flunder."}}},
            })),
            FLUNDERS if query.contains("watch=1") => {
                let events = self.events.subscribe();
                let lines = futures::stream::unfold(events, |mut events| async move {
                    let line = events.recv().await.ok()?;
                    Some((Ok::<_, Infallible>(line), events))
                });
                Ok(Response::new(Body::from_stream(lines)))
            }
            FLUNDERS => json(json!({"kind": "FlunderList", "apiVersion": "wardle.example.com/v1", "items": []})),
            _ if path.ends_with("/shout") => {
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let mut io = TokioIo::new(upgrade.await.expect("upgraded"));
                    let mut word = [0; 5];
                    io.read_exact(&mut word).await.expect("a word");
                    io.write_all(&word.to_ascii_uppercase()).await.expect("written");
                });
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                for (name, value) in [(header::CONNECTION, "Upgrade"), (header::UPGRADE, "shout")] {
                    response.headers_mut().insert(name, value.parse().expect("a value"));
                }
                Ok(response)
            }
            _ => {
                let mut response = Response::new(Body::from("no such flunder"));
                *response.status_mut() = StatusCode::NOT_FOUND;
                Ok(response)
            }
        }
    }
}

/// The node of its pod.
struct Node(Arc<Extension>);

#[async_trait]
impl Backend for Node {
    async fn logs(&self, _: &PodRef, _: LogOptions) -> Result<LogStream, BackendError> {
        Err(BackendError::NotFound(String::new()))
    }
    async fn exec(&self, _: &PodRef, _: ExecOptions) -> Result<Process, BackendError> {
        Err(BackendError::NotFound(String::new()))
    }
    async fn attach(&self, _: &PodRef, _: ExecOptions) -> Result<Process, BackendError> {
        Err(BackendError::NotFound(String::new()))
    }
    async fn dial(&self, _: &PodRef, port: u16) -> Result<Duplex, BackendError> {
        assert_eq!(port, 8443);
        let (near, far) = tokio::io::duplex(64 << 10);
        let own = self.0.clone();
        tokio::spawn(async move {
            let Ok(stream) = TlsAcceptor::from(own.tls.clone()).accept(far).await else {
                return;
            };
            let service = service_fn(move |request| own.clone().answer(request));
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
        Ok(Box::new(near))
    }
}

/// A certificate as `openssl req -x509` makes it: of a server and of an authority at once.
fn self_signed() -> (rcgen::Certificate, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["wardle.default.svc".to_owned()]).expect("a name");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    (params.self_signed(&key).expect("a certificate"), key)
}

struct Aggregated {
    cluster: Cluster,
    extension: Arc<Extension>,
    ca: String,
}

impl Aggregated {
    /// A cluster with the pod and the Service, which has no endpoints yet.
    async fn start() -> Self {
        let cluster = Cluster::start().await;
        let (own, own_key) = self_signed();
        let believed = cluster
            .get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication")
            .await
            .ok();
        let data = |key: &str| believed["data"][key].as_str().expect("text").to_owned();
        assert_eq!(data("requestheader-username-headers"), r#"["X-Remote-User"]"#);
        assert_eq!(data("requestheader-allowed-names"), r#"["front-proxy-client"]"#);
        let mut roots = rustls::RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(data("requestheader-client-ca-file").as_bytes());
        roots.add(authority.expect("a certificate")).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own_key.serialize_der()));
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(vec![own.der().clone()], key)
            .expect("a key that fits");
        let extension = Arc::new(Extension {
            tls: Arc::new(tls),
            seen: Mutex::default(),
            events: tokio::sync::broadcast::channel(8).0,
        });
        cluster.server.set_backend("n", Arc::new(Node(extension.clone())));
        cluster.post(PODS, pod("wardle", json!({}))).await.ok();
        let binding = json!({"metadata": {"name": "wardle"}, "target": {"kind": "Node", "name": "n"}});
        cluster.post(&format!("{PODS}/wardle/binding"), binding).await.ok();
        let service = json!({"metadata": {"name": "wardle"}, "spec": {"ports": [{"port": 443, "targetPort": 8443}]}});
        cluster.post("/api/v1/namespaces/default/services", service).await.ok();
        let ca = STANDARD.encode(own.pem());
        Self { cluster, extension, ca }
    }

    async fn register(&self) {
        let service = json!({
            "metadata": {"name": "v1.wardle.example.com"},
            "spec": {
                "group": "wardle.example.com", "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 10,
                "caBundle": self.ca, "service": {"namespace": "default", "name": "wardle"},
            },
        });
        self.cluster.post(SERVICES, service).await.ok();
    }

    /// Says where the Service leads, as the endpoint controllers would.
    async fn route(&self) {
        let metadata = json!({"name": "wardle", "labels": {"kubernetes.io/service-name": "wardle"}});
        let target = json!({"kind": "Pod", "name": "wardle", "namespace": "default"});
        let slice = json!({
            "metadata": metadata, "addressType": "IPv4", "ports": [{"name": "", "port": 8443}],
            "endpoints": [{"addresses": ["10.244.0.9"], "targetRef": target}],
        });
        let endpoints = json!({
            "metadata": {"name": "wardle"},
            "subsets": [{"addresses": [{"ip": "10.244.0.9", "targetRef": target}], "ports": [{"port": 8443}]}],
        });
        let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
        self.cluster
            .post("/api/v1/namespaces/default/endpoints", endpoints)
            .await
            .ok();
        self.cluster.post(slices, slice).await.ok();
    }

    /// Waits until the APIService says why it is as it is.
    async fn until(&self, reason: &str) -> Value {
        loop {
            let service = self
                .cluster
                .get(&format!("{SERVICES}/v1.wardle.example.com"))
                .await
                .ok();
            let condition = &service["status"]["conditions"][0];
            if condition["reason"] == reason {
                return condition.clone();
            }
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn an_api_service_says_whether_its_server_is_there() {
    let aggregated = Aggregated::start().await;
    let cluster = &aggregated.cluster;
    aggregated.register().await;
    let missing = aggregated.until("EndpointsNotFound").await;
    assert_eq!(
        (&missing["status"], &missing["message"]),
        (
            &json!("False"),
            &json!("cannot find endpointslices for service/wardle in \"default\"")
        )
    );
    let refused = cluster.get(FLUNDERS).await;
    assert_eq!((refused.code, refused.text.as_str()), (503, "service unavailable\n"));
    let groups = cluster.get("/apis").await.ok();
    let names = groups["groups"].as_array().expect("groups").iter();
    assert!(
        names
            .map(|group| &group["name"])
            .any(|name| name == "wardle.example.com"),
        "named all the same"
    );

    aggregated.route().await;
    let passed = aggregated.until("Passed").await;
    assert_eq!(
        (&passed["status"], &passed["message"]),
        (&json!("True"), &json!("all checks passed"))
    );
    let asked = aggregated.extension.seen.lock().expect("not poisoned")[0].clone();
    assert_eq!(asked.0, "GET /apis/wardle.example.com/v1");
    assert_eq!(asked.1["x-remote-user"], "system:kube-aggregator");

    cluster
        .delete("/api/v1/namespaces/default/services/wardle", Value::Null)
        .await
        .ok();
    let gone = aggregated.until("ServiceNotFound").await;
    assert_eq!(gone["message"], "service/wardle in \"default\" is not present");
    assert_eq!(cluster.get(FLUNDERS).await.code, 503);
}

#[tokio::test]
async fn requests_are_handed_on_with_the_name_of_the_user_and_answers_come_as_they_are() {
    let aggregated = Aggregated::start().await;
    let cluster = &aggregated.cluster;
    aggregated.register().await;
    aggregated.route().await;
    aggregated.until("Passed").await;
    let headers = [
        ("x-remote-user", "root"),
        ("impersonate-user", "jane"),
        ("impersonate-group", "developers"),
    ];
    let answer = cluster.send(http::Method::GET, FLUNDERS, &headers, "").await;
    assert_eq!(answer.code, 403, "jane may not: {}", answer.text);
    let answer = cluster.get(&format!("{FLUNDERS}?labelSelector=a")).await.ok();
    assert_eq!(answer["kind"], "FlunderList");
    let (line, headers) = aggregated
        .extension
        .seen
        .lock()
        .expect("not poisoned")
        .last()
        .cloned()
        .expect("a request");
    assert_eq!(line, format!("GET {FLUNDERS}"));
    assert_eq!(headers["x-remote-user"], "admin");
    let groups: Vec<_> = headers.get_all("x-remote-group").iter().collect();
    assert_eq!(groups, ["system:masters", "system:authenticated"]);
    let missing = cluster.get(&format!("{FLUNDERS}/x")).await;
    assert_eq!((missing.code, missing.text.as_str()), (404, "no such flunder"));

    let mut watch = Watch::open(cluster, &format!("{FLUNDERS}?watch=1"), "application/json").await;
    for name in ["a", "b"] {
        let event = json!({"type": "ADDED", "object": {"metadata": {"name": name}}});
        // `type` has to come first.
        let line = format!("{{\"type\":\"ADDED\",\"object\":{}}}\n", event["object"]);
        aggregated.extension.events.send(line).expect("somebody watches");
        assert_eq!(watch.event().await.1["metadata"]["name"], name);
    }

    let upgrade = Request::get(format!("{FLUNDERS}/x/shout"))
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "shout")
        .body(kube::client::Body::empty())
        .expect("a request");
    let response = cluster.admin.send(upgrade).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut io = TokioIo::new(hyper::upgrade::on(response).await.expect("upgraded"));
    io.write_all(b"hello").await.expect("written");
    let mut word = [0; 5];
    io.read_exact(&mut word).await.expect("a word");
    assert_eq!(&word, b"HELLO");
}

#[tokio::test]
async fn what_another_server_serves_is_in_discovery_and_openapi() {
    let aggregated = Aggregated::start().await;
    let cluster = &aggregated.cluster;
    aggregated.register().await;
    aggregated.route().await;
    aggregated.until("Passed").await;
    let group = cluster.get("/apis/wardle.example.com").await.ok();
    assert_eq!(group["preferredVersion"]["groupVersion"], "wardle.example.com/v1");
    let version = cluster.get("/apis/wardle.example.com/v1").await.ok();
    assert_eq!(version["resources"][0]["name"], "flunders");
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = cluster
        .send(http::Method::GET, "/apis", &[("accept", accept)], "")
        .await
        .ok();
    let items = all["items"].as_array().expect("groups");
    let own = items
        .iter()
        .find(|item| item["metadata"]["name"] == "wardle.example.com")
        .expect("listed");
    assert_eq!(own["versions"][0]["freshness"], "Current");
    assert_eq!(own["versions"][0]["resources"][0]["responseKind"]["kind"], "Flunder");

    let index = cluster.get("/openapi/v3").await.ok();
    let url = index["paths"]["apis/wardle.example.com/v1"]["serverRelativeURL"]
        .as_str()
        .expect("a URL");
    let document = cluster.get(url).await.ok();
    assert_eq!(
        document["components"]["schemas"]["com.example.wardle.v1.Flunder"]["description"],
        "A flunder."
    );
    let old = cluster.get("/openapi/v2").await.ok();
    assert!(old["definitions"]["com.example.wardle.v1.Flunder"].is_object());
    assert!(old["paths"]["/apis/wardle.example.com/v1/flunders"].is_object());
    assert!(old["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
}

#[tokio::test]
async fn a_server_whose_certificate_nobody_vouches_for_gets_no_requests() {
    let mut aggregated = Aggregated::start().await;
    aggregated.ca = STANDARD.encode(self_signed().0.pem());
    aggregated.route().await;
    aggregated.register().await;
    let failed = aggregated.until("FailedDiscoveryCheck").await;
    let message = failed["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with(
            "failing or missing response from https://wardle.default.svc:443/apis/wardle.example.com/v1: Get "
        ),
        "{message}"
    );
    assert!(message.contains("x509: "), "{message}");
    assert_eq!(aggregated.cluster.get(FLUNDERS).await.code, 503);
}
