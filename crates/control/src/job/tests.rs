use k8s_openapi::api::batch::v1::JobSpec;
use serde_json::{Value, json};

use super::*;
use crate::write::Verb;

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

/// A Job, its pods, and what happens to them when plans are carried out.
struct World {
    caches: Caches,
    jobs: Jobs,
    now: Timestamp,
    made: usize,
    events: Vec<String>,
}

impl World {
    fn new(spec: Value) -> Self {
        let mut fields = json!({
            "completions": 1, "parallelism": 1, "backoffLimit": 6, "podReplacementPolicy": "TerminatingOrFailed",
            "selector": {"matchLabels": {"job": "pi"}},
            "template": {"metadata": {"labels": {"job": "pi"}}, "spec": {"containers": [{"name": "c"}], "restartPolicy": "Never"}},
        });
        for (key, value) in spec.as_object().unwrap() {
            fields[key] = value.clone();
        }
        let world = Self {
            caches: Caches::new(),
            jobs: Jobs::default(),
            now: NOW,
            made: 0,
            events: Vec::new(),
        };
        let mut job = Job {
            spec: Some(serde_json::from_value::<JobSpec>(fields).unwrap()),
            ..Job::default()
        };
        job.metadata.name = Some("pi".into());
        job.metadata.namespace = Some("default".into());
        job.metadata.uid = Some("job-uid".into());
        world.caches.jobs.apply(job);
        world
    }

    fn job(&self) -> Job {
        self.caches
            .jobs
            .get(&Key::new("default", "pi"))
            .unwrap()
            .as_ref()
            .clone()
    }

    fn status(&self) -> Value {
        serde_json::to_value(self.job().status).unwrap()
    }

    fn edit(&self, change: impl FnOnce(&mut JobSpec)) {
        let mut job = self.job();
        change(job.spec.as_mut().unwrap());
        self.caches.jobs.apply(job);
    }

    /// Syncs until there is nothing more to do, and answers how long the controller wants to wait then.
    fn settle(&mut self) -> Option<u64> {
        for _ in 0..20 {
            let plan = self.jobs.sync(&Key::new("default", "pi"), &self.caches, self.now);
            self.events.extend(plan.notes.iter().map(|note| note.reason.to_owned()));
            let idle = plan.writes.is_empty() && plan.batch.is_empty();
            plan.writes
                .into_iter()
                .chain(plan.batch)
                .for_each(|write| self.apply(write));
            let last = plan.then.map(|then| then(None)).unwrap_or_default();
            if idle && last.is_empty() {
                return plan.again.map(|wait| wait.as_secs());
            }
            last.into_iter().for_each(|write| self.apply(write));
        }
        panic!("never settles: {:#?}", self.status());
    }

    fn apply(&mut self, write: Write) {
        self.events
            .extend(write.succeeded.iter().map(|note| note.reason.to_owned()));
        let path = write.path.as_str().to_owned();
        let name = path.rsplit('/').next().unwrap();
        match write.verb {
            Verb::Create => {
                let mut pod: Pod = serde_json::from_value(write.body).unwrap();
                pod.metadata.name = Some(format!("pod-{}", self.made));
                pod.metadata.uid = Some(format!("uid-{}", self.made));
                self.made += 1;
                self.caches.pods.apply(pod);
            }
            Verb::Replace => {
                let job: Job = serde_json::from_value(write.body).unwrap();
                self.caches.jobs.apply(job);
            }
            Verb::Strategic => {
                let mut pod = self.pod(name);
                pod.metadata.finalizers = None;
                match pod.metadata.deletion_timestamp.is_some() {
                    true => self.caches.pods.delete(&pod),
                    false => self.caches.pods.apply(pod),
                }
            }
            Verb::Delete => {
                let mut pod = self.pod(name);
                match is_tracked(&pod) {
                    true => {
                        pod.metadata.deletion_timestamp =
                            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now));
                        self.caches.pods.apply(pod);
                    }
                    false => self.caches.pods.delete(&pod),
                }
            }
            Verb::Merge => panic!("not used"),
        }
    }

    fn pod(&self, name: &str) -> Pod {
        self.caches
            .pods
            .get(&Key::new("default", name))
            .unwrap()
            .as_ref()
            .clone()
    }

    fn end(&self, name: &str, phase: &str, code: i32) {
        let mut pod = self.pod(name);
        let finished = self.now.to_string();
        pod.status = serde_json::from_value(json!({
            "phase": phase,
            "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {
                "terminated": {"exitCode": code, "finishedAt": finished},
            }}],
        }))
        .unwrap();
        self.caches.pods.apply(pod);
    }

    fn active(&self) -> Vec<String> {
        let pods = self.caches.pods.all();
        pods.iter()
            .filter(|pod| crate::pod::is_active(pod))
            .map(|pod| pod.name_any())
            .collect()
    }

    fn conditions(&self) -> Vec<String> {
        let conditions = self.job().status.unwrap_or_default().conditions.unwrap_or_default();
        conditions
            .into_iter()
            .filter(|condition| condition.status == "True")
            .map(|condition| condition.type_)
            .collect()
    }
}

