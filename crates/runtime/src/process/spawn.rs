//! Starting processes, each leading a session of its own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc;

use nix::libc;
use nix::unistd::Pid;
use tokio::sync::oneshot;

use crate::terminal::Terminal;
use crate::{ExitStatus, Reader, RuntimeError, Started, Usage, Writer, io_error};

/// How a process ends whose end nobody saw.
pub(super) const KILLED: ExitStatus = ExitStatus {
    code: 137,
    signal: libc::SIGKILL,
    oom_killed: false,
};

/// What to run.
pub(super) struct Command {
    pub(super) program: PathBuf,
    pub(super) argv: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) directory: PathBuf,
    pub(super) tty: bool,
    pub(super) stdin: bool,
}

type Order = (Command, oneshot::Sender<Result<Started, RuntimeError>>);

/// A thread that starts all processes. On Linux they ask to be killed when the thread that started them ends, so that it must not be
/// one that an async runtime may retire; and when the runtime is dropped or its process dies, they go with it.
pub(super) struct Spawner(mpsc::Sender<Order>);

impl Spawner {
    pub(super) fn start() -> Self {
        let (sender, orders) = mpsc::channel::<Order>();
        let runtime = tokio::runtime::Handle::current();
        std::thread::spawn(move || {
            let _inside = runtime.enter();
            while let Ok((command, reply)) = orders.recv() {
                // A caller that has given up drops the process's streams, not the process; removal ends it.
                drop(reply.send(spawn(command)));
            }
        });
        Self(sender)
    }

    pub(super) async fn spawn(&self, command: Command) -> Result<Started, RuntimeError> {
        let (reply, answer) = oneshot::channel();
        let gone = || io_error("start a process")(io::Error::other("the spawning thread has ended"));
        self.0.send((command, reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn spawn(command: Command) -> Result<Started, RuntimeError> {
    let terminal = if command.tty {
        Some(open_terminal().map_err(|e| io_error("open a terminal")(e.into()))?)
    } else {
        None
    };
    let mut process = tokio::process::Command::new(&command.program);
    if let Some((name, arguments)) = command.argv.split_first() {
        process.arg0(name).args(arguments);
    }
    process
        .env_clear()
        .envs(command.environment)
        .current_dir(&command.directory);
    match &terminal {
        Some((_, slave)) => {
            let end = || {
                slave
                    .try_clone()
                    .map(Stdio::from)
                    .map_err(io_error("duplicate a terminal"))
            };
            process.stdin(end()?).stdout(end()?).stderr(end()?);
        }
        None => {
            process.stdin(if command.stdin { Stdio::piped() } else { Stdio::null() });
            process.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
    }
    lead_session(&mut process, command.tty);
    let mut child = process.spawn().map_err(io_error("start a process"))?;
    drop(process);
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let (stdin, stdout, stderr, resize) = match terminal {
        Some((master, _)) => {
            let (reader, writer, resize) = Terminal::open(master).map_err(io_error("watch a terminal"))?.split();
            (
                command.stdin.then(|| Box::new(writer) as Writer),
                Some(Box::new(reader) as Reader),
                None,
                Some(resize),
            )
        }
        None => (
            child.stdin.take().map(|s| Box::new(s) as Writer),
            child.stdout.take().map(|s| Box::new(s) as Reader),
            child.stderr.take().map(|s| Box::new(s) as Reader),
            None,
        ),
    };
    let stdout = stdout.ok_or_else(|| io_error("start a process")(io::Error::other("no standard output")))?;
    let exit = Box::pin(async move { child.wait().await.map_or(KILLED, status) });
    Ok(Started {
        pid,
        stdin,
        stdout,
        stderr,
        resize,
        exit,
    })
}

fn status(status: std::process::ExitStatus) -> ExitStatus {
    let signal = status.signal().unwrap_or(0);
    ExitStatus {
        code: status.code().unwrap_or(128 + signal),
        signal,
        oom_killed: false,
    }
}

fn open_terminal() -> nix::Result<(OwnedFd, OwnedFd)> {
    let pair = nix::pty::openpty(None, None)?;
    for end in [&pair.master, &pair.slave] {
        nix::fcntl::fcntl(
            end.as_fd(),
            nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
        )?;
    }
    Ok((pair.master, pair.slave))
}

#[allow(unsafe_code, reason = "what a child does between fork and exec")]
fn lead_session(process: &mut tokio::process::Command, tty: bool) {
    let prepare = move || {
        crate::close_inherited_on_exec();
        nix::unistd::setsid()?;
        if tty {
            // SAFETY: the request takes a number; descriptor 0 is the terminal's slave.
            nix::Error::result(unsafe { libc::ioctl(0, libc::TIOCSCTTY as _, 0) })?;
        }
        #[cfg(target_os = "linux")]
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        Ok(())
    };
    // SAFETY: only system calls, which are async-signal-safe; nothing is allocated, no lock is taken.
    unsafe { process.pre_exec(prepare) };
}

/// Sums what a process group uses.
#[cfg(target_os = "linux")]
pub(super) fn usage(group: Pid) -> Usage {
    let in_group = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let field = crate::usage::fields(&stat).and_then(|mut fields| fields.nth(2)?.parse::<i32>().ok());
        field == Some(group.as_raw())
    };
    crate::usage::sum(&crate::usage::select(in_group))
}

/// Not counted on this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn usage(_group: Pid) -> Usage {
    Usage::default()
}
