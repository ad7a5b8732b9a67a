//! HorizontalPodAutoscalers: how many pods a workload has, by how busy they are. They are stored as `autoscaling/v2`.

use super::{Kind, workload};
use crate::check::label::not_negative;
use crate::check::name::segment;
use crate::field::{Errors, Path};
use crate::json::{absent, default_to, existing, items, object, remove, set, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

/// As `autoscaling/v2` has it.
pub(crate) struct HorizontalPodAutoscaler;

/// As `autoscaling/v1` has it: one target, the utilisation of the CPU. What else there is stands in annotations.
pub(crate) struct FirstHorizontalPodAutoscaler;

/// Where `autoscaling/v1` keeps what it has no fields for: the field below `spec` or `status`, and the annotation.
const ANNOTATIONS: [(&str, &str, &str); 4] = [
    ("spec", "metrics", "autoscaling.alpha.kubernetes.io/metrics"),
    ("spec", "behavior", "autoscaling.alpha.kubernetes.io/behavior"),
    ("status", "conditions", "autoscaling.alpha.kubernetes.io/conditions"),
    (
        "status",
        "currentMetrics",
        "autoscaling.alpha.kubernetes.io/current-metrics",
    ),
];
const LONGEST_WINDOW: i64 = 3600;
const LONGEST_PERIOD: i64 = 1800;
/// The fields of a metric, by its type.
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

impl Kind for HorizontalPodAutoscaler {
    fn default(&self, autoscaler: &mut Value) {
        let Some(spec) = object(autoscaler, "spec") else { return };
        if absent(spec, "minReplicas") {
            set(spec, "minReplicas", 1);
        }
        if items(&spec["metrics"]).is_empty() {
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            set(
                spec,
                "metrics",
                json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]),
            );
        }
        let Some(behavior) = existing(spec, "behavior") else {
            return;
        };
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        for (key, policies) in [("scaleUp", json!([pods, percent])), ("scaleDown", json!([percent]))] {
            let Some(rules) = object(behavior, key) else { continue };
            default_to(rules, "selectPolicy", "Max");
            if items(&rules["policies"]).is_empty() {
                set(rules, "policies", policies);
            }
            // Of the other direction the controller knows the default.
            if key == "scaleUp" && absent(rules, "stabilizationWindowSeconds") {
                set(rules, "stabilizationWindowSeconds", 0);
            }
        }
    }

    fn prepare_create(&self, autoscaler: &mut Value) {
        set(autoscaler, "status", json!({"desiredReplicas": 0}));
    }

    fn validate(&self, autoscaler: &Value, errors: &mut Errors) {
        let (spec, path) = (&autoscaler["spec"], Path::new("spec"));
        let (least, most) = (spec["minReplicas"].as_i64(), spec["maxReplicas"].as_i64().unwrap_or(0));
        if let Some(least) = least.filter(|least| *least < 1) {
            errors.invalid(&path.child("minReplicas"), least, "must be greater than or equal to 1");
        }
        let at = path.child("maxReplicas");
        match most {
            0 => errors.required(&at, "must be set and greater than 0"),
            ..0 => errors.invalid(&at, most, "must be greater than or equal to 1"),
            _ => {}
        }
        if least.is_some_and(|least| most < least) {
            errors.invalid(&at, most, "must be greater than or equal to `minReplicas`");
        }
        validate_reference(&spec["scaleTargetRef"], &path.child("scaleTargetRef"), errors);
        for (i, metric) in items(&spec["metrics"]).iter().enumerate() {
            validate_metric(metric, &path.child("metrics").index(i), errors);
        }
        for key in ["scaleUp", "scaleDown"] {
            let rules = &spec["behavior"][key];
            if rules.is_object() {
                validate_rules(rules, &path.child("behavior").child(key), errors);
            }
        }
    }

    fn validate_update(&self, new: &Value, _old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        match subresource {
            Some("status") => workload::validate_counts(new, &["currentReplicas", "desiredReplicas"], errors),
            _ => self.validate(new, errors),
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Reference", "What is scaled."),
            Column::text("Targets", "What is measured, against what it should be."),
            Column::text("MinPods", "Least number of pods."),
            Column::text("MaxPods", "Most pods."),
            Column::integer("Replicas", "Number of pods when last looked at."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, autoscaler: &Value, now: Timestamp) -> Row {
        let (spec, status) = (&autoscaler["spec"], &autoscaler["status"]);
        let target = &spec["scaleTargetRef"];
        let least = spec["minReplicas"]
            .as_i64()
            .map_or("<unset>".to_owned(), |least| least.to_string());
        Row::new(vec![
            json!(name_of(autoscaler)),
            json!(format!("{}/{}", text(target, "kind"), text(target, "name"))),
            json!(targets(items(&spec["metrics"]), items(&status["currentMetrics"]))),
            json!(least),
            json!(spec["maxReplicas"].as_i64().unwrap_or(0)),
            json!(status["currentReplicas"].as_i64().unwrap_or(0)),
            json!(age_of(autoscaler, now)),
        ])
    }
}

impl Kind for FirstHorizontalPodAutoscaler {
    fn store(&self, autoscaler: &mut Value) {
        if !autoscaler.is_object() {
            return;
        }
        set(autoscaler, "apiVersion", "autoscaling/v2");
        for (part, field, annotation) in ANNOTATIONS {
            let kept = existing(autoscaler, "metadata")
                .and_then(|meta| existing(meta, "annotations"))
                .and_then(|annotations| annotations.as_object_mut()?.shift_remove(annotation));
            let kept = kept.and_then(|text| serde_json::from_str::<Value>(text.as_str()?).ok());
            if let (Some(kept), Some(part)) = (kept, object(autoscaler, part)) {
                set(part, field, kept);
            }
        }
        if let Some(spec) = existing(autoscaler, "spec")
            && let Some(percent) = take(spec, "targetCPUUtilizationPercentage")
        {
            let target = json!({"type": "Utilization", "averageUtilization": percent});
            prepend(
                spec,
                "metrics",
                json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}),
            );
        }
        if let Some(status) = existing(autoscaler, "status")
            && let Some(percent) = take(status, "currentCPUUtilizationPercentage")
        {
            let current = json!({"averageUtilization": percent});
            prepend(
                status,
                "currentMetrics",
                json!({"type": "Resource", "resource": {"name": "cpu", "current": current}}),
            );
        }
    }

    fn show(&self, autoscaler: &mut Value) {
        if !autoscaler.is_object() {
            return;
        }
        set(autoscaler, "apiVersion", "autoscaling/v1");
        let wanted = |metric: &Value| metric["resource"]["target"]["averageUtilization"].clone();
        let current = |metric: &Value| metric["resource"]["current"]["averageUtilization"].clone();
        for (part, list, field, value) in [
            (
                "spec",
                "metrics",
                "targetCPUUtilizationPercentage",
                wanted as fn(&Value) -> Value,
            ),
            ("status", "currentMetrics", "currentCPUUtilizationPercentage", current),
        ] {
            let Some(part) = existing(autoscaler, part) else {
                continue;
            };
            let mut metrics: Vec<Value> = items(&part[list]).to_vec();
            let cpu = metrics
                .iter()
                .position(|metric| metric["resource"]["name"] == "cpu" && value(metric).is_i64());
            if let Some(at) = cpu {
                let percent = value(&metrics.remove(at));
                set(part, field, percent);
            }
            match metrics.is_empty() {
                true => remove(part, list),
                false => set(part, list, metrics),
            }
        }
        for (part, field, annotation) in ANNOTATIONS {
            let Some(kept) = existing(autoscaler, part).and_then(|part| take(part, field)) else {
                continue;
            };
            if let Some(annotations) = object(autoscaler, "metadata").and_then(|meta| object(meta, "annotations")) {
                set(annotations, annotation, kept.to_string());
            }
        }
    }

    fn default(&self, autoscaler: &mut Value) {
        HorizontalPodAutoscaler.default(autoscaler);
    }

    fn prepare_create(&self, autoscaler: &mut Value) {
        HorizontalPodAutoscaler.prepare_create(autoscaler);
    }

    fn validate(&self, autoscaler: &Value, errors: &mut Errors) {
        HorizontalPodAutoscaler.validate(autoscaler, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        HorizontalPodAutoscaler.validate_update(new, old, subresource, errors);
    }

    fn columns(&self) -> Columns<'_> {
        HorizontalPodAutoscaler.columns()
    }

    fn row(&self, autoscaler: &Value, now: Timestamp) -> Row {
        let mut stored = autoscaler.clone();
        self.store(&mut stored);
        HorizontalPodAutoscaler.row(&stored, now)
    }
}

