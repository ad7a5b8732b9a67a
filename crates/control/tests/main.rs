//! The controllers against the real API server, in memory and in virtual time.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use knarr_apiserver::{ApiServer, UserInfo};
use knarr_clock::Clock;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Much longer, in virtual time, than anything here takes.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

struct World {
    client: Client,
    clock: Clock,
    shutdown: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl World {
    async fn start() -> Self {
        let clock = Clock::virtual_at(Timestamp::constant(1_700_000_000, 0));
        let options = knarr_apiserver::Options {
            clock: clock.clone(),
            ..Default::default()
        };
        let server = ApiServer::start(options).await.unwrap();
        let shutdown = CancellationToken::new();
        let options = knarr_control::Options {
            clock: clock.clone(),
            ca_pem: "PEM".into(),
            ..Default::default()
        };
        let client = server.client(UserInfo::authenticated("kubernetes-admin", &["system:masters"]));
        let connect = move |user: &str| server.client(UserInfo::authenticated(user, &[] as &[&str]));
        tokio::spawn(knarr_control::run(Box::new(connect), options, shutdown.clone()));
        let world = Self {
            client,
            clock,
            shutdown,
        };
        world
            .until::<ServiceAccount>("default", |all| all.contains_key("default"))
            .await;
        world
    }

    fn api<K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>>(&self, ns: &str) -> Api<K>
    where
        <K as Resource>::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), ns)
    }

    /// Waits until the objects of a kind (in a namespace, unless that is empty) are as they should be.
    async fn until<K>(&self, namespace: &str, mut is: impl FnMut(&BTreeMap<String, K>) -> bool) -> BTreeMap<String, K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let config = watcher::Config::default();
        let config = if namespace.is_empty() {
            config
        } else {
            config.fields(&format!("metadata.namespace={namespace}"))
        };
        let mut events = pin!(watcher(api, config));
        let mut seen: BTreeMap<String, K> = BTreeMap::new();
        let wait = async {
            while let Some(event) = events.next().await {
                match event.unwrap() {
                    watcher::Event::Init => {
                        seen.clear();
                        continue;
                    }
                    watcher::Event::Apply(object) => _ = seen.insert(object.name_any(), object),
                    watcher::Event::InitApply(object) => {
                        seen.insert(object.name_any(), object);
                        continue;
                    }
                    watcher::Event::Delete(object) => _ = seen.remove(&object.name_any()),
                    watcher::Event::InitDone => {}
                }
                if is(&seen) {
                    break;
                }
            }
        };
        let ended = tokio::time::timeout(FOREVER, wait).await;
        assert!(ended.is_ok(), "never came true: {seen:#?}");
        seen
    }

    /// A node whose kubelet renews its lease, starts what is bound to it and ends what is deleted, until cancelled.
    async fn node(&self, name: &str, labels: Value) -> CancellationToken {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = json!({ "metadata": { "name": name, "labels": labels } });
        nodes
            .create(&PostParams::default(), &serde_json::from_value(node).unwrap())
            .await
            .unwrap();
        let status = json!({ "status": {
            "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "110" },
            "conditions": [{ "type": "Ready", "status": "True" }],
        }});
        nodes
            .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
        let alive = CancellationToken::new();
        tokio::spawn(alive.clone().run_until_cancelled_owned(renew(
            self.client.clone(),
            self.clock.clone(),
            name.into(),
        )));
        tokio::spawn(alive.clone().run_until_cancelled_owned(run_pods(
            self.client.clone(),
            self.clock.clone(),
            name.into(),
        )));
        alive
    }

    async fn deploy(&self, name: &str, replicas: i32, image: &str) -> Deployment {
        let deployment = json!({
            "metadata": { "name": name, "labels": { "app": name } },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": { "app": name } },
                "template": {
                    "metadata": { "labels": { "app": name } },
                    "spec": { "containers": [{ "name": "main", "image": image, "ports": [{ "containerPort": 8080 }] }] },
                },
            },
        });
        let deployment = serde_json::from_value(deployment).unwrap();
        self.api("default")
            .create(&PostParams::default(), &deployment)
            .await
            .unwrap()
    }

    async fn patch<K>(&self, name: &str, patch: Value)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = self.api("default");
        api.patch(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .unwrap();
    }

    /// Waits until a deployment is complete, and returns its sets' sizes by revision.
    async fn rolled_out(&self, name: &str, generation: i64) -> BTreeMap<String, i32> {
        self.until::<Deployment>("default", |all| {
            all.get(name).is_some_and(|deployment| {
                let status = deployment.status.clone().unwrap_or_default();
                let wanted = deployment.spec.replicas;
                status.observed_generation == Some(generation)
                    && [status.updated_replicas, status.replicas, status.available_replicas]
                        .iter()
                        .all(|n| *n == wanted)
            })
        })
        .await;
        self.until::<ReplicaSet>("default", |sets| {
            sets.values()
                .all(|s| s.status.as_ref().is_some_and(|t| Some(t.replicas) == s.spec.replicas))
        })
        .await
        .values()
        .filter(|set| set.name_any().starts_with(name))
        .map(|set| {
            let revision = set.annotations()["deployment.kubernetes.io/revision"].clone();
            (revision, set.spec.replicas.unwrap())
        })
        .collect()
    }

    /// Waits for an event.
    async fn told(&self, reason: &str, is: impl Fn(&str) -> bool) {
        let matches =
            |event: &Event| event.reason.as_deref() == Some(reason) && event.message.as_deref().is_some_and(&is);
        self.until::<Event>("", |events| events.values().any(matches)).await;
    }
}

