//! The downward API: facts about a pod, for its own containers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, ObjectFieldSelector, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::options::Capacity;
use crate::quantity;

/// What of the pod is known only on the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) node: &'a str,
    pub(crate) host_ip: IpAddr,
    pub(crate) pod_ip: Option<IpAddr>,
    pub(crate) allocatable: Capacity,
}

/// The value of a `fieldRef`.
pub(crate) fn field(pod: &Pod, selector: &ObjectFieldSelector, place: &Place<'_>) -> Result<String, String> {
    let path = selector.field_path.as_str();
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let pod_ip = || place.pod_ip.map(|ip| ip.to_string()).unwrap_or_default();
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => place.node.to_owned(),
        "spec.serviceAccountName" => spec
            .and_then(|spec| spec.service_account_name.clone())
            .unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => place.host_ip.to_string(),
        "status.podIP" | "status.podIPs" => pod_ip(),
        _ => match subscript(path) {
            Some(("metadata.labels", key)) => entry(meta.labels.as_ref(), key),
            Some(("metadata.annotations", key)) => entry(meta.annotations.as_ref(), key),
            _ => return Err(format!("unsupported fieldPath: {path}")),
        },
    })
}

/// `metadata.labels['app']` in its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (path, rest) = path.split_once("['")?;
    Some((path, rest.strip_suffix("']")?))
}

fn entry(map: Option<&BTreeMap<String, String>>, key: &str) -> String {
    map.and_then(|map| map.get(key)).cloned().unwrap_or_default()
}

/// `key="value"` lines in the order of the keys, values quoted as in Go.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let entries = map.into_iter().flatten();
    let lines: Vec<String> = entries.map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}

/// The value of a `resourceFieldRef`, of `container` or of the container that it names.
pub(crate) fn resource(
    pod: &Pod,
    container: Option<&Container>,
    selector: &ResourceFieldSelector,
    allocatable: Capacity,
) -> Result<String, String> {
    let spec = pod.spec.as_ref();
    let declared = || {
        let spec = spec.into_iter();
        spec.flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()))
    };
    let container = match selector.container_name.as_deref() {
        Some(name) if !name.is_empty() => declared().find(|container| container.name == name),
        _ => container,
    };
    let container = container.ok_or_else(|| {
        let name = selector.container_name.as_deref().unwrap_or_default();
        format!("container {name} not found")
    })?;
    let (side, name) = selector.resource.split_once('.').unwrap_or_default();
    let requirements = container.resources.as_ref();
    let limits = requirements.and_then(|all| all.limits.as_ref());
    let requests = requirements.and_then(|all| all.requests.as_ref());
    let given = match side {
        "limits" => limits.and_then(|map| map.get(name)),
        "requests" => requests.and_then(|map| map.get(name)),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    // A container without a limit may use what the node has.
    let fallback = match (side, name) {
        ("requests", _) => 0,
        (_, "cpu") => allocatable.cpu_millis,
        (_, "memory") => allocatable.memory_bytes.saturating_mul(1000),
        (_, "ephemeral-storage") => allocatable.storage_bytes.saturating_mul(1000),
        _ => 0,
    };
    let amount = given.map_or(fallback, quantity::milli_value);
    let one = Quantity("1".into());
    let divisor = selector
        .divisor
        .as_ref()
        .filter(|divisor| quantity::milli_value(divisor) > 0);
    Ok(quantity::divide(amount, divisor.unwrap_or(&one)).to_string())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "web", "namespace": "default", "uid": "u", "labels": { "app": "a\"b", "tier": "x" } },
            "spec": { "containers": [{
                "name": "c", "resources": { "limits": { "memory": "64Mi" }, "requests": { "cpu": "250m" } },
            }] },
        }))
        .expect("a pod")
    }

    const ALLOCATABLE: Capacity = Capacity {
        cpu_millis: 4000,
        memory_bytes: 8 << 30,
        storage_bytes: 0,
        pods: 110,
    };

    fn field_of(path: &str) -> Result<String, String> {
        let selector = ObjectFieldSelector {
            field_path: path.into(),
            ..Default::default()
        };
        let place = Place {
            node: "n1",
            host_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            pod_ip: Some(IpAddr::V4(Ipv4Addr::new(10, 244, 0, 9))),
            allocatable: ALLOCATABLE,
        };
        field(&pod(), &selector, &place)
    }

    #[test]
    fn fields_of_the_pod_are_found_by_path() {
        assert_eq!(field_of("metadata.name").as_deref(), Ok("web"));
        assert_eq!(field_of("metadata.labels['tier']").as_deref(), Ok("x"));
        assert_eq!(field_of("metadata.labels['none']").as_deref(), Ok(""));
        assert_eq!(field_of("metadata.labels").as_deref(), Ok("app=\"a\\\"b\"\ntier=\"x\""));
        assert_eq!(field_of("status.podIP").as_deref(), Ok("10.244.0.9"));
        assert!(field_of("spec.containers").is_err());
    }

    #[test]
    fn resources_are_divided_and_missing_limits_are_the_nodes() {
        let pod = pod();
        let container = pod.spec.as_ref().map(|spec| &spec.containers[0]);
        let value = |resource: &str, divisor: Option<&str>| {
            let selector = ResourceFieldSelector {
                resource: resource.into(),
                divisor: divisor.map(|text| Quantity(text.into())),
                ..Default::default()
            };
            super::resource(&pod, container, &selector, ALLOCATABLE).expect("a value")
        };
        assert_eq!(value("limits.memory", None), "67108864");
        assert_eq!(value("limits.memory", Some("1Mi")), "64");
        assert_eq!(value("requests.cpu", None), "1");
        assert_eq!(value("requests.cpu", Some("1m")), "250");
        assert_eq!(value("limits.cpu", None), "4");
        assert_eq!(value("requests.memory", Some("0")), "0");
    }
}
