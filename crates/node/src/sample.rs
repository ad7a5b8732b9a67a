//! Rates of processor use, from counters that are read when somebody asks.
//!
//! Nothing polls: a rate is over the time since a reading that is neither too close nor too long ago. When nobody has asked for a while
//! there is no such reading, and the first answer takes a moment: two readings that far apart.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// The least that lies between the readings of a rate, once there are enough of them: metrics-server's resolution.
const WINDOW: Duration = Duration::from_secs(15);
/// Readings older than this say nothing about now.
const STALE: Duration = Duration::from_secs(60);
/// Between the two readings of a first answer.
pub(crate) const MOMENT: Duration = Duration::from_secs(1);
/// Readings closer together than this would be noise.
const CLOSE: Duration = Duration::from_millis(50);

/// A rate, and over how long it was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Billionths of a core.
    pub(crate) nano_cores: u64,
    pub(crate) window: Duration,
}

/// A counter's value at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    at: Timestamp,
    cpu_nanos: u64,
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// The readings of one counter that rates are made from.
#[derive(Clone, Copy, Debug)]
struct Counter {
    base: Reading,
    /// The next base, when it is old enough.
    next: Reading,
}

impl Counter {
    fn new(first: Reading) -> Self {
        Self {
            base: first,
            next: first,
        }
    }

    fn rate(&mut self, now: Reading) -> Rate {
        if between(self.next.at, now.at) >= WINDOW {
            self.base = self.next;
            self.next = now;
        }
        let window = between(self.base.at, now.at);
        if window < CLOSE {
            return Rate::default();
        }
        let used = now.cpu_nanos.saturating_sub(self.base.cpu_nanos);
        Rate {
            nano_cores: (used as f64 / window.as_secs_f64()) as u64,
            window,
        }
    }
}

/// The counters of a node and its containers.
#[derive(Default)]
pub(crate) struct Samples(Mutex<Counters>);

#[derive(Default)]
struct Counters {
    asked: Option<Timestamp>,
    known: HashMap<String, Counter>,
}

impl Samples {
    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody has asked for so long that rates need two readings.
    pub(crate) fn are_stale(&self, now: Timestamp) -> bool {
        self.lock().asked.is_none_or(|asked| between(asked, now) > STALE)
    }

    /// Begins anew with these values of counters.
    pub(crate) fn begin(&self, now: Timestamp, values: impl Iterator<Item = (String, u64)>) {
        let readings = values.map(|(id, cpu_nanos)| (id, Counter::new(Reading { at: now, cpu_nanos })));
        self.lock().known = readings.collect();
    }

    /// The rate of a counter that stood at nothing at `since`.
    pub(crate) fn rate(&self, id: &str, now: Timestamp, since: Timestamp, cpu_nanos: u64) -> Rate {
        let mut counters = self.lock();
        counters.asked = Some(now);
        let first = Reading {
            at: since,
            cpu_nanos: 0,
        };
        let counter = counters
            .known
            .entry(id.to_owned())
            .or_insert_with(|| Counter::new(first));
        counter.rate(Reading { at: now, cpu_nanos })
    }

    /// Forgets the counters that are gone.
    pub(crate) fn keep(&self, is_there: impl Fn(&str) -> bool) {
        self.lock().known.retain(|id, _| is_there(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_rate_is_over_the_last_readings_that_are_far_enough_apart() {
        let second = 1_000_000_000;
        let mut counter = Counter::new(Reading {
            at: at(0),
            cpu_nanos: 0,
        });
        // At, seconds of CPU by then; thousandths of a core, and the window in seconds.
        for (now, cpu, millis, window) in [
            (1, 1, 1000, 1),   // since it began
            (10, 1, 100, 10),  // still
            (20, 11, 550, 20), // from now on this reading can be a base
            (30, 11, 366, 30),
            (36, 19, 500, 16), // the one at 20 s
            (40, 19, 400, 20),
            (52, 27, 500, 16), // the one at 36 s
        ] {
            let rate = counter.rate(Reading {
                at: at(now),
                cpu_nanos: cpu * second,
            });
            assert_eq!(
                (rate.nano_cores / 1_000_000, rate.window.as_secs()),
                (millis, window),
                "at {now}"
            );
        }
    }

    #[test]
    fn who_asks_after_a_long_time_is_told_of_now() {
        let samples = Samples::default();
        assert!(samples.are_stale(at(100)));
        samples.begin(at(100), [("c".to_owned(), 50_000_000_000)].into_iter());
        let rate = samples.rate("c", at(101), at(0), 50_250_000_000);
        assert_eq!((rate.nano_cores, rate.window), (250_000_000, Duration::from_secs(1)));
        assert!(!samples.are_stale(at(161)) && samples.are_stale(at(162)));
        let new = samples.rate("new", at(104), at(102), 1_000_000_000);
        assert_eq!(
            new.nano_cores, 500_000_000,
            "what has just started is measured since then"
        );
    }
}
