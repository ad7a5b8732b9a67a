//! LimitRanger: what one pod, container or claim may ask for, and what it asks for if it says nothing.
//!
//! Source: <https://kubernetes.io/docs/concepts/policy/limit-range/>.

use super::{Attributes, Lookup, Operation};
use crate::json::{absent, items, items_mut, object, set, text};
use crate::resource_list::{ResourceList, of_pod};
use crate::status::Status;
use knarr_apimachinery::Quantity;
use serde_json::Value;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Whether limits are about this request: new pods and those that are resized, and claims.
fn concerns(request: &Attributes<'_>, old: Option<&Value>) -> bool {
    let concerned = match (request.subresource, request.operation) {
        ("resize", Operation::Update) => request.is_resource("", "pods"),
        ("", Operation::Create) => request.is_resource("", "pods") || request.is_resource("", "persistentvolumeclaims"),
        ("", Operation::Update) => request.is_resource("", "persistentvolumeclaims"),
        _ => false,
    };
    concerned && old.is_none_or(|old| absent(&old["metadata"], "deletionTimestamp"))
}

/// Fills in what the namespace's limit ranges give to containers that say nothing.
pub(super) fn mutate(request: &Attributes<'_>, object: &mut Value, old: Option<&Value>, lookup: &dyn Lookup) {
    if !concerns(request, old) || !request.is_resource("", "pods") {
        return;
    }
    for range in lookup.list("", "limitranges", request.namespace) {
        let (mut requests, mut limits) = (ResourceList::default(), ResourceList::default());
        for limit in items(&range["spec"]["limits"]) {
            if limit["type"] == "Container" {
                replace(&mut requests, &limit["defaultRequest"]);
                replace(&mut limits, &limit["default"]);
            }
        }
        fill(object, &requests, &limits);
    }
}

fn replace(list: &mut ResourceList, with: &Value) {
    for (name, amount) in ResourceList::of(with).iter() {
        list.insert(name, amount);
    }
}

fn fill(pod: &mut Value, requests: &ResourceList, limits: &ResourceList) {
    let mut said = Vec::new();
    let Some(spec) = object(pod, "spec") else { return };
    for (list, word) in [("containers", "container"), ("initContainers", "init container")] {
        for container in items_mut(spec, list) {
            let name = text(container, "name").to_owned();
            for (key, defaults) in [("requests", requests), ("limits", limits)] {
                let missing: Vec<(&str, Quantity)> = defaults
                    .iter()
                    .filter(|(resource, _)| absent(&container["resources"][key], resource))
                    .collect();
                if missing.is_empty() {
                    continue;
                }
                let Some(own) = object(container, "resources").and_then(|own| object(own, key)) else {
                    continue;
                };
                for (resource, amount) in &missing {
                    set(own, resource, amount.to_string());
                }
                let names: Vec<&str> = missing.iter().map(|(resource, _)| *resource).collect();
                let kind = key.trim_end_matches('s');
                said.push(format!("{} {kind} for {word} {name}", names.join(", ")));
            }
        }
    }
    if said.is_empty() {
        return;
    }
    let note = format!("LimitRanger plugin set: {}", said.join("; "));
    if let Some(annotations) = object(pod, "metadata").and_then(|meta| object(meta, "annotations")) {
        set(annotations, ANNOTATION, note);
    }
}

