//! Why a cluster could not be started, stopped or found.

use std::fmt;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong, in a sentence, with the cause and with what to do about it where that is known.
#[derive(Debug)]
pub struct Error {
    message: String,
    hint: Option<String>,
    source: Option<Cause>,
    taken: bool,
}

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            source: None,
            taken: false,
        }
    }

    pub(crate) fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.source = Some(cause.into());
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// That another process has the cluster is what went wrong.
    pub(crate) fn because_taken(mut self) -> Self {
        self.taken = true;
        self
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.taken
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

/// Names what was being done when something failed.
pub(crate) trait Doing<T> {
    fn doing(self, message: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<Cause>> Doing<T> for Result<T, E> {
    fn doing(self, message: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|cause| Error::new(message()).because(cause))
    }
}
