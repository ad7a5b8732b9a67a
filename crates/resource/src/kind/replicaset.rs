//! ReplicaSets, and ReplicationControllers, which are the same but for their selector: a bare map of labels.

use super::{Kind, workload};
use crate::check::label::{not_negative, validate_labels};
use crate::field::{Errors, Path};
use crate::json::{entries, existing, object, set};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use crate::resource::Fields;
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct ReplicaSet;

pub(crate) struct ReplicationController;

const COUNTS: &[&str] = &[
    "replicas",
    "fullyLabeledReplicas",
    "readyReplicas",
    "availableReplicas",
    "observedGeneration",
];

const COLUMNS: &[Column<'_>] = &[
    Column::NAME,
    Column::integer("Desired", "Number of pods that should be."),
    Column::integer("Current", "Number of pods that are."),
    Column::integer("Ready", "Number of pods that are ready."),
    Column::AGE,
    workload::WIDE[0],
    workload::WIDE[1],
    workload::WIDE[2],
];

impl Kind for ReplicaSet {
    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        workload::warnings(object, old)
    }

    fn default(&self, set: &mut Value) {
        workload::default(set);
    }

    fn prepare_create(&self, object: &mut Value) {
        set(object, "status", json!({"replicas": 0}));
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        workload::validate(object, "replicaset", "ReplicaSet", errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            return workload::validate_counts(new, COUNTS, errors);
        }
        self.validate(new, errors);
        workload::validate_same_selector(new, old, errors);
    }

    fn fields(&self, object: &Value, fields: &mut Fields) {
        replicas_field(object, fields);
    }

    fn columns(&self) -> Columns<'_> {
        COLUMNS.into()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let mut cells = counts(object, now);
        cells.extend(workload::wide_cells(object));
        Row::new(cells)
    }
}

impl Kind for ReplicationController {
    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        workload::warnings(object, old)
    }

    /// What the template is labelled with is the selector and the labels of the controller, unless it has its own.
    fn default(&self, controller: &mut Value) {
        let labels = controller["spec"]["template"]["metadata"]["labels"].clone();
        if entries(&labels).next().is_some() {
            if let Some(spec) = existing(controller, "spec")
                && entries(&spec["selector"]).next().is_none()
            {
                set(spec, "selector", labels.clone());
            }
            if let Some(meta) = object(controller, "metadata")
                && entries(&meta["labels"]).next().is_none()
            {
                set(meta, "labels", labels);
            }
        }
        workload::default(controller);
    }

    fn prepare_create(&self, object: &mut Value) {
        set(object, "status", json!({"replicas": 0}));
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn orphans_dependents(&self) -> bool {
        true
    }

    fn validate(&self, controller: &Value, errors: &mut Errors) {
        let (spec, path) = (&controller["spec"], Path::new("spec"));
        not_negative(spec, "minReadySeconds", &path, errors);
        let (selector, at) = (&spec["selector"], path.child("selector"));
        validate_labels(selector, &at, errors);
        if entries(selector).next().is_none() {
            errors.required(&at, "");
        }
        not_negative(spec, "replicas", &path, errors);
        let (template, at) = (&spec["template"], path.child("template"));
        if !template.is_object() {
            return errors.required(&at, "");
        }
        let labels = &template["metadata"]["labels"];
        if entries(selector).any(|(key, value)| labels[key] != *value) {
            let detail = "`selector` does not match template `labels`";
            errors.invalid(&at.child("metadata").child("labels"), labels.clone(), detail);
        }
        workload::validate_template(template, &at, errors);
        workload::validate_always_restarts(spec, "ReplicationController", &path, errors);
    }

    fn validate_update(&self, new: &Value, _old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        match subresource {
            Some("status") => workload::validate_counts(new, COUNTS, errors),
            _ => self.validate(new, errors),
        }
    }

    fn fields(&self, object: &Value, fields: &mut Fields) {
        replicas_field(object, fields);
    }

    fn columns(&self) -> Columns<'_> {
        COLUMNS.into()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let mut cells = counts(object, now);
        cells.extend(workload::container_cells(&object["spec"]["template"]["spec"]));
        let selector = json!({"matchLabels": object["spec"]["selector"]});
        cells.push(json!(workload::selector(&selector)));
        Row::new(cells)
    }
}

