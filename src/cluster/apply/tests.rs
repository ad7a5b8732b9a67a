//! Applying against a small API: it stores what is applied, knows who owns the fields, and has no namespaces but its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use kube::client::Body;

use super::*;
use crate::cluster::Discovery;

#[derive(Default)]
struct Api {
    objects: HashMap<String, Value>,
    /// Manager that conflicts with an unforced apply of this path.
    owners: HashMap<String, String>,
    /// Answers to give once to an apply of something in a namespace, before anything else.
    answers: Vec<(u16, String, String)>,
    /// Whether they are for dry runs too.
    at_once: bool,
    asked: Vec<String>,
}

fn body_kind(body: &[u8]) -> String {
    let object: Value = serde_json::from_slice(body).expect("the body is JSON");
    object["kind"].as_str().unwrap_or_default().to_owned()
}

type Shared = Arc<Mutex<Api>>;

impl Api {
    fn answer(&mut self, method: &http::Method, uri: &http::Uri, body: &[u8]) -> (u16, Value) {
        self.asked.push(format!("{method} {uri}"));
        let status = |code: u16, reason: &str, message: &str| {
            (
                code,
                json!({"kind": "Status", "code": code, "reason": reason, "message": message}),
            )
        };
        let path = uri.path().to_owned();
        let query = uri.query().unwrap_or_default();
        if path == "/apis/autoscaling/v1" {
            return (
                200,
                json!({"resources": [{"name": "horizontalpodautoscalers", "kind": "HorizontalPodAutoscaler", "namespaced": true}]}),
            );
        }
        let defined = self
            .objects
            .values()
            .any(|object| object["kind"] == "CustomResourceDefinition");
        if path == "/apis/example.com/v1" && defined {
            return (
                200,
                json!({"resources": [{"name": "widgets", "kind": "Widget", "namespaced": true}]}),
            );
        }
        if method == http::Method::GET {
            return match self.objects.get(&path) {
                Some(object) => (200, object.clone()),
                None => status(404, "NotFound", "not found"),
            };
        }
        let meant = self.at_once || !query.contains("dryRun=All");
        if meant && !self.answers.is_empty() && body_kind(body) != "Namespace" {
            let (code, reason, message) = self.answers.remove(0);
            return status(code, &reason, &message);
        }
        if let Some(owner) = self.owners.get(&path)
            && query.contains("force=false")
        {
            let message =
                format!("Apply failed with 1 conflict: conflict with {owner:?} using apps/v1: .spec.replicas");
            return status(409, "Conflict", &message);
        }
        if let Some((_, rest)) = path.split_once("/namespaces/")
            && let Some((namespace, _)) = rest.split_once('/')
            && namespace != "default"
            && !self.objects.contains_key(&format!("/api/v1/namespaces/{namespace}"))
        {
            return status(404, "NotFound", &format!("namespaces {namespace:?} not found"));
        }
        let mut object: Value = serde_json::from_slice(body).expect("the body is JSON");
        object["metadata"]["uid"] = json!("u");
        object["metadata"]["resourceVersion"] = json!(self.asked.len().to_string());
        object["metadata"]["managedFields"] = json!([{"manager": "knarr"}]);
        object["status"] = json!({"seen": self.asked.len()});
        if !query.contains("dryRun=All") {
            self.objects.insert(path, object.clone());
        }
        (200, object)
    }
}

fn bench(api: Api) -> (Link, Shared) {
    let shared = Arc::new(Mutex::new(api));
    let state = shared.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let state = state.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let (code, answer) = state.lock().expect("no panic").answer(&parts.method, &parts.uri, &body);
            let response = http::Response::builder()
                .status(code)
                .body(Body::from(answer.to_string().into_bytes()));
            Ok::<_, kube::Error>(response.expect("a response"))
        }
    });
    let mut link = Link::untried(kube::Client::new(service, "default"));
    link.discovery = Arc::new(Discovery::built_in());
    (link, shared)
}

const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: 2\n";

