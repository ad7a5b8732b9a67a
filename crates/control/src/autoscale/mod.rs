//! HorizontalPodAutoscaler: sets the scale of a target by what its pods use.
//!
//! Every 15 seconds each autoscaler asks for its metrics, takes the greatest number of replicas that one of them asks for, and
//! goes there as fast as its behaviour lets it.

mod behavior;
mod metric;
mod replicas;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus, MetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use crate::caches::Caches;
use crate::controller::{Context, Controller, Watches};
use crate::discovery;
use crate::event::Note;
use crate::key::Key;
use crate::write::{Failure, Path, Plan, Verb, Write};

use behavior::Memory;
use metric::Scope;

const PERIOD: Duration = Duration::from_secs(15);

/// The horizontal pod autoscaling controller.
#[derive(Default)]
pub(crate) struct Autoscalers {
    memories: Mutex<HashMap<Key, Memory>>,
}

impl Controller for Autoscalers {
    const NAME: &'static str = "horizontal-pod-autoscaler";

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch
            .on::<HorizontalPodAutoscaler>(|change, _| {
                // Its own reports are no reason to look again.
                let wish = |side: &Option<Arc<HorizontalPodAutoscaler>>| side.as_ref().map(|it| it.spec.clone());
                let same = wish(&change.old) == wish(&change.new);
                let key = change.sides().last().map(|it| Key::of(it.as_ref()));
                key.into_iter().filter(|_| !same).collect()
            })
            .read::<Pod>();
    }

    /// All of its work depends on what metrics say now.
    fn sync(&self, _key: &Key, _caches: &Caches, _now: Timestamp) -> Plan {
        Plan::nothing()
    }

    async fn reconcile(&self, key: &Key, cx: &Context) -> Result<Option<Duration>, Failure> {
        let Some(autoscaler) = cx.caches.autoscalers.get(key) else {
            self.memories().remove(key);
            return Ok(None);
        };
        let mut look = Look {
            status: autoscaler.status.clone().unwrap_or_default(),
            autoscaler: &autoscaler,
            cx,
            now: cx.clock.now(),
        };
        let memory = self.memories().remove(key).unwrap_or_default();
        let memory = look.scale(key, memory).await;
        self.memories().insert(key.clone(), memory);
        look.report().await?;
        Ok(Some(PERIOD))
    }
}

impl Autoscalers {
    fn memories(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Memory>> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One look at one target.
struct Look<'a> {
    autoscaler: &'a HorizontalPodAutoscaler,
    status: HorizontalPodAutoscalerStatus,
    cx: &'a Context,
    now: Timestamp,
}

impl Look<'_> {
    fn note(&self, warning: bool, reason: &'static str, message: String) {
        let note = match warning {
            true => Note::warning(self.autoscaler, reason, message),
            false => Note::normal(self.autoscaler, reason, message),
        };
        self.cx.performer.recorder.record(note);
    }

    fn set(&mut self, kind: &str, status: bool, reason: &str, message: impl Into<String>) {
        let conditions = self.status.conditions.get_or_insert_default();
        let status = if status { "True" } else { "False" };
        let at = conditions.iter().position(|it| it.type_ == kind).unwrap_or_else(|| {
            conditions.push(HorizontalPodAutoscalerCondition {
                type_: kind.into(),
                ..HorizontalPodAutoscalerCondition::default()
            });
            conditions.len() - 1
        });
        let condition = &mut conditions[at];
        if condition.status != status {
            condition.status = status.into();
            condition.last_transition_time = Some(Time(self.now));
        }
        condition.reason = Some(reason.into());
        condition.message = Some(message.into());
    }

    /// Writes the status, if it has changed.
    async fn report(self) -> Result<(), Failure> {
        if self.autoscaler.status.as_ref() == Some(&self.status) {
            return Ok(());
        }
        let mut updated = self.autoscaler.clone();
        updated.status = Some(self.status);
        self.cx
            .performer
            .write(Write::replace_status(&updated).fine_when_gone())
            .await
    }

    /// Measures, decides and scales. What is learnt stands in the status.
    async fn scale(&mut self, key: &Key, mut memory: Memory) -> Memory {
        let (path, scale) = match self.target(key).await {
            Ok(found) => found,
            Err(why) => {
                self.note(true, "FailedGetScale", why.clone());
                let message = format!("the HPA controller was unable to get the target's current scale: {why}");
                self.set("AbleToScale", false, "FailedGetScale", message);
                return memory;
            }
        };
        let message = "the HPA controller was able to get the target's current scale";
        self.set("AbleToScale", true, "SucceededGetScale", message);
        let current = number(&scale["spec"]["replicas"]);
        if memory.recommendations.is_empty() {
            memory.recommendations.push((self.now, current));
        }
        let spec = self.autoscaler.spec.clone();
        let (least, most) = (spec.min_replicas.unwrap_or(1), spec.max_replicas);
        self.status.current_replicas = Some(current).filter(|current| *current != 0);
        if current == 0 {
            let message = "scaling is disabled since the replica count of the target is zero";
            self.set("ScalingActive", false, "ScalingDisabled", message);
            self.status.desired_replicas = 0;
            self.status.current_metrics = None;
            return memory;
        }
        let (desired, reason) = if current > most {
            (most, "Current number of replicas above Spec.MaxReplicas".to_owned())
        } else if current < least {
            (least, "Current number of replicas below Spec.MinReplicas".to_owned())
        } else {
            let Some((wanted, name)) = self.measure(key, &scale, current).await else {
                return memory;
            };
            let decision = behavior::decide(self.autoscaler, &mut memory, current, wanted, self.now);
            self.set("AbleToScale", true, decision.able.0, decision.able.1);
            self.set("ScalingLimited", decision.limited, decision.limit.0, decision.limit.1);
            let reason = match wanted > current {
                true => format!("{name} above target"),
                false => "All metrics below target".to_owned(),
            };
            (decision.replicas, reason)
        };
        if desired != current {
            self.rescale(path, scale, desired, &reason, &mut memory).await;
        } else {
            self.status.desired_replicas = desired;
        }
        memory.shrink(self.now);
        memory
    }

