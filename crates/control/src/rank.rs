//! Which pods go first when there are too many.
//!
//! The ones whose loss hurts least: not yet running before running, not ready before ready, cheap before dear, from
//! crowded nodes before lonely ones, young before old.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::pod;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` pods to delete. `related` are the pods of all sets of the same owner.
pub(crate) fn first_to_go(pods: &[Arc<Pod>], related: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    let mut pods = pods.to_vec();
    if count < pods.len() {
        let mut crowd: HashMap<&str, usize> = HashMap::new();
        for node in related
            .iter()
            .filter(|pod| pod::is_active(pod))
            .filter_map(|pod| pod::node(pod))
        {
            *crowd.entry(node).or_default() += 1;
        }
        pods.sort_by(|a, b| compare(a, b, &crowd, now));
    }
    pods.truncate(count);
    pods
}

fn compare(a: &Pod, b: &Pod, crowd: &HashMap<&str, usize>, now: Timestamp) -> Ordering {
    let neighbours = |pod: &Pod| pod::node(pod).and_then(|node| crowd.get(node)).copied().unwrap_or(0);
    let order = pod::node(a).is_some().cmp(&pod::node(b).is_some());
    let order = order.then_with(|| phase(a).cmp(&phase(b)));
    let order = order.then_with(|| pod::is_ready(a).cmp(&pod::is_ready(b)));
    let order = order.then_with(|| cost(a).cmp(&cost(b)));
    let order = order.then_with(|| Reverse(neighbours(a)).cmp(&Reverse(neighbours(b))));
    let order = order.then_with(|| match (pod::ready_since(a), pod::ready_since(b)) {
        (Some(a), Some(b)) => magnitude(a, now).cmp(&magnitude(b, now)),
        _ => Ordering::Equal,
    });
    let order = order.then_with(|| Reverse(restarts(a)).cmp(&Reverse(restarts(b))));
    let created = |pod: &Pod| {
        let time = pod.metadata.creation_timestamp.as_ref();
        time.map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    };
    let order = order.then_with(|| magnitude(created(a), now).cmp(&magnitude(created(b), now)));
    order.then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

fn phase(pod: &Pod) -> u8 {
    match pod::phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

fn cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    let cost = annotations.and_then(|annotations| annotations.get(DELETION_COST));
    cost.and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

/// Order of magnitude of an age. Within one, the UID decides, so that it is not always the newest pods, often all on
/// one node, that go.
fn magnitude(since: Timestamp, now: Timestamp) -> u32 {
    let age = now.duration_since(since).as_nanos().max(0) as u128;
    u128::BITS - age.leading_zeros()
}

/// The most restarts of any of its containers that are meant to keep running.
fn restarts(pod: &Pod) -> i32 {
    let Some(status) = &pod.status else { return 0 };
    let statuses = status.container_statuses.iter().flatten();
    statuses.map(|status| status.restart_count).max().unwrap_or(0)
}
