use serde_json::{Value, json};

use super::*;
use crate::controller::Controller;
use crate::write::{Plan, Verb};
use jiff::Timestamp;

fn service(spec: Value) -> Service {
    let mut spec = spec;
    spec["selector"] = json!({ "app": "web" });
    serde_json::from_value(json!({
        "metadata": { "namespace": "default", "name": "web", "uid": "s", "labels": { "team": "a" } }, "spec": spec,
    }))
    .unwrap()
}

fn pod(name: &str, ip: &str, ready: bool) -> Value {
    json!({
        "metadata": { "namespace": "default", "name": name, "uid": name, "labels": { "app": "web" } },
        "spec": { "nodeName": "n", "containers": [{ "name": "c", "ports": [{ "name": "http", "containerPort": 8080 }] }] },
        "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }],
            "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
    })
}

fn caches(service: Service, pods: Vec<Value>) -> Caches {
    let caches = Caches::new();
    caches.services.apply(service);
    pods.into_iter()
        .for_each(|pod| caches.pods.apply(serde_json::from_value(pod).unwrap()));
    caches
}

fn key() -> Key {
    Key::new("default", "web")
}

fn sync(controller: &impl Controller, caches: &Caches) -> Plan {
    controller.sync(&key(), caches, Timestamp::UNIX_EPOCH)
}

#[test]
fn readiness_decides_where_traffic_goes() {
    let ports = json!({ "ports": [{ "port": 80, "targetPort": "http" }] });
    let mut leaving = pod("leaving", "10.0.0.3", true);
    leaving["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:00Z");
    let mut finished = pod("finished", "10.0.0.4", false);
    finished["status"]["phase"] = json!("Succeeded");
    let pods = vec![
        pod("ready", "10.0.0.1", true),
        pod("unready", "10.0.0.2", false),
        leaving,
        finished,
    ];
    let world = caches(service(ports.clone()), pods.clone());
    let plan = sync(&legacy::LegacyEndpoints, &world);
    let subset = &plan.writes[0].body["subsets"][0];
    assert_eq!(subset["addresses"][0]["ip"], "10.0.0.1");
    assert_eq!(subset["addresses"][0]["targetRef"]["name"], "ready");
    assert_eq!(subset["notReadyAddresses"].as_array().map(Vec::len), Some(1));
    assert_eq!(subset["ports"], json!([{ "port": 8080, "protocol": "TCP" }]));
    assert_eq!(plan.writes[0].body["metadata"]["labels"]["team"], "a");

    let plan = sync(&slice::EndpointSlices::default(), &world);
    let created = &plan.batch[0].body;
    assert_eq!(created["metadata"]["generateName"], "web-");
    assert_eq!(created["metadata"]["labels"]["kubernetes.io/service-name"], "web");
    let states: Vec<_> = created["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["conditions"].clone())
        .collect();
    let state = |ready: bool, serving: bool, terminating: bool| json!({ "ready": ready, "serving": serving, "terminating": terminating });
    assert_eq!(
        states,
        [
            state(true, true, false),
            state(false, false, false),
            state(false, true, true)
        ]
    );

    let mut all = ports;
    all["publishNotReadyAddresses"] = json!(true);
    let plan = sync(&legacy::LegacyEndpoints, &caches(service(all), pods));
    assert_eq!(
        plan.writes[0].body["subsets"][0]["addresses"].as_array().map(Vec::len),
        Some(2)
    );
}

#[test]
fn slices_change_as_little_as_possible() {
    let ports = json!({ "ports": [{ "port": 80, "targetPort": 8080 }] });
    let world = caches(service(ports), vec![pod("a", "10.0.0.1", true)]);
    let slices = slice::EndpointSlices::default();
    let mut stored = sync(&slices, &world).batch.remove(0).body;
    stored["metadata"]["name"] = json!("web-abc");
    stored["metadata"]["uid"] = json!("slice");
    world.endpoint_slices.apply(serde_json::from_value(stored).unwrap());
    let plan = sync(&slices, &world);
    assert!(plan.writes.is_empty() && plan.batch.is_empty(), "nothing has changed");
    world
        .pods
        .apply(serde_json::from_value(pod("b", "10.0.0.2", true)).unwrap());
    let plan = sync(&slices, &world);
    assert_eq!((plan.writes.len(), plan.batch.len()), (1, 0));
    assert_eq!(plan.writes[0].body["endpoints"].as_array().map(Vec::len), Some(2));
    for name in ["a", "b"] {
        world.pods.delete(&serde_json::from_value(pod(name, "", true)).unwrap());
    }
    let plan = sync(&slices, &world);
    let verbs: Vec<Verb> = plan.writes.iter().chain(&plan.batch).map(|write| write.verb).collect();
    assert_eq!(
        verbs,
        [Verb::Create, Verb::Delete],
        "an empty one takes the place of the one with ports"
    );
}

#[test]
fn many_endpoints_fill_several_slices() {
    let pods = (0..250)
        .map(|i| pod(&format!("p{i}"), &format!("10.0.{}.{}", i / 200, i % 200), true))
        .collect();
    let plan = sync(
        &slice::EndpointSlices::default(),
        &caches(service(json!({ "ports": [{ "port": 80 }] })), pods),
    );
    let sizes: Vec<_> = plan
        .batch
        .iter()
        .map(|w| w.body["endpoints"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [100, 100, 50]);
}

#[test]
fn endpoints_made_by_hand_are_mirrored_and_left_alone() {
    let mut manual = service(json!({ "ports": [{ "port": 80 }] }));
    manual.spec.as_mut().unwrap().selector = None;
    let world = caches(manual, vec![pod("a", "10.0.0.1", true)]);
    let endpoints = json!({
        "metadata": { "namespace": "default", "name": "web", "uid": "e" },
        "subsets": [{ "addresses": [{ "ip": "192.0.2.1" }], "ports": [{ "port": 443, "protocol": "TCP" }] }],
    });
    world.endpoints.apply(serde_json::from_value(endpoints).unwrap());
    let plan = sync(&legacy::LegacyEndpoints, &world);
    assert!(plan.writes.is_empty());
    let plan = sync(&mirror::Mirror::default(), &world);
    assert_eq!(plan.batch[0].body["endpoints"][0]["addresses"], json!(["192.0.2.1"]));
    assert_eq!(plan.batch[0].body["ports"][0]["port"], 443);
    let plan = sync(&slice::EndpointSlices::default(), &world);
    assert!(plan.batch.is_empty());
}

#[test]
fn pods_with_different_ports_of_the_same_name_are_kept_apart() {
    let mut other = pod("other", "10.0.0.2", true);
    other["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(9090);
    let ports = json!({ "ports": [{ "name": "web", "port": 80, "targetPort": "http" }] });
    let world = caches(service(ports), vec![pod("a", "10.0.0.1", true), other]);
    let subsets = sync(&legacy::LegacyEndpoints, &world).writes.remove(0).body["subsets"].clone();
    let ports: Vec<_> = subsets
        .as_array()
        .unwrap()
        .iter()
        .map(|subset| subset["ports"][0]["port"].clone())
        .collect();
    assert_eq!(ports, [8080, 9090]);
    assert_eq!(sync(&slice::EndpointSlices::default(), &world).batch.len(), 2);
}
