//! HTTP from clients to backends.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_TYPE, COOKIE, HOST, HeaderName, LOCATION, SET_COOKIE, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::route::{Cookie, Found, Location, Port, Routes};
use crate::Context;
use crate::endpoint::backends;
use crate::view::View;

/// A backend that does not answer within this is passed over.
const DIAL: Duration = Duration::from_secs(5);
/// Until connections are accepted again after that failed.
const PAUSE: Duration = Duration::from_millis(200);
/// Headers are about one connection, and do not go on to the next.
const HOP_BY_HOP: [&str; 6] = [
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
];

type Body = BoxBody<Bytes, hyper::Error>;

/// What all connections share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) context: Context,
    pub(crate) routes: watch::Receiver<Arc<Routes>>,
    pub(crate) view: watch::Receiver<Arc<View>>,
    /// Which backend is next.
    pub(crate) turn: Arc<AtomicUsize>,
}

/// Accepts connections until the network ends.
pub(crate) async fn accept(shared: Shared, listener: TcpListener, tls: Option<TlsAcceptor>) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                let (shared, tls) = (shared.clone(), tls.clone());
                let context = shared.context.clone();
                let _ = stream.set_nodelay(true);
                context.spawn(async move {
                    match tls {
                        None => converse(shared, stream, client, false).await,
                        // Who speaks no TLS here has nothing to say.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(shared, stream, client, true).await;
                            }
                        }
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection to an ingress was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn converse<S>(shared: Shared, stream: S, client: SocketAddr, https: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(&shared, request, client.ip(), https).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to an ingress ended");
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>, client: IpAddr, https: bool) -> Response<Body> {
    let asked = asked_host(&request);
    let host = asked.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let path = request.uri().path().to_owned();
    let location = {
        let routes = shared.routes.borrow();
        match routes.find(host.trim_end_matches('.'), &path, https) {
            Found::Location(location) => location.clone(),
            // One that names a port has come some other way than by that of HTTP, and the one of HTTPS is not known.
            Found::Redirect if asked.contains(':') => {
                return plain(StatusCode::BAD_REQUEST, "this host is served by HTTPS\n");
            }
            Found::Redirect => return redirect(&host, request.uri()),
            Found::Nothing => return plain(StatusCode::NOT_FOUND, "default backend - 404"),
        }
    };
    forward(shared, request, &location, client, https).await
}

fn asked_host(request: &Request<Incoming>) -> String {
    let header = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(|authority| authority.as_str());
    authority.or(header).unwrap_or_default().to_owned()
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn page(status: StatusCode) -> Response<Body> {
    plain(
        status,
        match status {
            StatusCode::SERVICE_UNAVAILABLE => "503 Service Temporarily Unavailable\n",
            _ => "502 Bad Gateway\n",
        },
    )
}

fn redirect(host: &str, uri: &Uri) -> Response<Body> {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut response = plain(StatusCode::PERMANENT_REDIRECT, "308 Permanent Redirect\n");
    if let Ok(target) = HeaderValue::try_from(format!("https://{host}{path}")) {
        response.headers_mut().insert(LOCATION, target);
    }
    response
}

/// The addresses to try, in order, of the location's service; `None` if there is no such service or port.
fn candidates(shared: &Shared, location: &Location) -> Option<Vec<SocketAddr>> {
    let view = shared.view.borrow();
    let entry = view.services.get(&location.service)?;
    let mut ports = entry.service.spec.as_ref()?.ports.iter().flatten();
    let port = ports.find(|port| match &location.port {
        Port::Name(name) => port.name.as_ref() == Some(name),
        Port::Number(number) => port.port == *number,
    })?;
    let mut addresses = backends(entry, port).addresses;
    if !addresses.is_empty() {
        let turn = shared.turn.fetch_add(1, Ordering::Relaxed);
        let count = addresses.len();
        addresses.rotate_left(turn % count);
    }
    Some(addresses)
}

/// What a cookie says of a backend: not its address, which is nobody's business.
fn token(address: SocketAddr) -> String {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn set_cookie(cookie: &Cookie, value: &str) -> Option<HeaderValue> {
    let age = cookie
        .max_age
        .map(|seconds| format!("; Max-Age={seconds}"))
        .unwrap_or_default();
    HeaderValue::try_from(format!("{}={value}; Path={}{age}; HttpOnly", cookie.name, cookie.path)).ok()
}

async fn forward(
    shared: &Shared,
    request: Request<Incoming>,
    location: &Location,
    client: IpAddr,
    https: bool,
) -> Response<Body> {
    let Some(mut addresses) = candidates(shared, location).filter(|addresses| !addresses.is_empty()) else {
        return page(StatusCode::SERVICE_UNAVAILABLE);
    };
    let affinity = location.options.affinity.as_ref();
    let known = affinity.and_then(|affinity| cookie(request.headers(), &affinity.name));
    let known = known.map(str::to_owned);
    let home = |address: &SocketAddr| Some(token(*address)) == known;
    if let Some(home) = addresses.iter().position(home) {
        addresses.rotate_left(home);
    }
    let Some((address, mut sender)) = connect(shared, &addresses).await else {
        return page(StatusCode::BAD_GATEWAY);
    };
    let mut request = request;
    let upgrade = request
        .headers()
        .contains_key(UPGRADE)
        .then(|| hyper::upgrade::on(&mut request));
    prepare(&mut request, location, client, https);
    let Ok(mut response) = sender.send_request(request).await else {
        return page(StatusCode::BAD_GATEWAY);
    };
    match upgrade.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) {
        Some(ours) => {
            let theirs = hyper::upgrade::on(&mut response);
            shared.context.spawn(splice(ours, theirs));
        }
        None => strip(response.headers_mut()),
    }
    if let Some(affinity) = affinity.filter(|_| !home(&address))
        && let Some(value) = set_cookie(affinity, &token(address))
    {
        response.headers_mut().append(SET_COOKIE, value);
    }
    response.map(BodyExt::boxed)
}

/// A conversation with the first backend that has one.
async fn connect(shared: &Shared, addresses: &[SocketAddr]) -> Option<(SocketAddr, SendRequest<Incoming>)> {
    for address in addresses {
        let dialled = tokio::time::timeout(DIAL, shared.context.runtime.dial_node(*address)).await;
        let Ok(Ok(connection)) = dialled else {
            tracing::debug!(%address, "an endpoint does not answer");
            continue;
        };
        let Ok((sender, conversation)) = handshake(TokioIo::new(connection)).await else {
            continue;
        };
        shared.context.spawn(async move {
            let _ = conversation.with_upgrades().await; // the response tells
        });
        return Some((*address, sender));
    }
    None
}

/// Bytes go both ways until one side ends.
async fn splice(ours: OnUpgrade, theirs: OnUpgrade) {
    if let (Ok(ours), Ok(theirs)) = tokio::join!(ours, theirs) {
        let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
        let _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await; // both sides see the end
    }
}

fn strip(headers: &mut HeaderMap) {
    HOP_BY_HOP.iter().for_each(|name| _ = headers.remove(*name));
    headers.remove(CONNECTION);
}

/// Makes the client's request the one that the backend sees.
fn prepare(request: &mut Request<Incoming>, location: &Location, client: IpAddr, https: bool) {
    let host = asked_host(request);
    let path = request.uri().path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let path = match (&location.options.rewrite_target, path.query()) {
        (Some(target), Some(query)) => PathAndQuery::try_from(format!("{target}?{query}")).unwrap_or(path),
        (Some(target), None) => PathAndQuery::try_from(target.as_str()).unwrap_or(path),
        (None, _) => path,
    };
    *request.uri_mut() = Uri::from(path);
    let upgrades = request.headers().contains_key(UPGRADE);
    let headers = request.headers_mut();
    let forwarded = match headers.get("x-forwarded-for").and_then(|value| value.to_str().ok()) {
        Some(before) => format!("{before}, {client}"),
        None => client.to_string(),
    };
    if !upgrades {
        strip(headers);
    }
    let scheme = if https { "https" } else { "http" };
    let port = if https { "443" } else { "80" };
    for (name, value) in [
        ("host", host.clone()),
        ("x-forwarded-for", forwarded),
        ("x-forwarded-host", host),
        ("x-forwarded-port", port.to_owned()),
        ("x-forwarded-proto", scheme.to_owned()),
        ("x-forwarded-scheme", scheme.to_owned()),
        ("x-real-ip", client.to_string()),
        ("x-scheme", scheme.to_owned()),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
