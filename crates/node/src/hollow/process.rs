//! One simulated container: its first process, and commands run beside it.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use knarr_clock::Clock;
use knarr_runtime::{ContainerSpec, ExecSpec, ExitStatus, Resize, RuntimeError, Started};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Hollow;
use super::command::Program;
use super::files::Files;
use super::io::Stdio;
use super::shell::Shell;

const SIGKILL: i32 = 9;

/// A container. Its task ends when it is killed or its program does.
pub(super) struct Container {
    pub(super) spec: ContainerSpec,
    pub(super) hostname: String,
    pub(super) clock: Clock,
    pub(super) files: Files,
    started: Instant,
    /// The last signal, and a count that tells two of a kind apart.
    signals: watch::Sender<(u64, i32)>,
    exit: watch::Sender<Option<ExitStatus>>,
}

fn exit(code: i32) -> ExitStatus {
    ExitStatus {
        code,
        signal: if code > 128 { code - 128 } else { 0 },
        oom_killed: false,
    }
}

impl Container {
    pub(super) fn new(spec: ContainerSpec, hostname: String, clock: Clock) -> Self {
        Self {
            files: Files::new(spec.mounts.clone()),
            spec,
            hostname,
            clock,
            started: Instant::now(),
            signals: watch::Sender::new((0, 0)),
            exit: watch::Sender::new(None),
        }
    }

    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn ended(&self) -> bool {
        self.exit.borrow().is_some()
    }

    pub(super) fn signal(&self, signal: i32) {
        self.signals
            .send_modify(|(count, last)| (*count, *last) = (*count + 1, signal));
    }

    pub(super) fn kill(&self) {
        self.signal(SIGKILL);
    }

    /// A variable of the container's environment.
    pub(super) fn env(&self, name: &str) -> Option<&str> {
        let mut found = self.spec.env.iter().rev().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// Starts the first process.
    pub(super) fn start(self: &Arc<Self>, hollow: &Hollow) -> Result<Started, RuntimeError> {
        let program = Program::find(self, &self.spec.argv)?;
        let (stdio, ends) = Stdio::new(self.spec.stdin, self.spec.tty);
        let (shell, resize) = self.shell(hollow, stdio, self.spec.tty);
        let container = self.clone();
        let heeds = program.heeds_signals();
        // Before the task runs: a signal may come first.
        let mut signals = self.signals.subscribe();
        tokio::spawn(async move {
            // The first process of a container ignores signals that it has no handler for, all but one.
            let stopped = async {
                loop {
                    if signals.changed().await.is_err() {
                        return std::future::pending().await;
                    }
                    match *signals.borrow_and_update() {
                        (_, SIGKILL) => return exit(128 + SIGKILL),
                        (_, signal) => {
                            if let Some(code) = heeds.code_after(signal) {
                                return exit(code);
                            }
                        }
                    }
                }
            };
            let status = tokio::select! {
                code = program.run(shell) => exit(code),
                status = stopped => status,
            };
            container.exit.send_replace(Some(status));
        });
        let mut ended = self.exit.subscribe();
        let exit = async move {
            let status = ended
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|status| status.clone());
            status.unwrap_or_else(|| exit(128 + SIGKILL))
        };
        Ok(Started {
            pid: None,
            stdin: ends.stdin,
            stdout: ends.stdout,
            stderr: ends.stderr,
            resize,
            exit: exit.boxed(),
        })
    }

    /// Runs a command beside it; it ends with the container at the latest.
    pub(super) fn exec(self: &Arc<Self>, hollow: &Hollow, spec: ExecSpec) -> Result<Started, RuntimeError> {
        let program = Program::find(self, &spec.argv)?;
        let (stdio, ends) = Stdio::new(spec.stdin, spec.tty);
        let (shell, resize) = self.shell(hollow, stdio, spec.tty);
        let mut ended = self.exit.subscribe();
        let task = tokio::spawn(async move {
            tokio::select! {
                code = program.run(shell) => exit(code),
                _ = ended.wait_for(Option::is_some) => exit(128 + SIGKILL),
            }
        });
        let exit = async move { task.await.unwrap_or_else(|_| exit(128 + SIGKILL)) };
        Ok(Started {
            pid: None,
            stdin: ends.stdin,
            stdout: ends.stdout,
            stderr: ends.stderr,
            resize,
            exit: exit.boxed(),
        })
    }

    fn shell(self: &Arc<Self>, hollow: &Hollow, stdio: Stdio, tty: bool) -> (Shell, Option<Resize>) {
        let size = watch::Sender::new((80, 24));
        let shell = Shell::new(self.clone(), hollow.clone(), stdio, tty.then(|| size.subscribe()));
        let resize: Resize = Arc::new(move |columns, rows| {
            size.send_replace((columns, rows));
        });
        (shell, tty.then_some(resize))
    }
}
