//! What a rule says.

use jiff::Timestamp;
use serde_json::Value;

use super::{name, namespace, world};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing need be done.
    Note,
    /// Works less well than it should, or is about to fail.
    Warning,
    /// Does not work, and will not by itself.
    Critical,
}

impl Severity {
    /// `note`, `warning`, `critical`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// An object by name, as findings speak of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thing {
    /// API group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty when it has none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Thing {
    /// The thing an object is.
    pub(in crate::kind) fn of(object: &Value) -> Self {
        let (group, kind) = world::group_kind(object);
        Self::new(group, kind, namespace(object), name(object))
    }

    pub(in crate::kind) fn new(group: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// `pod/web`: as kubectl's commands take it.
    pub fn argument(&self) -> String {
        let kind = self.kind.to_lowercase();
        match self.group.as_str() {
            "" | "apps" | "batch" => format!("{kind}/{}", self.name),
            group => format!("{kind}.{group}/{}", self.name),
        }
    }

    /// ` -n shop`, or nothing for what has no namespace.
    pub(super) fn flag(&self) -> String {
        if self.namespace.is_empty() {
            String::new()
        } else {
            format!(" -n {}", self.namespace)
        }
    }
}

/// Where a finding was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The object; of an event, what it is about.
    pub object: Thing,
    /// The field, or `event Reason`.
    pub path: String,
    /// What stands there.
    pub value: String,
}

/// What a remedy changes, when it can be carried out as it stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Fix {
    /// Change these fields (RFC 7386).
    Merge {
        /// Of this object.
        target: Thing,
        /// Of this subresource.
        subresource: Option<&'static str>,
        /// The fields.
        patch: Value,
    },
    /// Delete it.
    Delete(Thing),
    /// Open it in the editor.
    Edit(Thing),
}

/// Something to do about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Remedy {
    /// What it does, as an order: `let the node take pods again`.
    pub text: String,
    /// The same for kubectl; empty when no command does it.
    pub kubectl: String,
    /// The same as a change.
    pub fix: Option<Fix>,
    /// Whether something may be lost by it.
    pub danger: bool,
}

/// One cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Names the rule: `image.notfound`.
    pub cause: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub subject: Thing,
    /// One plain sentence.
    pub sentence: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Where it was read.
    pub evidence: Vec<Evidence>,
    /// What to do, least dangerous first.
    pub remedies: Vec<Remedy>,
    /// What it comes from: findings on other objects.
    pub because: Vec<Finding>,
}

impl Finding {
    pub(super) fn new(cause: &'static str, severity: Severity, subject: &Value, sentence: impl Into<String>) -> Self {
        Self {
            cause,
            severity,
            subject: Thing::of(subject),
            sentence: sentence.into(),
            since: None,
            evidence: Vec::new(),
            remedies: Vec::new(),
            because: Vec::new(),
        }
    }

    pub(super) fn critical(cause: &'static str, subject: &Value, sentence: impl Into<String>) -> Self {
        Self::new(cause, Severity::Critical, subject, sentence)
    }

    pub(super) fn warning(cause: &'static str, subject: &Value, sentence: impl Into<String>) -> Self {
        Self::new(cause, Severity::Warning, subject, sentence)
    }

    pub(super) fn note(cause: &'static str, subject: &Value, sentence: impl Into<String>) -> Self {
        Self::new(cause, Severity::Note, subject, sentence)
    }

    /// Since when, where it is known.
    #[must_use]
    pub(super) fn since(mut self, since: Option<Timestamp>) -> Self {
        self.since = since;
        self
    }

    /// Read in a field of its subject. What is empty is no evidence.
    #[must_use]
    pub(super) fn read(self, path: impl Into<String>, value: impl Into<String>) -> Self {
        let object = self.subject.clone();
        self.read_in(object, path, value)
    }

    /// Read in a field of another object.
    #[must_use]
    pub(super) fn read_in(mut self, object: Thing, path: impl Into<String>, value: impl Into<String>) -> Self {
        let value = super::brief(&value.into());
        if !value.is_empty() {
            let path = path.into();
            self.evidence.push(Evidence { object, path, value });
        }
        self
    }

    /// Do this, and how with kubectl.
    #[must_use]
    pub(super) fn advise(mut self, text: impl Into<String>, kubectl: impl Into<String>) -> Self {
        self.remedies.push(Remedy {
            text: text.into(),
            kubectl: kubectl.into(),
            fix: None,
            danger: false,
        });
        self
    }

    /// The remedy named last is this change.
    #[must_use]
    pub(super) fn by(mut self, fix: Fix) -> Self {
        if let Some(remedy) = self.remedies.last_mut() {
            remedy.danger |= matches!(fix, Fix::Delete(_));
            remedy.fix = Some(fix);
        }
        self
    }

    /// The remedy named last may lose something.
    #[must_use]
    pub(super) fn dangerous(mut self) -> Self {
        if let Some(remedy) = self.remedies.last_mut() {
            remedy.danger = true;
        }
        self
    }

    /// Edit a field of an object.
    #[must_use]
    pub(super) fn edit(self, object: &Thing, what: impl Into<String>) -> Self {
        let command = format!("kubectl edit {}{}", object.argument(), object.flag());
        self.advise(what, command).by(Fix::Edit(object.clone()))
    }

    /// It comes from these.
    #[must_use]
    pub(super) fn because(mut self, causes: Vec<Finding>) -> Self {
        self.because = causes
            .into_iter()
            .filter(|cause| cause.severity > Severity::Note)
            .collect();
        self
    }

    /// The finding that has no cause of its own: what to look at first.
    pub fn root(&self) -> &Finding {
        match self.because.iter().max_by_key(|cause| cause.weight()) {
            Some(cause) => cause.root(),
            None => self,
        }
    }

    /// For the order in which findings are told.
    pub(super) fn weight(&self) -> (Severity, usize) {
        (self.severity, self.evidence.len().min(1))
    }
}
