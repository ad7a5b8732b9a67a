//! Why the server refuses to make an object: what a controller was told when it tried.

use serde_json::Value;

use super::finding::{Finding, Thing};
use super::{Cx, brief, namespace};
use crate::kind::field::{text, time};

/// The word between two marks of a message.
fn between<'a>(message: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let rest = message.split_once(from)?.1;
    Some(rest.split_once(to).map_or(rest, |(word, _)| word))
}

/// What a refusal means: `owner` wanted to make something in its namespace and was told `message`.
pub(super) fn refused(cx: Cx<'_>, owner: &Value, message: &str) -> Finding {
    let namespace = namespace(owner);
    let me = Thing::of(owner);
    let low = message.to_lowercase();
    if let Some(quota) = between(message, "exceeded quota: ", ",") {
        let (asked, used, limited) = (
            between(message, "requested: ", ", used:").unwrap_or_default(),
            between(message, "used: ", ", limited:").unwrap_or_default(),
            between(message, "limited: ", ";").unwrap_or_default(),
        );
        let sentence = format!(
            "Quota {quota} of namespace {namespace} is used up: {used} of {limited}, and {asked} more is asked for."
        );
        let quota = Thing::new("", "ResourceQuota", namespace, quota);
        return Finding::critical("adm.quota", owner, sentence)
            .edit(&quota, "raise the quota")
            .advise(
                "or free some of it",
                format!("kubectl describe quota {}{}", quota.name, quota.flag()),
            );
    }
    if let Some(rest) = message.split_once("failed quota: ").map(|(_, rest)| rest) {
        let (quota, what) = rest
            .split_once(": ")
            .unwrap_or((rest, "must specify requests and limits"));
        let sentence = format!(
            "Quota {quota} of namespace {namespace} wants every pod to say what it needs: {}.",
            brief(what)
        );
        return Finding::critical("adm.quota", owner, sentence)
            .edit(&me, "set resources in the template, or make a LimitRange with defaults");
    }
    if low.contains("per container is") || low.contains("per pod is") || low.contains("max limit to request ratio") {
        let what = message.rsplit_once("is forbidden: ").map_or(message, |(_, what)| what);
        let sentence = format!(
            "The limit range of namespace {namespace} refuses the pod: {}.",
            brief(what)
        );
        return Finding::critical("adm.limitrange", owner, sentence.replace("..", "."))
            .edit(&me, "ask for what the namespace allows");
    }
    if let Some(level) = between(message, "violates PodSecurity \"", "\"") {
        let what = message.split_once("\": ").map_or("", |(_, what)| what);
        let sentence = format!(
            "The security level {level} of namespace {namespace} refuses the pod: {}.",
            brief(what)
        );
        let level = level.split(':').next().unwrap_or(level);
        return Finding::critical("adm.psa", owner, sentence.replace("..", "."))
            .read_in(
                Thing::new("", "Namespace", "", namespace),
                "metadata.labels[pod-security.kubernetes.io/enforce]",
                level,
            )
            .edit(&me, "set the fields of securityContext that are named")
            .advise(
                "allow more in the namespace",
                format!(
                    "kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=privileged --overwrite"
                ),
            )
            .dangerous();
    }
    if let Some(webhook) = between(message, "failed calling webhook \"", "\"") {
        let service = between(message, "https://", "/").unwrap_or_default();
        let host = service.split(':').next().unwrap_or_default();
        let mut parts = host.split('.');
        let (name, within) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let causes = cx.world.get("", "Service", within, name).there();
        let causes = causes
            .map(|service| super::network::service(cx, service))
            .unwrap_or_default();
        let sentence = format!("Webhook {webhook} has to agree, and cannot be called.");
        return Finding::critical("adm.webhookdown", owner, sentence)
            .because(causes)
            .advise(
                "mend the webhook's pods, or let it be ignored (failurePolicy: Ignore)",
                "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations",
            );
    }
    if let Some(rest) = message.split_once("admission webhook \"").map(|(_, rest)| rest) {
        let webhook = rest.split('"').next().unwrap_or_default();
        let why = rest
            .split_once("denied the request: ")
            .map_or("it gives no reason", |(_, why)| why);
        return Finding::critical(
            "adm.webhookdeny",
            owner,
            format!("Webhook {webhook} refuses it: {}.", brief(why)),
        )
        .edit(&me, "do as it says");
    }
    if let Some(policy) = between(message, "ValidatingAdmissionPolicy '", "'") {
        let why = message.rsplit_once("denied request: ").map_or("", |(_, why)| why);
        return Finding::critical("adm.vap", owner, format!("Policy {policy} refuses it: {}.", brief(why)))
            .edit(&me, "do as it says");
    }
    if low.contains("serviceaccount") && low.contains("not found") {
        let account = between(message, "serviceaccount \"", "\"").unwrap_or("named");
        let sentence = format!("The service account {account} does not exist in namespace {namespace}.");
        return Finding::critical("adm.serviceaccount", owner, sentence)
            .advise(
                "make it",
                format!("kubectl create serviceaccount {account} -n {namespace}"),
            )
            .edit(&me, "name another one in the template");
    }
    if let Some(class) = between(message, "no PriorityClass with name ", " ") {
        return Finding::critical("adm.class", owner, format!("Priority class {class} does not exist."))
            .edit(&me, "name another one in the template");
    }
    if low.contains("runtimeclass") && low.contains("not found") {
        let class = between(message, "RuntimeClass \"", "\"").unwrap_or("named");
        return Finding::critical("adm.class", owner, format!("Runtime class {class} does not exist."))
            .edit(&me, "name another one in the template");
    }
    if low.contains("because it is being terminated") {
        let sentence = format!("Namespace {namespace} is being deleted; nothing new can be made in it.");
        return Finding::critical("adm.nsterminating", owner, sentence);
    }
    if low.contains("is invalid") {
        return Finding::critical(
            "adm.invalid",
            owner,
            format!("The template makes no valid pod: {}", brief(message)),
        )
        .edit(&me, "correct the template");
    }
    Finding::critical(
        "adm.other",
        owner,
        format!("The server refuses the pod: {}", brief(message)),
    )
}

/// The words of the refusal, from an event of a controller: what follows `Error creating: ` and the like.
pub(super) fn words(message: &str) -> &str {
    for mark in ["Error creating: ", "rror creating job: ", "failed error: "] {
        if let Some((_, words)) = message.split_once(mark) {
            return words;
        }
    }
    message
}

/// Why `owner` has fewer children than it wants: told by a condition, or by an event newer than its newest child.
pub(super) fn cannot_create(cx: Cx<'_>, owner: &Value, children: &[&Value]) -> Option<Finding> {
    let failure = super::condition(owner, "ReplicaFailure");
    if failure["status"] == "True" {
        let message = text(&failure["message"]);
        return Some(
            refused(cx, owner, message)
                .since(time(&failure["lastTransitionTime"]))
                .read(super::condition_path("ReplicaFailure"), message),
        );
    }
    let event = cx.world.newest(owner, &["FailedCreate"])?;
    let newest = children
        .iter()
        .filter_map(|child| time(&child["metadata"]["creationTimestamp"]))
        .max();
    if !event.after(newest) || cx.older(event.last, super::RECENT) {
        return None;
    }
    Some(
        refused(cx, owner, words(&event.message))
            .since(event.last)
            .read("event FailedCreate", event.message.as_str()),
    )
}
