//! A pod's status, computed from its specification and what its worker knows. Pure functions but for the patch's sending.

mod condition;
mod container;
mod patch;
mod phase;
mod reporter;

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, HostIP, Pod, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(crate) use reporter::Reporter;

use crate::pod::state::{PodState, Role, Sandbox};

/// What of the node a status shows.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) host_ip: IpAddr,
    /// Scheme of container IDs.
    pub(crate) scheme: String,
}

/// The status of `pod`. `previous` is the one that was reported before: what has not changed keeps its times.
pub(crate) fn compute(
    pod: &Pod,
    declared: &[(Role, Container)],
    state: &PodState,
    previous: &PodStatus,
    node: &Node,
    now: Timestamp,
) -> PodStatus {
    let phase = phase::phase(pod, declared, state, previous);
    let statuses = container::statuses(declared, state, phase, node);
    let conditions = condition::conditions(pod, state, phase, &statuses, previous, now);
    let (reason, message) = match &state.failed {
        Some((reason, message)) => (Some(reason.clone()), Some(message.clone())),
        None => (None, None),
    };
    let host_network = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
    let ip = if host_network && matches!(state.sandbox, Sandbox::Ready { .. }) {
        Some(node.host_ip)
    } else {
        state.ip
    };
    let ip = ip.map(|ip| ip.to_string());
    let host_ip = node.host_ip.to_string();
    let turned_away = reason.as_deref().is_some_and(crate::container::is_rejection);
    let some = |list: Vec<_>| (!list.is_empty() && !turned_away).then_some(list);
    PodStatus {
        observed_generation: pod.metadata.generation,
        phase: Some(phase.to_owned()),
        conditions: Some(conditions),
        reason,
        message,
        host_ip: Some(host_ip.clone()),
        host_ips: Some(vec![HostIP { ip: host_ip }]),
        pod_ips: ip.clone().map(|ip| vec![PodIP { ip }]),
        pod_ip: ip,
        start_time: Some(Time(state.start_time.unwrap_or(now))),
        init_container_statuses: some(statuses.init),
        container_statuses: some(statuses.app),
        ephemeral_container_statuses: some(statuses.ephemeral),
        qos_class: previous.qos_class.clone().or_else(|| Some(qos(declared).to_owned())),
        ..PodStatus::default()
    }
}

/// The status computed last, with the conditions of others as `api` has them.
pub(crate) fn previous(last: &PodStatus, api: &Pod) -> PodStatus {
    let conditions = |status: &PodStatus, ours: bool| {
        let list = status.conditions.iter().flatten();
        list.filter(|known| condition::own(&known.type_) == ours)
            .cloned()
            .collect::<Vec<_>>()
    };
    let theirs = api
        .status
        .as_ref()
        .map(|status| conditions(status, false))
        .unwrap_or_default();
    PodStatus {
        conditions: Some([conditions(last, true), theirs].concat()),
        ..last.clone()
    }
}

/// The quality-of-service class that requests and limits amount to.
fn qos(declared: &[(Role, Container)]) -> &'static str {
    let counted = || {
        declared
            .iter()
            .filter(|(role, _)| *role != Role::Ephemeral)
            .map(|(_, container)| container)
    };
    let (mut any, mut guaranteed) = (false, true);
    for container in counted() {
        let resources = container.resources.clone().unwrap_or_default();
        let limits = resources.limits.unwrap_or_default();
        let requests = resources.requests.unwrap_or_default();
        for name in ["cpu", "memory"] {
            let set = |value: Option<&_>| value.map(crate::quantity::milli_value).filter(|amount| *amount > 0);
            let limit = set(limits.get(name));
            let request = set(requests.get(name)).or(limit);
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests;
