//! Deployments, ReplicaSets, StatefulSets and DaemonSets: what their pods suffer from, told once.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::finding::{Finding, Fix, Severity, Thing};
use super::world::Known;
use super::{Cx, GRACE, admission, condition, condition_path, count, is_going, is_unobserved, name, namespace, wanted};
use crate::kind::field::{int, items, text, time, yes};

/// The pods of an owner that are to be its present ones.
fn living(pods: Vec<&Value>) -> Vec<&Value> {
    pods.into_iter()
        .filter(|pod| !is_going(pod) && !matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed"))
        .collect()
}

/// A sentence without what differs from pod to pod: names, numbers, hashes.
fn shape(sentence: &str, pod: &Value) -> String {
    let plain = sentence.replace(name(pod), "*");
    plain.chars().filter(|ch| !ch.is_ascii_digit()).collect()
}

/// What a group of pods has in common: one finding for all that suffer from the same, with the oldest as the example.
fn grouped(cx: Cx<'_>, pods: &[&Value]) -> Vec<Finding> {
    let mut groups: Vec<(String, usize, Finding)> = Vec::new();
    let mut pods = pods.to_vec();
    pods.sort_by_key(|pod| time(&pod["metadata"]["creationTimestamp"]));
    for pod in &pods {
        let Some(finding) = super::pod::pod(cx, pod)
            .into_iter()
            .filter(|finding| finding.severity > Severity::Note)
            .max_by_key(Finding::weight)
        else {
            continue;
        };
        let shape = format!("{} {}", finding.root().cause, shape(&finding.root().sentence, pod));
        match groups.iter_mut().find(|(known, ..)| *known == shape) {
            Some((_, count, _)) => *count += 1,
            None => groups.push((shape, 1, finding)),
        }
    }
    let all = pods.len();
    groups.sort_by_key(|(_, count, finding)| std::cmp::Reverse((finding.severity, *count)));
    groups
        .into_iter()
        .take(3)
        .map(|(_, affected, mut finding)| {
            if all > 1 {
                finding.sentence = format!("{affected} of {}: {}", count(all, "pod"), finding.sentence);
            }
            finding
        })
        .collect()
}

/// When its spec last changed.
fn changed(object: &Value) -> Option<Timestamp> {
    items(&object["metadata"]["managedFields"])
        .iter()
        .filter(|entry| entry["subresource"].is_null())
        .filter_map(|entry| time(&entry["time"]))
        .max()
}

/// The controller has not looked at the last change.
fn unobserved(cx: Cx<'_>, object: &Value) -> Option<Finding> {
    let changed = changed(object);
    if !is_unobserved(object) || !cx.older(changed, GRACE) {
        return None;
    }
    let lease = cx
        .world
        .get("coordination.k8s.io", "Lease", "kube-system", "kube-controller-manager")
        .there();
    let renewed = lease.and_then(|lease| time(&lease["spec"]["renewTime"]));
    let sentence = match renewed {
        Some(_) if cx.older(renewed, GRACE) => format!(
            "The controllers have given no sign of life for {}: the last change has not been looked at.",
            cx.age(renewed)
        ),
        _ => "The controller has not looked at the last change.".to_owned(),
    };
    Some(
        Finding::critical("dep.unobserved", object, sentence)
            .since(changed)
            .read(
                "status.observedGeneration",
                format!(
                    "{} of {}",
                    int(&object["status"]["observedGeneration"]),
                    int(&object["metadata"]["generation"])
                ),
            )
            .advise("look whether the controllers run", "kubectl get pods -n kube-system"),
    )
}

/// Whether what serves is less than what is wanted: then it is down, else it is worse than it should be.
fn severity(serving: i64) -> Severity {
    if serving == 0 {
        Severity::Critical
    } else {
        Severity::Warning
    }
}

/// What is wrong with a ReplicaSet or a ReplicationController.
pub(super) fn replica_set(cx: Cx<'_>, set: &Value) -> Vec<Finding> {
    if is_going(set) || wanted(set) == 0 {
        return Vec::new();
    }
    let pods = cx.world.children(set, "", "Pod");
    let living = living(pods.clone());
    if let Some(finding) = unobserved(cx, set) {
        return vec![finding];
    }
    if (living.len() as i64) < wanted(set)
        && let Some(finding) = admission::cannot_create(cx, set, &pods)
    {
        return vec![finding];
    }
    if int(&set["status"]["readyReplicas"]) >= wanted(set) {
        return Vec::new();
    }
    let causes = grouped(cx, &living);
    if causes.is_empty() {
        return Vec::new();
    }
    let ready = int(&set["status"]["readyReplicas"]);
    let sentence = format!("{ready} of {} ready.", count(wanted(set) as usize, "pod"));
    vec![
        Finding::new("rs.notready", severity(ready), set, sentence)
            .read("status.readyReplicas", ready.to_string())
            .because(causes),
    ]
}

/// The ReplicaSets of a Deployment, the newest revision first.
fn revisions<'a>(cx: Cx<'a>, deployment: &'a Value) -> Vec<&'a Value> {
    let revision = |set: &Value| -> i64 {
        text(&set["metadata"]["annotations"]["deployment.kubernetes.io/revision"])
            .parse()
            .unwrap_or_default()
    };
    let mut sets = cx.world.children(deployment, "apps", "ReplicaSet");
    sets.sort_by_key(|set| std::cmp::Reverse((revision(set), time(&set["metadata"]["creationTimestamp"]))));
    sets
}

/// What is wrong with a Deployment.
pub(super) fn deployment(cx: Cx<'_>, deployment: &Value) -> Vec<Finding> {
    if is_going(deployment) {
        return Vec::new();
    }
    if let Some(finding) = unobserved(cx, deployment) {
        return vec![finding];
    }
    let me = Thing::of(deployment);
    if wanted(deployment) == 0 {
        return vec![zero(deployment)];
    }
    let mut findings = Vec::new();
    let sets = revisions(cx, deployment);
    let serving = int(&deployment["status"]["availableReplicas"]);
    let progressing = condition(deployment, "Progressing");
    let stuck = progressing["status"] == "False" && progressing["reason"] == "ProgressDeadlineExceeded";
    let newest = sets.first().copied();
    let pods = newest
        .map(|set| living(cx.world.children(set, "", "Pod")))
        .unwrap_or_default();
    let mut causes = match newest {
        Some(set) if (pods.len() as i64) < wanted(set) => {
            let all = cx.world.children(set, "", "Pod");
            admission::cannot_create(cx, set, &all).into_iter().collect()
        }
        _ => Vec::new(),
    };
    if causes.is_empty() && condition(deployment, "ReplicaFailure")["status"] == "True" {
        causes.extend(admission::cannot_create(cx, deployment, &[]));
    }
    if causes.is_empty() {
        causes = grouped(cx, &pods);
    }
    let undo = format!("kubectl rollout undo {}{}", me.argument(), me.flag());
    let revision = newest.map_or("", |set| {
        text(&set["metadata"]["annotations"]["deployment.kubernetes.io/revision"])
    });
    if stuck {
        let old = if serving > 0 {
            format!(" {} of the old revision still serve.", count(serving as usize, "pod"))
        } else {
            String::new()
        };
        let finding = Finding::new(
            "dep.deadline",
            severity(serving),
            deployment,
            format!("The rollout of revision {revision} is stuck.{old}"),
        )
        .since(time(&progressing["lastUpdateTime"]))
        .read(condition_path("Progressing"), text(&progressing["message"]));
        let finding = if sets.len() > 1 {
            finding.advise("go back to the revision before", undo)
        } else {
            finding
        };
        findings.push(finding.because(causes));
    } else if !causes.is_empty() {
        let updated = int(&deployment["status"]["updatedReplicas"]);
        let sentence = format!(
            "{serving} of {} available; revision {revision} has {updated}.",
            count(wanted(deployment) as usize, "pod")
        );
        findings.push(
            Finding::new("dep.notready", severity(serving), deployment, sentence)
                .read("status.availableReplicas", serving.to_string())
                .because(causes),
        );
    }
    findings.extend(paused(deployment, newest));
    findings
}

fn zero(object: &Value) -> Finding {
    let me = Thing::of(object);
    let scaler = items(&object["metadata"]["managedFields"])
        .iter()
        .filter(|entry| !entry["fieldsV1"]["f:spec"]["f:replicas"].is_null())
        .max_by_key(|entry| time(&entry["time"]));
    let by = scaler.map_or_else(String::new, |entry| format!(" by {}", text(&entry["manager"])));
    let command = format!("kubectl scale {} --replicas=1{}", me.argument(), me.flag());
    Finding::note("wl.zero", object, format!("It is scaled to zero{by}."))
        .since(scaler.and_then(|entry| time(&entry["time"])))
        .read("spec.replicas", "0")
        .advise("scale it up", command)
        .by(Fix::Merge {
            target: me,
            subresource: Some("scale"),
            patch: json!({"spec": {"replicas": 1}}),
        })
}

/// Paused with a template that no ReplicaSet has.
fn paused(deployment: &Value, newest: Option<&Value>) -> Option<Finding> {
    if !yes(&deployment["spec"]["paused"]) {
        return None;
    }
    let containers = |object: &Value| object["spec"]["template"]["spec"]["containers"].clone();
    if newest.is_some_and(|set| containers(set) == containers(deployment)) {
        return None;
    }
    let me = Thing::of(deployment);
    let command = format!("kubectl rollout resume {}{}", me.argument(), me.flag());
    Some(
        Finding::note(
            "dep.paused",
            deployment,
            "The rollout is paused, so the new template is not applied.",
        )
        .read("spec.paused", "true")
        .advise("resume it", command)
        .by(Fix::Merge {
            target: me,
            subresource: None,
            patch: json!({"spec": {"paused": null}}),
        }),
    )
}

/// The ordinal at the end of a pod's name.
fn ordinal(pod: &Value) -> i64 {
    name(pod)
        .rsplit_once('-')
        .and_then(|(_, number)| number.parse().ok())
        .unwrap_or_default()
}

/// What is wrong with a StatefulSet.
pub(super) fn stateful_set(cx: Cx<'_>, set: &Value) -> Vec<Finding> {
    if is_going(set) {
        return Vec::new();
    }
    if let Some(finding) = unobserved(cx, set) {
        return vec![finding];
    }
    if wanted(set) == 0 {
        return vec![zero(set)];
    }
    let all = cx.world.children(set, "", "Pod");
    let mut findings = Vec::new();
    let ready = int(&set["status"]["readyReplicas"]);
    let ordered = set["spec"]["podManagementPolicy"] != "Parallel";
    let mut pods: Vec<&Value> = all
        .iter()
        .copied()
        .filter(|pod| !super::is(pod, "Ready", "True"))
        .collect();
    pods.sort_by_key(|pod| ordinal(pod));
    if let Some(finding) = obsolete(set, &pods) {
        findings.push(finding);
    } else if ready < wanted(set) {
        let refused = ((all.len() as i64) < wanted(set))
            .then(|| admission::cannot_create(cx, set, &all))
            .flatten();
        if let Some(finding) = refused {
            findings.push(finding);
        } else if let Some(first) = pods.first().filter(|_| ordered) {
            let causes = super::pod::pod(cx, first);
            let waiting = wanted(set) - all.len() as i64;
            if !causes.is_empty() {
                let rest = if waiting > 0 {
                    format!(" {} wait for it.", count(waiting as usize, "pod"))
                } else {
                    String::new()
                };
                let sentence = format!(
                    "{ready} of {} ready: {} is not.{rest}",
                    count(wanted(set) as usize, "pod"),
                    name(first)
                );
                findings.push(
                    Finding::new("sts.ordered", severity(ready), set, sentence)
                        .read("status.readyReplicas", ready.to_string())
                        .because(causes),
                );
            }
        } else {
            let causes = grouped(cx, &living(all.clone()));
            if !causes.is_empty() {
                let sentence = format!("{ready} of {} ready.", count(wanted(set) as usize, "pod"));
                findings.push(Finding::new("sts.notready", severity(ready), set, sentence).because(causes));
            }
        }
    }
    let service = text(&set["spec"]["serviceName"]);
    if !service.is_empty() && cx.world.get("", "Service", namespace(set), service) == Known::Absent {
        let sentence = format!("Its pods have no stable names: Service {service} does not exist.");
        findings.push(
            Finding::warning("sts.service", set, sentence)
                .read("spec.serviceName", service)
                .advise(
                    "make a headless Service of that name",
                    format!(
                        "kubectl create service clusterip {service} --clusterip=None -n {}",
                        namespace(set)
                    ),
                ),
        );
    }
    findings
}

/// A broken pod of an older template keeps a mended one from being used.
fn obsolete(set: &Value, unready: &[&Value]) -> Option<Finding> {
    let update = text(&set["status"]["updateRevision"]);
    let rolls = set["spec"]["updateStrategy"]["type"] != "OnDelete";
    let partition = int(&set["spec"]["updateStrategy"]["rollingUpdate"]["partition"]);
    if !rolls || update.is_empty() || set["spec"]["podManagementPolicy"] == "Parallel" {
        return None;
    }
    let revision = |pod: &Value| text(&pod["metadata"]["labels"]["controller-revision-hash"]).to_owned();
    let broken = unready.iter().find(|pod| {
        let revision = revision(pod);
        revision != update && revision != text(&set["status"]["currentRevision"]) && ordinal(pod) >= partition
    })?;
    let pod = Thing::of(broken);
    let sentence = format!(
        "The present template is not used until the broken pod {} is deleted.",
        pod.name
    );
    let command = format!("kubectl delete {}{}", pod.argument(), pod.flag());
    Some(
        Finding::critical("sts.stuckupdate", set, sentence)
            .read_in(
                pod.clone(),
                "metadata.labels[controller-revision-hash]",
                revision(broken),
            )
            .read("status.updateRevision", update)
            .advise(format!("delete pod {}; it is made anew", pod.name), command)
            .by(Fix::Delete(pod)),
    )
}

/// What is wrong with a DaemonSet.
pub(super) fn daemon_set(cx: Cx<'_>, set: &Value) -> Vec<Finding> {
    if is_going(set) {
        return Vec::new();
    }
    if let Some(finding) = unobserved(cx, set) {
        return vec![finding];
    }
    let status = &set["status"];
    let (desired, ready) = (int(&status["desiredNumberScheduled"]), int(&status["numberReady"]));
    if ready >= desired {
        return Vec::new();
    }
    let all = cx.world.children(set, "", "Pod");
    let refused = (int(&status["currentNumberScheduled"]) < desired)
        .then(|| admission::cannot_create(cx, set, &all))
        .flatten();
    if let Some(finding) = refused {
        return vec![finding];
    }
    let causes = grouped(cx, &living(all));
    if causes.is_empty() {
        return Vec::new();
    }
    let missing = desired - ready;
    let sentence = format!(
        "{missing} of {} lack a working pod of it.",
        count(desired as usize, "node")
    );
    vec![
        Finding::new("ds.notready", severity(ready), set, sentence)
            .read("status.numberReady", format!("{ready} of {desired}"))
            .because(causes),
    ]
}
