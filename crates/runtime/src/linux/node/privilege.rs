//! Giving up rights before a container's program runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{Gid, Uid, fchown, setgroups, setresgid, setresuid};

use super::program::Identity;
use super::{seccomp, sys};
use crate::linux::wire::{Context, Failure};
use crate::{Capabilities, Mode, Security};

/// More than any kernel knows; the first unknown one ends the loop.
const CAPABILITIES: u32 = 64;

/// Maps `inside` to the one user and group this process has now, in a user namespace of its own.
pub(super) fn enter_user_namespace(uid: u32, gid: u32) -> Result<(), Failure> {
    let (outer_uid, outer_gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER).context("make a user namespace")?;
    // Without this an unprivileged user could drop a group that a file's permissions deny something to.
    std::fs::write("/proc/self/setgroups", "deny").context("deny changing groups")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {outer_uid} 1")).context("map the user")?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {outer_gid} 1")).context("map the group")
}

/// What is different when the whole node runs in an unprivileged user's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Users {
    /// Every number is available.
    All,
    /// Only root is mapped; any other number gets a user namespace of its own in which it stands for the same user.
    OnlyRoot,
    /// The container's user namespace has been joined already.
    Joined,
}

impl Users {
    pub(super) fn of(mode: Mode) -> Self {
        if mode == Mode::Root { Self::All } else { Self::OnlyRoot }
    }
}

/// Becomes `identity` without a way back.
pub(super) fn become_user(identity: &Identity, users: Users, security: &Security) -> Result<(), Failure> {
    sys::forget_keys();
    if users == Users::OnlyRoot && (identity.uid, identity.gid) != (0, 0) {
        enter_user_namespace(identity.uid, identity.gid)?;
    }
    let capabilities = if security.privileged {
        Capabilities::ALL
    } else {
        security.capabilities
    };
    for (number, name) in capabilities.asked() {
        if !bounds_allow(number) {
            return Err(Failure::Unsupported(format!(
                "securityContext.capabilities.add: this node does not have the capability {name} itself"
            )));
        }
    }
    // A filter takes CAP_SYS_ADMIN or the promise not to gain rights. Without the promise it has to come before the rights go.
    if !security.no_new_privileges {
        seccomp::install(security, capabilities)?;
    }
    bound_capabilities(capabilities).context("drop capabilities")?;
    if users == Users::All {
        let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
        let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups).context("set groups")?;
        setresgid(gid, gid, gid).context("set the group")?;
        setresuid(uid, uid, uid).context("set the user")?;
    }
    if security.no_new_privileges {
        prctl::set_no_new_privs().context("give up new privileges")?;
        seccomp::install(security, capabilities)?;
    }
    Ok(())
}

/// Where there is no control group to count processes, the kernel counts those of the node's user namespace: all containers together.
pub(super) fn limit_processes(most: u64) {
    // Refused only where the limit is lower already.
    let _ = setrlimit(Resource::RLIMIT_NPROC, most, most);
}

/// Lets a program that runs as another user reopen its streams by `/dev/stdout`: pipes and terminals made for it, and nothing else.
pub(super) fn hand_over_streams(identity: &Identity, users: Users) {
    if users == Users::All && identity.uid != 0 {
        let (uid, gid) = (Some(Uid::from_raw(identity.uid)), Some(Gid::from_raw(identity.gid)));
        let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        for stream in [input.as_fd(), output.as_fd(), error.as_fd()] {
            // The stream itself works regardless.
            if is_pipe(stream) {
                let _ = fchown(stream, uid, gid);
            } else if nix::unistd::isatty(stream).unwrap_or(false) {
                let _ = fchown(stream, uid, None);
            }
        }
    }
}

fn is_pipe(stream: BorrowedFd<'_>) -> bool {
    fstat(stream).is_ok_and(|found| found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFIFO.bits())
}

/// Shrinks the bounding set, which caps what a program run by root can have.
#[allow(unsafe_code, reason = "prctl's capability operations have no safe binding")]
fn bound_capabilities(kept: Capabilities) -> nix::Result<()> {
    for capability in (0..CAPABILITIES).filter(|capability| !kept.holds(*capability)) {
        // SAFETY: PR_CAPBSET_DROP takes one number and touches no memory of ours.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
        match nix::Error::result(result) {
            Ok(_) => {}
            Err(nix::Error::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[allow(unsafe_code, reason = "prctl's capability operations have no safe binding")]
fn bounds_allow(capability: u32) -> bool {
    // SAFETY: PR_CAPBSET_READ takes one number and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability), 0, 0, 0) == 1 }
}

/// Undoes what this process changed about signals: a program expects none blocked and `SIGPIPE` deadly.
#[allow(unsafe_code, reason = "changing a signal's disposition")]
pub(super) fn reset_signals() -> Result<(), Failure> {
    // SAFETY: the default disposition installs no handler, so no code of ours can run in a signal's context.
    unsafe { nix::sys::signal::signal(Signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl) }
        .context("reset SIGPIPE")?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).context("unblock signals")
}

/// Opens the slave of a new terminal of this process's `/dev/pts` and makes it the controlling one. The caller leads a session without
/// a terminal, which is what makes the kernel choose the first one opened.
pub(super) fn open_terminal() -> Result<(OwnedFd, OwnedFd), Failure> {
    let master =
        nix::pty::posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).context("open a terminal")?;
    nix::pty::unlockpt(&master).context("unlock the terminal")?;
    let name = nix::pty::ptsname_r(&master).context("name the terminal")?;
    let slave = nix::fcntl::open(
        name.as_str(),
        OFlag::O_RDWR | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )
    .context("open the terminal's other end")?;
    Ok((master.into(), slave))
}
