use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use super::binder::VolumeBinder;
use super::ephemeral::EphemeralVolumes;
use super::protection::{ClaimProtection, VolumeProtection};
use super::provisioner::LocalProvisioner;
use crate::caches::Caches;
use crate::controller::Controller;
use crate::key::Key;
use crate::write::Plan;

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

fn volume(name: &str, more: Value) -> PersistentVolume {
    let mut volume = json!({
        "metadata": { "name": name, "uid": name },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" }, "hostPath": { "path": "/data" },
            "persistentVolumeReclaimPolicy": "Retain",
        },
        "status": { "phase": "Available" },
    });
    merge(&mut volume, more);
    serde_json::from_value(volume).unwrap()
}

fn claim(more: Value) -> PersistentVolumeClaim {
    let mut claim = json!({
        "metadata": { "name": "data", "namespace": "default", "uid": "u" },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "resources": { "requests": { "storage": "1Gi" } },
        },
        "status": { "phase": "Pending" },
    });
    merge(&mut claim, more);
    serde_json::from_value(claim).unwrap()
}

fn caches(volumes: Vec<PersistentVolume>, claims: Vec<PersistentVolumeClaim>) -> Caches {
    let caches = Caches::new();
    volumes.into_iter().for_each(|volume| caches.volumes.apply(volume));
    claims.into_iter().for_each(|claim| caches.claims.apply(claim));
    caches
}

fn class(caches: &Caches, name: &str, more: Value) {
    let mut class =
        json!({ "metadata": { "name": name }, "provisioner": "knarr.dev/local", "reclaimPolicy": "Delete" });
    merge(&mut class, more);
    caches.storage_classes.apply(serde_json::from_value(class).unwrap());
}

/// The writes by verb and object, and the events by reason and message.
fn brief(plan: &Plan) -> Vec<String> {
    let tail = |path: &str| path.rsplit("/v1/").next().unwrap_or_default().to_owned();
    let writes = plan
        .writes
        .iter()
        .map(|write| format!("{:?} {}", write.verb, tail(write.path.as_str())));
    let notes = plan
        .notes
        .iter()
        .map(|note| format!("{}: {}", note.reason, note.message));
    writes.chain(notes).collect()
}

fn of_claim(caches: &Caches) -> Vec<String> {
    brief(&VolumeBinder.sync(&Key::new("default", "data"), caches, NOW))
}

fn of_volume(caches: &Caches, name: &str) -> Vec<String> {
    brief(&VolumeBinder.sync(&Key::new("", name), caches, NOW))
}

fn wants(size: &str) -> PersistentVolumeClaim {
    claim(json!({ "spec": { "resources": { "requests": { "storage": size } } } }))
}

#[test]
fn a_claim_gets_the_smallest_volume_that_suits_it() {
    let big = volume("big", json!({ "spec": { "capacity": { "storage": "10Gi" } } }));
    let small = volume("small", json!({}));
    let tiny = volume("tiny", json!({ "spec": { "capacity": { "storage": "1Mi" } } }));
    let classed = volume("classed", json!({ "spec": { "storageClassName": "fast" } }));
    let device = volume("device", json!({ "spec": { "volumeMode": "Block" } }));
    let read = volume("read", json!({ "spec": { "accessModes": ["ReadOnlyMany"] } }));
    let taken = volume(
        "taken",
        json!({ "spec": { "claimRef": { "namespace": "x", "name": "y" } } }),
    );
    let released = volume("released", json!({ "status": { "phase": "Released" } }));
    let promised =
        json!({ "spec": { "capacity": { "storage": "5Gi" }, "claimRef": { "namespace": "default", "name": "data" } } });
    let unfit = vec![tiny, classed, device, read, taken, released];
    let none = ["FailedBinding: no persistent volumes available for this claim and no storage class is set"];
    assert_eq!(of_claim(&caches(unfit.clone(), vec![claim(json!({}))])), none);
    let all = [unfit, vec![big, small]].concat();
    let bound = |name: &str| {
        vec![
            format!("Replace persistentvolumes/{name}"),
            "Replace namespaces/default/persistentvolumeclaims/data".to_owned(),
        ]
    };
    assert_eq!(of_claim(&caches(all.clone(), vec![claim(json!({}))])), bound("small"));
    assert_eq!(of_claim(&caches(all.clone(), vec![wants("2Gi")])), bound("big"));
    let with_promise = [all.clone(), vec![volume("promised", promised)]].concat();
    assert_eq!(
        of_claim(&caches(with_promise, vec![claim(json!({}))])),
        bound("promised")
    );
    let selecting = claim(json!({ "spec": { "selector": { "matchLabels": { "tier": "gold" } } } }));
    assert_eq!(of_claim(&caches(all.clone(), vec![selecting.clone()])), none);
    let gold = volume("gold", json!({ "metadata": { "labels": { "tier": "gold" } } }));
    assert_eq!(
        of_claim(&caches([all, vec![gold]].concat(), vec![selecting])),
        bound("gold")
    );
}

