//! What a forked child does between the fork and its program.
//!
//! The child tells the node process about itself over a report socket that closes when the program is executed: end of file without a
//! failure means it runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, setsid};
use serde::{Deserialize, Serialize};

use super::cgroup::Groups;
use super::namespace::{self, Shared};
use super::privilege::{self, Users};
use super::program::{Identity, Prepared};
use super::root::{self, Parts};
use crate::ContainerSpec;
use crate::linux::wire::{self, Context, Ends, Failure};

/// What a child says before its program runs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The new container's file system stands; comes with its mount namespace.
    Mounted,
    /// The master of the terminal it made; comes with the descriptor.
    Terminal,
    /// Nothing will run.
    Failed(Failure),
}

/// Forks; `child` returns only when it failed.
#[allow(unsafe_code, reason = "containers are forks of this process")]
pub(super) fn fork(report: OwnedFd, child: impl FnOnce(BorrowedFd<'_>) -> Failure) -> Result<Pid, Failure> {
    // SAFETY: this process has one thread, so the child may do whatever the parent might: no lock is held by a thread it lacks.
    match unsafe { nix::unistd::fork() }.context("fork")? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            // Neither a return nor a panic may lead the child back into its parent's event loop.
            let failure = catch_unwind(AssertUnwindSafe(|| child(report.as_fd())))
                .unwrap_or_else(|_| Failure::other("start", "panicked"));
            drop(wire::send(report.as_fd(), &Report::Failed(failure), &[]));
            std::process::exit(1)
        }
    }
}

/// A process's three streams, as the process sees them.
pub(super) struct Streams {
    /// `None` for nothing to read: the container's own `/dev/null`, since the host's is not the container's to change.
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Makes the streams of a process without a terminal, and our ends of them in the order that [`Ends`] names.
pub(super) fn pipes(stdin: bool) -> Result<(Streams, Vec<OwnedFd>, Ends), Failure> {
    let pipe = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).context("make a pipe");
    let mut ours = Vec::new();
    let input = if stdin {
        let (reader, writer) = pipe()?;
        ours.push(writer);
        Some(reader)
    } else {
        None
    };
    let ((out, stdout), (err, stderr)) = (pipe()?, pipe()?);
    ours.extend([out, err]);
    Ok((
        Streams {
            stdin: input,
            stdout,
            stderr,
        },
        ours,
        Ends {
            stdin,
            output: true,
            ..Ends::default()
        },
    ))
}

/// How a child joins its container.
pub(super) enum Place<'a> {
    /// As the first process of a new container.
    New { shared: &'a Shared, parts: Parts<'a> },
    /// Next to the first process of a running one.
    Beside(Neighbour),
}

/// The namespaces of a running container, opened while its first process lives.
pub(super) struct Neighbour {
    pub(super) processes: OwnedFd,
    user: Option<OwnedFd>,
    joined: Vec<(OwnedFd, CloneFlags)>,
}

impl Neighbour {
    pub(super) fn of(first: Pid) -> Result<Self, Failure> {
        let first = first.to_string();
        let open = |kind| namespace::open(&first, kind);
        // Joining a namespace that it has not left, and that is the host's, is refused: the host's users own it.
        let differs = |kind| namespace::identity(&first, kind) != namespace::identity("self", kind);
        let mut joined = vec![
            (open("net")?, CloneFlags::CLONE_NEWNET),
            (open("uts")?, CloneFlags::CLONE_NEWUTS),
            (open("ipc")?, CloneFlags::CLONE_NEWIPC),
        ];
        if differs("cgroup") {
            joined.push((open("cgroup")?, CloneFlags::CLONE_NEWCGROUP));
        }
        // Last: paths are another tree's from then on.
        joined.push((open("mnt")?, CloneFlags::CLONE_NEWNS));
        Ok(Self {
            processes: open("pid")?,
            // A container that runs as a user its node does not have is in a user namespace of its own.
            user: if differs("user") { Some(open("user")?) } else { None },
            joined,
        })
    }
}

/// Everything a child needs to know.
pub(super) struct Job<'a> {
    pub(super) spec: &'a ContainerSpec,
    pub(super) argv: &'a [String],
    pub(super) tty: bool,
    /// `None` on a terminal.
    pub(super) streams: Option<Streams>,
    pub(super) cgroup: Option<&'a Groups>,
    pub(super) users: Users,
    /// Most processes of all containers, where no control group counts them.
    pub(super) processes: Option<u64>,
    pub(super) place: Place<'a>,
}

impl Job<'_> {
    /// Becomes the job's program; returns why not.
    pub(super) fn run(self, report: BorrowedFd<'_>) -> Failure {
        match self.prepare(report) {
            Ok(program) => program.execute(),
            Err(failure) => failure,
        }
    }

    fn prepare(mut self, report: BorrowedFd<'_>) -> Result<Prepared, Failure> {
        privilege::reset_signals()?;
        prctl::set_pdeathsig(Signal::SIGKILL).context("tie the container to its node")?;
        setsid().context("start a session")?;
        // The group's files are the host's: out of reach once the root has changed.
        self.cgroup.map_or(Ok(()), Groups::join)?;
        if let Some(most) = self.processes {
            privilege::limit_processes(most);
        }
        let mut users = self.users;
        match &self.place {
            Place::New { shared, parts } => {
                shared.enter()?;
                if self.cgroup.is_some() {
                    // From here on its own group is the topmost. Kernels without such namespaces merely show where it is.
                    let _ = unshare(CloneFlags::CLONE_NEWCGROUP);
                }
                root::assemble(parts)?;
                let mounts = namespace::open("self", "mnt")?;
                wire::send(report, &Report::Mounted, &[mounts.as_fd()]).context("pass the mount namespace")?;
            }
            Place::Beside(neighbour) => {
                for (namespace, kind) in &neighbour.joined {
                    setns(namespace, *kind).context("enter the container")?;
                }
                if let Some(user) = &neighbour.user {
                    setns(user, CloneFlags::CLONE_NEWUSER).context("enter the container's users")?;
                    users = Users::Joined;
                }
            }
        }
        let identity = Identity::of(self.spec);
        self.connect(report, &identity, users)?;
        let directory = root::working_dir(self.spec);
        root::enter(directory)
            .with_context(|| format!("chdir to cwd ({:?}) set in config.json failed", directory.display()))?;
        let program = Prepared::find(self.argv, self.spec, &identity, self.tty)?;
        privilege::become_user(&identity, users, &self.spec.security)?;
        Ok(program)
    }

    /// Puts the streams in place; makes the terminal first where one is asked for, in the container's own `/dev/pts`.
    fn connect(&mut self, report: BorrowedFd<'_>, identity: &Identity, users: Users) -> Result<(), Failure> {
        let streams = match self.streams.take() {
            Some(streams) => streams,
            None => {
                let (master, slave) = privilege::open_terminal()?;
                wire::send(report, &Report::Terminal, &[master.as_fd()]).context("pass the terminal")?;
                let again = || slave.try_clone().context("duplicate the terminal");
                Streams {
                    stdin: Some(again()?),
                    stdout: again()?,
                    stderr: slave,
                }
            }
        };
        let stdin = match streams.stdin {
            Some(stdin) => stdin,
            None => nix::fcntl::open("/dev/null", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
                .context("open /dev/null")?,
        };
        dup2_stdin(&stdin).context("connect standard input")?;
        dup2_stdout(&streams.stdout).context("connect standard output")?;
        dup2_stderr(&streams.stderr).context("connect standard error")?;
        privilege::hand_over_streams(identity, users);
        Ok(())
    }
}
