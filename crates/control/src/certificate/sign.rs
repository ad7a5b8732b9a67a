//! Signs what is approved, as the built-in signers of `kubernetes.io`.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use knarr_pki::{Authority, CertificateRequest, Terms};

use super::{KUBELET_CLIENT, add_condition, api_client, condition, issued, kubelet_client, kubelet_serving};
use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::key::Key;
use crate::write::{Plan, Write};

/// How long certificates hold that do not say (`--cluster-signing-duration`).
const LONGEST: SignedDuration = SignedDuration::from_hours(365 * 24);
const SHORTEST: SignedDuration = SignedDuration::from_mins(10);
/// Clocks differ.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// Certificates that hold for less are not made shorter by the time that they are dated back.
const SHORT: SignedDuration = SignedDuration::from_hours(8);

/// The signing controller. Keys are requests.
pub(crate) struct Signer {
    pub(crate) authority: Arc<Authority>,
}

impl Signer {
    /// The request with its certificate, or with why it gets none; nothing if it is not for us to say.
    fn signed(&self, csr: &CertificateSigningRequest, now: Timestamp) -> Option<CertificateSigningRequest> {
        let waits = condition(csr, "Approved").is_some() && condition(csr, "Failed").is_none();
        if !waits || issued(csr).is_some() {
            return None;
        }
        let request = CertificateRequest::from_pem(&csr.spec.request.0).ok()?;
        let usages = csr.spec.usages.as_deref().unwrap_or_default();
        let fits = match csr.spec.signer_name.as_str() {
            "kubernetes.io/kube-apiserver-client" => api_client(usages),
            KUBELET_CLIENT => kubelet_client(&request, usages),
            "kubernetes.io/kubelet-serving" => kubelet_serving(&request, usages),
            "kubernetes.io/legacy-unknown" => Ok(()),
            _ => return None,
        };
        let mut csr = csr.clone();
        if let Err(why) = fits {
            add_condition(&mut csr, "Failed", "SignerValidationFailure", why, now);
            return Some(csr);
        }
        let asked = csr
            .spec
            .expiration_seconds
            .map(|seconds| SignedDuration::from_secs(seconds.into()));
        let lasts = asked.map_or(LONGEST, |asked| asked.clamp(SHORTEST, LONGEST));
        let until = if lasts < SHORT { lasts } else { lasts - BACKDATE };
        let terms = Terms {
            usages,
            not_before: now.checked_sub(BACKDATE).ok()?,
            not_after: now.checked_add(until).ok()?,
        };
        match self.authority.sign(&request, &terms) {
            Ok(pem) => csr.status.get_or_insert_default().certificate = Some(ByteString(pem.into_bytes())),
            Err(why) => add_condition(&mut csr, "Failed", "SignerValidationFailure", why.to_string(), now),
        }
        Some(csr)
    }
}

impl Controller for Signer {
    const NAME: &'static str = "certificatesigningrequest-signing-controller";
    const ACCOUNT: Option<&'static str> = Some(super::ACCOUNT);

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch.own::<CertificateSigningRequest>();
    }

    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan {
        let csr = caches.certificate_requests.get(key);
        let signed = csr.and_then(|csr| self.signed(&csr, now));
        Plan::of(
            signed
                .map(|csr| Write::replace_status(&csr).fine_when_gone())
                .into_iter()
                .collect(),
        )
    }
}
