//! Certificates on request: kubelets' are approved, what is approved is signed, what is done with is deleted.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/>

pub(crate) mod approve;
pub(crate) mod clean;
pub(crate) mod sign;

use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use knarr_pki::CertificateRequest;

/// The service account of all three.
const ACCOUNT: &str = "certificate-controller";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";

fn condition<'a>(csr: &'a CertificateSigningRequest, kind: &str) -> Option<&'a CertificateSigningRequestCondition> {
    let conditions = csr.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

fn issued(csr: &CertificateSigningRequest) -> Option<&[u8]> {
    let certificate = csr.status.as_ref()?.certificate.as_ref()?;
    (!certificate.0.is_empty()).then_some(&certificate.0)
}

fn add_condition(csr: &mut CertificateSigningRequest, kind: &str, reason: &str, message: String, now: jiff::Timestamp) {
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now);
    let condition = CertificateSigningRequestCondition {
        type_: kind.into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now),
    };
    let status = csr.status.get_or_insert_default();
    status.conditions.get_or_insert_default().push(condition);
}

/// Whether the usages are these, with or without `key encipherment`, which only keys of RSA need.
fn usages_are(usages: &[String], purpose: &str) -> bool {
    let known = ["digital signature", "key encipherment", purpose];
    let has = |name: &str| usages.iter().any(|usage| usage == name);
    has("digital signature") && has(purpose) && usages.iter().all(|usage| known.contains(&usage.as_str()))
}

/// What is wrong with a request for the certificate by which a kubelet is known to the API server.
fn kubelet_client(request: &CertificateRequest, usages: &[String]) -> Result<(), String> {
    let names = &request.alt_names;
    if request.subject.organizations != ["system:nodes"] {
        return Err("subject organization is not system:nodes".into());
    }
    for (count, sort) in [
        (names.dns, "DNS"),
        (names.email, "Email"),
        (names.ip, "IP"),
        (names.uri, "URI"),
    ] {
        if count > 0 {
            return Err(format!("{sort} subjectAltNames are not allowed"));
        }
    }
    if !request.subject.common_name.starts_with("system:node:") {
        return Err("subject common name does not begin with system:node:".into());
    }
    match usages_are(usages, "client auth") {
        true => Ok(()),
        false => Err("usages did not match [client auth digital signature key encipherment]".into()),
    }
}

/// What is wrong with a request for the certificate with which a kubelet serves.
fn kubelet_serving(request: &CertificateRequest, usages: &[String]) -> Result<(), String> {
    let names = &request.alt_names;
    if request.subject.organizations != ["system:nodes"] {
        return Err("subject organization is not system:nodes".into());
    }
    if names.dns == 0 && names.ip == 0 {
        return Err("DNS or IP subjectAltName is required".into());
    }
    for (count, sort) in [(names.email, "Email"), (names.uri, "URI")] {
        if count > 0 {
            return Err(format!("{sort} subjectAltNames are not allowed"));
        }
    }
    if !usages_are(usages, "server auth") {
        return Err("usages did not match [digital signature key encipherment server auth]".into());
    }
    match request.subject.common_name.starts_with("system:node:") {
        true => Ok(()),
        false => Err("subject common name does not begin with system:node:".into()),
    }
}

/// What is wrong with a request for a certificate by which a user is known to the API server.
fn api_client(usages: &[String]) -> Result<(), String> {
    for usage in usages {
        if !["digital signature", "key encipherment", "client auth"].contains(&usage.as_str()) {
            return Err(format!("invalid usage for client certificate: {usage}"));
        }
    }
    match usages.iter().any(|usage| usage == "client auth") {
        true => Ok(()),
        false => Err("missing required usage for client certificate: client auth".into()),
    }
}
