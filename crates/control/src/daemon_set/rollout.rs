//! Replaces pods of an old template, within the bounds of the update strategy.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::RollingUpdateDaemonSet;
use k8s_openapi::api::core::v1::Pod;

use super::View;
use super::nodes::Fitness;
use crate::amount;

/// The pods of a node, by template.
struct Pair {
    current: Option<Arc<Pod>>,
    old: Option<Arc<Pod>>,
}

impl View<'_> {
    fn rolling(&self) -> Option<RollingUpdateDaemonSet> {
        let strategy = self.set.spec.update_strategy.as_ref()?;
        match strategy.type_.as_deref() {
            Some("OnDelete") => None,
            _ => Some(strategy.rolling_update.clone().unwrap_or_default()),
        }
    }

    fn desired(&self) -> i32 {
        self.nodes
            .iter()
            .filter(|node| self.fitness(node) == Fitness::Runs)
            .count() as i32
    }

    /// Most pods that may be there twice during an update.
    fn max_surge(&self) -> i32 {
        let Some(rolling) = self.rolling() else { return 0 };
        rolling
            .max_surge
            .map_or(0, |surge| amount::rounded_up(&surge, self.desired()))
    }

    /// Whether new pods come before old ones go.
    pub(super) fn surges(&self) -> bool {
        self.max_surge() > 0
    }

    /// Goes on with an update.
    pub(super) fn roll_out(&mut self) {
        let Some(rolling) = self.rolling() else { return };
        let surge = self.max_surge();
        if surge > 0 {
            return self.surge(surge as usize);
        }
        let unavailable = rolling
            .max_unavailable
            .map_or(1, |most| amount::rounded_up(&most, self.desired()));
        self.take_away(unavailable.max(1) as usize);
    }

    /// The pods of a node that are not on their way out; `None` if there are more than one of a template.
    fn pair(&self, pods: &[Arc<Pod>]) -> Option<Pair> {
        let mut pair = Pair {
            current: None,
            old: None,
        };
        for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            let place = if self.is_current(pod) {
                &mut pair.current
            } else {
                &mut pair.old
            };
            if place.replace(pod.clone()).is_some() {
                return None;
            }
        }
        Some(pair)
    }

    /// Deletes old pods: those that are of no use now, and as many others as may be missing.
    fn take_away(&mut self, most: usize) {
        let (mut missing, mut candidates) = (0, Vec::new());
        let pods: Vec<_> = self.pods.values().cloned().collect();
        for pods in pods {
            match self.pair(&pods) {
                Some(Pair {
                    current: None,
                    old: Some(old),
                }) => match self.is_available(&old) {
                    true => candidates.push(old),
                    false => {
                        missing += 1;
                        self.deletions.push(old);
                    }
                },
                Some(Pair {
                    current: Some(current),
                    old: None,
                }) => missing += usize::from(!self.is_available(&current)),
                // None, two, or a pair: that is set right first.
                _ => missing += 1,
            }
        }
        let room = most.saturating_sub(missing);
        self.deletions.extend(candidates.into_iter().take(room));
    }

    /// Creates new pods beside old ones, and deletes those whose successor is available.
    fn surge(&mut self, most: usize) {
        let (mut surging, mut candidates) = (0, Vec::new());
        for (node, pods) in self.pods.clone() {
            let runs = self
                .nodes
                .iter()
                .any(|it| it.metadata.name.as_ref() == Some(&node) && self.fitness(it) == Fitness::Runs);
            match self.pair(&pods) {
                Some(Pair { old: None, .. }) => {}
                Some(Pair {
                    current: None,
                    old: Some(old),
                }) => match (runs, self.is_available(&old)) {
                    (true, true) => candidates.push(node),
                    (true, false) => self.creations.push(node),
                    (false, _) => self.deletions.push(old),
                },
                Some(Pair {
                    current: Some(current),
                    old: Some(old),
                }) => match self.is_available(&current) {
                    true => self.deletions.push(old),
                    false => surging += 1,
                },
                None => surging += 1,
            }
        }
        let room = most.saturating_sub(surging);
        self.creations.extend(candidates.into_iter().take(room));
    }
}
