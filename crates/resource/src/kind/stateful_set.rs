//! StatefulSets.

use super::{Kind, workload};
use crate::check::label::{not_negative, selects_everything, validate_selector};
use crate::check::name::{NameRule, label};
use crate::field::{Errors, Path};
use crate::json::{absent, default_to, equal, items, items_mut, keep, object, set, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use crate::resource::Fields;
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct StatefulSet;

/// What may change in the spec.
const OPEN: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

const COUNTS: &[&str] = &[
    "replicas",
    "readyReplicas",
    "currentReplicas",
    "updatedReplicas",
    "availableReplicas",
    "observedGeneration",
    "collisionCount",
];

impl Kind for StatefulSet {
    /// The pods are named after it, and their hostnames after them.
    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        workload::warnings(object, old)
    }

    fn default(&self, stateful: &mut Value) {
        workload::default(stateful);
        let Some(spec) = object(stateful, "spec") else { return };
        default_to(spec, "podManagementPolicy", "OrderedReady");
        if absent(spec, "revisionHistoryLimit") {
            set(spec, "revisionHistoryLimit", 10);
        }
        if let Some(retention) = object(spec, "persistentVolumeClaimRetentionPolicy") {
            default_to(retention, "whenDeleted", "Retain");
            default_to(retention, "whenScaled", "Retain");
        }
        if let Some(strategy) = object(spec, "updateStrategy") {
            default_to(strategy, "type", "RollingUpdate");
            if strategy["type"] == "RollingUpdate"
                && let Some(rolling) = object(strategy, "rollingUpdate")
            {
                default_to(rolling, "partition", 0);
            }
        }
        for claim in items_mut(spec, "volumeClaimTemplates") {
            default_to(claim, "apiVersion", "v1");
            default_to(claim, "kind", "PersistentVolumeClaim");
            if let Some(spec) = object(claim, "spec") {
                default_to(spec, "volumeMode", "Filesystem");
            }
            if let Some(status) = object(claim, "status") {
                default_to(status, "phase", "Pending");
            }
        }
    }

    fn prepare_create(&self, stateful: &mut Value) {
        set(stateful, "status", json!({"replicas": 0}));
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, stateful: &Value, errors: &mut Errors) {
        let (path, spec) = (Path::new("spec"), &stateful["spec"]);
        let policy = text(spec, "podManagementPolicy");
        if !matches!(policy, "OrderedReady" | "Parallel") {
            let detail = "must be 'OrderedReady' or 'Parallel'";
            errors.invalid(&path.child("podManagementPolicy"), policy, detail);
        }
        validate_strategy(&spec["updateStrategy"], &path.child("updateStrategy"), errors);
        let retention = &spec["persistentVolumeClaimRetentionPolicy"];
        let at = path.child("persistentVolumeClaimRetentionPolicy");
        for key in ["whenDeleted", "whenScaled"] {
            let found = text(retention, key);
            if !matches!(found, "Retain" | "Delete") {
                errors.not_supported(&at.child(key), found, &["Retain", "Delete"]);
            }
        }
        not_negative(spec, "replicas", &path, errors);
        not_negative(spec, "minReadySeconds", &path, errors);
        not_negative(&spec["ordinals"], "start", &path.child("ordinals"), errors);
        let service = text(spec, "serviceName");
        if !service.is_empty() {
            for problem in label(service) {
                errors.invalid(&path.child("serviceName"), service, problem);
            }
        }
        let (selector, at) = (&spec["selector"], path.child("selector"));
        match selector.is_object() {
            true => validate_selector(selector, &at, errors),
            false => errors.required(&at, ""),
        }
        if selector.is_object() && selects_everything(selector) {
            errors.invalid(&at, selector.clone(), "empty selector is invalid for statefulset");
        }
        workload::validate_matching_template(&with_claims(spec), &path, errors);
        workload::validate_always_restarts(spec, "StatefulSet", &path, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            validate_status(new, errors);
            return workload::validate_collisions(new, old, errors);
        }
        self.validate(new, errors);
        let mut spec = new["spec"].clone();
        OPEN.iter().for_each(|key| keep(&mut spec, &old["spec"], key));
        if !equal(&spec, &old["spec"]) {
            let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
            errors.forbidden(&Path::new("spec"), detail);
        }
    }

    fn fields(&self, _object: &Value, _fields: &mut Fields) {}

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Ready", "Number of pods that are ready, of those that should be."),
            Column::AGE,
            workload::WIDE[0],
            workload::WIDE[1],
        ];
        COLUMNS.into()
    }

    fn row(&self, stateful: &Value, now: Timestamp) -> Row {
        let count = |value: &Value| value.as_i64().unwrap_or(0);
        let (ready, wanted) = (
            count(&stateful["status"]["readyReplicas"]),
            count(&stateful["spec"]["replicas"]),
        );
        let mut cells = vec![
            json!(name_of(stateful)),
            json!(format!("{ready}/{wanted}")),
            json!(age_of(stateful, now)),
        ];
        cells.extend(workload::container_cells(&stateful["spec"]["template"]["spec"]));
        Row::new(cells)
    }
}

