//! The first process of a PID namespace that several containers share: it inherits their orphans and waits.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::linux::wire::{Context, Failure};

/// The argument after the node process's own that asks for this.
pub(super) const ARGUMENT: &str = "pause";

/// Becomes the pause process. A fresh program, so that nothing stays open of what the node process holds.
pub(super) fn exec() -> Failure {
    let arguments = [c"knarr", super::ARGUMENT_C, c"pause"];
    let Err(error) = super::privilege::reset_signals()
        .and_then(|()| nix::unistd::execv(c"/proc/self/exe", &arguments).context("start the pause process"));
    error
}

/// Waits for ever; being killed is its only end.
pub(super) fn run() -> i32 {
    let children = SigSet::from(Signal::SIGCHLD);
    if sigprocmask(SigmaskHow::SIG_BLOCK, Some(&children), None).is_err() {
        return 1;
    }
    loop {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
        if children.wait().is_err() {
            return 1;
        }
    }
}
