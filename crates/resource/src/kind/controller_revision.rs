//! ControllerRevisions and PodTemplates: templates that are kept.

use super::{Kind, workload};
use crate::check::label::not_negative;
use crate::field::{Errors, Path};
use crate::json::{entries, items, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

/// A state of a DaemonSet or a StatefulSet that can be returned to.
pub(crate) struct ControllerRevision;

/// A template for pods that nothing is made of.
pub(crate) struct PodTemplate;

impl Kind for ControllerRevision {
    fn validate(&self, revision: &Value, errors: &mut Errors) {
        not_negative(revision, "revision", &Path::default(), errors);
        let (data, path) = (&revision["data"], Path::new("data"));
        if data.is_null() {
            errors.required(&path, "data is mandatory");
        } else if !data.is_object() {
            errors.required(&path, "data must be a valid JSON object");
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        not_negative(new, "revision", &Path::default(), errors);
        workload::validate_same(new, old, "data", &Path::default(), errors);
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Controller", "The object whose state it is."),
            Column::integer("Revision", "The number of the state."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, revision: &Value, now: Timestamp) -> Row {
        let mut owners = items(&revision["metadata"]["ownerReferences"]).iter();
        let controller = owners.find(|owner| owner["controller"] == true).map(|owner| {
            let group = text(owner, "apiVersion").split_once('/').map_or("", |(group, _)| group);
            let kind = text(owner, "kind").to_lowercase();
            let dot = if group.is_empty() { "" } else { "." };
            format!("{kind}{dot}{group}/{}", text(owner, "name"))
        });
        Row::new(vec![
            json!(name_of(revision)),
            json!(controller.unwrap_or_else(|| "<none>".to_owned())),
            json!(revision["revision"].as_i64().unwrap_or(0)),
            json!(age_of(revision, now)),
        ])
    }
}

impl Kind for PodTemplate {
    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let template = &object["template"];
        if old.is_some_and(|old| old["template"] == *template) {
            return Vec::new();
        }
        super::pod::warnings_of(template, &Path::new("template"))
    }

    fn default(&self, object: &mut Value) {
        workload::default_template(object);
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn desired(&self, object: &Value) -> Value {
        object["template"].clone()
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        workload::validate_template(&object["template"], &Path::new("template"), errors);
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Containers", "Names of the containers in the template."),
            Column::text("Images", "Images of the containers in the template."),
            Column::text("Pod Labels", "The labels of the template."),
        ];
        COLUMNS.into()
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Row {
        let template = &object["template"];
        let [names, images] = workload::container_cells(&template["spec"]);
        let labels: Vec<String> = entries(&template["metadata"]["labels"])
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        let labels = if labels.is_empty() {
            "<none>".to_owned()
        } else {
            labels.join(",")
        };
        Row::new(vec![json!(name_of(object)), names, images, json!(labels)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    #[test]
    fn a_revision_names_its_controller_and_keeps_its_data() {
        let resource = find("apps", "v1", "controllerrevisions").expect("served");
        let old = json!({
            "metadata": {"name": "w-1", "namespace": "n", "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "w", "uid": "u", "controller": true},
            ]},
            "revision": 2, "data": {"spec": {}},
        });
        let cells = ControllerRevision.row(&old, Timestamp::UNIX_EPOCH).cells;
        assert_eq!(cells[1..3], [json!("statefulset.apps/w"), json!(2)]);
        let mut new = old.clone();
        new["data"] = json!({"spec": {"replicas": 1}});
        let found: Vec<String> = resource
            .validate_update(&new, &old, None)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            [r#"data: Invalid value: {"spec":{"replicas":1}}: field is immutable"#]
        );
        new["data"] = Value::Null;
        assert_eq!(
            resource.validate_create(&new)[0].to_string(),
            "data: Required value: data is mandatory"
        );
    }
}
