//! Which processes are a container's.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use super::namespace;
use crate::usage;

/// A container's mount namespace, by which its processes are told from others', wherever in the process tree they are.
///
/// It is held open: the kernel gives the number of one that is gone to the next, and what was meant for the last processes of a
/// container that has just ended would hit one that has just begun.
#[derive(Debug)]
pub(super) struct Membership {
    name: PathBuf,
    _held: OwnedFd,
}

impl Membership {
    pub(super) fn of(namespace: OwnedFd) -> Option<Self> {
        let name = std::fs::read_link(format!("/proc/self/fd/{}", namespace.as_raw_fd())).ok()?;
        Some(Self { name, _held: namespace })
    }

    /// Process IDs of all that are in it.
    pub(super) fn processes(&self) -> Vec<i32> {
        usage::select(|pid| namespace::identity(pid, "mnt").as_deref() == Some(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_a_member_of_its_own_namespace() {
        let own = Membership::of(namespace::open("self", "mnt").unwrap()).unwrap();
        assert!(own.processes().contains(&nix::unistd::getpid().as_raw()), "{own:?}");
    }
}
