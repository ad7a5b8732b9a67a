//! The few system calls that have no safe wrapper: everything `unsafe` in this crate is here.
//!
//! All programs in this crate start in a fresh process with one thread, which is what makes forking without an exec sound.

#![allow(
    unsafe_code,
    reason = "thin wrappers over system calls; each says why its call is sound"
)]

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction};
use nix::unistd::ForkResult;

/// Bit `n` is set when signal `n` has arrived and nobody has asked yet.
static PENDING: AtomicU64 = AtomicU64::new(0);

extern "C" fn note(signal: libc::c_int) {
    PENDING.fetch_or(1u64.checked_shl(signal.unsigned_abs()).unwrap_or(0), Ordering::SeqCst);
}

/// The signals that arrived since the last call, as bits.
pub(crate) fn take_pending() -> u64 {
    PENDING.swap(0, Ordering::SeqCst)
}

/// Looks at the arrived signals and leaves them.
pub(crate) fn pending() -> u64 {
    PENDING.load(Ordering::SeqCst)
}

/// All signals held back, so that none slips in between looking and sleeping. Dropped, they come through again.
pub(crate) struct Held(SigSet);

/// Holds all signals back.
pub(crate) fn hold_signals() -> Held {
    let mut before = SigSet::empty();
    let _ = nix::sys::signal::sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut before));
    Held(before)
}

impl Held {
    /// Lets signals through until one has been handled. One that came while they were held ends this at once.
    pub(crate) fn sleep(&self) {
        let _ = self.0.suspend();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.0), None);
    }
}

/// What a signal does from now on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    Default,
    Ignore,
    /// Remember it for [`take_pending`]; blocking calls return early with `Interrupted`.
    Note,
}

/// Sets what `signal` does. Signals that cannot be caught are left alone.
pub(crate) fn on_signal(signal: i32, disposition: Disposition) {
    let Ok(signal) = Signal::try_from(signal) else { return };
    let handler = match disposition {
        Disposition::Default => SigHandler::SigDfl,
        Disposition::Ignore => SigHandler::SigIgn,
        Disposition::Note => SigHandler::Handler(note),
    };
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler only touches an atomic, which is async-signal-safe.
    let _ = unsafe { sigaction(signal, &action) };
}

/// Forks. `None` in the child.
pub(crate) fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the callers run in processes with one thread, so the child may do whatever the parent might.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child.as_raw())),
        ForkResult::Child => Ok(None),
    }
}

fn check(result: libc::c_int) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Makes `to` a copy of `from` that survives an exec.
pub(crate) fn dup_to(from: i32, to: i32) -> io::Result<()> {
    if from == to {
        // SAFETY: changes a descriptor flag only.
        return check(unsafe { libc::fcntl(from, libc::F_SETFD, 0) }).map(|_| ());
    }
    // SAFETY: descriptors are the shell's to redirect: nothing in this process owns `to` through a Rust value.
    check(unsafe { libc::dup2(from, to) }).map(|_| ())
}

/// A copy of `fd` at 10 or above that an exec closes: where a shell parks what it redirects.
pub(crate) fn dup_high(fd: i32) -> io::Result<i32> {
    // SAFETY: makes a new descriptor; the caller closes it.
    check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 10) })
}

/// Closes a descriptor by number.
pub(crate) fn close(fd: i32) {
    // SAFETY: callers pass descriptors that they made with this module or that the script names.
    unsafe { libc::close(fd) };
}

/// A descriptor by number, for the safe wrappers of `nix`.
pub(crate) fn borrow<'a>(fd: i32) -> BorrowedFd<'a> {
    // SAFETY: used at once in a call that fails cleanly (EBADF) when the descriptor is not open.
    unsafe { BorrowedFd::borrow_raw(fd.max(0)) }
}

/// A pipe whose ends an exec closes: (read, write).
pub(crate) fn pipe() -> io::Result<(i32, i32)> {
    use std::os::fd::IntoRawFd;
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    Ok((read.into_raw_fd(), write.into_raw_fd()))
}

/// Reads; `Interrupted` when a noted signal arrives first.
pub(crate) fn read(fd: i32, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(nix::unistd::read(borrow(fd), buffer)?)
}

/// Writes everything, whatever signals arrive.
pub(crate) fn write_all(fd: i32, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(borrow(fd), bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::EAGAIN) => {
                let mut fds = [nix::poll::PollFd::new(borrow(fd), nix::poll::PollFlags::POLLOUT)];
                let _ = nix::poll::poll(&mut fds, nix::poll::PollTimeout::NONE);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits until `fd` can be read: `false` when `millis` pass first (-1: no limit) or a signal arrives.
pub(crate) fn readable(fd: i32, millis: i32) -> bool {
    let mut fds = [nix::poll::PollFd::new(borrow(fd), nix::poll::PollFlags::POLLIN)];
    let timeout = nix::poll::PollTimeout::try_from(millis).unwrap_or(nix::poll::PollTimeout::NONE);
    matches!(nix::poll::poll(&mut fds, timeout), Ok(n) if n > 0)
}

/// Sleeps. A noted signal ends it early.
pub(crate) fn sleep(millis: i32) {
    let timeout = nix::poll::PollTimeout::try_from(millis.max(0)).unwrap_or(nix::poll::PollTimeout::ZERO);
    let _ = nix::poll::poll(&mut [], timeout);
}

/// The terminal's size: (columns, rows). A single row or column is what clients without a terminal say: taken for unknown.
pub(crate) fn window(fd: i32) -> Option<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel fills the structure it is given.
    let done = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &mut size) };
    (done == 0 && size.ws_col > 1 && size.ws_row > 1).then_some((size.ws_col, size.ws_row))
}

/// Whether the descriptor is a terminal.
pub(crate) fn is_tty(fd: i32) -> bool {
    nix::unistd::isatty(borrow(fd)).unwrap_or(false)
}

/// Processor time of this process and of the children it waited for: (user, system, children's user, children's system) in seconds.
pub(crate) fn times() -> (f64, f64, f64, f64) {
    use nix::sys::resource::{UsageWho, getrusage};
    let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    let of = |who| getrusage(who).map_or((0.0, 0.0), |u| (seconds(u.user_time()), seconds(u.system_time())));
    let (own, children) = (of(UsageWho::RUSAGE_SELF), of(UsageWho::RUSAGE_CHILDREN));
    (own.0, own.1, children.0, children.1)
}
