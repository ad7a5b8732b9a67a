//! Changes in the directory of static pods, as the kernel tells them.

use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe::Receiver;

/// News of a directory.
pub(super) struct Changes(Receiver);

impl Changes {
    /// `None` where the kernel will not tell: then the directory is merely read from time to time.
    pub(super) fn of(dir: &Path) -> Option<Self> {
        let watch = || -> std::io::Result<Self> {
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            let news = AddWatchFlags::IN_CLOSE_WRITE
                | AddWatchFlags::IN_MOVED_TO
                | AddWatchFlags::IN_MOVED_FROM
                | AddWatchFlags::IN_DELETE;
            inotify.add_watch(dir, news)?;
            // No pipe, but read and waited for like one.
            Ok(Self(Receiver::from_owned_fd_unchecked(inotify.into())?))
        };
        watch()
            .inspect_err(
                |error| tracing::debug!(dir = %dir.display(), %error, "changes of static pods are not watched"),
            )
            .ok()
    }

    /// Resolves when there has been something. What, the directory tells.
    async fn next(&self) -> std::io::Result<()> {
        let mut buffer = [0; 4096];
        let mut seen = false;
        loop {
            match self.0.try_read(&mut buffer) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => seen = true,
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return Err(error),
                Err(_) if seen => return Ok(()),
                Err(_) => self.0.readable().await?,
            }
        }
    }
}

/// Resolves when something has changed; never, when nobody tells.
pub(super) async fn changed(changes: &mut Option<Changes>) {
    if let Some(watched) = changes {
        match watched.next().await {
            Ok(()) => return,
            Err(error) => {
                tracing::debug!(%error, "changes of static pods are not watched any more");
                *changes = None;
            }
        }
    }
    std::future::pending().await
}
