//! Requests to a registry, with the words of the container runtimes when they fail.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

use super::config::Credentials;
use crate::ImageError;

/// How long a registry may take to answer, and between two pieces of an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Redirections followed.
const MOST_REDIRECTS: usize = 8;
/// Longest answer of a token server or explanation of an error.
const MOST_TEXT: usize = 1 << 20;

/// The content of a request.
pub(super) type Body = BoxBody<Bytes, std::io::Error>;
pub(super) type Http = Client<HttpsConnector<HttpConnector>, Body>;

/// A client of any registry.
pub(super) fn http<'a>(authorities: impl Iterator<Item = &'a std::path::Path>) -> Result<Http, ImageError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for path in authorities {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject as _;
        let unreadable = |error: String| ImageError::Invalid(format!("cannot read {}: {error}", path.display()));
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
            roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ImageError::Invalid(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(Duration::from_secs(30)));
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// One conversation with one registry about one repository.
pub(super) struct Session<'a> {
    pub(super) http: &'a Http,
    /// `https://registry-1.docker.io`.
    pub(super) endpoint: String,
    /// `library/nginx`.
    pub(super) path: String,
    pub(super) user: Option<Credentials>,
    /// `pull` or `pull,push`.
    pub(super) actions: &'static str,
    /// What the registry has let us in with.
    pub(super) authorization: Mutex<Option<String>>,
}

/// What is asked for.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(http::HeaderName, String)>,
}

impl Ask {
    pub(super) fn new(method: Method, url: String) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
        }
    }

    pub(super) fn header(mut self, name: http::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Session<'_> {
    pub(super) fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.endpoint, self.path)
    }

    /// Asks, once more when the registry wants to know who asks, and wherever it sends us. `body` is made for each try.
    pub(super) async fn send(&self, ask: &Ask, body: &(dyn Fn() -> Body + Sync)) -> Result<Response<Incoming>, String> {
        let answer = self.follow(ask, body).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.authorize(answer.headers()).await?;
        self.follow(ask, body).await
    }

    async fn follow(&self, ask: &Ask, body: &(dyn Fn() -> Body + Sync)) -> Result<Response<Incoming>, String> {
        let mut ask = ask.clone();
        for _ in 0..MOST_REDIRECTS {
            let answer = self.once(&ask, body()).await?;
            let there = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let (true, Some(there)) = (answer.status().is_redirection(), there) else {
                return Ok(answer);
            };
            ask.url = join(&ask.url, there)?;
        }
        Err(format!(
            "{} {:?}: stopped after {MOST_REDIRECTS} redirects",
            verb(&ask.method),
            ask.url
        ))
    }

    async fn once(&self, ask: &Ask, body: Body) -> Result<Response<Incoming>, String> {
        let failed = |why: String| format!("failed to do request: {} {:?}: {why}", verb(&ask.method), ask.url);
        let uri: Uri = ask.url.parse().map_err(|_| failed("invalid URL".to_owned()))?;
        let mut request = Request::builder()
            .method(&ask.method)
            .uri(&uri)
            .header("user-agent", concat!("knarr/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        // Who we are is told to the registry alone, and to nobody it sends us to.
        let at_home = ask
            .url
            .strip_prefix(&self.endpoint)
            .is_some_and(|rest| rest.starts_with('/'));
        let known = self
            .authorization
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        if let (true, Some(known)) = (at_home, known) {
            let mut value = HeaderValue::from_str(&known).map_err(|_| failed("invalid credentials".to_owned()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(body).map_err(|error| failed(error.to_string()))?;
        match tokio::time::timeout(PATIENCE, self.http.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(explain(&error, &uri))),
            Err(_) => Err(failed("net/http: timeout awaiting response headers".to_owned())),
        }
    }

    /// Finds out what the registry wants and gets it.
    async fn authorize(&self, headers: &HeaderMap) -> Result<(), String> {
        const DENIED: &str = "pull access denied, repository does not exist or may require authorization";
        let challenges = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let challenges: Vec<(String, HashMap<String, String>)> = challenges.map(challenge).collect();
        let refused = self
            .authorization
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        let find = |scheme: &str| challenges.iter().find(|(known, _)| known.eq_ignore_ascii_case(scheme));
        let authorization = if let Some((_, fields)) = find("bearer") {
            let token = self.token(fields).await?;
            format!("Bearer {token}")
        } else if find("basic").is_some() {
            let user = self.user.as_ref().filter(|_| refused.is_none());
            let user = user.ok_or_else(|| format!("{DENIED}: authorization failed: no basic auth credentials"))?;
            user.basic()
        } else {
            return Err(format!("{DENIED}: authorization failed: no supported auth challenge"));
        };
        *self
            .authorization
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(authorization);
        Ok(())
    }

    async fn token(&self, fields: &HashMap<String, String>) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(alias = "access_token")]
            token: String,
        }
        let failed = |why: String| format!("failed to authorize: failed to fetch anonymous token: {why}");
        let realm = fields.get("realm").ok_or_else(|| failed("no realm".to_owned()))?;
        let scope = fields.get("scope").cloned();
        let scope = scope.unwrap_or_else(|| format!("repository:{}:{}", self.path, self.actions));
        let mut query = format!("scope={}", escape(&scope));
        if let Some(service) = fields.get("service") {
            query.push_str(&format!("&service={}", escape(service)));
        }
        let separator = if realm.contains('?') { '&' } else { '?' };
        let mut ask = Ask::new(Method::GET, format!("{realm}{separator}{query}"));
        if let Some(user) = &self.user {
            ask = ask.header(AUTHORIZATION, user.basic());
        }
        let answer = self.follow(&ask, &empty).await.map_err(failed)?;
        let status = answer.status();
        let text = text(answer).await?;
        if !status.is_success() {
            return Err(failed(format!(
                "unexpected status from GET request to {}: {}{}",
                ask.url,
                worded(status),
                detail(&text)
            )));
        }
        let answer: Answer = serde_json::from_str(&text).map_err(|_| failed("the answer has no token".to_owned()))?;
        Ok(answer.token)
    }
}

