//! The main process's end of the socket pair, and the supervision of the node process at the other.
//!
//! The node process is given up when its socket closes (it was killed, by hand or for lack of memory) or when it has been silent for too long
//! (it hangs, or somebody has stopped it). Then every call fails, every container counts as killed, and another one is started after a
//! back-off. [`RuntimeStatus`] tells whoever cares.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus as ChildStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::node;
use super::wire::{self, Answer, Call, Failure, Message, Request};
use crate::{ExitStatus, Mode, NodeSpec, Probe, RuntimeError, RuntimeStatus, descriptor};

/// How often the node process is asked whether it is there.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Heartbeats without a word after which it counts as not responding. Heartbeats rather than time: those of a main process that was
/// stopped itself, or slept with its machine, do not count.
const UNRESPONSIVE: u32 = 3;
/// And those after which it is killed and started anew.
const GIVEN_UP: u32 = 8;
/// How long it may take to say what this host allows.
const GREETING: Duration = Duration::from_secs(30);
/// The wait before another one is started, when the last has not lived long: the first and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// One that has lived this long was well.
const WELL: Duration = Duration::from_secs(60);
/// The heartbeat's number: nobody waits for its answer.
const NOBODY: u64 = 0;

/// Runs the node process when this program was started as one; what it returns is the exit code. Call it first thing in `main`,
/// before any thread exists: see [`is_node`].
pub fn node_main() -> i32 {
    node::run()
}

/// Whether this program was started as a node process, so that `main` has to hand over to [`node_main`].
pub fn is_node() -> bool {
    std::env::args().nth(1).as_deref() == Some(node::ARGUMENT)
}

/// Finds out which mode this host allows, in throw-away processes. Blocks for some 50 ms.
pub fn probe() -> io::Result<Probe> {
    let (link, _process) = start_process()?;
    match wire::receive::<Message>(link.as_fd())? {
        Some((Message::Hello { mode, refusals, .. }, _)) => Ok(Probe {
            mode: mode.unwrap_or(Mode::Processes),
            refusals,
        }),
        _ => Err(io::Error::other("the node process has ended")),
    }
}

/// Starts this program again as a node process. It ends when the returned end of the socket pair is closed, and with the calling *thread*.
fn start_process() -> io::Result<(OwnedFd, Reaped)> {
    let (ours, theirs) = wire::pair()?;
    let process = Command::new(Path::new("/proc/self/exe"))
        .arg0("knarr")
        .arg(node::ARGUMENT)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok((ours, Reaped(Some(process))))
}

/// A child that is waited for when dropped, off the dropping thread.
#[derive(Debug)]
struct Reaped(Option<Child>);

impl Reaped {
    fn kill(&mut self) {
        if let Some(child) = &mut self.0 {
            drop(child.kill()); // it has ended already
        }
    }

    /// Waits for its end, which is near: its end of the socket pair is closed, or it was killed.
    async fn ended(mut self) -> Option<ChildStatus> {
        let mut child = self.0.take()?;
        tokio::task::spawn_blocking(move || child.wait().ok()).await.ok()?
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It ends by itself: its end of the socket pair reports that ours is closed.
            std::thread::spawn(move || child.wait());
        }
    }
}

type Started = io::Result<(OwnedFd, Reaped)>;

/// The thread that starts node processes. The kernel ends a node process with the thread that started it, and threads of an async runtime
/// come and go; this one stays until it is dropped.
struct Spawner(mpsc::Sender<oneshot::Sender<Started>>);

