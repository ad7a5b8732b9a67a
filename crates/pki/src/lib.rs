//! X.509 as Kubernetes uses it: a certificate says who somebody is (the common name is the user, organizations are groups),
//! and a request for one is signed with the usages that an approver has seen.
//!
//! rcgen makes certificates of our own choice; here are those that somebody else asks for, whose names are taken over as they
//! are. A subject may have several organizations, which rcgen's cannot.
//! <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/>

mod authority;
mod certificate;
mod request;
mod usage;

pub use authority::{Authority, Terms};
pub use certificate::{Certificate, Subject};
pub use request::{AltNames, CertificateRequest};
pub use usage::USAGES;

use yasna::{ASN1Error, ASN1ErrorKind, ASN1Result};

/// Why something is no certificate or request, or cannot be signed. In Go's words where clients see it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl From<ASN1Error> for Error {
    fn from(_: ASN1Error) -> Self {
        Self::new("asn1: syntax error: sequence truncated")
    }
}

/// The content of the first block of a PEM text, which must be of this sort.
fn block(text: &[u8], sort: &str) -> Result<Vec<u8>, Error> {
    let block = pem::parse(text).ok().filter(|block| block.tag() == sort);
    let block = block.ok_or_else(|| Error::new(format!("PEM block type must be {sort}")))?;
    Ok(block.into_contents())
}

fn invalid<T>() -> ASN1Result<T> {
    Err(ASN1Error::new(ASN1ErrorKind::Invalid))
}
