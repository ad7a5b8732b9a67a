//! Pulling and pushing against a registry in this process, which can be as bad as they come.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;

type Answer = Response<Body>;
/// What a registry does instead of what it should; `None` is nothing special.
type Fault = Box<dyn Fn(&Method, &str, &HeaderMap) -> Option<Answer> + Send + Sync>;

#[derive(Default)]
struct Content {
    blobs: HashMap<String, Bytes>,
    manifests: HashMap<String, (String, Bytes)>,
    /// Requests as `GET /v2/...`, in order.
    log: Vec<String>,
}

struct Fake {
    content: Mutex<Content>,
    fault: Fault,
}

fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    Response::builder().status(status).body(full(body.into())).unwrap()
}

impl Fake {
    /// Serves on a free port of this machine until the runtime ends.
    async fn start(
        fault: impl Fn(&Method, &str, &HeaderMap) -> Option<Answer> + Send + Sync + 'static,
    ) -> (Arc<Self>, SocketAddr) {
        let fake = Arc::new(Self {
            content: Mutex::default(),
            fault: Box::new(fault),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let fake = served.clone();
                let service = service_fn(move |request| {
                    let fake = fake.clone();
                    async move { Ok::<_, Infallible>(fake.serve(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        (fake, address)
    }

    async fn serve(&self, request: Request<Incoming>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let query = request.uri().query().unwrap_or_default().to_owned();
        self.content.lock().unwrap().log.push(format!("{method} {path}"));
        if let Some(answer) = (self.fault)(&method, &path, request.headers()) {
            if answer.status() == 204 {
                // Stalls. Time passes only from here on: before, it would have passed while bytes were on their way.
                tokio::time::pause();
                std::future::pending::<()>().await;
            }
            return answer;
        }
        let headers = request.headers().clone();
        let sent = request.into_body().collect().await.unwrap().to_bytes();
        let mut content = self.content.lock().unwrap();
        let parts: Vec<&str> = path.split('/').collect();
        match (method.as_str(), parts.as_slice()) {
            ("GET" | "HEAD", [.., "manifests", version]) => match content.manifests.get(*version) {
                Some((kind, bytes)) => Response::builder()
                    .header(CONTENT_TYPE, kind)
                    .header("docker-content-digest", Digest::of(bytes).as_str())
                    .body(full(bytes.clone()))
                    .unwrap(),
                None => answer(
                    404,
                    r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
                ),
            },
            ("GET" | "HEAD", [.., "blobs", digest]) => match content.blobs.get(*digest) {
                None => answer(404, ""),
                Some(bytes) => {
                    let range = headers.get(RANGE).and_then(|range| range.to_str().ok());
                    match range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
                    {
                        Some(from) => answer(206, bytes.slice(from..)),
                        None => answer(200, bytes.clone()),
                    }
                }
            },
            ("POST", [.., "uploads", ""]) => Response::builder()
                .status(202)
                .header(LOCATION, "/upload/1?state=x")
                .body(empty())
                .unwrap(),
            ("PUT", ["", "upload", _]) => {
                let digest = query.rsplit_once("digest=").unwrap().1.to_owned();
                content.blobs.insert(digest, sent);
                answer(201, "")
            }
            ("PUT", [.., "manifests", version]) => {
                let kind = headers[CONTENT_TYPE].to_str().unwrap().to_owned();
                content
                    .manifests
                    .insert(Digest::of(&sent).to_string(), (kind.clone(), sent.clone()));
                content.manifests.insert((*version).to_owned(), (kind, sent));
                answer(201, "")
            }
            _ => answer(404, ""),
        }
    }

    fn log(&self) -> Vec<String> {
        self.content.lock().unwrap().log.clone()
    }
}

fn store() -> (tempfile::TempDir, Arc<ImageStore>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(ImageStore::open(dir.path()).unwrap());
    (dir, store)
}

/// Puts an image into the registry; its reference there.
async fn fill(address: SocketAddr) -> (String, Arc<Image>) {
    let (_dir, store) = store();
    let name = format!("{address}/team/kubia:v2");
    store.tag(&store.get("luksa/kubia:v2").unwrap(), &name).unwrap();
    let registries = Registries::load(&[]).unwrap();
    registries.push(&store, &name, &Keyring::default()).await.unwrap();
    (name.clone(), store.get(&name).unwrap())
}

#[tokio::test]
async fn an_image_that_was_pushed_is_pulled_with_the_same_digest_and_only_once() {
    let (fake, address) = Fake::start(|_, _, _| None).await;
    let (name, pushed) = fill(address).await;
    let (_dir, store) = store();
    let registries = Registries::load(&[]).unwrap();
    let pulled = registries.pull(&store, &name, &Keyring::default()).await.unwrap();
    assert_eq!((&pulled.id, &pulled.repo_digest), (&pushed.id, &pushed.repo_digest));
    assert!(pulled.from_registry);
    assert!(store.unpack(&pulled).unwrap().lower.join("app.js").is_file());
    let before = fake.log().len();
    registries.pull(&store, &name, &Keyring::default()).await.unwrap();
    assert!(
        fake.log()[before..].iter().all(|line| line.contains("/manifests/")),
        "{:?}",
        fake.log()
    );
    let by_digest = pulled.repo_digest.clone();
    registries.pull(&store, &by_digest, &Keyring::default()).await.unwrap();
    assert!(store.find(&by_digest).unwrap().is_some());
}

#[tokio::test]
async fn a_transfer_that_breaks_is_gone_on_with_and_nobody_else_learns_the_password() {
    let (cdn, elsewhere) =
        Fake::start(|_, _, headers| headers.contains_key("authorization").then(|| answer(400, ""))).await;
    let broken = Mutex::new(false);
    let (fake, address) = Fake::start(move |method, path, headers| {
        let known = headers.get("authorization").and_then(|value| value.to_str().ok());
        if path == "/token" {
            let basic = Credentials {
                user: "me".into(),
                password: "secret".into(),
            }
            .basic();
            return Some(match known == Some(basic.as_str()) {
                true => answer(200, r#"{"access_token":"let-me-in"}"#),
                false => answer(
                    401,
                    r#"{"errors":[{"code":"UNAUTHORIZED","message":"wrong password"}]}"#,
                ),
            });
        }
        if method != Method::GET && method != Method::HEAD {
            return None;
        }
        if known != Some("Bearer let-me-in") {
            let realm = format!(
                "Bearer realm=\"http://{}/token\",service=\"r\"",
                headers["host"].to_str().unwrap()
            );
            let refused = Response::builder().status(401).header("www-authenticate", realm);
            return Some(refused.body(empty()).unwrap());
        }
        if !path.contains("/blobs/") || method == Method::HEAD {
            return None;
        }
        let mut broken = broken.lock().unwrap();
        if *broken {
            let to = format!("http://{elsewhere}{path}");
            return Some(
                Response::builder()
                    .status(307)
                    .header(LOCATION, to)
                    .body(empty())
                    .unwrap(),
            );
        }
        *broken = true;
        // It says more than it gives.
        Some(
            Response::builder()
                .header("content-length", "100000")
                .body(full(Bytes::from_static(b"{\"c")))
                .unwrap(),
        )
    })
    .await;
    let mut keyring = Keyring::default();
    let (user, password) = ("me".into(), "secret".into());
    keyring.add(&address.to_string(), Credentials { user, password });
    // Pushed with the password, too.
    let (_dir, own) = store();
    let name = format!("{address}/a:1");
    own.tag(&own.get("luksa/kubia:v1").unwrap(), &name).unwrap();
    let registries = Registries::load(&[]).unwrap();
    registries.push(&own, &name, &keyring).await.unwrap();
    cdn.content.lock().unwrap().blobs = fake.content.lock().unwrap().blobs.clone();

    let (_other, store) = store();
    registries.pull(&store, &name, &keyring).await.unwrap();
    assert!(cdn.log().len() >= 3, "{:?}", cdn.log());
    let (_third, empty_handed) = self::store();
    let refused = registries
        .pull(&empty_handed, &name, &Keyring::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("401 Unauthorized: unauthorized: wrong password"),
        "{refused}"
    );
}

#[tokio::test]
async fn each_failure_is_told_in_the_registry_s_words_and_leaves_no_image() {
    let denied = r#"{"errors":[{"code":"DENIED","message":"requested access is denied"}]}"#;
    let slow = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit"}]}"#;
    let basic = |_: &str| {
        let refused = Response::builder()
            .status(401)
            .header("www-authenticate", "Basic realm=\"r\"");
        Some(refused.body(empty()).unwrap())
    };
    let on = |part: &'static str, status: u16, body: &'static str| {
        move |path: &str| path.contains(part).then(|| answer(status, body))
    };
    let lie = |path: &str| path.contains("/blobs/").then(|| answer(200, "x".repeat(100)));
    type Case = Box<dyn Fn(&str) -> Option<Answer> + Send + Sync>;
    let cases: Vec<(Case, &str)> = vec![
        (Box::new(basic), "authorization failed: no basic auth credentials"),
        (Box::new(on("/manifests/", 404, "")), "kubia:v2: not found"),
        (
            Box::new(on("/manifests/", 403, denied)),
            "403 Forbidden: denied: requested access is denied",
        ),
        (
            Box::new(on("/manifests/", 429, slow)),
            "429 Too Many Requests: toomanyrequests: You have reached your pull rate limit",
        ),
        (Box::new(on("/manifests/", 500, "")), "500 Internal Server Error"),
        (
            Box::new(on("/blobs/", 403, "")),
            "failed to copy: httpReadSeeker: failed open: unexpected status",
        ),
        (Box::new(on("/blobs/", 404, "")), "not found: not found"),
        (Box::new(on("/blobs/", 200, "")), "unexpected EOF"),
        (Box::new(lie), "failed"),
    ];
    for (fault, words) in cases {
        let (_fake, address) = Fake::start(move |method, path, _| {
            let reading = method == Method::GET || method == Method::HEAD;
            let pulled = path.contains("/pulled/");
            if reading && pulled { fault(path) } else { None }
        })
        .await;
        let (name, _) = fill(address).await;
        // The same content under a name at which the registry misbehaves.
        let name = name.replace("/team/", "/pulled/");
        let (_dir, store) = store();
        let registries = Registries::load(&[]).unwrap();
        let pulled = registries.pull(&store, &name, &Keyring::default()).await;
        let why = pulled.expect_err(words).to_string();
        assert!(why.contains(words), "{words}: {why}");
        assert!(
            why.starts_with(&format!("failed to pull and unpack image {name:?}: ")),
            "{why}"
        );
        assert!(store.find(&name).unwrap().is_none());
    }
    let (_dir, store) = store();
    let registries = Registries::load(&[]).unwrap();
    let why = registries
        .pull(&store, "127.0.0.1:1/a", &Keyring::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        why.ends_with("dial tcp 127.0.0.1:1: connect: connection refused"),
        "{why}"
    );
}

#[tokio::test]
async fn a_registry_that_stalls_is_given_up() {
    let (_fake, address) = Fake::start(|_, path, _| path.contains("/stalled/").then(|| answer(204, ""))).await;
    let (_dir, store) = store();
    let registries = Registries::load(&[]).unwrap();
    let pulled = registries
        .pull(&store, &format!("{address}/stalled/a"), &Keyring::default())
        .await;
    let why = pulled.expect_err("stalled").to_string();
    assert!(why.ends_with("net/http: timeout awaiting response headers"), "{why}");
}
