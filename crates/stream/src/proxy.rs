//! The reverse proxy behind `pods/proxy`, `services/proxy` and `nodes/proxy`.
//!
//! What it changes on the way is what every proxy must (the headers that speak of one connection only), what the server
//! behind it may want to know (who asked, for what), and the paths of redirects, which the server believes to start at its
//! own root. Bodies and upgraded connections pass untouched, at the pace of the slower side.

use std::future::Future;
use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, Version};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::backend::{BackendError, Duplex};
use crate::handshake::{has_token, tokens};
use crate::status::Failure;

/// Headers that speak of one connection, not of the message.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Serves a `proxy` subresource over HTTP/1.
///
/// `connect` opens the connection to the proxied server, `path_and_query` is what to ask of it, and `prefix` is the path of
/// the proxy subresource itself (`/api/v1/namespaces/NS/pods/NAME/proxy`), under which redirects are rewritten.
pub async fn proxy(
    req: Request,
    connect: impl Future<Output = Result<Duplex, BackendError>>,
    path_and_query: &str,
    prefix: &str,
) -> Response {
    serve(req, connect, path_and_query, prefix)
        .await
        .unwrap_or_else(Failure::into_response)
}

async fn serve(
    mut req: Request,
    connect: impl Future<Output = Result<Duplex, BackendError>>,
    path_and_query: &str,
    prefix: &str,
) -> Result<Response, Failure> {
    let prefix = prefix.trim_end_matches('/');
    let (path, query) = path_and_query
        .split_once('?')
        .map_or((path_and_query, None), |(path, query)| (path, Some(query)));
    if path.is_empty() && (req.method() == Method::GET || req.method() == Method::HEAD) {
        // Without the slash, the relative links of the page would lead out of the proxy.
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        return Ok(redirect(&format!("{prefix}/{query}")));
    }
    let target = if path.starts_with('/') {
        path_and_query.to_owned()
    } else {
        format!("/{path_and_query}")
    };
    let uri = Uri::try_from(&target).map_err(|_| Failure::bad_request(format!("{target:?} is not a path")))?;
    let host = host(&req);

    let connection = connect.await.map_err(|error| match error {
        BackendError::Internal(text) => unreachable(&text),
        error => error.into(),
    })?;
    let (mut sender, driver) = http1::handshake(TokioIo::new(connection))
        .await
        .map_err(|error| unreachable(&error))?;
    tokio::spawn(async move {
        if let Err(error) = driver.with_upgrades().await {
            tracing::debug!(%error, "the proxied connection failed");
        }
    });

    let client = hyper::upgrade::on(&mut req);
    let request = onward(req, uri, host.as_ref(), &format!("{prefix}{path}"));
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| unreachable(&error))?;
    Ok(back(response, client, prefix, host.as_ref()))
}

fn unreachable(error: &dyn std::fmt::Display) -> Failure {
    Failure::unavailable(format!("error trying to reach service: {error}"))
}

fn redirect(to: &str) -> Response {
    let mut response = Response::new(Body::empty());
    if let Ok(location) = HeaderValue::try_from(to) {
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The host the client asked for: a header in HTTP/1, part of the URI in HTTP/2.
fn host(req: &Request) -> Option<HeaderValue> {
    let header = req.headers().get(header::HOST).cloned();
    header.or_else(|| HeaderValue::try_from(req.uri().authority()?.as_str()).ok())
}

/// The request as the proxied server gets it.
fn onward(req: Request, uri: Uri, host: Option<&HeaderValue>, forwarded_uri: &str) -> Request {
    let (mut parts, body) = req.into_parts();
    let scheme = parts
        .uri
        .scheme_str()
        .and_then(|scheme| HeaderValue::try_from(scheme).ok());
    let client = parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(address)| address.ip());
    let upgrade = upgrade(&parts.headers);
    let headers = &mut parts.headers;
    strip(headers);
    // hyper has answered it, and the API server's credentials are not the pod's business.
    headers.remove(header::EXPECT);
    headers.remove(header::AUTHORIZATION);
    if let Some(upgrade) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, upgrade);
    }

    let host = host.cloned().unwrap_or_else(|| HeaderValue::from_static("localhost"));
    headers.insert(header::HOST, host.clone());
    headers.entry(FORWARDED_HOST).or_insert(host);
    if let Some(scheme) = scheme {
        headers.entry(FORWARDED_PROTO).or_insert(scheme);
    }
    if let Ok(uri) = HeaderValue::try_from(forwarded_uri) {
        headers.insert(FORWARDED_URI, uri);
    }
    if let Some(client) = client {
        let chain = tokens(headers, FORWARDED_FOR)
            .map(str::to_owned)
            .chain([client.to_string()]);
        if let Ok(chain) = HeaderValue::try_from(chain.collect::<Vec<_>>().join(", ")) {
            headers.insert(FORWARDED_FOR, chain);
        }
    }

    let mut request = Request::new(body);
    *request.method_mut() = parts.method;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = parts.headers;
    request
}

