//! What lies below an object: its status, its scale, and for pods everything that reaches into the running container.

pub(crate) mod binding;
mod container;
mod eviction;
pub(crate) mod node;
mod proxy;
mod scale;
mod token;

use std::sync::Arc;

use axum::body::Body;
use http::Response;
use knarr_resource::Status;

use crate::http::body::read;
use crate::http::request_info::RequestInfo;
use crate::refusal;
use crate::server::Server;
use crate::verb::{self, patch, update};

/// Answers a request for a subresource.
pub(crate) async fn answer(server: Arc<Server>, call: RequestInfo, body: Body) -> Result<Response<Body>, Status> {
    let Some(subresource) = &call.subresource else {
        return Err(refusal::unknown_path());
    };
    if !subresource.verbs.contains(&call.verb) {
        return Err(refusal::method_not_allowed());
    }
    match (call.resource.plural.as_str(), subresource.name, call.verb) {
        (_, "scale", _) => scale::answer(&server, &call, &read(body).await?).await,
        ("pods", "binding", _) => binding::post(&server, &call, read(body).await?).await,
        ("pods", "eviction", _) => eviction::post(&server, &call, &read(body).await?).await,
        ("serviceaccounts", "token", _) => token::post(&server, &call, &read(body).await?).await,
        ("pods", "log", _) => container::log(&server, &call).await,
        ("pods", "exec" | "attach" | "portforward", _) => container::connect(&server, call, body).await,
        (_, "proxy", _) => proxy::answer(&server, call, body).await,
        (_, _, "get") => verb::list::get(&server, &call).await,
        (_, _, "update") => update::answer(&server, &call, &read(body).await?).await,
        (_, _, "patch") => patch::answer(&server, &call, &read(body).await?).await,
        _ => Err(refusal::method_not_allowed()),
    }
}
