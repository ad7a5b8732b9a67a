//! Rollouts played out against a toy world: the writes of each sync are applied to the caches, and every set's pods
//! come up or go as its size says.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DeploymentSpec, DeploymentStrategy, ReplicaSetStatus, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use serde_json::Value;

use super::*;
use crate::write::Verb;

const EPOCH: Timestamp = Timestamp::constant(1_700_000_000, 0);

struct World {
    caches: Caches,
    now: Timestamp,
    /// Pods become available as soon as they are made.
    healthy: bool,
    events: Vec<String>,
    created: i64,
}

fn deployment(replicas: i32, image: &str) -> Deployment {
    let labels = BTreeMap::from([("app".to_string(), "web".to_string())]);
    Deployment {
        metadata: ObjectMeta {
            namespace: Some("default".into()),
            name: Some("web".into()),
            uid: Some("deployment-uid".into()),
            generation: Some(1),
            ..ObjectMeta::default()
        },
        spec: DeploymentSpec {
            replicas: Some(replicas),
            selector: LabelSelector {
                match_labels: Some(labels.clone()),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    containers: vec![Container {
                        name: "web".into(),
                        image: Some(image.into()),
                        ..Container::default()
                    }],
                    ..PodSpec::default()
                }),
            },
            progress_deadline_seconds: Some(600),
            revision_history_limit: Some(10),
            ..DeploymentSpec::default()
        },
        status: None,
    }
}

impl World {
    fn new(deployment: Deployment) -> Self {
        let caches = Caches::new();
        caches.deployments.apply(deployment);
        Self {
            caches,
            now: EPOCH,
            healthy: true,
            events: Vec::new(),
            created: 0,
        }
    }

    fn deployment(&self) -> Deployment {
        self.caches
            .deployments
            .get(&Key::new("default", "web"))
            .unwrap()
            .as_ref()
            .clone()
    }

    fn edit(&self, edit: impl FnOnce(&mut Deployment)) {
        let mut deployment = self.deployment();
        edit(&mut deployment);
        *deployment.metadata.generation.get_or_insert(0) += 1;
        self.caches.deployments.apply(deployment);
    }

    fn set_image(&self, image: &str) {
        self.edit(|d| d.spec.template.spec.as_mut().unwrap().containers[0].image = Some(image.into()));
    }

    /// One sync. Returns whether it wrote anything.
    fn sync(&mut self) -> bool {
        let plan = Deployments.sync(&Key::new("default", "web"), &self.caches, self.now);
        let busy = !plan.writes.is_empty();
        for write in plan.writes {
            self.events
                .extend(write.succeeded.iter().map(|note| note.message.clone()));
            self.apply(write.verb, write.path.as_str(), write.body);
        }
        busy
    }

    fn apply(&mut self, verb: Verb, path: &str, body: Value) {
        if verb == Verb::Delete {
            let name = path.rsplit('/').next().unwrap();
            let set = self.caches.replica_sets.get(&Key::new("default", name)).unwrap();
            self.caches.replica_sets.delete(&set);
        } else if path.contains("deployments") {
            self.caches.deployments.apply(serde_json::from_value(body).unwrap());
        } else {
            let mut set: ReplicaSet = serde_json::from_value(body).unwrap();
            if verb == Verb::Create {
                self.created += 1;
                set.metadata.uid = Some(format!("{}-uid", set.name_any()));
                set.metadata.creation_timestamp = Some(Time(Timestamp::from_second(self.created).unwrap()));
            }
            self.caches.replica_sets.apply(set);
        }
    }

    /// What the ReplicaSet controller and the kubelets would do.
    fn settle_sets(&self) {
        for set in self.caches.replica_sets.all() {
            let mut set = set.as_ref().clone();
            let size = scale::size(&set);
            let available = if self.healthy {
                size
            } else {
                scale::available(&set).min(size)
            };
            set.status = Some(ReplicaSetStatus {
                replicas: size,
                ready_replicas: Some(available),
                available_replicas: Some(available),
                observed_generation: set.metadata.generation,
                ..ReplicaSetStatus::default()
            });
            self.caches.replica_sets.apply(set);
        }
    }