/// The response as the client gets it.
fn back(
    mut response: http::Response<hyper::body::Incoming>,
    client: OnUpgrade,
    prefix: &str,
    host: Option<&HeaderValue>,
) -> Response {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let server = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            let result = async {
                let (client, server) = tokio::try_join!(client, server).map_err(std::io::Error::other)?;
                tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server)).await
            };
            if let Err(error) = result.await {
                tracing::debug!(%error, "the upgraded connection failed");
            }
        });
        return response.map(|_| Body::empty());
    }
    *response.version_mut() = Version::HTTP_11;
    let headers = response.headers_mut();
    strip(headers);
    if let Some(location) = headers
        .get(header::LOCATION)
        .and_then(|location| relocate(location, prefix, host))
    {
        headers.insert(header::LOCATION, location);
    }
    response.map(Body::new)
}

/// The protocol a request asks to switch to.
fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    headers
        .get(header::UPGRADE)
        .filter(|_| has_token(headers, header::CONNECTION, "upgrade"))
        .cloned()
}

/// Removes the headers of one hop, among them those that `Connection` names.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<String> = tokens(headers, header::CONNECTION).map(str::to_owned).collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
}

/// Where a redirect leads when seen from outside the proxy; `None` if it can stay as it is.
fn relocate(location: &HeaderValue, prefix: &str, host: Option<&HeaderValue>) -> Option<HeaderValue> {
    let location = location.to_str().ok()?;
    let path = if location.starts_with('/') && !location.starts_with("//") {
        location
    } else {
        // Only the server's own pages are behind the proxy. It knows itself by the name the client used.
        let uri: Uri = location.parse().ok()?;
        uri.scheme()?;
        let authority = uri.authority()?.as_str();
        if host.is_none_or(|host| host != authority) {
            return None;
        }
        let after = location.split_once("://")?.1;
        after.find('/').map_or("/", |start| &after[start..])
    };
    let already_inside = path
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    if already_inside && path == location {
        return None;
    }
    let moved = if already_inside {
        path.to_owned()
    } else {
        format!("{prefix}{path}")
    };
    HeaderValue::try_from(moved).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_of_the_server_stay_under_the_proxy() {
        let host = HeaderValue::from_static("api:6443");
        for (location, moved) in [
            ("/login", Some("/p/proxy/login")),
            ("/login?next=/a", Some("/p/proxy/login?next=/a")),
            ("http://api:6443/login?x=1", Some("/p/proxy/login?x=1")),
            ("http://api:6443", Some("/p/proxy/")),
            ("relative/path", None),
            ("https://elsewhere/login", None),
            ("//elsewhere/login", None),
            ("/p/proxy/login", None),
            ("/p/proxyish", Some("/p/proxy/p/proxyish")),
        ] {
            let relocated = relocate(&HeaderValue::from_static(location), "/p/proxy", Some(&host));
            assert_eq!(
                relocated.as_ref().map(|value| value.to_str().unwrap()),
                moved,
                "{location}"
            );
        }
    }

    #[test]
    fn headers_of_one_hop_are_removed() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("x-kept", "1"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }
}
