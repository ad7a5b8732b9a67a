//! Events of both API groups, read alike.

use jiff::Timestamp;
use serde_json::Value;

use crate::kind::field::{int, text, time};

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) last: Option<Timestamp>,
    pub(super) count: i64,
    /// The part of the object it is about: `spec.containers{web}`.
    pub(super) field: String,
}

impl Event {
    /// The UID it is about, and what it says.
    pub(super) fn read(event: &Value) -> (String, Self) {
        let about = match &event["involvedObject"] {
            Value::Null => &event["regarding"],
            about => about,
        };
        let message = match &event["message"] {
            Value::Null => text(&event["note"]),
            message => text(message),
        };
        let last = [
            &event["series"]["lastObservedTime"],
            &event["lastTimestamp"],
            &event["deprecatedLastTimestamp"],
            &event["eventTime"],
            &event["firstTimestamp"],
            &event["metadata"]["creationTimestamp"],
        ];
        let count = [&event["series"]["count"], &event["count"], &event["deprecatedCount"]];
        let message = message
            .strip_prefix("(combined from similar events): ")
            .unwrap_or(message);
        let said = Self {
            reason: text(&event["reason"]).to_owned(),
            message: message.to_owned(),
            last: last.into_iter().find_map(time),
            count: count.into_iter().map(int).find(|count| *count > 0).unwrap_or(1),
            field: text(&about["fieldPath"]).to_owned(),
        };
        (text(&about["uid"]).to_owned(), said)
    }

    /// Whether it is about this container, or about none in particular.
    pub(super) fn concerns(&self, container: &str) -> bool {
        self.field.is_empty() || self.field.contains(&format!("{{{container}}}"))
    }

    /// Whether it is newer than what it would contradict.
    pub(super) fn after(&self, moment: Option<Timestamp>) -> bool {
        match (self.last, moment) {
            (Some(last), Some(moment)) => last >= moment,
            _ => true,
        }
    }
}
