//! Autoscalers and disruption budgets.

use serde_json::Value;

use super::finding::{Finding, Severity, Thing};
use super::selects::selects;
use super::{Cx, GRACE, brief, condition, condition_path, count, is_going, namespace};
use crate::kind::field::{int, scalar, text, time};

/// What is wrong with a HorizontalPodAutoscaler.
pub(super) fn autoscaler(cx: Cx<'_>, scaler: &Value) -> Vec<Finding> {
    if is_going(scaler) || !cx.aged(scaler, 2 * GRACE) {
        return Vec::new();
    }
    let target = &scaler["spec"]["scaleTargetRef"];
    let target = format!("{} {}", text(&target["kind"]), text(&target["name"]));
    let me = Thing::of(scaler);
    let said = |kind: &'static str| {
        let condition = condition(scaler, kind);
        (
            text(&condition["status"]),
            text(&condition["reason"]),
            text(&condition["message"]),
            time(&condition["lastTransitionTime"]),
        )
    };
    let (able, reason, message, since) = said("AbleToScale");
    if able == "False" && matches!(reason, "FailedGetScale" | "FailedUpdateScale") {
        let sentence = if message.contains("not found") {
            format!("Its target, {target}, does not exist.")
        } else {
            format!("Its target, {target}, cannot be scaled: {}", brief(message))
        };
        return vec![
            Finding::critical("hpa.target", scaler, sentence)
                .since(since)
                .read(condition_path("AbleToScale"), message)
                .edit(&me, "correct scaleTargetRef"),
        ];
    }
    let (active, reason, message, since) = said("ScalingActive");
    if active == "False" && reason != "ScalingDisabled" {
        let (cause, sentence) = match reason {
            "AmbiguousSelector" | "InvalidSelector" => {
                ("hpa.selector", "Another autoscaler scales the same pods.".to_owned())
            }
            _ if message.contains("missing request for") => (
                "hpa.requests",
                format!(
                    "It scales by a share of what pods request, and they request nothing: {}",
                    brief(message)
                ),
            ),
            _ if message.contains("unable to fetch metrics from resource metrics API") => (
                "hpa.metrics",
                "It is blind: the cluster does not serve the metrics it scales by.".to_owned(),
            ),
            _ if message.contains("did not receive metrics for") => (
                "hpa.metrics",
                "There are no metrics of its pods; they may not be ready.".to_owned(),
            ),
            _ => (
                "hpa.metrics",
                format!("It cannot tell how many pods are needed: {}", brief(message)),
            ),
        };
        return vec![
            Finding::critical(cause, scaler, sentence)
                .since(since)
                .read(condition_path("ScalingActive"), message)
                .advise("look at what is measured", "kubectl top pods"),
        ];
    }
    let (limited, reason, message, since) = said("ScalingLimited");
    let current = int(&scaler["status"]["currentReplicas"]);
    let most = int(&scaler["spec"]["maxReplicas"]);
    if limited == "True" && reason == "TooManyReplicas" && current >= most && cx.older(since, 900) {
        let sentence = format!(
            "It is at its maximum of {} and would go further.",
            count(most as usize, "pod")
        );
        return vec![
            Finding::warning("hpa.max", scaler, sentence)
                .since(since)
                .read(condition_path("ScalingLimited"), message)
                .edit(&me, "raise maxReplicas"),
        ];
    }
    Vec::new()
}

/// What is wrong with a PodDisruptionBudget.
pub(super) fn budget(cx: Cx<'_>, budget: &Value) -> Vec<Finding> {
    let status = &budget["status"];
    let spec = &budget["spec"];
    if is_going(budget) || status["expectedPods"].is_null() {
        return Vec::new();
    }
    let me = Thing::of(budget);
    let (expected, healthy, desired) = (
        int(&status["expectedPods"]),
        int(&status["currentHealthy"]),
        int(&status["desiredHealthy"]),
    );
    let allowed = condition(budget, "DisruptionAllowed");
    if allowed["reason"] == "SyncFailed" {
        return vec![
            Finding::warning(
                "pdb.sync",
                budget,
                format!("The budget cannot count its pods: {}", brief(text(&allowed["message"]))),
            )
            .read(condition_path("DisruptionAllowed"), text(&allowed["message"])),
        ];
    }
    if expected == 0 {
        return vec![Finding::note("pdb.nopods", budget, "It protects nothing now.").read("status.expectedPods", "0")];
    }
    if int(&status["disruptionsAllowed"]) > 0 {
        return Vec::new();
    }
    let rule = if spec["minAvailable"].is_null() {
        format!("maxUnavailable {}", scalar(&spec["maxUnavailable"]))
    } else {
        format!("minAvailable {}", scalar(&spec["minAvailable"]))
    };
    let finding = if healthy < desired {
        let causes = cx
            .world
            .within("", "Pod", namespace(budget))
            .filter(|pod| selects(&spec["selector"], &pod["metadata"]["labels"]))
            .flat_map(|pod| super::pod::pod(cx, pod))
            .take(3)
            .collect();
        let sentence = format!(
            "No pod may be evicted: {healthy} of {} needed are healthy.",
            count(desired as usize, "pod")
        );
        Finding::warning("pdb.block", budget, sentence).because(causes)
    } else {
        let severity = if expected == 1 {
            Severity::Note
        } else {
            Severity::Warning
        };
        let sentence = format!("No pod may ever be evicted: the budget wants all {expected} of them ({rule}).");
        Finding::new("pdb.block", severity, budget, sentence).edit(&me, "leave room for one, or run more pods")
    };
    vec![finding.read("status", format!("disruptionsAllowed 0, {rule}"))]
}
