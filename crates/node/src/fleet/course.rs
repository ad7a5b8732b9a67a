//! How a hollow pod's life goes: data, from the annotations of the pod, else of its node, else usual.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use knarr_apimachinery::Quantity as Amount;
use knarr_stream::backend::Used;

/// What all of the annotations begin with.
const PREFIX: &str = "hollow.knarr.dev/";
/// How long a container runs that is to end.
const RUNS: Duration = Duration::from_secs(5);
/// What a container uses that requests nothing: thousandths of a core, and bytes.
const USED: (u64, u64) = (1, 8 << 20);

/// The course of a pod's life.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Course {
    /// `start`: how long the pod takes to run.
    start: Duration,
    /// `jitter`: up to so much longer.
    jitter: Duration,
    /// `runs`: how long each of its containers runs; `None` for ever.
    runs: Option<Duration>,
    /// `fails`: the part of the runs that end badly.
    fails: f64,
    /// `cpu`, `memory`: what each container uses; otherwise half of what it requests.
    cpu_millis: Option<u64>,
    memory_bytes: Option<u64>,
    /// `wave`: the use of processors swings between nothing and all in this time.
    wave: Option<Duration>,
    /// What chance is drawn from: the pod's name, and `seed`.
    seed: u64,
}

impl Course {
    /// The course of `pod` on a node with these annotations. What makes no sense is as if it were not said.
    pub(super) fn of(pod: &Pod, node: &BTreeMap<String, String>) -> Self {
        let own = pod.metadata.annotations.as_ref();
        let said = |name: &str| {
            let name = format!("{PREFIX}{name}");
            own.and_then(|own| own.get(&name)).or_else(|| node.get(&name)).cloned()
        };
        let span = |name: &str| said(name).and_then(|text| duration(&text));
        let amount = |name: &str| said(name).and_then(|text| Amount::parse(&text).ok());
        let whole = |amount: i128| u64::try_from(amount).ok();
        let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
        let ends = matches!(policy, Some("Never" | "OnFailure"));
        let mut hasher = DefaultHasher::new();
        (&pod.metadata.namespace, &pod.metadata.name, said("seed")).hash(&mut hasher);
        Self {
            start: span("start").unwrap_or(Duration::from_secs(1)),
            jitter: span("jitter").unwrap_or_default(),
            runs: span("runs").or(ends.then_some(RUNS)),
            fails: said("fails")
                .and_then(|text| text.parse().ok())
                .filter(|part| (0.0..=1.0).contains(part))
                .unwrap_or(0.0),
            cpu_millis: amount("cpu").and_then(|amount| whole(amount.milli())),
            memory_bytes: amount("memory").and_then(|amount| whole(amount.units())),
            wave: span("wave").filter(|wave| !wave.is_zero()),
            seed: hasher.finish(),
        }
    }

    /// A number from 0 to 1 that is the same for the same question.
    fn chance(&self, question: impl Hash) -> f64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, question).hash(&mut hasher);
        (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// How long the pod takes to run.
    pub(super) fn start(&self) -> Duration {
        self.start + self.jitter.mul_f64(self.chance("start"))
    }

    /// How long a container's run takes, and what its exit code is. `None`: for ever.
    pub(super) fn run(&self, container: &str, attempt: i32) -> Option<(Duration, i32)> {
        let code = i32::from(self.chance((container, attempt)) < self.fails);
        Some((self.runs?, code))
    }

    /// What a container uses at a time.
    pub(super) fn used(&self, container: &Container, now: Timestamp) -> Used {
        let requests = container.resources.as_ref().and_then(|own| own.requests.as_ref());
        let requested = |name: &str| requests.and_then(|requests| requests.get(name));
        let half = |amount: Option<u64>, otherwise: u64| amount.map_or(otherwise, |amount| amount / 2);
        let cpu = self
            .cpu_millis
            .unwrap_or_else(|| half(requested("cpu").map(crate::quantity::milli_value), USED.0));
        let memory = |amount: &Quantity| crate::quantity::value(amount);
        let memory = self
            .memory_bytes
            .unwrap_or_else(|| half(requested("memory").map(memory), USED.1));
        let level = self.wave.map_or(1.0, |wave| {
            let turns = now.as_millisecond() as f64 / wave.as_millis() as f64 + self.chance("phase");
            (1.0 + (turns * TAU).sin()) / 2.0
        });
        Used {
            nano_cores: (cpu as f64 * 1e6 * level) as u64,
            memory_bytes: memory,
        }
    }
}

/// `500ms`, `1.5s`, `2m`, `1h`.
fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|ch: char| ch.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(end);
    let seconds = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn course(annotations: serde_json::Value) -> Course {
        let pod = json!({ "metadata": { "name": "p", "namespace": "n", "annotations": annotations }, "spec": { "containers": [] } });
        let node = BTreeMap::from([(format!("{PREFIX}start"), "3s".to_owned())]);
        Course::of(&serde_json::from_value(pod).unwrap(), &node)
    }

    #[test]
    fn the_pod_says_how_its_life_goes_then_its_node() {
        let said = course(json!({
            "hollow.knarr.dev/runs": "1.5m", "hollow.knarr.dev/fails": "1", "hollow.knarr.dev/cpu": "200m",
            "hollow.knarr.dev/jitter": "nonsense",
        }));
        assert_eq!(said.start(), Duration::from_secs(3), "as its node says");
        assert_eq!(said.run("c", 0), Some((Duration::from_secs(90), 1)));
        assert_eq!(
            said.used(&Container::default(), Timestamp::UNIX_EPOCH).nano_cores,
            200_000_000
        );
        assert_eq!(course(json!({})).run("c", 0), None, "what is to run for ever does");
    }

    #[test]
    fn chance_is_drawn_from_the_seed() {
        let fails = |seed: &str| -> Vec<i32> {
            let course = course(json!({
                "hollow.knarr.dev/runs": "1s", "hollow.knarr.dev/fails": "0.3", "hollow.knarr.dev/seed": seed,
            }));
            (0..200)
                .filter_map(|attempt| Some(course.run("c", attempt)?.1))
                .collect()
        };
        assert_eq!(fails("a"), fails("a"));
        assert_ne!(fails("a"), fails("b"));
        let part = fails("a").iter().sum::<i32>();
        assert!((40..80).contains(&part), "{part} of 200 failed, where 60 were likely");
    }

    #[test]
    fn a_wave_swings_between_nothing_and_all() {
        let course = course(json!({ "hollow.knarr.dev/cpu": "1", "hollow.knarr.dev/wave": "100s" }));
        let at = |second| {
            course
                .used(&Container::default(), Timestamp::from_second(second).unwrap())
                .nano_cores
        };
        let all: Vec<u64> = (0..100).map(at).collect();
        assert!(all.iter().max() > Some(&990_000_000) && all.iter().min() < Some(&10_000_000));
    }
}
