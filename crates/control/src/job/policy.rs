//! What the failure of a pod means to its Job, and when a Job has succeeded early.

use k8s_openapi::api::batch::v1::{PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicyRule};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;

use super::index::Indexes;

/// What a failed pod means to the Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It counts towards the back-off limit.
    Count,
    /// It does not count.
    Ignore,
    /// Its index has failed for good.
    FailIndex,
    /// The whole Job has failed, and why.
    FailJob(String),
}

/// What the first rule that matches the failed pod says.
pub(crate) fn verdict(rules: &[PodFailurePolicyRule], pod: &Pod) -> Verdict {
    let judge = |(index, rule): (usize, &PodFailurePolicyRule)| {
        let why = reason(rule, pod)?;
        Some(match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => Verdict::FailJob(format!("{why} matching FailJob rule at index {index}")),
            _ => Verdict::Count,
        })
    };
    rules.iter().enumerate().find_map(judge).unwrap_or(Verdict::Count)
}

/// In what the pod matches a rule.
fn reason(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    if let Some(codes) = &rule.on_exit_codes {
        let containers = status
            .container_statuses
            .iter()
            .chain(&status.init_container_statuses)
            .flatten();
        let (container, code) = containers
            .filter_map(|container| Some((container, exit_code(container)?)))
            .find(|(container, code)| matches_code(codes, container, *code))?;
        let container = &container.name;
        return Some(format!(
            "Container {container} for pod {name} failed with exit code {code}"
        ));
    }
    let patterns = rule.on_pod_conditions.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    let condition = conditions.find(|condition| {
        patterns.iter().any(|pattern| {
            pattern.type_ == condition.type_ && pattern.status.as_deref().unwrap_or("True") == condition.status
        })
    })?;
    Some(format!("Pod {name} has condition {}", condition.type_))
}

fn exit_code(container: &ContainerStatus) -> Option<i32> {
    let ended = container.state.as_ref()?.terminated.as_ref()?;
    Some(ended.exit_code).filter(|code| *code != 0)
}

fn matches_code(codes: &PodFailurePolicyOnExitCodesRequirement, container: &ContainerStatus, code: i32) -> bool {
    let named = codes.container_name.as_ref().is_none_or(|name| *name == container.name);
    named
        && match codes.operator.as_str() {
            "In" => codes.values.contains(&code),
            "NotIn" => !codes.values.contains(&code),
            _ => false,
        }
}

/// The first rule that what has succeeded so far satisfies, as a message.
pub(crate) fn success(rules: &[SuccessPolicyRule], succeeded: &Indexes, completions: i32) -> Option<String> {
    let met = |rule: &SuccessPolicyRule| {
        let (have, least) = match &rule.succeeded_indexes {
            Some(indexes) => {
                let wanted = Indexes::parse(indexes, completions);
                let total = wanted.total();
                (
                    wanted.overlap(succeeded),
                    rule.succeeded_count.map_or(total, |count| count.min(total)),
                )
            }
            None => (succeeded.total(), rule.succeeded_count.unwrap_or(i32::MAX)),
        };
        have > 0 && have >= least
    };
    let index = rules.iter().position(met)?;
    Some(format!("Matched rules at index {index}"))
}