fn take(object: &mut Value, key: &str) -> Option<Value> {
    object
        .as_object_mut()?
        .shift_remove(key)
        .filter(|value| !value.is_null())
}

fn prepend(object: &mut Value, key: &str, item: Value) {
    let mut list = vec![item];
    list.extend_from_slice(items(&object[key]));
    set(object, key, list);
}

fn validate_reference(reference: &Value, path: &Path, errors: &mut Errors) {
    for key in ["kind", "name"] {
        let found = text(reference, key);
        if found.is_empty() {
            errors.required(&path.child(key), "");
        }
        for problem in segment(found).into_iter().filter(|_| !found.is_empty()) {
            errors.invalid(&path.child(key), found, problem);
        }
    }
    let version = text(reference, "apiVersion");
    if version.matches('/').count() > 1 {
        let detail = format!("unexpected GroupVersion string: {version}");
        errors.invalid(&path.child("apiVersion"), version, detail);
    }
}

fn validate_metric(metric: &Value, path: &Path, errors: &mut Errors) {
    let kind = text(metric, "type");
    let types = SOURCES.map(|(kind, _)| kind);
    let Some((_, field)) = SOURCES.iter().find(|(known, _)| *known == kind) else {
        if kind.is_empty() {
            errors.required(&path.child("type"), "must specify a metric source type");
        }
        return errors.not_supported(&path.child("type"), kind, &types);
    };
    for (_, other) in SOURCES
        .iter()
        .filter(|(_, other)| other != field && !absent(metric, other))
    {
        errors.forbidden(&path.child(other), "must populate the given metric source only");
    }
    let (source, at) = (&metric[*field], path.child(field));
    if !source.is_object() {
        return errors.required(&at, "must populate information for the given metric source");
    }
    match *field {
        "resource" | "containerResource" => {
            if text(source, "name").is_empty() {
                errors.required(&at.child("name"), "must specify a resource name");
            }
            if *field == "containerResource" && text(source, "container").is_empty() {
                errors.required(&at.child("container"), "must specify a container");
            }
        }
        _ if text(&source["metric"], "name").is_empty() => {
            errors.required(&at.child("metric").child("name"), "must specify a metric name");
        }
        _ => {}
    }
    if *field == "object" {
        validate_reference(&source["describedObject"], &at.child("describedObject"), errors);
    }
    validate_target(field, &source["target"], &at.child("target"), errors);
}

