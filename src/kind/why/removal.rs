//! Deletions that do not come to an end.

use serde_json::{Value, json};

use super::finding::{Finding, Fix, Thing};
use super::{Cx, GRACE, brief, condition, condition_path, few, name, node};
use crate::kind::field::{items, text, time};

/// Who takes a finalizer away, and when.
const KEEPERS: &[(&str, &str)] = &[
    ("kubernetes.io/pvc-protection", "a pod still uses the claim"),
    ("kubernetes.io/pv-protection", "a claim is still bound to the volume"),
    ("foregroundDeletion", "what it owns has to go first"),
    ("orphan", "what it owns has to be let go first"),
    (
        "service.kubernetes.io/load-balancer-cleanup",
        "the load balancer has to be taken down",
    ),
    (
        "customresourcecleanup.apiextensions.k8s.io",
        "objects of this kind have to go first",
    ),
    ("batch.kubernetes.io/job-tracking", "the job has yet to count this pod"),
    ("kubernetes", "what is in it has to go first"),
];

/// An object that is deleted and held by finalizers.
pub(super) fn held(cx: Cx<'_>, object: &Value) -> Option<Finding> {
    let deleted = time(&object["metadata"]["deletionTimestamp"]);
    let finalizers: Vec<&str> = items(&object["metadata"]["finalizers"]).iter().map(text).collect();
    let first = *finalizers.first()?;
    if !cx.older(deleted, GRACE) {
        return None;
    }
    let me = Thing::of(object);
    let why = KEEPERS.iter().find(|(finalizer, _)| *finalizer == first);
    let mut because = Vec::new();
    let sentence = match why {
        Some((finalizer, why)) => {
            let who = if *finalizer == "kubernetes.io/pvc-protection" {
                users(cx, object)
            } else {
                String::new()
            };
            format!("Its deletion, asked for {} ago, waits: {why}{who}.", cx.age(deleted))
        }
        None => {
            let domain = first.split('/').next().unwrap_or(first);
            because.extend(keeper(cx, object, domain));
            format!(
                "Its deletion, asked for {} ago, waits for the finalizer {first}, which its controller has to take away.",
                cx.age(deleted)
            )
        }
    };
    let patch = json!({"metadata": {"finalizers": null}});
    Some(
        Finding::warning("obj.finalizer", object, sentence)
            .since(deleted)
            .read("metadata.finalizers", finalizers.join(", "))
            .because(because)
            .advise(
                "as a last resort, take the finalizers away; what they were to clean up stays",
                format!("kubectl patch {}{} --type=merge -p '{patch}'", me.argument(), me.flag()),
            )
            .by(Fix::Merge {
                target: me,
                subresource: None,
                patch,
            })
            .dangerous(),
    )
}

/// The pods that use a claim.
fn users(cx: Cx<'_>, claim: &Value) -> String {
    let users = cx
        .world
        .within("", "Pod", super::namespace(claim))
        .filter(|pod| super::volume::claims_of(pod).iter().any(|used| used == name(claim)))
        .map(name);
    let users = few(users);
    if users.is_empty() {
        String::new()
    } else {
        format!(" ({users})")
    }
}

/// A controller of the finalizer's domain that does not work.
fn keeper(cx: Cx<'_>, object: &Value, domain: &str) -> Option<Finding> {
    let word = domain.split('.').next()?;
    let keeper = cx
        .world
        .all("apps", "Deployment")
        .iter()
        .find(|deployment| word.len() > 3 && name(deployment).contains(word))?;
    (name(keeper) != name(object))
        .then(|| super::workload::deployment(cx, keeper))?
        .into_iter()
        .next()
}