/// No content.
pub(super) fn empty() -> Body {
    full(Bytes::new())
}

pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// An answer that is read as a whole.
pub(super) async fn whole(answer: Response<Incoming>, most: usize) -> Result<Bytes, String> {
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(piece) = frame(&mut body).await? {
        if bytes.len() + piece.len() > most {
            return Err(format!("the answer is longer than {most} bytes"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.into())
}

/// The next piece of an answer.
pub(super) async fn frame(body: &mut Incoming) -> Result<Option<Bytes>, String> {
    loop {
        match tokio::time::timeout(PATIENCE, body.frame()).await {
            Err(_) => return Err("net/http: timeout awaiting the body: i/o timeout".to_owned()),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err("unexpected EOF".to_owned()),
            Ok(Some(Ok(frame))) => {
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
        }
    }
}

async fn text(answer: Response<Incoming>) -> Result<String, String> {
    Ok(String::from_utf8_lossy(&whole(answer, MOST_TEXT).await?).into_owned())
}

/// What a registry says of an error, in its own words.
pub(super) async fn refusal(ask: &Ask, answer: Response<Incoming>) -> String {
    let status = answer.status();
    let words = text(answer).await.unwrap_or_default();
    format!(
        "unexpected status from {} request to {}: {}{}",
        ask.method,
        ask.url,
        worded(status),
        detail(&words)
    )
}

fn detail(body: &str) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(said) = serde_json::from_str::<Errors>(body) else {
        return String::new();
    };
    let said: Vec<String> = said
        .errors
        .iter()
        .map(|one| {
            format!(
                "{}: {}",
                one.code.to_lowercase(),
                one.message.chars().filter(|c| !c.is_control()).collect::<String>()
            )
        })
        .collect();
    if said.is_empty() {
        String::new()
    } else {
        format!(": {}", said.join(", "))
    }
}

fn worded(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or(""))
}

/// As Go writes methods in front of an address.
fn verb(method: &Method) -> String {
    let text = method.as_str();
    format!("{}{}", &text[..1], text[1..].to_lowercase())
}

/// Why there is no connection, in Go's words.
fn explain(error: &hyper_util::client::legacy::Error, uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    let port = uri
        .port_u16()
        .unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    let mut last = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            match io.kind() {
                std::io::ErrorKind::ConnectionRefused => {
                    return format!("dial tcp {host}:{port}: connect: connection refused");
                }
                std::io::ErrorKind::NetworkUnreachable => {
                    return format!("dial tcp {host}:{port}: connect: network is unreachable");
                }
                std::io::ErrorKind::TimedOut => return format!("dial tcp {host}:{port}: i/o timeout"),
                _ => {}
            }
        }
        last = error.to_string();
        if last.contains("dns error") || last.contains("lookup address") {
            return format!("dial tcp: lookup {host}: no such host");
        }
        cause = error.source();
    }
    if last.contains("certificate") {
        return format!("tls: failed to verify certificate: {last}");
    }
    last
}

/// `Bearer realm="x",service="y"`.
fn challenge(text: &str) -> (String, HashMap<String, String>) {
    let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let mut fields = HashMap::new();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        fields.insert(name.trim_matches([' ', ',']).to_ascii_lowercase(), value.to_owned());
        rest = left;
    }
    (scheme.to_owned(), fields)
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Where a `Location` leads from `from`.
pub(super) fn join(from: &str, to: &str) -> Result<String, String> {
    if to.starts_with("http://") || to.starts_with("https://") {
        return Ok(to.to_owned());
    }
    let uri: Uri = from.parse().map_err(|_| format!("{from:?} is no URL"))?;
    let origin = format!(
        "{}://{}",
        uri.scheme_str().unwrap_or("https"),
        uri.authority().map(http::uri::Authority::as_str).unwrap_or_default()
    );
    if to.starts_with('/') {
        return Ok(format!("{origin}{to}"));
    }
    let parent = uri.path().rsplit_once('/').map_or("", |(parent, _)| parent);
    Ok(format!("{origin}{parent}/{to}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_and_locations_are_read() {
        let (scheme, fields) =
            challenge(r#"Bearer realm="https://a/token",service="r.example", scope="repository:a:pull,push""#);
        assert_eq!(scheme, "Bearer");
        assert_eq!(
            (fields["realm"].as_str(), fields["scope"].as_str()),
            ("https://a/token", "repository:a:pull,push")
        );
        assert_eq!(
            join("http://r:1/v2/a/blobs/x", "/v2/b?x=1").unwrap(),
            "http://r:1/v2/b?x=1"
        );
        assert_eq!(join("http://r:1/v2/a/blobs/x", "y").unwrap(), "http://r:1/v2/a/blobs/y");
        assert_eq!(join("http://r:1/", "https://cdn/x").unwrap(), "https://cdn/x");
    }
}
