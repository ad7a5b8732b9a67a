//! Why an object is not as it should be: what its kind can tell from the object and its events alone.

use jiff::Timestamp;

use crate::document::TextLine;
use crate::theme::Role;

/// A cause, what it is told from, and what can be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// What is wrong, in one sentence.
    pub sentence: String,
    /// What the sentence is told from: messages of the object and of its events.
    pub evidence: Vec<TextLine>,
    /// When it is tried again, and since when that is waited for.
    pub next: Option<(Timestamp, Timestamp)>,
    /// The container whose last log lines tell more.
    pub log: Option<String>,
    /// What helps: the line of a command, as keymaps have it, and the words for it.
    pub remedies: Vec<(&'static str, &'static str)>,
}

impl Cause {
    /// A cause in one sentence.
    pub(super) fn new(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            ..Self::default()
        }
    }

    /// Adds what it is told from; nothing if there is nothing.
    #[must_use]
    pub(super) fn because(mut self, evidence: &str) -> Self {
        let evidence = evidence.trim();
        if !evidence.is_empty() {
            self.evidence
                .push(TextLine::new().with(Role::Text, evidence).hanging(2));
        }
        self
    }

    /// The log of this container tells more.
    #[must_use]
    pub(super) fn log(mut self, container: &str) -> Self {
        self.log = Some(container.to_owned());
        self
    }

    /// What helps.
    #[must_use]
    pub(super) fn helps(mut self, line: &'static str, words: &'static str) -> Self {
        self.remedies.push((line, words));
        self
    }
}
