//! What extends the cluster: APIs, definitions, webhooks, their objects; bindings and signing requests.

use serde_json::Value;

use super::finding::{Finding, Fix, Severity, Thing};
use super::world::Known;
use super::{Cx, GRACE, brief, condition, condition_path, is_going, name, namespace};
use crate::kind::field::{int, items, present, text, time};

/// What is wrong with the Service that something stands on.
fn behind(cx: Cx<'_>, reference: &Value) -> Option<(String, Vec<Finding>)> {
    let (within, called) = (text(&reference["namespace"]), text(&reference["name"]));
    match cx.world.get("", "Service", within, called) {
        Known::Absent => Some((format!("its Service {within}/{called} does not exist"), Vec::new())),
        Known::There(service) => {
            let causes: Vec<Finding> = super::network::service(cx, service)
                .into_iter()
                .filter(|cause| cause.severity == Severity::Critical)
                .collect();
            (!causes.is_empty()).then(|| (format!("its Service {within}/{called} does not answer"), causes))
        }
        Known::Unread => None,
    }
}

/// What is wrong with an APIService.
pub(super) fn api_service(cx: Cx<'_>, api: &Value) -> Vec<Finding> {
    let available = condition(api, "Available");
    let since = time(&available["lastTransitionTime"]);
    if available["status"] != "False" || !cx.older(since, GRACE) {
        return Vec::new();
    }
    let (why, causes) =
        behind(cx, &api["spec"]["service"]).unwrap_or_else(|| (brief(text(&available["message"])), Vec::new()));
    let me = Thing::of(api);
    vec![
        Finding::critical(
            "api.unavailable",
            api,
            format!("The API {} is down: {why}.", name(api)).replace("..", "."),
        )
        .since(since)
        .read(
            condition_path("Available"),
            format!("{}: {}", text(&available["reason"]), text(&available["message"])),
        )
        .because(causes)
        .advise(
            "if its server is gone for good, delete it",
            format!("kubectl delete apiservice {}", me.name),
        )
        .by(Fix::Delete(me)),
    ]
}

/// What is wrong with a CustomResourceDefinition.
pub(super) fn definition(cx: Cx<'_>, definition: &Value) -> Vec<Finding> {
    if !cx.aged(definition, 10) {
        return Vec::new();
    }
    let bad = [
        ("NamesAccepted", "False", "crd.notready", "Its names are taken"),
        ("Established", "False", "crd.notready", "It is not served"),
        (
            "NonStructuralSchema",
            "True",
            "crd.notready",
            "Its schema is not structural",
        ),
        (
            "KubernetesAPIApprovalPolicyConformant",
            "False",
            "crd.notready",
            "Its group is reserved for Kubernetes",
        ),
    ];
    let going = condition(definition, "Terminating");
    if is_going(definition) {
        return if cx.older(time(&definition["metadata"]["deletionTimestamp"]), GRACE) {
            vec![
                Finding::warning("crd.deleting", definition, "Its deletion waits for its objects to go.")
                    .since(time(&going["lastTransitionTime"]))
                    .read(condition_path("Terminating"), text(&going["message"])),
            ]
        } else {
            Vec::new()
        };
    }
    bad.iter()
        .filter_map(|(kind, status, cause, what)| {
            let condition = condition(definition, kind);
            (condition["status"] == *status).then(|| {
                let message = text(&condition["message"]);
                Finding::critical(cause, definition, format!("{what}: {}", brief(message)))
                    .since(time(&condition["lastTransitionTime"]))
                    .read(condition_path(kind), message)
            })
        })
        .take(1)
        .collect()
}

/// Webhooks that cannot be called.
pub(super) fn webhooks(cx: Cx<'_>, configuration: &Value) -> Vec<Finding> {
    items(&configuration["webhooks"])
        .iter()
        .filter_map(|webhook| {
            let (why, causes) = behind(cx, &webhook["clientConfig"]["service"])?;
            let called = text(&webhook["name"]);
            let blocks = webhook["failurePolicy"] != "Ignore";
            let (severity, effect) = if blocks {
                (Severity::Critical, "what it watches cannot be changed")
            } else {
                (Severity::Warning, "each request waits for it in vain")
            };
            let sentence = format!("Webhook {called} cannot be called, so {effect}: {why}.");
            let me = Thing::of(configuration);
            Some(
                Finding::new("webhook.broken", severity, configuration, sentence)
                    .read(
                        format!("webhooks[{called}].failurePolicy"),
                        webhook["failurePolicy"].as_str().unwrap_or("Fail"),
                    )
                    .because(causes)
                    .edit(&me, "correct clientConfig, or set failurePolicy to Ignore"),
            )
        })
        .collect()
}

