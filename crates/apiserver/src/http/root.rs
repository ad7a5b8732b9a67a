//! What lies outside of the resources: discovery, health, version, OpenAPI, and the keys that verify tokens.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use knarr_resource::Status;
use knarr_schema::openapi::Document;
use knarr_schema::proto;
use serde_json::{Value, json};

use super::accept::Offer;
use super::path::Route;
use super::query::Query;
use super::{accept, gzip, metrics, not_found, render, text};
use crate::auth::token::ISSUER;
use crate::server::Server;
use crate::{discovery, refusal};

pub(crate) fn answer(
    server: &Server,
    route: Route,
    path: &str,
    query: &Query,
    request: &Request<Body>,
) -> Result<Response<Body>, Status> {
    let headers = request.headers();
    let served = server.served();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let found = match (&route, parts.as_slice()) {
        (Route::Version { group, version }, _) => served.discovery.version(group, version),
        (_, ["apis", group]) => served.discovery.group(group),
        (_, ["api"]) if discovery::aggregation(headers).is_none() => {
            let address = server.options.advertise.map(|address| address.to_string());
            Some(served.discovery.core(&address.unwrap_or_default()))
        }
        (_, ["apis"]) if discovery::aggregation(headers).is_none() => Some(served.discovery.group_list()),
        (_, ["version"]) => Some(version(server)),
        (_, [".well-known", "openid-configuration"]) => Some(json!({
            "issuer": ISSUER,
            "jwks_uri": format!("{ISSUER}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })),
        (_, ["openid", "v1", "jwks"]) => Some(server.signer.jwks()),
        _ => None,
    };
    if let Some(document) = found {
        return match *request.method() {
            Method::GET => json_response(headers, query, &document),
            _ => Err(refusal::method_not_allowed()),
        };
    }
    // What follows is not part of the API in the narrow sense: any method will do, and a 404 is a page.
    match parts.as_slice() {
        [] => json_response(headers, query, &json!({"paths": paths(server)})),
        [root @ ("api" | "apis")] => {
            let version = discovery::aggregation(headers).unwrap_or("v2");
            let document = served.discovery.aggregated(*root == "api", version);
            Ok(discovery::respond(&document, version, headers))
        }
        ["openapi", "v2"] => Ok(openapi_v2(server, headers)),
        ["openapi", "v3"] => json_response(headers, query, &served.openapi.v3_index()),
        ["openapi", "v3", group @ ..] => Ok(match served.openapi.v3_group(&group.join("/")) {
            Some(document) => document_response(&document, headers, query),
            None => not_found(),
        }),
        ["metrics"] => Ok(metrics::answer(server)),
        [endpoint @ ("healthz" | "livez" | "readyz"), check @ ..] => {
            Ok(health(server, endpoint, &check.join("/"), query))
        }
        _ => Ok(not_found()),
    }
}

/// JSON or YAML; these documents have no other shape, and older clients ask for strange ones.
fn json_response(headers: &HeaderMap, query: &Query, value: &Value) -> Result<Response<Body>, Status> {
    let api_version = value["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let protobuf = proto::can_encode(group, version, value["kind"].as_str().unwrap_or_default());
    let offer = Offer {
        protobuf,
        tables: false,
    };
    let form = match accept::negotiate(headers, query, offer) {
        Ok(form) => form,
        Err(failure) => match accept::clauses(headers)
            .iter()
            .any(|clause| clause.media.contains("json"))
        {
            true => accept::negotiate(&HeaderMap::new(), query, Offer::default())?,
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
        "/metrics",
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

/// JSON, or protobuf for those who prefer it: kubectl before 1.27, and client-go's discovery.
fn openapi_v2(server: &Server, headers: &HeaderMap) -> Response<Body> {
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    let openapi = &server.served().openapi;
    if !headers.contains_key(header::ACCEPT) {
        return document_response(&openapi.v2_json(), headers, &Query::default());
    }
    let wanted = accept::clauses(headers)
        .into_iter()
        .find_map(|clause| match clause.media {
            "application/json" | "*/*" | "application/*" => Some(false),
            // Clients ask with an "@", which Go's own parser of media types does not accept in an answer.
            PROTOBUF | "application/com.github.proto-openapi.spec.v2@v1.0+protobuf" => Some(true),
            _ => None,
        });
    let mut response = match wanted {
        Some(true) => {
            let mut response = document_response(&openapi.v2_protobuf(), headers, &Query::default());
            let media = HeaderValue::from_static(PROTOBUF);
            response.headers_mut().insert(header::CONTENT_TYPE, media);
            response
        }
        Some(false) => document_response(&openapi.v2_json(), headers, &Query::default()),
        None => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_ACCEPTABLE;
            response
        }
    };
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("Accept"));
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
        false if gzip::accepted(headers) => {
            let mut response = Response::new(Body::from(document.packed(gzip::pack)));
            gzip::mark(response.headers_mut());
            response
        }
        false => Response::new(Body::from(document.body.clone())),
    };
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        out.insert(header::ETAG, tag);
    }
    // Under a URL that contains the hash, the document can never change.
    let cache = match query.get("hash").is_some_and(|hash| hash == document.etag) {
        true => "public, immutable",
        false => "no-cache, private",
    };
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}

/// Whether the server is in health: all of it, or one check by name, as `k8s.io/apiserver/pkg/server/healthz`.
fn health(server: &Server, endpoint: &str, wanted: &str, query: &Query) -> Response<Body> {
    let checks = checks(server, endpoint);
    if !wanted.is_empty() {
        return match checks.iter().find(|(name, _)| *name == wanted) {
            Some((_, None)) => plain("ok".to_owned()),
            Some((_, Some(reason))) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("internal server error: {reason}"),
            ),
            None => not_found(),
        };
    }
    let (mut report, mut failed) = (String::new(), false);
    let mut excluded: Vec<&str> = query.all("exclude").collect();
    for (name, trouble) in checks {
        let before = excluded.len();
        excluded.retain(|own| *own != name);
        report.push_str(&match trouble {
            _ if excluded.len() < before => format!("[+]{name} excluded: ok\n"),
            None => format!("[+]{name} ok\n"),
            Some(_) => {
                failed = true;
                // Who may see this page need not know more.
                format!("[-]{name} failed: reason withheld\n")
            }
        });
    }
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
        let names = names.join(",");
        report.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {names}\n"
        ));
    }
    if failed {
        return text(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("{report}{endpoint} check failed"),
        );
    }
    match query.all("verbose").next() {
        None => plain("ok".to_owned()),
        Some(_) => plain(format!("{report}{endpoint} check passed\n")),
    }
}

/// The checks of an endpoint, each with what is wrong.
fn checks(server: &Server, endpoint: &str) -> Vec<(&'static str, Option<String>)> {
    let when = |bad: bool, why: &str| bad.then(|| why.to_owned());
    let starting = !server.is_ready() && !server.stopping.is_cancelled();
    let disk = server
        .store
        .health()
        .err()
        .map(|why| format!("the disk refuses to store: {why}"));
    let store = when(starting && endpoint != "livez", "the store is not open yet");
    let mut checks = vec![("ping", None), ("etcd", store.or(disk))];
    if endpoint != "livez" {
        checks.push(("poststarthook/rbac/bootstrap-roles", when(starting, "not finished")));
    }
    if endpoint == "readyz" {
        let stopping = server.stopping.is_cancelled();
        checks.push(("shutdown", when(stopping, "process is shutting down")));
    }
    checks
}

fn plain(body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}