fn validate_target(source: &str, target: &Value, path: &Path, errors: &mut Errors) {
    let kind = text(target, "type");
    if kind.is_empty() {
        errors.required(&path.child("type"), "must specify a metric target type");
    } else if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        errors.invalid(
            &path.child("type"),
            kind,
            "must be either Utilization, Value, or AverageValue",
        );
    }
    let has = |key: &str| !absent(target, key);
    if target["averageUtilization"].as_i64().is_some_and(|percent| percent < 1) {
        let value = target["averageUtilization"].clone();
        errors.invalid(&path.child("averageUtilization"), value, "must be greater than 0");
    }
    for key in ["value", "averageValue"] {
        let positive = knarr_apimachinery::Quantity::of(&target[key]).is_some_and(|amount| amount.sign() > 0);
        if has(key) && !positive {
            errors.invalid(&path.child(key), target[key].clone(), "must be positive");
        }
    }
    let missing = match source {
        "resource" | "containerResource" if !has("averageUtilization") && !has("averageValue") => Some((
            "averageUtilization",
            "must set either a target raw value or a target utilization",
        )),
        "pods" if !has("averageValue") => Some(("averageValue", "must specify a positive target averageValue")),
        "object" if !has("value") && !has("averageValue") => {
            Some(("averageValue", "must set either a target value or averageValue"))
        }
        "external" if !has("value") && !has("averageValue") => Some((
            "averageValue",
            "must set either a target value for metric or a per-pod target",
        )),
        _ => None,
    };
    if let Some((key, why)) = missing {
        errors.required(&path.child(key), why);
    }
    if matches!(source, "resource" | "containerResource") && has("averageUtilization") && has("averageValue") {
        let why = "may not set both a target raw value and a target utilization";
        errors.forbidden(&path.child("averageValue"), why);
    }
    if source == "external" && has("value") && has("averageValue") {
        let why = "may not set both a target value for metric and a per-pod target";
        errors.forbidden(&path.child("value"), why);
    }
}

