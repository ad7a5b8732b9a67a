//! CertificateApproval, CertificateSigning and CertificateSubjectRestriction: who asks for a certificate is noted, and who
//! approves or signs must be allowed to for that signer.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#authorization>.

use serde_json::Value;

use super::{Attributes, Lookup, Operation};
use crate::json::{equal, set, text};
use crate::kind::requested_certificate;
use crate::status::Status;

const GROUP: &str = "certificates.k8s.io";
const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";

/// Notes who asks, whatever they say.
pub(super) fn mutate(request: &Attributes<'_>, csr: &mut Value) {
    if !is_about(request, "") || request.operation != Operation::Create {
        return;
    }
    let Some(spec) = crate::json::object(csr, "spec") else {
        return;
    };
    for key in ["username", "uid", "groups", "extra"] {
        crate::json::remove(spec, key);
    }
    if let Value::Object(user) = request.user.to_value() {
        for (key, value) in user {
            set(spec, &key, value);
        }
    }
}

pub(super) fn validate(
    request: &Attributes<'_>,
    csr: &Value,
    old: Option<&Value>,
    lookup: &dyn Lookup,
) -> Result<(), Status> {
    let refuse = |why: &str| Err(Status::forbidden(request.resource, request.name_of(csr), why));
    let nothing = Value::Null;
    let old = old.unwrap_or(&nothing);
    // Whose signer it is the stored object says.
    let signer = text(&old["spec"], "signerName");
    let may = |verb: &str| {
        let all = signer.split('/').next().map(|domain| format!("{domain}/*"));
        let names = [Some(signer.to_owned()), all];
        let mut names = names.into_iter().flatten();
        names.any(|name| lookup.allowed(request.user, verb, GROUP, "signers", &name))
    };
    if is_about(request, "") && request.operation == Operation::Create {
        let masters = |csr: &Value| {
            let parsed = requested_certificate(csr).ok();
            parsed.is_some_and(|parsed| parsed.subject.organizations.iter().any(|own| own == "system:masters"))
        };
        if text(&csr["spec"], "signerName") == API_CLIENT && masters(csr) {
            let why = format!("use of {API_CLIENT} signer with system:masters group is not allowed");
            return refuse(&why);
        }
    }
    if is_about(request, "approval") && request.operation == Operation::Update && !may("approve") {
        return refuse(&format!(
            "user not permitted to approve requests with signerName {signer:?}"
        ));
    }
    if is_about(request, "status") && request.operation == Operation::Update {
        let same = |key: &str| equal(&csr["status"][key], &old["status"][key]);
        if !(same("certificate") && same("conditions") || may("sign")) {
            return refuse(&format!(
                "user not permitted to sign requests with signerName {signer:?}"
            ));
        }
    }
    Ok(())
}

fn is_about(request: &Attributes<'_>, subresource: &str) -> bool {
    request.is_resource(GROUP, "certificatesigningrequests") && request.subresource == subresource
}
