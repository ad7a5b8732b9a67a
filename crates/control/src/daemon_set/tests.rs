use serde_json::{Value, json};

use super::*;
use crate::write::Verb;

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

/// A DaemonSet, nodes and pods, and what happens to them when plans are carried out. There are no kubelets: tests say what
/// becomes of pods.
struct World {
    caches: Caches,
    sets: DaemonSets,
    now: Timestamp,
    made: usize,
    events: Vec<String>,
}

fn node(name: &str, labels: Value, taints: Value) -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels}, "spec": {"taints": taints},
    }))
    .unwrap()
}

impl World {
    fn new(nodes: usize, strategy: Value) -> Self {
        let world = Self {
            caches: Caches::new(),
            sets: DaemonSets::default(),
            now: NOW,
            made: 0,
            events: Vec::new(),
        };
        for i in 0..nodes {
            world
                .caches
                .nodes
                .apply(node(&format!("n{i}"), json!({"disk": "ssd"}), json!([])));
        }
        let set = json!({
            "metadata": {"name": "d", "namespace": "default", "uid": "set-uid", "annotations": {GENERATION: "1"}},
            "spec": {
                "selector": {"matchLabels": {"app": "d"}}, "updateStrategy": strategy,
                "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "1"}]}},
            },
        });
        world.caches.daemon_sets.apply(serde_json::from_value(set).unwrap());
        world
    }

    fn key() -> Key {
        Key::new("default", "d")
    }

    fn edit(&self, change: impl FnOnce(&mut DaemonSet)) {
        let mut set = self.caches.daemon_sets.get(&Self::key()).unwrap().as_ref().clone();
        change(&mut set);
        self.caches.daemon_sets.apply(set);
    }

    fn image(&self, image: &str) {
        self.edit(|set| set.spec.template.spec.as_mut().unwrap().containers[0].image = Some(image.into()));
    }

    /// Syncs until there is nothing more to do, and answers how long the controller wants to wait then.
    fn settle(&mut self) -> Option<u64> {
        for _ in 0..10 {
            let plan = self.sets.sync(&Self::key(), &self.caches, self.now);
            self.events.extend(plan.notes.iter().map(|note| note.reason.to_owned()));
            if plan.writes.is_empty() && plan.batch.is_empty() {
                return plan.again.map(|wait| wait.as_secs());
            }
            plan.writes
                .into_iter()
                .chain(plan.batch)
                .for_each(|write| self.apply(write));
        }
        panic!("never settles");
    }

    fn apply(&mut self, write: Write) {
        let path = write.path.as_str().to_owned();
        let key = Key::new("default", path.rsplit('/').next().unwrap());
        match (write.verb, path.contains("controllerrevisions")) {
            (Verb::Delete, true) => self
                .caches
                .revisions
                .delete(self.caches.revisions.get(&key).unwrap().as_ref()),
            (_, true) => self.caches.revisions.apply(serde_json::from_value(write.body).unwrap()),
            (Verb::Create, _) => {
                let mut pod: Pod = serde_json::from_value(write.body).unwrap();
                pod.metadata.name = Some(format!("p{}", self.made));
                pod.metadata.uid = Some(format!("uid-{}", self.made));
                self.made += 1;
                self.caches.pods.apply(pod);
            }
            (Verb::Delete, _) => self.caches.pods.delete(self.caches.pods.get(&key).unwrap().as_ref()),
            _ => self
                .caches
                .daemon_sets
                .apply(serde_json::from_value(write.body).unwrap()),
        }
    }

    /// All pods run, and are ready.
    fn run(&self) {
        for pod in self.caches.pods.all() {
            let mut pod = pod.as_ref().clone();
            pod.status = serde_json::from_value(json!({
                "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
            }))
            .unwrap();
            self.caches.pods.apply(pod);
        }
    }

    /// Pods with their nodes and images.
    fn pods(&self) -> Vec<String> {
        let mut pods: Vec<String> = self
            .caches
            .pods
            .all()
            .iter()
            .map(|pod| {
                let image = pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
                format!("{}:{image}", target(pod).unwrap())
            })
            .collect();
        pods.sort();
        pods
    }

    fn status(&self) -> Value {
        serde_json::to_value(&self.caches.daemon_sets.get(&Self::key()).unwrap().status).unwrap()
    }
}

fn rolling(unavailable: Value, surge: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
}

