//! Deletes requests that are done with, or that nobody has decided on.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use knarr_pki::Certificate;

use super::{condition, issued};
use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::key::Key;
use crate::write::{Plan, Write};

/// How long a request is kept that was signed, denied, or failed.
const DONE: SignedDuration = SignedDuration::from_hours(1);
/// How long one is kept that waits for a decision, or for its certificate.
const PENDING: SignedDuration = SignedDuration::from_hours(24);

/// The cleaner. Keys are requests.
pub(crate) struct Cleaner;

/// When the request may go.
fn ends(csr: &CertificateSigningRequest) -> Timestamp {
    let made = csr
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(Timestamp::MAX, |made| made.0);
    let after = |since: Timestamp, time: SignedDuration| since.checked_add(time).unwrap_or(Timestamp::MAX);
    let since = |kind: &str| {
        let condition = condition(csr, kind)?;
        Some(condition.last_update_time.as_ref().map_or(made, |at| at.0))
    };
    let over = since("Denied").or(since("Failed")).map(|at| after(at, DONE));
    let approved = since("Approved").map(|at| match issued(csr) {
        Some(certificate) => {
            let expires = Certificate::from_pem(certificate).map_or(Timestamp::MAX, |own| own.not_after);
            after(at, DONE).min(expires)
        }
        None => after(at, PENDING),
    });
    over.or(approved).unwrap_or_else(|| after(made, PENDING))
}

impl Controller for Cleaner {
    const NAME: &'static str = "certificatesigningrequest-cleaner-controller";
    const ACCOUNT: Option<&'static str> = Some(super::ACCOUNT);

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch.own::<CertificateSigningRequest>();
    }

    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan {
        let Some(csr) = caches.certificate_requests.get(key) else {
            return Plan::nothing();
        };
        let left = ends(&csr).duration_since(now);
        match Duration::try_from(left).ok().filter(|left| !left.is_zero()) {
            Some(left) => Plan {
                again: Some(left),
                ..Plan::nothing()
            },
            None => Plan::of(vec![Write::delete(csr.as_ref())]),
        }
    }
}
