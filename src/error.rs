//! Errors that end in advice.
//!
//! An [`Error`] has a kind (what the program does about it), one sentence for the user, the chain of causes, and hints.

use std::fmt;

/// What sort of failure it is: decides colour, retry and the keys offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A file of the user's (kubeconfig, keymap, theme, manifest) cannot be read or understood.
    Config,
    /// The cluster cannot be reached, or does not answer in time.
    Unreachable,
    /// The cluster does not accept the credentials (401), or the credential plugin failed.
    Unauthenticated,
    /// The user may not do this (403).
    Forbidden,
    /// No such object or resource (404).
    NotFound,
    /// The object changed meanwhile, or exists already (409).
    Conflict,
    /// The server puts it off (429): it may be asked again later.
    Busy,
    /// The API server refuses the object (422 or 400).
    Invalid,
    /// Knarr runs read-only.
    ReadOnly,
    /// The user stopped it before it was tried.
    Cancelled,
    /// What the user typed makes no sense here.
    Usage,
    /// Anything else.
    Other,
}

/// A failure, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What sort of failure it is.
    pub kind: ErrorKind,
    /// One clear sentence without a final full stop.
    pub message: String,
    /// Why, from the outermost cause to the root.
    pub causes: Vec<String>,
    /// What the user can do next; each a short imperative sentence.
    pub hints: Vec<String>,
}

/// Results that fail with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// The user asked for something that makes no sense here.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Adds what the user can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds `source` and its chain of causes, without repeating what is said already.
    #[must_use]
    pub fn because(mut self, source: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(source);
        while let Some(cause) = next {
            let text = cause.to_string();
            let said = self.causes.last().unwrap_or(&self.message);
            if !said.ends_with(&text) {
                self.causes.push(text);
            }
            next = cause.source();
        }
        self
    }

    /// The message and the root cause in one line.
    pub fn line(&self) -> String {
        match self.causes.last() {
            Some(root) if !self.message.contains(root.as_str()) => format!("{}: {root}", self.message),
            _ => self.message.clone(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        for cause in &self.causes {
            write!(f, "\n  because: {cause}")?;
        }
        for hint in &self.hints {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_not_repeated_and_hints_come_last() {
        let io = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
        let error = Error::new(ErrorKind::Config, "cannot read the kubeconfig")
            .because(&io)
            .hint("start with --embedded");
        assert_eq!(
            error.to_string(),
            "cannot read the kubeconfig\n  because: no such file\n  hint: start with --embedded"
        );
        assert_eq!(error.line(), "cannot read the kubeconfig: no such file");
    }
}
