//! The main process's end of the socket pair.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::node;
use super::wire::{self, Answer, Call, Failure, Message, Request};
use crate::{ExitStatus, Mode, Probe, RuntimeError, descriptor};

/// Runs the node process when this program was started as one; what it returns is the exit code. Call it first thing in `main`,
/// before any thread exists: see [`is_node`].
pub fn node_main() -> i32 {
    node::run()
}

/// Whether this program was started as a node process, so that `main` has to hand over to [`node_main`].
pub fn is_node() -> bool {
    std::env::args().nth(1).as_deref() == Some(node::ARGUMENT)
}

/// The node process, started and not yet in use. It ends when this is dropped, and when this process ends in whatever way.
#[derive(Debug)]
pub struct Helper {
    link: OwnedFd,
    process: Reaped,
}

impl Helper {
    /// Starts this program again as a node process. Call it from `main`, before the async runtime: the kernel ends the node process
    /// with the *thread* that started it.
    pub fn spawn() -> io::Result<Self> {
        Self::spawn_program(Path::new("/proc/self/exe"))
    }

    /// Starts another program that hands over to [`node_main`]: for tests, whose own `main` does not.
    pub fn spawn_program(program: &Path) -> io::Result<Self> {
        let (ours, theirs) = wire::pair()?;
        let process = Command::new(program)
            .arg0("knarr")
            .arg(node::ARGUMENT)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            link: ours,
            process: Reaped(Some(process)),
        })
    }

    pub(super) fn into_parts(self) -> (OwnedFd, Reaped) {
        (self.link, self.process)
    }
}

/// Finds out which mode this host allows, in throw-away processes. Blocks for some 50 ms.
pub fn probe() -> io::Result<Probe> {
    let helper = Helper::spawn()?;
    match wire::receive::<Message>(helper.link.as_fd())? {
        Some((Message::Hello { mode, refusals }, _)) => Ok(Probe {
            mode: mode.unwrap_or(Mode::Processes),
            refusals,
        }),
        _ => Err(io::Error::other("the node process has ended")),
    }
}

/// A child that is waited for when dropped, off the dropping thread.
#[derive(Debug)]
pub(super) struct Reaped(Option<Child>);

impl Drop for Reaped {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It ends by itself: its end of the socket pair reports that ours is closed.
            std::thread::spawn(move || child.wait());
        }
    }
}

type Reply = Result<(Answer, Vec<OwnedFd>), Failure>;

/// Who waits for what. `None` once the node process is gone.
type Table = Option<Waiting>;

#[derive(Default)]
struct Waiting {
    calls: HashMap<u64, oneshot::Sender<Reply>>,
    processes: HashMap<u64, oneshot::Sender<ExitStatus>>,
}

/// Sends requests and sorts out what comes back.
pub(super) struct Link {
    socket: AsyncFd<OwnedFd>,
    table: Mutex<Table>,
    next: AtomicU64,
}

impl Link {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: descriptor::watch(socket)?,
            table: Mutex::new(Some(Waiting::default())),
            next: AtomicU64::new(1),
        })
    }

    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn waiting<T>(&self, work: impl FnOnce(&mut Waiting) -> T) -> Result<T, RuntimeError> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.as_mut().map(work).ok_or_else(gone)
    }

    /// Asks to hear of the end of `process`; before asking to start it, since it may end at once.
    pub(super) fn watch(&self, process: u64) -> Result<oneshot::Receiver<ExitStatus>, RuntimeError> {
        let (sender, receiver) = oneshot::channel();
        self.waiting(|w| w.processes.insert(process, sender))?;
        Ok(receiver)
    }

    pub(super) fn forget(&self, process: u64) {
        // Gone altogether when the node process is.
        drop(self.waiting(|w| w.processes.remove(&process)));
    }

    pub(super) async fn call(&self, request: Request) -> Result<(Answer, Vec<OwnedFd>), RuntimeError> {
        let (sender, receiver) = oneshot::channel();
        let id = self.number();
        self.waiting(|w| w.calls.insert(id, sender))?;
        let call = Call { id, request };
        if let Err(source) = self.send(&call).await {
            self.waiting(|w| w.calls.remove(&id))?;
            return Err(RuntimeError::Io {
                context: "ask the node process".into(),
                source,
            });
        }
        match receiver.await {
            Ok(reply) => Ok(reply?),
            Err(_) => Err(gone()),
        }
    }

    async fn send(&self, call: &Call) -> io::Result<()> {
        loop {
            let mut ready = self.socket.writable().await?;
            if let Ok(result) = ready.try_io(|socket| wire::send(socket.as_fd(), call, &[])) {
                return result;
            }
        }
    }

    pub(super) async fn receive(&self) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        loop {
            let mut ready = self.socket.readable().await?;
            if let Ok(result) = ready.try_io(|socket| wire::receive(socket.as_fd())) {
                return result;
            }
        }
    }

    /// Passes messages on until the node process is gone; then nobody need wait any longer.
    pub(super) async fn run(&self) {
        loop {
            match self.receive().await {
                Ok(Some((message, descriptors))) => self.pass_on(message, descriptors),
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "cannot hear from the node process");
                    break;
                }
            }
        }
        self.table.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn pass_on(&self, message: Message, descriptors: Vec<OwnedFd>) {
        // A receiver that is gone no longer cares; the descriptors close with the message.
        let passed = match message {
            Message::Hello { .. } => Ok(()),
            Message::Answer { id, result } => self.waiting(|w| {
                if let Some(sender) = w.calls.remove(&id) {
                    drop(sender.send(result.map(|answer| (answer, descriptors))));
                }
            }),
            Message::Ended { process, status } => self.waiting(|w| {
                if let Some(sender) = w.processes.remove(&process) {
                    drop(sender.send(status));
                }
            }),
        };
        drop(passed);
    }
}

fn gone() -> RuntimeError {
    RuntimeError::Io {
        context: "ask the node process".into(),
        source: io::Error::other("it has ended"),
    }
}
