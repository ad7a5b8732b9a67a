//! Clients that show a certificate: its common name is the user, its organizations are the groups.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates>.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use knarr_pki::Certificate;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::UserInfo;
use crate::error::Error;

/// Knows whose certificates count.
pub(crate) struct Authenticator(Option<Arc<dyn ClientCertVerifier>>);

/// What the other end of a connection has shown.
pub(crate) struct Shown {
    user: UserInfo,
    not_after: Timestamp,
}

impl Authenticator {
    /// Of those that this authority (in PEM; empty: nobody) has signed.
    pub(crate) fn new(authority: &str) -> Result<Self, Error> {
        let Ok(authority) = CertificateDer::from_pem_slice(authority.as_bytes()) else {
            return Ok(Self(None));
        };
        let wrong = |error: &dyn std::fmt::Display| Error::Options(format!("the authority of clients: {error}"));
        let mut roots = RootCertStore::empty();
        roots.add(authority).map_err(|error| wrong(&error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self(Some(verifier.map_err(|error| wrong(&error))?)))
    }

    /// Who has shown these certificates, if they count now: its own, and those between it and the authority.
    pub(crate) fn shown(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Option<Shown> {
        let (own, between) = chain.split_first()?;
        let since = Duration::from_secs(now.as_second().unsigned_abs());
        let verifier = self.0.as_ref()?;
        let verified = verifier.verify_client_cert(own, between, UnixTime::since_unix_epoch(since));
        if let Err(error) = verified {
            tracing::debug!(%error, "a client's certificate does not count");
            return None;
        }
        let certificate = Certificate::from_der(own).ok()?;
        let subject = &certificate.subject;
        if subject.common_name.is_empty() {
            return None;
        }
        let mut user = UserInfo::authenticated(&subject.common_name, &subject.organizations);
        let mut id = "X509SHA256=".to_owned();
        for byte in ring::digest::digest(&ring::digest::SHA256, own).as_ref() {
            let _ = write!(id, "{byte:02x}"); // writing to a string cannot fail
        }
        let key = "authentication.kubernetes.io/credential-id";
        user.extra.insert(key.to_owned(), vec![id]);
        Some(Shown {
            user,
            not_after: certificate.not_after,
        })
    }
}

impl Shown {
    /// The user, unless the certificate has expired since the connection was made.
    pub(crate) fn user(&self, now: Timestamp) -> Option<&UserInfo> {
        (now <= self.not_after).then_some(&self.user)
    }
}
