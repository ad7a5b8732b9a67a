//! Descriptors made elsewhere, for the async runtime.

use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::unix::AsyncFd;

/// Takes a descriptor in. Call it inside the async runtime.
#[allow(unsafe_code, reason = "AsyncFd::register cannot know that a descriptor stays open")]
pub(crate) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = OFlag::from_bits_retain(fcntl(&descriptor, FcntlArg::F_GETFL)?);
    fcntl(&descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    // SAFETY: an OwnedFd is open and keeps its number until it is dropped, which the AsyncFd that owns it does only after deregistering.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}
