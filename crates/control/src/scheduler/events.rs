//! What happens in a cluster, as far as it may make room for a pod that waits.

use std::ops::BitOr;

/// A set of kinds of events. A plugin names those that may change its mind; a pod that a plugin refused is tried again only
/// after one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClusterEvent(u16);

impl ClusterEvent {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const NODE_ADD: Self = Self(1);
    pub(crate) const NODE_DELETE: Self = Self(1 << 1);
    pub(crate) const NODE_ALLOCATABLE: Self = Self(1 << 2);
    pub(crate) const NODE_LABEL: Self = Self(1 << 3);
    /// Taints, and cordoning.
    pub(crate) const NODE_TAINT: Self = Self(1 << 4);
    /// A pod has got a node.
    pub(crate) const POD_ADD: Self = Self(1 << 5);
    pub(crate) const POD_LABEL: Self = Self(1 << 6);
    pub(crate) const POD_SCALE_DOWN: Self = Self(1 << 7);
    /// A pod has left its node.
    pub(crate) const POD_DELETE: Self = Self(1 << 8);
    pub(crate) const NAMESPACE_LABEL: Self = Self(1 << 9);
    /// A PersistentVolume has come or changed.
    pub(crate) const VOLUME: Self = Self(1 << 10);
    pub(crate) const VOLUME_CLAIM: Self = Self(1 << 11);
    pub(crate) const STORAGE_CLASS: Self = Self(1 << 12);
    /// Anything.
    pub(crate) const ALL: Self = Self(u16::MAX);

    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for ClusterEvent {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.or(other)
    }
}