/// Refuses what is outside of the namespace's limit ranges.
pub(super) fn validate(
    request: &Attributes<'_>,
    object: &Value,
    old: Option<&Value>,
    lookup: &dyn Lookup,
) -> Result<(), Status> {
    if !concerns(request, old) {
        return Ok(());
    }
    for range in lookup.list("", "limitranges", request.namespace) {
        let mut errors: Vec<String> = Vec::new();
        for limit in items(&range["spec"]["limits"]) {
            check(limit, &request.resource.plural, &object["spec"], &mut errors);
        }
        errors.dedup();
        let why = match errors.as_slice() {
            [] => continue,
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        return Err(Status::forbidden(request.resource, request.name_of(object), &why));
    }
    Ok(())
}

fn check(limit: &Value, plural: &str, spec: &Value, errors: &mut Vec<String>) {
    let kind = text(limit, "type");
    match (plural, kind) {
        ("pods", "Container") => {
            for container in ["containers", "initContainers"]
                .into_iter()
                .flat_map(|list| items(&spec[list]))
            {
                let own = |key: &str| ResourceList::of(&container["resources"][key]);
                Asked {
                    kind,
                    requests: own("requests"),
                    limits: own("limits"),
                }
                .check(limit, errors);
            }
        }
        ("pods", "Pod") => {
            Asked {
                kind,
                requests: of_pod(spec, "requests"),
                limits: of_pod(spec, "limits"),
            }
            .check(limit, errors);
        }
        ("persistentvolumeclaims", "PersistentVolumeClaim") => {
            let asked = Asked {
                kind,
                requests: ResourceList::of(&spec["resources"]["requests"]),
                limits: ResourceList::default(),
            };
            for (name, least) in ResourceList::of(&limit["min"]).iter() {
                errors.extend(asked.at_least(name, least).err());
            }
            for (name, most) in ResourceList::of(&limit["max"]).iter() {
                errors.extend(asked.requests_at_most(name, most).err());
            }
        }
        _ => {}
    }
}

/// What a pod, container or claim asks for.
struct Asked<'a> {
    kind: &'a str,
    requests: ResourceList,
    limits: ResourceList,
}

