//! The few lines of the preview pane.

use jiff::Timestamp;
use serde_json::Value;

use super::field::{items, pairs, present, scalar, text, time};
use crate::document::{Document, TextLine};
use crate::store::Health;
use crate::text;
use crate::theme::Role;

/// Columns that keys take.
const KEY: usize = 10;

/// Lines being gathered.
pub(super) struct Brief {
    document: Document,
    now: Timestamp,
}

/// The role of a health.
pub(super) fn role(health: Health) -> Role {
    match health {
        Health::None => Role::Text,
        Health::Done => Role::Done,
        Health::Good => Role::Good,
        Health::Progress => Role::Progress,
        Health::Unknown => Role::Unknown,
        Health::Warning => Role::Warning,
        Health::Failed => Role::Failed,
    }
}

impl Brief {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            document: Document::new(),
            now,
        }
    }

    /// The state in one line.
    pub(super) fn headline(&mut self, health: Health, line: &str) {
        self.document.push(TextLine::new().with(role(health), line).hanging(2));
    }

    /// What there is to say about the state; nothing if there is nothing.
    pub(super) fn say(&mut self, role: Role, line: &str) {
        let line = line.trim();
        if !line.is_empty() {
            self.document
                .push(TextLine::new().with(Role::Text, "  ").with(role, line).hanging(2));
        }
    }

    /// An empty line, a name, and what it is.
    pub(super) fn block(&mut self, name: &str, what: &str) {
        self.document.push(TextLine::new());
        self.document.push(
            TextLine::new()
                .with(Role::Strong, name)
                .with(Role::Text, "  ")
                .with(Role::Dim, what)
                .hanging(2),
        );
    }

    /// An empty line.
    pub(super) fn gap(&mut self) {
        self.document.push(TextLine::new());
    }

    /// A key and its value, if there is one.
    pub(super) fn pair(&mut self, key: &str, value: &str) {
        self.pair_as(key, Role::Value, value);
    }

    /// A key and its value in a role, if there is one.
    pub(super) fn pair_as(&mut self, key: &str, role: Role, value: &str) {
        if value.is_empty() {
            return;
        }
        let columns = KEY.max(text::width(&text::clean(key)) + 1);
        let key = text::pad_right(&text::clean(key), columns);
        self.document.push(
            TextLine::new()
                .with(Role::Field, &key)
                .with(role, value)
                .hanging(columns),
        );
    }

    /// Labels in one line.
    pub(super) fn labels(&mut self, object: &Value) {
        let labels: Vec<_> = pairs(&object["metadata"]["labels"])
            .iter()
            .map(|(key, value)| format!("{key}={}", scalar(value)))
            .collect();
        self.pair("labels", &labels.join(" "));
    }

    /// Conditions, one to a line; those that are not as they should be stand out. `bad` names those that should be `False`.
    pub(super) fn conditions(&mut self, conditions: &Value, bad: impl Fn(&str) -> bool) {
        if present(conditions) {
            self.gap();
        }
        for condition in items(conditions) {
            let (kind, status) = (text(&condition["type"]), text(&condition["status"]));
            let fine = if bad(kind) { "False" } else { "True" };
            let role = if status == fine { Role::Value } else { Role::Warning };
            let since =
                time(&condition["lastTransitionTime"]).map_or_else(String::new, |at| format!(" {}", self.age(at)));
            let mut line = TextLine::new()
                .with(Role::Field, kind)
                .with(Role::Text, " ")
                .with(role, status)
                .with(Role::Dim, &since);
            if status != fine {
                line.push(Role::Dim, "  ");
                line.push(
                    Role::Text,
                    [text(&condition["reason"]), text(&condition["message"])]
                        .join(" ")
                        .trim(),
                );
            }
            self.document.push(line.hanging(2));
        }
    }

    /// An age at this moment.
    pub(super) fn age(&self, at: Timestamp) -> String {
        text::age(at, self.now)
    }

    pub(super) fn finish(self) -> Document {
        self.document
    }
}
