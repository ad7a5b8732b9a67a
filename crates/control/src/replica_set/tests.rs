use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::ReplicaSetSpec;
use k8s_openapi::api::core::v1::{PodCondition, PodSpec, PodStatus, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::*;
use crate::write::Verb;

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_string(), "web".to_string())])
}

fn set(replicas: i32) -> ReplicaSet {
    ReplicaSet {
        metadata: ObjectMeta {
            namespace: Some("default".into()),
            name: Some("web".into()),
            uid: Some("set-uid".into()),
            generation: Some(3),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(replicas),
            selector: LabelSelector {
                match_labels: Some(labels()),
                ..LabelSelector::default()
            },
            template: Some(PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels()),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec::default()),
            }),
            ..ReplicaSetSpec::default()
        },
        status: None,
    }
}

fn owned(name: &str, phase: &str, ready_for: Option<i64>) -> Pod {
    let mut pod = pod::from_template(set(0).spec.template.as_ref().unwrap(), &set(0));
    pod.metadata.name = Some(name.into());
    pod.metadata.uid = Some(format!("{name}-uid"));
    pod.spec.as_mut().unwrap().node_name = Some("node".into());
    let ready = PodCondition {
        type_: "Ready".into(),
        status: if ready_for.is_some() { "True" } else { "False" }.into(),
        last_transition_time: ready_for.map(|ago| Time(NOW - jiff::SignedDuration::from_secs(ago))),
        ..PodCondition::default()
    };
    pod.status = Some(PodStatus {
        phase: Some(phase.into()),
        conditions: Some(vec![ready]),
        ..PodStatus::default()
    });
    pod
}

fn caches(set: ReplicaSet, pods: Vec<Pod>) -> Caches {
    let caches = Caches::new();
    caches.replica_sets.apply(set);
    pods.into_iter().for_each(|pod| caches.pods.apply(pod));
    caches
}

fn key() -> Key {
    Key::new("default", "web")
}

/// The plan in short, with the status that is written when the batch has gone well.
fn run(caches: &Caches) -> (Vec<String>, Option<ReplicaSetStatus>) {
    let plan = Replicas::<ReplicaSet>::default().sync(&key(), caches, NOW);
    let brief = |write: &Write| format!("{:?} {}", write.verb, write.path.as_str().rsplit('/').next().unwrap());
    let writes = plan.writes.iter().chain(&plan.batch).map(brief).collect();
    let status = plan.then.and_then(|then| then(None).pop());
    let status = status.map(|write| serde_json::from_value(write.body["status"].clone()).unwrap());
    (writes, status)
}

#[test]
fn creates_what_is_missing_from_the_template() {
    let caches = caches(set(3), vec![owned("a", "Running", Some(5))]);
    let plan = Replicas::<ReplicaSet>::default().sync(&key(), &caches, NOW);
    assert_eq!(plan.batch.len(), 2);
    let create = &plan.batch[0];
    assert_eq!(
        (create.verb, create.path.as_str()),
        (Verb::Create, "/api/v1/namespaces/default/pods")
    );
    assert_eq!(create.body["metadata"]["generateName"], "web-");
    assert_eq!(create.body["metadata"]["labels"]["app"], "web");
    assert_eq!(create.body["metadata"]["ownerReferences"][0]["uid"], "set-uid");
    assert_eq!(create.body["metadata"]["ownerReferences"][0]["controller"], true);
    let (_, status) = run(&caches);
    let status = status.unwrap();
    assert_eq!(
        (status.replicas, status.ready_replicas, status.observed_generation),
        (1, Some(1), Some(3))
    );
}