    /// The path of the target's scale, and the scale.
    async fn target(&self, key: &Key) -> Result<(String, Value), String> {
        let spec = self.autoscaler.spec.clone();
        let target = spec.scale_target_ref;
        let version = target.api_version.unwrap_or_default();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let client = &self.cx.performer.client;
        let path = match known(group, &target.kind) {
            Some(root) => format!(
                "{root}/namespaces/{}/{}s/{}/scale",
                key.namespace,
                target.kind.to_lowercase(),
                target.name
            ),
            None => {
                let served = discovery::discover(client).await.map_err(|failure| failure.message)?;
                let path = metric::scale_path(&served, group, &target.kind, &key.namespace, &target.name);
                path.ok_or_else(|| format!("no matches for kind {:?} in group {group:?}", target.kind))?
            }
        };
        let scale = metric::get(client, &path, &[])
            .await
            .map_err(|failure| failure.message)?;
        Ok((path, scale))
    }

    /// The replicas that metrics ask for, and the metric that asks for them; `None` if nothing can be said.
    async fn measure(&mut self, key: &Key, scale: &Value, current: i32) -> Option<(i32, String)> {
        let selector = scale["status"]["selector"].as_str().unwrap_or_default();
        if selector.is_empty() {
            self.note(true, "SelectorRequired", "selector is required".into());
            let message = "the HPA target's scale is missing a selector";
            self.set("ScalingActive", false, "InvalidSelector", message);
            self.note(true, "FailedComputeMetricsReplicas", "selector is required".into());
            return None;
        }
        let Some(pods) = metric::selected(self.cx.caches.pods.in_namespace(&key.namespace), selector) else {
            let message = "couldn't convert selector into a corresponding internal selector object";
            self.note(true, "InvalidSelector", message.into());
            self.set("ScalingActive", false, "InvalidSelector", message);
            return None;
        };
        let scope = Scope {
            client: &self.cx.performer.client,
            namespace: &key.namespace,
            selector,
            pods: &pods,
            current,
            tolerance: behavior::tolerance(self.autoscaler),
            now: self.now,
        };
        let metrics = self.autoscaler.spec.metrics.clone().unwrap_or_default();
        let mut best: Option<(i32, String)> = None;
        let (mut statuses, mut failures) = (Vec::new(), Vec::new());
        for metric in &metrics {
            match scope.measure(metric).await {
                Ok(measured) => {
                    statuses.push(measured.status);
                    if best.as_ref().is_none_or(|(replicas, _)| measured.replicas > *replicas) {
                        best = Some((measured.replicas, measured.name));
                    }
                }
                Err(failure) => {
                    self.note(true, failure.reason, failure.message.clone());
                    statuses.push(MetricStatus::default());
                    failures.push(failure);
                }
            }
        }
        self.status.current_metrics = Some(statuses);
        // With some metrics missing nobody knows whether there are too many pods.
        let shrinks = best.as_ref().is_some_and(|(replicas, _)| *replicas < current);
        if let Some(first) = failures.first().filter(|_| best.is_none() || shrinks) {
            let message = format!("the HPA was unable to compute the replica count: {}", first.message);
            self.set("ScalingActive", false, first.reason, message);
            let message = format!(
                "invalid metrics ({} invalid out of {}), first error is: {}",
                failures.len(),
                metrics.len(),
                first.outer
            );
            self.note(true, "FailedComputeMetricsReplicas", message);
            return None;
        }
        let (replicas, name) = best?;
        let message = format!("the HPA was able to successfully calculate a replica count from {name}");
        self.set("ScalingActive", true, "ValidMetricFound", message);
        Some((replicas, name))
    }

    async fn rescale(&mut self, path: String, mut scale: Value, desired: i32, reason: &str, memory: &mut Memory) {
        let current = number(&scale["spec"]["replicas"]);
        scale["spec"]["replicas"] = desired.into();
        let outcome = self.cx.performer.send(Verb::Replace, &Path::raw(path), &scale).await;
        if let Err(failure) = outcome {
            let message = format!("New size: {desired}; reason: {reason}; error: {failure}");
            self.note(true, "FailedRescale", message);
            let message = format!("the HPA controller was unable to update the target scale: {failure}");
            self.set("AbleToScale", false, "FailedUpdateScale", message);
            return;
        }
        let message = format!("the HPA controller was able to update the target scale to {desired}");
        self.set("AbleToScale", true, "SucceededRescale", message);
        self.note(
            false,
            "SuccessfulRescale",
            format!("New size: {desired}; reason: {reason}"),
        );
        memory.changes.push((self.now, desired - current));
        self.status.desired_replicas = desired;
        self.status.last_scale_time = Some(Time(self.now));
    }
}

/// Where the workloads are that everybody has; others have to be looked for.
fn known(group: &str, kind: &str) -> Option<&'static str> {
    match (group, kind) {
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet") => Some("/apis/apps/v1"),
        ("", "ReplicationController") => Some("/api/v1"),
        _ => None,
    }
}

fn number(value: &Value) -> i32 {
    value
        .as_i64()
        .and_then(|number| i32::try_from(number).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
