//! The plugins of the default profile, in the order in which they filter.

mod inter_pod_affinity;
pub(crate) mod node;
mod resources;
mod topology_spread;
mod volume;

pub(crate) use node::{matches_selector as matches_node, tolerates};
pub(crate) use volume::pre_bind;

use super::framework::Plugin;

/// Every plugin. One that is not asked at an extension point answers nothing there.
pub(crate) const ALL: &[&'static dyn Plugin] = &[
    &node::NodeUnschedulable,
    &node::TaintToleration,
    &node::NodeAffinity,
    &resources::NodePorts,
    &resources::Fit,
    &volume::VolumeRestrictions,
    &volume::VolumeBinding,
    &volume::VolumeZone,
    &topology_spread::PodTopologySpread,
    &inter_pod_affinity::InterPodAffinity,
    &resources::BalancedAllocation,
];