    /// Syncs until nothing changes; returns the sizes (oldest set first) after each sync.
    fn run(&mut self) -> Vec<Vec<i32>> {
        let mut steps = Vec::new();
        for _ in 0..50 {
            let busy = self.sync();
            let sizes = self.sizes();
            if steps.last() != Some(&sizes) {
                steps.push(sizes);
            }
            self.settle_sets();
            if !busy {
                return steps;
            }
        }
        panic!("the rollout does not settle: {steps:?}");
    }

    fn sets(&self) -> Vec<ReplicaSet> {
        let mut sets: Vec<_> = self
            .caches
            .replica_sets
            .all()
            .iter()
            .map(|set| set.as_ref().clone())
            .collect();
        sets.sort_by_key(|set| set.creation_timestamp());
        sets
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets().iter().map(scale::size).collect()
    }

    fn reason(&self, kind: &str) -> String {
        let status = self.deployment().status.unwrap();
        let condition = condition::get(&status, kind).unwrap();
        format!(
            "{} {}",
            condition.status.clone().unwrap(),
            condition.reason.clone().unwrap()
        )
    }
}

#[test]
fn a_rollout_keeps_within_surge_and_unavailability() {
    let mut world = World::new(deployment(4, "web:1"));
    world.run();
    let name = world.sets()[0].name_any();
    assert_eq!(world.events, [format!("Scaled up replica set {name} from 0 to 4")]);
    assert_eq!(world.reason("Available"), "True MinimumReplicasAvailable");
    assert_eq!(world.reason("Progressing"), "True NewReplicaSetAvailable");
    world.set_image("web:2");
    let steps = world.run();
    // 25 % of 4: one more, one fewer.
    assert!(steps.iter().all(|sizes| sizes.iter().sum::<i32>() <= 5), "{steps:?}");
    assert_eq!(steps.first(), Some(&vec![3, 1]), "the new set may replace one at once");
    assert_eq!(steps.last(), Some(&vec![0, 4]));
    assert_eq!(world.deployment().annotations()[revision::REVISION], "2");
}

#[test]
fn the_first_condition_says_what_was_created() {
    let mut world = World::new(deployment(1, "web:1"));
    world.sync();
    assert_eq!(world.reason("Progressing"), "True NewReplicaSetCreated");
    assert_eq!(world.reason("Available"), "False MinimumReplicasUnavailable");
}

#[test]
fn undo_reuses_the_old_set_under_a_new_revision() {
    let mut world = World::new(deployment(1, "web:1"));
    world.edit(|d| {
        _ = d
            .annotations_mut()
            .insert("kubernetes.io/change-cause".into(), "first".into())
    });
    world.run();
    let first = world.sets()[0].clone();
    assert_eq!(first.annotations()["kubernetes.io/change-cause"], "first");
    world.set_image("web:2");
    world.run();
    world.set_image("web:1");
    world.run();
    assert_eq!(world.sets().len(), 2);
    let reused = world.sets()[0].clone();
    assert_eq!((reused.name_any(), scale::size(&reused)), (first.name_any(), 1));
    assert_eq!(reused.annotations()[revision::REVISION], "3");
    assert_eq!(reused.annotations()["deployment.kubernetes.io/revision-history"], "1");
}

#[test]
fn a_stuck_rollout_keeps_serving_and_misses_its_deadline() {
    let mut world = World::new(deployment(4, "web:1"));
    world.run();
    world.healthy = false;
    world.set_image("web:broken");
    let steps = world.run();
    assert_eq!(steps.last(), Some(&vec![3, 2]), "the old ones that are needed stay");
    assert_eq!(world.reason("Available"), "True MinimumReplicasAvailable");
    let plan = Deployments.sync(&Key::new("default", "web"), &world.caches, world.now);
    assert_eq!(plan.again, Some(Duration::from_secs(601)));
    world.now = EPOCH + jiff::SignedDuration::from_secs(601);
    world.run();
    assert_eq!(world.reason("Progressing"), "False ProgressDeadlineExceeded");
}