fn validate_rules(rules: &Value, path: &Path, errors: &mut Errors) {
    let at = path.child("stabilizationWindowSeconds");
    match rules["stabilizationWindowSeconds"].as_i64() {
        Some(window @ ..0) => errors.invalid(&at, window, "must be greater than or equal to zero"),
        Some(window) if window > LONGEST_WINDOW => {
            errors.invalid(&at, window, format!("must be less than or equal to {LONGEST_WINDOW}"));
        }
        _ => {}
    }
    let (select, choices) = (text(rules, "selectPolicy"), ["Disabled", "Max", "Min"]);
    if !select.is_empty() && !choices.contains(&select) {
        errors.not_supported(&path.child("selectPolicy"), select, &choices);
    }
    let policies = path.child("policies");
    if items(&rules["policies"]).is_empty() {
        errors.required(&policies, "must specify at least one Policy");
    }
    for (i, policy) in items(&rules["policies"]).iter().enumerate() {
        let path = policies.index(i);
        let (kind, choices) = (text(policy, "type"), ["Percent", "Pods"]);
        if !choices.contains(&kind) {
            errors.not_supported(&path.child("type"), kind, &choices);
        }
        for key in ["value", "periodSeconds"] {
            let found = policy[key].as_i64().unwrap_or(0);
            if found <= 0 {
                errors.invalid(&path.child(key), found, "must be greater than zero");
            } else if key == "periodSeconds" && found > LONGEST_PERIOD {
                errors.invalid(
                    &path.child(key),
                    found,
                    format!("must be less than or equal to {LONGEST_PERIOD}"),
                );
            }
        }
    }
    if rules["tolerance"].is_number() {
        not_negative(rules, "tolerance", path, errors);
    } else if knarr_apimachinery::Quantity::of(&rules["tolerance"]).is_some_and(|tolerance| tolerance.is_negative()) {
        let detail = "must be greater than or equal to 0";
        errors.invalid(&path.child("tolerance"), rules["tolerance"].clone(), detail);
    }
}

