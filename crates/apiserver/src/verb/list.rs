//! GET: one object, or a list.

use axum::body::Body;
use http::{Response, StatusCode};
use knarr_resource::Status;
use serde_json::{Value, json};

use crate::http::options;
use crate::http::render::{self, Writer};
use crate::http::request_info::RequestInfo;
use crate::registry::{self, List};
use crate::server::Server;

/// One object.
pub(crate) async fn get(server: &Server, call: &RequestInfo) -> Result<Response<Body>, Status> {
    let version = call.query.number("resourceVersion")?;
    let object = registry::get(server, &call.request(), version).await?;
    render::object(server, call, StatusCode::OK, &object)
}

pub(crate) async fn answer(server: &Server, call: &RequestInfo) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    let list = registry::list(server, &call.request(), &options::list(call)?).await?;
    let writer = Writer::new(call, form.shape)?;
    let bytes = writer.list(server, &list.objects, &metadata(&list));
    render::finish(form.encoding, StatusCode::OK, bytes)
}

fn metadata(list: &List) -> Value {
    let mut metadata = json!({"resourceVersion": list.version.to_string()});
    if let Some(next) = &list.next {
        metadata["continue"] = json!(next);
    }
    if let Some(remaining) = list.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    metadata
}
