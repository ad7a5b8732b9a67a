//! `pause`: holds a pod's namespaces open, and buries the children that others leave behind.

use nix::sys::wait::{WaitPidFlag, waitpid};

pub(crate) fn main(args: &[String]) -> i32 {
    if args.iter().any(|a| a == "-v") {
        crate::say::out("pause.c 3.10\n");
        return 0;
    }
    for signal in [2, 15, 17] {
        crate::sys::on_signal(signal, crate::sys::Disposition::Note);
    }
    let held = crate::sys::hold_signals();
    loop {
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status.pid().is_some()) {}
        if crate::sys::take_pending() & (1 << 2 | 1 << 15) != 0 {
            let _ = crate::sys::write_all(2, b"Shutting down, got signal\n");
            return 0;
        }
        held.sleep();
    }
}
