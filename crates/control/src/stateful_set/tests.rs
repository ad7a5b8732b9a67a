use serde_json::{Value, json};

use super::*;
use crate::write::Verb;

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

/// A StatefulSet, its pods and claims, and what happens to them when plans are carried out. There is no kubelet: tests say
/// what becomes of pods.
struct World {
    caches: Caches,
    made: usize,
    said: Vec<String>,
}

impl World {
    fn new(spec: Value) -> Self {
        let mut set = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "set-uid"},
            "spec": {
                "replicas": 3, "serviceName": "nginx", "selector": {"matchLabels": {"app": "web"}},
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "1"}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"a": "b"}}, "spec": {}}],
            },
        });
        for (key, value) in spec.as_object().unwrap() {
            set["spec"][key] = value.clone();
        }
        let world = Self {
            caches: Caches::new(),
            made: 0,
            said: Vec::new(),
        };
        world.caches.stateful_sets.apply(serde_json::from_value(set).unwrap());
        world
    }

    fn key() -> Key {
        Key::new("default", "web")
    }

    fn edit(&self, change: impl FnOnce(&mut StatefulSet)) {
        let mut set = self.caches.stateful_sets.get(&Self::key()).unwrap().as_ref().clone();
        change(&mut set);
        self.caches.stateful_sets.apply(set);
    }

    fn image(&self, image: &str) {
        self.edit(|set| set.spec.template.spec.as_mut().unwrap().containers[0].image = Some(image.into()));
    }

    /// Syncs until there is nothing more to do.
    fn settle(&mut self) {
        for _ in 0..20 {
            let plan = StatefulSets.sync(&Self::key(), &self.caches, NOW);
            let last = plan.then.map(|then| then(None)).unwrap_or_default();
            if plan.writes.is_empty() && plan.batch.is_empty() && last.is_empty() {
                return;
            }
            for write in plan.writes.into_iter().chain(plan.batch).chain(last) {
                self.apply(write);
            }
        }
        panic!("never settles: {:#?}", self.said);
    }

    fn apply(&mut self, write: Write) {
        self.said
            .extend(write.succeeded.iter().map(|note| note.message.clone()));
        let path = write.path.as_str().to_owned();
        let key = Key::new("default", path.rsplit('/').next().unwrap());
        let of = |plural: &str| path.contains(&format!("/{plural}"));
        match write.verb {
            Verb::Delete if of("controllerrevisions") => {
                self.caches
                    .revisions
                    .delete(self.caches.revisions.get(&key).unwrap().as_ref());
            }
            _ if of("controllerrevisions") => self.caches.revisions.apply(serde_json::from_value(write.body).unwrap()),
            Verb::Create | Verb::Replace if of("persistentvolumeclaims") => {
                self.caches.claims.apply(serde_json::from_value(write.body).unwrap());
            }
            Verb::Create => {
                let mut pod: Pod = serde_json::from_value(write.body).unwrap();
                pod.metadata.uid = Some(format!("uid-{}", self.made));
                self.made += 1;
                assert!(
                    self.caches.pods.get(&Key::of(&pod)).is_none(),
                    "never two of one ordinal"
                );
                self.caches.pods.apply(pod);
            }
            Verb::Delete => {
                let mut pod = self.caches.pods.get(&key).unwrap().as_ref().clone();
                pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(NOW));
                self.caches.pods.apply(pod);
            }
            _ => self
                .caches
                .stateful_sets
                .apply(serde_json::from_value(write.body).unwrap()),
        }
    }

    /// All pods run and are ready, and those that are deleted are gone.
    fn run(&mut self) {
        for pod in self.caches.pods.all() {
            let mut pod = pod.as_ref().clone();
            if pod.metadata.deletion_timestamp.is_some() {
                self.caches.pods.delete(&pod);
                continue;
            }
            pod.status = serde_json::from_value(json!({
                "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
            }))
            .unwrap();
            self.caches.pods.apply(pod);
        }
        self.settle();
    }

    /// Pods with their images; those on their way out with a dagger.
    fn pods(&self) -> Vec<String> {
        let show = |pod: &Arc<Pod>| {
            let image = pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
            let mark = if pod.metadata.deletion_timestamp.is_some() {
                "+"
            } else {
                ""
            };
            format!("{}:{image}{mark}", pod.name_any())
        };
        self.caches.pods.all().iter().map(show).collect()
    }

    fn status(&self) -> Value {
        serde_json::to_value(&self.caches.stateful_sets.get(&Self::key()).unwrap().status).unwrap()
    }

    fn claims(&self) -> Vec<String> {
        self.caches.claims.all().iter().map(|claim| claim.name_any()).collect()
    }
}

#[test]
fn pods_come_in_order_and_go_in_reverse_order_and_their_claims_stay() {
    let mut world = World::new(json!({}));
    world.settle();
    assert_eq!(world.pods(), ["web-0:1"], "the next waits until it is ready");
    assert_eq!(
        world.said,
        [
            "Create Claim data-web-0 Pod web-0 in StatefulSet web success",
            "Create Pod web-0 in StatefulSet web successful"
        ]
    );
    world.run();
    world.run();
    world.run();
    assert_eq!(world.pods(), ["web-0:1", "web-1:1", "web-2:1"]);
    let status = world.status();
    assert_eq!(
        (&status["readyReplicas"], &status["currentReplicas"]),
        (&json!(3), &json!(3))
    );
    world.edit(|set| set.spec.replicas = Some(1));
    world.settle();
    assert_eq!(world.pods(), ["web-0:1", "web-1:1", "web-2:1+"], "one at a time");
    world.run();
    assert_eq!(world.pods(), ["web-0:1", "web-1:1+"]);
    world.run();
    assert_eq!(world.claims(), ["data-web-0", "data-web-1", "data-web-2"]);
    let claim = world.caches.claims.all()[0].clone();
    assert_eq!(
        claim.metadata.labels,
        Some([("a".into(), "b".into()), ("app".into(), "web".into())].into())
    );
    assert!(claim.metadata.owner_references.is_none());
}