async fn renew(client: Client, clock: Clock, name: String) {
    let leases: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    loop {
        let lease = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": name },
            "spec": { "holderIdentity": name, "renewTime": format!("{:.6}", clock.now()) } });
        let params = PatchParams::apply("kubelet").force();
        leases.patch(&name, &params, &Patch::Apply(lease)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
}

/// Says of every bound pod that it runs, and of every deleted one that it has ended.
async fn run_pods(client: Client, clock: Clock, node: String) {
    let all: Api<Pod> = Api::all(client.clone());
    let mut events = pin!(watcher(
        all,
        watcher::Config::default().fields(&format!("spec.nodeName={node}"))
    ));
    let mut last = 1;
    while let Some(event) = events.next().await {
        let (watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) = event.unwrap() else {
            continue;
        };
        let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
        if pod.metadata.deletion_timestamp.is_some() {
            let _ = pods
                .delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
                .await;
        } else if pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()).is_none() {
            last += 1;
            let ip = format!("10.244.0.{last}");
            let now = clock.now_seconds().to_string();
            let status = json!({ "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }],
                "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": now }] } });
            let _ = pods
                .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(status))
                .await;
        }
    }
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

#[tokio::test(start_paused = true)]
async fn a_deployment_lives_rolls_back_scales_and_leaves_nothing_behind() {
    let world = World::start().await;
    let _node = world.node("n1", json!({})).await;
    world.deploy("web", 3, "web:1").await;
    assert_eq!(world.rolled_out("web", 1).await, BTreeMap::from([("1".into(), 3)]));
    let pods = world
        .until::<Pod>("default", |pods| {
            pods.values().filter(|pod| is_running(pod)).count() == 3
        })
        .await;
    assert_eq!(pods.len(), 3, "never too many");
    let bound = |m: &str| m.starts_with("Successfully assigned default/web-") && m.ends_with(" to n1");
    world.told("Scheduled", bound).await;

    let image = |image: &str| json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } } });
    world.patch::<Deployment>("web", image("web:2")).await;
    let expected = BTreeMap::from([("1".to_string(), 0), ("2".to_string(), 3)]);
    assert_eq!(world.rolled_out("web", 2).await, expected);
    world.patch::<Deployment>("web", image("web:1")).await;
    let expected = BTreeMap::from([("2".to_string(), 0), ("3".to_string(), 3)]);
    assert_eq!(world.rolled_out("web", 3).await, expected);
    world
        .patch::<Deployment>("web", json!({ "spec": { "replicas": 5 } }))
        .await;
    let expected = BTreeMap::from([("2".to_string(), 0), ("3".to_string(), 5)]);
    assert_eq!(world.rolled_out("web", 4).await, expected);
    world.told("ScalingReplicaSet", |m| m.ends_with(" from 3 to 5")).await;

    // One pod deleted by hand comes back under another name.
    let victim = world
        .until::<Pod>("default", |_| true)
        .await
        .into_keys()
        .next()
        .unwrap();
    world
        .api::<Pod>("default")
        .delete(&victim, &DeleteParams::default())
        .await
        .unwrap();
    world
        .until::<Pod>("default", |pods| {
            !pods.contains_key(&victim) && pods.values().filter(|p| is_running(p)).count() == 5
        })
        .await;

    world
        .api::<Deployment>("default")
        .delete("web", &DeleteParams::background())
        .await
        .unwrap();
    world.until::<Pod>("default", BTreeMap::is_empty).await;
    world.until::<ReplicaSet>("default", BTreeMap::is_empty).await;
}

