//! `serviceaccounts/NAME/token`: tokens on request, bound to the object that needs them.

use axum::body::Body;
use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use knarr_resource::admission::{Notes, Operation};
use knarr_resource::{Cause, FieldError, Path, Status, new_uid};
use serde_json::{Value, json};

use crate::auth::token::ISSUER;
use crate::http::render;
use crate::http::request_info::RequestInfo;
use crate::refusal;
use crate::registry::admission;
use crate::server::Server;
use crate::verb::input::{self, Expected};

const DEFAULT_SECONDS: i64 = 3600;
const SHORTEST_SECONDS: i64 = 600;
const LONGEST_SECONDS: i64 = 1 << 32;

pub(crate) async fn post(server: &Server, call: &RequestInfo, bytes: &[u8]) -> Result<Response<Body>, Status> {
    let expected = Expected {
        api_version: "authentication.k8s.io/v1",
        kind: "TokenRequest",
    };
    let (mut request, warnings) = input::read(call, &expected, bytes)?;
    let account = server
        .find("", "serviceaccounts", &call.namespace, &call.name)
        .ok_or_else(|| call.not_found())?;
    let mut notes = Notes {
        warnings,
        ..Notes::default()
    };
    let asked = call.request();
    let attributes = asked.attributes(Operation::Create, &call.name);
    admission::mutate(server, &attributes, &mut request, None, &mut notes).await?;
    admission::validate(server, &attributes, &request, None, &mut notes).await?;
    let spec = &request["spec"];
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    check_duration(call, seconds)?;
    let audiences = match spec["audiences"].as_array() {
        Some(audiences) if !audiences.is_empty() => audiences.clone(),
        _ => vec![json!(ISSUER)],
    };
    let now = server.clock.now_seconds();
    let until = now
        .checked_add(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX);
    let mut bound = json!({
        "namespace": call.namespace,
        "serviceaccount": {"name": call.name, "uid": account["metadata"]["uid"]},
    });
    bind(server, call, &spec["boundObjectRef"], &mut bound)?;
    let claims = json!({
        "aud": audiences,
        "exp": until.as_second(),
        "iat": now.as_second(),
        "iss": ISSUER,
        "jti": new_uid(),
        "kubernetes.io": bound,
        "nbf": now.as_second(),
        "sub": format!("system:serviceaccount:{}:{}", call.namespace, call.name),
    });
    let token = server.signer.sign(&claims).map_err(refusal::internal)?;
    request["metadata"] = json!({
        "name": call.name, "namespace": call.namespace, "creationTimestamp": now.to_string(),
    });
    request["spec"]["audiences"] = audiences.into();
    request["spec"]["expirationSeconds"] = json!(seconds);
    request["status"] = json!({"token": token, "expirationTimestamp": until.to_string()});
    let mut response = render::plain(call.form()?, StatusCode::CREATED, &request)?;
    render::warn(&mut response, &notes.warnings);
    Ok(response)
}

fn check_duration(call: &RequestInfo, seconds: i64) -> Result<(), Status> {
    let detail = match seconds {
        ..SHORTEST_SECONDS => "may not specify a duration less than 10 minutes",
        SHORTEST_SECONDS..=LONGEST_SECONDS => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let error = FieldError {
        path: Path::new("spec").child("expirationSeconds"),
        cause: Cause::Invalid,
        value: json!(seconds),
        detail: detail.into(),
    };
    Err(Status::invalid(
        "authentication.k8s.io",
        "TokenRequest",
        &call.name,
        &[error],
    ))
}

/// Ties the token to a pod or secret: it ends with that.
fn bind(server: &Server, call: &RequestInfo, reference: &Value, bound: &mut Value) -> Result<(), Status> {
    if reference.is_null() {
        return Ok(());
    }
    let text = |key: &str| reference[key].as_str().unwrap_or_default();
    let (plural, key) = match (text("apiVersion"), text("kind")) {
        ("v1", "Pod") => ("pods", "pod"),
        ("v1", "Secret") => ("secrets", "secret"),
        (version, kind) => {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to an object of kind {kind:?} of {version:?}",
                call.name
            )));
        }
    };
    let name = text("name");
    let object = server.find("", plural, &call.namespace, name).ok_or_else(|| {
        server
            .resource("", "v1", plural)
            .map_or_else(refusal::unknown_path, |resource| Status::not_found(&resource, name))
    })?;
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    if !text("uid").is_empty() && text("uid") != uid {
        return Err(Status {
            code: 409,
            reason: "Conflict",
            message: format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
                text("uid")
            ),
            details: Value::Null,
        });
    }
    if plural == "pods" {
        let own = object["spec"]["serviceAccountName"].as_str().unwrap_or("default");
        if own != call.name {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                call.name
            )));
        }
        if let Some(node) = object["spec"]["nodeName"].as_str() {
            bound["node"] = json!({"name": node});
        }
    }
    bound[key] = json!({"name": name, "uid": uid});
    Ok(())
}