/// Asks what applying would do, and does it unless it is a rehearsal: one by one, as the executor does.
async fn run(link: &Link, text: &str, dry_run: bool) -> Vec<Applied> {
    let mut objects = preview(link, text, "default").await.expect("the text is read").objects;
    if !dry_run {
        for object in &mut objects {
            if let Some(change) = &object.change
                && let Err(error) = link.write(change).await
            {
                object.result = Err(error);
            }
        }
    }
    objects
}

#[tokio::test]
async fn an_object_is_created_then_unchanged_then_configured() {
    let (link, api) = bench(Api::default());
    let tried = run(&link, WEB, true).await;
    assert_eq!(
        (tried[0].result.clone(), api.lock().unwrap().objects.len()),
        (Ok(Effect::Created), 0)
    );

    let created = run(&link, WEB, false).await.remove(0);
    assert_eq!(
        (&*created.name, created.namespace.as_deref(), created.line),
        ("deployment.apps/web", Some("default"), 1)
    );
    assert_eq!((created.result, &*created.before), (Ok(Effect::Created), ""));
    assert_eq!(
        created.after,
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  namespace: default\nspec:\n  replicas: 2\n"
    );
    assert_eq!(run(&link, WEB, false).await[0].result, Ok(Effect::Unchanged));
    let changed = run(&link, &WEB.replace("replicas: 2", "replicas: 0x3"), true)
        .await
        .remove(0);
    assert_eq!(changed.result, Ok(Effect::Configured));
    assert!(changed.before.contains("replicas: 2") && changed.after.contains("replicas: 3"));

    let api = api.lock().unwrap();
    let last = api.asked.last().expect("asked");
    let path = "/apis/apps/v1/namespaces/default/deployments/web";
    let query = "fieldManager=knarr&fieldValidation=Strict&force=false&dryRun=All";
    assert_eq!(*last, format!("PATCH {path}?{query}"));
}

#[tokio::test]
async fn fields_of_kubectl_are_taken_over_and_those_of_others_are_not() {
    let path = "/apis/apps/v1/namespaces/default/deployments/web".to_owned();
    let owned = |owner: &str| Api {
        owners: [(path.clone(), owner.to_owned())].into(),
        ..Api::default()
    };
    let (link, _) = bench(owned("kubectl-client-side-apply"));
    assert_eq!(run(&link, WEB, false).await[0].result, Ok(Effect::Created));

    let (link, api) = bench(owned("hpa-controller"));
    let refused = run(&link, WEB, false).await.remove(0);
    let error = refused.result.expect_err("refused");
    assert_eq!((error.kind, refused.error_line), (ErrorKind::Conflict, Some(6)));
    assert_eq!(
        error.hints,
        ["\"hpa-controller\" sets these fields: leave them out of the manifest, or change them there"]
    );
    assert!(
        api.lock()
            .unwrap()
            .asked
            .iter()
            .all(|asked| !asked.contains("force=true"))
    );
}

#[tokio::test]
async fn unknown_kinds_are_refused_with_the_version_that_is_served() {
    let (link, api) = bench(Api::default());
    let refused = |applied: &Applied| applied.result.clone().expect_err("refused");
    let old = run(&link, &WEB.replace("apps/v1", "apps/v1beta1"), true)
        .await
        .remove(0);
    assert_eq!(
        refused(&old).message,
        "no matches for kind \"Deployment\" in version \"apps/v1beta1\""
    );
    assert_eq!(
        refused(&old).hints,
        ["this cluster serves it as apiVersion: apps/v1, kind: Deployment"]
    );
    let wrong = run(&link, &WEB.replace("Deployment", "deployment"), true)
        .await
        .remove(0);
    assert_eq!(
        refused(&wrong).hints,
        ["did you mean apiVersion: apps/v1, kind: Deployment?"]
    );
    // Served, but not preferred: discovery does not list it.
    let other = "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\n";
    assert_eq!(run(&link, other, false).await[0].result, Ok(Effect::Created));
    assert!(
        api.lock()
            .unwrap()
            .objects
            .contains_key("/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/a")
    );
    for (text, expected) in [
        ("kind: Pod\nmetadata: {name: a}\n", "the object has no apiVersion"),
        ("apiVersion: v1\nmetadata: {name: a}\n", "the object has no kind"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n",
            "the object has no metadata.name",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: [a]\n",
            "the object has no metadata.name",
        ),
    ] {
        assert_eq!(refused(&run(&link, text, true).await[0]).message, expected);
    }
}

