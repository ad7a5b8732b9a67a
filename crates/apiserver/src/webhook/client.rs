//! Calls to webhooks: HTTPS to a URL, or to an endpoint of a Service.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use knarr_stream::backend::BackendError;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::server::Server;
use crate::store;
use crate::subresource::node;

/// The most a webhook may answer.
const LARGEST_ANSWER: usize = 10 * 1024 * 1024;

/// Anything that bytes go through.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where a webhook is, from its `clientConfig`.
struct Target {
    /// What is asked for, and what messages show.
    url: String,
    /// Whose certificate is expected.
    host: String,
    port: u16,
    /// The Service that stands behind the host, as namespace, name and port.
    service: Option<(String, String, u16)>,
}

impl Target {
    fn of(config: &Value, timeout: Option<Duration>) -> Result<Self, String> {
        let seconds = timeout.map(|timeout| timeout.as_secs().max(1));
        let query = seconds
            .map(|seconds| format!("?timeout={seconds}s"))
            .unwrap_or_default();
        let service = &config["service"];
        if service.is_object() {
            let text = |key: &str| service[key].as_str().unwrap_or_default().to_owned();
            let (namespace, name) = (text("namespace"), text("name"));
            let port = service["port"]
                .as_u64()
                .and_then(|port| u16::try_from(port).ok())
                .unwrap_or(443);
            let path = text("path");
            let path = path.trim_start_matches('/');
            let host = format!("{name}.{namespace}.svc");
            return Ok(Self {
                url: format!("https://{host}:{port}/{path}{query}"),
                host,
                port,
                service: Some((namespace, name, port)),
            });
        }
        let url = config["url"].as_str().unwrap_or_default();
        let parsed: Uri = url
            .parse()
            .map_err(|error| format!("Unparsable webhook URL: {url}: {error}"))?;
        let host = parsed.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let slash = if parsed.path().is_empty() { "/" } else { "" };
        Ok(Self {
            url: format!("{url}{slash}{query}"),
            port: parsed.port_u16().unwrap_or(443),
            host,
            service: None,
        })
    }
}

/// [`call`] for an admission webhook.
pub(crate) async fn post(
    server: &Server,
    config: &Value,
    body: Vec<u8>,
    timeout: Option<Duration>,
) -> Result<Vec<u8>, String> {
    let answered = call(server, config, body, timeout).await;
    answered.map_err(|why| format!("failed to call webhook: {why}"))
}

/// Posts a JSON body to the webhook of a `clientConfig`, and returns its answer. Errors are in the words of Go's client,
/// which people search for.
pub(crate) async fn call(
    server: &Server,
    config: &Value,
    body: Vec<u8>,
    timeout: Option<Duration>,
) -> Result<Vec<u8>, String> {
    let target = Target::of(config, timeout)?;
    let failed = |why: String| format!("Post {:?}: {why}", target.url);
    let answer = exchange(server, config, &target, body);
    let answered = match timeout {
        None => answer.await,
        Some(limit) => match tokio::time::timeout(limit, answer).await {
            Ok(answered) => answered,
            Err(_) => Err(Trouble::Wire("context deadline exceeded".into())),
        },
    };
    answered.map_err(|trouble| match trouble {
        Trouble::Wire(why) => failed(why),
        Trouble::Answer(why) => why,
    })
}

enum Trouble {
    /// There was no answer.
    Wire(String),
    /// There was, but not the one that was hoped for.
    Answer(String),
}

async fn exchange(server: &Server, config: &Value, target: &Target, body: Vec<u8>) -> Result<Vec<u8>, Trouble> {
    let wire = |why: String| Trouble::Wire(why);
    let stream = dial(server, target).await.map_err(wire)?;
    let tls = tls(config).map_err(wire)?;
    let name = ServerName::try_from(target.host.clone()).map_err(|_| {
        wire(format!(
            "{:?} is no host name that a certificate could have",
            target.host
        ))
    })?;
    let stream = TlsConnector::from(tls)
        .connect(name, stream)
        .await
        .map_err(|error| wire(tls_error(&error, &target.host)))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| wire(error.to_string()))?;
    let exchange = async {
        let uri: Uri = target.url.parse().map_err(|error| wire(format!("{error}")))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, format!("{}:{}", target.host, target.port))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| wire(error.to_string()))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| wire(error.to_string()))?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        let bytes = bytes.map_err(|error| wire(error.to_string()))?.to_bytes().to_vec();
        if status.is_success() {
            return Ok(bytes);
        }
        let said = String::from_utf8_lossy(&bytes).trim().to_owned();
        Err(Trouble::Answer(match status.as_u16() {
            404 => "the server could not find the requested resource".to_owned(),
            500.. => format!("an error on the server ({said:?}) has prevented the request from succeeding"),
            _ => "the server rejected our request for an unknown reason".to_owned(),
        }))
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    let mut open = true;
    loop {
        tokio::select! {
            answered = &mut exchange => return answered,
            ended = &mut connection, if open => {
                open = false;
                if let Err(error) = ended {
                    return Err(wire(error.to_string()));
                }
            }
        }
    }
}

