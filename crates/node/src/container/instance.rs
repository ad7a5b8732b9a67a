//! A started process and everything that is connected to it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
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

/// A running instance of a container. Dropping it ends what was started beside it: probes and hooks, not the process.
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) tty: bool,
    pub(crate) stdin_once: bool,
    pub(crate) log: Arc<ContainerLog>,
    pub(crate) resize: Option<Resize>,
    stdin: Mutex<Option<Writer>>,
    output: broadcast::Sender<Output>,
    exit: watch::Receiver<Option<ExitStatus>>,
    /// Probes and hooks of this instance.
    companions: Mutex<Vec<AbortOnDropHandle<()>>>,
}

impl Instance {
    /// Takes over a started process. `ended` runs once, when it has ended and its output has been stored.
    pub(crate) fn new(
        id: String,
        started: Started,
        tty: bool,
        stdin_once: bool,
        log: Arc<ContainerLog>,
        ended: impl FnOnce(ExitStatus) + Send + 'static,
    ) -> Arc<Self> {
        let output = broadcast::Sender::new(BEHIND);
        let (exit_tx, exit) = watch::channel(None);
        let copy = |reader, stream| {
            let output = output.clone();
            let seen = move |bytes| drop(output.send(Output { stream, bytes })); // nobody attached is fine
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
            tty,
            stdin_once,
            log,
            resize: started.resize,
            stdin: Mutex::new(started.stdin),
            output,
            exit,
            companions: Mutex::default(),
        })
    }

    /// The output from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Output> {
        self.output.subscribe()
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
