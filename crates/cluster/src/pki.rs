//! Keys, certificates and the token: how the server and its clients know each other.
//!
//! The CA's key, the token and the port are made once and kept, so that a kubeconfig that was copied somewhere stays
//! valid. The server's own certificate is made anew at every start; clients trust the CA.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::ToSpan;
use jiff::civil::Date;
use knarr_pki::Authority;
use rand::RngExt;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use serde::{Deserialize, Serialize};

use crate::directory::Directory;
use crate::error::{Doing, Error};

/// The `kubernetes` Service: the first address of the service range.
pub(crate) const SERVICE_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const CA_NAME: &str = "kubernetes";
pub(crate) const SECRETS: &str = "secrets.json";
const CA: &str = "ca.crt";
/// How long the server's certificate holds: browsers and Apple's systems trust none that lasts longer than 398 days.
const LEAF_DAYS: i64 = 397;

/// What is kept.
#[derive(Serialize, Deserialize)]
struct Secrets {
    ca_key: String,
    token: String,
    port: u16,
}

/// The identity of a cluster.
pub(crate) struct Identity {
    secrets: Secrets,
    ca_key: KeyPair,
    pub(crate) ca_pem: String,
}

impl Identity {
    /// Reads the identity of a cluster, or makes one.
    pub(crate) fn open(directory: &Directory) -> Result<Self, Error> {
        let path = directory.file(CA);
        if let (Some(secrets), Ok(ca_pem)) = (directory.read::<Secrets>(SECRETS)?, std::fs::read_to_string(&path)) {
            let ca_key = KeyPair::from_pem(&secrets.ca_key)
                .doing(|| format!("the key in {} is damaged", directory.file(SECRETS).display()))?;
            return Ok(Self {
                secrets,
                ca_key,
                ca_pem,
            });
        }
        let context = || "cannot make the keys of the cluster".to_string();
        let ca_key = KeyPair::generate().doing(context)?;
        let certificate = ca_params().self_signed(&ca_key).doing(context)?;
        let mut token = [0u8; 32];
        rand::rng().fill(&mut token);
        let identity = Self {
            secrets: Secrets {
                ca_key: ca_key.serialize_pem(),
                token: BASE64_URL_SAFE_NO_PAD.encode(token),
                port: 0,
            },
            ca_pem: certificate.pem(),
            ca_key,
        };
        directory.write(CA, identity.ca_pem.as_bytes())?;
        identity.save(directory)?;
        Ok(identity)
    }

    fn save(&self, directory: &Directory) -> Result<(), Error> {
        let json = serde_json::to_vec_pretty(&self.secrets).doing(|| "cannot write the keys of the cluster".into())?;
        directory.write(SECRETS, &json).map(drop)
    }

    /// The token of the cluster's administrator.
    pub(crate) fn token(&self) -> &str {
        &self.secrets.token
    }

    /// The port that was used last; 0 when there was none.
    pub(crate) fn port(&self) -> u16 {
        self.secrets.port
    }

    /// Remembers the port.
    pub(crate) fn set_port(&mut self, directory: &Directory, port: u16) -> Result<(), Error> {
        if self.secrets.port != port {
            self.secrets.port = port;
            self.save(directory)?;
        }
        Ok(())
    }

    /// What signs the certificates that clients ask for.
    pub(crate) fn authority(&self) -> Result<Arc<Authority>, Error> {
        let authority = Authority::new(&self.ca_pem, &self.secrets.ca_key);
        authority
            .map(Arc::new)
            .doing(|| "cannot use the key of the cluster".into())
    }

    /// TLS with a fresh certificate for every name the server is reached by. Clients may show a certificate.
    pub(crate) fn tls(&self, listen: &[IpAddr]) -> Result<Arc<rustls::ServerConfig>, Error> {
        let context = || "cannot make the server's certificate".to_string();
        let key = KeyPair::generate().doing(context)?;
        let mut names: Vec<String> = ["localhost", "kubernetes"].map(String::from).to_vec();
        names.extend(["default", "default.svc", "default.svc.cluster.local"].map(|rest| format!("kubernetes.{rest}")));
        let mut params = CertificateParams::new(names).doing(context)?;
        let mut addresses = vec![
            Ipv4Addr::LOCALHOST.into(),
            Ipv6Addr::LOCALHOST.into(),
            SERVICE_IP.into(),
        ];
        for address in listen {
            if !address.is_unspecified() && !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        params
            .subject_alt_names
            .extend(addresses.into_iter().map(SanType::IpAddress));
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let (from, until) = (today.saturating_sub(1.day()), today.saturating_add(LEAF_DAYS.days()));
        let date = |date: Date| {
            (
                i32::from(date.year()),
                date.month().unsigned_abs(),
                date.day().unsigned_abs(),
            )
        };
        let (year, month, day) = date(from);
        params.not_before = rcgen::date_time_ymd(year, month, day);
        let (year, month, day) = date(until);
        params.not_after = rcgen::date_time_ymd(year, month, day);
        let certificate = params
            .signed_by(&key, &Issuer::new(ca_params(), &self.ca_key))
            .doing(context)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .doing(context)?
            .with_client_cert_verifier(Arc::new(AskForCertificate(self.client_verifier(provider)?)))
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .doing(context)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl Identity {
    fn client_verifier(&self, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let context = || "cannot use the certificate of the cluster".to_string();
        let mut roots = rustls::RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).doing(context)?;
        roots.add(authority).doing(context)?;
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .doing(context)
    }
}

/// Takes whatever certificate a client shows, so long as it has the key: who it is, if anybody, authentication says, which
/// answers those whose certificate is none of ours with 401 instead of a broken connection.
#[derive(Debug)]
struct AskForCertificate(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AskForCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, CA_NAME);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2120, 1, 1);
    params
}