/// A connection to the webhook: by its name, or to one of the endpoints of its Service.
async fn dial(server: &Server, target: &Target) -> Result<Box<dyn Stream>, String> {
    let Some((namespace, name, port)) = &target.service else {
        let address = (target.host.as_str(), target.port);
        let stream = TcpStream::connect(address).await;
        return match stream {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(format!(
                "dial tcp {}:{}: {}",
                target.host,
                target.port,
                go_error(&error)
            )),
        };
    };
    let service = server
        .find("", "services", namespace, name)
        .ok_or_else(|| format!("service {name:?} not found"))?;
    if service["spec"]["type"] == "ExternalName" {
        let host = service["spec"]["externalName"].as_str().unwrap_or_default();
        let stream = TcpStream::connect((host, *port)).await;
        let stream = stream.map_err(|error| format!("dial tcp {host}:{port}: {}", go_error(&error)))?;
        return Ok(Box::new(stream));
    }
    let own = service["spec"]["ports"].as_array().into_iter().flatten();
    let own = own
        .into_iter()
        .find(|own| own["port"].as_u64() == Some(u64::from(*port)));
    let own = own.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let (address, port) = endpoint(server, namespace, name, own["name"].as_str().unwrap_or_default())
        .ok_or_else(|| format!("no endpoints available for service {name:?}"))?;
    let reference = &address["targetRef"];
    if reference["kind"] == "Pod" {
        let pod = reference["name"].as_str().unwrap_or_default();
        let pod = server.store.get(server.slot("", "pods"), &store::key(namespace, pod));
        let pod = pod
            .ok_or_else(|| format!("no endpoints available for service {name:?}"))?
            .value();
        let backend = node::backend(server, &pod).map_err(|failure| failure.message)?;
        let stream = backend.dial(&node::pod_ref(&pod), port).await;
        return match stream {
            Ok(stream) => Ok(Box::new(stream)),
            Err(BackendError::Internal(why) | BackendError::BadRequest(why) | BackendError::NotFound(why)) => Err(why),
        };
    }
    let ip: IpAddr = address["ip"]
        .as_str()
        .and_then(|ip| ip.parse().ok())
        .ok_or_else(|| format!("no endpoints available for service {name:?}"))?;
    // Whoever may write Endpoints must not reach what only this host can.
    if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || link_local(ip) {
        return Err(format!("address {ip} is not allowed for service {name:?}"));
    }
    let stream = TcpStream::connect(SocketAddr::new(ip, port)).await;
    let stream = stream.map_err(|error| format!("dial tcp {ip}:{port}: {}", go_error(&error)))?;
    Ok(Box::new(stream))
}

fn link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// A ready endpoint of a Service, with the number of the port that has this name.
fn endpoint(server: &Server, namespace: &str, name: &str, port: &str) -> Option<(Value, u16)> {
    let endpoints = server.find("", "endpoints", namespace, name)?;
    let mut ready = Vec::new();
    for subset in endpoints["subsets"].as_array()? {
        let own = subset["ports"].as_array().into_iter().flatten();
        let number = own
            .into_iter()
            .find(|own| own["name"].as_str().unwrap_or_default() == port)
            .and_then(|own| u16::try_from(own["port"].as_u64()?).ok());
        if let Some(number) = number {
            let addresses = subset["addresses"].as_array().into_iter().flatten();
            ready.extend(addresses.map(|address| (address.clone(), number)));
        }
    }
    let chosen = rand::random_range(0..ready.len().max(1));
    ready.into_iter().nth(chosen)
}

/// Trusts what the `caBundle` says.
fn tls(config: &Value) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let bundle = config["caBundle"].as_str().unwrap_or_default();
    let pem = STANDARD
        .decode(bundle)
        .map_err(|_| "unable to load root certificates: illegal base64 data".to_owned())?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| format!("unable to load root certificates: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("unable to load root certificates: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn go_error(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        ErrorKind::TimedOut => "i/o timeout".into(),
        ErrorKind::HostUnreachable => "connect: no route to host".into(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".into(),
        _ if error.to_string().contains("lookup") => "no such host".into(),
        _ => error.to_string(),
    }
}

fn tls_error(error: &std::io::Error, host: &str) -> String {
    use rustls::{CertificateError, Error};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(Error::InvalidCertificate(why)) = inner else {
        return match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "EOF".into(),
            _ => error.to_string(),
        };
    };
    let why = match why {
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("certificate is not valid for any names, but wanted to match {host}")
        }
        other => format!("{other:?}"),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}