#[test]
fn a_claim_that_names_its_volume_is_told_why_it_cannot_have_it() {
    let named = |more: Value| {
        let mut base = json!({ "spec": { "volumeName": "v" } });
        merge(&mut base, more);
        claim(base)
    };
    for (volume_more, claim_more, expected) in [
        (json!({}), json!({}), "Replace persistentvolumes/v"),
        (
            json!({ "spec": { "capacity": { "storage": "1Mi" } } }),
            json!({}),
            "VolumeMismatch: Cannot bind to requested volume \"v\": requested PV is too small",
        ),
        (
            json!({}),
            json!({ "spec": { "accessModes": ["ReadWriteMany"] } }),
            "VolumeMismatch: Cannot bind to requested volume \"v\": incompatible accessMode",
        ),
        (
            json!({}),
            json!({ "spec": { "storageClassName": "fast" } }),
            "VolumeMismatch: Cannot bind to requested volume \"v\": storageClassName does not match",
        ),
        (
            json!({ "spec": { "claimRef": { "namespace": "x", "name": "y", "uid": "z" } } }),
            json!({}),
            "FailedBinding: volume \"v\" already bound to a different claim.",
        ),
    ] {
        let found = of_claim(&caches(vec![volume("v", volume_more)], vec![named(claim_more)]));
        assert_eq!(found[0], expected);
    }
}

