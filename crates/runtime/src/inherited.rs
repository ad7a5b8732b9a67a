//! Descriptors that somebody else left open.

use nix::libc;

/// The first descriptor that is none of the three standard streams.
const FIRST: libc::c_int = 3;
/// `CLOSE_RANGE_CLOEXEC`.
const CLOEXEC: libc::c_uint = 4;

/// Makes every descriptor but the standard streams close when a program is executed, so that none reaches a container: not those of the
/// shell that has started a cluster, nor any that a library opened without saying so. For the start of a program, and between fork and
/// exec: it makes system calls only.
pub fn close_inherited_on_exec() {
    if !sweep(CLOEXEC) {
        each(|number| {
            // SAFETY: changes a flag of a number; one that is not open is refused.
            #[allow(unsafe_code, reason = "the numbers are nobody's")]
            unsafe {
                libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC)
            };
        });
    }
}

/// Closes every descriptor but the standard streams. For the first thing that a fresh program does.
#[cfg(target_os = "linux")]
pub(crate) fn close_inherited() {
    if !sweep(0) {
        each(|number| {
            // SAFETY: this program has opened none of its own yet.
            #[allow(unsafe_code, reason = "the numbers are nobody's")]
            unsafe {
                libc::close(number)
            };
        });
    }
}

#[cfg(target_os = "linux")]
fn sweep(flags: libc::c_uint) -> bool {
    // SAFETY: close_range takes three numbers. With the flag it closes nothing; without, the caller has nothing open.
    #[allow(unsafe_code, reason = "close_range has no safe binding")]
    let result = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, flags) };
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn sweep(_flags: libc::c_uint) -> bool {
    false
}

/// For kernels without `close_range`: one after the other.
fn each(visit: impl Fn(libc::c_int)) {
    // SAFETY: takes a number.
    #[allow(unsafe_code, reason = "sysconf without allocation")]
    let most = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    let most = libc::c_int::try_from(most).unwrap_or(1024).clamp(0, 1 << 16);
    (FIRST..most).for_each(visit);
}
