//! Programs on a terminal inside a container: bytes into an emulator, whose screen the views draw.

use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::SinkExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status as ApiStatus;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess, TerminalSize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::shared::Shared;
use super::{ExecSpec, Status};
use crate::cluster::Link;
use crate::error::{Error, ErrorKind};

/// Typed or pasted bytes kept for a program that does not read.
const LARGEST_INPUT: usize = 16 << 20;
/// A program that was started and says nothing for so long is at work.
const QUIET: Duration = Duration::from_millis(500);

/// What the main thread asks of a terminal session.
pub(super) enum Command {
    /// Typed or pasted bytes.
    Input(Bytes),
    /// Columns, rows.
    Resize(u16, u16),
}

/// The emulator of a session.
pub(super) struct Emulator {
    parser: Mutex<vt100::Parser<Answers>>,
    snapshot: Mutex<Option<Arc<vt100::Screen>>>,
}

/// Programs ask the terminal where its cursor is and what it is; the answers are input to them.
#[derive(Default)]
pub(super) struct Answers(Vec<u8>);

impl vt100::Callbacks for Answers {
    fn unhandled_csi(
        &mut self,
        screen: &mut vt100::Screen,
        first: Option<u8>,
        _second: Option<u8>,
        params: &[&[u16]],
        ch: char,
    ) {
        let param = params.first().and_then(|param| param.first()).copied().unwrap_or(0);
        match (first, ch, param) {
            (None, 'n', 6) => {
                let (row, column) = screen.cursor_position();
                self.0
                    .extend_from_slice(format!("\x1b[{};{}R", row + 1, column + 1).as_bytes());
            }
            (None, 'n', 5) => self.0.extend_from_slice(b"\x1b[0n"),
            (None, 'c', 0) => self.0.extend_from_slice(b"\x1b[?1;2c"),
            (Some(b'>'), 'c', 0) => self.0.extend_from_slice(b"\x1b[>0;0;0c"),
            _ => {}
        }
    }
}

fn cells(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap_or(NonZeroU16::MIN)
}

impl Emulator {
    pub(super) fn new((columns, rows): (u16, u16)) -> Self {
        let parser = vt100::Parser::new_with_callbacks(cells(rows), cells(columns), 0, Answers::default());
        Self {
            parser: Mutex::new(parser),
            snapshot: Mutex::new(None),
        }
    }

    fn parser(&self) -> std::sync::MutexGuard<'_, vt100::Parser<Answers>> {
        self.parser.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows output; gives the answers it asked for.
    fn process(&self, bytes: &[u8]) -> Vec<u8> {
        let mut parser = self.parser();
        parser.process(bytes);
        let answers = std::mem::take(&mut parser.callbacks_mut().0);
        drop(parser);
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = None;
        answers
    }

    /// Shows output of a program; without a terminal of its own its lines end in a newline alone.
    fn show(&self, bytes: &[u8], tty: bool) -> Vec<u8> {
        if tty {
            return self.process(bytes);
        }
        let mut lines = Vec::with_capacity(bytes.len() + bytes.len() / 16);
        for byte in bytes {
            if *byte == b'\n' {
                lines.push(b'\r');
            }
            lines.push(*byte);
        }
        self.process(&lines);
        Vec::new()
    }

