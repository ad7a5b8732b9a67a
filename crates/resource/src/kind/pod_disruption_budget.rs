//! PodDisruptionBudgets: how many pods may be missing at the same time by somebody's will.

use super::{Kind, workload};
use crate::check::label::validate_selector;
use crate::field::{Errors, Path};
use crate::json::{absent, set};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct PodDisruptionBudget;

const COUNTS: &[&str] = &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];

impl Kind for PodDisruptionBudget {
    fn warnings(&self, budget: &Value, _old: Option<&Value>) -> Vec<String> {
        let selector = &budget["spec"]["selector"];
        let everything = selector.is_object() && crate::check::label::selects_everything(selector);
        everything
            .then(|| "spec.selector: an empty selector will select all pods in the namespace".to_owned())
            .into_iter()
            .collect()
    }

    fn prepare_create(&self, budget: &mut Value) {
        let zero = json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
        set(budget, "status", zero);
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, budget: &Value, errors: &mut Errors) {
        let (spec, path) = (&budget["spec"], Path::new("spec"));
        if !absent(spec, "minAvailable") && !absent(spec, "maxUnavailable") {
            errors.invalid(
                &path,
                spec.clone(),
                "minAvailable and maxUnavailable cannot be both set",
            );
        }
        for key in ["minAvailable", "maxUnavailable"] {
            let share = workload::amount(spec, key, &path, errors);
            if spec[key].is_string() && share.is_some_and(|share| share > 100) {
                errors.invalid(&path.child(key), spec[key].clone(), "must not be greater than 100%");
            }
        }
        validate_selector(&spec["selector"], &path.child("selector"), errors);
        if let Some(policy) = spec["unhealthyPodEvictionPolicy"].as_str() {
            let policies = ["AlwaysAllow", "IfHealthyBudget"];
            if !policies.contains(&policy) {
                errors.not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, &policies);
            }
        }
    }

    fn validate_update(&self, new: &Value, _old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        match subresource {
            Some("status") => workload::validate_counts(new, COUNTS, errors),
            _ => self.validate(new, errors),
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text(
                "Min Available",
                "Number of pods that must be available, or a share of them.",
            ),
            Column::text(
                "Max Unavailable",
                "Number of pods that may be unavailable, or a share of them.",
            ),
            Column::integer("Allowed Disruptions", "Number of pods that may be evicted now."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, budget: &Value, now: Timestamp) -> Row {
        let amount = |key: &str| match &budget["spec"][key] {
            Value::Null => json!("N/A"),
            Value::Number(number) => json!(number.to_string()),
            text => text.clone(),
        };
        Row::new(vec![
            json!(name_of(budget)),
            amount("minAvailable"),
            amount("maxUnavailable"),
            json!(budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(0)),
            json!(age_of(budget, now)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    #[test]
    fn a_budget_has_one_bound() {
        let resource = find("policy", "v1", "poddisruptionbudgets").expect("served");
        for (spec, expected) in [
            (json!({"minAvailable": "50%"}), vec![]),
            (
                json!({"minAvailable": 1, "maxUnavailable": 1}),
                vec![
                    r#"spec: Invalid value: {"minAvailable":1,"maxUnavailable":1}: minAvailable and maxUnavailable cannot be both set"#,
                ],
            ),
            (
                json!({"maxUnavailable": "101%"}),
                vec![r#"spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%"#],
            ),
            (
                json!({"unhealthyPodEvictionPolicy": "Never"}),
                vec![
                    r#"spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget""#,
                ],
            ),
        ] {
            let budget = json!({"metadata": {"name": "b", "namespace": "n"}, "spec": spec});
            let found: Vec<String> = resource
                .validate_create(&budget)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, expected);
        }
        let budget = json!({"spec": {"maxUnavailable": 1}, "status": {"disruptionsAllowed": 1}});
        let cells = PodDisruptionBudget.row(&budget, Timestamp::UNIX_EPOCH).cells;
        assert_eq!(cells[1..4], [json!("N/A"), json!("1"), json!(1)]);
    }
}