#[test]
fn waits_until_its_own_writes_are_visible() {
    let caches = Arc::new(caches(set(2), vec![]));
    let sets = Arc::new(Replicas::<ReplicaSet>::default());
    let mut watches = Watches::new(caches.clone());
    sets.watches(&mut watches);
    sets.expectations.expect(&key(), 2, []);
    assert!(sets.sync(&key(), &caches, NOW).batch.is_empty());
    caches.pods.apply(owned("a", "Pending", None));
    assert!(sets.sync(&key(), &caches, NOW).batch.is_empty(), "one of two seen");
    caches.pods.apply(owned("b", "Pending", None));
    caches.pods.delete(&owned("a", "Pending", None));
    assert_eq!(
        sets.sync(&key(), &caches, NOW).batch.len(),
        1,
        "all seen: the deleted one is replaced"
    );
}

#[test]
fn deletes_the_pods_whose_loss_hurts_least() {
    let mut dear = owned("dear", "Running", None);
    dear.metadata.annotations = Some(BTreeMap::from([(
        "controller.kubernetes.io/pod-deletion-cost".to_string(),
        "10".to_string(),
    )]));
    let mut unassigned = owned("unassigned", "Pending", None);
    unassigned.spec.as_mut().unwrap().node_name = None;
    let pods = vec![
        owned("old", "Running", Some(100_000)),
        owned("young", "Running", Some(1)),
        dear,
        owned("starting", "Running", None),
        owned("pending", "Pending", None),
        unassigned,
    ];
    let order = ["unassigned", "pending", "starting", "dear", "young", "old"];
    for keep in 0..order.len() {
        let (mut writes, _) = run(&caches(set(keep as i32), pods.clone()));
        let mut expected: Vec<_> = order[..order.len() - keep]
            .iter()
            .map(|name| format!("Delete {name}"))
            .collect();
        writes.sort();
        expected.sort();
        assert_eq!(writes, expected, "keeping {keep}");
    }
}

#[test]
fn adopts_matching_orphans_and_releases_what_no_longer_matches() {
    let mut orphan = owned("orphan", "Running", Some(5));
    orphan.metadata.owner_references = None;
    let mut stray = owned("stray", "Running", Some(5));
    stray.metadata.labels = None;
    let mut finished = owned("finished", "Succeeded", None);
    finished.metadata.owner_references = None;
    let (writes, status) = run(&caches(set(1), vec![orphan, stray, finished]));
    assert_eq!(writes, ["Strategic stray", "Strategic orphan"]);
    assert_eq!(status.unwrap().replicas, 1);
}

#[test]
fn a_refused_creation_shows_as_a_condition_until_it_works() {
    let caches = caches(set(1), vec![]);
    let plan = Replicas::<ReplicaSet>::default().sync(&key(), &caches, NOW);
    let failure = Failure::other("exceeded quota");
    let written = plan.then.unwrap()(Some(&failure)).pop().unwrap().body;
    let condition = &written["status"]["conditions"][0];
    assert_eq!(condition["reason"], "FailedCreate");
    assert_eq!(condition["message"], "exceeded quota");
    caches.replica_sets.apply(serde_json::from_value(written).unwrap());
    assert_eq!(run(&caches).1.unwrap().conditions, None);
}

#[test]
fn a_ready_pod_is_available_only_after_min_ready_seconds() {
    let mut waiting = set(1);
    waiting.spec.min_ready_seconds = Some(10);
    let caches = caches(waiting, vec![owned("a", "Running", Some(4))]);
    let plan = Replicas::<ReplicaSet>::default().sync(&key(), &caches, NOW);
    assert_eq!(plan.again, Some(Duration::from_secs(6)));
    let status = run(&caches).1.unwrap();
    assert_eq!((status.ready_replicas, status.available_replicas), (Some(1), None));
}

#[test]
fn a_set_being_deleted_neither_creates_nor_adopts() {
    let mut dying = set(2);
    dying.metadata.deletion_timestamp = Some(Time(NOW));
    let mut orphan = owned("orphan", "Running", Some(5));
    orphan.metadata.owner_references = None;
    assert!(run(&caches(dying, vec![orphan])).0.is_empty());
}
