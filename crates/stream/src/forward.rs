//! Port forwarding.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;

use crate::backend::{Backend, PodRef};
use crate::status::Failure;

/// Serves `pods/portforward`. The ports come from the streams' headers (SPDY) or the request's `ports` parameters
/// (WebSocket channels).
pub async fn port_forward(_req: Request, _backend: Arc<dyn Backend>, _pod: PodRef) -> Response {
    Failure::bad_request("Upgrade request required").into_response()
}
