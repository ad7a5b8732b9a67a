//! Exec and attach.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;

use crate::backend::{Backend, ExecOptions, PodRef};
use crate::status::Failure;

/// Serves `pods/exec`: runs a command in a container and connects the client to it.
pub async fn exec(_req: Request, _backend: Arc<dyn Backend>, _pod: PodRef, _options: ExecOptions) -> Response {
    Failure::bad_request("Upgrade request required").into_response()
}

/// Serves `pods/attach`: connects the client to a container's main process.
pub async fn attach(_req: Request, _backend: Arc<dyn Backend>, _pod: PodRef, _options: ExecOptions) -> Response {
    Failure::bad_request("Upgrade request required").into_response()
}
