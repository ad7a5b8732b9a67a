//! One clock for everything that stamps or compares wall time.
//!
//! Timers use `tokio::time`; wall time comes from here. [`Clock::system`] is the machine's clock. [`Clock::virtual_at`]
//! follows tokio's clock instead, so that a test under `tokio::time::pause` sees one hour pass on
//! both when it advances the timer by one hour.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Where wall time comes from. Cheap to clone; two clones of a virtual clock agree.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Virtual { epoch: Timestamp, start: Instant },
}

impl Clock {
    /// The machine's clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that shows `epoch` now and moves with tokio's clock, paused or not.
    ///
    /// Must be called inside a tokio runtime when that runtime's time is paused.
    pub fn virtual_at(epoch: Timestamp) -> Self {
        Self(Source::Virtual {
            epoch,
            start: Instant::now(),
        })
    }

    /// Wall time now, at full precision.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Virtual { epoch, start } => {
                let passed = SignedDuration::try_from(start.elapsed()).unwrap_or(SignedDuration::MAX);
                epoch.checked_add(passed).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Wall time now in whole seconds: the precision of `metav1.Time`.
    pub fn now_seconds(&self) -> Timestamp {
        Timestamp::from_second(self.now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn virtual_clock_follows_the_paused_timer() {
        let epoch = Timestamp::from_second(1_700_000_000).expect("in range");
        let clock = Clock::virtual_at(epoch);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(clock.now_seconds().as_second(), 1_700_003_600);
    }
}
