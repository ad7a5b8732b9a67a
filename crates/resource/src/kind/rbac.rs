//! Roles and their bindings, of one namespace or of the cluster.

use super::Kind;
use crate::check::name::NameRule;
use crate::field::{Errors, Path};
use crate::json::{blank, default_to, equal, existing, items, items_mut, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Role and ClusterRole.
pub(crate) struct Role;

/// RoleBinding and ClusterRoleBinding.
pub(crate) struct Binding;

const GROUP: &str = "rbac.authorization.k8s.io";

impl Kind for Role {
    fn name_rule(&self) -> NameRule {
        NameRule::Segment
    }

    fn validate(&self, role: &Value, errors: &mut Errors) {
        let namespaced = !blank(&role["metadata"], "namespace");
        for (i, rule) in items(&role["rules"]).iter().enumerate() {
            validate_rule(rule, namespaced, &Path::new("rules").index(i), errors);
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column {
                kind: "date",
                ..Column::text("Created At", "When the role was made.")
            },
        ];
        COLUMNS.into()
    }

    fn row(&self, role: &Value, _now: Timestamp) -> Row {
        let created = text(&role["metadata"], "creationTimestamp");
        Row::new(vec![json!(name_of(role)), json!(created)])
    }

    fn creates_on_update(&self) -> bool {
        true
    }
}

fn validate_rule(rule: &Value, namespaced: bool, path: &Path, errors: &mut Errors) {
    let filled = |key: &str| !items(&rule[key]).is_empty();
    if !filled("verbs") {
        errors.required(&path.child("verbs"), "verbs must contain at least one value");
    }
    if filled("nonResourceURLs") {
        let (at, shown) = (path.child("nonResourceURLs"), rule["nonResourceURLs"].clone());
        if namespaced {
            errors.invalid(&at, shown, "namespaced rules cannot apply to non-resource URLs");
        } else if filled("apiGroups") || filled("resources") || filled("resourceNames") {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            errors.invalid(&at, shown, detail);
        }
        return;
    }
    if !filled("apiGroups") {
        let detail = "resource rules must supply at least one api group";
        errors.required(&path.child("apiGroups"), detail);
    }
    if !filled("resources") {
        let detail = "resource rules must supply at least one resource";
        errors.required(&path.child("resources"), detail);
    }
}

impl Kind for Binding {
    fn name_rule(&self) -> NameRule {
        NameRule::Segment
    }

    fn default(&self, binding: &mut Value) {
        if let Some(role) = existing(binding, "roleRef") {
            default_to(role, "apiGroup", GROUP);
        }
        for subject in items_mut(binding, "subjects") {
            if matches!(text(subject, "kind"), "User" | "Group") {
                default_to(subject, "apiGroup", GROUP);
            }
        }
    }

    fn validate(&self, binding: &Value, errors: &mut Errors) {
        let namespaced = !blank(&binding["metadata"], "namespace");
        let (path, role) = (Path::new("roleRef"), &binding["roleRef"]);
        if text(role, "apiGroup") != GROUP {
            errors.not_supported(&path.child("apiGroup"), text(role, "apiGroup"), &[GROUP]);
        }
        let kinds: &[&str] = if namespaced {
            &["ClusterRole", "Role"]
        } else {
            &["ClusterRole"]
        };
        if !kinds.contains(&text(role, "kind")) {
            errors.not_supported(&path.child("kind"), text(role, "kind"), kinds);
        }
        if blank(role, "name") {
            errors.required(&path.child("name"), "");
        } else {
            NameRule::Segment.check(&path.child("name"), text(role, "name"), errors);
        }
        for (i, subject) in items(&binding["subjects"]).iter().enumerate() {
            validate_subject(subject, namespaced, &Path::new("subjects").index(i), errors);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        self.validate(new, errors);
        // Otherwise who may edit bindings could be lured into granting another role than they think.
        if !equal(&new["roleRef"], &old["roleRef"]) {
            errors.invalid(&Path::new("roleRef"), new["roleRef"].clone(), "cannot change roleRef");
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Role", "The role that is granted."),
            Column::AGE,
            Column::text("Users", "Users it is granted to.").wide(),
            Column::text("Groups", "Groups it is granted to.").wide(),
            Column::text("ServiceAccounts", "Service accounts it is granted to.").wide(),
        ];
        COLUMNS.into()
    }

    fn row(&self, binding: &Value, now: Timestamp) -> Row {
        let role = &binding["roleRef"];
        let subjects = |kind: &str| {
            let names: Vec<String> = items(&binding["subjects"])
                .iter()
                .filter(|s| text(s, "kind") == kind)
                .map(|s| match kind {
                    "ServiceAccount" => format!("{}/{}", text(s, "namespace"), text(s, "name")),
                    _ => text(s, "name").to_owned(),
                })
                .collect();
            json!(names.join(", "))
        };
        Row::new(vec![
            json!(name_of(binding)),
            json!(format!("{}/{}", text(role, "kind"), text(role, "name"))),
            json!(age_of(binding, now)),
            subjects("User"),
            subjects("Group"),
            subjects("ServiceAccount"),
        ])
    }

    fn creates_on_update(&self) -> bool {
        true
    }
}

fn validate_subject(subject: &Value, namespaced: bool, path: &Path, errors: &mut Errors) {
    if blank(subject, "name") {
        errors.required(&path.child("name"), "");
    }
    let group = text(subject, "apiGroup");
    match text(subject, "kind") {
        "ServiceAccount" => {
            if !blank(subject, "name") {
                NameRule::Subdomain.check(&path.child("name"), text(subject, "name"), errors);
            }
            if !group.is_empty() {
                errors.not_supported(&path.child("apiGroup"), group, &[""]);
            }
            if !namespaced && blank(subject, "namespace") {
                errors.required(&path.child("namespace"), "");
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.not_supported(&path.child("apiGroup"), group, &[GROUP]);
            }
        }
        other => errors.not_supported(&path.child("kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(check: impl Fn(&mut Errors)) -> Vec<String> {
        let mut errors = Errors::new();
        check(&mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rules_say_what_may_be_done_to_what() {
        let role = json!({"metadata": {"namespace": "n"}, "rules": [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
            {},
            {"verbs": ["get"], "nonResourceURLs": ["/x"]},
        ]});
        assert_eq!(
            lines(|e| Role.validate(&role, e)),
            [
                "rules[1].verbs: Required value: verbs must contain at least one value",
                "rules[1].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[1].resources: Required value: resource rules must supply at least one resource",
                r#"rules[2].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs"#,
            ]
        );
    }

    #[test]
    fn bindings_name_a_role_and_subjects() {
        let mut binding = json!({
            "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount"}, {"kind": "X", "name": "x"}],
        });
        Binding.default(&mut binding);
        assert_eq!(
            lines(|e| Binding.validate(&binding, e)),
            [
                r#"roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole""#,
                "subjects[1].name: Required value",
                "subjects[1].namespace: Required value",
                r#"subjects[2].kind: Unsupported value: "X": supported values: "ServiceAccount", "User", "Group""#,
            ]
        );
        let mut other = binding.clone();
        other["roleRef"]["name"] = json!("s");
        let found = lines(|e| Binding.validate_update(&other, &binding, None, e));
        assert!(
            found
                .iter()
                .any(|l| l.starts_with("roleRef: Invalid value: {") && l.ends_with(": cannot change roleRef"))
        );
    }

    #[test]
    fn a_row_lists_subjects_by_kind() {
        let binding = json!({
            "metadata": {"name": "b"},
            "roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [
                {"kind": "User", "name": "u"}, {"kind": "User", "name": "v"},
                {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
            ],
        });
        assert_eq!(
            Binding.row(&binding, Timestamp::UNIX_EPOCH).cells,
            ["b", "ClusterRole/view", "<unknown>", "u, v", "", "n/s"]
        );
    }
}
