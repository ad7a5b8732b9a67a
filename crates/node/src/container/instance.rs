//! A started process and everything that is connected to it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use knarr_runtime::{ExitStatus, Resize, Started, Writer};
use tokio::sync::{broadcast, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::log::{ContainerLog, Stream, pump};

/// Chunks of output that an attached client may be behind by before it loses some.
const BEHIND: usize = 1024;
/// How long output may still come after the process has ended, from children that hold it open.
const DRAIN: Duration = Duration::from_secs(2);

/// A piece of a container's output.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) stream: Stream,
    pub(crate) bytes: Bytes,
}

/// Bytes of output kept for the first client, who comes when the container runs already.
const BACKLOG: usize = 64 << 10;

/// Where output goes besides the log: to the clients that are attached; and until the first one is, to a backlog for it, if the container is
/// one that waits for a client. `kubectl run -it` attaches only when it has seen the container run.
struct Outlet {
    clients: broadcast::Sender<Output>,
    backlog: Mutex<Option<Backlog>>,
}

#[derive(Default)]
struct Backlog {
    output: VecDeque<Output>,
    bytes: usize,
}

impl Outlet {
    fn new(awaited: bool) -> Self {
        Self {
            clients: broadcast::Sender::new(BEHIND),
            backlog: Mutex::new(awaited.then(Backlog::default)),
        }
    }

    fn send(&self, output: Output) {
        // Held while sending, so that a client that comes now gets every piece once.
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(backlog) = &mut *backlog {
            backlog.bytes += output.bytes.len();
            backlog.output.push_back(output.clone());
            while backlog.bytes > BACKLOG
                && let Some(oldest) = backlog.output.pop_front()
            {
                backlog.bytes -= oldest.bytes.len();
            }
        }
        drop(self.clients.send(output)); // nobody attached is fine
    }

    fn subscribe(&self) -> (VecDeque<Output>, broadcast::Receiver<Output>) {
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        let output = backlog.take().map(|backlog| backlog.output).unwrap_or_default();
        (output, self.clients.subscribe())
    }

    fn holds_output(&self) -> bool {
        let backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        backlog.as_ref().is_some_and(|backlog| !backlog.output.is_empty())
    }
}

/// A running instance of a container. Dropping it ends what was started beside it: probes and hooks, not the process.
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) since: Timestamp,
    pub(crate) tty: bool,
    pub(crate) stdin_once: bool,
    pub(crate) log: Arc<ContainerLog>,
    pub(crate) resize: Option<Resize>,
    stdin: Mutex<Option<Writer>>,
    outlet: Arc<Outlet>,
    exit: watch::Receiver<Option<ExitStatus>>,
    /// Probes and hooks of this instance.
    companions: Mutex<Vec<AbortOnDropHandle<()>>>,
}

impl Instance {
    /// Takes over a started process. `ended` runs once, when it has ended and its output has been stored.
    pub(crate) fn new(
        (id, since): (String, Timestamp),
        started: Started,
        tty: bool,
        stdin_once: bool,
        log: Arc<ContainerLog>,
        ended: impl FnOnce(ExitStatus) + Send + 'static,
    ) -> Arc<Self> {
        let outlet = Arc::new(Outlet::new(tty || started.stdin.is_some()));
        let (exit_tx, exit) = watch::channel(None);
        let copy = |reader, stream| {
            let outlet = outlet.clone();
            let seen = move |bytes| outlet.send(Output { stream, bytes });
            tokio::spawn(pump(reader, stream, log.clone(), seen))
        };
        let mut copies = vec![copy(started.stdout, Stream::Stdout)];
        copies.extend(started.stderr.map(|reader| copy(reader, Stream::Stderr)));
        let closing = log.clone();
        tokio::spawn(async move {
            let status = started.exit.await;
            let drained = async {
                for copy in &mut copies {
                    let _ = copy.await; // it only reads and writes
                }
            };
            if tokio::time::timeout(DRAIN, drained).await.is_err() {
                copies.iter().for_each(tokio::task::JoinHandle::abort);
            }
            closing.close();
            exit_tx.send_replace(Some(status.clone()));
            ended(status);
        });
        Arc::new(Self {
            id,
            since,
            tty,
            stdin_once,
            log,
            resize: started.resize,
            stdin: Mutex::new(started.stdin),
            outlet,
            exit,
            companions: Mutex::default(),
        })
    }

    /// The output from now on; for the first client of a container that waits for one, after what there was before.
    pub(crate) fn subscribe(&self) -> (VecDeque<Output>, broadcast::Receiver<Output>) {
        self.outlet.subscribe()
    }

    /// Its process has ended, and there is nothing that a client could still be shown.
    pub(crate) fn has_fallen_silent(&self) -> bool {
        self.exit.borrow().is_some() && !self.outlet.holds_output()
    }

    /// The process's standard input. One client has it at a time; it gives it back when it leaves.
    pub(crate) fn take_stdin(&self) -> Option<Writer> {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Gives standard input back for the next client.
    pub(crate) fn return_stdin(&self, writer: Writer) {
        *self.stdin.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
    }

    /// Resolves when the process has ended.
    pub(crate) async fn exited(&self) -> Option<ExitStatus> {
        let mut exit = self.exit.clone();
        exit.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Runs `task` for as long as this instance lives.
    pub(crate) fn accompany(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = AbortOnDropHandle::new(tokio::spawn(task));
        self.companions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(handle);
    }

    /// Ends the probes and hooks.
    pub(crate) fn dismiss(&self) {
        self.companions.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
