//! What a certificate says of its holder.

use jiff::Timestamp;
use jiff::fmt::strtime;
use yasna::{ASN1Result, BERReader, Tag, models::ObjectIdentifier};

use crate::{Error, block, invalid};

const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
const ORGANIZATION: &[u64] = &[2, 5, 4, 10];

/// Whom a certificate is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The user.
    pub common_name: String,
    /// The groups, in their order.
    pub organizations: Vec<String>,
    /// As it was written, to be taken over.
    pub(crate) der: Vec<u8>,
}

/// A certificate, as far as it matters who holds it, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whom it is about.
    pub subject: Subject,
    /// Until when it holds.
    pub not_after: Timestamp,
}

impl Subject {
    pub(crate) fn read(der: Vec<u8>) -> ASN1Result<Self> {
        let mut subject = Self::default();
        yasna::parse_der(&der, |reader| {
            reader.read_sequence_of(|reader| {
                reader.read_set_of(|reader| {
                    reader.read_sequence(|reader| {
                        let kind = reader.next().read_oid()?;
                        let value = reader.next().read_tagged_der()?;
                        subject.note(&kind, value.value());
                        Ok(())
                    })
                })
            })
        })?;
        subject.der = der;
        Ok(subject)
    }

    fn note(&mut self, kind: &ObjectIdentifier, value: &[u8]) {
        let Ok(value) = std::str::from_utf8(value) else { return };
        match kind.components().as_slice() {
            // As in Go, the last one counts.
            COMMON_NAME => self.common_name = value.to_owned(),
            ORGANIZATION => self.organizations.push(value.to_owned()),
            _ => {}
        }
    }
}

impl Certificate {
    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// It is none.
    pub fn from_pem(text: &[u8]) -> Result<Self, Error> {
        Self::from_der(&block(text, "CERTIFICATE")?)
    }

    /// Reads a certificate. Its signature is not looked at.
    ///
    /// # Errors
    /// It is none.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        let read = yasna::parse_der(der, |reader| {
            reader.read_sequence(|reader| {
                let certificate = reader.next().read_sequence(|reader| {
                    reader.read_optional(|reader| reader.read_tagged(Tag::context(0), |reader| reader.read_u8()))?;
                    reader.next().read_bigint_bytes()?; // serial number
                    reader.next().read_der()?; // signature algorithm
                    reader.next().read_der()?; // issuer
                    let not_after = reader.next().read_sequence(|reader| {
                        time(reader.next())?;
                        time(reader.next())
                    })?;
                    let subject = Subject::read(reader.next().read_der()?)?;
                    reader.next().read_der()?; // key
                    while reader.read_optional(|reader| reader.read_der())?.is_some() {}
                    Ok(Self { subject, not_after })
                })?;
                reader.next().read_der()?; // signature algorithm
                reader.next().read_der()?; // signature
                Ok(certificate)
            })
        });
        Ok(read?)
    }
}

/// `UTCTime` or `GeneralizedTime`.
fn time(reader: BERReader<'_, '_>) -> ASN1Result<Timestamp> {
    let value = reader.read_tagged_der()?;
    let Ok(text) = std::str::from_utf8(value.value()) else {
        return invalid();
    };
    // Two digits stand for 1950 to 2049.
    let text = match (text.len(), text.as_bytes().first()) {
        (13, Some(b'5'..=b'9')) => format!("19{text}"),
        (13, _) => format!("20{text}"),
        _ => text.to_owned(),
    };
    let parsed = strtime::parse("%Y%m%d%H%M%SZ", &text).and_then(|parsed| parsed.to_datetime());
    match parsed.and_then(|parsed| parsed.to_zoned(jiff::tz::TimeZone::UTC)) {
        Ok(zoned) => Ok(zoned.timestamp()),
        Err(_) => invalid(),
    }
}
