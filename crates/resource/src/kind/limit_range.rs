//! LimitRanges.

use super::Kind;
use crate::check::name::qualified_name;
use crate::field::{Errors, Path};
use crate::json::{absent, entries, items, items_mut, object, set, text};
use crate::printer::{Column, Columns, Row, name_of};
use crate::resource_list::ResourceList;
use jiff::Timestamp;
use knarr_apimachinery::Quantity;
use serde_json::{Value, json};

pub(crate) struct LimitRange;

const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

impl Kind for LimitRange {
    /// A container gets what it may have at most unless a default is given, and asks for its limit or the least.
    fn default(&self, range: &mut Value) {
        let Some(spec) = object(range, "spec") else { return };
        for limit in items_mut(spec, "limits") {
            for key in LISTS {
                let list = ResourceList::of(&limit[key]);
                for (name, value) in limit.get_mut(key).and_then(Value::as_object_mut).into_iter().flatten() {
                    if let Some(amount) = list.get(name) {
                        *value = json!(amount.to_string());
                    }
                }
            }
            if limit["type"] != "Container" {
                continue;
            }
            for (key, from) in [
                ("default", "max"),
                ("defaultRequest", "default"),
                ("defaultRequest", "min"),
            ] {
                let source = limit[from].clone();
                for (name, value) in entries(&source) {
                    if let Some(list) = object(limit, key)
                        && absent(list, name)
                    {
                        set(list, name, value.clone());
                    }
                }
            }
        }
    }

    fn validate(&self, range: &Value, errors: &mut Errors) {
        let path = Path::new("spec").child("limits");
        let mut types = Vec::new();
        for (index, limit) in items(&range["spec"]["limits"]).iter().enumerate() {
            let path = path.index(index);
            let kind = text(limit, "type");
            if !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim") && !kind.contains('/') {
                let why = "must be a standard limit type or fully qualified";
                errors.invalid(&path.child("type"), kind, why);
            }
            if types.contains(&kind) {
                errors.duplicate(&path.child("type"), kind);
            }
            types.push(kind);
            check(limit, kind, &path, errors);
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column {
                kind: "date",
                ..Column::text("Created At", "When the object was created.")
            },
        ];
        COLUMNS.into()
    }

    fn row(&self, range: &Value, _now: Timestamp) -> Row {
        Row::new(vec![
            json!(name_of(range)),
            range["metadata"]["creationTimestamp"].clone(),
        ])
    }
}

fn check(limit: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    for key in LISTS {
        if kind == "Pod" && key.starts_with("default") {
            if !absent(limit, key) && entries(&limit[key]).next().is_some() {
                errors.forbidden(&path.child(key), "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, _) in entries(&limit[key]) {
            let path = path.child(key).key(name);
            for problem in qualified_name(name) {
                errors.invalid(&path, name.as_str(), problem);
            }
            let standard = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage" | "storage")
                || name.starts_with("hugepages-");
            if !standard && !name.contains('/') {
                errors.invalid(&path, name.as_str(), "must be a standard resource for containers");
            }
        }
    }
    let list = |key: &str| ResourceList::of(&limit[key]);
    let (min, max, default) = (list("min"), list("max"), list("default"));
    let (request, ratio) = (list("defaultRequest"), list("maxLimitRequestRatio"));
    if kind == "PersistentVolumeClaim" && min.get("storage").or_else(|| max.get("storage")).is_none() {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(&path.child("limits"), why);
    }
    let mut order = |key: &str,
                     name: &str,
                     low: (&str, Option<Quantity>),
                     high: (&str, Option<Quantity>),
                     shown: Option<Quantity>| {
        if let (Some(less), Some(more), Some(shown)) = (low.1, high.1, shown)
            && less > more
        {
            let why = format!("{} {less} is greater than {} {more}", low.0, high.0);
            errors.invalid(&path.child(key).key(name), shown.to_string(), why);
        }
    };
    let mut names: Vec<&str> = [&min, &max, &default, &request, &ratio]
        .into_iter()
        .flat_map(ResourceList::names)
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in &names {
        let (min, max, default) = (min.get(name), max.get(name), default.get(name));
        let request = request.get(name);
        order("min", name, ("min value", min), ("max value", max), min);
        order(
            "defaultRequest",
            name,
            ("min value", min),
            ("default request value", request),
            request,
        );
        order(
            "defaultRequest",
            name,
            ("default request value", request),
            ("max value", max),
            request,
        );
        order(
            "defaultRequest",
            name,
            ("default request value", request),
            ("default limit value", default),
            request,
        );
        order("default", name, ("min value", min), ("default value", default), min);
        order("default", name, ("default value", default), ("max value", max), max);
    }
    for (name, ratio) in ratio.iter() {
        if ratio < Quantity::new(1) {
            let path = path.child("maxLimitRequestRatio").key(name);
            errors.invalid(&path, ratio.to_string(), format!("ratio {ratio} is less than 1"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_defaults_to_the_most_and_asks_for_its_limit() {
        let mut range = json!({"spec": {"limits": [
            {"type": "Container", "max": {"cpu": "1000m", "memory": "1Gi"}, "min": {"cpu": "100m", "storage": "1"}, "default": {"memory": "512Mi"}},
            {"type": "Pod", "max": {"cpu": "1"}},
        ]}});
        LimitRange.default(&mut range);
        assert_eq!(
            range["spec"]["limits"],
            json!([
                {
                    "type": "Container", "max": {"cpu": "1", "memory": "1Gi"}, "min": {"cpu": "100m", "storage": "1"},
                    "default": {"memory": "512Mi", "cpu": "1"},
                    "defaultRequest": {"memory": "512Mi", "cpu": "1", "storage": "1"},
                },
                {"type": "Pod", "max": {"cpu": "1"}},
            ])
        );
    }

    #[test]
    fn limits_must_leave_room() {
        let told = |limit: Value| {
            let mut errors = Errors::new();
            LimitRange.validate(&json!({"spec": {"limits": [limit]}}), &mut errors);
            errors.into_vec().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        for (limit, why) in [
            (
                json!({"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}),
                "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
            ),
            (
                json!({"type": "Container", "defaultRequest": {"cpu": "2"}, "default": {"cpu": "1"}}),
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2\": default request value 2 is greater than default limit value 1",
            ),
            (
                json!({"type": "Pod", "default": {"cpu": "2"}}),
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
            ),
            (
                json!({"type": "PersistentVolumeClaim"}),
                "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "500m"}}),
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1",
            ),
        ] {
            assert_eq!(told(limit), [why]);
        }
    }
}
