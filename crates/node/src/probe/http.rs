//! HTTP GET as probes and hooks use it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderName, HeaderValue, Request, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use knarr_runtime::{Connection, Runtime};

use super::Outcome;
use super::run::connect;

/// Most of an answer that is read.
const LONGEST: usize = 10 << 10;
/// Redirects that are followed.
const REDIRECTS: usize = 10;

/// What to get.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) https: bool,
    pub(super) address: SocketAddr,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Target {
    fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.address, self.path)
    }
}

/// Gets it, following redirects on the same host. A status from 200 to 399 is success.
pub(super) async fn get(runtime: &dyn Runtime, target: &Target, timeout: Duration) -> Outcome {
    let mut target = target.clone();
    let deadline = tokio::time::Instant::now() + timeout;
    for _ in 0..=REDIRECTS {
        let url = target.url();
        let answer = match tokio::time::timeout_at(deadline, once(runtime, &target)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => return Outcome::Failure(format!("Get {url:?}: {why}")),
            Err(_) => {
                return Outcome::Failure(format!(
                    "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                ));
            }
        };
        match answer {
            Answer {
                status: 300..=399,
                location: Some(location),
                body,
            } => match redirect(&target, &location) {
                Some(next) => target = next,
                // Elsewhere is another host's business: the container has answered.
                None => return Outcome::Success(body),
            },
            Answer {
                status: 200..=399,
                body,
                ..
            } => return Outcome::Success(body),
            Answer { status, .. } => return Outcome::Failure(format!("HTTP probe failed with statuscode: {status}")),
        }
    }
    Outcome::Failure(format!("Get {:?}: stopped after 10 redirects", target.url()))
}

struct Answer {
    status: u16,
    location: Option<String>,
    body: String,
}

/// The same host under another path; `None` for another host.
fn redirect(target: &Target, location: &str) -> Option<Target> {
    let uri: Uri = location.parse().ok()?;
    if let Some(authority) = uri.authority() {
        let host = authority.host().trim_matches(['[', ']']);
        if host.parse() != Ok(target.address.ip()) {
            return None;
        }
    }
    let https = uri.scheme_str().map_or(target.https, |scheme| scheme == "https");
    let default = if https { 443 } else { 80 };
    let port = match uri.authority() {
        Some(authority) => authority.port_u16().unwrap_or(default),
        None => target.address.port(),
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Some(Target {
        https,
        address: SocketAddr::new(target.address.ip(), port),
        path: if path.starts_with('/') {
            path.to_owned()
        } else {
            let base = target.path.rsplit_once('/').map_or("", |(base, _)| base);
            format!("{base}/{path}")
        },
        headers: target.headers.clone(),
    })
}

async fn once(runtime: &dyn Runtime, target: &Target) -> Result<Answer, String> {
    let connection = connect(runtime, target.address).await?;
    if target.https {
        let connection = encrypt(connection, target.address).await?;
        return exchange(connection, target).await;
    }
    exchange(connection, target).await
}

/// TLS without a look at the certificate: probes have no way to know it.
async fn encrypt(connection: Box<dyn Connection>, address: SocketAddr) -> Result<impl Connection, String> {
    let config = tls::config().map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = rustls::pki_types::ServerName::IpAddress(address.ip().into());
    connector
        .connect(name, connection)
        .await
        .map_err(|error| format!("remote error: {error}"))
}

async fn exchange(connection: impl Connection + 'static, target: &Target) -> Result<Answer, String> {
    let text = |error: hyper::Error| {
        if error.is_incomplete_message() {
            "EOF".to_owned()
        } else {
            error.to_string()
        }
    };
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(connection))
        .await
        .map_err(text)?;
    let driver = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        let _ = driver.await; // its failure is the request's failure
    }));
    let mut request = Request::get(&target.path)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, HeaderValue::from_static("kube-probe/1.37"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let host = HeaderValue::from_str(&target.address.to_string()).map_err(|error| error.to_string())?;
    headers.insert(header::HOST, host);
    for (name, value) in &target.headers {
        let name: HeaderName = name.parse().map_err(|_| format!("invalid header name {name:?}"))?;
        let value = HeaderValue::from_str(value).map_err(|_| format!("invalid value of header {name:?}"))?;
        if name == header::HOST || name == header::USER_AGENT || name == header::ACCEPT {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    let response = sender.send_request(request).await.map_err(text)?;
    let status = response.status().as_u16();
    let location = response
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    // A body that is too long or broken does not change the answer.
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    let body = body
        .map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned())
        .unwrap_or_default();
    drop(driver);
    Ok(Answer { status, location, body })
}

mod tls {
    //! A TLS client that believes every certificate.

    use std::sync::Arc;

    use knarr_apimachinery::tls::AcceptAny;
    use rustls::{ClientConfig, Error};

    pub(super) fn config() -> Result<ClientConfig, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(AcceptAny::new(provider));
        Ok(builder.with_no_client_auth())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_followed_on_the_same_host_only() {
        let target = Target {
            https: false,
            address: "10.0.0.1:8080".parse().expect("an address"),
            path: "/a/b".into(),
            headers: Vec::new(),
        };
        let to = |location: &str| redirect(&target, location).map(|target| target.url());
        assert_eq!(to("/c?d=1").as_deref(), Some("http://10.0.0.1:8080/c?d=1"));
        assert_eq!(to("http://10.0.0.1:9090/").as_deref(), Some("http://10.0.0.1:9090/"));
        assert_eq!(to("https://10.0.0.1/x").as_deref(), Some("https://10.0.0.1:443/x"));
        assert_eq!(to("http://example.com/"), None);
    }
}
