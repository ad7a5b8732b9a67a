//! Approves what kubelets ask for themselves.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use knarr_pki::CertificateRequest;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::{KUBELET_CLIENT, add_condition, condition, issued, kubelet_client};
use crate::caches::Caches;
use crate::controller::{Context, Controller, Watches};
use crate::key::Key;
use crate::write::{Failure, Plan, Write};

/// The approving controller. Keys are requests.
pub(crate) struct Approver;

impl Controller for Approver {
    const NAME: &'static str = "certificatesigningrequest-approving-controller";
    const ACCOUNT: Option<&'static str> = Some(super::ACCOUNT);

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch.own::<CertificateSigningRequest>();
    }

    fn sync(&self, _: &Key, _: &Caches, _: Timestamp) -> Plan {
        Plan::nothing()
    }

    async fn reconcile(&self, key: &Key, cx: &Context) -> Result<Option<Duration>, Failure> {
        let Some(csr) = cx.caches.certificate_requests.get(key) else {
            return Ok(None);
        };
        let decided = condition(&csr, "Approved").or(condition(&csr, "Denied"));
        if issued(&csr).is_some() || decided.is_some() || csr.spec.signer_name != KUBELET_CLIENT {
            return Ok(None);
        }
        let Ok(request) = CertificateRequest::from_pem(&csr.spec.request.0) else {
            return Ok(None);
        };
        if kubelet_client(&request, csr.spec.usages.as_deref().unwrap_or_default()).is_err() {
            return Ok(None);
        }
        let itself = csr.spec.username.as_deref() == Some(&request.subject.common_name);
        let ways = [
            (
                itself,
                "selfnodeclient",
                "Auto approving self kubelet client certificate after SubjectAccessReview.",
            ),
            (
                true,
                "nodeclient",
                "Auto approving kubelet client certificate after SubjectAccessReview.",
            ),
        ];
        for (_, subresource, message) in ways.into_iter().filter(|(applies, ..)| *applies) {
            if !may(cx, &csr, subresource).await? {
                continue;
            }
            let mut approved = csr.as_ref().clone();
            add_condition(
                &mut approved,
                "Approved",
                "AutoApproved",
                message.into(),
                cx.clock.now_seconds(),
            );
            let plan = Plan::of(vec![Write::replace_sub(&approved, "approval").fine_when_gone()]);
            cx.performer.perform(key, plan, None).await?;
            break;
        }
        Ok(None)
    }
}

/// Whether who asked may have such certificates without somebody's approval.
async fn may(cx: &Context, csr: &CertificateSigningRequest, subresource: &str) -> Result<bool, Failure> {
    let review: SubjectAccessReview = serde_json::from_value(json!({ "metadata": {}, "spec": {
        "user": csr.spec.username,
        "uid": csr.spec.uid,
        "groups": csr.spec.groups,
        "extra": csr.spec.extra,
        "resourceAttributes": {
            "group": "certificates.k8s.io", "resource": "certificatesigningrequests", "verb": "create",
            "subresource": subresource, "version": "*",
        },
    }}))
    .map_err(|error| Failure::other(error.to_string()))?;
    let reviews: Api<SubjectAccessReview> = Api::all(cx.performer.client.clone());
    let answered = reviews.create(&PostParams::default(), &review).await?;
    Ok(answered.status.is_some_and(|status| status.allowed))
}
