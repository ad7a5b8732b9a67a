//! ResourceQuota: what the objects of a namespace may use together.
//!
//! Source: <https://kubernetes.io/docs/concepts/policy/resource-quotas/>.

use super::{Attributes, Operation};
use crate::json::{absent, entries, items, text};
use crate::kind::pod::quality_of_service;
use crate::resource_list::{ResourceList, of_pod};
use crate::status::Status;
use jiff::{SignedDuration, Timestamp};
use knarr_apimachinery::Quantity;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Kinds whose count quotas know by a plain name as well.
const PLAIN: [&str; 5] = [
    "configmaps",
    "secrets",
    "replicationcontrollers",
    "resourcequotas",
    "services",
];
/// What every container must ask for if a quota limits it.
const EXPLICIT: [&str; 6] = [
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
];
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";

/// The name under which a quota counts objects of a resource: `count/deployments.apps`.
pub fn count_name(group: &str, plural: &str) -> String {
    match group {
        "" => format!("count/{plural}"),
        group => format!("count/{plural}.{group}"),
    }
}

/// Whether objects of a resource can use up `name`.
pub fn concerns(group: &str, plural: &str, name: &str) -> bool {
    if name == count_name(group, plural) {
        return true;
    }
    match (group, plural) {
        ("", "pods") => {
            let (what, rest) = name.split_once('.').unwrap_or(("", name));
            matches!(name, "pods" | "cpu" | "memory" | "ephemeral-storage")
                || name.starts_with("hugepages-")
                || (what == "requests"
                    && (matches!(rest, "cpu" | "memory" | "ephemeral-storage")
                        || rest.starts_with("hugepages-")
                        || rest.contains('/')))
                || (what == "limits" && matches!(rest, "cpu" | "memory" | "ephemeral-storage"))
        }
        ("", "services") => matches!(name, "services" | "services.nodeports" | "services.loadbalancers"),
        ("", "persistentvolumeclaims") => {
            matches!(name, "persistentvolumeclaims" | "requests.storage") || name.contains(BY_CLASS)
        }
        ("", plural) => PLAIN.contains(&plural) && name == plural,
        _ => false,
    }
}

/// What one object uses of everything that quotas count.
pub fn usage(group: &str, plural: &str, object: &Value, now: Timestamp) -> ResourceList {
    let mut used = ResourceList::default();
    let one = Quantity::new(1);
    used.insert(&count_name(group, plural), one);
    match (group, plural) {
        ("", "pods") if still_uses(object, now) => {
            used.insert("pods", one);
            for (name, amount) in of_pod(&object["spec"], "requests").iter() {
                if matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
                    used.insert(name, amount);
                    used.insert(&format!("requests.{name}"), amount);
                } else if name.contains('/') && !name.contains("kubernetes.io/") {
                    used.insert(&format!("requests.{name}"), amount);
                }
            }
            for (name, amount) in of_pod(&object["spec"], "limits").iter() {
                if matches!(name, "cpu" | "memory" | "ephemeral-storage") {
                    used.insert(&format!("limits.{name}"), amount);
                }
            }
        }
        ("", "services") => {
            let spec = &object["spec"];
            let ports = items(&spec["ports"]);
            used.insert("services", one);
            let allocated = match text(spec, "type") {
                "NodePort" => ports.len(),
                "LoadBalancer" if spec["allocateLoadBalancerNodePorts"] == false => ports
                    .iter()
                    .filter(|port| port["nodePort"].as_i64().unwrap_or(0) != 0)
                    .count(),
                "LoadBalancer" => ports.len(),
                _ => 0,
            };
            used.insert("services.nodeports", Quantity::count(allocated));
            let balancers = usize::from(spec["type"] == "LoadBalancer");
            used.insert("services.loadbalancers", Quantity::count(balancers));
        }
        ("", "persistentvolumeclaims") => {
            let class = text(&object["spec"], "storageClassName");
            let by_class = |what: &str| format!("{class}{BY_CLASS}{what}");
            used.insert("persistentvolumeclaims", one);
            if !class.is_empty() {
                used.insert(&by_class("persistentvolumeclaims"), one);
            }
            if let Some(amount) = Quantity::of(&object["spec"]["resources"]["requests"]["storage"]) {
                used.insert("requests.storage", amount);
                if !class.is_empty() {
                    used.insert(&by_class("requests.storage"), amount);
                }
            }
        }
        ("", plural) if PLAIN.contains(&plural) => used.insert(plural, one),
        _ => {}
    }
    used
}

