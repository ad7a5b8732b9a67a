//! Containers: starting, running commands in them, ending and removing them.

use std::fs;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::child::{self, Job, Neighbour, Place, Report};
use super::member::Membership;
use super::namespace;
use super::privilege;
use super::root::Parts;
use super::service::{Node, Outcome};
use super::state::{Container, Pending, Process, Role, Stage};
use crate::linux::wire::{self, Answer, Context, Ends, Failure, Message};
use crate::{ContainerSpec, ExecSpec, ExitStatus, Processes};

/// Most processes of an unprivileged user's containers together.
const MOST_PROCESSES: u64 = 8192;

impl Node {
    pub(super) fn start(&mut self, call: u64, process: u64, spec: ContainerSpec) -> Result<Outcome, Failure> {
        let layer = self.directory("containers", &spec.id)?;
        self.sandbox(&spec.sandbox)?;
        if self.containers.contains_key(&spec.id) || self.sweeper(&spec.id).is_some() {
            return Err(Failure::other(
                format!("start container {:?}", spec.id),
                "it exists already",
            ));
        }
        for volume in spec.mounts.iter().filter(|m| !m.source.as_os_str().is_empty()) {
            if let Some(wanted) = volume.tmpfs {
                self.mount_memory(&spec.sandbox, &volume.source, wanted)?;
            }
        }
        if spec.security.privileged && self.users != privilege::Users::All {
            return Err(Failure::Unsupported(
                "securityContext.privileged: this node runs containers in the user namespace of an unprivileged user, \
                 which has no such rights to give"
                    .to_owned(),
            ));
        }
        fs::create_dir_all(&layer).context("create the container's directory")?;
        let pod = self.sandbox(&spec.sandbox)?.group.as_ref();
        let group = pod.and_then(|pod| pod.add(&spec.id, &spec.limits));
        if let (Some(group), false) = (&group, spec.security.privileged) {
            group.deny_devices();
        }
        let id = spec.id.clone();
        let container = Container {
            spec,
            layer,
            group,
            stage: Stage::Ended,
            doomed: false,
            removers: Vec::new(),
        };
        self.containers.insert(id.clone(), container);
        match self.launch(call, process, &id) {
            Ok(pid) => {
                if let Some(container) = self.containers.get_mut(&id) {
                    container.stage = Stage::Starting(pid);
                }
                Ok(Outcome::Later)
            }
            Err(failure) => {
                self.doom(&id, None);
                Err(failure)
            }
        }
    }

    fn launch(&mut self, call: u64, process: u64, id: &str) -> Result<Pid, Failure> {
        let missing = || Failure::NotFound(format!("container {id:?}"));
        let spec = &self.containers.get(id).ok_or_else(missing)?.spec;
        let processes = match (&spec.processes, spec.sandbox.clone()) {
            (Processes::Own, _) => None,
            (Processes::Sandbox, sandbox) => Some(self.pause(&sandbox)?),
            (Processes::Node, _) => Some(self.home.processes()?),
            (Processes::Container(target), sandbox) => Some(self.processes_of(target, &sandbox)?),
        };
        let container = self.containers.get(id).ok_or_else(missing)?;
        let sandbox = self.sandbox(&container.spec.sandbox)?;
        let (streams, ours, ends) = streams(container.spec.tty, container.spec.stdin)?;
        let parts = Parts {
            spec: &container.spec,
            layer: &container.layer,
            shm: &sandbox.shm,
            groups: container
                .group
                .as_ref()
                .map(super::cgroup::Groups::views)
                .unwrap_or_default(),
            rootless: self.users != privilege::Users::All,
        };
        let job = Job {
            spec: &container.spec,
            argv: &container.spec.argv,
            tty: container.spec.tty,
            streams,
            cgroup: container.group.as_ref(),
            users: self.users,
            processes: self.process_limit(),
            place: Place::New {
                shared: &sandbox.shared,
                parts,
            },
        };
        let (report, theirs) = wire::pair().context("make a report socket")?;
        let pid = self
            .home
            .fork_into(processes.as_ref(), || child::fork(theirs, |report| job.run(report)))?;
        let role = Role::First {
            process,
            container: id.to_owned(),
        };
        self.processes.insert(
            pid,
            Process {
                role,
                pending: Some(Pending {
                    call,
                    report,
                    ours,
                    ends,
                    mounts: None,
                    failure: None,
                }),
            },
        );
        Ok(pid)
    }

