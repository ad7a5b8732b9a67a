//! One probe of one instance of a container, attempt after attempt.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ObjectReference, Probe};
use tokio::time::Instant;

use super::{Outcome, run};
use crate::context::Context;

/// Which of a container's three probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    /// What counts until the first result.
    const fn initial(self) -> bool {
        matches!(self, Self::Liveness)
    }
}

/// The result changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeResult {
    pub(crate) kind: Kind,
    pub(crate) success: bool,
}

/// What is probed.
pub(crate) struct Target {
    pub(crate) cx: Arc<Context>,
    pub(crate) id: String,
    pub(crate) container: Container,
    pub(crate) about: ObjectReference,
    pub(crate) pod_ip: Option<IpAddr>,
    /// When the instance was started.
    pub(crate) started: Instant,
}

/// Counts results against the thresholds.
#[derive(Debug)]
struct Threshold {
    well: Option<bool>,
    run: i32,
    last: Option<bool>,
    successes: i32,
    failures: i32,
}

impl Threshold {
    fn new(kind: Kind, probe: &Probe) -> Self {
        Self {
            well: kind.initial().then_some(true),
            run: 0,
            last: None,
            successes: probe.success_threshold.unwrap_or(1).max(1),
            failures: probe.failure_threshold.unwrap_or(3).max(1),
        }
    }

    /// Adds a result; the new result when it has changed.
    fn add(&mut self, well: bool) -> Option<bool> {
        self.run = if self.last == Some(well) {
            self.run.saturating_add(1)
        } else {
            1
        };
        self.last = Some(well);
        let needed = if well { self.successes } else { self.failures };
        if self.run < needed || self.well == Some(well) {
            return None;
        }
        self.well = Some(well);
        Some(well)
    }
}

/// Probes until its result is final: a startup probe that has succeeded, a startup or liveness probe that has failed.
pub(crate) async fn watch(target: Target, kind: Kind, probe: Probe, tell: impl Fn(ProbeResult)) {
    let seconds =
        |value: Option<i32>, default| Duration::from_secs(u64::try_from(value.unwrap_or(default)).unwrap_or(0));
    let delay = seconds(probe.initial_delay_seconds, 0);
    let period = seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
    let mut ticks = tokio::time::interval_at(Instant::now(), period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut threshold = Threshold::new(kind, &probe);
    loop {
        ticks.tick().await;
        if target.started.elapsed() < delay {
            continue;
        }
        let outcome = run::attempt(&target.cx, &target.id, &target.container, &probe, target.pod_ip).await;
        let events = &target.cx.events;
        let well = match outcome {
            Outcome::Success(_) => true,
            Outcome::Failure(why) => {
                events.warning(
                    target.about.clone(),
                    "Unhealthy",
                    format!("{} probe failed: {why}", kind.name()),
                );
                false
            }
            Outcome::Unknown(why) => {
                let message = format!("{} probe errored and resulted in unknown state: {why}", kind.name());
                events.warning(target.about.clone(), "Unhealthy", message);
                continue;
            }
        };
        if let Some(well) = threshold.add(well) {
            tell(ProbeResult { kind, success: well });
            if (kind == Kind::Startup) || (kind == Kind::Liveness && !well) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_change_only_at_their_thresholds() {
        let probe = Probe {
            success_threshold: Some(2),
            failure_threshold: Some(3),
            ..Probe::default()
        };
        let mut threshold = Threshold::new(Kind::Readiness, &probe);
        let results: Vec<_> = [true, true, true, false, false, true, false, false, false, true, true]
            .into_iter()
            .map(|well| threshold.add(well))
            .collect();
        let mut expected = vec![None; 11];
        expected[1] = Some(true);
        expected[8] = Some(false);
        expected[10] = Some(true);
        assert_eq!(results, expected);
        let mut liveness = Threshold::new(Kind::Liveness, &Probe::default());
        assert_eq!(
            [true, false, false, false].map(|well| liveness.add(well)),
            [None, None, None, Some(false)]
        );
    }
}