#[tokio::test]
async fn a_dry_run_knows_what_earlier_documents_would_make() {
    let (link, _) = bench(Api::default());
    let namespaced = WEB.replace("name: web", "name: web\n  namespace: shop");
    assert!(run(&link, &namespaced, true).await[0].result.is_err());
    let text = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n---\n{namespaced}");
    let tried = run(&link, &text, true).await.remove(1);
    assert_eq!((tried.result, tried.line), (Ok(Effect::Created), 6));
    assert!(
        tried
            .after
            .starts_with("# not tried: the namespace shop is made by an earlier document"),
        "{}",
        tried.after
    );
    assert!(
        run(&link, &text, false)
            .await
            .iter()
            .all(|applied| applied.result == Ok(Effect::Created))
    );
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_given_the_time_to_get_its_service_account() {
    let early =
        "pods \"a\" is forbidden: error looking up service account shop/default: serviceaccount \"default\" not found";
    let (link, api) = bench(Api::default());
    run(
        &link,
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n",
        false,
    )
    .await;
    let race = "Operation cannot be fulfilled: the object has been modified";
    api.lock().unwrap().answers = vec![
        (409, "Conflict".into(), race.into()),
        (403, "Forbidden".into(), early.into()),
        (403, "Forbidden".into(), early.into()),
    ];
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n\
        apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop}\n";
    let applied = run(&link, text, false).await;
    assert_eq!(applied[1].result, Ok(Effect::Created), "{applied:?}");
    api.lock().unwrap().answers = vec![(403, "Forbidden".into(), early.into())];
    let alone = run(
        &link,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: b, namespace: shop}\n",
        false,
    )
    .await;
    assert_eq!(
        alone[0].result.clone().expect_err("not waited for").kind,
        ErrorKind::Forbidden
    );
}

#[tokio::test]
async fn what_the_server_refuses_is_found_in_the_text() {
    let (link, api) = bench(Api::default());
    let message = "strict decoding error: unknown field \"spec.replicaz\"";
    api.lock().unwrap().answers = vec![(400, "BadRequest".into(), message.into())];
    api.lock().unwrap().at_once = true;
    let text = format!("# a comment\n---\n{}", WEB.replace("replicas", "replicaz"));
    let refused = run(&link, &text, true).await.remove(0);
    assert_eq!((refused.line, refused.error_line), (3, Some(8)));
    assert_eq!(refused.result.expect_err("refused").message, message);
}

#[tokio::test]
async fn values_of_secrets_are_not_shown() {
    let (link, _) = bench(Api::default());
    let secret = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, annotations: {{kubectl.kubernetes.io/last-applied-configuration: {value}}}}}\ndata: {{a: {value}, b: c2FtZQ==}}\n"
        )
    };
    run(&link, &secret("b25l"), false).await;
    let changed = run(&link, &secret("dHdv"), true).await.remove(0);
    assert_eq!(changed.result, Ok(Effect::Configured));
    assert!(
        changed.before.contains("a: '*** (before)'\n  b: '***'"),
        "{}",
        changed.before
    );
    assert!(
        changed.after.contains("a: '*** (after)'\n  b: '***'"),
        "{}",
        changed.after
    );
    for text in [&changed.before, &changed.after] {
        assert!(
            !text.contains("b25l") && !text.contains("dHdv") && !text.contains("c2FtZQ"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn an_exported_object_can_be_applied_again() {
    let (link, api) = bench(Api::default());
    run(&link, WEB, false).await;
    let exported = api
        .lock()
        .unwrap()
        .objects
        .values()
        .next()
        .expect("the object")
        .to_string();
    assert_eq!(run(&link, &exported, false).await[0].result, Ok(Effect::Unchanged));
}