impl World {
    async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + serde::Serialize,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api("default")
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    }

    /// Says of every pod that runs that it has ended.
    async fn end_pods(&self, phase: &str) {
        let pods: Api<Pod> = self.api("default");
        for pod in pods
            .list(&Default::default())
            .await
            .unwrap()
            .into_iter()
            .filter(is_running)
        {
            let status = json!({ "status": { "phase": phase } });
            pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status))
                .await
                .unwrap();
        }
    }
}

fn template(name: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": name } },
        "spec": { "containers": [{ "name": "main", "image": "i" }] },
    })
}

#[tokio::test(start_paused = true)]
async fn jobs_in_virtual_time_count_each_pod_once_and_give_up_at_their_limit() {
    let world = World::start().await;
    let _node = world.node("n1", json!({})).await;
    let job = |name: &str, more: Value| {
        let mut template = template(name);
        template["spec"]["restartPolicy"] = json!("Never");
        let mut job = json!({ "metadata": { "name": name }, "spec": { "template": template } });
        for (key, value) in more.as_object().unwrap() {
            job["spec"][key] = value.clone();
        }
        job
    };
    let running =
        |count: usize| move |pods: &BTreeMap<String, Pod>| pods.values().filter(|pod| is_running(pod)).count() == count;
    let ended = |name: &'static str, kind: &'static str| {
        move |jobs: &BTreeMap<String, Job>| {
            let conditions = jobs
                .get(name)
                .and_then(|job| job.status.as_ref()?.conditions.clone())
                .unwrap_or_default();
            conditions
                .iter()
                .any(|condition| condition.type_ == kind && condition.status == "True")
        }
    };
    world
        .create::<Job>(job("good", json!({ "completions": 3, "parallelism": 2 })))
        .await;
    world.until::<Pod>("default", running(2)).await;
    world.end_pods("Succeeded").await;
    world.until::<Pod>("default", running(1)).await;
    world.end_pods("Succeeded").await;
    let jobs = world.until::<Job>("default", ended("good", "Complete")).await;
    let status = jobs["good"].status.clone().unwrap();
    assert_eq!((status.succeeded, status.failed, status.active), (Some(3), None, None));
    world
        .until::<Pod>("default", |pods| pods.values().all(|pod| pod.finalizers().is_empty()))
        .await;
    world.told("Completed", |m| m == "Job completed").await;
    world
        .api::<Job>("default")
        .delete("good", &DeleteParams::background())
        .await
        .unwrap();
    world.until::<Pod>("default", BTreeMap::is_empty).await;

    world
        .create::<Job>(job("bad", json!({ "backoffLimit": 1, "ttlSecondsAfterFinished": 60 })))
        .await;
    let begin = world.clock.now();
    for _ in 0..2 {
        world.until::<Pod>("default", running(1)).await;
        world.end_pods("Failed").await;
    }
    world.until::<Job>("default", ended("bad", "Failed")).await;
    assert!(
        world.clock.now().duration_since(begin).as_secs() >= 10,
        "it waits before it tries again"
    );
    world
        .told("BackoffLimitExceeded", |m| {
            m == "Job has reached the specified backoff limit"
        })
        .await;
    world.until::<Job>("default", BTreeMap::is_empty).await;
    world.until::<Pod>("default", BTreeMap::is_empty).await;
    let hour = world.clock.now();
    world
        .create::<CronJob>(json!({ "metadata": { "name": "tick" }, "spec": {
            "schedule": "*/5 * * * *", "jobTemplate": { "spec": job("x", json!({}))["spec"] },
        } }))
        .await;
    world.until::<Pod>("default", running(1)).await;
    assert!(world.clock.now().duration_since(hour).as_secs() <= 300);
    world.end_pods("Succeeded").await;
    let crons = world
        .until::<CronJob>("default", |all| {
            all["tick"]
                .status
                .as_ref()
                .is_some_and(|status| status.last_successful_time.is_some())
        })
        .await;
    let status = crons["tick"].status.clone().unwrap();
    assert_eq!(status.last_schedule_time.unwrap().0.as_second() % 300, 0);
}

