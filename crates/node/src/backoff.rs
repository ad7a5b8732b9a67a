//! How long to wait before something is tried again.
//!
//! The first retry is immediate. After it the wait starts at `first` and doubles up to `longest`, and it is forgotten once
//! things went well for twice the longest wait.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// One doubling wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    current: Option<(Duration, Timestamp)>,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            current: None,
        }
    }

    /// For containers that end, and for images that cannot be had: 10 s to 5 min.
    pub(crate) const fn kubelet() -> Self {
        Self::new(Duration::from_secs(10), Duration::from_secs(300))
    }

    /// The wait after a failure at `failed`: its full length and its end. `None` when there is nothing to wait for.
    pub(crate) fn wait(&self, failed: Timestamp) -> Option<(Duration, Timestamp)> {
        let (wait, since) = self.current?;
        if self.forgotten(since, failed) {
            return None;
        }
        Some((wait, add(failed, wait)))
    }

    /// A retry begins: the next wait will be longer.
    pub(crate) fn retried(&mut self, now: Timestamp) {
        let wait = match self.current {
            Some((wait, since)) if !self.forgotten(since, now) => (wait * 2).min(self.longest),
            _ => self.first,
        };
        self.current = Some((wait, now));
    }

    fn forgotten(&self, since: Timestamp, now: Timestamp) -> bool {
        now > add(since, self.longest * 2)
    }
}

/// Up to half as long again, so that what failed together is not tried again together.
pub(crate) fn jitter(wait: Duration) -> Duration {
    wait.mul_f64(1.0 + rand::random::<f64>() / 2.0)
}

/// `at` later by `wait`.
pub(crate) fn add(at: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait)
        .ok()
        .and_then(|wait| at.checked_add(wait).ok())
        .unwrap_or(Timestamp::MAX)
}

/// From `now` to `at`; nothing when that has passed.
pub(crate) fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// As Go prints durations: `10s`, `1m20s`, `2m0s`.
pub(crate) fn go(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let millis = duration.subsec_millis();
    match (seconds / 60, seconds % 60) {
        (0, 0) if millis > 0 => format!("{millis}ms"),
        (0, s) if millis == 0 => format!("{s}s"),
        (0, s) => format!("{s}.{}s", format!("{millis:03}").trim_end_matches('0')),
        (m, s) => format!("{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn waits_double_up_to_the_longest_and_are_forgotten_after_a_good_while() {
        let mut backoff = Backoff::kubelet();
        assert_eq!(backoff.wait(at(0)), None, "the first retry is immediate");
        let mut waits = Vec::new();
        let mut now = 0;
        for _ in 0..7 {
            backoff.retried(at(now));
            let (wait, end) = backoff.wait(at(now + 1)).expect("a wait");
            assert_eq!(end, at(now + 1 + wait.as_secs() as i64));
            waits.push(go(wait));
            now = end.as_second();
        }
        assert_eq!(waits, ["10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"]);
        assert!(backoff.wait(at(now + 200)).is_some());
        assert_eq!(backoff.wait(at(now + 601)), None, "ran for more than ten minutes");
        backoff.retried(at(now + 601));
        assert_eq!(
            backoff.wait(at(now + 602)).map(|(wait, _)| go(wait)),
            Some("10s".into())
        );
    }

    #[test]
    fn durations_read_as_in_go() {
        assert_eq!(go(Duration::from_micros(12)), "0s");
        assert_eq!(go(Duration::from_millis(12)), "12ms");
        assert_eq!(go(Duration::from_millis(1250)), "1.25s");
        assert_eq!(go(Duration::from_secs(300)), "5m0s");
    }
}
