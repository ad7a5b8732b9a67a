//! What a node has left: ports, CPU, memory, and all other resources that are counted.

use crate::scheduler::events::ClusterEvent;
use crate::scheduler::framework::{Cluster, Filter, MAX_NODE_SCORE, Plugin, Score, Unschedulable};
use crate::scheduler::types::{NodeInfo, PodInfo};

/// Host ports are free.
pub(super) struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn events(&self) -> ClusterEvent {
        ClusterEvent::NODE_ADD.or(ClusterEvent::POD_DELETE)
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, _cluster: Cluster<'a>) -> Option<Box<dyn Filter + 'a>> {
        (!pod.host_ports.is_empty()).then(|| Box::new(Ports(pod)) as Box<dyn Filter>)
    }
}

struct Ports<'a>(&'a PodInfo);

impl Filter for Ports<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Unschedulable> {
        let mut taken = node.pods.values().flat_map(|pod| &pod.host_ports);
        match taken.any(|theirs| self.0.host_ports.iter().any(|ours| ours.conflicts(theirs))) {
            true => Err(Unschedulable::resolvable(
                "node(s) didn't have free ports for the requested pod ports",
            )),
            false => Ok(()),
        }
    }
}

/// `NodeResourcesFit`: there is enough of everything; the emptier the node, the better.
pub(super) struct Fit;

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn events(&self) -> ClusterEvent {
        ClusterEvent::NODE_ADD
            .or(ClusterEvent::NODE_ALLOCATABLE)
            .or(ClusterEvent::POD_DELETE)
            .or(ClusterEvent::POD_SCALE_DOWN)
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, _cluster: Cluster<'a>) -> Option<Box<dyn Filter + 'a>> {
        Some(Box::new(Enough(pod)))
    }

    fn pre_score<'a>(&self, pod: &'a PodInfo, _: Cluster<'a>, _nodes: &[&NodeInfo]) -> Option<Box<dyn Score + 'a>> {
        Some(Box::new(LeastAllocated(pod)))
    }
}

struct Enough<'a>(&'a PodInfo);

impl Filter for Enough<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Unschedulable> {
        let mut reasons = Vec::new();
        let pods = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
        let room = node.allocatable.others.get("pods");
        if room.is_some_and(|most| pods + 1 > *most) {
            reasons.push("Too many pods".to_owned());
        }
        // More than the whole node has: no eviction helps.
        let mut beyond = false;
        for (name, amount) in self.0.requests.iter() {
            let all = node.allocatable.get(name);
            if amount > 0 && amount > all.saturating_sub(node.requested.get(name)) {
                reasons.push(format!("Insufficient {name}"));
                beyond |= amount > all;
            }
        }
        if reasons.is_empty() {
            return Ok(());
        }
        Err(Unschedulable {
            reasons,
            resolvable: !beyond,
            helpful: ClusterEvent::NONE,
        })
    }
}

struct LeastAllocated<'a>(&'a PodInfo);

impl Score for LeastAllocated<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let free = |capacity: i64, used: i64| {
            if capacity <= 0 || used > capacity {
                return 0;
            }
            (capacity - used).saturating_mul(MAX_NODE_SCORE) / capacity
        };
        let cpu = free(
            node.allocatable.milli_cpu,
            node.non_zero_cpu.saturating_add(self.0.non_zero_cpu),
        );
        let memory = free(
            node.allocatable.memory,
            node.non_zero_memory.saturating_add(self.0.non_zero_memory),
        );
        (cpu + memory) / 2
    }
}

/// `NodeResourcesBalancedAllocation`: the closer the shares of CPU and memory, the better; nothing is left over that nothing
/// fits into.
pub(super) struct BalancedAllocation;

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    /// Pods that ask for nothing change no balance.
    fn pre_score<'a>(&self, pod: &'a PodInfo, _: Cluster<'a>, _nodes: &[&NodeInfo]) -> Option<Box<dyn Score + 'a>> {
        let asks = pod.requests.milli_cpu > 0 || pod.requests.memory > 0;
        asks.then(|| Box::new(Balance(pod)) as Box<dyn Score>)
    }
}

struct Balance<'a>(&'a PodInfo);

impl Score for Balance<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let share = |name: &str| {
            let capacity = node.allocatable.get(name);
            let used = node.requested.get(name).saturating_add(self.0.requests.get(name));
            match capacity {
                ..=0 => 1.0,
                _ => (used as f64 / capacity as f64).min(1.0),
            }
        };
        let deviation = (share("cpu") - share("memory")).abs() / 2.0;
        ((1.0 - deviation) * MAX_NODE_SCORE as f64) as i64
    }
}
