//! The start of the node process, and what stays of it outside the node's PID namespace.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode as Permissions, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stdin, getegid, geteuid, getpid, setsid};

use super::cgroup::Groups;
use super::container::end;
use super::service::Node;
use super::{child, network, pause, privilege, trial};
use crate::Mode;
use crate::linux::wire::{self, Context, Failure, Message};

/// Most descriptors open at once; containers inherit it.
const DESCRIPTORS: u64 = 1 << 16;

/// Runs the node process until the main process is gone. Its end of the socket pair is standard input.
pub(crate) fn run() -> i32 {
    crate::inherited::close_inherited();
    if std::env::args().nth(2).as_deref() == Some(pause::ARGUMENT) {
        return pause::run();
    }
    // There is nobody to tell: without the link the main process sees end of file, and its own errors name the operation.
    start().unwrap_or(1)
}

/// Returns the exit code: the node's, as shells count it.
fn start() -> Result<i32, Failure> {
    let link = take_link()?;
    // SIGINT for the main process's terminal is not ours.
    let _ = setsid();
    umask(Permissions::S_IWGRP | Permissions::S_IWOTH);
    // Each sandbox and container takes a few descriptors here; the default of 1024 is for programs that use select().
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(DESCRIPTORS), hard);
    }
    // Should the socket pair have leaked into another process, the death of the main one still reaches us.
    prctl::set_pdeathsig(Signal::SIGTERM).context("tie the node to the main process")?;

    // Both take the kernel's grace periods, so they wait for them together.
    let trial = trial::Trial::begin();
    let groups = Groups::create(getpid());
    let (mode, refusals) = trial.end();
    let weaknesses = mode.map(|mode| groups.weaknesses(mode)).unwrap_or_default();
    let hello = Message::Hello {
        mode,
        refusals,
        weaknesses,
    };
    wire::send(link.as_fd(), &hello, &[]).context("greet")?;
    let Some(mode) = mode else {
        groups.remove_all();
        return Ok(0);
    };
    // Only now: the children of the trials would leave a SIGCHLD pending.
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]
        .into_iter()
        .collect::<SigSet>();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None).context("block signals")?;
    let result = isolate(mode).and_then(|()| {
        let (report, theirs) = wire::pair().context("make a report socket")?;
        let (for_node, groups) = (link.try_clone().context("duplicate the link")?, groups.clone());
        let node = child::fork(theirs, |_| match serve(for_node, mode, groups) {
            Ok(()) => std::process::exit(0),
            Err(failure) => failure,
        })?;
        drop(report);
        watch(&link, node, &signals)
    });
    groups.remove_all();
    result
}

/// Standard input is how a socket comes along without unsafe code; from here on it is an ordinary descriptor.
fn take_link() -> Result<OwnedFd, Failure> {
    let stdin = std::io::stdin();
    let link = stdin.as_fd().try_clone_to_owned().context("take the link")?;
    dup2_stdin(File::open("/dev/null").context("open /dev/null")?).context("close standard input")?;
    Ok(link)
}

/// Leaves the host's namespaces. The PID namespace begins with the next fork.
pub(super) fn isolate(mode: Mode) -> Result<(), Failure> {
    if mode == Mode::UserNamespace {
        privilege::enter_user_namespace(0, 0)?;
    }
    let kinds = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(kinds).context("leave the host's namespaces")
}

/// Makes the namespaces this process, the first of its PID namespace, is in a node's.
pub(super) fn settle_in() -> Result<(), Failure> {
    // The host's later mounts may still come in; nothing of ours goes out.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SLAVE,
        None::<&str>,
    )
    .context("detach from the host's mounts")?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), quiet, None::<&str>).context("mount the node's /proc")?;
    network::prepare_node()
}

fn serve(link: OwnedFd, mode: Mode, groups: Groups) -> Result<(), Failure> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("tie the node to its guard")?;
    settle_in()?;
    Node::new(link, mode, groups)?.serve()
}

/// Waits for the end of either side, and makes sure of the other's. Returns how the node ended: its code, or 128 + signal.
fn watch(link: &OwnedFd, node: Pid, signals: &SigSet) -> Result<i32, Failure> {
    let signals =
        SignalFd::with_flags(signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("watch signals")?;
    // No POLLIN on the link: requests are the node's. Hang-ups are always reported.
    let mut polled = [
        PollFd::new(link.as_fd(), PollFlags::empty()),
        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
    ];
    loop {
        while let Err(nix::Error::EINTR) = poll(&mut polled, PollTimeout::NONE) {}
        if polled[0].any().unwrap_or(true) {
            break;
        }
        let mut told = false;
        while let Ok(Some(signal)) = signals.read_signal() {
            told |= signal.ssi_signo != Signal::SIGCHLD as u32;
        }
        // A child that was merely stopped, or goes on, is news too, but not the end.
        match waitpid(node, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as i32),
            _ if told => break,
            _ => {}
        }
    }
    end(node);
    // Returns when the whole PID namespace is empty.
    while let Err(nix::Error::EINTR) = waitpid(node, None) {}
    Ok(0)
}

/// Whether this process may expect more than an unprivileged user.
pub(super) fn is_root() -> bool {
    geteuid().is_root() && getegid().as_raw() == 0
}
