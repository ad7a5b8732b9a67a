//! Why something does not work: findings with their evidence and remedies, from objects alone.
//!
//! A rule is a pure function of the objects at hand and the time; it reads fields before messages and messages before events, because fields
//! tell what is now and events what was. A rule that lacks what it needs to be sure says nothing: what could not be read is never "missing".

mod admission;
mod condition;
mod container;
mod crash;
mod event;
mod finding;
mod gather;
mod glance;
mod image;
mod job;
mod network;
mod node;
mod pod;
mod probe;
mod reference;
mod removal;
mod render;
mod scaling;
mod scheduling;
mod selects;
mod start;
mod volume;
mod workload;
mod world;

pub use finding::{Evidence, Finding, Fix, Remedy, Severity, Thing};
pub use gather::examine;
pub use glance::{LastLines, Next, Teller, glance, next, teller};
pub use render::Diagnosis;
pub(in crate::kind) use selects::selects;
pub use world::World;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::field::{int, items, text, time, yes};

/// How long a new pod may be without a place, a container or an answer before that is worth a word.
const GRACE_SCHEDULING: i64 = 15;
/// How long a node may take to pick a pod up, a claim to be bound, a finished deletion to vanish: seconds.
const GRACE: i64 = 60;
/// How long a pull or a cloud's load balancer may take: seconds.
const GRACE_SLOW: i64 = 300;
/// How long a restart is news: seconds.
const RECENT: i64 = 3600;

/// What rules look at.
#[derive(Clone, Copy)]
struct Cx<'a> {
    world: &'a World,
    now: Timestamp,
}

impl Cx<'_> {
    /// Seconds since a moment; 0 for one in the future, `None` for none.
    fn since(&self, at: Option<Timestamp>) -> Option<i64> {
        at.map(|at| self.now.duration_since(at).as_secs().max(0))
    }

    /// Whether a moment is longer ago than this many seconds. What has no time is not.
    fn older(&self, at: Option<Timestamp>, seconds: i64) -> bool {
        self.since(at).is_some_and(|age| age > seconds)
    }

    /// How long something has lasted, as kubectl prints ages; empty when it is not known.
    fn age(&self, at: Option<Timestamp>) -> String {
        at.map_or_else(String::new, |at| crate::text::age(at, self.now))
    }

    /// Whether the object is older than this many seconds.
    fn aged(&self, object: &Value, seconds: i64) -> bool {
        self.older(time(&object["metadata"]["creationTimestamp"]), seconds)
    }
}

/// What is wrong with an object, roots first: the worst before the others. Empty when nothing is, as far as `world` tells.
pub fn diagnose(world: &World, object: &Value, now: Timestamp) -> Vec<Finding> {
    let mut findings = look(Cx { world, now }, object);
    findings.sort_by(|a, b| b.weight().cmp(&a.weight()).then_with(|| a.since.cmp(&b.since)));
    findings
}

/// The findings of one object, by its kind. Rules call it for the objects theirs depends on.
fn look(cx: Cx<'_>, object: &Value) -> Vec<Finding> {
    let (group, kind) = world::group_kind(object);
    let mut findings = match (group, kind) {
        ("", "Pod") => pod::pod(cx, object),
        ("", "Node") => node::node(cx, object),
        ("", "Service") => network::service(cx, object),
        ("", "PersistentVolumeClaim") => volume::claim(cx, object),
        ("", "PersistentVolume") => volume::volume(cx, object),
        ("", "Namespace") => removal::namespace(cx, object),
        ("", "ReplicationController") | ("apps", "ReplicaSet") => workload::replica_set(cx, object),
        ("apps", "Deployment") => workload::deployment(cx, object),
        ("apps", "StatefulSet") => workload::stateful_set(cx, object),
        ("apps", "DaemonSet") => workload::daemon_set(cx, object),
        ("batch", "Job") => job::job(cx, object),
        ("batch", "CronJob") => job::cron_job(cx, object),
        ("autoscaling", "HorizontalPodAutoscaler") => scaling::autoscaler(cx, object),
        ("policy", "PodDisruptionBudget") => scaling::budget(cx, object),
        ("networking.k8s.io", "Ingress") => network::ingress(cx, object),
        ("apiregistration.k8s.io", "APIService") => condition::api_service(cx, object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => condition::definition(cx, object),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration") => {
            condition::webhooks(cx, object)
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => condition::binding(cx, object),
        ("certificates.k8s.io", "CertificateSigningRequest") => condition::signing_request(cx, object),
        _ if group.contains('.') && !group.ends_with(".k8s.io") => condition::custom(cx, object),
        _ => Vec::new(),
    };
    if kind != "Pod" && kind != "Namespace" {
        findings.extend(removal::held(cx, object));
    }
    findings
}

/// The condition of this type.
fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    super::field::by(&object["status"]["conditions"], "type", kind).unwrap_or(&Value::Null)
}

/// Whether the condition of this type has this status.
fn is(object: &Value, kind: &str, status: &str) -> bool {
    condition(object, kind)["status"] == status
}

/// Where a condition stands, for evidence.
fn condition_path(kind: &str) -> String {
    format!("status.conditions[{kind}]")
}

/// `metadata.name`.
fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

/// `metadata.namespace`.
fn namespace(object: &Value) -> &str {
    text(&object["metadata"]["namespace"])
}

/// Whether it is being deleted.
fn is_going(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// `N seconds` as people say it.
fn duration(seconds: i64) -> String {
    crate::text::human_duration(SignedDuration::from_secs(seconds))
}

/// How many of `items`, with the noun.
fn count(number: usize, noun: &str) -> String {
    crate::text::count(number, noun)
}

/// The names, at most three of them: `a, b, c and 4 more`.
fn few<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    match names.len() {
        0..=3 => names.join(", "),
        more => format!("{} and {} more", names[..3].join(", "), more - 3),
    }
}

/// The first sentence of a message that may be long, on one line.
fn brief(message: &str) -> String {
    const LONGEST: usize = 300;
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    crate::text::cut_end(&line, LONGEST).into_owned()
}

/// The number of replicas wanted: 1 where none is said.
fn wanted(object: &Value) -> i64 {
    object["spec"]["replicas"].as_i64().unwrap_or(1)
}

/// Whether the object's controller has not yet looked at its last change.
fn is_unobserved(object: &Value) -> bool {
    let observed = &object["status"]["observedGeneration"];
    observed.is_i64() && int(observed) < int(&object["metadata"]["generation"])
}

/// The owner that controls it.
fn controller(object: &Value) -> Option<&Value> {
    items(&object["metadata"]["ownerReferences"])
        .iter()
        .find(|owner| yes(&owner["controller"]))
}

#[cfg(test)]
mod tests;
