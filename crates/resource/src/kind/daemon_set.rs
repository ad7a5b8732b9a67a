//! DaemonSets.

use super::{Kind, workload};
use crate::check::label::{not_negative, selects_everything, validate_selector};
use crate::field::{Errors, Path};
use crate::json::{absent, default_to, entries, equal, object, set, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct DaemonSet;

/// How often the template has changed: a field of the first versions that lives on as an annotation.
const GENERATION: &str = "deprecated.daemonset.template.generation";

const COUNTS: &[&str] = &[
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
];

impl Kind for DaemonSet {
    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        workload::warnings(object, old)
    }

    fn default(&self, daemon: &mut Value) {
        let Some(spec) = object(daemon, "spec") else { return };
        if absent(spec, "revisionHistoryLimit") {
            set(spec, "revisionHistoryLimit", 10);
        }
        workload::default_template(spec);
        let Some(strategy) = object(spec, "updateStrategy") else {
            return;
        };
        default_to(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate"
            && let Some(rolling) = object(strategy, "rollingUpdate")
        {
            default_to(rolling, "maxUnavailable", 1);
            default_to(rolling, "maxSurge", 0);
        }
    }

    fn prepare_create(&self, daemon: &mut Value) {
        let zero = json!({
            "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
        });
        set(daemon, "status", zero);
        number_template(daemon, 1);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        if subresource.is_none() {
            let annotation = old["metadata"]["annotations"][GENERATION].as_str();
            let last: i64 = annotation.and_then(|text| text.parse().ok()).unwrap_or(0);
            let same = equal(&new["spec"]["template"], &old["spec"]["template"]);
            number_template(new, if same { last } else { last + 1 });
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, daemon: &Value, errors: &mut Errors) {
        let (path, spec) = (Path::new("spec"), &daemon["spec"]);
        let (selector, at) = (&spec["selector"], path.child("selector"));
        match selector.is_object() {
            true => validate_selector(selector, &at, errors),
            false => errors.required(&at, ""),
        }
        if selector.is_object() && selects_everything(selector) {
            errors.invalid(&at, selector.clone(), "empty selector is invalid for daemonset");
        }
        workload::validate_matching_template(spec, &path, errors);
        workload::validate_always_restarts(spec, "DaemonSet", &path, errors);
        not_negative(spec, "minReadySeconds", &path, errors);
        validate_strategy(&spec["updateStrategy"], &path.child("updateStrategy"), errors);
        not_negative(spec, "revisionHistoryLimit", &path, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            workload::validate_counts(new, COUNTS, errors);
            return workload::validate_collisions(new, old, errors);
        }
        workload::validate_same_selector(new, old, errors);
        self.validate(new, errors);
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::integer("Desired", "Number of nodes that should run a pod of it."),
            Column::integer("Current", "Number of nodes that should and have one."),
            Column::integer("Ready", "Number of nodes whose pod is ready."),
            Column::integer(
                "Up-to-date",
                "Number of nodes whose pod is made from the current template.",
            ),
            Column::integer("Available", "Number of nodes whose pod has been ready for long enough."),
            Column::text("Node Selector", "Labels of the nodes it runs on."),
            Column::AGE,
            workload::WIDE[0],
            workload::WIDE[1],
            workload::WIDE[2],
        ];
        COLUMNS.into()
    }

    fn row(&self, daemon: &Value, now: Timestamp) -> Row {
        let status = &daemon["status"];
        let mut cells = vec![json!(name_of(daemon))];
        cells.extend(
            [
                "desiredNumberScheduled",
                "currentNumberScheduled",
                "numberReady",
                "updatedNumberScheduled",
                "numberAvailable",
            ]
            .map(|key| json!(status[key].as_i64().unwrap_or(0))),
        );
        let nodes = &daemon["spec"]["template"]["spec"]["nodeSelector"];
        let nodes: Vec<String> = entries(nodes)
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        let nodes = if nodes.is_empty() {
            "<none>".to_owned()
        } else {
            nodes.join(",")
        };
        cells.extend([json!(nodes), json!(age_of(daemon, now))]);
        cells.extend(workload::wide_cells(daemon));
        Row::new(cells)
    }
}

fn number_template(daemon: &mut Value, generation: i64) {
    if let Some(annotations) = object(daemon, "metadata").and_then(|meta| object(meta, "annotations")) {
        set(annotations, GENERATION, generation.to_string());
    }
}

fn validate_strategy(strategy: &Value, path: &Path, errors: &mut Errors) {
    let rolling = &strategy["rollingUpdate"];
    let at = path.child("rollingUpdate");
    match text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" if rolling.is_null() => errors.required(&at, ""),
        "RollingUpdate" => {
            let unavailable = workload::amount(rolling, "maxUnavailable", &at, errors);
            let surge = workload::amount(rolling, "maxSurge", &at, errors);
            for (key, found) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
                if rolling[key].is_string() && found.is_some_and(|share| share > 100) {
                    errors.invalid(&at.child(key), rolling[key].clone(), "must not be greater than 100%");
                }
            }
            match (unavailable, surge) {
                (Some(0), Some(0)) => {
                    errors.required(&at.child("maxUnavailable"), "cannot be 0 when maxSurge is 0");
                }
                (Some(1..), Some(1..)) => {
                    let detail = "may not be set when maxUnavailable is non-zero";
                    errors.invalid(&at.child("maxSurge"), rolling["maxSurge"].clone(), detail);
                }
                _ => {}
            }
        }
        other => errors.not_supported(path, other, &["RollingUpdate", "OnDelete"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    fn good() -> Value {
        json!({
            "metadata": {"name": "d", "namespace": "n"},
            "spec": {
                "selector": {"matchLabels": {"app": "x"}},
                "template": {"metadata": {"labels": {"app": "x"}}, "spec": {
                    "containers": [{"name": "c", "image": "i"}], "nodeSelector": {"disk": "ssd"},
                }},
            },
        })
    }

    #[test]
    fn a_rolling_update_either_surges_or_takes_away() {
        let resource = find("apps", "v1", "daemonsets").expect("served");
        for (rolling, expected) in [
            (json!({}), vec![]),
            (json!({"maxUnavailable": 0, "maxSurge": "10%"}), vec![]),
            (
                json!({"maxUnavailable": 0}),
                vec![
                    "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
                ],
            ),
            (
                json!({"maxSurge": 1}),
                vec![
                    "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
                ],
            ),
        ] {
            let mut daemon = good();
            daemon["spec"]["updateStrategy"] = json!({"rollingUpdate": rolling});
            resource.default(&mut daemon);
            let found: Vec<String> = resource
                .validate_create(&daemon)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn templates_are_numbered() {
        let resource = find("apps", "v1", "daemonsets").expect("served");
        let mut old = good();
        resource.default(&mut old);
        resource.prepare_create(&mut old, "n");
        let after = |change: fn(&mut Value)| {
            let mut new = old.clone();
            change(&mut new);
            resource.prepare_update(&mut new, &old, None);
            new["metadata"]["annotations"][GENERATION].clone()
        };
        assert_eq!(after(|_| ()), "1");
        assert_eq!(
            after(|d| d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("j")),
            "2"
        );
        assert_eq!(after(|d| d["metadata"]["annotations"] = json!({})), "1");
    }

    #[test]
    fn a_row_counts_nodes() {
        let mut daemon = good();
        daemon["status"] = json!({"desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberReady": 1});
        let cells = DaemonSet.row(&daemon, Timestamp::UNIX_EPOCH).cells;
        assert_eq!(
            cells[1..7],
            [json!(3), json!(2), json!(1), json!(0), json!(0), json!("disk=ssd")]
        );
    }
}
