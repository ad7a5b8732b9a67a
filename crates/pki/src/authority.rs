//! Who signs: the authority of the cluster.

use std::fmt;

use jiff::Timestamp;
use rand::RngExt;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use yasna::models::ObjectIdentifier;
use yasna::tags::{TAG_GENERALIZEDTIME, TAG_UTCTIME};
use yasna::{DERWriter, DERWriterSeq, Tag};

use crate::certificate::Certificate;
use crate::request::{ALT_NAMES, CertificateRequest};
use crate::{Error, block, usage};

const ECDSA_WITH_SHA256: &[u64] = &[1, 2, 840, 10045, 4, 3, 2];
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const EXT_KEY_USAGE: &[u64] = &[2, 5, 29, 37];

/// What is signed besides the request.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// What the key may be used for; see [`crate::USAGES`].
    pub usages: &'a [String],
    /// From when it holds.
    pub not_before: Timestamp,
    /// Until when it holds, if the authority does so long.
    pub not_after: Timestamp,
}

/// A certificate authority with its key.
pub struct Authority {
    certificate: Certificate,
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// The authority of this certificate and its key (ECDSA on P-256, PKCS #8), both in PEM.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn new(certificate: &str, key: &str) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let key = block(key.as_bytes(), "PRIVATE KEY")?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key, &random);
        Ok(Self {
            certificate: Certificate::from_pem(certificate.as_bytes())?,
            key: key.map_err(|error| Error::new(error.to_string()))?,
            random,
        })
    }

    /// Signs what was requested, on these terms. The certificate is in PEM.
    ///
    /// # Errors
    /// The authority does not hold any more, or a usage is unknown.
    pub fn sign(&self, request: &CertificateRequest, terms: &Terms<'_>) -> Result<String, Error> {
        let until = terms.not_after.min(self.certificate.not_after);
        if terms.not_before >= until {
            return Err(Error::new(format!("the signer has expired: NotAfter={until}")));
        }
        let unknown = |name: &&String| usage::bit(name).is_none() && usage::purpose(name).is_none();
        if let Some(name) = terms.usages.iter().find(unknown) {
            return Err(Error::new(format!("unrecognized usage values: [{name:?}]")));
        }
        let mut serial = [0u8; 16];
        rand::rng().fill(&mut serial);
        serial[0] = serial[0] & 0x7f | 0x40; // positive, and of full length
        let content = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_tagged(Tag::context(0), |writer| writer.write_u8(2)); // version 3
                writer.next().write_bigint_bytes(&serial, true);
                algorithm(writer.next());
                writer.next().write_der(&self.certificate.subject.der);
                writer.next().write_sequence(|writer| {
                    time(writer.next(), terms.not_before);
                    time(writer.next(), until);
                });
                writer.next().write_der(&request.subject.der);
                writer.next().write_der(&request.key);
                writer.next().write_tagged(Tag::context(3), |writer| {
                    writer.write_sequence(|writer| extensions(writer, request, terms.usages));
                });
            });
        });
        let signature = self.key.sign(&self.random, &content);
        let signature = signature.map_err(|_| Error::new("the key of the authority does not sign"))?;
        let der = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_der(&content);
                algorithm(writer.next());
                let bytes = signature.as_ref();
                writer.next().write_bitvec_bytes(bytes, bytes.len() * 8);
            });
        });
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        Ok(pem::encode_config(&pem::Pem::new("CERTIFICATE", der), config))
    }
}

fn algorithm(writer: DERWriter<'_>) {
    writer.write_sequence(|writer| {
        writer
            .next()
            .write_oid(&ObjectIdentifier::from_slice(ECDSA_WITH_SHA256))
    });
}

/// Until 2049 with two digits for the year, as RFC 5280 wants it.
fn time(writer: DERWriter<'_>, at: Timestamp) {
    let at = at.to_zoned(jiff::tz::TimeZone::UTC);
    let (tag, form) = match at.year() {
        1950..2050 => (TAG_UTCTIME, "%y%m%d%H%M%SZ"),
        _ => (TAG_GENERALIZEDTIME, "%Y%m%d%H%M%SZ"),
    };
    let text = at.strftime(form).to_string();
    writer.write_tagged_implicit(tag, |writer| writer.write_bytes(text.as_bytes()));
}