    pub(super) fn resize(&self, columns: u16, rows: u16) {
        self.parser().set_size(cells(rows), cells(columns));
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The screen now; made anew only when something changed.
    pub(super) fn screen(&self) -> Arc<vt100::Screen> {
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot
            .get_or_insert_with(|| Arc::new(self.parser().screen().clone()))
            .clone()
    }
}

/// Runs the program until it ends.
pub(super) async fn run(
    link: Link,
    spec: ExecSpec,
    emulator: Arc<Emulator>,
    shared: Arc<Shared>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let what = if spec.commands.is_empty() { "attach" } else { "exec" };
    let client = match link.stream(what) {
        Ok(client) => client,
        Err(error) => return shared.set(Status::Failed(error)),
    };
    let pods: Api<Pod> = Api::namespaced(client, &spec.target.namespace);
    let mut size = spec.size;
    let attempts: Vec<Option<&Vec<String>>> = if spec.commands.is_empty() {
        vec![None]
    } else {
        spec.commands.iter().map(Some).collect()
    };
    let mut failure = Error::usage("there is no command to run");
    for (at, command) in attempts.iter().enumerate() {
        let tty = command.is_some() || spec.tty;
        let mut params = match command {
            None if !spec.tty => AttachParams {
                stdin: spec.stdin,
                stdout: true,
                stderr: true,
                tty: false,
                ..AttachParams::default()
            },
            _ => AttachParams::interactive_tty(),
        }
        .max_stdout_buf_size(64 * 1024)
        .max_stdin_buf_size(64 * 1024);
        params.container = spec.target.container.as_deref().map(str::to_owned);
        let opened = match command {
            Some(command) => {
                pods.exec(&spec.target.pod, command.iter().map(String::as_str), &params)
                    .await
            }
            None => pods.attach(&spec.target.pod, &params).await,
        };
        let process = match opened {
            Ok(process) => process,
            Err(error) => {
                failure = link.explain(&error, what);
                if missing(&failure.line()) && at + 1 < attempts.len() {
                    continue;
                }
                return shared.set(Status::Failed(failure));
            }
        };
        match pump(process, tty, &emulator, &shared, &mut commands, &mut size).await {
            Pumped::Ended(code) => return shared.set(Status::Ended(code)),
            Pumped::NeverRan(message) => {
                failure = Error::new(ErrorKind::Other, message.clone());
                if !missing(&message) {
                    break;
                }
            }
        }
    }
    if missing(&failure.line()) {
        failure = failure.hint("the image has no such program: `pod.shell -- PROGRAM` runs another");
    }
    shared.set(Status::Failed(failure));
}

/// Whether a failure says that the program does not exist in the container.
fn missing(message: &str) -> bool {
    message.contains("executable file not found") || message.contains("no such file or directory")
}

enum Pumped {
    /// The program ended, with its exit code when that is known.
    Ended(Option<i32>),
    /// It could not be started.
    NeverRan(String),
}

/// The next output; never any where there is none.
async fn read_some(reader: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> std::io::Result<usize> {
    match reader {
        Some(reader) => reader.read(buffer).await,
        None => std::future::pending().await,
    }
}

/// Writes some of the input; waits for ever when there is none, or nobody to take it.
async fn write_some(writer: &mut Option<impl AsyncWrite + Unpin>, input: &[u8]) -> std::io::Result<usize> {
    match writer {
        Some(writer) if !input.is_empty() => writer.write(input).await,
        _ => std::future::pending().await,
    }
}

async fn pump(
    mut process: AttachedProcess,
    tty: bool,
    emulator: &Emulator,
    shared: &Shared,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    size: &mut (u16, u16),
) -> Pumped {
    let Some(mut stdout) = process.stdout() else {
        return Pumped::NeverRan("the server gave no output".into());
    };
    let (mut stdin, mut stderr) = (process.stdin(), process.stderr());
    let mut resize = process.terminal_size();
    let status = process.take_status();
    if let Some(resize) = &mut resize {
        let _ = resize
            .send(TerminalSize {
                width: size.0,
                height: size.1,
            })
            .await;
    }
    // What is typed waits here: a program that does not read must not keep its output from being shown, or both would wait for ever.
    let mut input = BytesMut::new();
    let mut any = false;
    // The server accepted: a program that says nothing is at work all the same.
    let quiet = tokio::time::sleep(QUIET);
    tokio::pin!(quiet);
    let mut buffer = vec![0; 64 * 1024];
    let mut errors = vec![0; if stderr.is_some() { 64 * 1024 } else { 0 }];
    loop {
        tokio::select! {
            () = &mut quiet, if !any && !quiet.is_elapsed() => shared.set(Status::Running),
            read = stdout.read(&mut buffer) => match read {
                Ok(0) | Err(_) => break,
                Ok(read) => {
                    if !any {
                        any = true;
                        shared.set(Status::Running);
                    }
                    shared.received(read as u64);
                    input.extend_from_slice(&emulator.show(&buffer[..read], tty));
                    shared.dirty();
                }
            },
            read = read_some(&mut stderr, &mut errors) => match read {
                Ok(0) | Err(_) => stderr = None,
                Ok(read) => {
                    any = true;
                    shared.set(Status::Running);
                    shared.received(read as u64);
                    emulator.show(&errors[..read], tty);
                    shared.dirty();
                }
            },
            written = write_some(&mut stdin, &input) => match written {
                Ok(0) | Err(_) => break,
                Ok(written) => {
                    shared.sent(written as u64);
                    input.advance(written);
                }
            },
            command = commands.recv() => match command {
                // The session was closed: dropping the process hangs the program up.
                None => return Pumped::Ended(None),
                Some(Command::Input(bytes)) if input.len() + bytes.len() <= LARGEST_INPUT => input.extend_from_slice(&bytes),
                Some(Command::Input(_)) => tracing::warn!("input dropped: the program does not read"),
                Some(Command::Resize(columns, rows)) => {
                    *size = (columns, rows);
                    if let Some(resize) = &mut resize {
                        let _ = resize.send(TerminalSize { width: columns, height: rows }).await;
                    }
                }
            },
        }
    }
    drop(stdin);
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    match status {
        Some(status) if status.status.as_deref() == Some("Success") => Pumped::Ended(Some(0)),
        Some(status) => match exit_code(&status) {
            Some(code) => Pumped::Ended(Some(code)),
            None if any => Pumped::Ended(None),
            None => Pumped::NeverRan(
                status
                    .message
                    .unwrap_or_else(|| "the program could not be started".into()),
            ),
        },
        None => Pumped::Ended(None),
    }
}

fn exit_code(status: &ApiStatus) -> Option<i32> {
    let causes = status.details.as_ref()?.causes.as_ref()?;
    causes
        .iter()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))?
        .message
        .as_ref()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_asks_for_the_cursor_is_answered() {
        let emulator = Emulator::new((80, 24));
        assert_eq!(emulator.process(b"ab\x1b[6n"), b"\x1b[1;3R");
        assert_eq!(emulator.screen().contents().trim_end(), "ab");
    }

    #[test]
    fn missing_programs_are_told_from_other_failures() {
        assert!(missing("exec: \"bash\": executable file not found in $PATH"));
        assert!(!missing("container not running"));
    }
}
