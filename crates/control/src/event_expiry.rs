//! Deletes events that are older than an hour: news, not history.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;

use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::key::Key;
use crate::write::{Plan, Write};

/// The event expiry controller.
pub(crate) struct EventExpiry {
    pub(crate) keep: Duration,
}

impl Controller for EventExpiry {
    const NAME: &'static str = "event-expiry-controller";

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch.own::<Event>();
    }

    fn sync(&self, key: &Key, caches: &Caches, now: Timestamp) -> Plan {
        let Some(event) = caches.events.get(key) else {
            return Plan::nothing();
        };
        let age = Duration::try_from(now.duration_since(last_seen(&event))).unwrap_or_default();
        let left = self.keep.saturating_sub(age);
        if left.is_zero() {
            return Plan::of(vec![Write::delete(event.as_ref())]);
        }
        Plan {
            again: Some(left),
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
        let (caches, key) = (Caches::new(), Key::new("default", "e"));
        let expiry = EventExpiry {
            keep: Duration::from_secs(3600),
        };
        let event = json!({ "metadata": { "namespace": "default", "name": "e", "uid": "u" }, "involvedObject": {},
            "firstTimestamp": "2024-01-01T00:00:00Z", "lastTimestamp": "2024-01-01T00:30:00Z" });
        caches.events.apply(serde_json::from_value(event).unwrap());
        let plan = expiry.sync(&key, &caches, "2024-01-01T01:00:00Z".parse().unwrap());
        assert_eq!((plan.writes.len(), plan.again), (0, Some(Duration::from_secs(1800))));
        let plan = expiry.sync(&key, &caches, "2024-01-01T01:30:00Z".parse().unwrap());
        assert_eq!(plan.writes.len(), 1);
    }
}