impl Asked<'_> {
    fn check(&self, limit: &Value, errors: &mut Vec<String>) {
        for (name, least) in ResourceList::of(&limit["min"]).iter() {
            errors.extend(self.at_least(name, least).err());
        }
        for (name, most) in ResourceList::of(&limit["max"]).iter() {
            errors.extend(self.at_most(name, most).err());
        }
        for (name, ratio) in ResourceList::of(&limit["maxLimitRequestRatio"]).iter() {
            errors.extend(self.ratio(name, ratio).err());
        }
    }

    fn at_least(&self, name: &str, least: Quantity) -> Result<(), String> {
        let rule = format!("minimum {name} usage per {} is {least}", self.kind);
        let Some(request) = self.requests.get(name) else {
            return Err(format!("{rule}.  No request is specified"));
        };
        if request < least {
            return Err(format!("{rule}, but request is {request}"));
        }
        match self.limits.get(name) {
            Some(limit) if limit < least => Err(format!("{rule}, but limit is {limit}")),
            _ => Ok(()),
        }
    }

    fn requests_at_most(&self, name: &str, most: Quantity) -> Result<(), String> {
        let rule = format!("maximum {name} usage per {} is {most}", self.kind);
        match self.requests.get(name) {
            None => Err(format!("{rule}.  No request is specified")),
            Some(request) if request > most => Err(format!("{rule}, but request is {request}")),
            Some(_) => Ok(()),
        }
    }

    fn at_most(&self, name: &str, most: Quantity) -> Result<(), String> {
        let rule = format!("maximum {name} usage per {} is {most}", self.kind);
        let Some(limit) = self.limits.get(name) else {
            return Err(format!("{rule}.  No limit is specified"));
        };
        if limit > most {
            return Err(format!("{rule}, but limit is {limit}"));
        }
        match self.requests.get(name) {
            Some(request) if request > most => Err(format!("{rule}, but request is {request}")),
            _ => Ok(()),
        }
    }

    fn ratio(&self, name: &str, most: Quantity) -> Result<(), String> {
        let rule = format!("{name} max limit to request ratio per {} is {most}", self.kind);
        let some = |list: &ResourceList| list.get(name).filter(|amount| !amount.is_zero());
        let Some(request) = some(&self.requests) else {
            return Err(format!("{rule}, but no request is specified or request is 0"));
        };
        let Some(limit) = some(&self.limits) else {
            return Err(format!("{rule}, but no limit is specified or limit is 0"));
        };
        let ratio = limit.as_f64() / request.as_f64();
        if ratio > most.as_f64() {
            return Err(format!("{rule}, but provided ratio is {ratio:.6}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Objects, attributes};
    use super::*;
    use serde_json::json;

    fn ranges(limits: Value) -> Objects {
        Objects(vec![(
            "limitranges",
            json!({"metadata": {"name": "l", "namespace": "ns"}, "spec": {"limits": limits}}),
        )])
    }

    fn pod(resources: Value) -> Value {
        json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a", "resources": resources}]}})
    }

    #[test]
    fn defaults_are_filled_in_and_told() {
        let cluster = ranges(json!([{
            "type": "Container",
            "default": {"cpu": "1", "memory": "1Gi"},
            "defaultRequest": {"cpu": "100m", "memory": "64Mi"},
        }]));
        let mut pod = pod(json!({"requests": {"memory": "1Mi"}}));
        pod["spec"]["initContainers"] = json!([{"name": "b", "resources": {"limits": {"cpu": "2", "memory": "2Gi"}}}]);
        mutate(&attributes("pods", Operation::Create), &mut pod, None, &cluster);
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({"requests": {"memory": "1Mi", "cpu": "100m"}, "limits": {"cpu": "1", "memory": "1Gi"}})
        );
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; cpu, memory limit for container a; \
             cpu, memory request for init container b"
        );
        // An update of a pod is not looked at: what it asks for cannot change there.
        let mut update = json!({"spec": {"containers": [{"name": "a"}]}});
        mutate(
            &attributes("pods", Operation::Update),
            &mut update,
            Some(&json!({})),
            &cluster,
        );
        assert_eq!(update, json!({"spec": {"containers": [{"name": "a"}]}}));
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        let resources = |requests: Value, limits: Value| json!({"requests": requests, "limits": limits});
        for (limit, resources, why) in [
            (
                json!({"min": {"cpu": "100m"}}),
                resources(json!({"cpu": "50m"}), json!({})),
                "minimum cpu usage per Container is 100m, but request is 50m",
            ),
            (
                json!({"min": {"cpu": "100m"}}),
                resources(json!({}), json!({})),
                "minimum cpu usage per Container is 100m.  No request is specified",
            ),
            (
                json!({"min": {"cpu": "100m"}}),
                resources(json!({"cpu": "1"}), json!({"cpu": "10m"})),
                "minimum cpu usage per Container is 100m, but limit is 10m",
            ),
            (
                json!({"max": {"cpu": "1"}}),
                resources(json!({}), json!({"cpu": "2"})),
                "maximum cpu usage per Container is 1, but limit is 2",
            ),
            (
                json!({"max": {"cpu": "1"}}),
                resources(json!({}), json!({})),
                "maximum cpu usage per Container is 1.  No limit is specified",
            ),
            (
                json!({"max": {"memory": "1Gi"}}),
                resources(json!({"memory": "2Gi"}), json!({"memory": "1Gi"})),
                "maximum memory usage per Container is 1Gi, but request is 2Gi",
            ),
            (
                json!({"maxLimitRequestRatio": {"cpu": "2"}}),
                resources(json!({"cpu": "1"}), json!({"cpu": "4"})),
                "cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000",
            ),
            (
                json!({"maxLimitRequestRatio": {"cpu": "2"}}),
                resources(json!({}), json!({"cpu": "4"})),
                "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
            ),
            (
                json!({"max": {"cpu": "1", "memory": "1Gi"}}),
                resources(json!({}), json!({})),
                "[maximum cpu usage per Container is 1.  No limit is specified, maximum memory usage per Container is 1Gi.  No limit is specified]",
            ),
            (
                json!({"type": "Pod", "max": {"cpu": "1"}}),
                resources(json!({}), json!({"cpu": "2"})),
                "maximum cpu usage per Pod is 1, but limit is 2",
            ),
        ] {
            let mut limit = limit;
            if limit["type"].is_null() {
                limit["type"] = json!("Container");
            }
            let cluster = ranges(json!([limit]));
            let request = attributes("pods", Operation::Create);
            let failure = validate(&request, &pod(resources), None, &cluster).expect_err("out of range");
            assert_eq!(failure.message, format!("pods \"x\" is forbidden: {why}"));
        }
        let cluster = ranges(json!([{"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "1"}}]));
        let fits = pod(resources(json!({"cpu": "1"}), json!({"cpu": "1000m"})));
        assert_eq!(
            validate(&attributes("pods", Operation::Create), &fits, None, &cluster),
            Ok(())
        );
    }
}
