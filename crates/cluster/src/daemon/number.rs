//! Another process by its number, on systems that have no handles to processes of others.

use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

const TICK: Duration = Duration::from_millis(20);

/// What a process can be told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    /// To end in good order.
    Terminate,
    /// Nothing: it ends.
    Kill,
}

/// A process that lives, or has ended since.
pub(super) struct Process(Pid);

impl Process {
    /// `None` when there is none of that number.
    pub(super) fn open(pid: i32) -> io::Result<Option<Self>> {
        let process = Self(Pid::from_raw(pid));
        Ok(process.lives()?.then_some(process))
    }

    fn lives(&self) -> io::Result<bool> {
        match kill(self.0, None) {
            Ok(()) => Ok(true),
            Err(Errno::ESRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Fine when it has ended.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let signal = match signal {
            Signal::Terminate => nix::sys::signal::Signal::SIGTERM,
            Signal::Kill => nix::sys::signal::Signal::SIGKILL,
        };
        match kill(self.0, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for its end; whether it came in time.
    pub(super) fn ended(&self, patience: Duration) -> io::Result<bool> {
        let begin = Instant::now();
        while self.lives()? {
            if begin.elapsed() >= patience {
                return Ok(false);
            }
            std::thread::park_timeout(TICK);
        }
        Ok(true)
    }
}