/// What a custom object says of itself: only conditions whose meaning is agreed on.
pub(super) fn custom(cx: Cx<'_>, object: &Value) -> Vec<Finding> {
    const GOOD: &[&str] = &["Ready", "Available", "Synced", "Succeeded"];
    const BAD: &[&str] = &["Degraded", "Stalled", "Failed", "Error"];
    if is_going(object) || super::is(object, "Suspended", "True") || super::is(object, "Reconciling", "True") {
        return Vec::new();
    }
    let generation = int(&object["metadata"]["generation"]);
    items(&object["status"]["conditions"])
        .iter()
        .filter(|condition| {
            let kind = text(&condition["type"]);
            let wrong = GOOD.contains(&kind) && condition["status"] == "False"
                || BAD.contains(&kind) && condition["status"] == "True";
            let current =
                condition["observedGeneration"].is_null() || int(&condition["observedGeneration"]) >= generation;
            wrong && current && cx.older(time(&condition["lastTransitionTime"]), GRACE)
        })
        .take(1)
        .map(|condition| {
            let kind = text(&condition["type"]);
            let message = match text(&condition["message"]) {
                "" => text(&condition["reason"]),
                message => message,
            };
            let sentence = format!(
                "{} {} says {kind}={}: {}",
                text(&object["kind"]),
                name(object),
                text(&condition["status"]),
                brief(message)
            );
            Finding::warning("cr.condition", object, sentence)
                .since(time(&condition["lastTransitionTime"]))
                .read(condition_path(kind), message)
        })
        .collect()
}

/// A binding that gives nothing, or gives it to nobody.
pub(super) fn binding(cx: Cx<'_>, binding: &Value) -> Vec<Finding> {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let role = &binding["roleRef"];
    let kind = text(&role["kind"]);
    let within = if kind == "Role" { namespace(binding) } else { "" };
    let mut findings = Vec::new();
    if cx.world.get(GROUP, kind, within, text(&role["name"])).is_absent() {
        let sentence = format!(
            "The binding grants nothing: {kind} {} does not exist.",
            text(&role["name"])
        );
        findings.push(
            Finding::warning("rbac.rolemissing", binding, sentence)
                .read("roleRef", format!("{kind} {}", text(&role["name"])))
                .advise("make the role; what a binding refers to cannot be changed", ""),
        );
    }
    for subject in items(&binding["subjects"])
        .iter()
        .filter(|subject| subject["kind"] == "ServiceAccount")
    {
        let (within, called) = (text(&subject["namespace"]), text(&subject["name"]));
        if cx.world.get("", "ServiceAccount", within, called).is_absent() {
            let sentence = format!("The service account {within}/{called} that it names does not exist.");
            findings.push(
                Finding::warning("rbac.subjectmissing", binding, sentence)
                    .read("subjects", format!("{within}/{called}"))
                    .advise("make it", format!("kubectl create serviceaccount {called} -n {within}")),
            );
        }
    }
    findings
}

/// What has become of a CertificateSigningRequest.
pub(super) fn signing_request(cx: Cx<'_>, request: &Value) -> Vec<Finding> {
    let me = Thing::of(request);
    let signer = text(&request["spec"]["signerName"]);
    let issued = present(&request["status"]["certificate"]);
    let finding = if condition(request, "Denied")["status"] == "True" {
        let why = text(&condition(request, "Denied")["message"]);
        Finding::warning("cert.csr", request, format!("The request was denied: {}", brief(why)))
    } else if condition(request, "Failed")["status"] == "True" {
        let why = text(&condition(request, "Failed")["message"]);
        Finding::critical(
            "cert.csr",
            request,
            format!("The signer {signer} failed: {}", brief(why)),
        )
    } else if issued || !cx.aged(request, 2 * GRACE) {
        return Vec::new();
    } else if condition(request, "Approved")["status"] == "True" {
        Finding::critical(
            "cert.csr",
            request,
            format!("The request is approved, but nobody signs for {signer}."),
        )
    } else {
        let sentence = format!(
            "The request of {} waits for approval.",
            text(&request["spec"]["username"])
        );
        Finding::warning("cert.csr", request, sentence).advise(
            "look at it, then approve it",
            format!("kubectl certificate approve {}", me.name),
        )
    };
    vec![finding.read("spec.signerName", signer)]
}
