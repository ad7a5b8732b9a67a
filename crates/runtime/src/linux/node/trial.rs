//! Finding out what this host allows, by doing all of it once in throw-away processes.
//!
//! Nothing short of that is reliable: user namespaces may be compiled out, limited to none, filtered by seccomp, or allowed but stripped of
//! their rights by AppArmor; root may be root in name only.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::namespace::{Home, Shared};
use super::network::{Addresses, FIRST, connect_pod};
use super::privilege::{self, Users};
use super::program::Identity;
use super::root::{self, Parts};
use super::{child, guard};
use crate::linux::wire::{self, Context, Failure};
use crate::{ContainerSpec, Mode, Tmpfs};

/// A user other than root.
const SOMEBODY: u32 = 1000;
/// Longest refusal read back.
const LONGEST: u64 = 4096;

/// Finding out which mode works, begun with the best one.
pub(super) struct Trial {
    mode: Mode,
    attempt: Result<Attempt, String>,
    /// What is tried if that fails.
    rest: Option<Mode>,
}

impl Trial {
    /// Begins. The caller goes on while a throw-away process tries.
    pub(super) fn begin() -> Self {
        let (mode, rest) = match guard::is_root() {
            true => (Mode::Root, Some(Mode::UserNamespace)),
            false => (Mode::UserNamespace, None),
        };
        let attempt = Attempt::begin(mode);
        Self { mode, attempt, rest }
    }

    /// The best mode that works, and why better ones do not.
    pub(super) fn end(self) -> (Option<Mode>, Vec<String>) {
        let mut refusals = Vec::new();
        let mut next = Some((self.mode, self.attempt));
        let mut rest = self.rest.into_iter();
        while let Some((mode, attempt)) = next {
            match attempt.and_then(Attempt::end) {
                Ok(()) => return (Some(mode), refusals),
                Err(reason) => refusals.push(format!("{}: {reason}", name(mode))),
            }
            next = rest.next().map(|mode| (mode, Attempt::begin(mode)));
        }
        (None, refusals)
    }
}

/// What a refusal calls a mode.
fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Root => "root",
        _ => "user namespace",
    }
}

/// A throw-away process that does all of it in one mode.
struct Attempt {
    child: Pid,
    /// Where it writes what went wrong.
    reader: OwnedFd,
}

impl Attempt {
    fn begin(mode: Mode) -> Result<Self, String> {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|e| e.to_string())?;
        let (_, report) = wire::pair().map_err(|e| e.to_string())?;
        let child = child::fork(report, |_| {
            finish(
                &writer,
                guard::isolate(mode).and_then(|()| first_process(mode, &writer)),
            )
        });
        let child = child.map_err(|e| e.to_string())?;
        Ok(Self { child, reader })
    }

    fn end(self) -> Result<(), String> {
        let mut reason = String::new();
        drop(File::from(self.reader).take(LONGEST).read_to_string(&mut reason));
        match waitpid(self.child, None) {
            Ok(WaitStatus::Exited(_, 0)) if reason.is_empty() => Ok(()),
            Ok(_) if !reason.is_empty() => Err(reason),
            other => Err(format!("ended unexpectedly: {other:?}")),
        }
    }
}

/// Ends this throw-away process, with the reason written where the parent reads.
fn finish(writer: &OwnedFd, result: Result<(), Failure>) -> Failure {
    if let Err(failure) = result {
        let sent = writer
            .try_clone()
            .and_then(|writer| write!(File::from(writer), "{failure}"));
        std::process::exit(if sent.is_ok() { 1 } else { 2 });
    }
    std::process::exit(0)
}

/// Runs the rest as the first process of the new PID namespace.
fn first_process(mode: Mode, writer: &OwnedFd) -> Result<(), Failure> {
    run(|| guard::settle_in().and_then(|()| rehearse(mode, writer)), writer)
}

/// Everything a pod with one container takes, but for the program.
fn rehearse(mode: Mode, writer: &OwnedFd) -> Result<(), Failure> {
    let home = Home::current()?;
    let shared = home.visit(|| {
        unshare(CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWNET)
            .context("make the pod's namespaces")?;
        Shared::current()
    })?;
    let address = Addresses::new(FIRST)
        .take()
        .ok_or_else(|| Failure::other("find a pod address", "none"))?;
    connect_pod(&home, &Shared::current()?, &shared, address)?;

    // In this process's mount namespace only: the host's /tmp stays as it is.
    let scratch = Path::new("/tmp");
    root::mount_tmpfs(scratch, Tmpfs::default())?;
    let [image, layer, shm] = ["image", "layer", "shm"].map(|name| scratch.join(name));
    for directory in [&image, &layer, &shm] {
        fs::create_dir(directory).context("create a scratch directory")?;
    }
    let spec = ContainerSpec {
        root: image,
        uid: Some(SOMEBODY),
        gid: Some(SOMEBODY),
        ..ContainerSpec::default()
    };
    home.fork_into(None, || {
        run(
            || {
                shared.enter()?;
                root::assemble(&Parts {
                    spec: &spec,
                    layer: &layer,
                    shm: &shm,
                    groups: Vec::new(),
                    rootless: mode != Mode::Root,
                })?;
                // Root of somebody else's user namespace may have no other users to become.
                privilege::become_user(&Identity::of(&spec), Users::of(mode), &spec.security)
            },
            writer,
        )
    })
}

/// Does `work` in a child and waits for it.
fn run(work: impl FnOnce() -> Result<(), Failure>, writer: &OwnedFd) -> Result<(), Failure> {
    let (_, report) = wire::pair().context("make a report socket")?;
    let child = child::fork(report, |_| finish(writer, work()))?;
    match waitpid(child, None).context("wait for the rehearsal")? {
        WaitStatus::Exited(_, 0) => Ok(()),
        // It has written why.
        _ => std::process::exit(1),
    }
}
