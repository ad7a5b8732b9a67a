//! Systems that do not tell of changes: the directory of static pods is merely read from time to time.

use std::convert::Infallible;
use std::path::Path;

/// News of a directory; there are none.
pub(super) struct Changes(Infallible);

impl Changes {
    /// `None`.
    pub(super) fn of(_dir: &Path) -> Option<Self> {
        None
    }
}

/// Never resolves.
pub(super) async fn changed(_changes: &mut Option<Changes>) {
    std::future::pending().await
}
