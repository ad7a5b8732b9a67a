//! `log`, `exec`, `attach` and `portforward`: finding the container, and handing over to the streams.

use axum::body::Body;
use http::{Request, Response};
use jiff::Timestamp;
use knarr_resource::Status;
use knarr_resource::admission::{Notes, Operation};
use knarr_stream::backend::{BackendError, ExecOptions, LogOptions};
use serde_json::{Value, json};
use std::time::Duration;

use super::node;
use crate::http::request_info::RequestInfo;
use crate::refusal;
use crate::registry::admission;
use crate::server::Server;

const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

pub(crate) async fn log(server: &Server, call: &RequestInfo) -> Result<Response<Body>, Status> {
    let pod = pod(server, call)?;
    let options = log_options(call, &pod)?;
    // Before a pod has a node it has no logs, which is not an error.
    if node::node_of(&pod).is_empty() {
        return Ok(knarr_stream::logs(Box::pin(futures::stream::empty())));
    }
    let backend = node::backend(server, &pod)?;
    let stream = backend
        .logs(&node::pod_ref(&pod), options)
        .await
        .map_err(|error| match error {
            BackendError::NotFound(message) => Status {
                code: 404,
                reason: "NotFound",
                message,
                details: Value::Null,
            },
            BackendError::BadRequest(message) => Status::bad_request(message),
            BackendError::Internal(message) => refusal::internal(message),
        })?;
    Ok(knarr_stream::logs(stream))
}

pub(crate) async fn connect(server: &Server, call: RequestInfo, body: Body) -> Result<Response<Body>, Status> {
    let pod = pod(server, &call)?;
    let _notes = connecting(server, &call).await?;
    let name = call.subresource.as_ref().map_or("", |subresource| subresource.name);
    let reference = node::pod_ref(&pod);
    if name == "portforward" {
        let backend = node::backend(server, &pod)?;
        let request = Request::from_parts(call.parts, body);
        return Ok(knarr_stream::port_forward(request, backend, reference).await);
    }
    let options = ExecOptions {
        container: container(&call, &pod)?,
        command: call.query.all("command").map(str::to_owned).collect(),
        stdin: call.query.flag("stdin"),
        stdout: call.query.flag("stdout"),
        stderr: call.query.flag("stderr") && !call.query.flag("tty"),
        tty: call.query.flag("tty"),
    };
    if !options.stdin && !options.stdout && !options.stderr {
        return Err(Status::bad_request(
            "you must specify at least 1 of stdin, stdout, stderr",
        ));
    }
    if name == "exec" && options.command.is_empty() {
        return Err(Status::bad_request(
            "you must specify at least one command for the container",
        ));
    }
    let backend = node::backend(server, &pod)?;
    let request = Request::from_parts(call.parts, body);
    Ok(match name {
        "exec" => knarr_stream::exec(request, backend, reference, options).await,
        _ => knarr_stream::attach(request, backend, reference, options).await,
    })
}

/// Asks admission whether the stream may be opened. The options are the object, as with every CONNECT.
pub(super) async fn connecting(server: &Server, call: &RequestInfo) -> Result<Notes, Status> {
    let mut options = json!({});
    if let Some(subresource) = &call.subresource {
        options["kind"] = json!(subresource.kind);
        options["apiVersion"] = json!("v1");
    }
    for key in ["stdin", "stdout", "stderr", "tty"] {
        if call.query.flag(key) {
            options[key] = json!(true);
        }
    }
    for key in ["container", "path"] {
        if let Some(value) = call.query.get(key) {
            options[key] = json!(value);
        }
    }
    for (key, many) in [
        ("command", call.query.all("command")),
        ("ports", call.query.all("ports")),
    ] {
        let many: Vec<&str> = many.collect();
        if !many.is_empty() {
            options[key] = json!(many);
        }
    }
    let mut notes = Notes::default();
    let request = call.request();
    let attributes = request.attributes(Operation::Connect, &call.name);
    admission::mutate(server, &attributes, &mut options, None, &mut notes).await?;
    admission::validate(server, &attributes, &options, None, &mut notes).await?;
    Ok(notes)
}

