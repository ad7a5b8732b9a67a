//! The verbs: what can be done with every resource alike.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod input;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod update;
pub(crate) mod watch;

use std::sync::Arc;

use axum::body::Body;
use http::Response;
use knarr_resource::Status;

use crate::auth::review;
use crate::http::request_info::RequestInfo;
use crate::http::{body, render};
use crate::refusal;
use crate::server::Server;
use crate::subresource::binding;
use crate::usage;

/// Answers a request for a resource itself.
pub(crate) async fn answer(server: Arc<Server>, call: RequestInfo, body: Body) -> Result<Response<Body>, Status> {
    let Some(warning) = deprecation(&call) else {
        return dispatch(server, call, body).await;
    };
    let mut response = dispatch(server, call, body).await.unwrap_or_else(refusal::response);
    render::warn(&mut response, &[warning.to_owned()]);
    Ok(response)
}

/// What is said to whoever uses a kind that others have replaced.
fn deprecation(call: &RequestInfo) -> Option<&'static str> {
    match (call.resource.group.as_str(), call.resource.plural.as_str()) {
        ("", "endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        _ => None,
    }
}

async fn dispatch(server: Arc<Server>, call: RequestInfo, body: Body) -> Result<Response<Body>, Status> {
    if call.resource.plural == "bindings" {
        return binding::post(&server, &call, body::read(body).await?).await;
    }
    if call.resource.group == usage::GROUP {
        return usage::answer(&server, &call).await;
    }
    if !call.resource.stored() {
        return review::answer(&server, &call, body::read(body).await?);
    }
    match call.verb {
        "get" => list::get(&server, &call).await,
        "list" => list::answer(&server, &call).await,
        "watch" => watch::answer(server, call),
        "create" => create::answer(&server, &call, &body::read(body).await?).await,
        "update" => update::answer(&server, &call, &body::read(body).await?).await,
        "patch" => patch::answer(&server, &call, &body::read(body).await?).await,
        "delete" => delete::answer(&server, &call, &body::read(body).await?).await,
        _ => delete::collection(&server, &call, &body::read(body).await?).await,
    }
}