    /// The most processes of all containers, where only the user namespace they run in is left to count them.
    fn process_limit(&self) -> Option<u64> {
        let uncounted = self.users != privilege::Users::All && !self.groups.count_processes();
        uncounted.then(|| super::cgroup::most_processes().min(MOST_PROCESSES))
    }

    /// The PID namespace of a running container of the same sandbox.
    fn processes_of(&self, target: &str, sandbox: &str) -> Result<OwnedFd, Failure> {
        let running = self
            .containers
            .get(target)
            .filter(|container| container.spec.sandbox == sandbox);
        match running.map(|container| &container.stage) {
            Some(Stage::Running(first, _)) => namespace::open(&first.to_string(), "pid"),
            _ => Err(Failure::NotFound(format!("running container {target:?}"))),
        }
    }

    /// The PID namespace that containers of a sandbox share, with a first process that outlives each of them.
    fn pause(&mut self, sandbox: &str) -> Result<OwnedFd, Failure> {
        let pid = match self.sandbox(sandbox)?.pause {
            Some(pid) => pid,
            None => {
                let (_, theirs) = wire::pair().context("make a report socket")?;
                let pid = self
                    .home
                    .fork_into(None, || child::fork(theirs, |_| super::pause::exec()))?;
                self.processes.insert(
                    pid,
                    Process {
                        role: Role::Pause,
                        pending: None,
                    },
                );
                if let Some(sandbox) = self.sandboxes.get_mut(sandbox) {
                    sandbox.pause = Some(pid);
                }
                pid
            }
        };
        namespace::open(&pid.to_string(), "pid")
    }

    pub(super) fn exec(&mut self, call: u64, process: u64, id: &str, spec: &ExecSpec) -> Result<Outcome, Failure> {
        let container = self
            .containers
            .get(id)
            .ok_or_else(|| Failure::NotFound(format!("container {id:?}")))?;
        let Stage::Running(first, _) = container.stage else {
            return Err(Failure::NotFound(format!("running container {id:?}")));
        };
        let (streams, ours, ends) = streams(spec.tty, spec.stdin)?;
        let neighbour = Neighbour::of(first)?;
        let processes = neighbour.processes.try_clone().context("duplicate a namespace")?;
        let job = Job {
            spec: &container.spec,
            argv: &spec.argv,
            tty: spec.tty,
            streams,
            cgroup: container.group.as_ref(),
            users: self.users,
            processes: self.process_limit(),
            place: Place::Beside(neighbour),
        };
        let (report, theirs) = wire::pair().context("make a report socket")?;
        let pid = self
            .home
            .fork_into(Some(&processes), || child::fork(theirs, |report| job.run(report)))?;
        let role = Role::Command {
            process,
            container: id.to_owned(),
        };
        self.processes.insert(
            pid,
            Process {
                role,
                pending: Some(Pending {
                    call,
                    report,
                    ours,
                    ends,
                    mounts: None,
                    failure: None,
                }),
            },
        );
        Ok(Outcome::Later)
    }

    /// Takes in what a starting child has to say.
    pub(super) fn read_report(&mut self, pid: Pid) {
        let Some(pending) = self.processes.get_mut(&pid).and_then(|p| p.pending.as_mut()) else {
            return;
        };
        match wire::receive::<Report>(pending.report.as_fd()) {
            Ok(Some((Report::Terminal, master))) => {
                pending.ours = master;
                pending.ends = Ends {
                    terminal: true,
                    ..Ends::default()
                };
            }
            Ok(Some((Report::Mounted, mounts))) => pending.mounts = mounts.into_iter().next(),
            Ok(Some((Report::Failed(failure), _))) => pending.failure = Some(failure),
            Ok(None) => self.settle(pid),
            Err(error) => {
                pending.failure = Some(Failure::new("hear from the container", error));
                self.settle(pid);
            }
        }
    }

