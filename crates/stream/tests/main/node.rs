//! A node whose one pod is this machine: commands are real processes, ports are this machine's ports.

use std::process::Stdio;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use knarr_stream::backend::{
    Backend, BackendError, Duplex, ExecOptions, Exit, LogOptions, LogStream, PodRef, Process, TerminalSize,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What the runtime says about a program that is not there, as a kubelet passes it on.
pub(crate) fn no_such_program(program: &str) -> String {
    format!(
        "error executing command in container: failed to exec in container: failed to start exec \"4f2d\": OCI runtime exec \
         failed: exec failed: unable to start container process: exec: \"{program}\": executable file not found in $PATH"
    )
}

#[derive(Default)]
pub(crate) struct Node {
    /// Cancelled when a process of the command `hold` is dropped.
    pub(crate) dropped: CancellationToken,
}

#[async_trait]
impl Backend for Node {
    async fn logs(&self, _pod: &PodRef, options: LogOptions) -> Result<LogStream, BackendError> {
        let lines = stream::iter((0..3).map(|n| Ok(Bytes::from(format!("line {n}\n")))));
        if options.follow {
            Ok(Box::pin(lines.chain(stream::pending())))
        } else {
            Ok(Box::pin(lines))
        }
    }

    async fn exec(&self, _pod: &PodRef, options: ExecOptions) -> Result<Process, BackendError> {
        if options.container == "absent" {
            return Err(BackendError::NotFound("container not found (\"absent\")".to_owned()));
        }
        if options.command == ["hold"] {
            return Ok(self.hold());
        }
        if options.tty {
            return Ok(terminal());
        }
        let (program, arguments) = options.command.split_first().expect("a command");
        let wanted = |wanted: bool| if wanted { Stdio::piped() } else { Stdio::null() };
        let mut command = Command::new(program);
        command.args(arguments).stdin(wanted(options.stdin));
        command.stdout(wanted(options.stdout)).stderr(wanted(options.stderr));
        let mut child = command
            .spawn()
            .map_err(|_| BackendError::Internal(no_such_program(program)))?;
        Ok(Process {
            stdin: child.stdin.take().map(|stdin| Box::pin(stdin) as _),
            stdout: child.stdout.take().map(|stdout| Box::pin(stdout) as _),
            stderr: child.stderr.take().map(|stderr| Box::pin(stderr) as _),
            resize: None,
            exit: async move {
                match child.wait().await {
                    Ok(status) => Exit::Code(status.code().unwrap_or(137)),
                    Err(error) => Exit::Failed(error.to_string()),
                }
            }
            .boxed(),
        })
    }

    async fn attach(&self, pod: &PodRef, mut options: ExecOptions) -> Result<Process, BackendError> {
        options.command = ["sh", "-c", "echo attached; cat; exit 5"].map(str::to_owned).into();
        self.exec(pod, options).await
    }

    async fn dial(&self, _pod: &PodRef, port: u16) -> Result<Duplex, BackendError> {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(BackendError::Internal(error.to_string())),
        }
    }
}

impl Node {
    /// A process that neither reads nor writes nor ends.
    fn hold(&self) -> Process {
        let (stdin, nobody_reads) = tokio::io::duplex(16);
        let (stdout, never_written) = tokio::io::duplex(16);
        let dropped = self.dropped.clone().drop_guard();
        Process {
            stdin: Some(Box::pin(stdin)),
            stdout: Some(Box::pin(stdout)),
            stderr: None,
            resize: None,
            exit: async move {
                let _held = (nobody_reads, never_written, dropped);
                std::future::pending().await
            }
            .boxed(),
        }
    }
}

/// A program on a terminal: it tells each size the terminal takes, and obeys `exit N`.
fn terminal() -> Process {
    let (stdin, typed) = tokio::io::duplex(1024);
    let (stdout, mut shown) = tokio::io::duplex(1024);
    let (resize, mut sizes) = mpsc::channel(1);
    let (done, exit) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut lines = BufReader::new(typed).lines();
        loop {
            tokio::select! {
                Some(TerminalSize { width, height }) = sizes.recv() => {
                    let _ = shown.write_all(format!("{width}x{height}\r\n").as_bytes()).await;
                }
                line = lines.next_line() => {
                    let Ok(Some(line)) = line else { break };
                    let _ = shown.write_all(format!("you said {line}\r\n").as_bytes()).await;
                    if let Some(code) = line.trim().strip_prefix("exit ") {
                        let _ = done.send(code.parse().expect("a code"));
                        return;
                    }
                }
            }
        }
    });
    Process {
        stdin: Some(Box::pin(stdin)),
        stdout: Some(Box::pin(stdout)),
        stderr: None,
        resize: Some(resize),
        exit: async move { exit.await.map_or(Exit::Code(129), Exit::Code) }.boxed(),
    }
}

/// A server that answers each connection with what `make` makes of all the client sent before it stopped, then closes.
pub(crate) async fn tcp_server(make: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let make = std::sync::Arc::new(make);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let make = make.clone();
            tokio::spawn(async move {
                let mut asked = Vec::new();
                stream.read_to_end(&mut asked).await?;
                stream.write_all(&make(asked)).await?;
                stream.shutdown().await
            });
        }
    });
    port
}

/// Bytes that are never the same twice in a row, so that lost, doubled and swapped pieces show.
pub(crate) fn pattern(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut bytes = Vec::with_capacity(length + 4);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
