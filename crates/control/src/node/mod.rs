//! The life of nodes as the control plane sees it: heartbeats, taints, eviction, and cleaning up after them.

pub(crate) mod collect;
pub(crate) mod evict;
pub(crate) mod health;