    /// The child executes its program, or has given up: answers the call that started it.
    fn settle(&mut self, pid: Pid) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        let Some(mut pending) = process.pending.take() else {
            return;
        };
        let role = process.role.clone();
        if let Some(failure) = pending.failure {
            if let Role::First { container, .. } = &role {
                self.doom(container, None);
            }
            return self.answer(pending.call, Err(failure), &[]);
        }
        if let Role::First { container, .. } = &role
            && let Some(container) = self.containers.get_mut(container)
        {
            container.stage = Stage::Running(pid, pending.mounts.take().and_then(Membership::of));
        }
        if let Some(descriptor) = pidfd(pid) {
            pending.ends.pidfd = true;
            pending.ours.insert(0, descriptor);
        }
        self.answer(pending.call, Ok(Answer::Started(pending.ends)), &pending.ours);
    }

    /// A child has ended.
    pub(super) fn ended(&mut self, pid: Pid, mut status: ExitStatus) {
        // Its last words may still be unread.
        while self.processes.get(&pid).is_some_and(|p| p.pending.is_some()) {
            self.read_report(pid);
        }
        let Some(process) = self.processes.remove(&pid) else {
            return;
        };
        match process.role {
            Role::First { process, container } => {
                self.first_ended(&container, &mut status);
                self.tell(&Message::Ended { process, status }, &[]);
            }
            Role::Command { process, .. } => self.tell(&Message::Ended { process, status }, &[]),
            Role::Sweeper { calls, sandbox, .. } => {
                for call in calls {
                    self.answer(call, Ok(Answer::Done), &[]);
                }
                self.finish_sandbox(&sandbox);
            }
            Role::Pause => {
                if let Some(sandbox) = self.sandboxes.values_mut().find(|s| s.pause == Some(pid)) {
                    sandbox.pause = None;
                }
            }
        }
    }

    fn first_ended(&mut self, id: &str, status: &mut ExitStatus) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let stage = std::mem::replace(&mut container.stage, Stage::Ended);
        // Elsewhere the kernel has ended the container's other processes together with the first.
        if let (true, Stage::Running(_, Some(members))) = (container.shares_processes(), stage) {
            kill_all(&members);
        }
        status.oom_killed = status.code != 0
            && container
                .group
                .as_ref()
                .is_some_and(super::cgroup::Groups::out_of_memory);
        if container.doomed {
            self.sweep(id);
        }
    }

    pub(super) fn signal(&mut self, id: &str, signal: i32) -> Result<Outcome, Failure> {
        let container = self
            .containers
            .get(id)
            .ok_or_else(|| Failure::NotFound(format!("container {id:?}")))?;
        if let Some(first) = container.first() {
            let signal = Signal::try_from(signal).with_context(|| format!("send signal {signal}"))?;
            match kill(first, signal) {
                Ok(()) | Err(nix::Error::ESRCH) => {}
                Err(error) => return Err(Failure::new(format!("send {signal}"), error)),
            }
        }
        Ok(Outcome::DONE)
    }

    pub(super) fn usage(&mut self, id: &str) -> Result<Outcome, Failure> {
        let container = self
            .containers
            .get(id)
            .ok_or_else(|| Failure::NotFound(format!("container {id:?}")))?;
        let counted = container.group.as_ref().and_then(super::cgroup::Groups::usage);
        let usage = counted.unwrap_or_else(|| match &container.stage {
            Stage::Running(_, Some(members)) => crate::usage::sum(&members.processes()),
            _ => crate::Usage::default(),
        });
        Ok(Outcome::Now(Answer::Usage(usage), Vec::new()))
    }
}

fn streams(tty: bool, stdin: bool) -> Result<(Option<child::Streams>, Vec<OwnedFd>, Ends), Failure> {
    if tty {
        return Ok((None, Vec::new(), Ends::default()));
    }
    let (streams, ours, ends) = child::pipes(stdin)?;
    Ok((Some(streams), ours, ends))
}

/// Kills a process. Gone already is as good.
pub(super) fn end(process: Pid) {
    let _ = kill(process, Signal::SIGKILL);
}

/// Kills every process of a container that shares its PID namespace with others.
pub(super) fn kill_all(members: &Membership) {
    for pid in members.processes() {
        end(Pid::from_raw(pid));
    }
}

/// A handle on a process, from which the main process learns the process ID on the host; ours is the one in the node's PID namespace.
#[allow(unsafe_code, reason = "pidfd_open has no safe binding")]
fn pidfd(pid: Pid) -> Option<OwnedFd> {
    // SAFETY: pidfd_open takes two numbers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let descriptor = i32::try_from(result).ok().filter(|d| *d >= 0)?;
    // SAFETY: the kernel has just made this descriptor for us; nothing else knows its number.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
