//! The reverse proxy behind `pods/proxy`, `services/proxy` and `nodes/proxy`.

use std::future::Future;

use axum::extract::Request;
use axum::response::Response;

use crate::backend::{BackendError, Duplex};
use crate::status::Failure;

/// Serves a `proxy` subresource over HTTP/1.
///
/// `connect` opens the connection to the proxied server, `path_and_query` is what to ask of it, and `prefix` is the path of
/// the proxy subresource itself (`/api/v1/namespaces/NS/pods/NAME/proxy`), under which redirects are rewritten.
pub async fn proxy(
    _req: Request,
    connect: impl Future<Output = Result<Duplex, BackendError>>,
    _path_and_query: &str,
    _prefix: &str,
) -> Response {
    match connect.await {
        Ok(_) => Failure::unavailable("error trying to reach service: not connected").into_response(),
        Err(error) => Failure::from(error).into_response(),
    }
}
