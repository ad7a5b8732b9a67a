//! Messages in the bottom line.

/// How a message is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something was done.
    Info,
    /// Something needs a look.
    Warning,
    /// Something failed.
    Error,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    /// How it is meant.
    pub level: Level,
    /// The sentence.
    pub text: String,
    /// What to do next.
    pub hints: Vec<String>,
}

impl Flash {
    /// How long it stays when no key is pressed; what went wrong stays until one is.
    pub fn stays(&self) -> Option<std::time::Duration> {
        (self.level == Level::Info).then_some(std::time::Duration::from_secs(6))
    }
}
