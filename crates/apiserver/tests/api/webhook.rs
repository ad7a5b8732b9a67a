//! Admission webhooks, asked over TLS.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::cluster::{CONFIGMAPS, Cluster, PODS, configmap, pod};

const REGISTRATION: &str = "/apis/admissionregistration.k8s.io/v1";

/// A webhook of the test: it answers every review with what `answer` returns as `response`, under the review's uid.
pub struct Hook {
    pub url: String,
    pub ca: String,
    /// The requests that came.
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Hook {
    pub async fn serve(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .expect("a key that fits");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (answer, log) = (Arc::new(answer), seen.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer, log) = (acceptor.clone(), answer.clone(), log.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (answer, log) = (answer.clone(), log.clone());
                        async move {
                            let body = request.into_body().collect().await.expect("a body").to_bytes();
                            let review: Value = serde_json::from_slice(&body).expect("JSON");
                            let asked = &review["request"];
                            let mut response = answer(asked);
                            if response.is_object() && response.get("uid").is_none() {
                                response["uid"] = asked["uid"].clone();
                            }
                            let answered = json!({
                                "apiVersion": review["apiVersion"], "kind": review["kind"], "response": response,
                            });
                            log.lock().expect("not poisoned").push(asked.clone());
                            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(answered.to_string()))))
                        }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            url: format!("https://{address}/check"),
            ca: STANDARD.encode(own.cert.pem()),
            seen,
        }
    }

    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().expect("not poisoned").clone()
    }

    /// A webhook for writes of ConfigMaps, with changes.
    fn webhook(&self, changes: Value) -> Value {
        let mut hook = json!({
            "name": "check.example.com",
            "clientConfig": {"url": self.url, "caBundle": self.ca},
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        });
        for (key, value) in changes.as_object().expect("an object") {
            hook[key] = value.clone();
        }
        hook
    }
}

async fn register(cluster: &Cluster, kind: &str, name: &str, hooks: Vec<Value>) {
    let configuration = json!({"metadata": {"name": name}, "webhooks": hooks});
    cluster
        .post(&format!("{REGISTRATION}/{kind}webhookconfigurations"), configuration)
        .await
        .ok();
}

fn patch(operations: Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string())})
}

#[tokio::test]
async fn a_validating_webhook_refuses_in_its_own_words() {
    let cluster = Cluster::start().await;
    let hook = Hook::serve(|request| match request["object"]["data"]["bad"].as_str() {
        Some("plain") => json!({"allowed": false}),
        Some("coded") => {
            json!({"allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": "not today"}})
        }
        _ => json!({"allowed": true, "warnings": ["look out"]}),
    })
    .await;
    register(&cluster, "validating", "v", vec![hook.webhook(json!({}))]).await;
    let made = cluster.post(CONFIGMAPS, configmap("a", json!({}))).await;
    assert_eq!(made.headers["warning"], "299 - \"look out\"");
    let refused = |bad: &'static str| cluster.post(CONFIGMAPS, configmap("b", json!({"bad": bad})));
    assert_eq!(
        refused("plain").await.failure(),
        (
            400,
            String::new(),
            "admission webhook \"check.example.com\" denied the request without explanation".into()
        )
    );
    assert_eq!(
        refused("coded").await.failure(),
        (
            403,
            "Forbidden".into(),
            "admission webhook \"check.example.com\" denied the request: not today".into()
        )
    );
    // Pods are none of its business, nor is a status.
    cluster.post(PODS, pod("a", json!({}))).await.ok();
    assert_eq!(hook.seen().len(), 3);
}

