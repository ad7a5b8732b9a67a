//! What the node process knows of its sandboxes, containers and processes.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::unistd::Pid;

use super::cgroup::Groups;
use super::member::Membership;
use super::namespace::Shared;
use super::network::Addresses;
use crate::linux::wire::{Ends, Failure};
use crate::{ContainerSpec, ExitStatus, Processes};

/// A node: the first, or one beside it on this host.
#[derive(Debug)]
pub(super) struct Member {
    /// Of which only the network is its own.
    pub(super) network: Shared,
    pub(super) addresses: Addresses,
    /// What its pods may use together. The first node's is the parent of the others'.
    pub(super) groups: Groups,
}

/// A pod's shared part.
#[derive(Debug)]
pub(super) struct Sandbox {
    /// The number of its node.
    pub(super) node: u8,
    pub(super) shared: Shared,
    /// `None` on the host network: the node's address then.
    pub(super) address: Option<Ipv4Addr>,
    /// `/dev/shm`, a memory file system mounted in the node's mount namespace only.
    pub(super) shm: PathBuf,
    /// The node's shared memory is its own: `hostIPC`.
    pub(super) host_ipc: bool,
    pub(super) group: Option<Groups>,
    /// Memory-backed volumes that its containers share, mounted likewise.
    pub(super) memory: HashSet<PathBuf>,
    /// First process of the PID namespace its containers share, once one has asked for that.
    pub(super) pause: Option<Pid>,
    /// Calls waiting for the removal.
    pub(super) removers: Vec<u64>,
}

/// A container, from its start until its removal.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) spec: ContainerSpec,
    pub(super) layer: PathBuf,
    pub(super) group: Option<Groups>,
    pub(super) stage: Stage,
    /// Whether to remove it when its first process has ended, and the calls waiting for that.
    pub(super) doomed: bool,
    pub(super) removers: Vec<u64>,
}

/// How far a container is.
#[derive(Debug)]
pub(super) enum Stage {
    /// Its first process is still preparing.
    Starting(Pid),
    /// Its program runs.
    Running(Pid, Option<Membership>),
    /// Its first process has ended.
    Ended,
}

impl Container {
    /// Whether the kernel leaves its other processes alone when the first one ends.
    pub(super) fn shares_processes(&self) -> bool {
        self.spec.processes != Processes::Own
    }

    /// The first process, while there is one.
    pub(super) fn first(&self) -> Option<Pid> {
        match self.stage {
            Stage::Starting(pid) | Stage::Running(pid, _) => Some(pid),
            Stage::Ended => None,
        }
    }
}

/// A child of the node process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) role: Role,
    /// Set until its program runs.
    pub(super) pending: Option<Pending>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A container's first process; `process` is its name on the wire.
    First { process: u64, container: String },
    /// A command in a container.
    Command { process: u64, container: String },
    /// The first process of a shared PID namespace.
    Pause,
    /// Deletes a container's files; then these calls are answered.
    Sweeper {
        container: String,
        sandbox: String,
        calls: Vec<u64>,
    },
}

/// A started child that has not executed its program yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) call: u64,
    pub(super) report: OwnedFd,
    /// Our ends of its streams.
    pub(super) ours: Vec<OwnedFd>,
    pub(super) ends: Ends,
    /// The mount namespace of a new container.
    pub(super) mounts: Option<OwnedFd>,
    pub(super) failure: Option<Failure>,
}

/// Translates what `waitpid` says.
pub(super) fn exit_status(code: i32, signal: i32) -> ExitStatus {
    let code = if signal == 0 { code } else { 128 + signal };
    ExitStatus {
        code,
        signal,
        oom_killed: false,
    }
}
