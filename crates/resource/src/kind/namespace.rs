//! Namespaces.

use super::Kind;
use crate::check::name::{NameRule, qualified_name};
use crate::field::{Errors, Path};
use crate::json::{equal, existing, items, keep, object, set, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use crate::resource::Fields;
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct Namespace;

/// A label with the namespace's own name, so that selectors can name namespaces.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl Kind for Namespace {
    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn default(&self, namespace: &mut Value) {
        let name = name_of(namespace).to_owned();
        if !name.is_empty()
            && let Some(meta) = existing(namespace, "metadata")
            && let Some(labels) = object(meta, "labels")
        {
            set(labels, NAME_LABEL, name);
        }
    }

    /// The finalizer stands for the namespace controller, which empties the namespace before it goes.
    fn prepare_create(&self, namespace: &mut Value) {
        self.default(namespace);
        set(namespace, "status", json!({"phase": "Active"}));
        if let Some(spec) = object(namespace, "spec") {
            let mut finalizers: Vec<Value> = items(&spec["finalizers"]).to_vec();
            if !finalizers.iter().any(|f| f == "kubernetes") {
                finalizers.push(json!("kubernetes"));
            }
            set(spec, "finalizers", finalizers);
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        match subresource {
            Some("finalize") => keep(new, old, "status"),
            Some(_) => {}
            None => keep(new, old, "spec"),
        }
    }

    fn validate(&self, namespace: &Value, errors: &mut Errors) {
        let path = Path::new("spec").child("finalizers");
        for (i, finalizer) in items(&namespace["spec"]["finalizers"]).iter().enumerate() {
            let name = finalizer.as_str().unwrap_or_default();
            let mut problems = qualified_name(name);
            if problems.is_empty() && !name.contains('/') && name != "kubernetes" {
                problems.push("name is neither a standard finalizer name nor is it fully qualified".to_owned());
            }
            for problem in problems {
                errors.invalid(&path.index(i), name, problem);
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        self.validate(new, errors);
        let (is, was) = (text(&new["status"], "phase"), text(&old["status"], "phase"));
        if subresource != Some("status") || is == was {
            return;
        }
        let going = !equal(&new["metadata"]["deletionTimestamp"], &Value::Null);
        let path = Path::new("status").child("phase");
        if going && is != "Terminating" {
            errors.invalid(
                &path,
                is,
                "may only be 'Terminating' if `deletionTimestamp` is not empty",
            );
        } else if !going && is != "Active" {
            errors.invalid(&path, is, "may only be 'Active' if `deletionTimestamp` is empty");
        }
    }

    fn mark_terminating(&self, namespace: &mut Value) {
        if let Some(status) = object(namespace, "status") {
            set(status, "phase", "Terminating");
        }
    }

    fn is_held(&self, namespace: &Value) -> bool {
        !items(&namespace["spec"]["finalizers"]).is_empty()
    }

    fn fields(&self, namespace: &Value, fields: &mut Fields) {
        fields.add("status.phase", text(&namespace["status"], "phase"));
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Status", "Whether the namespace is in use or going."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, namespace: &Value, now: Timestamp) -> Row {
        Row::new(vec![
            json!(name_of(namespace)),
            json!(text(&namespace["status"], "phase")),
            json!(age_of(namespace, now)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    #[test]
    fn a_namespace_is_held_by_its_finalizer() {
        let resource = find("", "v1", "namespaces").expect("served");
        let mut namespace = json!({"metadata": {"name": "n"}, "status": {"phase": "X"}});
        resource.default(&mut namespace);
        resource.prepare_create(&mut namespace, "");
        assert_eq!(
            namespace["metadata"]["labels"],
            json!({"kubernetes.io/metadata.name": "n"})
        );
        assert_eq!(namespace["spec"], json!({"finalizers": ["kubernetes"]}));
        assert_eq!(namespace["status"], json!({"phase": "Active"}));
        assert!(resource.is_held(&namespace));

        let mut going = namespace.clone();
        resource.mark_terminating(&mut going);
        assert_eq!(going["status"]["phase"], "Terminating");

        let mut released = namespace.clone();
        released["spec"]["finalizers"] = json!([]);
        let mut plain = released.clone();
        resource.prepare_update(&mut released, &namespace, Some("finalize"));
        assert!(!resource.is_held(&released));
        resource.prepare_update(&mut plain, &namespace, None);
        assert!(resource.is_held(&plain), "only the finalize subresource releases it");
    }
}
