//! How many replicas a measurement asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};
use knarr_apimachinery::Quantity;
use kube::ResourceExt;

use crate::pod;

/// A pod that starts may be busy with just that: so long its CPU counts only if it is ready.
const INITIALIZATION: SignedDuration = SignedDuration::from_secs(300);
/// A pod that became unready so soon after its start has never been ready.
const FIRST_READINESS: SignedDuration = SignedDuration::from_secs(30);

/// What a pod used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// In thousandths.
    pub(super) value: i64,
    pub(super) at: Timestamp,
    pub(super) window: SignedDuration,
}

/// By pod.
pub(super) type Samples = BTreeMap<String, Sample>;

/// How far from 1 the ratio of usage and target may be with nothing done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerance {
    pub(super) down: f64,
    pub(super) up: f64,
}

impl Tolerance {
    pub(super) fn covers(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// What a measurement comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// The average per pod, in thousandths.
    pub(super) average: i64,
    /// In percent of what the pods ask for, where the target is that.
    pub(super) utilization: Option<i32>,
}

/// What the average of the pods should be.
pub(super) enum Target<'a> {
    /// In thousandths.
    Average(i64),
    /// Percent of what the pods, or one container of each, ask for.
    Utilization {
        percent: i32,
        resource: &'a str,
        container: Option<&'a str>,
    },
}

/// The pods of a target by what their samples are worth.
struct Groups {
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
}

/// The replicas that bring the average of the pods to the target.
pub(super) fn propose(
    pods: &[Arc<Pod>],
    mut samples: Samples,
    target: &Target<'_>,
    cpu: bool,
    current: i32,
    tolerance: Tolerance,
    now: Timestamp,
) -> Result<Proposal, String> {
    if pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".into());
    }
    let groups = group(pods, &mut samples, cpu, now);
    if samples.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".into());
    }
    let requests = match target {
        Target::Average(_) => BTreeMap::new(),
        Target::Utilization {
            resource, container, ..
        } => requests(pods, resource, *container)?,
    };
    let (ratio, measured) = measure(&samples, target, &requests)?;
    let proposal = |replicas| Proposal { replicas, ..measured };
    let waits = !groups.unready.is_empty() && ratio > 1.0;
    if !waits && groups.missing.is_empty() {
        let replicas = match tolerance.covers(ratio) {
            true => current,
            false => rounded_up(ratio * groups.ready as f64),
        };
        return Ok(proposal(replicas));
    }
    // Of what is not known the worst is assumed: that it is idle when there should be more, and busy when there should be less.
    for name in &groups.missing {
        let value = match target {
            _ if ratio > 1.0 => 0,
            Target::Average(value) => *value,
            Target::Utilization { percent, .. } => {
                requests.get(name).copied().unwrap_or(0) * i64::from((*percent).max(100)) / 100
            }
        };
        if ratio != 1.0 {
            assume(&mut samples, name, value, now);
        }
    }
    if waits {
        groups
            .unready
            .iter()
            .for_each(|name| assume(&mut samples, name, 0, now));
    }
    let (again, _) = measure(&samples, target, &requests)?;
    let turned = (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0);
    let replicas = rounded_up(again * samples.len() as f64);
    let wrong_way = (again < 1.0 && replicas > current) || (again > 1.0 && replicas < current);
    if tolerance.covers(again) || turned || wrong_way {
        return Ok(proposal(current));
    }
    Ok(proposal(replicas))
}

fn assume(samples: &mut Samples, name: &str, value: i64, now: Timestamp) {
    let sample = Sample {
        value,
        at: now,
        window: SignedDuration::ZERO,
    };
    samples.insert(name.to_owned(), sample);
}

/// Saturates.
fn rounded_up(replicas: f64) -> i32 {
    replicas.ceil() as i32
}

/// Sorts the pods, and leaves only samples that count.
fn group(pods: &[Arc<Pod>], samples: &mut Samples, cpu: bool, now: Timestamp) -> Groups {
    let mut groups = Groups {
        ready: 0,
        unready: BTreeSet::new(),
        missing: BTreeSet::new(),
    };
    for pod in pods {
        let name = pod.name_any();
        if pod.metadata.deletion_timestamp.is_some() || pod::phase(pod) == "Failed" {
            samples.remove(&name);
        } else if pod::phase(pod) == "Pending"
            || samples
                .get(&name)
                .is_some_and(|sample| cpu && is_unready(pod, sample, now))
        {
            samples.remove(&name);
            groups.unready.insert(name);
        } else if !samples.contains_key(&name) {
            groups.missing.insert(name);
        } else {
            groups.ready += 1;
        }
    }
    groups
}

fn is_unready(pod: &Pod, sample: &Sample, now: Timestamp) -> bool {
    let start = pod
        .status
        .as_ref()
        .and_then(|status| status.start_time.as_ref())
        .map(|time| time.0);
    let (Some(ready), Some(start)) = (pod::condition(pod, "Ready"), start) else {
        return true;
    };
    let since = ready
        .last_transition_time
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let no = ready.status == "False";
    if now.duration_since(start) < INITIALIZATION {
        return no || sample.at.duration_since(since) < sample.window;
    }
    no && since.duration_since(start) < FIRST_READINESS
}

/// The ratio of usage and target, and what was measured.
fn measure(
    samples: &Samples,
    target: &Target<'_>,
    requests: &BTreeMap<String, i64>,
) -> Result<(f64, Proposal), String> {
    let total: i64 = samples.values().map(|sample| sample.value).sum();
    let average = total / samples.len().max(1) as i64;
    let mut measured = Proposal {
        replicas: 0,
        average,
        utilization: None,
    };
    match target {
        Target::Average(wanted) => Ok((average as f64 / *wanted as f64, measured)),
        Target::Utilization { percent, .. } => {
            let known = || {
                samples
                    .iter()
                    .filter_map(|(name, sample)| Some((sample.value, *requests.get(name)?)))
            };
            let (used, asked) = known().fold((0, 0), |sum, (used, asked)| (sum.0 + used, sum.1 + asked));
            if asked == 0 {
                return Err("no metrics returned matched known pods".into());
            }
            let utilization = i32::try_from(used * 100 / asked).unwrap_or(i32::MAX);
            measured.utilization = Some(utilization);
            measured.average = used / known().count().max(1) as i64;
            Ok((f64::from(utilization) / f64::from(*percent), measured))
        }
    }
}

/// What pods, or one container of each, ask for.
fn requests(pods: &[Arc<Pod>], resource: &str, only: Option<&str>) -> Result<BTreeMap<String, i64>, String> {
    let mut all = BTreeMap::new();
    for pod in pods {
        let name = pod.name_any();
        let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
        let spec = pod.spec.as_ref();
        let main = spec.into_iter().flat_map(|spec| &spec.containers);
        let sidecars = spec
            .into_iter()
            .flat_map(|spec| spec.init_containers.iter().flatten())
            .filter(sidecar);
        let mut total = 0;
        let mut found = only.is_none();
        for container in main
            .chain(sidecars)
            .filter(|container| only.is_none_or(|only| only == container.name))
        {
            found = true;
            let asked = container
                .resources
                .as_ref()
                .and_then(|resources| resources.requests.as_ref()?.get(resource));
            let Some(asked) = asked else {
                let container = &container.name;
                return Err(format!(
                    "missing request for {resource} in container {container} of Pod {name}"
                ));
            };
            total += Quantity::milli_in(&asked.0);
        }
        if !found {
            return Err(format!(
                "container {} not found in Pod {name}",
                only.unwrap_or_default()
            ));
        }
        all.insert(name, total);
    }
    Ok(all)
}
