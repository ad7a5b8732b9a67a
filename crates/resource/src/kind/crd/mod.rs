//! `CustomResourceDefinition`: a kind that describes other kinds.

pub mod names;
mod validate;

use crate::check::name::NameRule;
use crate::field::Errors;
use crate::json::{absent, default_to, existing, items, items_mut, object, set, text};
use crate::kind::Kind;
use crate::printer::{Column, Columns, Row, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Holds a definition until its objects are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

pub(crate) struct CustomResourceDefinition;

impl Kind for CustomResourceDefinition {
    fn name_rule(&self) -> NameRule {
        NameRule::Subdomain
    }

    fn default(&self, crd: &mut Value) {
        let Some(spec) = existing(crd, "spec") else { return };
        if let Some(names) = existing(spec, "names") {
            let kind = text(names, "kind").to_owned();
            default_to(names, "singular", kind.to_lowercase());
            if !kind.is_empty() {
                default_to(names, "listKind", format!("{kind}List"));
            }
        }
        if absent(spec, "conversion") {
            set(spec, "conversion", json!({"strategy": "None"}));
        }
        let service = spec.pointer_mut("/conversion/webhook/clientConfig/service");
        if let Some(service) = service.filter(|service| service.is_object() && absent(service, "port")) {
            set(service, "port", 443);
        }
        // Read as upstream's types have them: an absent flag is false.
        for version in items_mut(spec, "versions") {
            for flag in ["served", "storage"] {
                if absent(version, flag) {
                    set(version, flag, false);
                }
            }
        }
    }

    fn prepare_create(&self, crd: &mut Value) {
        set(
            crd,
            "status",
            json!({"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []}),
        );
        note_stored(crd);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        if subresource.is_none() {
            crate::json::keep(new, old, "status");
            note_stored(new);
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, crd: &Value, errors: &mut Errors) {
        validate::create(crd, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        match subresource {
            Some("status") => validate::stored_versions(new, errors),
            _ => validate::update(new, old, errors),
        }
    }

    fn warnings(&self, crd: &Value, _old: Option<&Value>) -> Vec<String> {
        validate::warnings(crd)
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column {
                kind: "date",
                ..Column::text("Created At", "When the definition was made.")
            },
        ];
        COLUMNS.into()
    }

    fn row(&self, crd: &Value, _now: Timestamp) -> Row {
        let created = text(&crd["metadata"], "creationTimestamp");
        Row::new(vec![json!(name_of(crd)), json!(created)])
    }

    /// What it takes with it is deleted first.
    fn mark_terminating(&self, crd: &mut Value) {
        let Some(metadata) = existing(crd, "metadata") else {
            return;
        };
        let held = items(&metadata["finalizers"]).iter().any(|held| held == FINALIZER);
        // Once it has been cleaned up after, nothing holds it again.
        if held || condition(crd, "Terminating").is_some() {
            return;
        }
        let Some(metadata) = existing(crd, "metadata") else {
            return;
        };
        let mut finalizers = items(&metadata["finalizers"]).to_vec();
        finalizers.push(FINALIZER.into());
        set(metadata, "finalizers", finalizers);
        let now = metadata["deletionTimestamp"].clone();
        set_condition(
            crd,
            "Terminating",
            "True",
            "InstanceDeletionPending",
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
            now.as_str().unwrap_or_default(),
        );
    }
}

/// The storage version is a stored version from now on.
fn note_stored(crd: &mut Value) {
    let storage = storage_version(crd).to_owned();
    let Some(status) = object(crd, "status") else { return };
    let mut stored = items(&status["storedVersions"]).to_vec();
    if !storage.is_empty() && !stored.iter().any(|version| *version == storage.as_str()) {
        stored.push(storage.into());
        set(status, "storedVersions", stored);
    }
}

/// The version that objects are stored in, empty if there is none.
pub fn storage_version(crd: &Value) -> &str {
    let versions = items(&crd["spec"]["versions"]);
    let storage = versions.iter().find(|version| version["storage"] == true);
    storage.map_or("", |version| text(version, "name"))
}

/// The condition of a type.
pub fn condition<'a>(crd: &'a Value, kind: &str) -> Option<&'a Value> {
    items(&crd["status"]["conditions"])
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// Whether a condition is true.
pub fn is_true(crd: &Value, kind: &str) -> bool {
    condition(crd, kind).is_some_and(|condition| condition["status"] == "True")
}

/// Tells of a group of Kubernetes itself whether somebody has allowed its use. Says whether anything changed.
pub fn approve(crd: &mut Value, now: &str) -> bool {
    if !validate::is_protected(text(&crd["spec"], "group")) {
        return false;
    }
    let value = text(&crd["metadata"]["annotations"], validate::APPROVAL).to_owned();
    let (status, reason, message) = if value.is_empty() {
        let message = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111";
        ("False", "MissingAnnotation", message.to_owned())
    } else if value.starts_with("unapproved") {
        ("False", "UnapprovedAnnotation", format!("not approved: {value:?}"))
    } else if validate::is_approval(&value) {
        ("True", "ApprovedAnnotation", format!("approved in {value}"))
    } else {
        let message = format!(
            "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111, not {value:?}"
        );
        ("False", "InvalidAnnotation", message)
    };
    set_condition(
        crd,
        "KubernetesAPIApprovalPolicyConformant",
        status,
        reason,
        &message,
        now,
    )
}

/// Sets a condition; the time of its transition changes only with its status. Says whether anything changed.
pub fn set_condition(crd: &mut Value, kind: &str, status: &str, reason: &str, message: &str, now: &str) -> bool {
    let before = condition(crd, kind).cloned();
    let time = match &before {
        Some(before) if before["status"] == status => before["lastTransitionTime"].clone(),
        _ => json!(now),
    };
    let next = json!({
        "type": kind, "status": status, "lastTransitionTime": time, "reason": reason, "message": message,
    });
    if before.as_ref() == Some(&next) {
        return false;
    }
    let Some(conditions) = object(crd, "status") else {
        return false;
    };
    let mut list = items(&conditions["conditions"]).to_vec();
    match list.iter_mut().find(|condition| condition["type"] == kind) {
        Some(place) => *place = next,
        None => list.push(next),
    }
    set(conditions, "conditions", list);
    true
}
