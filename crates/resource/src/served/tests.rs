//! What must hold for every kind.

use crate::admission::UserInfo;
use crate::admission::{self, Lookup, Operation};
use crate::allocate::{Pool, Used};
use crate::resource::tests::BUILT_IN;
use crate::selector::{FieldSelector, LabelSelector};
use crate::{ResourceInfo, bind, scale};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;

#[test]
fn every_row_is_consistent() {
    let mut seen = HashSet::new();
    for r in BUILT_IN.iter() {
        assert!(seen.insert((&r.group, &r.version, &r.plural)), "{r:?} is there twice");
        assert!(BUILT_IN.find(&r.group, &r.version, &r.plural) == Some(r), "{r:?}");
        assert!(BUILT_IN.by_kind(&r.group, &r.version, &r.kind) == Some(r), "{r:?}");
        assert_eq!(r.singular, r.kind.to_lowercase());
        assert!(r.verbs.is_sorted(), "{r:?}: discovery lists verbs in order");
        assert!(r.subresources.iter().map(|s| s.name).is_sorted(), "{r:?}");
        assert!(r.subresources.iter().all(|s| s.verbs.is_sorted()), "{r:?}");
        assert_eq!(r.stored(), r.has_verb("delete"), "{r:?}");
    }
}

#[test]
fn short_names_mean_one_kind() {
    for name in BUILT_IN.iter().flat_map(|r| &r.short_names) {
        let kinds: HashSet<&str> = BUILT_IN
            .iter()
            .filter(|r| r.short_names.contains(name))
            .map(|r| r.kind.as_str())
            .collect();
        assert_eq!(kinds.len(), 1, "{name}");
    }
}

#[test]
fn get_all_shows_the_workloads() {
    let all: Vec<&str> = BUILT_IN
        .iter()
        .filter(|r| r.categories.contains(&"all".to_owned()))
        .map(|r| r.plural.as_str())
        .collect();
    assert_eq!(
        all,
        [
            "pods",
            "replicationcontrollers",
            "services",
            "daemonsets",
            "deployments",
            "replicasets",
            "statefulsets",
            "horizontalpodautoscalers",
            "horizontalpodautoscalers",
            "cronjobs",
            "jobs"
        ]
    );
}

/// An object with fields of all kinds, so that every check finds something to look at.
fn everything() -> Value {
    let container = json!({
        "name": "c", "image": "i", "command": ["x"],
        "ports": [{"containerPort": 80, "hostPort": 80, "name": "http"}],
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}}],
        "envFrom": [{"secretRef": {"name": "s"}}],
        "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a"}],
        "livenessProbe": {"httpGet": {"port": "http"}, "grpc": {"port": 1}},
        "lifecycle": {"preStop": {"exec": {"command": ["x"]}}},
        "resources": {"limits": {"cpu": "1", "a/b": 1}, "requests": {"cpu": "1"}},
        "securityContext": {"runAsUser": 1, "capabilities": {"add": ["X"]}},
    });
    let state = json!({
        "name": "c", "restartCount": 2, "ready": true, "started": true,
        "state": {"terminated": {"exitCode": 1}, "waiting": {"reason": "X"}},
        "lastState": {"terminated": {"finishedAt": "2024-01-01T00:00:00Z"}},
    });
    let spec = json!({
        "containers": [container], "initContainers": [container], "ephemeralContainers": [container],
        "volumes": [
            {"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "p", "mode": 1}]}},
            {"name": "w", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}},
        ],
        "tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": 1}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}]}}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "k", "whenUnsatisfiable": "DoNotSchedule"}],
        "readinessGates": [{"conditionType": "a"}], "schedulingGates": [{"name": "g"}],
        "hostNetwork": true, "nodeName": "n", "dnsConfig": {"nameservers": ["1.1.1.1"]}, "activeDeadlineSeconds": 5,
        "replicas": 1, "selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "10%"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}},
        "type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "externalIPs": ["1.1.1.1"],
        "ports": [{"port": 80, "nodePort": 30000, "name": "a", "targetPort": "http"}],
        "taints": [{"key": "k", "effect": "NoSchedule"}], "finalizers": ["kubernetes"],
        "leaseDurationSeconds": 1, "leaseTransitions": 1,
    });
    json!({
        "metadata": {
            "name": "x", "namespace": "ns", "generateName": "x-", "generation": 1, "uid": "u",
            "labels": {"node-role.kubernetes.io/a": "", "a": "b"}, "annotations": {"a": "b"}, "finalizers": ["a/b"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}],
            "creationTimestamp": "2024-01-01T00:00:00Z", "deletionTimestamp": "2024-01-01T00:00:00Z",
        },
        "spec": spec,
        "status": {
            "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "podIPs": [{"ip": "1.1.1.1"}],
            "containerStatuses": [state], "initContainerStatuses": [state], "replicas": 1,
            "addresses": [{"type": "InternalIP", "address": "1.1.1.1"}], "capacity": {"cpu": "1"}, "nodeInfo": {"osImage": "x"},
            "loadBalancer": {"ingress": [{"ip": "1.1.1.1"}]},
        },
        "data": {"a": "YQ=="}, "binaryData": {"b": "YQ=="}, "stringData": {"c": "d"}, "immutable": true, "type": "Opaque",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "ns"}, "series": {"count": 1, "lastObservedTime": "x"},
        "source": {"component": "c"}, "eventTime": "2024-01-01T00:00:00Z", "count": 1, "message": "m",
        "subsets": [{"addresses": [{"ip": "1.1.1.1"}], "ports": [{"port": 80}]}],
        "endpoints": [{"addresses": ["1.1.1.1"]}], "ports": [{"port": 80}], "addressType": "IPv4",
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
        "roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}],
        "value": 1, "globalDefault": true, "secrets": [{"name": "s"}], "target": {"kind": "Node", "name": "n"},
    })
}

