//! Deletes events that are older than an hour: news, not history.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;

use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::key::Key;
use crate::write::{Plan, Write};

/// The least time between two looks at all events. So one timer does for any number of them.
const PACE: Duration = Duration::from_secs(30);

/// The event expiry controller. It has one key, which stands for all events.
pub(crate) struct EventExpiry {
    keep: Duration,
    /// When to look again; before that no event can be too old.
    next: Mutex<Option<Timestamp>>,
}

impl EventExpiry {
    pub(crate) fn new(keep: Duration) -> Self {
        Self {
            keep,
            next: Mutex::default(),
        }
    }
}

impl Controller for EventExpiry {
    const NAME: &'static str = "event-expiry-controller";

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch.on::<Event>(|_, _| vec![Key::new("", "events")]);
    }

    fn sync(&self, _: &Key, caches: &Caches, now: Timestamp) -> Plan {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let until = |time: Timestamp| Duration::try_from(time.duration_since(now)).unwrap_or_default();
        if let Some(next) = *next
            && !until(next).is_zero()
        {
            return Plan {
                again: Some(until(next)),
                ..Plan::default()
            };
        }
        let (mut old, mut first) = (Vec::new(), None);
        for event in caches.events.all() {
            let age = Duration::try_from(now.duration_since(last_seen(&event))).unwrap_or_default();
            let left = self.keep.saturating_sub(age);
            if left.is_zero() {
                old.push(Write::delete(event.as_ref()));
            } else {
                first = Some(first.map_or(left, |first: Duration| first.min(left)));
            }
        }
        let again = first.map(|first| first.max(PACE));
        *next = again.and_then(|again| now.checked_add(again).ok());
        Plan {
            batch: old,
            again,
            ..Plan::default()
        }
    }
}

/// When it was last true.
fn last_seen(event: &Event) -> Timestamp {
    let times = [
        event.metadata.creation_timestamp.as_ref().map(|time| time.0),
        event.last_timestamp.as_ref().map(|time| time.0),
        event.event_time.as_ref().map(|time| time.0),
        event
            .series
            .as_ref()
            .and_then(|series| Some(series.last_observed_time.as_ref()?.0)),
    ];
    times.into_iter().flatten().max().unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_that_happens_again_lives_on() {
        let (caches, key) = (Caches::new(), Key::new("", "events"));
        let expiry = EventExpiry::new(Duration::from_secs(3600));
        let event = |name: &str, last: &str| {
            json!({ "metadata": { "namespace": "default", "name": name, "uid": name }, "involvedObject": {},
                "firstTimestamp": "2024-01-01T00:00:00Z", "lastTimestamp": last })
        };
        let apply = |event| caches.events.apply(serde_json::from_value(event).unwrap());
        apply(event("e", "2024-01-01T00:30:00Z"));
        apply(event("f", "2024-01-01T00:50:00Z"));
        let at = |time: &str| expiry.sync(&key, &caches, time.parse().unwrap());
        let plan = at("2024-01-01T01:00:00Z");
        assert_eq!((plan.batch.len(), plan.again), (0, Some(Duration::from_secs(1800))));
        let plan = at("2024-01-01T01:10:00Z");
        assert_eq!(
            (plan.batch.len(), plan.again),
            (0, Some(Duration::from_secs(1200))),
            "no look in between"
        );
        let plan = at("2024-01-01T01:30:00Z");
        assert_eq!((plan.batch.len(), plan.again), (1, Some(Duration::from_secs(1200))));
    }
}
