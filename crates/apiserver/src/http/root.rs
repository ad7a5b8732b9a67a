//! What lies outside of the resources: discovery, health, version, OpenAPI, and the keys that verify tokens.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use knarr_resource::Failure;
use knarr_schema::openapi::{self, Document};
use serde_json::{Value, json};

use super::path::Route;
use super::query::Query;
use super::{accept, render};
use crate::auth::token::ISSUER;
use crate::server::Server;
use crate::{discovery, refusal};

pub(crate) fn answer(
    server: &Server,
    route: Route,
    path: &str,
    query: &Query,
    request: &Request<Body>,
) -> Result<Response<Body>, Failure> {
    let headers = request.headers();
    let served = server.served();
    if let Route::Version { group, version } = &route {
        reading(request)?;
        let document = served
            .discovery
            .version(group, version)
            .ok_or_else(refusal::unknown_path)?;
        return json_response(headers, query, &document);
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if !matches!(parts.first(), Some(&("healthz" | "livez" | "readyz"))) {
        known(&parts)?;
    }
    reading(request)?;
    match parts.as_slice() {
        [] => json_response(headers, query, &json!({"paths": paths(server)})),
        ["api"] => match discovery::aggregation(headers) {
            Some(version) => Ok(discovery::respond(&served.discovery.aggregated(true, version), version)),
            None => {
                let address = server
                    .options
                    .advertise
                    .map(|address| address.to_string())
                    .unwrap_or_default();
                json_response(headers, query, &served.discovery.core(&address))
            }
        },
        ["apis"] => match discovery::aggregation(headers) {
            Some(version) => Ok(discovery::respond(
                &served.discovery.aggregated(false, version),
                version,
            )),
            None => json_response(headers, query, &served.discovery.group_list()),
        },
        ["apis", group] => {
            let document = served.discovery.group(group).ok_or_else(refusal::unknown_path)?;
            json_response(headers, query, &document)
        }
        ["version"] => json_response(headers, query, &version(server)),
        ["openapi", "v2"] => Ok(openapi_v2(server, headers)),
        ["openapi", "v3"] => json_response(headers, query, &served.openapi.v3_index()),
        ["openapi", "v3", group @ ..] => {
            let document = served
                .openapi
                .v3_group(&group.join("/"))
                .ok_or_else(refusal::unknown_path)?;
            Ok(document_response(&document, headers, query))
        }
        [".well-known", "openid-configuration"] => json_response(
            headers,
            query,
            &json!({
                "issuer": ISSUER,
                "jwks_uri": format!("{ISSUER}/openid/v1/jwks"),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            }),
        ),
        ["openid", "v1", "jwks"] => json_response(headers, query, &server.signer.jwks()),
        [endpoint @ ("healthz" | "livez" | "readyz"), check @ ..] => health(server, endpoint, check, query),
        _ => Err(refusal::unknown_path()),
    }
}

/// 404 goes before 405.
fn known(parts: &[&str]) -> Result<(), Failure> {
    match parts.first() {
        None | Some(&("api" | "apis" | "version" | "openapi" | "openid" | ".well-known")) => Ok(()),
        _ => Err(refusal::unknown_path()),
    }
}

fn reading(request: &Request<Body>) -> Result<(), Failure> {
    match *request.method() {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(refusal::method_not_allowed()),
    }
}

/// JSON or YAML; these documents have no other shape, and older clients ask for strange ones.
fn json_response(headers: &HeaderMap, query: &Query, value: &Value) -> Result<Response<Body>, Failure> {
    let form = match accept::negotiate(headers, query) {
        Ok(form) => form,
        Err(failure) => match accept::clauses(headers)
            .iter()
            .any(|clause| clause.media.contains("json"))
        {
            true => accept::negotiate(&HeaderMap::new(), query)?,
            false => return Err(failure),
        },
    };
    render::plain(form, StatusCode::OK, value)
}

fn version(server: &Server) -> Value {
    let text = &server.options.version;
    let mut numbers = text.trim_start_matches('v').split('.');
    let platform = format!("{}/{}", std::env::consts::OS, architecture());
    json!({
        "major": numbers.next().unwrap_or_default(),
        "minor": numbers.next().unwrap_or_default(),
        "gitVersion": text,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": platform,
    })
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn paths(server: &Server) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/api/v1",
        "/apis",
        "/healthz",
        "/livez",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .into();
    let served = server.served();
    for resource in served.registry.iter().filter(|resource| !resource.group.is_empty()) {
        paths.push(format!("/apis/{}", resource.group));
        paths.push(format!("/apis/{}/{}", resource.group, resource.version));
    }
    if let Some(index) = served.openapi.v3_index()["paths"].as_object() {
        paths.extend(index.keys().map(|path| format!("/openapi/v3/{path}")));
    }
    paths.sort();
    paths.dedup();
    paths
}

/// Old clients insist on protobuf and go on to v3 when it decodes; others get JSON.
fn openapi_v2(server: &Server, headers: &HeaderMap) -> Response<Body> {
    let wants_json = accept::clauses(headers)
        .first()
        .is_none_or(|clause| matches!(clause.media, "application/json" | "*/*" | "application/*"));
    if wants_json {
        return document_response(&server.served().openapi.v2_json(), headers, &Query::default());
    }
    let mut response = Response::new(Body::from(openapi::v2_stub()));
    // The type that clients ask for contains an "@", which their own parser does not accept in an answer.
    let media = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response
}

fn document_response(document: &Document, headers: &HeaderMap, query: &Query) -> Response<Body> {
    let tag = format!("\"{}\"", document.etag);
    let same = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|sent| sent.as_bytes() == tag.as_bytes());
    let mut response = match same {
        true => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        }
        false => Response::new(Body::from(document.json.clone())),
    };
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        out.insert(header::ETAG, tag);
    }
    // Under a URL that contains the hash, the document can never change.
    if query.get("hash").is_some_and(|hash| hash == document.etag) {
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    response
}

fn health(server: &Server, endpoint: &str, check: &[&str], query: &Query) -> Result<Response<Body>, Failure> {
    let ready = server.is_ready();
    let checks: &[(&str, bool)] = match endpoint {
        "livez" => &[("ping", true)],
        _ => &[
            ("ping", true),
            ("etcd", ready),
            ("poststarthook/rbac/bootstrap-roles", ready),
            ("shutdown", ready),
        ],
    };
    let wanted = check.join("/");
    let checks: Vec<_> = checks
        .iter()
        .filter(|(name, _)| wanted.is_empty() || *name == wanted)
        .collect();
    if checks.is_empty() {
        return Err(refusal::unknown_path());
    }
    let passed = checks.iter().all(|(_, passed)| *passed);
    let verbose = query.all("verbose").next().is_some();
    let text = if passed && !verbose {
        "ok".to_owned()
    } else {
        let mut text = String::new();
        for (name, passed) in checks {
            text.push_str(&match passed {
                true => format!("[+]{name} ok\n"),
                false => format!("[-]{name} failed: reason withheld\n"),
            });
        }
        text.push_str(&format!(
            "{endpoint} check {}\n",
            if passed { "passed" } else { "failed" }
        ));
        text
    };
    let mut response = Response::new(Body::from(text));
    if !passed {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    let media = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    Ok(response)
}
