//! Deployments.

use super::{Kind, workload};
use crate::check::label::not_negative;
use crate::field::{Errors, Path};
use crate::json::{absent, default_to, keep, object, set, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct Deployment;

const COUNTS: &[&str] = &[
    "observedGeneration",
    "replicas",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "unavailableReplicas",
    "collisionCount",
];

impl Kind for Deployment {
    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        super::workload::warnings(object, old)
    }

    fn default(&self, deployment: &mut Value) {
        workload::default(deployment);
        let Some(spec) = object(deployment, "spec") else { return };
        for (key, value) in [("revisionHistoryLimit", 10), ("progressDeadlineSeconds", 600)] {
            if absent(spec, key) {
                set(spec, key, value);
            }
        }
        let Some(strategy) = object(spec, "strategy") else {
            return;
        };
        default_to(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate"
            && let Some(rolling) = object(strategy, "rollingUpdate")
        {
            default_to(rolling, "maxUnavailable", "25%");
            default_to(rolling, "maxSurge", "25%");
        }
    }

    fn prepare_create(&self, deployment: &mut Value) {
        set(deployment, "status", json!({}));
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
        if let Some(meta) = object(new, "metadata") {
            keep(meta, &old["metadata"], "labels");
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    /// Annotations are copied to ReplicaSets, so the controller has work to do when they change.
    fn desired(&self, deployment: &Value) -> Value {
        json!([deployment["spec"], deployment["metadata"]["annotations"]])
    }

    fn validate(&self, deployment: &Value, errors: &mut Errors) {
        workload::validate(deployment, "deployment", "ReplicaSet", errors);
        let (path, spec) = (Path::new("spec"), &deployment["spec"]);
        validate_strategy(&spec["strategy"], &path.child("strategy"), errors);
        not_negative(spec, "revisionHistoryLimit", &path, errors);
        not_negative(spec, "progressDeadlineSeconds", &path, errors);
        let ready = spec["minReadySeconds"].as_i64().unwrap_or(0);
        if let Some(deadline) = spec["progressDeadlineSeconds"].as_i64()
            && deadline <= ready
        {
            let at = path.child("progressDeadlineSeconds");
            errors.invalid(&at, deadline, "must be greater than minReadySeconds");
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            return workload::validate_counts(new, COUNTS, errors);
        }
        self.validate(new, errors);
        workload::validate_same_selector(new, old, errors);
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Ready", "Number of pods that are ready, of those that should be."),
            Column::text("Up-to-date", "Number of pods made from the current template."),
            Column::text("Available", "Number of pods that have been ready for long enough."),
            Column::AGE,
            workload::WIDE[0],
            workload::WIDE[1],
            workload::WIDE[2],
        ];
        COLUMNS.into()
    }

    fn row(&self, deployment: &Value, now: Timestamp) -> Row {
        let status = &deployment["status"];
        let count = |value: &Value| value.as_i64().unwrap_or(0);
        let ready = format!(
            "{}/{}",
            count(&status["readyReplicas"]),
            count(&deployment["spec"]["replicas"])
        );
        let mut cells = vec![
            json!(name_of(deployment)),
            json!(ready),
            json!(count(&status["updatedReplicas"])),
            json!(count(&status["availableReplicas"])),
            json!(age_of(deployment, now)),
        ];
        cells.extend(workload::wide_cells(deployment));
        Row::new(cells)
    }
}

fn validate_strategy(strategy: &Value, path: &Path, errors: &mut Errors) {
    let rolling = &strategy["rollingUpdate"];
    let at = path.child("rollingUpdate");
    match text(strategy, "type") {
        "Recreate" if !rolling.is_null() => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            errors.forbidden(&at, detail);
        }
        "RollingUpdate" => {
            let unavailable = workload::amount(rolling, "maxUnavailable", &at, errors);
            let surge = workload::amount(rolling, "maxSurge", &at, errors);
            if unavailable == Some(0) && surge == Some(0) {
                let shown = rolling["maxUnavailable"].clone();
                let detail = "may not be 0 when `maxSurge` is 0";
                errors.invalid(&at.child("maxUnavailable"), shown, detail);
            }
            if rolling["maxUnavailable"].is_string() && unavailable.is_some_and(|n| n > 100) {
                let shown = rolling["maxUnavailable"].clone();
                errors.invalid(&at.child("maxUnavailable"), shown, "must not be greater than 100%");
            }
        }
        "Recreate" => {}
        other => errors.not_supported(&path.child("type"), other, &["Recreate", "RollingUpdate"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::workload::PERCENT;
    use crate::resource::tests::find;

    fn good() -> Value {
        json!({
            "metadata": {"name": "d", "namespace": "n"},
            "spec": {
                "selector": {"matchLabels": {"app": "x"}},
                "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            },
        })
    }

    #[test]
    fn defaults_are_those_of_a_rolling_update() {
        let mut object = good();
        Deployment.default(&mut object);
        let spec = &object["spec"];
        assert_eq!(
            spec["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
        );
        assert_eq!(
            (
                &spec["replicas"],
                &spec["revisionHistoryLimit"],
                &spec["progressDeadlineSeconds"]
            ),
            (&json!(1), &json!(10), &json!(600))
        );
        let mut recreate = json!({"spec": {"strategy": {"type": "Recreate"}}});
        Deployment.default(&mut recreate);
        assert_eq!(recreate["spec"]["strategy"], json!({"type": "Recreate"}));
    }

    #[test]
    fn mistakes_in_the_strategy_are_named() {
        let resource = find("apps", "v1", "deployments").expect("served");
        for (strategy, expected) in [
            (
                json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"
                    .to_owned(),
            ),
            (
                json!({"type": "X"}),
                r#"spec.strategy.type: Unsupported value: "X": supported values: "Recreate", "RollingUpdate""#
                    .to_owned(),
            ),
            (
                json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"
                    .to_owned(),
            ),
            (
                json!({"rollingUpdate": {"maxSurge": "many"}}),
                format!("spec.strategy.rollingUpdate.maxSurge: Invalid value: \"many\": {PERCENT}"),
            ),
            (
                json!({"rollingUpdate": {"maxUnavailable": "101%"}}),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"
                    .to_owned(),
            ),
        ] {
            let mut object = good();
            object["spec"]["strategy"] = strategy;
            resource.default(&mut object);
            let found: Vec<String> = resource
                .validate_create(&object)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn a_new_generation_comes_with_the_spec_or_the_annotations() {
        let resource = find("apps", "v1", "deployments").expect("served");
        let mut old = good();
        old["metadata"]["generation"] = json!(1);
        let after = |change: fn(&mut Value)| {
            let mut new = old.clone();
            change(&mut new);
            resource.prepare_update(&mut new, &old, None);
            new["metadata"]["generation"].clone()
        };
        assert_eq!(after(|o| o["metadata"]["labels"] = json!({"a": "b"})), 1);
        assert_eq!(after(|o| o["status"] = json!({"replicas": 1})), 1);
        assert_eq!(after(|o| o["spec"]["replicas"] = json!(5)), 2);
        assert_eq!(after(|o| o["metadata"]["annotations"] = json!({"a": "b"})), 2);
    }

    #[test]
    fn the_selector_stays() {
        let resource = find("apps", "v1", "deployments").expect("served");
        let (mut old, mut new) = (good(), good());
        new["spec"]["selector"]["matchLabels"]["app"] = json!("y");
        new["spec"]["template"]["metadata"]["labels"]["app"] = json!("y");
        resource.default(&mut old);
        resource.default(&mut new);
        let found: Vec<String> = resource
            .validate_update(&new, &old, None)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            [r#"spec.selector: Invalid value: {"matchLabels":{"app":"y"}}: field is immutable"#]
        );
    }

    #[test]
    fn a_row_compares_ready_with_desired() {
        let mut object = good();
        object["spec"]["replicas"] = json!(3);
        object["status"] = json!({"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1});
        let row = Deployment.row(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(row.cells[1..4], [json!("1/3"), json!(2), json!(1)]);
    }
}
