//! Connections from this server to others, named by a host or by a Service, and the TLS and HTTP/1.1 on them.
//!
//! Errors are in the words of Go's client, which people search for.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use knarr_apimachinery::tls::AcceptAny;
use knarr_stream::backend::{BackendError, Duplex};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::server::Server;
use crate::store;
use crate::subresource::node;

/// Where another server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Host { host: String, port: u16 },
    Service { namespace: String, name: String, port: u16 },
}

impl Address {
    /// A Service as it is referred to: `namespace`, `name` and, unless it is 443, `port`.
    pub(crate) fn of_service(reference: &Value) -> Self {
        let text = |key: &str| reference[key].as_str().unwrap_or_default().to_owned();
        let port = reference["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        Self::Service {
            namespace: text("namespace"),
            name: text("name"),
            port: port.unwrap_or(443),
        }
    }

    /// Whose certificate is expected.
    pub(crate) fn host(&self) -> String {
        match self {
            Self::Host { host, .. } => host.clone(),
            Self::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
        }
    }

    /// `HOST:PORT`
    pub(crate) fn authority(&self) -> String {
        let (Self::Host { port, .. } | Self::Service { port, .. }) = self;
        format!("{}:{port}", self.host())
    }

    /// Connects to the host, or to one of the endpoints of the Service.
    pub(crate) async fn connect(&self, server: &Server) -> Result<Duplex, String> {
        let (namespace, name, port) = match self {
            Self::Host { host, port } => return tcp(host, *port).await,
            Self::Service { namespace, name, port } => (namespace, name, *port),
        };
        let service = server
            .find("", "services", namespace, name)
            .ok_or_else(|| format!("service {name:?} not found"))?;
        if service["spec"]["type"] == "ExternalName" {
            let host = service["spec"]["externalName"].as_str().unwrap_or_default();
            return tcp(host, port).await;
        }
        let mut own = service["spec"]["ports"].as_array().into_iter().flatten();
        let own = own
            .find(|own| own["port"].as_u64() == Some(u64::from(port)))
            .ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
        let none = || format!("no endpoints available for service {name:?}");
        let port_name = own["name"].as_str().unwrap_or_default();
        let (address, port) = endpoint(server, namespace, name, port_name).ok_or_else(none)?;
        let reference = &address["targetRef"];
        if reference["kind"] == "Pod" {
            let pod = reference["name"].as_str().unwrap_or_default();
            let pod = server.store.get(server.slot("", "pods"), &store::key(namespace, pod));
            let pod = pod.ok_or_else(none)?.value();
            let backend = node::backend(server, &pod).map_err(|failure| failure.message)?;
            let stream = backend.dial(&node::pod_ref(&pod), port).await;
            return stream.map_err(|error| match error {
                BackendError::Internal(why) | BackendError::BadRequest(why) | BackendError::NotFound(why) => why,
            });
        }
        let ip: IpAddr = address["ip"].as_str().and_then(|ip| ip.parse().ok()).ok_or_else(none)?;
        match is_elsewhere(ip) {
            true => tcp(&ip.to_string(), port).await,
            false => Err(format!("address {ip} is not allowed for service {name:?}")),
        }
    }
}

async fn tcp(host: &str, port: u16) -> Result<Duplex, String> {
    let stream = TcpStream::connect((host, port)).await;
    match stream {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(format!("dial tcp {host}:{port}: {}", go_error(&error))),
    }
}

/// Whether an address is somewhere else for everybody: no loopback, link-local, multicast or unspecified one. Whoever may
/// write Endpoints must not reach through them what only this host can.
pub(crate) fn is_elsewhere(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(local || ip.is_loopback() || ip.is_multicast() || ip.is_unspecified())
}

/// A ready endpoint of a Service, chosen at random as a load balancer would, with the number of the port that has this name.
pub(crate) fn endpoint(server: &Server, namespace: &str, name: &str, port: &str) -> Option<(Value, u16)> {
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

/// What this server proves itself with to others.
#[derive(Clone, Debug)]
pub(crate) struct ClientCertificate {
    /// In DER.
    pub certificate: Vec<u8>,
    /// PKCS#8, in DER.
    pub key: Vec<u8>,
}

/// Whom a connection trusts.
#[derive(Clone, Debug)]
pub(crate) enum Trust<'a> {
    /// Who was signed by one of these authorities (PEM in base64: a `caBundle`).
    Bundle(&'a str),
    /// Anybody (`insecureSkipTLSVerify`).
    Anybody,
}

impl Trust<'_> {
    /// TLS over HTTP/1.1 with this trust.
    pub(crate) fn tls(&self, identity: Option<&ClientCertificate>) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match self {
            // Nobody is trusted, whom rustls says better than it builds.
            Self::Bundle("") => builder.with_root_certificates(RootCertStore::empty()),
            Self::Bundle(bundle) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Authorities::new(bundle, provider)?)),
            Self::Anybody => builder
                .dangerous()
                .with_custom_certificate_verifier(AcceptAny::new(provider)),
        };
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(ClientCertificate { certificate, key }) => {
                let chain = vec![CertificateDer::from(certificate.clone())];
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| error.to_string())?
            }
        };
        Ok(Arc::new(config))
    }
}

/// The authorities of a bundle. One of them may be the server's own certificate, as `openssl req -x509` makes it: marked as an
/// authority, which webpki takes for no server's.
#[derive(Debug)]
struct Authorities {
    webpki: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Authorities {
    fn new(bundle: &str, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let failed = |why: &dyn std::fmt::Display| format!("unable to load root certificates: {why}");
        let pem = STANDARD.decode(bundle).map_err(|_| failed(&"illegal base64 data"))?;
        let mut roots = RootCertStore::empty();
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| failed(&error))?;
            roots.add(certificate.clone()).map_err(|error| failed(&error))?;
            certificates.push(certificate);
        }
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        Ok(Self {
            webpki: webpki.build().map_err(|error| failed(&error))?,
            certificates,
        })
    }
}

impl ServerCertVerifier for Authorities {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::{CertificateError, Error};
        match self.webpki.verify_server_cert(own, others, name, ocsp, now) {
            // Found after its dates were looked at, and before anything else was.
            Err(Error::InvalidCertificate(CertificateError::Other(why)))
                if why.to_string().contains("CaUsedAsEndEntity")
                    && self.certificates.iter().any(|known| known == own) =>
            {
                verify_server_name(&ParsedCertificate::try_from(own)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Speaks TLS on a connection.
pub(crate) async fn secure(stream: Duplex, host: &str, tls: Arc<ClientConfig>) -> Result<Duplex, String> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host:?} is no host name that a certificate could have"))?;
    match TlsConnector::from(tls).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(tls_error(&error, host)),
    }
}

/// Sends one request, and reads the answer up to a limit.
pub(crate) async fn exchange(
    stream: Duplex,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<(StatusCode, Bytes), String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), limit).collect().await;
        Ok((status, bytes.map_err(|error| error.to_string())?.to_bytes()))
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
                    return Err(error.to_string());
                }
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_host_itself_are_not_elsewhere() {
        let is = |text: &str| is_elsewhere(text.parse().expect("an address"));
        for own in [
            "127.0.0.1",
            "127.244.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "169.254.169.254",
            "fe80::1",
            "224.0.0.1",
        ] {
            assert!(!is(own), "{own}");
        }
        assert!(is("10.0.0.1") && is("2001:db8::1"));
    }
}
