//! From bytes on a connection to a [`Call`], and back.

pub(crate) mod accept;
pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod listen;
pub(crate) mod memory;
pub(crate) mod path;
pub(crate) mod query;
pub(crate) mod render;
mod root;

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, Method, Request, Response};
use knarr_resource::Failure;

use crate::auth::rbac::{self, Attributes};
use crate::auth::{User, authn};
use crate::server::Server;
use crate::{refusal, subresource, verb};
use call::Call;
use path::{ResourcePath, Route};
use query::Query;

/// Answers one request. `known` is the user of a connection that was authenticated when it was made.
pub(crate) async fn handle(server: Arc<Server>, known: Option<User>, request: Request<Body>) -> Response<Body> {
    let audit = HeaderValue::from_str(&knarr_resource::new_uid());
    let head = request.method() == Method::HEAD;
    let mut response = match answer(server, known, request).await {
        Ok(response) => response,
        Err(failure) => refusal::response(&failure),
    };
    if head {
        // HTTP/1 drops such a body by itself, but in HTTP/2 it is a violation of the protocol.
        *response.body_mut() = Body::empty();
    }
    if let Ok(id) = audit {
        response.headers_mut().insert("audit-id", id);
    }
    response
}

async fn answer(server: Arc<Server>, known: Option<User>, request: Request<Body>) -> Result<Response<Body>, Failure> {
    let user = match known {
        // A client in this process may still send credentials of its own; they are more specific.
        Some(user) if !request.headers().contains_key(http::header::AUTHORIZATION) => user,
        _ => authn::authenticate(&server, request.headers())?,
    };
    let user = authn::impersonate(&server, user, request.headers())?;
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let path = request.uri().path().to_owned();
    match path::route(&path) {
        Route::Resource(place) => resource(server, user, place, query, request).await,
        route => {
            let attributes = Attributes {
                verb: plain_verb(request.method()),
                group: "",
                resource: "",
                subresource: "",
                namespace: "",
                name: "",
                path: Some(&path),
            };
            permit(&server, &user, &attributes)?;
            root::answer(&server, route, &path, &query, &request)
        }
    }
}

async fn resource(
    server: Arc<Server>,
    user: User,
    place: ResourcePath,
    query: Query,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let verb = resource_verb(request.method(), &place, &query);
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
        name: &place.name,
        path: None,
    };
    permit(&server, &user, &attributes)?;
    let resource = server
        .resource(&place.group, &place.version, &place.plural)
        .ok_or_else(refusal::unknown_path)?;
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
    let call = Call {
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
    match &call.subresource {
        Some(_) => subresource::answer(server, call, body).await,
        None => {
            let refused = everywhere && matches!(verb, "create" | "deletecollection") && call.resource.stored();
            let refused = refused || (call.name.is_empty() && matches!(verb, "update" | "patch"));
            let refused = refused || (!call.name.is_empty() && verb == "create");
            if refused || !call.resource.has_verb(verb) {
                return Err(refusal::method_not_allowed());
            }
            verb::answer(server, call, body).await
        }
    }
}

/// Checks the permission. Who has not said who they are is asked to, rather than told no.
fn permit(server: &Server, user: &User, attributes: &Attributes<'_>) -> Result<(), Failure> {
    rbac::check(server, user, attributes)
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
        Method::GET | Method::HEAD if place.watch || (query.flag("watch") && place.subresource.is_empty()) => "watch",
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