#[tokio::test]
async fn a_webhook_is_told_everything_about_the_request() {
    let cluster = Cluster::start().await;
    let hook = Hook::serve(|_| json!({"allowed": true})).await;
    register(&cluster, "validating", "v", vec![hook.webhook(json!({}))]).await;
    cluster
        .post(
            &format!("{CONFIGMAPS}?fieldManager=me"),
            configmap("a", json!({"k": "v"})),
        )
        .await
        .ok();
    cluster
        .patch(&format!("{CONFIGMAPS}/a"), "merge", json!({"data": {"k": "w"}}))
        .await
        .ok();
    cluster.delete(&format!("{CONFIGMAPS}/a"), Value::Null).await.ok();
    let seen = hook.seen();
    let [create, update, delete] = seen.as_slice() else {
        panic!("three requests, not {seen:?}")
    };
    assert_eq!(
        create["kind"],
        json!({"group": "", "version": "v1", "kind": "ConfigMap"})
    );
    assert_eq!(
        create["resource"],
        json!({"group": "", "version": "v1", "resource": "configmaps"})
    );
    assert_eq!(create["requestKind"], create["kind"]);
    assert_eq!(
        (&create["operation"], &create["name"], &create["namespace"]),
        (&json!("CREATE"), &json!("a"), &json!("default"))
    );
    assert_eq!(create["userInfo"]["username"], "admin");
    assert_eq!(
        (&create["object"]["kind"], &create["object"]["data"]["k"]),
        (&json!("ConfigMap"), &json!("v"))
    );
    assert!(create["object"]["metadata"]["uid"].is_string());
    assert_eq!((&create["oldObject"], &create["dryRun"]), (&Value::Null, &json!(false)));
    assert_eq!(
        create["options"],
        json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"})
    );
    assert_eq!(
        (
            &update["operation"],
            &update["oldObject"]["data"]["k"],
            &update["object"]["data"]["k"]
        ),
        (&json!("UPDATE"), &json!("v"), &json!("w"))
    );
    assert_eq!(update["options"]["kind"], "PatchOptions");
    assert_eq!(
        (
            &delete["operation"],
            &delete["object"],
            &delete["oldObject"]["data"]["k"]
        ),
        (&json!("DELETE"), &Value::Null, &json!("w"))
    );
}

#[tokio::test]
async fn a_mutating_webhook_changes_the_object_before_it_is_validated() {
    let cluster = Cluster::start().await;
    let hook = Hook::serve(|request| match request["object"]["metadata"]["name"].as_str() {
        Some("broken") => patch(json!([{"op": "add", "path": "/metadata/labels", "value": {"not a key": "x"}}])),
        _ => patch(json!([{"op": "add", "path": "/data/added", "value": "yes"}])),
    })
    .await;
    register(&cluster, "mutating", "m", vec![hook.webhook(json!({}))]).await;
    let made = cluster.post(CONFIGMAPS, configmap("a", json!({"k": "v"}))).await.ok();
    assert_eq!(made["data"], json!({"k": "v", "added": "yes"}));
    assert!(!made["metadata"]["managedFields"].to_string().contains("f:added"));
    let refused = cluster.post(CONFIGMAPS, configmap("broken", json!({}))).await.failure();
    assert_eq!((refused.0, refused.1.as_str()), (422, "Invalid"));
}

#[tokio::test]
async fn a_webhook_that_wants_to_sees_what_others_changed() {
    let cluster = Cluster::start().await;
    let count = |key: &'static str| {
        move |request: &Value| {
            let seen = request["object"]["data"][key].as_str().map_or(0, |own| own.len());
            patch(json!([{"op": "add", "path": format!("/data/{key}"), "value": "x".repeat(seen + 1)}]))
        }
    };
    let (first, second) = (Hook::serve(count("first")).await, Hook::serve(count("second")).await);
    let again = json!({"name": "first.example.com", "reinvocationPolicy": "IfNeeded"});
    register(&cluster, "mutating", "a", vec![first.webhook(again)]).await;
    register(
        &cluster,
        "mutating",
        "b",
        vec![second.webhook(json!({"name": "second.example.com"}))],
    )
    .await;
    let made = cluster.post(CONFIGMAPS, configmap("a", json!({"k": "v"}))).await.ok();
    assert_eq!(made["data"], json!({"k": "v", "first": "xx", "second": "x"}));
}

