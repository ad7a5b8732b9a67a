//! PKCS #10: requests for certificates.

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use yasna::{ASN1Result, BERReader, Tag, models::ObjectIdentifier};

use crate::certificate::Subject;
use crate::{Error, block};

const EXTENSION_REQUEST: &[u64] = &[1, 2, 840, 113549, 1, 9, 14];
pub(crate) const ALT_NAMES: &[u64] = &[2, 5, 29, 17];
const P256: &[u64] = &[1, 2, 840, 10045, 3, 1, 7];
const P384: &[u64] = &[1, 3, 132, 0, 34];

/// How many names of each sort a request wants besides its subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AltNames {
    /// Names of hosts.
    pub dns: usize,
    /// Addresses of hosts.
    pub ip: usize,
    /// Addresses of people.
    pub email: usize,
    /// URIs.
    pub uri: usize,
}

/// A request for a certificate, whose signature proves that who made it has the key.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// Whom the certificate is to be about.
    pub subject: Subject,
    /// Its other names.
    pub alt_names: AltNames,
    /// The value of the extension with the other names.
    pub(crate) alt_names_der: Option<Vec<u8>>,
    /// `SubjectPublicKeyInfo`.
    pub(crate) key: Vec<u8>,
    info: Vec<u8>,
    algorithm: ObjectIdentifier,
    signature: Vec<u8>,
}

impl CertificateRequest {
    /// Reads a request in PEM.
    ///
    /// # Errors
    /// It is none.
    pub fn from_pem(text: &[u8]) -> Result<Self, Error> {
        let der = block(text, "CERTIFICATE REQUEST")?;
        let (info, algorithm, signature) = yasna::parse_der(&der, |reader| {
            reader.read_sequence(|reader| {
                let info = reader.next().read_der()?;
                let algorithm = algorithm(reader.next())?.0;
                let (signature, _) = reader.next().read_bitvec_bytes()?;
                Ok((info, algorithm, signature))
            })
        })?;
        let (subject, key, extension) = yasna::parse_der(&info, |reader| {
            reader.read_sequence(|reader| {
                reader.next().read_u8()?; // version
                let subject = Subject::read(reader.next().read_der()?)?;
                let key = reader.next().read_der()?;
                let attributes = |reader: BERReader<'_, '_>| reader.read_tagged_implicit(Tag::context(0), requested);
                let extension = reader.read_optional(attributes)?.flatten();
                Ok((subject, key, extension))
            })
        })?;
        let alt_names = extension.as_deref().map(alt_names).transpose()?;
        Ok(Self {
            subject,
            alt_names: alt_names.unwrap_or_default(),
            alt_names_der: extension,
            key,
            info,
            algorithm,
            signature,
        })
    }

    /// Checks that who made the request has the key.
    ///
    /// # Errors
    /// They do not, or nobody here can tell.
    pub fn check_signature(&self) -> Result<(), Error> {
        let (kind, curve, bits) = yasna::parse_der(&self.key, |reader| {
            reader.read_sequence(|reader| {
                let (kind, curve) = algorithm(reader.next())?;
                let (bits, _) = reader.next().read_bitvec_bytes()?;
                Ok((kind, curve, bits))
            })
        })?;
        let curve = curve.map(|curve| curve.components().clone());
        let verifier: Option<&dyn VerificationAlgorithm> =
            match (self.algorithm.components().as_slice(), curve.as_deref()) {
                ([1, 2, 840, 10045, 4, 3, 2], Some(P256)) => Some(&signature::ECDSA_P256_SHA256_ASN1),
                ([1, 2, 840, 10045, 4, 3, 2], Some(P384)) => Some(&signature::ECDSA_P384_SHA256_ASN1),
                ([1, 2, 840, 10045, 4, 3, 3], Some(P256)) => Some(&signature::ECDSA_P256_SHA384_ASN1),
                ([1, 2, 840, 10045, 4, 3, 3], Some(P384)) => Some(&signature::ECDSA_P384_SHA384_ASN1),
                ([1, 2, 840, 113549, 1, 1, 11], None) => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
                ([1, 2, 840, 113549, 1, 1, 12], None) => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
                ([1, 2, 840, 113549, 1, 1, 13], None) => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
                ([1, 3, 101, 112], None) if kind == self.algorithm => Some(&signature::ED25519),
                _ => None,
            };
        let verifier = verifier.ok_or_else(|| Error::new("x509: cannot verify signature: algorithm unimplemented"))?;
        let verified = UnparsedPublicKey::new(verifier, &bits).verify(&self.info, &self.signature);
        verified.map_err(|_| Error::new("x509: signature verification failure"))
    }
}

/// `AlgorithmIdentifier`: what it is, and the curve if it names one.
fn algorithm(reader: BERReader<'_, '_>) -> ASN1Result<(ObjectIdentifier, Option<ObjectIdentifier>)> {
    reader.read_sequence(|reader| {
        let algorithm = reader.next().read_oid()?;
        let parameters = reader.read_optional(|reader| reader.read_der())?;
        let curve = parameters.and_then(|der| yasna::parse_der(&der, |reader| reader.read_oid()).ok());
        Ok((algorithm, curve))
    })
}

/// The other names among the attributes of a request, if it wants any.
fn requested(reader: BERReader<'_, '_>) -> ASN1Result<Option<Vec<u8>>> {
    let mut found = None;
    reader.read_set_of(|reader| {
        reader.read_sequence(|reader| {
            let kind = reader.next().read_oid()?;
            let values = reader.next().read_der()?;
            if kind.components().as_slice() == EXTENSION_REQUEST {
                found = yasna::parse_der(&values, extensions)?;
            }
            Ok(())
        })
    })?;
    Ok(found)
}

fn extensions(reader: BERReader<'_, '_>) -> ASN1Result<Option<Vec<u8>>> {
    let mut found = None;
    reader.read_set_of(|reader| {
        reader.read_sequence_of(|reader| {
            reader.read_sequence(|reader| {
                let kind = reader.next().read_oid()?;
                reader.read_optional(|reader| reader.read_bool())?;
                let value = reader.next().read_bytes()?;
                if kind.components().as_slice() == ALT_NAMES {
                    found = Some(value);
                }
                Ok(())
            })
        })
    })?;
    Ok(found)
}

fn alt_names(der: &[u8]) -> Result<AltNames, Error> {
    let mut names = AltNames::default();
    yasna::parse_der(der, |reader| {
        reader.read_sequence_of(|reader| {
            let name = reader.read_tagged_der()?;
            match name.tag().tag_number {
                1 => names.email += 1,
                2 => names.dns += 1,
                6 => names.uri += 1,
                7 => names.ip += 1,
                _ => {}
            }
            Ok(())
        })
    })?;
    Ok(names)
}
