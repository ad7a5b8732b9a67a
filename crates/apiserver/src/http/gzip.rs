//! Compressed answers.

use std::io::Write;

use axum::body::Body;
use bytes::Bytes;
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

/// Packs a large answer. One that is still being made, or that is packed already, is left alone.
pub(crate) async fn compress(response: Response<Body>) -> Response<Body> {
    let large = response
        .body()
        .size_hint()
        .exact()
        .is_some_and(|size| size >= THRESHOLD);
    if !large || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(whole) = body.collect().await else {
        return Response::from_parts(parts, Body::empty());
    };
    let plain = whole.to_bytes();
    let input = plain.clone();
    let Ok(packed) = tokio::task::spawn_blocking(move || pack(&input)).await else {
        return Response::from_parts(parts, Body::from(plain));
    };
    mark(&mut parts.headers);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(packed))
}

/// Packs bytes, in a time that grows with them.
pub(crate) fn pack(plain: &[u8]) -> Bytes {
    let mut packer = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    let packed = packer.write_all(plain).and_then(|()| packer.finish());
    packed.expect("a Vec takes all bytes").into()
}

/// Says that an answer is packed.
pub(crate) fn mark(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
}
