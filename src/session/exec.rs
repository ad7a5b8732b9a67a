//! Programs on a terminal inside a container: bytes into an emulator, whose screen the views draw.

use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::SinkExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status as ApiStatus;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess, TerminalSize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::shared::Shared;
use super::{ExecSpec, Status};
use crate::cluster::Link;
use crate::error::{Error, ErrorKind};

/// Lines kept above the screen.
const SCROLLBACK: usize = 5_000;

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
        let parser = vt100::Parser::new_with_callbacks(cells(rows), cells(columns), SCROLLBACK, Answers::default());
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

    pub(super) fn resize(&self, columns: u16, rows: u16) {
        self.parser().set_size(cells(rows), cells(columns));
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Scrolls the view back by `rows` from the newest line; 0 is live.
    pub(super) fn scroll(&self, rows: usize) {
        self.parser().screen_mut().set_scrollback(rows);
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
        let mut params = AttachParams::interactive_tty()
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
        match pump(process, &emulator, &shared, &mut commands, &mut size).await {
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

async fn pump(
    mut process: AttachedProcess,
    emulator: &Emulator,
    shared: &Shared,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    size: &mut (u16, u16),
) -> Pumped {
    let (Some(mut stdin), Some(mut stdout)) = (process.stdin(), process.stdout()) else {
        return Pumped::NeverRan("the server gave no terminal".into());
    };
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
    let mut any = false;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        tokio::select! {
            read = stdout.read(&mut buffer) => match read {
                Ok(0) | Err(_) => break,
                Ok(read) => {
                    if !any {
                        any = true;
                        shared.set(Status::Running);
                    }
                    shared.received(read as u64);
                    let answers = emulator.process(&buffer[..read]);
                    if !answers.is_empty() && stdin.write_all(&answers).await.is_err() {
                        break;
                    }
                    shared.dirty();
                }
            },
            command = commands.recv() => match command {
                // The session was closed: dropping the process hangs the program up.
                None => return Pumped::Ended(None),
                Some(Command::Input(bytes)) => {
                    shared.sent(bytes.len() as u64);
                    if stdin.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
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