/// The spec with a template as the pods will have it: the controller adds a volume for each claim, and sets the hostname.
fn with_claims(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let names: Vec<Value> = items(&spec["volumeClaimTemplates"])
        .iter()
        .map(|claim| claim["metadata"]["name"].clone())
        .collect();
    let Some(pod) = object(&mut spec, "template").and_then(|template| object(template, "spec")) else {
        return spec;
    };
    let own = items(&pod["volumes"])
        .iter()
        .filter(|volume| !names.contains(&volume["name"]))
        .cloned();
    let claimed = names
        .iter()
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
    let volumes: Vec<Value> = claimed.chain(own).collect();
    set(pod, "volumes", volumes);
    for key in ["hostname", "subdomain"] {
        crate::json::remove(pod, key);
    }
    spec
}

fn validate_strategy(strategy: &Value, path: &Path, errors: &mut Errors) {
    let rolling = &strategy["rollingUpdate"];
    let at = path.child("rollingUpdate");
    match text(strategy, "type") {
        "OnDelete" if !rolling.is_null() => {
            errors.invalid(&at, rolling.clone(), "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            not_negative(rolling, "partition", &at, errors);
            if workload::amount(rolling, "maxUnavailable", &at, errors) == Some(0) {
                errors.invalid(
                    &at.child("maxUnavailable"),
                    rolling["maxUnavailable"].clone(),
                    "cannot be 0",
                );
            }
        }
        _ => errors.invalid(path, strategy.clone(), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

fn validate_status(stateful: &Value, errors: &mut Errors) {
    workload::validate_counts(stateful, COUNTS, errors);
    let count = |key: &str| stateful["status"][key].as_i64().unwrap_or(0);
    for (less, more) in [
        ("readyReplicas", "replicas"),
        ("currentReplicas", "replicas"),
        ("updatedReplicas", "replicas"),
        ("availableReplicas", "replicas"),
        ("availableReplicas", "readyReplicas"),
    ] {
        if count(less) > count(more) {
            let detail = format!("cannot be greater than status.{more}");
            errors.invalid(&Path::new("status").child(less), count(less), detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    fn good() -> Value {
        json!({
            "metadata": {"name": "s", "namespace": "n"},
            "spec": {
                "serviceName": "s", "selector": {"matchLabels": {"app": "x"}},
                "template": {"metadata": {"labels": {"app": "x"}}, "spec": {
                    "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
                }},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                    "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}},
                }}],
            },
        })
    }

    #[test]
    fn claims_stand_in_for_volumes_and_get_their_defaults() {
        let resource = find("apps", "v1", "statefulsets").expect("served");
        let mut set = good();
        resource.default(&mut set);
        assert!(resource.validate_create(&set).is_empty());
        let spec = &set["spec"];
        assert_eq!(spec["volumeClaimTemplates"][0]["kind"], "PersistentVolumeClaim");
        assert_eq!(spec["volumeClaimTemplates"][0]["status"], json!({"phase": "Pending"}));
        assert_eq!(
            spec["persistentVolumeClaimRetentionPolicy"],
            json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
        );
        assert_eq!(
            spec["updateStrategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
        );
        assert_eq!(spec["podManagementPolicy"], "OrderedReady");
    }

    #[test]
    fn only_some_fields_may_change() {
        let resource = find("apps", "v1", "statefulsets").expect("served");
        let mut old = good();
        resource.default(&mut old);
        let mistakes = |change: fn(&mut Value)| -> Vec<String> {
            let mut new = old.clone();
            change(&mut new);
            let found = resource.validate_update(&new, &old, None);
            found.iter().map(ToString::to_string).collect()
        };
        assert!(mistakes(|s| s["spec"]["replicas"] = json!(5)).is_empty());
        assert!(mistakes(|s| s["spec"]["ordinals"] = json!({"start": 5})).is_empty());
        let refusal = mistakes(|s| s["spec"]["serviceName"] = json!("t"));
        assert!(
            refusal[0].starts_with("spec: Forbidden: updates to statefulset spec"),
            "{refusal:?}"
        );
        assert_eq!(
            mistakes(|s| s["spec"]["updateStrategy"]["type"] = json!("OnDelete")),
            [
                r#"spec.updateStrategy.rollingUpdate: Invalid value: {"partition":0}: only allowed for updateStrategy 'RollingUpdate'"#
            ]
        );
    }

    #[test]
    fn a_row_compares_ready_with_wanted() {
        let mut set = good();
        set["spec"]["replicas"] = json!(3);
        set["status"] = json!({"readyReplicas": 2});
        assert_eq!(StatefulSet.row(&set, Timestamp::UNIX_EPOCH).cells[1], "2/3");
    }
}