#[test]
fn classes_make_volumes_at_once_or_for_the_first_pod() {
    let default = json!({ "metadata": { "annotations": { "storageclass.kubernetes.io/is-default-class": "true" } } });
    let caches_of = |spec: Value, class_more: Value| {
        let mut claim = claim(json!({}));
        claim.spec = serde_json::from_value(spec).unwrap();
        let caches = caches(vec![], vec![claim]);
        class(&caches, "standard", class_more);
        caches
    };
    let classless = caches_of(json!({ "accessModes": ["ReadWriteOnce"] }), default);
    let plan = VolumeBinder.sync(&Key::new("default", "data"), &classless, NOW);
    assert_eq!(plan.writes[0].body["spec"]["storageClassName"], "standard");

    let standard = json!({ "accessModes": ["ReadWriteOnce"], "storageClassName": "standard" });
    let immediate = caches_of(standard.clone(), json!({}));
    let plan = VolumeBinder.sync(&Key::new("default", "data"), &immediate, NOW);
    let asked = &plan.writes[0].body["metadata"]["annotations"];
    assert_eq!(asked["volume.kubernetes.io/storage-provisioner"], "knarr.dev/local");
    let provisioner = LocalProvisioner { directory: None };
    let provisioned = |caches: &Caches| provisioner.sync(&Key::new("default", "data"), caches, NOW);
    assert!(provisioned(&immediate).writes.is_empty(), "it was not asked yet");
    immediate
        .claims
        .apply(serde_json::from_value(plan.writes[0].body.clone()).unwrap());
    assert!(of_claim(&immediate)[0].starts_with("ExternalProvisioning: Waiting for a volume to be created either"));
    let plan = provisioned(&immediate);
    let made = &plan.writes[0].body;
    assert_eq!(made["metadata"]["name"], "pvc-u");
    assert_eq!(made["spec"]["claimRef"]["uid"], "u");
    assert_eq!(made["spec"]["persistentVolumeReclaimPolicy"], "Delete");
    assert_eq!(made["spec"]["hostPath"]["path"], "/var/lib/knarr/volumes/pvc-u");

    let late = json!({ "volumeBindingMode": "WaitForFirstConsumer" });
    let waiting = caches_of(standard, late);
    let message = "WaitForFirstConsumer: waiting for first consumer to be created before binding";
    assert_eq!(of_claim(&waiting), [message]);
    let pod = json!({ "metadata": { "name": "p", "namespace": "default" },
        "spec": { "containers": [], "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }] } });
    waiting.pods.apply(serde_json::from_value(pod).unwrap());
    assert_eq!(
        of_claim(&waiting),
        ["WaitForPodScheduled: waiting for pod p to be scheduled"]
    );
}

#[test]
fn what_was_bound_says_so_and_what_is_lost_too() {
    let given = json!({ "spec": { "claimRef": { "namespace": "default", "name": "data", "uid": "u" } } });
    let taken = json!({ "metadata": { "annotations": { "pv.kubernetes.io/bind-completed": "yes" } }, "spec": { "volumeName": "v" } });
    let both = caches(vec![volume("v", given)], vec![claim(taken.clone())]);
    assert_eq!(of_volume(&both, "v"), ["Replace persistentvolumes/v/status"]);
    let plan = VolumeBinder.sync(&Key::new("default", "data"), &both, NOW);
    assert_eq!(
        plan.writes[0].body["status"],
        json!({ "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" } })
    );
    let alone = caches(vec![], vec![claim(taken)]);
    let plan = VolumeBinder.sync(&Key::new("default", "data"), &alone, NOW);
    assert_eq!(plan.writes[0].body["status"]["phase"], "Lost");
    assert_eq!(plan.writes[0].succeeded[0].reason, "ClaimLost");
}

#[test]
fn the_policy_decides_about_a_volume_whose_claim_is_gone() {
    let gone = |policy: &str, phase: &str, more: Value| {
        let mut base = json!({
            "spec": { "claimRef": { "namespace": "default", "name": "old", "uid": "x" }, "persistentVolumeReclaimPolicy": policy },
            "status": { "phase": phase },
        });
        merge(&mut base, more);
        caches(vec![volume("v", base)], vec![])
    };
    let none: [&str; 0] = [];
    let caches = gone("Retain", "Bound", json!({}));
    let plan = VolumeBinder.sync(&Key::new("", "v"), &caches, NOW);
    assert_eq!(plan.writes[0].body["status"]["phase"], "Released");
    assert_eq!(of_volume(&gone("Retain", "Released", json!({})), "v"), none);
    let under_tmp = json!({ "spec": { "hostPath": { "path": "/tmp/x" } } });
    assert_eq!(
        of_volume(&gone("Delete", "Released", under_tmp), "v"),
        ["Delete persistentvolumes/v"]
    );
    let caches = gone("Delete", "Released", json!({}));
    let plan = VolumeBinder.sync(&Key::new("", "v"), &caches, NOW);
    assert_eq!(plan.writes[0].body["status"]["phase"], "Failed");
    assert_eq!(
        plan.writes[0].body["status"]["message"],
        "host_path deleter only supports /tmp/.+ but received provided /data"
    );
    let made = json!({ "metadata": { "annotations": { "pv.kubernetes.io/provisioned-by": "x" } } });
    assert_eq!(
        of_volume(&gone("Delete", "Released", made), "v"),
        none,
        "its provisioner's"
    );

    let caches = gone("Recycle", "Released", json!({}));
    assert_eq!(of_volume(&caches, "v"), ["Create namespaces/kube-system/pods"]);
    let recycler = |phase: &str| {
        let pod = json!({ "metadata": { "name": "recycler-for-v", "namespace": "kube-system", "uid": "r" }, "status": { "phase": phase } });
        serde_json::from_value::<Pod>(pod).unwrap()
    };
    caches.pods.apply(recycler("Running"));
    assert_eq!(of_volume(&caches, "v"), none);
    caches.pods.apply(recycler("Succeeded"));
    assert_eq!(
        of_volume(&caches, "v"),
        [
            "Delete namespaces/kube-system/pods/recycler-for-v",
            "Replace persistentvolumes/v"
        ]
    );
}

#[test]
fn what_is_in_use_stays() {
    let going = json!({ "metadata": { "deletionTimestamp": "2024-01-01T00:00:00Z", "finalizers": ["kubernetes.io/pvc-protection"] } });
    let caches = caches(
        vec![volume(
            "v",
            json!({
                "metadata": { "deletionTimestamp": "2024-01-01T00:00:00Z", "finalizers": ["kubernetes.io/pv-protection"] },
                "status": { "phase": "Bound" },
            }),
        )],
        vec![claim(going)],
    );
    let user = |node: Value| {
        let pod = json!({ "metadata": { "name": "p", "namespace": "default" }, "spec": {
            "nodeName": node, "containers": [],
            "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }] } });
        serde_json::from_value::<Pod>(pod).unwrap()
    };
    let held = |caches: &Caches| brief(&ClaimProtection.sync(&Key::new("default", "data"), caches, NOW)).is_empty();
    caches.pods.apply(user(json!("n")));
    assert!(held(&caches));
    caches.pods.apply(user(Value::Null));
    assert!(!held(&caches), "a pod without a node is not started any more");
    let key = Key::new("", "v");
    assert!(VolumeProtection.sync(&key, &caches, NOW).writes.is_empty());
    let mut free = caches.volumes.get(&key).unwrap().as_ref().clone();
    free.status.get_or_insert_default().phase = Some("Released".into());
    caches.volumes.apply(free);
    let plan = VolumeProtection.sync(&key, &caches, NOW);
    assert_eq!(plan.writes[0].body["metadata"]["finalizers"], json!([]));
}

#[test]
fn an_ephemeral_volume_is_a_claim_that_its_pod_owns() {
    let caches = Caches::new();
    let pod = json!({ "metadata": { "name": "p", "namespace": "default", "uid": "pod" }, "spec": { "containers": [],
        "volumes": [{ "name": "scratch", "ephemeral": { "volumeClaimTemplate": {
            "metadata": { "labels": { "a": "b" } }, "spec": { "accessModes": ["ReadWriteOnce"] } } } }] } });
    caches.pods.apply(serde_json::from_value(pod).unwrap());
    let key = Key::new("default", "p");
    let plan = EphemeralVolumes.sync(&key, &caches, NOW);
    let made = &plan.writes[0].body;
    assert_eq!(made["metadata"]["name"], "p-scratch");
    assert_eq!(made["metadata"]["labels"]["a"], "b");
    assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "pod");
    caches.claims.apply(serde_json::from_value(made.clone()).unwrap());
    assert!(EphemeralVolumes.sync(&key, &caches, NOW).writes.is_empty());
    let other = claim(json!({ "metadata": { "name": "p-scratch" } }));
    caches.claims.apply(other);
    let plan = EphemeralVolumes.sync(&key, &caches, NOW);
    assert_eq!(
        plan.notes[0].message,
        "PVC default/p-scratch was not created for pod default/p (pod is not owner)"
    );
}