impl Spawner {
    fn new() -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel::<oneshot::Sender<Started>>();
        std::thread::Builder::new().name("knarr-node".into()).spawn(move || {
            for order in inbox {
                drop(order.send(start_process())); // nobody waits any more: it ends at once
            }
        })?;
        Ok(Self(orders))
    }

    async fn start(&self) -> Started {
        let (order, started) = oneshot::channel();
        self.0.send(order).map_err(io::Error::other)?;
        started.await.map_err(io::Error::other)?
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

/// One node process's end of the socket pair: sends requests and sorts out what comes back.
struct Session {
    socket: AsyncFd<OwnedFd>,
    table: Mutex<Table>,
}

impl Session {
    fn waiting<T>(&self, work: impl FnOnce(&mut Waiting) -> T) -> Result<T, RuntimeError> {
        lock(&self.table).as_mut().map(work).ok_or_else(gone)
    }

    async fn call(&self, id: u64, request: Request) -> Result<(Answer, Vec<OwnedFd>), RuntimeError> {
        let (sender, receiver) = oneshot::channel();
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

    async fn receive(&self) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        loop {
            let mut ready = self.socket.readable().await?;
            if let Ok(result) = ready.try_io(|socket| wire::receive(socket.as_fd())) {
                return result;
            }
        }
    }

    /// Passes messages on until the node process is gone (`None`) or is to be given up, and why. `silent` is told when it does not respond
    /// (true), and when it does again.
    async fn serve(&self, silent: impl Fn(bool)) -> Option<String> {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut missed = 0;
        loop {
            tokio::select! {
                biased;
                received = self.receive() => match received {
                    Ok(Some((message, descriptors))) => {
                        if missed >= UNRESPONSIVE {
                            silent(false);
                        }
                        missed = 0;
                        self.pass_on(message, descriptors);
                    }
                    Ok(None) => return None,
                    Err(error) => return Some(format!("cannot be heard: {error}")),
                },
                _ = heartbeat.tick() => {
                    missed += 1;
                    if missed == UNRESPONSIVE {
                        silent(true);
                    }
                    if missed >= GIVEN_UP {
                        return Some(format!("has not responded for {} s", (HEARTBEAT * missed).as_secs()));
                    }
                    let call = Call { id: NOBODY, request: Request::Ping };
                    // One that hangs may have a full socket: that it is asked is not worth waiting for.
                    drop(wire::send(self.socket.get_ref().as_fd(), &call, &[]));
                }
            }
        }
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

/// What a node process says first: the mode that works, or none, and why better ones do not.
pub(super) struct Greeting {
    pub(super) mode: Option<Mode>,
    pub(super) refusals: Vec<String>,
    pub(super) weaknesses: Vec<String>,
}

/// What came of the first node process: its greeting.
pub(super) type First = Result<Greeting, RuntimeError>;

/// A started node process that has greeted.
struct Fresh {
    session: Session,
    process: Reaped,
    greeting: Greeting,
}

/// The way to the node process, whichever one it is at present.
pub(super) struct Link {
    spawner: Spawner,
    state_dir: PathBuf,
    session: Mutex<Option<Arc<Session>>>,
    next: AtomicU64,
    status: watch::Sender<RuntimeStatus>,
    /// The further nodes, and whether each is connected: what every node process has to be told.
    nodes: Mutex<BTreeMap<u8, (NodeSpec, bool)>>,
}

impl Link {
    pub(super) fn new(state_dir: PathBuf) -> io::Result<Self> {
        Ok(Self {
            spawner: Spawner::new()?,
            state_dir,
            session: Mutex::new(None),
            next: AtomicU64::new(NOBODY + 1),
            status: watch::Sender::new(RuntimeStatus::default()),
            nodes: Mutex::default(),
        })
    }

    /// Makes a further node, now and in every node process to come.
    pub(super) async fn add_node(&self, spec: NodeSpec) -> Result<(), RuntimeError> {
        lock(&self.nodes).insert(spec.number, (spec.clone(), true));
        self.call(Request::AddNode(spec)).await.map(drop)
    }

    pub(super) async fn remove_node(&self, node: u8) -> Result<(), RuntimeError> {
        lock(&self.nodes).remove(&node);
        self.call(Request::RemoveNode { node }).await.map(drop)
    }

    pub(super) async fn connect_node(&self, node: u8, connected: bool) -> Result<(), RuntimeError> {
        if let Some((_, state)) = lock(&self.nodes).get_mut(&node) {
            *state = connected;
        }
        self.call(Request::ConnectNode { node, connected }).await.map(drop)
    }

    /// Tells a node process, fresh or not, which nodes there are besides the first.
    async fn introduce(&self, session: &Session) -> Result<(), RuntimeError> {
        let nodes: Vec<(NodeSpec, bool)> = lock(&self.nodes).values().cloned().collect();
        for (spec, connected) in nodes {
            let node = spec.number;
            session.call(self.number(), Request::AddNode(spec)).await?;
            if !connected {
                let request = Request::ConnectNode { node, connected };
                session.call(self.number(), request).await?;
            }
        }
        Ok(())
    }

    /// Where a container's writable layer is kept.
    pub(super) fn layer(&self, container: &str) -> PathBuf {
        self.state_dir.join("containers").join(container).join("upper")
    }

    pub(super) fn status(&self) -> watch::Receiver<RuntimeStatus> {
        self.status.subscribe()
    }

    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn session(&self) -> Result<Arc<Session>, RuntimeError> {
        lock(&self.session).clone().ok_or_else(gone)
    }

    pub(super) async fn call(&self, request: Request) -> Result<(Answer, Vec<OwnedFd>), RuntimeError> {
        self.session()?.call(self.number(), request).await
    }

    /// Makes the request that starts `process`, and returns with the answer what hears of its end. Asked for beforehand, since it may
    /// end at once.
    pub(super) async fn start(
        &self,
        process: u64,
        request: Request,
    ) -> Result<(Answer, Vec<OwnedFd>, oneshot::Receiver<ExitStatus>), RuntimeError> {
        let session = self.session()?;
        let (sender, exit) = oneshot::channel();
        session.waiting(|w| w.processes.insert(process, sender))?;
        match session.call(self.number(), request).await {
            Ok((answer, descriptors)) => Ok((answer, descriptors, exit)),
            Err(error) => {
                // Gone altogether when the node process is.
                drop(session.waiting(|w| w.processes.remove(&process)));
                Err(error)
            }
        }
    }

    /// Keeps a node process running until this is dropped. `first` is told how the first one is; without one that works, that was all.
    pub(super) async fn supervise(self: Arc<Self>, first: oneshot::Sender<First>) {
        let mut first = Some(first);
        let mut mode = None;
        let mut wait = BACKOFF.0;
        loop {
            let began = Instant::now();
            let reason = match self.fresh(mode).await {
                Err(error) => match first.take() {
                    Some(first) => return drop(first.send(Err(error))),
                    None => format!("does not start: {error}"),
                },
                Ok(Fresh { greeting, .. }) if greeting.mode.is_none() => {
                    if let Some(first) = first {
                        drop(first.send(Ok(greeting)));
                    }
                    return;
                }
                Ok(Fresh {
                    session,
                    process,
                    greeting,
                }) => {
                    mode = greeting.mode;
                    match self.run(session, process, &mut first, greeting).await {
                        Some(reason) => reason,
                        None => return,
                    }
                }
            };
            wait = if began.elapsed() >= WELL { BACKOFF.0 } else { wait };
            tracing::error!(target: "kubelet", "container runtime is down: the node process {reason}; another one starts in {wait:?}");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BACKOFF.1);
        }
    }

    /// Starts a node process and hears its greeting. Another mode than `expected` is refused: the pods' addresses and files would not fit.
    async fn fresh(&self, expected: Option<Mode>) -> Result<Fresh, RuntimeError> {
        let io = |context: &'static str| crate::io_error(context);
        let (socket, process) = self.spawner.start().await.map_err(io("start the node process"))?;
        let session = Session {
            socket: descriptor::watch(socket).map_err(io("watch the node process"))?,
            table: Mutex::new(Some(Waiting::default())),
        };
        let hello = match tokio::time::timeout(GREETING, session.receive()).await {
            Ok(hello) => hello,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        };
        let greeting = match hello.map_err(io("hear from the node process"))? {
            Some((
                Message::Hello {
                    mode,
                    refusals,
                    weaknesses,
                },
                _,
            )) => Greeting {
                mode,
                refusals,
                weaknesses,
            },
            _ => Greeting {
                mode: None,
                refusals: vec!["the node process ended early".to_owned()],
                weaknesses: Vec::new(),
            },
        };
        if expected.is_some() && greeting.mode != expected {
            return Err(RuntimeError::Io {
                context: "start the node process".into(),
                source: io::Error::other(format!(
                    "the host allows less than before: {}",
                    greeting.refusals.join("; ")
                )),
            });
        }
        Ok(Fresh {
            session,
            process,
            greeting,
        })
    }

    /// Takes a node process into use and stays with it to its end: what it was. `None`: it was the first, and could not be used.
    async fn run(
        &self,
        session: Session,
        mut process: Reaped,
        first: &mut Option<oneshot::Sender<First>>,
        greeting: Greeting,
    ) -> Option<String> {
        let session = Arc::new(session);
        let silent = |silent: bool| {
            let down = silent.then(|| "the node process does not respond".to_owned());
            if silent {
                tracing::warn!(target: "kubelet", "the node process does not respond");
            }
            self.status
                .send_if_modified(|status| std::mem::replace(&mut status.down, down.clone()) != down);
        };
        let mut serving = std::pin::pin!(session.serve(silent));
        let open = Request::Open {
            state_dir: self.state_dir.clone(),
        };
        let prepare = async {
            session.call(self.number(), open).await?;
            self.introduce(&session).await
        };
        let opened = tokio::select! {
            opened = prepare => opened,
            reason = &mut serving => Err(RuntimeError::Io {
                context: "open the state directory".into(),
                source: io::Error::other(reason.unwrap_or_else(|| "the node process has ended".into())),
            }),
        };
        if let Err(error) = opened {
            return match first.take() {
                Some(first) => {
                    drop(first.send(Err(error)));
                    None
                }
                None => Some(format!("cannot be used: {error}")),
            };
        }
        *lock(&self.session) = Some(session.clone());
        self.status.send_if_modified(|status| status.down.take().is_some());
        if let Some(first) = first.take() {
            drop(first.send(Ok(greeting)));
        }
        let reason = serving.await;
        process.kill();
        // First that it is down, then that its processes have ended: nobody takes their end for their own doing.
        *lock(&self.session) = None;
        let lost = |down: String| {
            self.status.send_modify(|status| {
                status.epoch += 1;
                status.down = Some(down);
            });
        };
        let reason = match reason {
            Some(reason) => {
                lost(format!("the node process {reason}"));
                process.ended().await;
                reason
            }
            None => {
                let reason = ending(process.ended().await);
                lost(format!("the node process {reason}"));
                reason
            }
        };
        lock(&session.table).take();
        Some(reason)
    }
}

/// How the node process ended, in words.
fn ending(status: Option<ChildStatus>) -> String {
    let signal = status.and_then(|status| status.signal().or(status.code().map(|code| code - 128)));
    match signal.and_then(|signal| Signal::try_from(signal).ok()) {
        Some(Signal::SIGKILL) => "was killed (SIGKILL): by somebody, or for lack of memory".into(),
        Some(signal) => format!("was ended by {signal}"),
        None => "has ended".into(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gone() -> RuntimeError {
    RuntimeError::Io {
        context: "ask the node process".into(),
        source: io::Error::other("it has ended"),
    }
}
