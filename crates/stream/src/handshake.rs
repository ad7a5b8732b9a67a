//! Which protocol a request asks to upgrade to, and the answer that agrees to it.

use axum::body::Body;
use axum::response::Response;
use http::header::{self, AsHeaderName, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::status::Failure;

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// What carries the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Spdy,
    WebSocket,
}

/// An upgrade that has been agreed on.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) wire: Wire,
    /// The protocol spoken over it, one of those given to [`negotiate`]; empty if the client named none.
    pub(crate) protocol: &'static str,
    /// The `101 Switching Protocols` to answer with.
    pub(crate) response: Response,
}

/// Agrees on an upgrade: the first protocol of the client's list that is among ours for the wire it asks for.
pub(crate) fn negotiate(
    version: Version,
    headers: &HeaderMap,
    spdy: &[&'static str],
    websocket: &[&'static str],
) -> Result<Handshake, Failure> {
    let upgrade = has_token(headers, header::CONNECTION, "upgrade") && version == Version::HTTP_11;
    let (wire, name, ours) = if upgrade && has_token(headers, header::UPGRADE, "spdy/3.1") {
        (Wire::Spdy, STREAM_PROTOCOL, spdy)
    } else if upgrade && has_token(headers, header::UPGRADE, "websocket") {
        (Wire::WebSocket, header::SEC_WEBSOCKET_PROTOCOL, websocket)
    } else {
        return Err(Failure::bad_request("Upgrade request required"));
    };
    let protocol = choose(headers, &name, ours)?;

    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    match wire {
        Wire::Spdy => answer.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1")),
        Wire::WebSocket => {
            if headers
                .get(header::SEC_WEBSOCKET_VERSION)
                .is_none_or(|version| version != "13")
            {
                return Err(Failure::bad_request("Sec-WebSocket-Version must be 13"));
            }
            let key = headers.get(header::SEC_WEBSOCKET_KEY);
            let key = key.ok_or_else(|| Failure::bad_request("Sec-WebSocket-Key is missing"))?;
            let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()))
                .map_err(|_| Failure::bad_request("Sec-WebSocket-Key is malformed"))?;
            answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
            answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"))
        }
    };
    if !protocol.is_empty() {
        answer.insert(name, HeaderValue::from_static(protocol));
    }
    Ok(Handshake {
        wire,
        protocol,
        response,
    })
}

fn choose(headers: &HeaderMap, name: &HeaderName, ours: &[&'static str]) -> Result<&'static str, Failure> {
    // A browser has no other way to hand over a token than to disguise it as a protocol.
    let mut offered = tokens(headers, name)
        .filter(|token| !token.starts_with("base64url.bearer.authorization."))
        .peekable();
    if offered.peek().is_none() {
        return Ok("");
    }
    let chosen = offered.find_map(|token| ours.iter().find(|protocol| **protocol == token));
    chosen.copied().ok_or_else(|| {
        let theirs: Vec<_> = tokens(headers, name).collect();
        let (theirs, ours) = (theirs.join(" "), ours.join(" "));
        Failure::forbidden(format!(
            "unable to negotiate protocol: client supports [{theirs}], server accepts [{ours}]"
        ))
    })
}

/// The elements of a comma-separated header, however many lines it has.
pub(crate) fn tokens(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &str> {
    let lines = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

pub(crate) fn has_token(headers: &HeaderMap, name: impl AsHeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPDY: &[&str] = &["v4.channel.k8s.io", "v3.channel.k8s.io"];
    const WEBSOCKET: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];

    fn request(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn agree(lines: &[(&'static str, &'static str)]) -> Result<Handshake, Failure> {
        negotiate(Version::HTTP_11, &request(lines), SPDY, WEBSOCKET)
    }

    #[test]
    fn the_first_protocol_of_the_client_that_we_speak_is_chosen() {
        let spdy = agree(&[
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v5.channel.k8s.io"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("x-stream-protocol-version", "v3.channel.k8s.io"),
        ])
        .unwrap();
        assert_eq!((spdy.wire, spdy.protocol), (Wire::Spdy, "v4.channel.k8s.io"));
        assert_eq!(
            spdy.response.headers()["x-stream-protocol-version"],
            "v4.channel.k8s.io"
        );

        let websocket = agree(&[
            ("connection", "keep-alive, upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            (
                "sec-websocket-protocol",
                "base64url.bearer.authorization.k8s.io.c2VjcmV0, v4.channel.k8s.io",
            ),
        ])
        .unwrap();
        assert_eq!(
            (websocket.wire, websocket.protocol),
            (Wire::WebSocket, "v4.channel.k8s.io")
        );
        assert_eq!(
            websocket.response.headers()["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(
            websocket.response.headers()["sec-websocket-protocol"],
            "v4.channel.k8s.io"
        );
    }

    #[test]
    fn a_request_we_cannot_agree_to_says_why() {
        assert_eq!(agree(&[]).unwrap_err().message, "Upgrade request required");
        let alien = agree(&[
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v9.channel.k8s.io"),
        ]);
        assert_eq!(
            alien.unwrap_err().message,
            "unable to negotiate protocol: client supports [v9.channel.k8s.io], server accepts [v4.channel.k8s.io \
             v3.channel.k8s.io]"
        );
        let keyless = agree(&[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
        ]);
        assert_eq!(keyless.unwrap_err().code, StatusCode::BAD_REQUEST);
    }
}
