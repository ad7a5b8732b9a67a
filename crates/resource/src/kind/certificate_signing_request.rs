//! CertificateSigningRequests.

use super::Kind;
use crate::check::name::{NameRule, subdomain};
use crate::field::{Errors, Path};
use crate::json::{absent, default_to, existing, items, keep, set, text};
use crate::printer::{Column, Columns, Row, age_of, human_duration, name_of};
use crate::resource::Fields;
use jiff::Timestamp;
use knarr_pki::{Certificate, CertificateRequest, USAGES};
use serde_json::{Value, json};

pub(crate) struct CertificateSigningRequest;

const LEGACY: &str = "kubernetes.io/legacy-unknown";
const SHORTEST_SECONDS: i64 = 600;
/// What an approver says.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
/// Conditions that are true or not there.
const TRUE_ONLY: [&str; 3] = ["Approved", "Denied", "Failed"];

/// The request that `spec.request` holds, in base64.
pub(crate) fn request(csr: &Value) -> Result<CertificateRequest, String> {
    let text = decode(&csr["spec"]["request"]);
    CertificateRequest::from_pem(&text).map_err(|error| error.to_string())
}

fn decode(value: &Value) -> Vec<u8> {
    use base64::Engine;
    let text = value.as_str().unwrap_or_default();
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap_or_default()
}

fn conditions<'a>(csr: &'a Value, kind: &str) -> Vec<&'a Value> {
    let all = items(&csr["status"]["conditions"]).iter();
    all.filter(|condition| text(condition, "type") == kind).collect()
}

/// A condition has had its status since it first had it.
fn stamp(new: &mut Value, old: &Value) {
    let Some(status) = existing(new, "status") else { return };
    for condition in crate::json::items_mut(status, "conditions") {
        if !absent(condition, "lastTransitionTime") {
            continue;
        }
        let kind = text(condition, "type");
        let before = conditions(old, kind);
        let before = before.iter().find(|before| before["status"] == condition["status"]);
        let since = before.map_or(&condition["lastUpdateTime"], |before| &before["lastTransitionTime"]);
        if let Some(since) = since.as_str().map(str::to_owned) {
            set(condition, "lastTransitionTime", since);
        }
    }
}

impl Kind for CertificateSigningRequest {
    fn name_rule(&self) -> NameRule {
        NameRule::Segment
    }