/// A pod that is being deleted.
pub(super) fn pod(cx: Cx<'_>, pod: &Value) -> Vec<Finding> {
    let due = time(&pod["metadata"]["deletionTimestamp"]);
    // The time of deletion already counts the grace that the pod has.
    if !cx.older(due, GRACE) {
        return Vec::new();
    }
    let me = Thing::of(pod);
    let host = text(&pod["spec"]["nodeName"]);
    let lost = cx.world.get("", "Node", "", host).there();
    let causes: Vec<Finding> = lost
        .map(|host| node::node(cx, host))
        .unwrap_or_default()
        .into_iter()
        .filter(|finding| finding.severity == super::Severity::Critical)
        .collect();
    if causes.is_empty() && !items(&pod["metadata"]["finalizers"]).is_empty() {
        return held(cx, pod).into_iter().collect();
    }
    let sentence = if causes.is_empty() {
        format!(
            "The pod should have been gone {} ago, and its node {host} has not ended it.",
            cx.age(due)
        )
    } else {
        format!(
            "The pod should have been gone {} ago, but its node {host} does not answer.",
            cx.age(due)
        )
    };
    let finding = Finding::warning("crash.terminating", pod, sentence).since(due).read(
        "metadata.deletionTimestamp",
        text(&pod["metadata"]["deletionTimestamp"]),
    );
    let finding = match cx.world.newest(pod, &["FailedKillPod", "FailedPreStopHook"]) {
        Some(event) => finding.read(format!("event {}", event.reason), event.message.as_str()),
        None => finding,
    };
    vec![
        finding
            .because(causes)
            .advise(
                "if its node is surely off, delete it by force; a stateful pod might else run twice",
                format!("kubectl delete {}{} --force --grace-period=0", me.argument(), me.flag()),
            )
            .dangerous(),
    ]
}

/// A namespace that is being deleted.
pub(super) fn namespace(cx: Cx<'_>, namespace: &Value) -> Vec<Finding> {
    let deleted = time(&namespace["metadata"]["deletionTimestamp"]);
    if !cx.older(deleted, GRACE) {
        return Vec::new();
    }
    let age = cx.age(deleted);
    let said = |kind: &str| {
        let condition = condition(namespace, kind);
        (condition["status"] == "True").then(|| text(&condition["message"]))
    };
    let finding = if let Some(message) = said("NamespaceDeletionDiscoveryFailure") {
        let down = cx
            .world
            .all("apiregistration.k8s.io", "APIService")
            .iter()
            .find(|api| condition(api, "Available")["status"] == "False");
        let causes = down
            .map(|api| super::condition::api_service(cx, api))
            .unwrap_or_default();
        let sentence = match down {
            Some(api) => format!("It cannot be deleted, because the API {} does not answer.", name(api)),
            None => "It cannot be deleted, because an API of the cluster does not answer.".to_owned(),
        };
        Finding::critical("ns.discovery", namespace, sentence)
            .read(condition_path("NamespaceDeletionDiscoveryFailure"), message)
            .because(causes)
    } else if let Some(message) = said("NamespaceFinalizersRemaining") {
        let left = said("NamespaceContentRemaining").unwrap_or_default();
        let sentence = format!(
            "Its deletion, asked for {age} ago, waits for finalizers of what is in it: {}",
            brief(message)
        );
        Finding::warning("ns.finalizers", namespace, sentence)
            .read(condition_path("NamespaceFinalizersRemaining"), message)
            .read(condition_path("NamespaceContentRemaining"), left)
            .advise(
                "look at what is left, and whether its controllers run",
                format!("kubectl get all -n {}", name(namespace)),
            )
    } else if let Some(message) = said("NamespaceDeletionContentFailure") {
        Finding::critical(
            "ns.content",
            namespace,
            format!("Some of what is in it cannot be deleted: {}", brief(message)),
        )
        .read(condition_path("NamespaceDeletionContentFailure"), message)
    } else if let Some(message) = said("NamespaceContentRemaining") {
        Finding::warning(
            "ns.content",
            namespace,
            format!("Its deletion, asked for {age} ago, waits for what is in it."),
        )
        .read(condition_path("NamespaceContentRemaining"), message)
    } else {
        return Vec::new();
    };
    vec![finding.since(deleted)]
}
