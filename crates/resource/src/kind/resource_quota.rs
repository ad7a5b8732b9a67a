//! ResourceQuotas.

use super::Kind;
use crate::check::name::qualified_name;
use crate::field::{Errors, Path};
use crate::json::{absent, entries, items, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use crate::resource_list::ResourceList;
use jiff::Timestamp;
use knarr_apimachinery::Quantity;
use serde_json::{Value, json};

pub(crate) struct ResourceQuota;

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
/// Counted in whole units.
const COUNTS: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const MEASURED: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];
const COMPUTE: [&str; 6] = [
    "cpu",
    "memory",
    "limits.cpu",
    "limits.memory",
    "requests.cpu",
    "requests.memory",
];

fn is_standard(name: &str) -> bool {
    COUNTS.contains(&name)
        || MEASURED.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

/// Whether a quota with this scope can limit the resource.
fn fits(scope: &str, name: &str) -> bool {
    match scope {
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        scope if SCOPES.contains(&scope) => name == "pods" || COMPUTE.contains(&name),
        _ => true,
    }
}

fn check_amounts(list: &Value, path: &Path, errors: &mut Errors) {
    for (name, value) in entries(list) {
        let path = path.key(name);
        let problems = qualified_name(name);
        if problems.is_empty() && !name.contains('/') && !is_standard(name) {
            errors.invalid(
                &path,
                name.as_str(),
                "must be a standard resource type or fully qualified",
            );
            errors.invalid(&path, name.as_str(), "must be a standard resource for quota");
        }
        for problem in problems {
            errors.invalid(&path, name.as_str(), problem);
        }
        let Some(amount) = Quantity::of(value) else { continue };
        if amount.is_negative() {
            errors.invalid(&path, amount.to_string(), "must be greater than or equal to 0");
        }
        if (COUNTS.contains(&name.as_str()) || name.contains('/')) && !amount.is_whole() {
            errors.invalid(&path, amount.to_string(), "must be an integer");
        }
    }
}

fn check_spec(spec: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    check_amounts(&spec["hard"], &path.child("hard"), errors);
    let limited: Vec<&String> = entries(&spec["hard"])
        .map(|(name, _)| name)
        .filter(|name| is_standard(name))
        .collect();
    let scopes = path.child("scopes");
    let conflict = |found: &[&str], errors: &mut Errors| {
        for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
            if pair.iter().all(|scope| found.contains(scope)) {
                errors.invalid(&scopes, spec["scopes"].clone(), "conflicting scopes");
            }
        }
    };
    let own: Vec<&str> = items(&spec["scopes"]).iter().filter_map(Value::as_str).collect();
    for scope in &own {
        if !SCOPES.contains(scope) {
            errors.invalid(&path.child("scopes"), spec["scopes"].clone(), "unsupported scope");
        }
        for _ in limited.iter().filter(|name| !fits(scope, name)) {
            let why = "unsupported scope applied to resource";
            errors.invalid(&path.child("scopes"), spec["scopes"].clone(), why);
        }
    }
    conflict(&own, errors);
    let path = path.child("scopeSelector").child("matchExpressions");
    let mut found = Vec::new();
    for rule in items(&spec["scopeSelector"]["matchExpressions"]) {
        let (scope, operator) = (text(rule, "scopeName"), text(rule, "operator"));
        found.push(scope);
        if !SCOPES.contains(&scope) {
            errors.invalid(&path.child("scopeName"), scope, "unsupported scope");
        }
        for _ in limited.iter().filter(|name| !fits(scope, name)) {
            errors.invalid(
                &path,
                spec["scopeSelector"].clone(),
                "unsupported scope applied to resource",
            );
        }
        let only_exists = !matches!(scope, "PriorityClass" | "VolumeAttributesClass") && SCOPES.contains(&scope);
        if only_exists && operator != "Exists" {
            let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid(&path.child("operator"), operator, why);
        }
        let values = items(&rule["values"]);
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.required(&path.child("values"), why);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.invalid(&path.child("values"), rule["values"].clone(), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.invalid(&path.child("operator"), operator, "not a valid selector operator"),
        }
    }
    conflict(&found, errors);
}

fn canonical(object: &mut Value, key: &str) {
    if !absent(object, key) {
        let list = ResourceList::of(&object[key]);
        for (name, value) in object[key].as_object_mut().into_iter().flatten() {
            if let Some(amount) = list.get(name) {
                *value = json!(amount.to_string());
            }
        }
    }
}

impl Kind for ResourceQuota {
    fn default(&self, quota: &mut Value) {
        canonical(&mut quota["spec"], "hard");
    }

    fn validate(&self, quota: &Value, errors: &mut Errors) {
        check_spec(&quota["spec"], errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            for key in ["hard", "used"] {
                check_amounts(&new["status"][key], &Path::new("status").child(key), errors);
            }
            return;
        }
        check_spec(&new["spec"], errors);
        let scopes = |quota: &Value| {
            let mut scopes = items(&quota["spec"]["scopes"]).to_vec();
            scopes.sort_by_key(|scope| scope.as_str().unwrap_or_default().to_owned());
            scopes.dedup();
            scopes
        };
        if scopes(new) != scopes(old) {
            let path = Path::new("spec").child("scopes");
            errors.invalid(&path, new["spec"]["scopes"].clone(), "field is immutable");
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::text("Request", "Used and allowed amounts of what is asked for and counted."),
            Column::text("Limit", "Used and allowed sums of limits."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, quota: &Value, now: Timestamp) -> Row {
        let used = ResourceList::of(&quota["status"]["used"]);
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (name, hard) in ResourceList::of(&quota["status"]["hard"]).iter() {
            let used = used.get(name).map_or_else(|| "0".to_owned(), |used| used.to_string());
            let list = if name.starts_with("limits.") {
                &mut limits
            } else {
                &mut requests
            };
            list.push(format!("{name}: {used}/{hard}"));
        }
        Row::new(vec![
            json!(name_of(quota)),
            json!(requests.join(", ")),
            json!(limits.join(", ")),
            json!(age_of(quota, now)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(spec: Value) -> Vec<String> {
        let mut errors = Errors::new();
        ResourceQuota.validate(&json!({"spec": spec}), &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_quota_limits_what_can_be_counted() {
        assert!(told(json!({"hard": {"pods": "2", "limits.cpu": "1500m", "count/jobs.batch": "3", "requests.example.com/gpu": 1}})).is_empty());
        assert_eq!(
            told(json!({"hard": {"apples": "1"}})),
            [
                "spec.hard[apples]: Invalid value: \"apples\": must be a standard resource type or fully qualified",
                "spec.hard[apples]: Invalid value: \"apples\": must be a standard resource for quota",
            ]
        );
        assert_eq!(
            told(json!({"hard": {"pods": "1500m"}})),
            ["spec.hard[pods]: Invalid value: \"1500m\": must be an integer"]
        );
        assert_eq!(
            told(json!({"hard": {"cpu": "-1"}})),
            ["spec.hard[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"]
        );
        assert_eq!(
            told(json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]})),
            ["spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource"]
        );
        assert_eq!(
            told(json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}})),
            [
                "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            ]
        );
    }

    #[test]
    fn a_row_shows_used_of_allowed() {
        let quota = json!({"metadata": {"name": "q"}, "status": {
            "hard": {"pods": "2", "limits.cpu": "1"}, "used": {"pods": "1"},
        }});
        let row = ResourceQuota.row(&quota, Timestamp::UNIX_EPOCH);
        assert_eq!(row.cells[1..3], [json!("pods: 1/2"), json!("limits.cpu: 0/1")]);
    }
}
