//! From bytes on a connection to a [`RequestInfo`], and back.

pub(crate) mod accept;
pub(crate) mod body;
mod drain;
mod gzip;
mod held;
pub(crate) mod inflight;
pub(crate) mod listen;
pub(crate) mod local;
pub(crate) mod metrics;
pub(crate) mod options;
pub(crate) mod path;
pub(crate) mod query;
pub(crate) mod render;
pub(crate) mod request_info;
mod root;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use knarr_apimachinery::duration;
use knarr_resource::Status;
use knarr_resource::selector::FieldSelector;

use crate::auth::rbac::Attributes;
use crate::auth::{UserInfo, authn, authorizer};
use crate::server::Server;
use crate::{aggregator, refusal, subresource, verb};
use path::{ResourcePath, Route};
use query::Query;
use request_info::RequestInfo;

/// How long a request may take that is not meant to last, as in `kube-apiserver` (`--request-timeout`).
const DEADLINE: Duration = Duration::from_secs(60);

/// Who is at the other end of a connection.
pub(crate) enum Peer {
    /// A component in this process, authenticated when its client was made.
    Local(UserInfo),
    /// Somebody whose certificate or whose requests say who they are.
    Remote(authn::Certificate),
}

/// Answers one request.
pub(crate) async fn handle(server: Arc<Server>, peer: Peer, request: Request<Body>) -> Response<Body> {
    let remote = matches!(peer, Peer::Remote(_));
    let (parts, body) = request.into_parts();
    if remote && parts.version == Version::HTTP_11 && !parts.headers.contains_key(header::HOST) {
        return close(text(
            StatusCode::BAD_REQUEST,
            "400 Bad Request: missing required Host header",
        ));
    }
    let (body, rest) = drain::lend(body);
    let request = Request::from_parts(parts, body);
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let route = path::route(request.uri().path());
    let lasts = route.lasts(&query);
    let apply = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|media| media.as_bytes().starts_with(b"application/apply-patch"));
    let labels = metrics::Labels::of(&server, request.method(), &route, &query, apply);
    let (host, began) = (server.clone(), tokio::time::Instant::now());
    // A connection to a container goes on after its answer, where nobody sees its end.
    let running = (!lasts || labels.verb() != "CONNECT").then(|| metrics::begin(&server, &labels, lasts));
    let method = request.method().clone();
    let encoding = accept::for_status(request.headers(), &query);
    let compressed = remote && !lasts && gzip::accepted(request.headers());
    let waits_for_continue = request.headers().contains_key(header::EXPECT);
    let version = request.version();

    let deadline = match remote && !lasts {
        true => timeout(&query),
        false => Ok(None),
    };
    let (answered, late) = match deadline {
        Err(failure) => (Err(failure), false),
        Ok(None) => (answer(server, peer, route, query, request).await, false),
        Ok(Some(limit)) => match tokio::time::timeout(limit, answer(server, peer, route, query, request)).await {
            Ok(answered) => (answered, false),
            Err(_) => (
                Err(refusal::timeout("request did not complete within the allotted timeout")),
                true,
            ),
        },
    };
    let mut response = answered.unwrap_or_else(refusal::response);
    render::finish_status(&mut response, encoding);
    match running {
        Some(running) if lasts => response = response.map(|body| held::hold(body, running)),
        running => drop(running),
    }
    host.metrics.end(labels, response.status().as_u16(), began.elapsed());
    if method == Method::HEAD {
        // HTTP/1 drops such a body by itself, but in HTTP/2 it is a violation of the protocol.
        *response.body_mut() = Body::empty();
    } else if compressed {
        response = gzip::compress(response).await;
    }
    if let Ok(id) = HeaderValue::from_str(&knarr_resource::new_uid()) {
        response.headers_mut().insert("audit-id", id);
    }
    if remote && (late || !rest.settle(waits_for_continue).await) && version < Version::HTTP_2 {
        response = close(response);
    }
    response
}

