//! DELETE: one object or many.

use axum::body::Body;
use http::{Response, StatusCode};
use knarr_resource::admission::Notes;
use knarr_resource::{Cause, Errors, Path, Status};
use serde_json::{Value, json};

use crate::http::render::{self, Writer};
use crate::http::request_info::RequestInfo;
use crate::http::{body, options};
use crate::registry::{self, DeleteOptions, Deleted, Request};
use crate::server::Server;

/// The options from the body if there is one, else from the query.
fn read(call: &RequestInfo, bytes: &[u8]) -> Result<DeleteOptions, Status> {
    let mut options = if bytes.trim_ascii().is_empty() {
        DeleteOptions {
            grace_period_seconds: call.query.number("gracePeriodSeconds")?,
            propagation_policy: call.query.get("propagationPolicy").map(str::to_owned),
            orphan_dependents: call
                .query
                .get("orphanDependents")
                .map(|_| call.query.flag("orphanDependents")),
            dry_run: Some(call.query.all("dryRun").map(str::to_owned).collect()),
            ..DeleteOptions::default()
        }
    } else {
        let (value, _) = body::decode(call.header("content-type"), "DeleteOptions", bytes)?;
        check_kind(call, &value)?;
        DeleteOptions::parse(value)?
    };
    check(&options)?;
    if call.query.dry_run() {
        options.dry_run = Some(vec!["All".into()]);
    }
    // Negative grace periods are an old way to ask for the shortest one.
    options.grace_period_seconds = options
        .grace_period_seconds
        .map(|seconds| if seconds < 0 { 1 } else { seconds });
    Ok(options)
}

/// Refuses a body that is something else. Every group has these options under its own name.
fn check_kind(call: &RequestInfo, value: &Value) -> Result<(), Status> {
    let text = |key: &str| value[key].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let known = matches!(api_version, "" | "v1" | "meta.k8s.io/v1") || api_version == call.resource.api_version();
    if !known || !matches!(kind, "" | "DeleteOptions") {
        return Err(Status::bad_request(format!(
            "no kind {kind:?} is registered for version {api_version:?}"
        )));
    }
    Ok(())
}

fn check(asked: &DeleteOptions) -> Result<(), Status> {
    let path = Path::new("propagationPolicy");
    let mut errors = Errors::new();
    if asked.propagation_policy.is_some() && asked.orphan_dependents.is_some() {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        errors.push(&path, Cause::Invalid, json!(asked.propagation_policy), why);
    }
    match asked.propagation_policy.as_deref() {
        None | Some("Background" | "Foreground" | "Orphan") => {}
        Some(other) => {
            let why = r#"supported values: "Foreground", "Background", "Orphan", "nil""#;
            errors.push(&path, Cause::NotSupported, other, why);
        }
    }
    let dry_run: Vec<&str> = asked.dry_run.iter().flatten().map(String::as_str).collect();
    options::dry_run(&dry_run, &mut errors);
    options::refuse("DeleteOptions", errors)
}

/// The request with these options.
fn request(call: &RequestInfo, options: &DeleteOptions) -> Request {
    Request {
        dry_run: options.is_dry(),
        options: options.to_value(),
        ..call.request()
    }
}

pub(crate) async fn answer(server: &Server, call: &RequestInfo, bytes: &[u8]) -> Result<Response<Body>, Status> {
    let options = read(call, bytes)?;
    let mut notes = Notes::default();
    let request = request(call, &options);
    let deleted = registry::delete(server, &request, &options, &mut notes).await?;
    let mut response = match deleted {
        Deleted::Going(object) => render::object(server, call, StatusCode::OK, &object)?,
        Deleted::Gone(object) | Deleted::Dry(object) if answers_with_object(call) => {
            render::object(server, call, StatusCode::OK, &object)?
        }
        Deleted::Gone(object) | Deleted::Dry(object) => {
            let status = render::success(&call.resource, object.name(), &object.uid);
            render::plain(call.form()?, StatusCode::OK, &status)?
        }
    };
    render::warn(&mut response, &notes.warnings);
    Ok(response)
}

/// Kinds whose deletion has always been answered with the object instead of a Status.
fn answers_with_object(call: &RequestInfo) -> bool {
    matches!(
        call.resource.storage.as_str(),
        "pods"
            | "services"
            | "serviceaccounts"
            | "podtemplates"
            | "resourcequotas"
            | "persistentvolumes"
            | "persistentvolumeclaims"
    )
}

/// Deletes everything selected, and answers with what that was.
pub(crate) async fn collection(server: &Server, call: &RequestInfo, bytes: &[u8]) -> Result<Response<Body>, Status> {
    let options = read(call, bytes)?;
    let form = call.form()?;
    let request = request(call, &options);
    let deleted = registry::delete_collection(server, &request, &options, &options::list(call)?).await?;
    let meta = json!({"resourceVersion": server.store.version().to_string()});
    let writer = Writer::new(call, form.shape)?;
    render::finish(form.encoding, StatusCode::OK, writer.list(server, &deleted, &meta))
}
