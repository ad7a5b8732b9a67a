//! Container logs as a response body.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, header};

use crate::backend::LogStream;

/// Serves `pods/log`: chunked plain text; each chunk of the stream is on the wire before the next is awaited.
pub fn logs(stream: LogStream) -> Response {
    let mut response = Response::new(Body::from_stream(stream));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
