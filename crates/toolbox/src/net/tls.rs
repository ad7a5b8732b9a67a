//! TLS for the clients and servers here: certificates come from files, as in a pod they do.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use knarr_apimachinery::tls::AcceptAny;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

/// Where distributions keep the authorities that everybody trusts.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Whom to trust, and who one is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    /// A file of authorities instead of the system's.
    pub authorities: Option<String>,
    /// Trust anybody.
    pub insecure: bool,
    /// Files with a certificate and its key to show to the server.
    pub identity: Option<(String, String)>,
}

/// Why there is no TLS connection.
#[derive(Debug)]
pub(crate) enum TlsError {
    /// The server's certificate is not trusted.
    Untrusted(String),
    /// A file with certificates or keys is of no use.
    File(String),
    Io(std::io::Error),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: rustls::pki_types::pem::Error| format!("{}: {error}", path.display());
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    all.map_err(failed)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn client(trust: &Trust) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if trust.insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(AcceptAny::new(provider()))
    } else {
        let mut roots = RootCertStore::empty();
        let path = trust.authorities.as_deref().unwrap_or(SYSTEM_AUTHORITIES);
        match certificates(Path::new(path)) {
            Ok(all) => {
                roots.add_parsable_certificates(all);
            }
            // Without the system's list nobody is trusted, which is for the handshake to say.
            Err(message) if trust.authorities.is_some() => return Err(message),
            Err(_) => {}
        }
        builder.with_root_certificates(roots)
    };
    match &trust.identity {
        Some((certificate, secret)) => builder
            .with_client_auth_cert(certificates(Path::new(certificate))?, key(Path::new(secret))?)
            .map_err(|error| error.to_string()),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// A connection after its handshake.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Does the handshake on a connection.
pub(crate) fn connect(mut stream: TcpStream, host: &str, trust: &Trust) -> Result<TlsStream, TlsError> {
    let config = client(trust).map_err(TlsError::File)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| TlsError::Untrusted(error.to_string()))?;
    let mut session =
        ClientConnection::new(Arc::new(config), name).map_err(|error| TlsError::Untrusted(error.to_string()))?;
    while session.is_handshaking() {
        if let Err(error) = session.complete_io(&mut stream) {
            let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
            return Err(match inner {
                Some(rustls::Error::InvalidCertificate(why)) => TlsError::Untrusted(distrust(why)),
                _ => TlsError::Io(error),
            });
        }
    }
    Ok(StreamOwned::new(session, stream))
}

/// The reason in the words that people know from OpenSSL.
fn distrust(error: &rustls::CertificateError) -> String {
    use rustls::CertificateError::{Expired, ExpiredContext, NotValidForName, NotValidForNameContext, UnknownIssuer};
    match error {
        UnknownIssuer => "unable to get local issuer certificate".to_owned(),
        Expired | ExpiredContext { .. } => "certificate has expired".to_owned(),
        NotValidForName | NotValidForNameContext { .. } => {
            "no alternative certificate subject name matches the host".to_owned()
        }
        other => other.to_string(),
    }
}

/// What a server shows to its clients.
pub(crate) fn server(certificate: &Path, secret: &Path) -> Result<Arc<ServerConfig>, String> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(certificates(certificate)?, key(secret)?)
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(config))
}