fn pod(server: &Server, call: &RequestInfo) -> Result<Value, Status> {
    let object = server.store.get(server.slot_of(&call.resource), &call.key());
    Ok(object.ok_or_else(|| call.not_found())?.value())
}

fn log_options(call: &RequestInfo, pod: &Value) -> Result<LogOptions, Status> {
    let query = &call.query;
    let invalid = |field: &str, value: &str, detail: &str| {
        let error = knarr_resource::FieldError {
            path: knarr_resource::Path::new(field),
            cause: knarr_resource::Cause::Invalid,
            value: value.into(),
            detail: detail.into(),
        };
        Status::invalid("", "PodLogOptions", &call.name, &[error])
    };
    let since = query.number::<i64>("sinceSeconds")?;
    if let Some(seconds) = since.filter(|seconds| *seconds < 1) {
        return Err(invalid("sinceSeconds", &seconds.to_string(), "must be greater than 0"));
    }
    let since_time = match query.get("sinceTime") {
        None => None,
        Some(_) if since.is_some() => {
            return Err(invalid(
                "",
                "",
                "at most one of `sinceTime` or `sinceSeconds` may be specified",
            ));
        }
        Some(text) => Some(
            text.parse::<Timestamp>()
                .map_err(|_| Status::bad_request(format!("sinceTime {text:?} is no RFC 3339 time")))?,
        ),
    };
    let tail = query.number::<i64>("tailLines")?;
    if let Some(lines) = tail.filter(|lines| *lines < 0) {
        return Err(invalid(
            "tailLines",
            &lines.to_string(),
            "must be greater than or equal to 0",
        ));
    }
    let limit = query.number::<i64>("limitBytes")?;
    if let Some(bytes) = limit.filter(|bytes| *bytes < 1) {
        return Err(invalid("limitBytes", &bytes.to_string(), "must be greater than 0"));
    }
    Ok(LogOptions {
        container: container(call, pod)?,
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        since: since.map(|seconds| Duration::from_secs(seconds.unsigned_abs())),
        since_time,
        timestamps: query.flag("timestamps"),
        tail_lines: tail.map(i64::unsigned_abs),
        limit_bytes: limit.map(i64::unsigned_abs),
        stream: query.get("stream").map(str::to_owned),
    })
}

/// The container a request is about: the one it names, the one the pod names, or the only one.
fn container(call: &RequestInfo, pod: &Value) -> Result<String, Status> {
    let names = |list: &str| -> Vec<String> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers
            .filter_map(|container| container["name"].as_str().map(str::to_owned))
            .collect()
    };
    let (main, init, ephemeral) = (
        names("containers"),
        names("initContainers"),
        names("ephemeralContainers"),
    );
    let known = |name: &str| {
        [&main, &init, &ephemeral]
            .iter()
            .any(|list| list.iter().any(|own| own == name))
    };
    if let Some(name) = call.query.get("container") {
        return match known(name) {
            true => Ok(name.to_owned()),
            false => Err(Status::bad_request(format!(
                "container {name} is not valid for pod {}",
                call.name
            ))),
        };
    }
    let preferred = pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str();
    if let Some(name) = preferred.filter(|name| known(name)) {
        return Ok(name.to_owned());
    }
    if let [only] = main.as_slice() {
        return Ok(only.clone());
    }
    let mut message = format!(
        "a container name must be specified for pod {}, choose one of: [{}]",
        call.name,
        main.join(" ")
    );
    for (list, what) in [(init, "init"), (ephemeral, "ephemeral")] {
        if !list.is_empty() {
            message.push_str(&format!(" or one of the {what} containers: [{}]", list.join(" ")));
        }
    }
    Err(Status::bad_request(message))
}
