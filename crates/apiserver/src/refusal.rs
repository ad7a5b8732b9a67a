//! Refusals that concern the request rather than one kind of object, worded as `kube-apiserver` words them.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use knarr_resource::{ResourceInfo, Status};
use serde_json::{Value, json};

use crate::store::{Expired, WriteError};

/// What JSON, YAML and protobuf are called in requests and responses.
pub(crate) const MEDIA_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

fn plain(code: u16, reason: &'static str, message: impl Into<String>) -> Status {
    Status {
        code,
        reason,
        message: message.into(),
        details: Value::Null,
    }
}

/// 404: nothing is served under this path.
pub(crate) fn unknown_path() -> Status {
    Status {
        details: json!({}),
        ..plain(404, "NotFound", "the server could not find the requested resource")
    }
}

/// 405.
pub(crate) fn method_not_allowed() -> Status {
    Status {
        details: json!({}),
        ..plain(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }
}

/// 406: none of the media types will do.
pub(crate) fn not_acceptable(protobuf: bool) -> Status {
    let accepted = match protobuf {
        true => MEDIA_TYPES,
        false => "application/json, application/yaml",
    };
    not_acceptable_as(&format!("only the following media types are accepted: {accepted}"))
}

/// 406 in other words.
pub(crate) fn not_acceptable_as(message: &str) -> Status {
    plain(406, "NotAcceptable", message)
}

/// 415.
pub(crate) fn unsupported_media_type(accepted: &str) -> Status {
    plain(
        415,
        "UnsupportedMediaType",
        format!("the body of the request was in an unknown format - accepted media types include: {accepted}"),
    )
}

/// 413.
pub(crate) fn too_large(limit: usize) -> Status {
    plain(
        413,
        "RequestEntityTooLarge",
        format!("Request entity too large: limit is {limit}"),
    )
}

/// 401.
pub(crate) fn unauthorized() -> Status {
    plain(401, "Unauthorized", "Unauthorized")
}

/// 429: try again in a while.
pub(crate) fn too_many_requests(message: impl Into<String>) -> Status {
    plain(429, "TooManyRequests", message)
}

/// 500.
pub(crate) fn internal(cause: impl std::fmt::Display) -> Status {
    Status {
        details: json!({"causes": [{"message": cause.to_string()}]}),
        ..plain(500, "InternalError", format!("Internal error occurred: {cause}"))
    }
}

/// 503.
pub(crate) fn unavailable(message: impl Into<String>) -> Status {
    plain(503, "ServiceUnavailable", message)
}

/// 410: the version is older than the history.
pub(crate) fn expired(version: u64, expired: &Expired) -> Status {
    plain(
        410,
        "Expired",
        format!("too old resource version: {version} ({})", expired.oldest),
    )
}

/// 410: the version has not been given out, so it is of another life of this cluster.
pub(crate) fn from_the_future(version: u64, current: u64) -> Status {
    plain(
        410,
        "Expired",
        format!("too large resource version: {version}, current: {current}"),
    )
}

/// 410 for a continue token.
pub(crate) fn expired_continue(next: Option<&str>) -> Status {
    let failure = plain(
        410,
        "Expired",
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    match next {
        Some(token) => Status {
            // `to_value` puts details into the Status; the token belongs into its metadata, see `response`.
            details: json!({ CONTINUE: token }),
            ..failure
        },
        None => failure,
    }
}

/// Key under which [`expired_continue`] hands the token on.
const CONTINUE: &str = "\0continue";

/// 504: the version lies in the future of this server.
pub(crate) fn too_new(version: u64, current: u64) -> Status {
    Status {
        details: json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        }),
        ..plain(
            504,
            "Timeout",
            format!("Timeout: Too large resource version: {version}, current: {current}"),
        )
    }
}

/// The outcome of a refused write.
pub(crate) fn write(resource: &ResourceInfo, name: &str, error: &WriteError) -> Status {
    match error {
        WriteError::Exists => Status::already_exists(resource, name),
        WriteError::Missing => Status::not_found(resource, name),
        WriteError::Conflict => modified(resource, name),
        WriteError::Disk(_) | WriteError::Unknown(_) => internal(error),
        WriteError::Closed => unavailable("the server is shutting down"),
    }
}

/// 409: somebody else was faster.
pub(crate) fn modified(resource: &ResourceInfo, name: &str) -> Status {
    Status::conflict(
        resource,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )
}

/// 504: the server gave up.
pub(crate) fn timeout(message: &str) -> Status {
    Status {
        details: json!({}),
        ..plain(504, "Timeout", format!("Timeout: {message}"))
    }
}

/// 429 before anything was looked at.
pub(crate) fn busy() -> Response<Body> {
    let sentence = "Too many requests, please try again later.";
    let mut response = crate::http::text(StatusCode::TOO_MANY_REQUESTS, sentence);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The failure as an HTTP response, without a body yet: what that is written in is known where requests come in, see
/// [`crate::http::render::finish_status`].
pub(crate) fn response(failure: Status) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if failure.code == 401 {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = failure.details["retryAfterSeconds"].as_u64() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response.extensions_mut().insert(failure);
    response
}

/// The failure as a `Status`.
pub(crate) fn status(failure: &Status) -> Value {
    let mut status = failure.to_value();
    if let Some(token) = status["details"].get(CONTINUE).cloned() {
        status["metadata"]["continue"] = token;
        status["details"] = Value::Null;
    }
    status
}