fn extensions(writer: &mut DERWriterSeq<'_>, request: &CertificateRequest, usages: &[String]) {
    let mut add = |kind: &[u64], critical: bool, value: &[u8]| {
        writer.next().write_sequence(|writer| {
            writer.next().write_oid(&ObjectIdentifier::from_slice(kind));
            if critical {
                writer.next().write_bool(true);
            }
            writer.next().write_bytes(value);
        });
    };
    let mut bits: Vec<usize> = usages.iter().filter_map(|name| usage::bit(name)).collect();
    bits.sort_unstable();
    if let Some(last) = bits.last() {
        let mut bytes = vec![0u8; last / 8 + 1];
        for bit in &bits {
            bytes[bit / 8] |= 0x80 >> (bit % 8);
        }
        let value = yasna::construct_der(|writer| writer.write_bitvec_bytes(&bytes, last + 1));
        add(KEY_USAGE, true, &value);
    }
    let mut purposes: Vec<&[u64]> = usages.iter().filter_map(|name| usage::purpose(name)).collect();
    purposes.dedup();
    if !purposes.is_empty() {
        let value = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                for purpose in &purposes {
                    writer.next().write_oid(&ObjectIdentifier::from_slice(purpose));
                }
            });
        });
        add(EXT_KEY_USAGE, false, &value);
    }
    // No authority of its own.
    let value = yasna::construct_der(|writer| writer.write_sequence(|_| ()));
    add(BASIC_CONSTRAINTS, true, &value);
    if let Some(names) = &request.alt_names_der {
        add(ALT_NAMES, false, names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AltNames;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn authority() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(2120, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        Authority::new(&certificate.pem(), &key.serialize_pem()).unwrap()
    }

    #[test]
    fn what_is_signed_is_about_whom_the_request_was() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "jane");
        params.distinguished_name.push(DnType::OrganizationName, "developers");
        params.subject_alt_names = vec![SanType::IpAddress([10, 0, 0, 1].into())];
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let request = CertificateRequest::from_pem(pem.as_bytes()).unwrap();
        request.check_signature().unwrap();
        assert_eq!(
            request.alt_names,
            AltNames {
                ip: 1,
                ..AltNames::default()
            }
        );
        let usages = ["client auth".to_owned(), "digital signature".to_owned()];
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let terms = Terms {
            usages: &usages,
            not_before: at("2026-01-01T00:00:00Z"),
            not_after: at("2051-01-01T00:00:00Z"),
        };
        let signed = authority().sign(&request, &terms).unwrap();
        let certificate = Certificate::from_pem(signed.as_bytes()).unwrap();
        assert_eq!(certificate.subject.common_name, "jane");
        assert_eq!(certificate.subject.organizations, ["developers"]);
        assert_eq!(certificate.not_after, terms.not_after);

        // A request that was changed on its way is no longer its maker's.
        let mut der = block(pem.as_bytes(), "CERTIFICATE REQUEST").unwrap();
        let at = der.windows(4).position(|bytes| bytes == b"jane").unwrap();
        der[at] = b'J';
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der));
        let request = CertificateRequest::from_pem(pem.as_bytes()).unwrap();
        assert!(request.check_signature().is_err());
    }

    #[test]
    fn whatever_is_no_request_is_an_error() {
        let told = |text: &str| {
            CertificateRequest::from_pem(text.as_bytes())
                .map(drop)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(told("x"), "PEM block type must be CERTIFICATE REQUEST");
        let key = KeyPair::generate().unwrap();
        let pem = CertificateParams::default()
            .serialize_request(&key)
            .unwrap()
            .pem()
            .unwrap();
        let der = block(pem.as_bytes(), "CERTIFICATE REQUEST").unwrap();
        for end in 0..der.len() {
            let cut = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", &der[..end]));
            assert!(CertificateRequest::from_pem(cut.as_bytes()).is_err(), "{end}");
        }
    }
}