/// Whether a pod takes up room: it does until it has ended, or should have.
fn still_uses(pod: &Value, now: Timestamp) -> bool {
    if matches!(text(&pod["status"], "phase"), "Succeeded" | "Failed") {
        return false;
    }
    let meta = &pod["metadata"];
    let until = text(meta, "deletionTimestamp").parse::<Timestamp>().ok();
    let Some(until) = until.filter(|_| !absent(meta, "deletionGracePeriodSeconds")) else {
        return true;
    };
    // The timestamp is when the grace period ends; a node that is lost keeps nothing longer than that.
    let grace = meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    let grace = SignedDuration::from_secs(grace);
    until.checked_add(grace).unwrap_or(until) > now
}

/// Whether a quota is about this object: it limits something the object uses, and all its scopes hold.
pub fn matches(quota: &Value, group: &str, plural: &str, object: &Value) -> bool {
    let spec = &quota["spec"];
    let limits = |list: &Value| entries(list).any(|(name, _)| concerns(group, plural, name));
    if !limits(&spec["hard"]) && !limits(&quota["status"]["hard"]) {
        return false;
    }
    let scopes = items(&spec["scopes"]).iter().map(|scope| {
        let scope = scope.as_str().unwrap_or_default();
        in_scope(plural, group, object, scope, "Exists", &[])
    });
    let selected = items(&spec["scopeSelector"]["matchExpressions"]).iter().map(|rule| {
        let values = items(&rule["values"]);
        in_scope(
            plural,
            group,
            object,
            text(rule, "scopeName"),
            text(rule, "operator"),
            values,
        )
    });
    scopes.chain(selected).all(|holds| holds)
}

