//! Entering and leaving namespaces.
//!
//! `setns` moves the calling thread only, and joining a user namespace is refused to a process with several threads. This process has one, so
//! it may step into a pod's network to make a socket there and step back: a socket stays in the network it was made in.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::sched::{CloneFlags, setns, unshare};

use crate::linux::wire::{Context, Failure};

/// Opens a namespace of a process (`self` for this one) by its name in `/proc/<pid>/ns`.
pub(super) fn open(process: &str, kind: &str) -> Result<OwnedFd, Failure> {
    let path = format!("/proc/{process}/ns/{kind}");
    File::open(&path)
        .map(OwnedFd::from)
        .with_context(|| format!("open {path}"))
}

/// What tells two namespaces apart; `None` when the process is gone.
pub(super) fn identity(process: &str, kind: &str) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{process}/ns/{kind}")).ok()
}

/// The namespaces that the containers of a pod share.
#[derive(Debug)]
pub(super) struct Shared {
    net: OwnedFd,
    uts: OwnedFd,
    ipc: OwnedFd,
}

impl Shared {
    /// Those this process is in.
    pub(super) fn current() -> Result<Self, Failure> {
        Ok(Self {
            net: open("self", "net")?,
            uts: open("self", "uts")?,
            ipc: open("self", "ipc")?,
        })
    }

    /// Enters all of them.
    pub(super) fn enter(&self) -> Result<(), Failure> {
        self.enter_network()?;
        setns(&self.uts, CloneFlags::CLONE_NEWUTS).context("enter the host name's namespace")?;
        setns(&self.ipc, CloneFlags::CLONE_NEWIPC).context("enter the IPC namespace")
    }

    /// Enters the network only.
    pub(super) fn enter_network(&self) -> Result<(), Failure> {
        setns(&self.net, CloneFlags::CLONE_NEWNET).context("enter the network namespace")
    }

    /// The network, for moving a link into it.
    pub(super) fn network(&self) -> impl AsFd {
        &self.net
    }
}

/// Where this process lives, to come back to after each visit.
#[derive(Debug)]
pub(super) struct Home {
    shared: Shared,
    processes: OwnedFd,
}

impl Home {
    pub(super) fn current() -> Result<Self, Failure> {
        Ok(Self {
            shared: Shared::current()?,
            processes: open("self", "pid")?,
        })
    }

    /// The PID namespace.
    pub(super) fn processes(&self) -> Result<OwnedFd, Failure> {
        self.processes.try_clone().context("duplicate a namespace")
    }

    /// Does `work` in new or other namespaces, then comes back. Where coming back fails nothing later could be trusted, so the
    /// process ends, and everything it runs with it.
    pub(super) fn visit<T>(&self, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let result = work();
        if self.shared.enter().is_err() {
            std::process::abort();
        }
        result
    }

    /// Runs `fork` so that its child lands in `target`, a PID namespace, or is the first process of a new one.
    pub(super) fn fork_into<T>(
        &self,
        target: Option<&OwnedFd>,
        fork: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match target {
            Some(namespace) => setns(namespace, CloneFlags::CLONE_NEWPID),
            None => unshare(CloneFlags::CLONE_NEWPID),
        }
        .context("choose the PID namespace")?;
        let result = fork();
        // Only future children are affected, this process never moved; but the next child must not land in there.
        if setns(&self.processes, CloneFlags::CLONE_NEWPID).is_err() {
            std::process::abort();
        }
        result
    }
}