#[test]
fn every_node_that_suits_has_a_pod_and_no_other() {
    let mut world = World::new(2, rolling(json!(1), json!(0)));
    world.caches.nodes.apply(node("other", json!({}), json!([])));
    let master = json!([{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]);
    world
        .caches
        .nodes
        .apply(node("tainted", json!({"disk": "ssd"}), master));
    let cordon = json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]);
    world
        .caches
        .nodes
        .apply(node("cordoned", json!({"disk": "ssd"}), cordon));
    world.edit(|set| {
        let spec = set.spec.template.spec.as_mut().unwrap();
        spec.node_selector = Some([("disk".to_owned(), "ssd".to_owned())].into());
    });
    world.settle();
    assert_eq!(world.pods(), ["cordoned:1", "n0:1", "n1:1"]);
    let status = world.status();
    assert_eq!(
        (&status["desiredNumberScheduled"], &status["numberUnavailable"]),
        (&json!(3), &json!(3))
    );
    world.run();
    world.caches.nodes.apply(node("n2", json!({"disk": "ssd"}), json!([])));
    world.caches.nodes.apply(node("n0", json!({"disk": "hdd"}), json!([])));
    // A taint that only keeps new pods away leaves the pod that is there.
    let full = json!([{"key": "full", "effect": "NoSchedule"}]);
    world.caches.nodes.apply(node("n1", json!({"disk": "ssd"}), full));
    world.settle();
    assert_eq!(world.pods(), ["cordoned:1", "n1:1", "n2:1"]);
    assert_eq!(world.status()["numberMisscheduled"], 1);
    assert_eq!(world.status()["desiredNumberScheduled"], 2);
}

#[test]
fn a_pod_is_tied_to_its_node_whatever_befalls_that() {
    let mut world = World::new(1, rolling(json!(1), json!(0)));
    world.settle();
    let pod = world.caches.pods.all()[0].clone();
    assert_eq!(pod.metadata.generate_name.as_deref(), Some("d-"));
    assert_eq!(pod.labels()[GENERATION_LABEL], "1");
    let spec = serde_json::to_value(&pod.spec).unwrap();
    assert_eq!(
        spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"],
        json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n0"]}]}])
    );
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 6);
    let revision = world.caches.revisions.all()[0].clone();
    assert_eq!(revision.name_any(), format!("d-{}", pod.labels()[HASH_LABEL]));
    assert_eq!(revision.data.0["spec"]["template"]["$patch"], "replace");
}

#[test]
fn an_update_takes_away_no_more_than_may_be_missing() {
    let mut world = World::new(3, rolling(json!("50%"), json!(0)));
    world.settle();
    world.run();
    world.image("2");
    world.settle();
    let updated = |world: &World| world.pods().iter().filter(|pod| pod.ends_with(":2")).count();
    assert_eq!(updated(&world), 2, "half of three, rounded up");
    world.settle();
    assert_eq!(updated(&world), 2, "waits until they are available");
    world.run();
    world.settle();
    assert_eq!(world.pods(), ["n0:2", "n1:2", "n2:2"]);
    assert_eq!(world.status()["updatedNumberScheduled"], 3);
    // Back again: the old revision is the newest then, and nothing new is kept.
    world.image("1");
    world.settle();
    let mut revisions: Vec<_> = world
        .caches
        .revisions
        .all()
        .iter()
        .map(|revision| revision.revision.unwrap())
        .collect();
    revisions.sort();
    assert_eq!(revisions, [2, 3]);
}

#[test]
fn with_surge_the_new_pod_comes_before_the_old_goes() {
    let mut world = World::new(2, rolling(json!(0), json!(1)));
    world.settle();
    world.run();
    world.image("2");
    world.settle();
    assert_eq!(world.pods(), ["n0:1", "n0:2", "n1:1"]);
    world.run();
    world.settle();
    assert_eq!(world.pods(), ["n0:2", "n1:1", "n1:2"]);
    world.run();
    world.settle();
    assert_eq!(world.pods(), ["n0:2", "n1:2"]);
}

#[test]
fn on_delete_waits_for_somebody_to_delete() {
    let mut world = World::new(2, json!({"type": "OnDelete"}));
    world.settle();
    world.run();
    world.image("2");
    world.settle();
    assert_eq!(world.pods(), ["n0:1", "n1:1"]);
    let victim = world.caches.pods.with_term("controller/set-uid")[0].clone();
    world.caches.pods.delete(&victim);
    world.settle();
    assert_eq!(world.pods().iter().filter(|pod| pod.ends_with(":2")).count(), 1);
}

#[test]
fn a_failed_pod_is_replaced_with_back_off_and_history_is_bounded() {
    let mut world = World::new(1, rolling(json!(1), json!(0)));
    world.edit(|set| set.spec.revision_history_limit = Some(1));
    world.settle();
    let fail = |world: &World| {
        let mut pod = world.caches.pods.all()[0].as_ref().clone();
        pod.status = serde_json::from_value(json!({"phase": "Failed"})).unwrap();
        world.caches.pods.apply(pod);
    };
    fail(&world);
    world.settle();
    assert_eq!(world.events, ["FailedDaemonPod"]);
    fail(&world);
    assert_eq!(world.settle(), Some(1));
    world.now += Duration::from_secs(1);
    world.settle();
    assert_eq!(world.made, 3);
    for image in ["2", "3", "4"] {
        world.image(image);
        world.settle();
        world.run();
        world.settle();
    }
    assert_eq!(world.caches.revisions.all().len(), 2, "the current one and one more");
}
