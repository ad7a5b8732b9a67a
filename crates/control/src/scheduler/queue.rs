//! `SchedulingQueue`: the pods that wait for a node.
//!
//! A pod is *active* (to be tried next, the most important first), in *back-off* after a failed try (1 s, doubling to 10 s),
//! *unschedulable* (aside until an event that may help, or five minutes have passed), or *in flight* (being decided about
//! or bound). Nominations are kept here, too: room on a node that a pod has made by preemption, and that counts as taken
//! for less important pods until it has moved in.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::events::ClusterEvent;
use super::types::PodInfo;
use crate::key::Key;

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// A pod that is unschedulable is tried again after this time although nothing has happened.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Active,
    Backoff(Instant),
    /// Waits for one of these events, at the latest until then.
    Unschedulable(ClusterEvent, Instant),
    InFlight,
}

struct Queued {
    pod: Arc<PodInfo>,
    stage: Stage,
    /// Order of arrival among equally important pods.
    arrival: u64,
    attempts: u32,
    tried: Instant,
}

/// The pods that wait for a node.
#[derive(Default)]
pub(crate) struct SchedulingQueue {
    pods: HashMap<Key, Queued>,
    active: BTreeSet<(Reverse<i32>, u64, Key)>,
    backoff: BTreeSet<(Instant, Key)>,
    unschedulable: BTreeMap<ClusterEvent, HashSet<Key>>,
    /// When the unschedulable are tried again anyway.
    patience: BTreeSet<(Instant, Key)>,
    arrivals: u64,
    /// By UID: the node that was cleared for the pod.
    nominated: HashMap<String, (String, Arc<PodInfo>)>,
    nominated_by_node: HashMap<String, HashSet<String>>,
}