fn replicas_field(object: &Value, fields: &mut Fields) {
    let replicas = object["status"]["replicas"].as_i64().unwrap_or(0);
    fields.add("status.replicas", replicas.to_string());
}

fn counts(object: &Value, now: Timestamp) -> Vec<Value> {
    let count = |value: &Value| json!(value.as_i64().unwrap_or(0));
    vec![
        json!(name_of(object)),
        count(&object["spec"]["replicas"]),
        count(&object["status"]["replicas"]),
        count(&object["status"]["readyReplicas"]),
        json!(age_of(object, now)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    fn good() -> Value {
        json!({
            "metadata": {"name": "r", "namespace": "n"},
            "spec": {
                "selector": {"matchLabels": {"app": "x"}},
                "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
            },
        })
    }

    fn mistakes(change: fn(&mut Value)) -> Vec<String> {
        let resource = find("apps", "v1", "replicasets").expect("served");
        let mut object = good();
        change(&mut object);
        resource.default(&mut object);
        resource
            .validate_create(&object)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_template_must_match_the_selector_and_always_restart() {
        assert_eq!(mistakes(|_| ()), Vec::<String>::new());
        assert_eq!(
            mistakes(|o| o["spec"]["template"]["metadata"]["labels"]["app"] = json!("y")),
            [
                r#"spec.template.metadata.labels: Invalid value: {"app":"y"}: `selector` does not match template `labels`"#
            ]
        );
        assert_eq!(
            mistakes(|o| o["spec"]["template"]["spec"]["restartPolicy"] = json!("Never")),
            [r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#]
        );
        assert_eq!(
            mistakes(|o| o["spec"]["selector"] = json!({})),
            ["spec.selector: Invalid value: {}: empty selector is invalid for replicaset"]
        );
        assert_eq!(
            mistakes(|o| o["spec"]["selector"] = json!(null)),
            [
                "spec.selector: Required value",
                r#"spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`"#
            ]
        );
        assert_eq!(
            mistakes(|o| o["spec"]["replicas"] = json!(-1)),
            ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]
        );
    }

    #[test]
    fn templates_are_defaulted_like_pods_but_stay_open() {
        let mut object = good();
        ReplicaSet.default(&mut object);
        let pod = &object["spec"]["template"]["spec"];
        assert_eq!(object["spec"]["replicas"], 1);
        assert_eq!(pod["restartPolicy"], "Always");
        assert_eq!(pod["containers"][0]["imagePullPolicy"], "IfNotPresent");
        assert_eq!(pod.get("enableServiceLinks"), None);
    }

    #[test]
    fn a_row_counts_replicas() {
        let mut object = good();
        ReplicaSet.default(&mut object);
        object["spec"]["replicas"] = json!(3);
        object["status"] = json!({"replicas": 2, "readyReplicas": 1});
        assert_eq!(
            ReplicaSet.row(&object, Timestamp::UNIX_EPOCH).cells,
            [
                json!("r"),
                json!(3),
                json!(2),
                json!(1),
                json!("<unknown>"),
                json!("c"),
                json!("i:1"),
                json!("app=x")
            ]
        );
    }

    #[test]
    fn a_replication_controller_takes_its_selector_from_its_template() {
        let resource = find("", "v1", "replicationcontrollers").expect("served");
        let mut controller = good();
        controller["spec"]["selector"] = Value::Null;
        resource.default(&mut controller);
        assert_eq!(controller["spec"]["selector"], json!({"app": "x"}));
        assert_eq!(controller["metadata"]["labels"], json!({"app": "x"}));
        assert!(resource.validate_create(&controller).is_empty());
        controller["spec"]["selector"] = json!({"app": "y"});
        controller["spec"]["template"]["spec"]["restartPolicy"] = json!("OnFailure");
        let found: Vec<String> = resource
            .validate_create(&controller)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            [
                r#"spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`"#,
                r#"spec.template.spec.restartPolicy: Unsupported value: "OnFailure": supported values: "Always""#,
            ]
        );
        assert_eq!(
            ReplicationController.row(&controller, Timestamp::UNIX_EPOCH).cells[7],
            json!("app=y")
        );
    }
}