#[test]
fn a_pod_knows_who_it_is() {
    let mut world = World::new(json!({"ordinals": {"start": 5}}));
    world.settle();
    let pod = world.caches.pods.all()[0].clone();
    assert_eq!(pod.name_any(), "web-5");
    let labels = serde_json::to_value(&pod.metadata.labels).unwrap();
    assert_eq!(labels["statefulset.kubernetes.io/pod-name"], "web-5");
    assert_eq!(labels["apps.kubernetes.io/pod-index"], "5");
    assert_eq!(
        labels["controller-revision-hash"],
        json!(world.caches.revisions.all()[0].name_any())
    );
    let plan = identity::pod(
        &world.caches.stateful_sets.get(&World::key()).unwrap(),
        &Revision {
            name: "r".into(),
            template: PodTemplateSpec {
                spec: Some(Default::default()),
                ..PodTemplateSpec::default()
            },
        },
        7,
    );
    let spec = serde_json::to_value(&plan.spec).unwrap();
    assert_eq!(
        (&spec["hostname"], &spec["subdomain"]),
        (&json!("web-7"), &json!("nginx"))
    );
    assert_eq!(
        spec["volumes"],
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-7"}}])
    );
}

#[test]
fn parallel_sets_do_not_wait() {
    let mut world = World::new(json!({"podManagementPolicy": "Parallel"}));
    world.settle();
    assert_eq!(world.pods().len(), 3);
    world.edit(|set| set.spec.replicas = Some(1));
    world.settle();
    assert_eq!(world.pods(), ["web-0:1", "web-1:1+", "web-2:1+"]);
}

#[test]
fn an_update_goes_from_the_end_to_the_partition() {
    let mut world = World::new(json!({}));
    (0..4).for_each(|_| world.run());
    world.edit(|set| {
        let strategy = set.spec.update_strategy.as_mut().unwrap();
        strategy.rolling_update.as_mut().unwrap().partition = Some(1);
    });
    world.image("2");
    world.settle();
    assert_eq!(world.pods(), ["web-0:1", "web-1:1", "web-2:1+"]);
    world.run();
    assert_eq!(
        world.pods(),
        ["web-0:1", "web-1:1", "web-2:2"],
        "waits until it is ready"
    );
    (0..3).for_each(|_| world.run());
    assert_eq!(world.pods(), ["web-0:1", "web-1:2", "web-2:2"]);
    let status = world.status();
    assert_ne!(status["currentRevision"], status["updateRevision"]);
    assert_eq!(
        (&status["currentReplicas"], &status["updatedReplicas"]),
        (&json!(1), &json!(2))
    );
    // What is below the partition comes back as it was.
    let first = world.caches.pods.get(&Key::new("default", "web-0")).unwrap();
    world.caches.pods.delete(&first);
    world.settle();
    assert_eq!(world.pods()[0], "web-0:1");
    world.edit(|set| {
        set.spec
            .update_strategy
            .as_mut()
            .unwrap()
            .rolling_update
            .as_mut()
            .unwrap()
            .partition = Some(0)
    });
    (0..4).for_each(|_| world.run());
    assert_eq!(world.pods(), ["web-0:2", "web-1:2", "web-2:2"]);
    let status = world.status();
    assert_eq!(status["currentRevision"], status["updateRevision"]);
}

#[test]
fn a_lost_pod_is_not_replaced_until_it_is_known_to_be_gone() {
    let mut world = World::new(json!({}));
    (0..4).for_each(|_| world.run());
    let mut lost = world
        .caches
        .pods
        .get(&Key::new("default", "web-1"))
        .unwrap()
        .as_ref()
        .clone();
    lost.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(NOW));
    world.caches.pods.apply(lost.clone());
    world.settle();
    assert_eq!(world.pods(), ["web-0:1", "web-1:1+", "web-2:1"]);
    world.caches.pods.delete(&lost);
    world.settle();
    assert_eq!(world.pods(), ["web-0:1", "web-1:1", "web-2:1"]);
    assert_eq!(
        world
            .caches
            .pods
            .get(&Key::new("default", "web-1"))
            .unwrap()
            .metadata
            .uid
            .as_deref(),
        Some("uid-3")
    );
}

#[test]
fn claims_go_with_whom_the_policy_says() {
    let policy = json!({"whenDeleted": "Delete", "whenScaled": "Delete"});
    let mut world = World::new(json!({"replicas": 2, "persistentVolumeClaimRetentionPolicy": policy}));
    (0..3).for_each(|_| world.run());
    let owners = |world: &World, claim: &str| -> Vec<String> {
        let claim = world.caches.claims.get(&Key::new("default", claim)).unwrap();
        claim
            .metadata
            .owner_references
            .iter()
            .flatten()
            .map(|owner| owner.kind.clone())
            .collect()
    };
    assert_eq!(owners(&world, "data-web-1"), ["StatefulSet"]);
    world.edit(|set| set.spec.replicas = Some(1));
    world.settle();
    assert_eq!(owners(&world, "data-web-0"), ["StatefulSet"]);
    assert_eq!(owners(&world, "data-web-1"), ["Pod"]);
    // Up again before the garbage collector came: the claim is about to go, so the pod waits for a new one.
    world.run();
    world.edit(|set| set.spec.replicas = Some(2));
    world.settle();
    assert_eq!(world.pods(), ["web-0:1"]);
}