impl SchedulingQueue {
    /// Takes a pod in, or over as it is now. One that waits aside and has changed is tried again.
    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        let key = pod.key();
        let nominated = pod
            .pod
            .status
            .as_ref()
            .and_then(|status| status.nominated_node_name.clone());
        match nominated.filter(|node| !node.is_empty()) {
            Some(node) if !self.nominated.contains_key(pod.uid()) => self.nominate(&pod, &node),
            _ => {}
        }
        if let Some((_, known)) = self.nominated.get_mut(pod.uid()) {
            *known = pod.clone();
        }
        let Some(queued) = self.pods.get(&key) else {
            self.arrivals += 1;
            let queued = Queued {
                pod,
                stage: Stage::InFlight,
                arrival: self.arrivals,
                attempts: 0,
                tried: Instant::now(),
            };
            self.pods.insert(key.clone(), queued);
            self.enter(&key, Stage::Active);
            return;
        };
        let (before, now) = (&queued.pod.pod, &pod.pod);
        let successor = before.metadata.uid != now.metadata.uid;
        // The scheduler's own status updates are no reason to try again.
        let changed = successor || before.spec != now.spec || before.metadata.labels != now.metadata.labels;
        let stage = queued.stage;
        self.leave(&key);
        if let Some(queued) = self.pods.get_mut(&key) {
            queued.pod = pod;
            if successor {
                queued.attempts = 0;
            }
        }
        match stage {
            Stage::Unschedulable(..) if changed => self.retry(&key),
            Stage::InFlight if successor => self.enter(&key, Stage::Active),
            stage => self.enter(&key, stage),
        }
    }

    /// Forgets a pod: it has a node, is gone, or is no business of this scheduler.
    pub(crate) fn remove(&mut self, key: &Key) {
        self.leave(key);
        if let Some(queued) = self.pods.remove(key) {
            self.clear_nomination(queued.pod.uid());
        }
    }

    /// The next pod to decide about; it is in flight until it comes back or is removed.
    pub(crate) fn pop(&mut self) -> Option<Arc<PodInfo>> {
        self.promote(Instant::now());
        let (_, _, key) = self.active.first().cloned()?;
        self.leave(&key);
        self.enter(&key, Stage::InFlight);
        let queued = self.pods.get_mut(&key)?;
        queued.attempts += 1;
        queued.tried = Instant::now();
        Some(queued.pod.clone())
    }

    /// When the next pod becomes active by itself.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let backoff = self.backoff.first().map(|(at, _)| *at);
        let patience = self.patience.first().map(|(at, _)| *at);
        backoff.into_iter().chain(patience).min()
    }

    /// A pod in flight fits nowhere: it waits for an event among `helpful`.
    pub(crate) fn add_unschedulable(&mut self, key: &Key, helpful: ClusterEvent) {
        if self.is_in_flight(key) {
            self.enter(key, Stage::Unschedulable(helpful, Instant::now() + PATIENCE));
        }
    }

    /// A pod in flight could not be bound: it is tried again after its back-off.
    pub(crate) fn add_backoff(&mut self, key: &Key) {
        if self.is_in_flight(key) {
            self.retry(key);
        }
    }

    /// Something has happened: those whom it may help are tried again, each after its back-off.
    pub(crate) fn move_on(&mut self, event: ClusterEvent) {
        if event == ClusterEvent::NONE {
            return;
        }
        let helped: Vec<Key> = self
            .unschedulable
            .iter()
            .filter(|(helpful, _)| helpful.intersects(event))
            .flat_map(|(_, keys)| keys.iter().cloned())
            .collect();
        for key in helped {
            self.leave(&key);
            self.retry(&key);
        }
    }

    /// Keeps room on a node for a pod.
    pub(crate) fn nominate(&mut self, pod: &Arc<PodInfo>, node: &str) {
        self.clear_nomination(pod.uid());
        let uid = pod.uid().to_owned();
        self.nominated_by_node
            .entry(node.to_owned())
            .or_default()
            .insert(uid.clone());
        self.nominated.insert(uid, (node.to_owned(), pod.clone()));
    }

    /// Keeps room no longer.
    pub(crate) fn clear_nomination(&mut self, uid: &str) {
        let Some((node, _)) = self.nominated.remove(uid) else {
            return;
        };
        if let Some(uids) = self.nominated_by_node.get_mut(&node) {
            uids.remove(uid);
            if uids.is_empty() {
                self.nominated_by_node.remove(&node);
            }
        }
    }

    /// The node that was cleared for a pod.
    pub(crate) fn nomination(&self, uid: &str) -> Option<&str> {
        self.nominated.get(uid).map(|(node, _)| node.as_str())
    }

    /// The pods for which room is kept on a node.
    pub(crate) fn nominated_on(&self, node: &str) -> impl Iterator<Item = &Arc<PodInfo>> {
        let uids = self.nominated_by_node.get(node).into_iter().flatten();
        uids.filter_map(|uid| self.nominated.get(uid).map(|(_, pod)| pod))
    }

    fn is_in_flight(&self, key: &Key) -> bool {
        self.pods.get(key).is_some_and(|queued| queued.stage == Stage::InFlight)
    }

    fn retry(&mut self, key: &Key) {
        let Some(queued) = self.pods.get(key) else { return };
        let doublings = queued.attempts.saturating_sub(1);
        let wait = FIRST_BACKOFF.saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX));
        let at = queued.tried + wait.min(LAST_BACKOFF);
        let stage = match at <= Instant::now() || queued.attempts == 0 {
            true => Stage::Active,
            false => Stage::Backoff(at),
        };
        self.enter(key, stage);
    }

    fn promote(&mut self, now: Instant) {
        while let Some((at, key)) = self.backoff.first().cloned() {
            if at > now {
                break;
            }
            self.leave(&key);
            self.enter(&key, Stage::Active);
        }
        while let Some((at, key)) = self.patience.first().cloned() {
            if at > now {
                break;
            }
            self.leave(&key);
            self.enter(&key, Stage::Active);
        }
    }

    /// Takes a pod out of where it waits.
    fn leave(&mut self, key: &Key) {
        let Some(queued) = self.pods.get_mut(key) else { return };
        match std::mem::replace(&mut queued.stage, Stage::InFlight) {
            Stage::Active => {
                let entry = (Reverse(queued.pod.priority()), queued.arrival, key.clone());
                self.active.remove(&entry);
            }
            Stage::Backoff(at) => _ = self.backoff.remove(&(at, key.clone())),
            Stage::Unschedulable(helpful, until) => {
                self.patience.remove(&(until, key.clone()));
                if let Some(keys) = self.unschedulable.get_mut(&helpful) {
                    keys.remove(key);
                    if keys.is_empty() {
                        self.unschedulable.remove(&helpful);
                    }
                }
            }
            Stage::InFlight => {}
        }
    }

    /// Puts a pod that waits nowhere to where it waits now.
    fn enter(&mut self, key: &Key, stage: Stage) {
        let Some(queued) = self.pods.get_mut(key) else { return };
        queued.stage = stage;
        match stage {
            Stage::Active => {
                let entry = (Reverse(queued.pod.priority()), queued.arrival, key.clone());
                self.active.insert(entry);
            }
            Stage::Backoff(at) => _ = self.backoff.insert((at, key.clone())),
            Stage::Unschedulable(helpful, until) => {
                self.unschedulable.entry(helpful).or_default().insert(key.clone());
                self.patience.insert((until, key.clone()));
            }
            Stage::InFlight => {}
        }
    }
}