/// Pointers to every value inside of `value`.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                places(child, &format!("{at}/{key}"), found);
            }
        }
        Value::Array(list) => {
            for (i, child) in list.iter().enumerate() {
                places(child, &format!("{at}/{i}"), found);
            }
        }
        _ => {}
    }
}

/// Any object asked for is there, and is the one under test.
struct Mirror<'a>(&'a Value);

impl Lookup for Mirror<'_> {
    fn get(&self, _group: &str, _plural: &str, _namespace: &str, _name: &str) -> Option<Arc<Value>> {
        Some(Arc::new(self.0.clone()))
    }

    fn list(&self, _group: &str, _plural: &str, _namespace: &str) -> Vec<Arc<Value>> {
        vec![Arc::new(self.0.clone())]
    }

    fn allowed(&self, _user: &UserInfo, _verb: &str, _group: &str, _plural: &str, _name: &str) -> bool {
        true
    }
}

/// Asks everything that can be asked of an object.
fn exercise(resource: &Arc<ResourceInfo>, object: &Value, other: &Value) {
    let now = Timestamp::UNIX_EPOCH;
    let mut made = object.clone();
    resource.to_storage(&mut made);
    resource.default(&mut made);
    let once = made.clone();
    resource.default(&mut made);
    assert_eq!(made, once, "{resource:?}: defaulting twice is defaulting once");
    resource.prepare_create(&mut made, "ns");
    resource.identify(&mut made, now);
    let kubelet = admission::UserInfo {
        name: "system:node:n".into(),
        groups: vec!["system:nodes".into()],
        ..admission::UserInfo::default()
    };
    let request = admission::Attributes {
        resource,
        subresource: "",
        operation: Operation::Create,
        namespace: "ns",
        name: "x",
        user: &admission::UserInfo::default(),
        dry_run: false,
        options: &Value::Null,
    };
    // Refusals are as good as admissions here: neither may panic.
    let strict = admission::PodSecurity {
        enforce: admission::Level::Restricted,
        ..admission::PodSecurity::default()
    };
    let notes = &mut admission::Notes::default();
    let _ = admission::mutate(&request, &mut made, None, &Mirror(object));
    let _ = admission::validate(&request, &made, None, &Mirror(object), &strict, notes);
    let _ = admission::validate(&request, &made, Some(other), &Mirror(object), &strict, notes);
    let asked = admission::Attributes {
        user: &kubelet,
        ..request
    };
    let _ = admission::mutate(&asked, &mut made.clone(), Some(other), &Mirror(object));
    let _ = resource.validate_create(&made);
    let row = resource.table(&[&made], now);
    assert_eq!(row.rows[0].cells.len(), row.columns.len(), "{resource:?}");
    let changing = resource.subresources.iter().filter(|s| s.verbs.contains(&"update"));
    for name in changing.map(|s| Some(s.name)).chain([None]) {
        let mut new = object.clone();
        resource.prepare_update(&mut new, other, name);
        let _ = resource.validate_update(&new, other, name);
    }
    let _ = resource.validate_update(other, object, None);
    let _ = resource.fields(object);
    resource.mark_terminating(&mut made);
    resource.is_held(&made);
    resource.grace_period(&made, None);
    resource.from_storage(&mut made);
    let mut service = object.clone();
    let _ = Pool::default().assign(&mut service, Some(other), &Used::by([object]));
    let mut scaled = object.clone();
    let _ = scale::write(&mut scaled, &scale::read(object));
    let _ = bind(&mut scaled, object, now);
    let _ = LabelSelector::from_object(&object["spec"]["selector"]).map(|s| s.to_string());
}

#[test]
fn no_value_in_any_place_makes_a_kind_panic() {
    let good = everything();
    let mut all = Vec::new();
    places(&good, "", &mut all);
    assert!(all.len() > 300);
    let values = [
        json!(null),
        json!(-1),
        json!(1e300),
        json!(""),
        json!("ä/..="),
        json!([]),
        json!({}),
        json!([null, [], {}]),
        json!({"a": {"b": null}}),
        json!(true),
    ];
    let resources: Vec<&Arc<ResourceInfo>> = BUILT_IN.iter().filter(|r| r.stored()).collect();
    for (i, place) in all.iter().enumerate() {
        // Not every value in every place of every kind: a few of each, taken in turn.
        for j in 0..2 {
            let mut object = good.clone();
            if let Some(slot) = object.pointer_mut(place) {
                *slot = values[(i * 2 + j) % values.len()].clone();
            }
            exercise(resources[(i + j) % resources.len()], &object, &good);
            if place.starts_with("/spec/") {
                let plural = ["pods", "services", "deployments"][(i + j) % 3];
                let resource = resources.iter().find(|r| r.plural == plural).expect("served");
                exercise(resource, &object, &good);
            }
        }
    }
}

#[test]
fn every_field_of_a_kind_can_be_selected_by() {
    let good = everything();
    for resource in BUILT_IN.iter().filter(|r| r.stored()) {
        let found = resource.fields(&good);
        for label in resource.fields(&Value::Null).labels() {
            assert!(found.get(label).is_some(), "{resource:?} {label}");
            assert!(
                FieldSelector::parse(resource, &format!("{label}=x")).is_ok(),
                "{resource:?} {label}"
            );
        }
    }
}