fn in_scope(plural: &str, group: &str, object: &Value, scope: &str, operator: &str, values: &[Value]) -> bool {
    let spec = &object["spec"];
    let named = |key: &str| {
        let name = text(spec, key);
        let listed = values.iter().any(|value| value == name);
        match operator {
            "Exists" => !name.is_empty(),
            "DoesNotExist" => name.is_empty(),
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    };
    match (group, plural, scope) {
        ("", "pods", "Terminating") => ends(object),
        ("", "pods", "NotTerminating") => !ends(object),
        ("", "pods", "BestEffort") => quality_of_service(spec) == "BestEffort",
        ("", "pods", "NotBestEffort") => quality_of_service(spec) != "BestEffort",
        ("", "pods", "PriorityClass") => named("priorityClassName"),
        ("", "pods", "CrossNamespacePodAffinity") => looks_abroad(&spec["affinity"]),
        ("", "persistentvolumeclaims", "VolumeAttributesClass") => named("volumeAttributesClassName"),
        _ => false,
    }
}

/// Whether a pod ends by itself after a while.
fn ends(pod: &Value) -> bool {
    pod["spec"]["activeDeadlineSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds >= 0)
}

/// Whether some affinity is about pods of other namespaces.
fn looks_abroad(affinity: &Value) -> bool {
    ["podAffinity", "podAntiAffinity"].into_iter().any(|kind| {
        let required = items(&affinity[kind]["requiredDuringSchedulingIgnoredDuringExecution"]).iter();
        let preferred = items(&affinity[kind]["preferredDuringSchedulingIgnoredDuringExecution"]).iter();
        required
            .chain(preferred.map(|term| &term["podAffinityTerm"]))
            .any(|term| !items(&term["namespaces"]).is_empty() || !absent(term, "namespaceSelector"))
    })
}

/// Whether a request can use up quota at all.
pub fn charges(request: &Attributes<'_>, object: &Value, old: Option<&Value>) -> bool {
    let core = request.resource.group.is_empty();
    match (request.operation, request.resource.plural.as_str(), request.subresource) {
        (Operation::Create, _, "") => request.resource.kind != "Event",
        (Operation::Update, "pods", "resize") => core,
        (Operation::Update, "pods", "") => core && old.is_some_and(|old| ends(old) != ends(object)),
        (Operation::Update, "services" | "persistentvolumeclaims", "") => core,
        _ => false,
    }
}

/// What the quota has used up once the request is done, or `None` if the request leaves it alone.
///
/// Refuses what is more than the quota allows.
pub fn charge(
    request: &Attributes<'_>,
    quota: &Value,
    object: &Value,
    old: Option<&Value>,
    now: Timestamp,
) -> Result<Option<ResourceList>, Status> {
    let (group, plural) = (request.resource.group.as_str(), request.resource.plural.as_str());
    if !matches(quota, group, plural, object) {
        return Ok(None);
    }
    let name = text(&quota["metadata"], "name");
    let refuse = |why: String| Status::forbidden(request.resource, request.name_of(object), &why);
    let (hard, used) = (
        ResourceList::of(&quota["status"]["hard"]),
        ResourceList::of(&quota["status"]["used"]),
    );
    let limited: Vec<&str> = hard.names().filter(|name| concerns(group, plural, name)).collect();
    if plural == "pods" && group.is_empty() {
        let missing = unspecified(&object["spec"], &limited);
        if !missing.is_empty() {
            let parts: Vec<String> = missing
                .iter()
                .map(|(resource, containers)| {
                    let containers: Vec<&str> = containers.iter().copied().collect();
                    format!("{resource} for: {}", containers.join(","))
                })
                .collect();
            return Err(refuse(format!(
                "failed quota: {name}: must specify {}",
                parts.join("; ")
            )));
        }
    }
    if limited.iter().any(|name| used.get(name).is_none()) {
        let limited = limited.join(",");
        return Err(refuse(format!(
            "status unknown for quota: {name}, resources: {limited}"
        )));
    }
    let mut delta = usage(group, plural, object, now);
    let negative: Vec<&str> = delta
        .iter()
        .filter(|(_, a)| a.is_negative())
        .map(|(name, _)| name)
        .collect();
    if !negative.is_empty() {
        let negative = negative.join(",");
        return Err(refuse(format!("quota usage is negative for resource(s): {negative}")));
    }
    // A quota that was not about the object before is charged with all of it.
    if let Some(old) = old.filter(|old| matches(quota, group, plural, old)) {
        delta = delta.minus(&usage(group, plural, old, now));
    }
    delta.retain(|name, amount| {
        let more = amount > Quantity::ZERO;
        more && limited.contains(&name)
    });
    if delta.is_empty() {
        return Ok(None);
    }
    let mut sum = used.clone();
    sum.add_all(&delta);
    let exceeded = |name: &str| match (sum.get(name), hard.get(name)) {
        (Some(sum), Some(hard)) => sum > hard,
        _ => false,
    };
    if delta.names().any(exceeded) {
        let only = |list: &ResourceList| {
            let mut list = list.clone();
            list.retain(|name, _| delta.get(name).is_some() && exceeded(name));
            list
        };
        return Err(refuse(format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            only(&delta),
            only(&used),
            only(&hard)
        )));
    }
    Ok(Some(sum))
}

/// What a quota limits and some containers do not ask for, with their names.
fn unspecified<'a>(spec: &'a Value, limited: &[&'a str]) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let whole = |list: &str, name: &str| !absent(&spec["resources"][list], name);
    for container in ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| items(&spec[list]))
    {
        for name in limited.iter().filter(|name| EXPLICIT.contains(name)) {
            let (list, resource) = match name.split_once('.') {
                Some((list, resource)) => (list, resource),
                None => ("requests", *name),
            };
            if absent(&container["resources"][list], resource) && !whole(list, resource) {
                missing.entry(name).or_default().insert(text(container, "name"));
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::super::tests::attributes;
    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn quota(hard: Value, used: Value) -> Value {
        json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
    }

    fn pod(resources: Value) -> Value {
        json!({"spec": {"containers": [{"name": "a", "resources": resources}]}})
    }

    fn told(quota: &Value, pod: &Value) -> Result<Option<String>, String> {
        let request = attributes("pods", Operation::Create);
        let charged = charge(&request, quota, pod, None, NOW).map_err(|failure| failure.message)?;
        Ok(charged.map(|used| used.to_string()))
    }

    #[test]
    fn a_pod_is_charged_until_the_quota_is_used_up() {
        let limit = json!({"pods": "2", "requests.cpu": "1", "count/pods": "9", "secrets": "1"});
        let quota = |pods: &str, cpu: &str| {
            quota(
                limit.clone(),
                json!({"pods": pods, "requests.cpu": cpu, "count/pods": "1", "secrets": "1"}),
            )
        };
        let pod = pod(json!({"requests": {"cpu": "500m"}}));
        assert_eq!(
            told(&quota("1", "500m"), &pod),
            Ok(Some("count/pods=2,pods=2,requests.cpu=1,secrets=1".into()))
        );
        assert_eq!(
            told(&quota("2", "800m"), &pod),
            Err("pods \"x\" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=500m, used: pods=2,requests.cpu=800m, limited: pods=2,requests.cpu=1".into())
        );
    }

    #[test]
    fn what_is_limited_must_be_asked_for() {
        let limit = json!({"limits.cpu": "1", "requests.memory": "1Gi"});
        let quota = quota(limit, json!({"limits.cpu": "0", "requests.memory": "0"}));
        assert_eq!(
            told(&quota, &pod(json!({}))),
            Err(
                "pods \"x\" is forbidden: failed quota: q: must specify limits.cpu for: a; requests.memory for: a"
                    .into()
            )
        );
        let unknown =
            json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}, "status": {"hard": {"pods": "1"}}});
        assert_eq!(
            told(&unknown, &pod(json!({}))),
            Err("pods \"x\" is forbidden: status unknown for quota: q, resources: pods".into())
        );
    }

    #[test]
    fn scopes_choose_the_pods_that_count() {
        let scoped = |spec: Value| {
            let mut quota = quota(json!({"pods": "9"}), json!({"pods": "0"}));
            for (key, value) in spec.as_object().expect("an object") {
                quota["spec"][key] = value.clone();
            }
            quota
        };
        let plain = pod(json!({}));
        let mut ending = pod(json!({"limits": {"cpu": "1"}}));
        ending["spec"]["activeDeadlineSeconds"] = json!(0);
        ending["spec"]["priorityClassName"] = json!("high");
        let class = |operator: &str, values: Value| json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": values}]}});
        for (spec, counts_plain, counts_ending) in [
            (json!({"scopes": ["Terminating"]}), false, true),
            (json!({"scopes": ["NotTerminating"]}), true, false),
            (json!({"scopes": ["BestEffort"]}), true, false),
            (json!({"scopes": ["NotBestEffort", "Terminating"]}), false, true),
            (class("In", json!(["high"])), false, true),
            (class("NotIn", json!(["high"])), true, false),
            (class("Exists", json!([])), false, true),
            (class("DoesNotExist", json!([])), true, false),
        ] {
            let quota = scoped(spec);
            assert_eq!(
                told(&quota, &plain).expect("admitted").is_some(),
                counts_plain,
                "{quota}"
            );
            assert_eq!(
                told(&quota, &ending).expect("admitted").is_some(),
                counts_ending,
                "{quota}"
            );
        }
    }

    #[test]
    fn kinds_use_what_they_use() {
        for (plural, object, used) in [
            (
                "services",
                json!({"spec": {"type": "NodePort", "ports": [{}, {}]}}),
                "count/services=1,services=1,services.loadbalancers=0,services.nodeports=2",
            ),
            (
                "services",
                json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{}]}}),
                "count/services=1,services=1,services.loadbalancers=1,services.nodeports=0",
            ),
            (
                "persistentvolumeclaims",
                json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}}),
                "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi",
            ),
            ("configmaps", json!({}), "configmaps=1,count/configmaps=1"),
            ("pods", json!({"status": {"phase": "Failed"}}), "count/pods=1"),
            (
                "pods",
                json!({"spec": {"containers": [{"resources": {"requests": {"example.com/gpu": "2", "memory": "1Mi"}, "limits": {"memory": "2Mi"}}}]}}),
                "count/pods=1,limits.memory=2Mi,memory=1Mi,pods=1,requests.example.com/gpu=2,requests.memory=1Mi",
            ),
        ] {
            assert_eq!(usage("", plural, &object, NOW).to_string(), used);
        }
        assert_eq!(
            usage("apps", "deployments", &json!({}), NOW).to_string(),
            "count/deployments.apps=1"
        );
    }

    #[test]
    fn an_update_is_charged_for_what_it_adds() {
        let quota = quota(json!({"services.nodeports": "2"}), json!({"services.nodeports": "1"}));
        let service = |ports: Value| json!({"spec": {"type": "NodePort", "ports": ports}});
        let request = attributes("services", Operation::Update);
        let old = service(json!([{}]));
        let charged =
            |new: &Value| charge(&request, &quota, new, Some(&old), NOW).map(|used| used.map(|u| u.to_string()));
        assert_eq!(charged(&old), Ok(None));
        assert_eq!(
            charged(&service(json!([{}, {}]))),
            Ok(Some("services.nodeports=2".into()))
        );
        assert!(charged(&service(json!([{}, {}, {}]))).is_err());
    }
}
