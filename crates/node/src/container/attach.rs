//! Attaching clients to a container's main process.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use knarr_stream::backend::{ExecOptions, Exit, Process, TerminalSize, Writer};
use tokio::io::{AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{broadcast, mpsc};

use super::instance::{Instance, Output};
use crate::log::Stream;

/// Output on its way to one client.
const BUFFER: usize = 64 << 10;
const SIZES: usize = 8;

/// Connects a client. Any number of them see the output; one at a time has the input.
pub(crate) fn attach(instance: &Arc<Instance>, options: &ExecOptions) -> Process {
    let (before, output) = instance.subscribe();
    let want_stdout = options.stdout || instance.tty;
    let want_stderr = options.stderr && !instance.tty;
    let (stdout, stdout_end) = ends(want_stdout);
    let (stderr, stderr_end) = ends(want_stderr);
    tokio::spawn(copy(instance.clone(), before, output, stdout_end, stderr_end));
    let stdin = options.stdin.then(|| instance.take_stdin()).flatten().map(|writer| {
        Box::pin(Borrowed {
            writer: Some(writer),
            instance: instance.clone(),
        }) as Writer
    });
    let resize = instance.resize.clone().map(|resize| {
        let (sender, mut sizes) = mpsc::channel::<TerminalSize>(SIZES);
        tokio::spawn(async move {
            while let Some(size) = sizes.recv().await {
                resize(size.width, size.height);
            }
        });
        sender
    });
    let exiting = instance.clone();
    Process {
        stdin,
        stdout: stdout.map(|reader| Box::pin(reader) as _),
        stderr: stderr.map(|reader| Box::pin(reader) as _),
        resize,
        exit: Box::pin(async move {
            match exiting.exited().await {
                // Attaching is not running: how the process ended is in the pod's status.
                Some(_) => Exit::Code(0),
                None => Exit::Failed("the container's end was not seen".into()),
            }
        }),
    }
}

fn ends(wanted: bool) -> (Option<DuplexStream>, Option<DuplexStream>) {
    if wanted {
        let (reader, writer) = tokio::io::duplex(BUFFER);
        (Some(reader), Some(writer))
    } else {
        (None, None)
    }
}

/// Copies output to one client until the process has ended and everything has been copied, or the client has left.
async fn copy(
    instance: Arc<Instance>,
    before: VecDeque<Output>,
    mut output: broadcast::Receiver<Output>,
    mut stdout: Option<DuplexStream>,
    mut stderr: Option<DuplexStream>,
) {
    for Output { stream, bytes } in before {
        let end = match stream {
            Stream::Stdout => &mut stdout,
            Stream::Stderr => &mut stderr,
        };
        if !send(end, &bytes).await && stdout.is_none() && stderr.is_none() {
            return;
        }
    }
    let exited = instance.exited();
    let mut exited = std::pin::pin!(exited);
    let mut over = false;
    loop {
        let received = if over {
            match output.try_recv() {
                Ok(output) => Ok(output),
                Err(broadcast::error::TryRecvError::Lagged(missed)) => Err(broadcast::error::RecvError::Lagged(missed)),
                Err(_) => return,
            }
        } else {
            tokio::select! {
                biased;
                received = output.recv() => received,
                _ = &mut exited => {
                    over = true;
                    continue;
                }
            }
        };
        let Output { stream, bytes } = match received {
            Ok(output) => output,
            // A client that is too slow loses some, as a terminal that scrolls by does.
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let end = match stream {
            Stream::Stdout => &mut stdout,
            Stream::Stderr => &mut stderr,
        };
        if !send(end, &bytes).await && stdout.is_none() && stderr.is_none() {
            return;
        }
    }
}

/// False when the client does not read this stream (any more).
async fn send(end: &mut Option<DuplexStream>, bytes: &Bytes) -> bool {
    let Some(writer) = end else {
        return false;
    };
    let sent = writer.write_all(bytes).await.is_ok();
    if !sent {
        *end = None;
    }
    sent
}

/// Standard input, lent to one client. Shut down, it is closed for the process if it was meant for one client only
/// (`stdinOnce`); else it goes back for the next one.
struct Borrowed {
    writer: Option<knarr_runtime::Writer>,
    instance: Arc<Instance>,
}

impl AsyncWrite for Borrowed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match &mut self.writer {
            Some(writer) => Pin::new(writer).poll_write(cx, bytes),
            None => Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut self.writer {
            Some(writer) => Pin::new(writer).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if !self.instance.stdin_once {
            self.give_back();
            return Poll::Ready(Ok(()));
        }
        if let Some(writer) = &mut self.writer {
            ready!(Pin::new(writer).poll_shutdown(cx))?;
        }
        self.writer = None;
        Poll::Ready(Ok(()))
    }
}

impl Borrowed {
    fn give_back(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.instance.return_stdin(writer);
        }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // Dropped with `stdinOnce`, the writer goes too, and the process sees the end of its input.
        if !self.instance.stdin_once {
            self.give_back();
        }
    }
}