#[tokio::test]
async fn a_webhook_that_fails_closes_the_door_or_leaves_it_open() {
    let cluster = Cluster::start().await;
    let hook = Hook::serve(|_| json!({"uid": "other", "allowed": true})).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nobody = format!("https://{}/x", closed.local_addr().expect("an address"));
    drop(closed);
    let config = |config: Value| hook.webhook(json!({"clientConfig": config}));
    let lonely = json!({"metadata": {"name": "lonely"}, "spec": {"ports": [{"port": 443}]}});
    cluster.post("/api/v1/namespaces/default/services", lonely).await.ok();
    for (webhook, starts, ends) in [
        (
            config(json!({"url": nobody, "caBundle": hook.ca})),
            "Internal error occurred: failed calling webhook \"check.example.com\": failed to call webhook: Post \"https://127.0.0.1:",
            "connect: connection refused",
        ),
        (
            config(json!({"url": hook.url})),
            "Internal error occurred: failed calling webhook \"check.example.com\": failed to call webhook: Post \"https://127.0.0.1:",
            "/check?timeout=10s\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
        ),
        (
            config(json!({"service": {"namespace": "default", "name": "none", "path": "/p"}})),
            "Internal error occurred: failed calling webhook \"check.example.com\": failed to call webhook: Post \"https://none.default.svc:443/p?timeout=10s\": ",
            "service \"none\" not found",
        ),
        (
            config(json!({"service": {"namespace": "default", "name": "lonely"}})),
            "Internal error occurred: failed calling webhook \"check.example.com\": failed to call webhook: Post \"https://lonely.default.svc:443/?timeout=10s\": ",
            "no endpoints available for service \"lonely\"",
        ),
        (
            hook.webhook(json!({})),
            "Internal error occurred: failed calling webhook \"check.example.com\": received invalid webhook response: expected response.uid=\"",
            "\", got \"other\"",
        ),
    ] {
        register(&cluster, "validating", "v", vec![webhook.clone()]).await;
        let (code, reason, message) = cluster.post(CONFIGMAPS, configmap("a", json!({}))).await.failure();
        assert_eq!((code, reason.as_str()), (500, "InternalError"));
        assert!(message.starts_with(starts) && message.ends_with(ends), "{message}");
        cluster
            .delete(
                &format!("{REGISTRATION}/validatingwebhookconfigurations/v"),
                Value::Null,
            )
            .await
            .ok();
        let mut open = webhook;
        open["failurePolicy"] = json!("Ignore");
        register(&cluster, "validating", "v", vec![open]).await;
        cluster
            .post(&format!("{CONFIGMAPS}?dryRun=All"), configmap("a", json!({})))
            .await
            .ok();
        cluster
            .delete(
                &format!("{REGISTRATION}/validatingwebhookconfigurations/v"),
                Value::Null,
            )
            .await
            .ok();
    }
}

#[tokio::test]
async fn selectors_choose_what_a_webhook_is_asked_about() {
    let cluster = Cluster::start().await;
    let hook = Hook::serve(|_| json!({"allowed": false})).await;
    let changes = json!({
        "namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}]},
        "objectSelector": {"matchLabels": {"check": "yes"}},
    });
    register(&cluster, "validating", "v", vec![hook.webhook(changes)]).await;
    let labelled = json!({"metadata": {"name": "a", "labels": {"check": "yes"}}});
    assert_eq!(cluster.post(CONFIGMAPS, labelled.clone()).await.code, 400);
    cluster
        .post("/api/v1/namespaces/kube-system/configmaps", labelled)
        .await
        .ok();
    cluster.post(CONFIGMAPS, configmap("b", json!({}))).await.ok();
    // Nothing keeps anybody from taking a webhook away.
    let mut everything = hook.webhook(json!({}));
    everything["rules"] =
        json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]);
    register(&cluster, "validating", "w", vec![everything]).await;
    assert_eq!(cluster.post(CONFIGMAPS, configmap("c", json!({}))).await.code, 400);
    cluster
        .delete(
            &format!("{REGISTRATION}/validatingwebhookconfigurations/w"),
            Value::Null,
        )
        .await
        .ok();
    cluster.post(CONFIGMAPS, configmap("c", json!({}))).await.ok();
}
