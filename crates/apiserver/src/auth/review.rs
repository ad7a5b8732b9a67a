//! Reviews: questions about identity and rights. They are created, answered and forgotten.

use axum::body::Body;
use bytes::Bytes;
use http::{Response, StatusCode};
use knarr_resource::Status;
use serde_json::{Value, json};

use super::authorizer::Authorizer;
use super::rbac::{self, Attributes};
use super::token::ISSUER;
use super::{UserInfo, authn};
use crate::http::render;
use crate::http::request_info::RequestInfo;
use crate::refusal;
use crate::server::Server;
use crate::verb::input::{self, Expected};

pub(crate) fn answer(server: &Server, call: &RequestInfo, bytes: Bytes) -> Result<Response<Body>, Status> {
    let api_version = call.resource.api_version();
    let expected = Expected {
        api_version: &api_version,
        kind: &call.resource.kind,
    };
    let (mut review, warnings) = input::read(call, &expected, &bytes)?;
    let status = match call.resource.kind.as_str() {
        "SelfSubjectReview" => json!({"userInfo": call.user.to_value()}),
        "SelfSubjectAccessReview" => access(server, &call.user, &review["spec"])?,
        "SubjectAccessReview" => access(server, &subject(&review["spec"])?, &review["spec"])?,
        "LocalSubjectAccessReview" => {
            if review["spec"]["resourceAttributes"]["namespace"] != call.namespace.as_str() {
                return Err(Status::bad_request(
                    "spec.resourceAttributes.namespace must match the namespace of the request",
                ));
            }
            access(server, &subject(&review["spec"])?, &review["spec"])?
        }
        "SelfSubjectRulesReview" => {
            let namespace = review["spec"]["namespace"].as_str().unwrap_or_default();
            if namespace.is_empty() {
                return Err(Status::bad_request("no namespace on request"));
            }
            rules(server, &call.user, namespace)
        }
        "TokenReview" => token(server, &review["spec"]),
        _ => return Err(refusal::method_not_allowed()),
    };
    review["metadata"] = match review["metadata"].take() {
        Value::Object(metadata) => Value::Object(metadata),
        _ => json!({}),
    };
    review["metadata"]["creationTimestamp"] = Value::Null;
    if call.resource.kind == "SelfSubjectReview" {
        review["metadata"]["creationTimestamp"] = json!(server.clock.now_seconds().to_string());
    }
    review["status"] = status;
    let mut response = render::plain(call.form()?, StatusCode::CREATED, &review)?;
    render::warn(&mut response, &warnings);
    Ok(response)
}

/// The user a SubjectAccessReview asks about.
fn subject(spec: &Value) -> Result<UserInfo, Status> {
    let list = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let user = UserInfo {
        name: spec["user"].as_str().unwrap_or_default().to_owned(),
        uid: spec["uid"].as_str().unwrap_or_default().to_owned(),
        groups: list(&spec["groups"]),
        extra: match spec["extra"].as_object() {
            Some(extra) => extra.iter().map(|(key, value)| (key.clone(), list(value))).collect(),
            None => Default::default(),
        },
    };
    if user.name.is_empty() && user.groups.is_empty() {
        return Err(Status::bad_request("at least one of user or group must be specified"));
    }
    Ok(user)
}

fn access(server: &Server, user: &UserInfo, spec: &Value) -> Result<Value, Status> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_object() == path.is_object() {
        return Err(Status::bad_request(
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ));
    }
    let text = |value: &'static str| resource[value].as_str().unwrap_or_default();
    let attributes = if path.is_object() {
        Attributes {
            verb: path["verb"].as_str().unwrap_or_default(),
            path: Some(path["path"].as_str().unwrap_or_default()),
            ..Attributes::default()
        }
    } else {
        Attributes {
            verb: text("verb"),
            group: text("group"),
            resource: text("resource"),
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
            path: None,
            field_selector: resource["fieldSelector"]["rawSelector"].as_str().unwrap_or_default(),
        }
    };
    let (allowed, reason) = match Authorizer::new(server).authorize(user, &attributes) {
        Ok(reason) => (true, reason),
        Err(reason) => (false, reason),
    };
    let mut status = json!({"allowed": allowed});
    if !reason.is_empty() {
        status["reason"] = json!(reason);
    }
    Ok(status)
}

fn rules(server: &Server, user: &UserInfo, namespace: &str) -> Value {
    let mut resources = Vec::new();
    let mut paths = Vec::new();
    for rule in rbac::rules(server, user, namespace) {
        if !rule.urls.is_empty() {
            paths.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.urls}));
        } else {
            let mut out = json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
            if !rule.resource_names.is_empty() {
                out["resourceNames"] = json!(rule.resource_names);
            }
            resources.push(out);
        }
    }
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
}

fn token(server: &Server, spec: &Value) -> Value {
    let asked = spec["audiences"].as_array().into_iter().flatten();
    let mut audiences: Vec<&str> = asked.filter_map(Value::as_str).collect();
    if audiences.is_empty() {
        audiences.push(ISSUER);
    }
    match authn::verify(server, spec["token"].as_str().unwrap_or_default(), &audiences) {
        Some(user) => json!({"authenticated": true, "user": user.to_value(), "audiences": audiences}),
        None => json!({"authenticated": false, "user": {}, "error": "invalid bearer token"}),
    }
}