#[test]
fn a_paused_deployment_is_scaled_but_not_rolled() {
    let mut world = World::new(deployment(2, "web:1"));
    world.run();
    world.edit(|d| d.spec.paused = Some(true));
    world.set_image("web:2");
    world.edit(|d| d.spec.replicas = Some(5));
    world.run();
    assert_eq!(world.sizes(), [5]);
    assert_eq!(world.reason("Progressing"), "Unknown DeploymentPaused");
    world.edit(|d| d.spec.paused = None);
    world.run();
    assert_eq!(world.sizes(), [0, 5]);
}

#[test]
fn scaling_in_the_middle_of_a_rollout_keeps_the_proportions() {
    let mut rolling = deployment(10, "web:1");
    rolling.spec.strategy = Some(DeploymentStrategy {
        type_: Some("RollingUpdate".into()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(3)),
            max_unavailable: Some(IntOrString::Int(2)),
        }),
    });
    let mut world = World::new(rolling);
    world.run();
    world.healthy = false;
    world.set_image("web:2");
    world.run();
    assert_eq!(world.sizes(), [8, 5]);
    world.edit(|d| d.spec.replicas = Some(15));
    world.sync();
    assert_eq!(world.sizes(), [11, 7], "five more, shared eight to five");
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let mut recreate = deployment(2, "web:1");
    recreate.spec.strategy = Some(DeploymentStrategy {
        type_: Some("Recreate".into()),
        rolling_update: None,
    });
    let mut world = World::new(recreate);
    world.run();
    let set = world.sets()[0].clone();
    let mut pod = crate::pod::from_template(set.spec.template.as_ref().unwrap(), &set);
    pod.metadata.name = Some("last".into());
    world.caches.pods.apply(pod.clone());
    world.set_image("web:2");
    world.run();
    assert_eq!(world.sizes(), [0], "no new set while an old pod lives");
    world.caches.pods.delete(&pod);
    world.run();
    assert_eq!(world.sizes(), [0, 2]);
}

#[test]
fn history_is_cut_to_its_limit() {
    let mut world = World::new(deployment(1, "web:0"));
    world.edit(|d| d.spec.revision_history_limit = Some(1));
    for version in 0..4 {
        world.set_image(&format!("web:{version}"));
        world.run();
    }
    let revisions: Vec<i64> = world.sets().iter().map(revision::of).collect();
    assert_eq!(revisions, [3, 4]);
}

#[test]
fn a_name_taken_by_another_template_changes_the_salt() {
    let world = World::new(deployment(1, "web:1"));
    let mut plan = Deployments.sync(&Key::new("default", "web"), &world.caches, EPOCH);
    let create = plan.writes.remove(0);
    let failure = crate::write::Failure {
        reason: "AlreadyExists".into(),
        existing: Some(Box::new(serde_json::json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": { "name": "web-x" }, "spec": { "selector": {} },
        }))),
        ..Default::default()
    };
    let writes = create.rescued(&failure);
    assert_eq!(writes[0].body["status"]["collisionCount"], 1);
    let template = &world.deployment().spec.template;
    assert_ne!(template::hash(template, None), template::hash(template, Some(1)));
    assert_eq!(template::hash(template, None), template::hash(&template.clone(), None));
}

#[test]
fn an_empty_selector_is_refused() {
    let mut greedy = deployment(1, "web:1");
    greedy.spec.selector = LabelSelector::default();
    let world = World::new(greedy);
    let plan = Deployments.sync(&Key::new("default", "web"), &world.caches, EPOCH);
    assert_eq!(plan.notes[0].reason, "SelectingAll");
    assert_eq!(plan.writes.len(), 1, "only the generation is marked as seen");
}
