//! ReplicaSets.

use super::{Kind, workload};
use crate::field::Errors;
use crate::json::set;
use crate::printer::{Column, Columns, Row, age_of, name_of};
use crate::resource::Fields;
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct ReplicaSet;

const COUNTS: &[&str] = &[
    "replicas",
    "fullyLabeledReplicas",
    "readyReplicas",
    "availableReplicas",
    "observedGeneration",
];

impl Kind for ReplicaSet {
    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        super::workload::warnings(object, old)
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
        workload::validate(object, "replicaset", errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            return workload::validate_counts(new, COUNTS, errors);
        }
        self.validate(new, errors);
        workload::validate_same_selector(new, old, errors);
    }

    fn fields(&self, object: &Value, fields: &mut Fields) {
        let replicas = object["status"]["replicas"].as_i64().unwrap_or(0);
        fields.add("status.replicas", replicas.to_string());
    }

    fn columns(&self) -> Columns<'_> {
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
        COLUMNS.into()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let count = |value: &Value| json!(value.as_i64().unwrap_or(0));
        let mut cells = vec![
            json!(name_of(object)),
            count(&object["spec"]["replicas"]),
            count(&object["status"]["replicas"]),
            count(&object["status"]["readyReplicas"]),
            json!(age_of(object, now)),
        ];
        cells.extend(workload::wide_cells(object));
        Row::new(cells)
    }
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
}