    fn default(&self, csr: &mut Value) {
        if let Some(spec) = crate::json::object(csr, "spec")
            && absent(spec, "usages")
        {
            set(spec, "usages", json!(["digital signature", "key encipherment"]));
        }
        if let Some(status) = existing(csr, "status") {
            for condition in crate::json::items_mut(status, "conditions") {
                default_to(condition, "status", "True");
            }
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        keep(new, old, "spec");
        match subresource {
            Some("approval") => {
                // Only the conditions are the approver's to say.
                let said = new["status"]["conditions"].clone();
                keep(new, old, "status");
                if new["status"].is_null() {
                    set(new, "status", json!({}));
                }
                if let Some(status) = existing(new, "status") {
                    set(status, "conditions", said);
                }
                stamp(new, old);
            }
            Some("status") => {
                // What was decided stays as it was put.
                for decision in DECISIONS {
                    let before: Vec<Value> = conditions(old, decision).into_iter().cloned().collect();
                    let Some(status) = existing(new, "status") else {
                        continue;
                    };
                    let own = crate::json::items_mut(status, "conditions");
                    let own: Vec<&mut Value> = own.filter(|own| text(own, "type") == decision).collect();
                    if own.len() == before.len() {
                        own.into_iter().zip(before).for_each(|(own, before)| *own = before);
                    }
                }
                stamp(new, old);
            }
            _ => keep(new, old, "status"),
        }
    }

    fn validate(&self, csr: &Value, errors: &mut Errors) {
        check(csr, None, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        check(new, Some(old), errors);
        let path = Path::new("status").child("conditions");
        for kind in TRUE_ONLY {
            let (before, now) = (conditions(old, kind), conditions(new, kind));
            if now.len() < before.len() {
                errors.forbidden(&path, format!("updates may not remove a condition of type {kind:?}"));
            }
            if subresource == Some("approval") || !DECISIONS.contains(&kind) {
                continue;
            }
            if now.len() > before.len() {
                errors.forbidden(&path, format!("updates may not add a condition of type {kind:?}"));
            } else if now.len() == before.len() && now != before {
                errors.forbidden(&path, format!("updates may not modify a condition of type {kind:?}"));
            }
        }
        let path = Path::new("status").child("certificate");
        let (before, now) = (text(&old["status"], "certificate"), text(&new["status"], "certificate"));
        if now != before && subresource != Some("status") {
            errors.forbidden(&path, "updates may not set certificate content");
        } else if now != before && !before.is_empty() {
            errors.forbidden(&path, "updates may not modify existing certificate content");
        }
    }

    fn fields(&self, csr: &Value, fields: &mut Fields) {
        fields.add("spec.signerName", text(&csr["spec"], "signerName"));
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::AGE,
            Column::text("SignerName", "Who is to sign."),
            Column::text("Requestor", "Who asks."),
            Column::text("RequestedDuration", "How long the certificate is to hold."),
            Column::text("Condition", "What was decided."),
        ];
        COLUMNS.into()
    }

    fn row(&self, csr: &Value, now: Timestamp) -> Row {
        let spec = &csr["spec"];
        let duration = spec["expirationSeconds"].as_i64();
        let has = |kind: &str| !conditions(csr, kind).is_empty();
        let mut state = match (has("Denied"), has("Approved")) {
            (true, _) => "Denied",
            (_, true) => "Approved",
            _ => "Pending",
        }
        .to_owned();
        if has("Failed") {
            state.push_str(",Failed");
        }
        if !absent(&csr["status"], "certificate") {
            state.push_str(",Issued");
        }
        Row::new(vec![
            json!(name_of(csr)),
            json!(age_of(csr, now)),
            json!(match text(spec, "signerName") {
                "" => "<none>",
                name => name,
            }),
            json!(text(spec, "username")),
            json!(duration.map_or("<none>".into(), human_duration)),
            json!(state),
        ])
    }
}

fn check(csr: &Value, old: Option<&Value>, errors: &mut Errors) {
    let (spec, path) = (&csr["spec"], Path::new("spec"));
    let request = request(csr).and_then(|request| request.check_signature().map_err(|error| error.to_string()));
    if let Err(why) = request {
        errors.invalid(&path.child("request"), spec["request"].clone(), why);
    }
    let usages = items(&spec["usages"]);
    if usages.is_empty() {
        errors.required(&path.child("usages"), "");
    }
    for (index, usage) in usages.iter().enumerate() {
        let at = path.child("usages").index(index);
        if !USAGES.contains(&usage.as_str().unwrap_or_default()) {
            errors.not_supported(&at, usage.clone(), &USAGES);
        }
        if usages[..index].contains(usage) {
            errors.duplicate(&at, usage.clone());
        }
    }
    let was_legacy = old.is_some_and(|old| old["spec"]["signerName"] == LEGACY);
    let at = path.child("signerName");
    match text(spec, "signerName") {
        LEGACY if !was_legacy => {
            errors.invalid(&at, LEGACY, "the legacy signerName is not allowed via this API version");
        }
        name => check_signer(&at, name, errors),
    }
    if let Some(seconds) = spec["expirationSeconds"]
        .as_i64()
        .filter(|seconds| *seconds < SHORTEST_SECONDS)
    {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(&path.child("expirationSeconds"), seconds, why);
    }
    check_conditions(csr, errors);
    let certificate = decode(&csr["status"]["certificate"]);
    if !certificate.is_empty()
        && let Err(why) = Certificate::from_pem(&certificate)
    {
        let at = Path::new("status").child("certificate");
        errors.invalid(&at, "<certificate data>", why.to_string());
    }
}

fn check_conditions(csr: &Value, errors: &mut Errors) {
    let path = Path::new("status").child("conditions");
    let mut seen: Vec<&str> = Vec::new();
    for (index, condition) in items(&csr["status"]["conditions"]).iter().enumerate() {
        let (at, kind) = (path.index(index), text(condition, "type"));
        if kind.is_empty() {
            errors.required(&at.child("type"), "");
        }
        let allowed: &[&str] = match TRUE_ONLY.contains(&kind) {
            true => &["True"],
            false => &["False", "True", "Unknown"],
        };
        match text(condition, "status") {
            "" => errors.required(&at.child("status"), ""),
            status if !allowed.contains(&status) => errors.not_supported(&at.child("status"), status, allowed),
            _ => {}
        }
        let other = DECISIONS.iter().find(|other| **other != kind && seen.contains(*other));
        if DECISIONS.contains(&kind) && other.is_some() {
            errors.invalid(&path, kind, "Approved and Denied conditions are mutually exclusive");
        }
        if seen.contains(&kind) {
            errors.duplicate(&at.child("type"), kind);
        }
        seen.push(kind);
    }
}

/// `example.com/what`: a domain and a name below it.
fn check_signer(path: &Path, name: &str, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.invalid(path, name, why);
    };
    for problem in subdomain(domain) {
        errors.invalid(path, domain, problem);
    }
    if domain.split('.').count() < 2 {
        let why = "should be a domain with at least two segments separated by dots";
        errors.invalid(path, domain, why);
    }
    for problem in subdomain(rest) {
        errors.invalid(path, rest, problem);
    }
}
