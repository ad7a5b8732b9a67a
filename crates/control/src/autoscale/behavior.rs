//! How fast a target may grow and shrink, and what is said about it.
//!
//! KEP-853.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler};

use super::replicas::Tolerance;

/// What counts if nothing else is said: the most replicas that were recommended in the last five minutes.
const DOWN_WINDOW: i32 = 300;
const TOLERANCE: f64 = 0.1;

/// What is remembered of one autoscaler.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub(super) recommendations: Vec<(Timestamp, i32)>,
    /// By how much the target was scaled: up or down.
    pub(super) changes: Vec<(Timestamp, i32)>,
}

impl Memory {
    /// Forgets what no rule can ask for any more.
    pub(super) fn shrink(&mut self, now: Timestamp) {
        let fresh = |(at, _): &(Timestamp, i32)| now.duration_since(*at) <= SignedDuration::from_hours(1);
        self.recommendations.retain(fresh);
        self.changes.retain(fresh);
    }
}

/// A number of replicas, and two reasons with their messages.
#[derive(Debug, PartialEq)]
pub(super) struct Decision {
    pub(super) replicas: i32,
    pub(super) able: (&'static str, &'static str),
    /// Whether the wish was cut.
    pub(super) limited: bool,
    pub(super) limit: (&'static str, &'static str),
}

/// The rules of one direction.
struct Rules {
    window: i32,
    select: Select,
    policies: Vec<HPAScalingPolicy>,
}

#[derive(Clone, Copy, PartialEq)]
enum Select {
    Max,
    Min,
    Disabled,
}

fn policy(kind: &str, value: i32) -> HPAScalingPolicy {
    HPAScalingPolicy {
        type_: kind.into(),
        value,
        period_seconds: 15,
    }
}

impl Rules {
    fn of(rules: Option<&HPAScalingRules>, window: i32, defaults: Vec<HPAScalingPolicy>) -> Self {
        let policies = rules
            .and_then(|rules| rules.policies.clone())
            .filter(|policies| !policies.is_empty());
        Self {
            window: rules
                .and_then(|rules| rules.stabilization_window_seconds)
                .unwrap_or(window),
            select: match rules.and_then(|rules| rules.select_policy.as_deref()) {
                Some("Min") => Select::Min,
                Some("Disabled") => Select::Disabled,
                _ => Select::Max,
            },
            policies: policies.unwrap_or(defaults),
        }
    }
}

/// How far usage may be off its target.
pub(super) fn tolerance(autoscaler: &HorizontalPodAutoscaler) -> Tolerance {
    let behavior = autoscaler.spec.behavior.as_ref();
    let of = |rules: Option<&HPAScalingRules>| {
        let quantity = rules.and_then(|rules| rules.tolerance.as_ref());
        quantity.map_or(TOLERANCE, |quantity| {
            knarr_apimachinery::Quantity::milli_in(&quantity.0) as f64 / 1000.0
        })
    };
    Tolerance {
        down: of(behavior.and_then(|behavior| behavior.scale_down.as_ref())),
        up: of(behavior.and_then(|behavior| behavior.scale_up.as_ref())),
    }
}

/// What becomes of a recommendation, which is remembered.
pub(super) fn decide(
    autoscaler: &HorizontalPodAutoscaler,
    memory: &mut Memory,
    current: i32,
    recommended: i32,
    now: Timestamp,
) -> Decision {
    let spec = autoscaler.spec.clone();
    let has_behavior = spec.behavior.is_some();
    let behavior = spec.behavior.unwrap_or_default();
    let up = Rules::of(
        behavior.scale_up.as_ref(),
        0,
        vec![policy("Pods", 4), policy("Percent", 100)],
    );
    let down = Rules::of(behavior.scale_down.as_ref(), DOWN_WINDOW, vec![policy("Percent", 100)]);
    let stable = stabilize(memory, &up, &down, current, recommended, now);
    let able = match stable == recommended {
        true => ("ReadyForNewScale", "recommended size matches current size"),
        false if recommended >= current => (
            "ScaleUpStabilized",
            "recent recommendations were lower than current one, applying the lowest recent recommendation",
        ),
        false => (
            "ScaleDownStabilized",
            "recent recommendations were higher than current one, applying the highest recent recommendation",
        ),
    };
    let (least, most) = (spec.min_replicas.unwrap_or(1), spec.max_replicas);
    let within = ("DesiredWithinRange", "the desired count is within the acceptable range");
    // Without a behaviour the rate is that of old: at most twice as many, or four.
    let (fastest_up, fastest_down) = match has_behavior {
        true => (
            rate(memory, &up, current, true, now),
            rate(memory, &down, current, false, now),
        ),
        false => (current.saturating_mul(2).max(4), i32::MIN),
    };
    let (fastest_up, fastest_down) = (fastest_up.max(current), fastest_down.min(current));
    let (replicas, limit) = match stable {
        _ if stable > current && stable > most.min(fastest_up) => match fastest_up < most {
            true => (
                fastest_up,
                (
                    "ScaleUpLimit",
                    "the desired replica count is increasing faster than the maximum scale rate",
                ),
            ),
            false => (
                most,
                (
                    "TooManyReplicas",
                    "the desired replica count is more than the maximum replica count",
                ),
            ),
        },
        _ if stable < current && stable < least.max(fastest_down) => match fastest_down > least {
            true => (
                fastest_down,
                (
                    "ScaleDownLimit",
                    "the desired replica count is decreasing faster than the maximum scale rate",
                ),
            ),
            false => (
                least,
                (
                    "TooFewReplicas",
                    "the desired replica count is less than the minimum replica count",
                ),
            ),
        },
        _ => (stable, within),
    };
    Decision {
        replicas,
        able,
        limited: replicas != stable,
        limit,
    }
}

/// Neither more than the least that was recommended lately, nor less than the most.
fn stabilize(memory: &mut Memory, up: &Rules, down: &Rules, current: i32, recommended: i32, now: Timestamp) -> i32 {
    let recent = |window: i32| {
        let window = SignedDuration::from_secs(window.into());
        let fresh = memory
            .recommendations
            .iter()
            .filter(move |(at, _)| now.duration_since(*at) < window);
        fresh.map(|(_, replicas)| *replicas).chain([recommended])
    };
    let lowest = recent(up.window).min().unwrap_or(recommended);
    let highest = recent(down.window).max().unwrap_or(recommended);
    memory.recommendations.push((now, recommended));
    current.max(lowest).min(highest)
}

/// The furthest that the policies let the target go from where it was when their period began.
fn rate(memory: &Memory, rules: &Rules, current: i32, up: bool, now: Timestamp) -> i32 {
    if rules.select == Select::Disabled {
        return current;
    }
    let limits = rules.policies.iter().map(|policy| {
        let period = SignedDuration::from_secs(policy.period_seconds.into());
        let changes = memory.changes.iter().filter(|(at, _)| now.duration_since(*at) < period);
        let start = current - changes.map(|(_, change)| change).sum::<i32>();
        let share = f64::from(policy.value) / 100.0;
        match (policy.type_.as_str(), up) {
            ("Percent", true) => (f64::from(start) * (1.0 + share)).ceil() as i32,
            ("Percent", false) => (f64::from(start) * (1.0 - share)) as i32,
            (_, true) => start.saturating_add(policy.value),
            (_, false) => start.saturating_sub(policy.value),
        }
    });
    // Max is the greatest change: upwards the highest number, downwards the lowest.
    let furthest = match (rules.select == Select::Max) == up {
        true => limits.max(),
        false => limits.min(),
    };
    furthest.unwrap_or(current)
}