/// The first two metrics with their targets: `cpu: 12%/80%`.
fn targets(metrics: &[Value], current: &[Value]) -> String {
    const SHOWN: usize = 2;
    let show = |value: &Value| match value {
        Value::Null => "<unknown>".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let one = |(i, metric): (usize, &Value)| {
        let (_, field) = SOURCES.iter().find(|(kind, _)| metric["type"] == *kind)?;
        let (target, now) = (
            &metric[*field]["target"],
            &current.get(i).unwrap_or(&Value::Null)[*field]["current"],
        );
        let name = match *field {
            "resource" | "containerResource" => format!("{}: ", text(&metric[*field], "name")),
            _ => String::new(),
        };
        let average = !absent(target, "averageValue");
        let of_average = matches!(*field, "external" | "object") && average;
        Some(if average {
            let more = if of_average { " (avg)" } else { "" };
            format!(
                "{name}{}/{}{more}",
                show(&now["averageValue"]),
                show(&target["averageValue"])
            )
        } else if !name.is_empty() {
            let percent = |value: &Value| value.as_i64().map(|percent| format!("{percent}%"));
            let wanted = percent(&target["averageUtilization"]).unwrap_or_else(|| "<auto>".to_owned());
            let now = percent(&now["averageUtilization"]).unwrap_or_else(|| "<unknown>".to_owned());
            format!("{name}{now}/{wanted}")
        } else {
            format!("{}/{}", show(&now["value"]), show(&target["value"]))
        })
    };
    let all: Vec<String> = metrics.iter().enumerate().filter_map(one).collect();
    match all.len() {
        0 => "<none>".to_owned(),
        count if count > SHOWN => format!("{} + {} more...", all[..SHOWN].join(", "), count - SHOWN),
        _ => all.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    fn good() -> Value {
        json!({
            "apiVersion": "autoscaling/v2", "metadata": {"name": "h", "namespace": "n"},
            "spec": {"maxReplicas": 5, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
        })
    }

    #[test]
    fn the_first_version_keeps_in_annotations_what_it_has_no_fields_for() {
        let mut stored = good();
        HorizontalPodAutoscaler.default(&mut stored);
        let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}});
        stored["spec"]["metrics"]
            .as_array_mut()
            .expect("a list")
            .push(memory.clone());
        stored["spec"]["behavior"] = json!({"scaleDown": {"selectPolicy": "Disabled"}});
        let mut shown = stored.clone();
        FirstHorizontalPodAutoscaler.show(&mut shown);
        assert_eq!(shown["apiVersion"], "autoscaling/v1");
        assert_eq!(shown["spec"]["targetCPUUtilizationPercentage"], 80);
        assert_eq!(shown["spec"]["metrics"], Value::Null);
        assert_eq!(
            FirstHorizontalPodAutoscaler.row(&shown, Timestamp::UNIX_EPOCH).cells[2],
            "cpu: <unknown>/80%, memory: <unknown>/1Gi"
        );
        FirstHorizontalPodAutoscaler.store(&mut shown);
        assert_eq!(shown["spec"], stored["spec"]);
    }

    #[test]
    fn mistakes_are_named_in_the_words_of_kubernetes() {
        let resource = find("autoscaling", "v2", "horizontalpodautoscalers").expect("served");
        for (field, value, expected) in [
            ("minReplicas", json!(2), vec![]),
            (
                "minReplicas",
                json!(0),
                vec!["spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"],
            ),
            (
                "maxReplicas",
                json!(0),
                vec![
                    "spec.maxReplicas: Required value: must be set and greater than 0",
                    "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
                ],
            ),
            (
                "scaleTargetRef",
                json!({"kind": "Deployment"}),
                vec!["spec.scaleTargetRef.name: Required value"],
            ),
            (
                "metrics",
                json!([{"type": "Pods"}]),
                vec!["spec.metrics[0].pods: Required value: must populate information for the given metric source"],
            ),
            (
                "behavior",
                json!({"scaleUp": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 15}]}}),
                vec!["spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero"],
            ),
        ] {
            let mut autoscaler = good();
            autoscaler["spec"][field] = value;
            resource.default(&mut autoscaler);
            let found: Vec<String> = resource
                .validate_create(&autoscaler)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, expected, "{field}");
        }
    }
}
