//! The node process's event loop: requests from the main process, reports from starting children, and the ends of children.
//!
//! One thread and no waiting but in `poll`: a child prepares its own file system and reports, so that slow starts overlap.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::cgroup::Groups;
use super::namespace::{Home, Shared};
use super::network::{Addresses, FIRST};
use super::privilege::Users;
use super::state::{Container, Member, Process, Sandbox, exit_status};
use crate::linux::wire::{self, Answer, Call, Context, Failure, Message, Request};
use crate::{ExitStatus, Mode};

/// What an operation comes to.
pub(super) enum Outcome {
    /// The answer, with descriptors.
    Now(Answer, Vec<OwnedFd>),
    /// Somebody else answers the call.
    Later,
}

impl Outcome {
    pub(super) const DONE: Self = Self::Now(Answer::Done, Vec::new());
}

/// The node process's whole state.
pub(super) struct Node {
    link: OwnedFd,
    pub(super) home: Home,
    pub(super) users: Users,
    pub(super) groups: Groups,
    /// Where layers live; set by the first request.
    pub(super) state_dir: Option<PathBuf>,
    /// The nodes by their numbers.
    pub(super) members: HashMap<u8, Member>,
    pub(super) sandboxes: HashMap<String, Sandbox>,
    pub(super) containers: HashMap<String, Container>,
    pub(super) processes: HashMap<Pid, Process>,
}

/// Something `poll` woke us for.
enum Wake {
    Link,
    Child,
    Report(Pid),
}

impl Node {
    /// A node in the namespaces this process is in.
    pub(super) fn new(link: OwnedFd, mode: Mode, groups: Groups) -> Result<Self, Failure> {
        let first = Member {
            network: Shared::current()?,
            addresses: Addresses::new(FIRST),
            groups: groups.clone(),
        };
        Ok(Self {
            link,
            home: Home::current()?,
            users: Users::of(mode),
            groups,
            state_dir: None,
            members: HashMap::from([(FIRST, first)]),
            sandboxes: HashMap::new(),
            containers: HashMap::new(),
            processes: HashMap::new(),
        })
    }

    /// Serves until the main process is gone.
    pub(super) fn serve(&mut self) -> Result<(), Failure> {
        let children = SigSet::from(Signal::SIGCHLD);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&children), None).context("block SIGCHLD")?;
        let children = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context("watch children")?;
        loop {
            for wake in self.wait(children.as_fd())? {
                match wake {
                    Wake::Link => match wire::receive::<Call>(self.link.as_fd()) {
                        Ok(Some((call, _))) => self.handle(call),
                        Ok(None) => return Ok(()),
                        Err(error) => return Err(Failure::new("receive a request", error)),
                    },
                    Wake::Child => {
                        while let Ok(Some(_)) = children.read_signal() {}
                        self.reap();
                    }
                    Wake::Report(pid) => self.read_report(pid),
                }
            }
        }
    }

    fn wait(&self, children: BorrowedFd<'_>) -> Result<Vec<Wake>, Failure> {
        let pending: Vec<(Pid, BorrowedFd<'_>)> = self
            .processes
            .iter()
            .filter_map(|(pid, process)| Some((*pid, process.pending.as_ref()?.report.as_fd())))
            .collect();
        let sources = [self.link.as_fd(), children]
            .into_iter()
            .chain(pending.iter().map(|(_, report)| *report));
        let mut polled: Vec<PollFd<'_>> = sources.map(|source| PollFd::new(source, PollFlags::POLLIN)).collect();
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(Failure::new("wait", error)),
        }
        let ready = |index: usize| polled.get(index).and_then(PollFd::any).unwrap_or(false);
        let mut wakes = Vec::new();
        // Reports come before ends, and both before new requests, so that each sees what came before it.
        wakes.extend(
            pending
                .iter()
                .enumerate()
                .filter(|(i, _)| ready(i + 2))
                .map(|(_, (pid, _))| Wake::Report(*pid)),
        );
        if ready(1) {
            wakes.push(Wake::Child);
        }
        if ready(0) {
            wakes.push(Wake::Link);
        }
        Ok(wakes)
    }

    fn handle(&mut self, call: Call) {
        let result = match call.request {
            Request::Open { state_dir } => self.open(state_dir),
            Request::AddNode(spec) => self.add_node(&spec),
            Request::RemoveNode { node } => self.remove_node(node),
            Request::ConnectNode { node, connected } => self.connect_node(node, connected),
            Request::CreateSandbox { node, spec } => self.create_sandbox(node, &spec),
            Request::RemoveSandbox { id } => self.remove_sandbox(call.id, &id),
            Request::Start { process, spec } => self.start(call.id, process, *spec),
            Request::Exec {
                process,
                container,
                spec,
            } => self.exec(call.id, process, &container, &spec),
            Request::Signal { container, signal } => self.signal(&container, signal),
            Request::Remove { container } => self.remove(call.id, &container),
            Request::Sockets { node, sandbox } => self.sockets(node, sandbox.as_deref()),
            Request::Bind { address, datagram } => self.bind(address, datagram),
            Request::Usage { container } => self.usage(&container),
            Request::Ping => Ok(Outcome::DONE),
        };
        match result {
            Ok(Outcome::Later) => {}
            Ok(Outcome::Now(answer, descriptors)) => self.answer(call.id, Ok(answer), &descriptors),
            Err(failure) => self.answer(call.id, Err(failure), &[]),
        }
    }

    /// Answers a call. Failing to means that the main process is gone, which the next receive notices.
    pub(super) fn answer(&self, id: u64, result: Result<Answer, Failure>, descriptors: &[OwnedFd]) {
        self.tell(&Message::Answer { id, result }, descriptors);
    }

    pub(super) fn tell(&self, message: &Message, descriptors: &[OwnedFd]) {
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        drop(wire::send(self.link.as_fd(), message, &borrowed));
    }

    /// As the first process of its PID namespace this one also inherits orphans, of which it knows nothing.
    fn reap(&mut self) {
        loop {
            let (pid, status): (Pid, ExitStatus) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, exit_status(code, 0)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, exit_status(0, signal as i32)),
                Err(nix::Error::EINTR) => continue,
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            self.ended(pid, status);
        }
    }
}
