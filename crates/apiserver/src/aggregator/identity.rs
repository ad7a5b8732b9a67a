//! Who this server is to the servers that it hands requests on to: the front proxy, known by a client certificate.
//!
//! They learn whom to believe from the ConfigMap `extension-apiserver-authentication`. The authority behind it is made at
//! every start, and they follow the ConfigMap.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};

use crate::dial::ClientCertificate;
use crate::error::Error;

const CLIENT: &str = "front-proxy-client";

/// The front proxy's certificate and who vouches for it.
#[derive(Debug)]
pub(crate) struct Identity {
    pub client: ClientCertificate,
    authority: String,
}

impl Identity {
    pub(crate) fn new() -> Result<Self, Error> {
        Self::made()
            .map_err(|error| Error::Options(format!("the certificate of the front proxy cannot be made: {error}")))
    }

    fn made() -> Result<Self, rcgen::Error> {
        let (authority_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
        let mut authority = params("front-proxy-ca");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        let pem = authority.self_signed(&authority_key)?.pem();
        let mut client = params(CLIENT);
        client.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = client.signed_by(&key, &Issuer::new(authority, authority_key))?;
        Ok(Self {
            client: ClientCertificate {
                certificate: certificate.der().to_vec(),
                key: key.serialize_der(),
            },
            authority: pem,
        })
    }

    /// What `extension-apiserver-authentication` says. `authority` signs the certificates of users.
    pub(crate) fn config_map(&self, authority: &str) -> Value {
        let mut data = json!({
            "requestheader-allowed-names": json!([CLIENT]).to_string(),
            "requestheader-client-ca-file": self.authority,
            "requestheader-extra-headers-prefix": json!(["X-Remote-Extra-"]).to_string(),
            "requestheader-group-headers": json!(["X-Remote-Group"]).to_string(),
            "requestheader-uid-headers": json!(["X-Remote-Uid"]).to_string(),
            "requestheader-username-headers": json!(["X-Remote-User"]).to_string(),
        });
        if !authority.is_empty() {
            data["client-ca-file"] = json!(authority);
        }
        json!({
            "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
            "data": data,
        })
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
