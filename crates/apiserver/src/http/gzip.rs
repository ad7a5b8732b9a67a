//! Compressed answers.

use std::io::Write;

use axum::body::Body;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::BodyExt;
use hyper::body::Body as _;

/// Smaller answers are sent as they are, as in Kubernetes: packing them costs more time than it saves.
const THRESHOLD: u64 = 128 << 10;

/// Whether the client takes gzip.
pub(crate) fn accepted(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let never = |part: &str| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
            parts.next() == Some("gzip") && !parts.any(never)
        })
}

/// Packs a large answer, or any if `always`. One that is still being made is left alone.
pub(crate) async fn compress(response: Response<Body>, always: bool) -> Response<Body> {
    let threshold = if always { 1 } else { THRESHOLD };
    let large = response
        .body()
        .size_hint()
        .exact()
        .is_some_and(|size| size >= threshold);
    if !large || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(whole) = body.collect().await else {
        return Response::from_parts(parts, Body::empty());
    };
    let plain = whole.to_bytes();
    let input = plain.clone();
    let packed = tokio::task::spawn_blocking(move || {
        let mut packer = GzEncoder::new(Vec::with_capacity(input.len() / 8), Compression::fast());
        packer.write_all(&input).and_then(|()| packer.finish())
    });
    let Ok(Ok(packed)) = packed.await else {
        return Response::from_parts(parts, Body::from(plain));
    };
    parts
        .headers
        .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts
        .headers
        .append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(packed))
}
