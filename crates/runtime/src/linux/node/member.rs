//! Which processes are a container's.

use std::path::Path;

use super::namespace;
use crate::usage;

/// Process IDs whose mount namespace is `namespace`: those of one container, wherever in the process tree they are.
pub(super) fn members(namespace: &Path) -> Vec<i32> {
    usage::select(|pid| namespace::identity(pid, "mnt").as_deref() == Some(namespace))
}