#[tokio::test(start_paused = true)]
async fn sets_in_virtual_time_follow_nodes_and_keep_names() {
    let world = World::start().await;
    let _first = world.node("n1", json!({})).await;
    let set = |name: &str, replicas: Value| {
        json!({ "metadata": { "name": name }, "spec": {
            "replicas": replicas, "selector": { "matchLabels": { "app": name } }, "template": template(name),
        } })
    };
    let mut agent = set("agent", Value::Null);
    agent["spec"].as_object_mut().unwrap().remove("replicas");
    world.create::<DaemonSet>(agent).await;
    let ready = |count: i32| {
        move |sets: &BTreeMap<String, DaemonSet>| {
            let status = sets["agent"].status.clone().unwrap_or_default();
            (status.desired_number_scheduled, status.number_ready) == (count, count)
        }
    };
    world.until::<DaemonSet>("default", ready(1)).await;
    let _second = world.node("n2", json!({})).await;
    world.until::<DaemonSet>("default", ready(2)).await;

    world.create::<StatefulSet>(set("pet", json!(2))).await;
    let ready = |count: i32| {
        move |sets: &BTreeMap<String, StatefulSet>| {
            let status = sets["pet"].status.clone().unwrap_or_default();
            status.ready_replicas == Some(count) && status.replicas == count
        }
    };
    world.until::<StatefulSet>("default", ready(2)).await;
    let pods = world.until::<Pod>("default", |_| true).await;
    assert_eq!(
        pods.keys().filter(|name| name.starts_with("pet-")).collect::<Vec<_>>(),
        ["pet-0", "pet-1"]
    );
    world
        .patch::<StatefulSet>("pet", json!({ "spec": { "replicas": 1 } }))
        .await;
    world.until::<StatefulSet>("default", ready(1)).await;
    world
        .told("SuccessfulDelete", |m| {
            m == "Delete Pod pet-1 in StatefulSet pet successful"
        })
        .await;

    world
        .create::<PodDisruptionBudget>(json!({ "metadata": { "name": "pet" }, "spec": {
            "maxUnavailable": 1, "selector": { "matchLabels": { "app": "pet" } },
        } }))
        .await;
    world
        .until::<PodDisruptionBudget>("default", |all| {
            let status = all["pet"].status.clone().unwrap_or_default();
            status.disruptions_allowed == Some(1) && status.current_healthy == Some(1)
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn foreground_deletion_takes_the_dependents_first_and_orphaning_spares_them() {
    let world = World::start().await;
    let _node = world.node("n1", json!({})).await;
    world.deploy("web", 2, "web:1").await;
    world.rolled_out("web", 1).await;
    let orphan = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    world.api::<Deployment>("default").delete("web", &orphan).await.unwrap();
    world.until::<Deployment>("default", BTreeMap::is_empty).await;
    let sets = world
        .until::<ReplicaSet>("default", |sets| {
            sets.values().all(|set| set.owner_references().is_empty())
        })
        .await;
    assert_eq!(sets.len(), 1, "the set lives on");
    let name = sets.into_keys().next().unwrap();
    world
        .api::<ReplicaSet>("default")
        .delete(&name, &DeleteParams::foreground())
        .await
        .unwrap();
    world.until::<ReplicaSet>("default", BTreeMap::is_empty).await;
    world.until::<Pod>("default", BTreeMap::is_empty).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_until_a_node_fits_and_says_why() {
    let world = World::start().await;
    let _node = world.node("n1", json!({})).await;
    let pod = json!({ "metadata": { "name": "gpu" },
        "spec": { "nodeSelector": { "gpu": "true" }, "containers": [{ "name": "main", "image": "busybox" }] } });
    let pod = serde_json::from_value(pod).unwrap();
    world
        .api::<Pod>("default")
        .create(&PostParams::default(), &pod)
        .await
        .unwrap();
    // Before the node was ready, it was its taint that spoke.
    let message = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. \
                   no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    world
        .until::<Pod>("default", |pods| {
            let conditions = pods.get("gpu").and_then(|pod| pod.status.clone()?.conditions);
            conditions.is_some_and(|all| {
                all.iter().any(|condition| {
                    condition.type_ == "PodScheduled"
                        && condition.status == "False"
                        && condition.reason.as_deref() == Some("Unschedulable")
                        && condition.message.as_deref() == Some(message)
                })
            })
        })
        .await;
    world.told("FailedScheduling", |m| m == message).await;
    let nodes: Api<Node> = Api::all(world.client.clone());
    let label = json!({ "metadata": { "labels": { "gpu": "true" } } });
    nodes
        .patch("n1", &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    world
        .until::<Pod>("default", |pods| pods.values().all(is_running))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_loses_its_pods_to_another() {
    let world = World::start().await;
    let kubelet = world.node("n1", json!({})).await;
    world.deploy("web", 1, "web:1").await;
    world.rolled_out("web", 1).await;
    kubelet.cancel();
    let start = tokio::time::Instant::now();
    let nodes = world
        .until::<Node>("", |nodes| {
            let taints = nodes["n1"]
                .spec
                .as_ref()
                .and_then(|spec| spec.taints.clone())
                .unwrap_or_default();
            taints
                .iter()
                .any(|taint| taint.key == "node.kubernetes.io/unreachable" && taint.effect == "NoExecute")
        })
        .await;
    let silence = start.elapsed().as_secs();
    assert!((40..=60).contains(&silence), "given up after {silence} s");
    let conditions = nodes["n1"].status.clone().unwrap().conditions.unwrap();
    assert!(conditions.iter().all(|condition| condition.status == "Unknown"));
    let _second = world.node("n2", json!({})).await;
    let on = |pods: &BTreeMap<String, Pod>, node: &str| {
        pods.values()
            .filter(|p| is_running(p) && p.spec.as_ref().unwrap().node_name.as_deref() == Some(node))
            .count()
    };
    world.until::<Pod>("default", |pods| on(pods, "n2") == 1).await;
    let evicted = start.elapsed().as_secs();
    assert!(
        (340..=420).contains(&evicted),
        "tolerated for 300 s, replaced after {evicted} s"
    );
}

#[tokio::test(start_paused = true)]
async fn services_point_at_ready_pods() {
    let world = World::start().await;
    let _node = world.node("n1", json!({})).await;
    world.deploy("web", 2, "web:1").await;
    let service = json!({ "metadata": { "name": "web" }, "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] } });
    let service = serde_json::from_value(service).unwrap();
    world
        .api::<Service>("default")
        .create(&PostParams::default(), &service)
        .await
        .unwrap();
    let addresses = |all: &BTreeMap<String, Endpoints>| -> usize {
        let subsets = all
            .get("web")
            .and_then(|endpoints| endpoints.subsets.clone())
            .unwrap_or_default();
        subsets
            .iter()
            .map(|subset| subset.addresses.iter().flatten().count())
            .sum()
    };
    world.until::<Endpoints>("default", |all| addresses(all) == 2).await;
    let ready = |all: &BTreeMap<String, EndpointSlice>| {
        let slices = all.values().filter(|slice| {
            slice
                .labels()
                .get("kubernetes.io/service-name")
                .is_some_and(|n| n == "web")
        });
        let endpoints = slices.flat_map(|slice| slice.endpoints.iter().flatten());
        endpoints
            .filter(|e| e.conditions.as_ref().and_then(|c| c.ready) == Some(true))
            .count()
    };
    world.until::<EndpointSlice>("default", |all| ready(all) == 2).await;
    world
        .api::<Service>("default")
        .delete("web", &DeleteParams::default())
        .await
        .unwrap();
    world
        .until::<Endpoints>("default", |all| !all.contains_key("web"))
        .await;
    world
        .until::<EndpointSlice>("default", |all| all.keys().all(|name| !name.starts_with("web")))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_namespace_takes_everything_in_it_along() {
    let world = World::start().await;
    let _node = world.node("n1", json!({})).await;
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let namespace = serde_json::from_value(json!({ "metadata": { "name": "shop" } })).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let maps = world
        .until::<ConfigMap>("shop", |maps| maps.contains_key("kube-root-ca.crt"))
        .await;
    assert_eq!(maps["kube-root-ca.crt"].data.as_ref().unwrap()["ca.crt"], "PEM");
    world
        .until::<ServiceAccount>("shop", |all| all.contains_key("default"))
        .await;
    let pod =
        json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "main", "image": "busybox" }] } });
    let pod = serde_json::from_value(pod).unwrap();
    world
        .api::<Pod>("shop")
        .create(&PostParams::default(), &pod)
        .await
        .unwrap();
    let held = json!({ "metadata": { "name": "held", "finalizers": ["example.com/hold"] } });
    let held = serde_json::from_value(held).unwrap();
    world
        .api::<ConfigMap>("shop")
        .create(&PostParams::default(), &held)
        .await
        .unwrap();
    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    world
        .until::<Namespace>("", |all| {
            let conditions = all
                .get("shop")
                .and_then(|shop| shop.status.clone())
                .and_then(|status| status.conditions)
                .unwrap_or_default();
            conditions
                .iter()
                .any(|c| c.type_ == "NamespaceFinalizersRemaining" && c.status == "True")
        })
        .await;
    let release = json!({ "metadata": { "finalizers": null } });
    let maps = world.api::<ConfigMap>("shop");
    maps.patch("held", &PatchParams::default(), &Patch::Merge(release))
        .await
        .unwrap();
    world.until::<Namespace>("", |all| !all.contains_key("shop")).await;
    world.until::<ConfigMap>("shop", BTreeMap::is_empty).await;
    world.until::<Pod>("shop", BTreeMap::is_empty).await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_for_a_service_account_is_filled_and_goes_with_it() {
    let world = World::start().await;
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "robot"}})).unwrap();
    world
        .api("default")
        .create(&PostParams::default(), &account)
        .await
        .unwrap();
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "robot-token", "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token",
    }))
    .unwrap();
    world
        .api("default")
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    let filled = |all: &BTreeMap<String, Secret>| {
        let data = all.get("robot-token").and_then(|secret| secret.data.as_ref());
        data.is_some_and(|data| data.contains_key("token"))
    };
    let secrets = world.until::<Secret>("default", filled).await;
    let data = secrets["robot-token"].data.as_ref().unwrap();
    assert_eq!(
        (&*data["namespace"].0, &*data["ca.crt"].0),
        (&b"default"[..], &b"PEM"[..])
    );
    let token = String::from_utf8(data["token"].0.clone()).unwrap();
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let request = http::Request::post("/apis/authentication.k8s.io/v1/tokenreviews")
        .header("content-type", "application/json")
        .body(review.to_string().into_bytes())
        .unwrap();
    let review: Value = world.client.request(request).await.unwrap();
    assert_eq!(
        review["status"]["user"]["username"],
        "system:serviceaccount:default:robot"
    );
    world
        .api::<ServiceAccount>("default")
        .delete("robot", &DeleteParams::default())
        .await
        .unwrap();
    world
        .until::<Secret>("default", |all| !all.contains_key("robot-token"))
        .await;
}