#[test]
fn a_job_is_complete_when_its_pods_have_ended_well_and_each_counts_once() {
    let mut world = World::new(json!({"completions": 3, "parallelism": 2}));
    world.settle();
    assert_eq!(world.active(), ["pod-0", "pod-1"]);
    world.end("pod-0", "Succeeded", 0);
    world.end("pod-1", "Succeeded", 0);
    world.settle();
    assert_eq!(world.active(), ["pod-2"], "no more than are missing");
    assert_eq!(world.status()["succeeded"], 2);
    world.end("pod-2", "Succeeded", 0);
    world.settle();
    let status = world.status();
    assert_eq!(
        (&status["succeeded"], &status["active"], &status["ready"]),
        (&json!(3), &Value::Null, &json!(0))
    );
    assert_eq!(status["uncountedTerminatedPods"], json!({}));
    assert_eq!(status["completionTime"], NOW.to_string());
    assert_eq!(world.conditions(), ["SuccessCriteriaMet", "Complete"]);
    assert_eq!(world.events.last().map(String::as_str), Some("Completed"));
    assert!(world.caches.pods.all().iter().all(|pod| !is_tracked(pod)));
}

#[test]
fn failures_are_backed_off_and_end_the_job_at_the_limit() {
    let mut world = World::new(json!({"backoffLimit": 2}));
    let mut waits = Vec::new();
    for pod in 0..3 {
        world.settle();
        world.end(&format!("pod-{pod}"), "Failed", 1);
        if let Some(wait) = world.settle() {
            waits.push(wait);
            world.now += std::time::Duration::from_secs(wait);
        }
    }
    assert_eq!(waits, [10, 20]);
    assert_eq!(world.status()["failed"], 3);
    assert_eq!(world.conditions(), ["FailureTarget", "Failed"]);
    let conditions = world.status()["conditions"].clone();
    assert_eq!(conditions[1]["reason"], "BackoffLimitExceeded");
    assert_eq!(conditions[1]["message"], "Job has reached the specified backoff limit");
    assert_eq!(world.events.last().map(String::as_str), Some("BackoffLimitExceeded"));
}

#[test]
fn parallelism_is_followed_live_and_pods_that_are_taken_back_do_not_count() {
    let mut world = World::new(json!({"completions": 10, "parallelism": 3}));
    world.settle();
    world.edit(|spec| spec.parallelism = Some(1));
    world.settle();
    assert_eq!(world.active().len(), 1);
    world.edit(|spec| spec.suspend = Some(true));
    world.settle();
    assert_eq!(world.active().len(), 0);
    assert_eq!(world.conditions(), ["Suspended"]);
    assert_eq!(world.status()["startTime"], Value::Null);
    world.edit(|spec| {
        spec.suspend = Some(false);
        spec.parallelism = Some(4);
    });
    world.settle();
    assert_eq!(world.active().len(), 4);
    assert_eq!(world.status()["failed"], Value::Null);
    assert_eq!(
        world
            .events
            .iter()
            .filter(|event| event.ends_with("ed") && !event.starts_with("Succ"))
            .collect::<Vec<_>>(),
        ["Suspended", "Resumed"]
    );
}

#[test]
fn a_job_that_is_active_for_too_long_fails_with_its_pods() {
    let mut world = World::new(json!({"activeDeadlineSeconds": 100, "parallelism": 2, "completions": 2}));
    assert_eq!(world.settle(), Some(100));
    world.now += std::time::Duration::from_secs(100);
    world.settle();
    assert_eq!(world.conditions(), ["FailureTarget", "Failed"]);
    assert_eq!(world.status()["failed"], 2);
    assert_eq!(world.status()["conditions"][0]["reason"], "DeadlineExceeded");
}

