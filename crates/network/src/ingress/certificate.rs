//! Which certificate a host is shown: that of its Secret, else one that nobody trusts.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use knarr_client::key::Key;
use knarr_client::store::Store;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

/// Certificates by host name, `*.domain` among them.
#[derive(Default)]
pub(crate) struct Certificates(HashMap<String, Arc<CertifiedKey>>);

impl Certificates {
    /// Those that these Ingresses name, and what is wrong with the others.
    pub(crate) fn new(ingresses: &[Arc<Ingress>], secrets: &Store<Secret>) -> (Self, Vec<(Arc<Ingress>, String)>) {
        let (mut certificates, mut mistakes) = (Self::default(), Vec::new());
        for ingress in ingresses {
            let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
            let tls = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
            for tls in tls {
                let Some(name) = tls.secret_name.as_deref().filter(|name| !name.is_empty()) else {
                    continue;
                };
                let key = Key::new(namespace, name);
                let read = match secrets.get(&key) {
                    Some(secret) => read(&secret),
                    None => Err("there is no such Secret of type kubernetes.io/tls".into()),
                };
                match read {
                    Ok(certificate) => {
                        for host in tls.hosts.iter().flatten() {
                            certificates
                                .0
                                .entry(host.clone())
                                .or_insert_with(|| certificate.clone());
                        }
                    }
                    Err(why) => mistakes.push((
                        ingress.clone(),
                        format!("Error getting SSL certificate \"{key}\": {why}"),
                    )),
                }
            }
        }
        (certificates, mistakes)
    }

    fn of(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        let wildcard = host.split_once('.').map(|(_, domain)| format!("*.{domain}"));
        self.0.get(host).or_else(|| self.0.get(&wildcard?)).cloned()
    }
}

fn read(secret: &Secret) -> Result<Arc<CertifiedKey>, String> {
    let data = |key: &str| {
        let found = secret.data.as_ref().and_then(|data| data.get(key));
        found
            .map(|bytes| bytes.0.as_slice())
            .ok_or_else(|| format!("it has no {key}"))
    };
    let (chain, key) = (data("tls.crt")?, data("tls.key")?);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.map_err(|error| format!("tls.crt: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("tls.key: {error}"))?;
    let key = ring::sign::any_supported_type(&key).map_err(|error| format!("tls.key: {error}"))?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|error| error.to_string())?;
    Ok(Arc::new(certified))
}

/// Shows each client the certificate of the host it asks for, as it is now.
struct ByHost {
    certificates: watch::Receiver<Arc<Certificates>>,
    fallback: Arc<CertifiedKey>,
}

impl fmt::Debug for ByHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByHost")
    }
}

impl ResolvesServerCert for ByHost {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = hello.server_name().map(str::to_ascii_lowercase);
        let own = host.and_then(|host| self.certificates.borrow().of(&host));
        Some(own.unwrap_or_else(|| self.fallback.clone()))
    }
}

/// TLS as the certificates have it.
pub(crate) fn server_config(certificates: watch::Receiver<Arc<Certificates>>) -> Result<Arc<ServerConfig>, String> {
    let text = |error: &dyn fmt::Display| error.to_string();
    let mut parameters = rcgen::CertificateParams::new(vec!["ingress.local".into()]).map_err(|error| text(&error))?;
    let name = "Kubernetes Ingress Controller Fake Certificate";
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().map_err(|error| text(&error))?;
    let certificate = parameters.self_signed(&key).map_err(|error| text(&error))?;
    let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| text(&error))?;
    let private = ring::sign::any_supported_type(&private).map_err(|error| text(&error))?;
    let resolver = ByHost {
        certificates,
        fallback: Arc::new(CertifiedKey::new(vec![certificate.der().clone()], private)),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| text(&error))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