/// Tells an HTTP/1 client not to use the connection again.
fn close(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A sentence that is not a Status, as Go's `http.Error` writes it.
pub(crate) fn text(code: StatusCode, sentence: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{sentence}\n")));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// No API is served under this path.
pub(crate) fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found")
}

/// How long the request may take: at most [`DEADLINE`], less if the client says so.
fn timeout(query: &Query) -> Result<Option<Duration>, Status> {
    let Some(wanted) = query.get("timeout") else {
        return Ok(Some(DEADLINE));
    };
    let read = duration::parse(wanted).and_then(|read| Duration::try_from(read).ok());
    let wanted = read.ok_or_else(|| {
        Status::bad_request(format!(
            "invalid timeout specified in the request URL - time: invalid duration {wanted:?}"
        ))
    })?;
    Ok(Some(if wanted.is_zero() {
        DEADLINE
    } else {
        wanted.min(DEADLINE)
    }))
}

async fn answer(
    server: Arc<Server>,
    peer: Peer,
    route: Route,
    query: Query,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let (known, certificate, remote) = match peer {
        Peer::Local(user) => (Some(user), None, false),
        Peer::Remote(certificate) => (None, certificate, true),
    };
    let user = match known {
        // A client in this process may still send credentials of its own; they are more specific.
        Some(user) if !request.headers().contains_key(header::AUTHORIZATION) => user,
        _ => authn::authenticate(&server, &certificate, request.headers())?,
    };
    let user = authn::impersonate(&server, user, request.headers())?;
    let host = server.clone();
    let _seat = match remote && !route.lasts(&query) {
        true => Some(match host.inflight.enter(&user).await {
            Some(seat) => seat,
            None => return Ok(refusal::busy()),
        }),
        false => None,
    };
    match route {
        Route::Resource(place) => resource(server, user, place, query, request).await,
        route => {
            let served = server.served();
            let path = request.uri().path().to_owned();
            let attributes = Attributes {
                verb: plain_verb(request.method()),
                path: Some(&path),
                ..Attributes::default()
            };
            authorizer::check(&server, &user, &attributes)?;
            if let Route::Version { group, version } = &route
                && let Some(remote) = served.remote(group, version)
            {
                return Ok(aggregator::proxy(&server, remote, &user, request).await);
            }
            root::answer(&server, route, &path, &query, &request)
        }
    }
}

async fn resource(
    server: Arc<Server>,
    user: UserInfo,
    place: ResourcePath,
    query: Query,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let verb = resource_verb(request.method(), &place, &query);
    let field_selector = query.get("fieldSelector").unwrap_or_default();
    // A list by name is about one object.
    let selected = FieldSelector::read(field_selector).unwrap_or_default();
    let named = match place.name.as_str() {
        "" => selected.exact("metadata.name").unwrap_or_default(),
        name => name,
    };
    let attributes = Attributes {
        verb,
        group: &place.group,
        resource: &place.plural,
        subresource: &place.subresource,
        // Rights on a namespace can be given inside of it.
        namespace: match place.plural.as_str() {
            "namespaces" if place.group.is_empty() => &place.name,
            _ => &place.namespace,
        },
        name: named,
        path: None,
        field_selector,
    };
    authorizer::check(&server, &user, &attributes)?;
    let served = server.served();
    if let Some(remote) = served.remote(&place.group, &place.version) {
        return Ok(aggregator::proxy(&server, remote, &user, request).await);
    }
    let registry = &served.registry;
    let Some(resource) = registry.find(&place.group, &place.version, &place.plural).cloned() else {
        // Inside of a served version a 404 is a Status.
        let served = registry
            .iter()
            .any(|own| own.group == place.group && own.version == place.version);
        return match served {
            true => Err(refusal::unknown_path()),
            false => Ok(not_found()),
        };
    };
    if !resource.namespaced && !place.namespace.is_empty() {
        return Err(refusal::unknown_path());
    }
    let everywhere = resource.namespaced && place.namespace.is_empty();
    if everywhere && !place.name.is_empty() {
        return Err(refusal::unknown_path());
    }
    let subresource = match place.subresource.as_str() {
        "" => None,
        name => Some(resource.subresource(name).cloned().ok_or_else(refusal::unknown_path)?),
    };
    let (parts, body) = request.into_parts();
    let call = RequestInfo {
        user,
        verb,
        resource,
        subresource,
        namespace: place.namespace,
        name: place.name,
        rest: place.rest,
        query,
        parts,
    };
    if call.rest.is_some() && place.subresource != "proxy" {
        return Err(refusal::unknown_path());
    }
    if call.parts.method == Method::HEAD && place.subresource != "proxy" {
        return Err(refusal::method_not_allowed());
    }
    if !streams(&place.subresource) {
        call.form()?;
        options::check(&call)?;
    }
    let deprecated = call
        .resource
        .definition
        .as_ref()
        .and_then(|own| own.deprecation.clone());
    let answered = match &call.subresource {
        Some(_) => subresource::answer(server, call, body).await,
        None => {
            if verb == "create" && call.resource.is_terminating() {
                return Err(Status::forbidden(
                    &call.resource,
                    "",
                    "create not allowed while custom resource definition is terminating",
                ));
            }
            let refused = everywhere && matches!(verb, "create" | "deletecollection") && call.resource.stored();
            let refused = refused || (call.name.is_empty() && matches!(verb, "update" | "patch"));
            let refused = refused || (!call.name.is_empty() && verb == "create");
            if refused || !call.resource.has_verb(verb) {
                return Err(refusal::method_not_allowed());
            }
            verb::answer(server, call, body).await
        }
    };
    match deprecated {
        None => answered,
        Some(warning) => {
            let mut response = answered.unwrap_or_else(refusal::response);
            render::warn(&mut response, &[warning]);
            Ok(response)
        }
    }
}

/// Whether a subresource is a stream rather than something to read or write.
fn streams(subresource: &str) -> bool {
    subresource == "log" || connects(subresource)
}

/// Whether a subresource is a connection to somewhere else.
fn connects(subresource: &str) -> bool {
    matches!(subresource, "exec" | "attach" | "portforward" | "proxy")
}

fn plain_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "options",
    }
}

fn resource_verb(method: &Method, place: &ResourcePath, query: &Query) -> &'static str {
    let one = !place.name.is_empty();
    match *method {
        Method::GET | Method::HEAD if place.watches(query) => "watch",
        Method::GET | Method::HEAD if one => "get",
        Method::GET | Method::HEAD => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if one => "delete",
        Method::DELETE => "deletecollection",
        _ => "",
    }
}