#[test]
fn each_index_runs_until_it_has_succeeded() {
    let mut world = World::new(json!({"completionMode": "Indexed", "completions": 3, "parallelism": 2}));
    world.settle();
    let first = world.pod("pod-0");
    assert_eq!(first.annotations()[COMPLETION_INDEX], "0");
    assert_eq!(first.labels()[COMPLETION_INDEX], "0");
    assert_eq!(first.metadata.generate_name.as_deref(), Some("pi-0-"));
    let spec = first.spec.unwrap();
    assert_eq!(spec.hostname.as_deref(), Some("pi-0"));
    let variable = &spec.containers[0].env.as_ref().unwrap()[0];
    assert_eq!(variable.name, "JOB_COMPLETION_INDEX");
    world.end("pod-1", "Succeeded", 0);
    world.settle();
    assert_eq!(world.status()["completedIndexes"], "1");
    assert_eq!(world.pod("pod-2").annotations()[COMPLETION_INDEX], "2");
    world.end("pod-0", "Failed", 1);
    world.now += std::time::Duration::from_secs(10);
    world.settle();
    assert_eq!(world.pod("pod-3").annotations()[COMPLETION_INDEX], "0");
    world.end("pod-2", "Succeeded", 0);
    world.end("pod-3", "Succeeded", 0);
    world.settle();
    assert_eq!(world.status()["completedIndexes"], "0-2");
    assert_eq!(
        (&world.status()["succeeded"], &world.status()["failed"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(world.conditions(), ["SuccessCriteriaMet", "Complete"]);
}

#[test]
fn an_index_that_fails_too_often_does_not_stop_the_others() {
    let mut world = World::new(json!({
        "completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimitPerIndex": 1, "backoffLimit": i32::MAX,
    }));
    world.settle();
    world.end("pod-0", "Failed", 1);
    assert_eq!(world.settle(), Some(10));
    assert!(is_tracked(&world.pod("pod-0")), "its successor needs its count");
    world.now += std::time::Duration::from_secs(10);
    world.settle();
    assert_eq!(world.pod("pod-2").annotations()[FAILURE_COUNT], "1");
    assert!(!is_tracked(&world.pod("pod-0")));
    world.end("pod-2", "Failed", 1);
    world.settle();
    assert_eq!(world.status()["failedIndexes"], "0");
    assert!(world.conditions().is_empty());
    world.end("pod-1", "Succeeded", 0);
    world.settle();
    assert_eq!(world.conditions(), ["FailureTarget", "Failed"]);
    assert_eq!(world.status()["conditions"][0]["reason"], "FailedIndexes");
    assert_eq!(world.status()["completedIndexes"], "1");
}

#[test]
fn the_pod_failure_policy_ends_a_job_at_once_or_forgives() {
    let policy = json!({"rules": [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]});
    let mut world = World::new(json!({"podFailurePolicy": policy, "backoffLimit": 0}));
    world.settle();
    let mut evicted = world.pod("pod-0");
    evicted.status = serde_json::from_value(json!({
        "phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True"}],
    }))
    .unwrap();
    world.caches.pods.apply(evicted);
    world.settle();
    assert_eq!(world.active(), ["pod-1"], "an eviction is no failure");
    world.end("pod-1", "Failed", 42);
    world.settle();
    assert_eq!(world.conditions(), ["FailureTarget", "Failed"]);
    assert_eq!(
        world.status()["conditions"][0]["message"],
        "Container c for pod default/pod-1 failed with exit code 42 matching FailJob rule at index 0"
    );
    assert_eq!(world.status()["failed"], 1);
}

#[test]
fn the_success_policy_ends_a_job_before_all_is_done() {
    let mut world = World::new(json!({
        "completionMode": "Indexed", "completions": 4, "parallelism": 4,
        "successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 1}]},
    }));
    world.settle();
    world.end("pod-3", "Succeeded", 0);
    world.settle();
    assert!(world.conditions().is_empty());
    world.end("pod-1", "Succeeded", 0);
    world.settle();
    assert_eq!(world.conditions(), ["SuccessCriteriaMet", "Complete"]);
    assert_eq!(world.status()["conditions"][0]["message"], "Matched rules at index 0");
    assert_eq!(world.status()["failed"], Value::Null);
    assert!(world.active().is_empty());
}

#[test]
fn a_pod_without_a_job_that_counts_it_is_let_go() {
    let mut world = World::new(json!({}));
    world.settle();
    let job = world.job();
    world.caches.jobs.delete(&job);
    world.settle();
    assert!(!is_tracked(&world.pod("pod-0")));
}
